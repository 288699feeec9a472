package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Curator's locks: one holder at a time; kept over a cut, handed on when released and when the holder expires. */
class CuratorLocksTest extends CuratorFixture {
    /** How a client gets its handle of the lock under test. */
    private interface Lock extends Function<CuratorFramework, InterProcessLock> {
    }

    private InterProcessMutex mutex(CuratorFramework client) {
        return new InterProcessMutex(client, root + "/lock");
    }

    private InterProcessSemaphoreMutex semaphoreMutex(CuratorFramework client) {
        return new InterProcessSemaphoreMutex(client, root + "/lock");
    }

    private InterProcessMultiLock multiLock(CuratorFramework client) {
        return new InterProcessMultiLock(List.of(new InterProcessMutex(client, root + "/lock/a"),
                new InterProcessSemaphoreMutex(client, root + "/lock/b")));
    }

    private InterProcessMutex reader(CuratorFramework client) {
        return new InterProcessReadWriteLock(client, root + "/lock").readLock();
    }

    private InterProcessMutex writer(CuratorFramework client) {
        return new InterProcessReadWriteLock(client, root + "/lock").writeLock();
    }

    /** `far` holds the lock and meets the trouble while `near` waits. */
    private void holderInTrouble(Trouble trouble, Lock held, Lock wanted) throws Exception {
        begin(trouble);
        InterProcessLock one = held.apply(far);
        InterProcessLock other = wanted.apply(near);
        assertTrue(one.acquire(PATIENCE_S, SECONDS));
        assertFalse(other.acquire(MOMENT_MS, MILLISECONDS));
        Future<Boolean> next = apart(() -> other.acquire(PATIENCE_S, SECONDS));
        down();
        if (endsSession()) {
            assertTrue(await(next));
        } else {
            assertPending(next);
        }
        up();
        if (!endsSession()) {
            assertPending(next);
            assertTrue(one.isAcquiredInThisProcess());
        }
        // Giving back a lock that is lost harms nobody.
        one.release();
        assertTrue(await(next));
        assertFalse(one.acquire(MOMENT_MS, MILLISECONDS));
        await(apart(() -> {
            other.release();
            return null;
        }));
        assertTrue(one.acquire(PATIENCE_S, SECONDS));
        one.release();
    }

    /** `far` waits for the lock and meets the trouble while `near` holds it. */
    private void waiterInTrouble(Trouble trouble, Lock lock) throws Exception {
        begin(trouble);
        InterProcessLock holder = lock.apply(near);
        InterProcessLock waiter = lock.apply(far);
        assertTrue(holder.acquire(PATIENCE_S, SECONDS));
        Future<Boolean> next = apart(() -> waiter.acquire(PATIENCE_S, SECONDS));
        until("far is in the line",
                () -> !far.getZookeeperClient().getZooKeeper().getEphemerals(root + "/lock").isEmpty());
        down();
        assertPending(next);
        up();
        assertPending(next);
        holder.release();
        assertTrue(await(next));
        assertFalse(holder.acquire(MOMENT_MS, MILLISECONDS));
        await(apart(() -> {
            waiter.release();
            return null;
        }));
        assertTrue(holder.acquire(PATIENCE_S, SECONDS));
        holder.release();
    }

    @Troubled
    void mutexHeld(Trouble trouble) throws Exception {
        holderInTrouble(trouble, this::mutex, this::mutex);
    }

    @Troubled
    void mutexAwaited(Trouble trouble) throws Exception {
        waiterInTrouble(trouble, this::mutex);
    }

    @Troubled
    void semaphoreMutexHeld(Trouble trouble) throws Exception {
        holderInTrouble(trouble, this::semaphoreMutex, this::semaphoreMutex);
    }

    @Troubled
    void semaphoreMutexAwaited(Trouble trouble) throws Exception {
        waiterInTrouble(trouble, this::semaphoreMutex);
    }

    @Troubled
    void multiLockHeld(Trouble trouble) throws Exception {
        holderInTrouble(trouble, this::multiLock, this::multiLock);
    }

    @Troubled
    void multiLockAwaited(Trouble trouble) throws Exception {
        waiterInTrouble(trouble, this::multiLock);
    }

    @Troubled
    void readLockHeldAgainstAWriter(Trouble trouble) throws Exception {
        holderInTrouble(trouble, this::reader, this::writer);
    }

    @Troubled
    void writeLockHeldAgainstAReader(Trouble trouble) throws Exception {
        holderInTrouble(trouble, this::writer, this::reader);
    }

    @Troubled
    void writeLockAwaited(Trouble trouble) throws Exception {
        waiterInTrouble(trouble, this::writer);
    }

