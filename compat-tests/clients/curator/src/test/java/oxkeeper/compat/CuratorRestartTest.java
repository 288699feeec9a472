package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import oxkeeper.shared.Loan;

/** Several recipes at once, while their server is killed and started again: sessions live on, and so does all they keep. */
@Timeout(240)
class CuratorRestartTest extends CuratorFixture {
    /** More than any start of a server takes. */
    private static final int LONG_MS = 60_000;

    private static ServerProcess process;

    @Override
    String server() throws Exception {
        if (process == null) {
            process = Servers.prepare(Map.of("maxSessionTimeout", "" + LONG_MS)).start();
        }
        return process.hosts();
    }

    @AfterAll
    static void removeServer() {
        if (process != null) {
            process.remove();
            process = null;
        }
    }

    /** What happens in a round to the servers, before the recipes are looked at. */
    private interface Blow {
        void fall(int round) throws Exception;
    }

    @Test
    void recipesOutliveTheirServer() throws Exception {
        begin(Trouble.NONE, builder -> builder.sessionTimeoutMs(LONG_MS));
        outlive(2, round -> {
            process.kill();
            process.start();
        });
    }

    /** Of an ensemble, the members are killed in turn, the leader first; each comes back when the next one goes. */
    @Test
    void recipesOutliveEachMember() throws Exception {
        Loan members = process.needMembers();
        beginAt(process.allHosts(), builder -> builder.sessionTimeoutMs(LONG_MS));
        List<Integer> order = members.leaderFirst();
        outlive(order.size(), round -> {
            process.start();
            members.ask("kill " + order.get(round));
        });
        process.start();
        // What members show of themselves names no address for clients: the one that was given stays.
        assertEquals(process.allHosts(), far.getZookeeperClient().getCurrentConnectionString());
    }

    private void outlive(int rounds, Blow blow) throws Exception {
        InterProcessMutex held = new InterProcessMutex(far, root + "/lock");
        assertTrue(held.acquire(PATIENCE_S, SECONDS));
        PersistentNode node = new PersistentNode(far, CreateMode.EPHEMERAL, false, root + "/node", bytes("here"));
        node.start();
        assertTrue(node.waitForInitialCreate(PATIENCE_S, SECONDS));
        Stat before = near.checkExists().forPath(root + "/node");
        LeaderLatch leader = new LeaderLatch(far, root + "/latch", "one");
        leader.start();
        assertTrue(leader.await(PATIENCE_S, SECONDS));
        LeaderLatch second = new LeaderLatch(near, root + "/latch", "other");
        second.start();
        until("two take part", () -> children(root + "/latch") == 2);
        SharedCount count = new SharedCount(far, root + "/count", 7);
        count.start();
        DistributedAtomicLong sum = new DistributedAtomicLong(far, root + "/sum", new RetryNTimes(1000, 2));
        assertTrue(sum.initialize(40L));
        assertTrue(sum.increment().succeeded());
        near.create().forPath(root + "/tree", bytes("0"));
        CuratorCache cache = CuratorCache.build(far, root + "/tree");
        cache.start();
        until("the cache is filled", () -> cache.size() == 1);

        for (int round = 0; round < rounds; round++) {
            long session = farSession();
            blow.fall(round);
            String value = "" + round;
            near.setData().forPath(root + "/tree", bytes(value));
            near.create().forPath(root + "/tree/" + round, bytes(value));
            near.setData().forPath(root + "/count", new byte[] {0, 0, 0, (byte) (8 + round)});
            int members = 2 + round;
            until("the cache follows", () -> cache.size() == members
                    && cache.get(root + "/tree").map(ChildData::getData).map(Fixture::text).orElse("").equals(value));
            int expected = 8 + round;
            until("the count follows", () -> count.getCount() == expected);
            assertEquals(session, farSession());
            Stat now = near.checkExists().forPath(root + "/node");
            assertEquals(before.getCzxid(), now.getCzxid());
            assertEquals(session, now.getEphemeralOwner());
            assertTrue(leader.await(PATIENCE_S, SECONDS));
            assertFalse(second.hasLeadership());
            assertFalse(new InterProcessMutex(near, root + "/lock").acquire(MOMENT_MS, MILLISECONDS));
            assertTrue(held.isOwnedByCurrentThread());
            assertEquals(41L + round, sum.get().postValue());
            assertTrue(sum.increment().succeeded());
        }

        held.release();
        assertTrue(new InterProcessMutex(near, root + "/lock").acquire(PATIENCE_S, SECONDS));
        leader.close();
        assertTrue(second.await(PATIENCE_S, SECONDS));
        second.close();
        node.close();
        count.close();
        cache.close();
    }
}
