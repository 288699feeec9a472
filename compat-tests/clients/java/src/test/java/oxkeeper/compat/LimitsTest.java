package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Sizes at their limits: jute.maxbuffer to the byte, and parents of 100,000. */
class LimitsTest extends Fixture {
    /** xid, type; path length; data length; version. */
    private static final int SET_DATA_OVERHEAD = 8 + 4 + 4 + 4;
    private static final int RAISED = 16 << 20;

    private static byte[] random(int size) {
        byte[] data = new byte[size];
        new Random(size).nextBytes(data);
        return data;
    }

    @Test
    void valuesOfManySizesComeBackToTheByte() throws Exception {
        for (int size : new int[] {0, 1, 127, 128, 4095, 4096, 65_535, 65_536, 300_000, 1_000_000}) {
            byte[] data = random(size);
            Stat stat = zk.setData(root, data, -1);
            assertEquals(size, stat.getDataLength());
            assertArrayEquals(data, zk.getData(root, false, null));
        }
    }

    @Test
    void requestOfExactlyTheLimitIsServedAndOneMoreByteIsNot() throws Exception {
        Client raised = connect(hosts, CALM_MS, RAISED);
        long id = raised.getSessionId();
        int most = MAX_BUFFER - SET_DATA_OVERHEAD - root.length();
        byte[] exactly = random(most);
        assertEquals(1, raised.setData(root, exactly, 0).getVersion());
        assertArrayEquals(exactly, raised.getData(root, false, null));
        raised.events.forgetStates();
        assertThrows(KeeperException.ConnectionLossException.class, () -> raised.setData(root, random(most + 1), 1));
        raised.events.awaitState(KeeperState.SyncConnected);
        assertEquals(id, raised.getSessionId());
        Stat stat = new Stat();
        assertArrayEquals(exactly, raised.getData(root, false, stat));
        assertEquals(1, stat.getVersion());
        raised.events.forgetStates();
        assertThrows(KeeperException.ConnectionLossException.class,
                () -> raised.create(root + "/x", random(MAX_BUFFER), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        raised.events.awaitState(KeeperState.SyncConnected);
        assertNull(raised.exists(root + "/x", false));
        raised.setData(root, null, 1);
    }

    /** The limit is on the frame: many parts that fit one by one do not fit together. */
    @Test
    void transactionIsLimitedAsAWhole() throws Exception {
        List<Op> ops = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            ops.add(Op.create(root + "/n" + i, random(300_000), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        }
        zk.multi(ops);
        assertArrayEquals(random(300_000), zk.getData(root + "/n2", false, null));
        ops.replaceAll(op -> Op.setData(op.getPath(), random(400_000), -1));
        assertThrows(KeeperException.ConnectionLossException.class, () -> zk.multi(ops));
        byte[] still = patiently(() -> zk.getData(root + "/n0", false, null));
        assertArrayEquals(random(300_000), still);
    }

    /**
     * Where both sides raise jute.maxbuffer, larger values are served, kept and restored. Twice the ordinary limit is
     * what a client takes whose system property is not raised as well.
     */
    @Test
    void limitRaisedOnBothSides() throws Exception {
        int limit = 4 << 20;
        ServerProcess own = Servers.prepare("-Djute.maxbuffer=" + limit).start();
        try {
            Client raised = connect(own.hosts(), CALM_MS, RAISED);
            byte[] large = random(2_000_000);
            raised.create("/large", large, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            raised.events.forgetStates();
            own.kill();
            own.start();
            raised.events.awaitState(KeeperState.SyncConnected);
            assertArrayEquals(large, raised.getData("/large", false, null));
            raised.events.forgetStates();
            assertThrows(KeeperException.ConnectionLossException.class,
                    () -> raised.setData("/large", random(limit), -1));
            raised.events.awaitState(KeeperState.SyncConnected);
            assertEquals(0, raised.exists("/large", false).getVersion());
            raised.close();
        } finally {
            own.remove();
        }
    }

    /** An answer may be larger than what a request may be: only the client's own limit counts. */
    @Test
    void largeAnswersAreServed() throws Exception {
        List<Op> reads = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            String path = root + "/n" + i;
            zk.create(path, random(900_000 + i), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            reads.add(Op.getData(path));
        }
        Client raised = connect(hosts, CALM_MS, RAISED);
        var results = raised.multi(reads);
        for (int i = 0; i < 5; i++) {
            byte[] data = ((org.apache.zookeeper.OpResult.GetDataResult) results.get(i)).getData();
            assertArrayEquals(random(900_000 + i), data);
        }
    }

    @Test
    @Timeout(150)
    void hundredThousandChildren() throws Exception {
        int total = 100_000;
        int window = 5_000;
        Answers answers = new Answers();
        for (int i = 0; i < total + window; i++) {
            if (i >= window) {
                Answer answer = answers.take();
                assertEquals(Code.OK, answer.code());
                assertEquals(i - window, answer.ctx());
            }
            if (i < total) {
                zk.create(String.format("%s/child-%06d", root, i), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                        answers.name(), i);
            }
        }
        Client raised = connect(hosts, CALM_MS, RAISED);
        Stat stat = new Stat();
        Set<String> children = new HashSet<>(raised.getChildren(root, false, stat));
        assertEquals(total, children.size());
        for (int i = 0; i < total; i++) {
            children.remove(String.format("child-%06d", i));
        }
        assertEquals(Set.of(), children);
        assertEquals(total, stat.getNumChildren());
        assertEquals(total, stat.getCversion());
        assertEquals(total, raised.getAllChildrenNumber(root));
        assertEquals(total, raised.getChildren(root, false).size());
        refused(Code.NOTEMPTY, () -> raised.delete(root, -1));
        assertEquals(root + "/n0000100000",
                raised.create(root + "/n", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL));
        for (int i = 0; i < total; i += 1000) {
            List<Op> deletes = new ArrayList<>();
            for (int n = i; n < i + 1000; n++) {
                deletes.add(Op.delete(String.format("%s/child-%06d", root, n), 0));
            }
            raised.multi(deletes);
        }
        assertEquals(List.of("n0000100000"), raised.getChildren(root, false));
        assertEquals(2 * total + 1, raised.exists(root, false).getCversion());
    }
}