    @Troubled
    void semaphore(Trouble trouble) throws Exception {
        begin(trouble);
        InterProcessSemaphoreV2 one = new InterProcessSemaphoreV2(far, root + "/sem", 3);
        InterProcessSemaphoreV2 other = new InterProcessSemaphoreV2(near, root + "/sem", 3);
        Collection<Lease> held = one.acquire(2, PATIENCE_S, SECONDS);
        assertEquals(2, held.size());
        assertNotNull(other.acquire(PATIENCE_S, SECONDS));
        assertNull(other.acquire(MOMENT_MS, MILLISECONDS));
        Future<Collection<Lease>> next = apart(() -> other.acquire(2, PATIENCE_S, SECONDS));
        down();
        if (endsSession()) {
            assertEquals(2, await(next).size());
        } else {
            assertPending(next);
        }
        up();
        if (!endsSession()) {
            assertPending(next);
        }
        one.returnAll(held);
        assertEquals(2, await(next).size());
        assertNull(one.acquire(MOMENT_MS, MILLISECONDS));
        other.returnAll(await(next));
        assertEquals(2, one.acquire(2, PATIENCE_S, SECONDS).size());
    }

    @Troubled
    void semaphoreWhoseLimitGrowsWhileOneWaits(Trouble trouble) throws Exception {
        begin(trouble);
        SharedCount limit = new SharedCount(near, root + "/limit", 1);
        SharedCount seen = new SharedCount(far, root + "/limit", 1);
        limit.start();
        seen.start();
        InterProcessSemaphoreV2 one = new InterProcessSemaphoreV2(far, root + "/sem", seen);
        InterProcessSemaphoreV2 other = new InterProcessSemaphoreV2(near, root + "/sem", limit);
        assertNotNull(other.acquire(PATIENCE_S, SECONDS));
        Future<Lease> next = apart(() -> one.acquire(PATIENCE_S, SECONDS));
        assertPending(next);
        down();
        limit.setCount(2);
        up();
        assertNotNull(await(next));
        assertEquals(2, children(root + "/sem/leases"));
        seen.close();
        limit.close();
    }

    @ParameterizedTest(name = "{0}")
    @EnumSource(names = {"NONE", "CUT"})
    void mutexUnderContention(Trouble trouble) throws Exception {
        begin(trouble);
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger done = new AtomicInteger();
        List<Future<Void>> all = new ArrayList<>();
        for (int t = 0; t < 6; t++) {
            InterProcessMutex lock = mutex(t % 2 == 0 ? far : near);
            all.add(aside(() -> {
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
        until("some had their turn", () -> done.get() > 10);
        down();
        up();
        for (Future<Void> one : all) {
            await(one);
        }
        assertEquals(90, done.get());
        assertEquals(0, children(root + "/lock"));
    }

    @Test
    void mutexIsReentrant() throws Exception {
        begin(Trouble.NONE);
        InterProcessMutex one = mutex(far);
        assertTrue(one.acquire(PATIENCE_S, SECONDS));
        assertTrue(one.acquire(PATIENCE_S, SECONDS));
        one.release();
        assertTrue(one.isOwnedByCurrentThread());
        one.release();
        assertFalse(one.isOwnedByCurrentThread());
        assertEquals(0, children(root + "/lock"));
    }

    @Test
    void multiLockTakesAllOrNone() throws Exception {
        begin(Trouble.NONE);
        InterProcessLock both = multiLock(far);
        InterProcessLock b = new InterProcessSemaphoreMutex(near, root + "/lock/b");
        InterProcessLock a = new InterProcessMutex(near, root + "/lock/a");
        assertTrue(b.acquire(PATIENCE_S, SECONDS));
        assertFalse(both.acquire(MOMENT_MS, MILLISECONDS));
        assertTrue(a.acquire(PATIENCE_S, SECONDS));
        a.release();
        b.release();
        assertTrue(both.acquire(PATIENCE_S, SECONDS));
        assertFalse(a.acquire(MOMENT_MS, MILLISECONDS));
        both.release();
    }

    @Test
    void readersShareAndAWriterMayRead() throws Exception {
        begin(Trouble.NONE);
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(far, root + "/lock");
        InterProcessReadWriteLock other = new InterProcessReadWriteLock(near, root + "/lock");
        assertTrue(one.readLock().acquire(PATIENCE_S, SECONDS));
        assertTrue(other.readLock().acquire(PATIENCE_S, SECONDS));
        assertFalse(other.writeLock().acquire(MOMENT_MS, MILLISECONDS));
        one.readLock().release();
        other.readLock().release();
        assertTrue(one.writeLock().acquire(PATIENCE_S, SECONDS));
        assertFalse(other.readLock().acquire(MOMENT_MS, MILLISECONDS));
        assertTrue(one.readLock().acquire(PATIENCE_S, SECONDS));
        one.writeLock().release();
        assertTrue(other.readLock().acquire(PATIENCE_S, SECONDS));
        one.readLock().release();
        other.readLock().release();
    }
}
