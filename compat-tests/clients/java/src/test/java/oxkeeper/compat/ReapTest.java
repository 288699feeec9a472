package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Containers and TTL nodes go when they are empty (and old), never before; the server looks every 500 ms. */
class ReapTest extends Fixture {
    private static final int INTERVAL_MS = 500;

    private final Events events = new Events();
    private String node;

    @BeforeEach
    void prepare() {
        Servers.needOwnSettings("TTL nodes and the interval of reaping");
        node = root + "/n";
    }

    private void makeTtl(String path, long ttlMs) throws Exception {
        zk.create(path, bytes("x"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), ttlMs);
    }

    @Test
    void ttlNodeGoesAfterItsTime() throws Exception {
        Client other = connect();
        long start = System.nanoTime();
        makeTtl(node, 1200);
        makeTtl(root + "/long", 600_000);
        zk.close();
        assertNotNull(other.exists(node, events));
        Events children = new Events();
        other.getChildren(root, children);
        WatchedEvent event = events.take();
        long elapsed = millisSince(start);
        assertEquals("NodeDeleted " + node, event.getType() + " " + event.getPath());
        assertTrue(elapsed > 1200 && elapsed < 1200 + 10 * INTERVAL_MS, () -> "reaped after " + elapsed + " ms");
        children.expect("NodeChildrenChanged " + root);
        Stat parent = other.exists(root, false);
        assertEquals(event.getZxid(), parent.getPzxid());
        assertEquals(3, parent.getCversion());
        assertEquals(List.of("long"), other.getChildren(root, false));
    }

    @Test
    void writingATtlNodeRenewsIt() throws Exception {
        makeTtl(node, 1500);
        makeTtl(root + "/plain", 1500);
        zk.exists(root + "/plain", events);
        Events renewed = new Events();
        zk.exists(node, renewed);
        Thread.sleep(1000);
        zk.setData(node, bytes("y"), 0);
        renewed.expect("NodeDataChanged " + node);
        long start = System.nanoTime();
        assertNotNull(zk.exists(node, renewed));
        events.expect("NodeDeleted " + root + "/plain");
        renewed.expect("NodeDeleted " + node);
        assertTrue(millisSince(start) > 1400, "the write must start the time anew");
    }

    @Test
    void childrenHoldATtlNode() throws Exception {
        makeTtl(node, 300);
        make(zk, node + "/c", "");
        makeTtl(root + "/other", 300);
        zk.exists(root + "/other", events);
        events.expect("NodeDeleted " + root + "/other");
        Thread.sleep(2 * INTERVAL_MS);
        assertNotNull(zk.exists(node, events));
        zk.delete(node + "/c", -1);
        events.expect("NodeDeleted " + node);
    }

    @Test
    void containerGoesWithItsLastChild() throws Exception {
        String used = zk.create(node, null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        String unused = zk.create(root + "/unused", null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        make(zk, used + "/a", "");
        makeEphemeral(zk, used + "/b");
        zk.delete(used + "/a", -1);
        zk.exists(used, events);
        Thread.sleep(3 * INTERVAL_MS);
        fence(zk);
        assertEquals(List.of(), events.drain());
        zk.delete(used + "/b", -1);
        events.expect("NodeDeleted " + used);
        assertNull(zk.exists(used, false));
        // One that never had a child stays.
        Thread.sleep(2 * INTERVAL_MS);
        assertNotNull(zk.exists(unused, false));
    }

    @Test
    void containerGoesWhenTheLastSessionInItEnds() throws Exception {
        String container = zk.create(node, null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        Client member = connect();
        makeEphemeral(member, container + "/m");
        zk.exists(container, events);
        member.close();
        events.expect("NodeDeleted " + container);
    }

    @Test
    void ordinaryNodesStay() throws Exception {
        make(zk, node, "");
        make(zk, node + "/c", "");
        zk.delete(node + "/c", -1);
        makeTtl(root + "/t", 100);
        zk.exists(root + "/t", events);
        events.expect("NodeDeleted " + root + "/t");
        Thread.sleep(2 * INTERVAL_MS);
        assertEquals(List.of("n"), zk.getChildren(root, false));
    }
}
