package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.junit.jupiter.api.Test;

/** Curator's locks and elections: one holder at a time, handed on by release and by the holder's expiry. */
class CuratorLocksTest extends CuratorFixture {
    private void assertExcludes(InterProcessLock one, InterProcessLock other) throws Exception {
        assertTrue(one.acquire(10, SECONDS));
        assertFalse(other.acquire(300, MILLISECONDS));
        one.release();
        assertTrue(other.acquire(10, SECONDS));
        assertFalse(one.acquire(300, MILLISECONDS));
        other.release();
    }

    @Test
    void mutexExcludes() throws Exception {
        InterProcessMutex one = new InterProcessMutex(far, root + "/lock");
        assertExcludes(one, new InterProcessMutex(near, root + "/lock"));
        assertTrue(one.acquire(10, SECONDS));
        assertTrue(one.acquire(10, SECONDS));
        one.release();
        assertTrue(one.isOwnedByCurrentThread());
        one.release();
        assertEquals(List.of(), zk.getChildren(root + "/lock", false));
    }

    @Test
    void mutexUnderContention() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(6);
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger done = new AtomicInteger();
        List<Future<?>> all = new ArrayList<>();
        for (int t = 0; t < 6; t++) {
            InterProcessMutex lock = new InterProcessMutex(t % 2 == 0 ? far : near, root + "/lock");
            all.add(pool.submit(() -> {
                for (int i = 0; i < 15; i++) {
                    lock.acquire();
                    assertEquals(1, inside.incrementAndGet());
                    done.incrementAndGet();
                    inside.decrementAndGet();
                    lock.release();
                }
                return null;
            }));
        }
        cutFar();
        for (Future<?> one : all) {
            one.get();
        }
        pool.shutdown();
        assertEquals(90, done.get());
    }

    @Test
    void mutexIsKeptOverACutAndLostByExpiry() throws Exception {
        InterProcessMutex one = new InterProcessMutex(far, root + "/lock");
        InterProcessMutex other = new InterProcessMutex(near, root + "/lock");
        assertTrue(one.acquire(10, SECONDS));
        cutFar();
        assertNotNull(far.checkExists().forPath(root));
        assertFalse(other.acquire(300, MILLISECONDS));
        expireFar();
        assertTrue(other.acquire(10, SECONDS));
        other.release();
        // A new session takes part again.
        assertNotNull(far.checkExists().forPath(root));
        InterProcessMutex again = new InterProcessMutex(far, root + "/lock");
        assertTrue(again.acquire(10, SECONDS));
        again.release();
    }

    @Test
    void semaphoreMutexExcludes() throws Exception {
        assertExcludes(new InterProcessSemaphoreMutex(far, root + "/lock"),
                new InterProcessSemaphoreMutex(near, root + "/lock"));
    }

    @Test
    void multiLockTakesAllOrNone() throws Exception {
        InterProcessMultiLock both = new InterProcessMultiLock(far, List.of(root + "/a", root + "/b"));
        InterProcessMutex b = new InterProcessMutex(near, root + "/b");
        InterProcessMutex a = new InterProcessMutex(near, root + "/a");
        assertTrue(b.acquire(10, SECONDS));
        assertFalse(both.acquire(300, MILLISECONDS));
        assertTrue(a.acquire(10, SECONDS));
        a.release();
        b.release();
        assertExcludes(both, a);
    }

    @Test
    void readersShareAndWritersDoNot() throws Exception {
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(far, root + "/lock");
        InterProcessReadWriteLock other = new InterProcessReadWriteLock(near, root + "/lock");
        assertTrue(one.readLock().acquire(10, SECONDS));
        assertTrue(other.readLock().acquire(10, SECONDS));
        assertFalse(one.writeLock().acquire(300, MILLISECONDS));
        one.readLock().release();
        other.readLock().release();
        assertTrue(one.writeLock().acquire(10, SECONDS));
        assertFalse(other.readLock().acquire(300, MILLISECONDS));
        assertTrue(one.readLock().acquire(10, SECONDS));
        one.writeLock().release();
        assertTrue(other.readLock().acquire(10, SECONDS));
        one.readLock().release();
        other.readLock().release();
    }

    @Test
    void semaphoreCountsAndExpiryReturnsLeases() throws Exception {
        InterProcessSemaphoreV2 one = new InterProcessSemaphoreV2(far, root + "/sem", 3);
        InterProcessSemaphoreV2 other = new InterProcessSemaphoreV2(near, root + "/sem", 3);
        assertEquals(2, one.acquire(2, 10, SECONDS).size());
        Lease third = other.acquire(10, SECONDS);
        assertNotNull(third);
        assertNull(other.acquire(300, MILLISECONDS));
        other.returnLease(third);
        expireFar();
        assertEquals(3, other.acquire(3, 10, SECONDS).size());
    }

    @Test
    void latchHandsOn() throws Exception {
        LeaderLatch one = new LeaderLatch(far, root + "/latch", "one");
        LeaderLatch other = new LeaderLatch(near, root + "/latch", "other");
        one.start();
        assertTrue(one.await(10, SECONDS));
        other.start();
        until("two take part", () -> near.getChildren().forPath(root + "/latch").size() == 2);
        assertEquals("one", other.getLeader().getId());
        expireFar();
        assertTrue(other.await(20, SECONDS));
        until("the first knows", () -> !one.hasLeadership());
        until("the first is back", () -> near.getChildren().forPath(root + "/latch").size() == 2);
        other.close();
        assertTrue(one.await(20, SECONDS));
        one.close();
    }

    @Test
    void selectorGivesEveryoneATurn() throws Exception {
        List<String> turns = new ArrayList<>();
        AtomicInteger inside = new AtomicInteger();
        CountDownLatch all = new CountDownLatch(6);
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            String id = "s" + i;
            CuratorFramework client = i == 0 ? far : near;
            LeaderSelector selector = new LeaderSelector(client, root + "/sel", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework who) {
                    assertEquals(1, inside.incrementAndGet());
                    synchronized (turns) {
                        turns.add(id);
                    }
                    inside.decrementAndGet();
                    all.countDown();
                }
            });
            selector.setId(id);
            selector.autoRequeue();
            selectors.add(selector);
            selector.start();
        }
        assertTrue(all.await(20, SECONDS));
        selectors.forEach(LeaderSelector::close);
        synchronized (turns) {
            assertTrue(turns.contains("s0") && turns.contains("s1"), turns::toString);
        }
    }
}
