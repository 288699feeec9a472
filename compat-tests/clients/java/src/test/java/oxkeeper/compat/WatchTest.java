package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Watches of every kind: what fires, how often, in which order, and before which replies. */
class WatchTest extends Fixture {
    private final Events events = new Events();
    private Client writer;
    private String node;

    @BeforeEach
    void connectWriter() throws Exception {
        writer = connect();
        node = root + "/n";
    }

    /** What came up to now; the server has nothing more for what was done until now. */
    private List<String> seen() throws Exception {
        fence(zk);
        return events.drain();
    }

    @Test
    void dataWatchFiresOnce() throws Exception {
        make(writer, node, "0");
        zk.getData(node, events, null);
        writer.create(node + "/child", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        writer.setACL(node, Ids.OPEN_ACL_UNSAFE, -1);
        assertEquals(List.of(), seen());
        long zxid = writer.setData(node, bytes("1"), -1).getMzxid();
        WatchedEvent event = events.take();
        assertEquals(Watcher.Event.EventType.NodeDataChanged, event.getType());
        assertEquals(node, event.getPath());
        assertEquals(KeeperState.SyncConnected, event.getState());
        assertEquals(zxid, event.getZxid());
        writer.setData(node, bytes("2"), -1);
        assertEquals(List.of(), seen());
    }

    @Test
    void existsWatchFiresOnCreationChangeAndDeletion() throws Exception {
        assertNull(zk.exists(node, events));
        make(writer, node, "");
        events.expect("NodeCreated " + node);
        assertNotNull(zk.exists(node, events));
        writer.setData(node, bytes("1"), -1);
        events.expect("NodeDataChanged " + node);
        zk.exists(node, events);
        writer.delete(node, -1);
        events.expect("NodeDeleted " + node);
        make(writer, node, "");
        assertEquals(List.of(), seen());
    }

    @Test
    void childWatchFiresOnChildrenAndDeletion() throws Exception {
        make(writer, node, "");
        zk.getChildren(node, events);
        writer.setData(node, bytes("1"), -1);
        assertEquals(List.of(), seen());
        make(writer, node + "/a", "");
        make(writer, node + "/b", "");
        assertEquals(List.of("NodeChildrenChanged " + node), seen());
        zk.getChildren(node, events, null);
        writer.setData(node + "/a", bytes("1"), -1);
        make(writer, node + "/a/deep", "");
        assertEquals(List.of(), seen());
        writer.delete(node + "/b", -1);
        events.expect("NodeChildrenChanged " + node);
        writer.delete(node + "/a/deep", -1);
        writer.delete(node + "/a", -1);
        zk.getChildren(node, events);
        writer.delete(node, -1);
        assertEquals(List.of("NodeDeleted " + node), seen());
    }

    @Test
    void refusedReadsLeaveNoWatchButExistsDoes() throws Exception {
        Events data = new Events();
        Events children = new Events();
        refused(Code.NONODE, () -> zk.getData(node, data, null));
        refused(Code.NONODE, () -> zk.getChildren(node, children));
        assertNull(zk.exists(node, events));
        make(writer, node, "");
        assertEquals(List.of("NodeCreated " + node), seen());
        assertEquals(List.of(), data.drain());
        assertEquals(List.of(), children.drain());
    }

    /** Data and child watch on one znode: its deletion is one event of the server and reaches both watchers once. */
    @Test
    void deletionConsumesDataAndChildWatch() throws Exception {
        Events children = new Events();
        make(writer, node, "");
        zk.getData(node, events, null);
        zk.getChildren(node, children);
        writer.delete(node, -1);
        assertEquals(List.of("NodeDeleted " + node), seen());
        assertEquals(List.of("NodeDeleted " + node), children.drain());
        make(writer, node, "");
        make(writer, node + "/c", "");
        assertEquals(List.of(), seen());
        assertEquals(List.of(), children.drain());
    }

    @Test
    void defaultWatcherIsTold() throws Exception {
        make(writer, node, "");
        zk.getData(node, true, null);
        zk.getChildren(node, true);
        zk.exists(node + "/c", true);
        make(writer, node + "/c", "");
        writer.setData(node, bytes("1"), -1);
        fence(zk);
        assertEquals(List.of("NodeCreated " + node + "/c", "NodeChildrenChanged " + node, "NodeDataChanged " + node),
                zk.events.drain());
    }

    @Test
    void persistentWatchStays() throws Exception {
        zk.addWatch(node, events, AddWatchMode.PERSISTENT);
        for (int i = 0; i < 3; i++) {
            make(writer, node, "");
            writer.setData(node, bytes("1"), -1);
            make(writer, node + "/a", "");
            writer.setData(node + "/a", bytes("1"), -1);
            make(writer, node + "/a/deep", "");
            writer.delete(node + "/a/deep", -1);
            writer.delete(node + "/a", -1);
            writer.delete(node, -1);
            assertEquals(List.of("NodeCreated " + node, "NodeDataChanged " + node, "NodeChildrenChanged " + node,
                    "NodeChildrenChanged " + node, "NodeDeleted " + node), seen());
        }
    }

    @Test
    void recursiveWatchSeesTheWholeSubtreeAndNoChildEvents() throws Exception {
        zk.addWatch(root, events, AddWatchMode.PERSISTENT_RECURSIVE);
        make(writer, node, "");
        make(writer, node + "/a", "");
        make(writer, node + "/a/b", "");
        writer.setData(node + "/a/b", bytes("1"), -1);
        writer.setData(root, bytes("1"), -1);
        writer.delete(node + "/a/b", -1);
        writer.delete(node + "/a", -1);
        assertEquals(List.of("NodeCreated " + node, "NodeCreated " + node + "/a", "NodeCreated " + node + "/a/b",
                "NodeDataChanged " + node + "/a/b", "NodeDataChanged " + root, "NodeDeleted " + node + "/a/b",
                "NodeDeleted " + node + "/a"), seen());
    }

    /** The root has a subtree like any other: all there is. Other tests run beside this one, so only its part is looked at. */
    @Test
    void recursiveWatchOnTheRootSeesEverything() throws Exception {
        Events everything = new Events();
        Client client = connect();
        client.addWatch("/", everything, AddWatchMode.PERSISTENT_RECURSIVE);
        make(zk, root + "/a", "");
        make(zk, root + "/a/b", "");
        zk.setData(root + "/a/b", bytes("1"), 0);
        zk.multi(List.of(Op.delete(root + "/a/b", 1), Op.delete(root + "/a", 0)));
        fence(client);
        List<String> own = everything.drain().stream().filter(event -> event.contains(root + "/")).toList();
        assertEquals(List.of("NodeCreated " + root + "/a", "NodeCreated " + root + "/a/b",
                "NodeDataChanged " + root + "/a/b", "NodeDeleted " + root + "/a/b", "NodeDeleted " + root + "/a"), own);
        client.removeAllWatches("/", WatcherType.PersistentRecursive, false);
        // The client tells its watcher of the removal by a thread of its own.
        fence(client);
        everything.drain();
        make(zk, root + "/a", "");
        fence(client);
        assertEquals(List.of(), everything.drain());
    }

    @Test
    void recursiveWatchDoesNotMistakeASiblingForAChild() throws Exception {
        make(writer, node, "");
        zk.addWatch(node, events, AddWatchMode.PERSISTENT_RECURSIVE);
        make(writer, node + "sibling", "");
        make(writer, node + "sibling/x", "");
        make(writer, node + "/x", "");
        assertEquals(List.of("NodeCreated " + node + "/x"), seen());
    }

    @Test
    void addWatchWithTheDefaultWatcher() throws Exception {
        zk.addWatch(node, AddWatchMode.PERSISTENT);
        make(writer, node, "");
        zk.events.expect("NodeCreated " + node);
    }

    /** One change, several watches of one session that match: the server tells once, the client every watcher. */
    @Test
    void allKindsOnOneNodeTogether() throws Exception {
        Events persistent = new Events();
        Events recursive = new Events();
        make(writer, node, "");
        zk.addWatch(node, persistent, AddWatchMode.PERSISTENT);
        zk.addWatch(root, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.getData(node, events, null);
        writer.setData(node, bytes("1"), -1);
        writer.setData(node, bytes("2"), -1);
        assertEquals(List.of("NodeDataChanged " + node), seen());
        assertEquals(List.of("NodeDataChanged " + node, "NodeDataChanged " + node), persistent.drain());
        assertEquals(List.of("NodeDataChanged " + node, "NodeDataChanged " + node), recursive.drain());
    }

    @Test
    void removedWatchesFallSilent() throws Exception {
        make(writer, node, "");
        zk.getData(node, events, null);
        zk.getChildren(node, events);
        Events persistent = new Events();
        zk.addWatch(node, persistent, AddWatchMode.PERSISTENT);
        zk.removeWatches(node, events, WatcherType.Data, false);
        assertEquals(List.of("DataWatchRemoved " + node), seen());
        refused(Code.NOWATCHER, () -> zk.removeWatches(node, events, WatcherType.Data, false));
        writer.setData(node, bytes("1"), -1);
        make(writer, node + "/a", "");
        assertEquals(List.of("NodeChildrenChanged " + node), seen());
        assertEquals(List.of("NodeDataChanged " + node, "NodeChildrenChanged " + node), persistent.drain());
        zk.removeAllWatches(node, WatcherType.Any, false);
        fence(zk);
        assertEquals(List.of("PersistentWatchRemoved " + node), persistent.drain());
        writer.setData(node, bytes("2"), -1);
        fence(zk);
        assertEquals(List.of(), persistent.drain());
        refused(Code.NOWATCHER, () -> zk.removeAllWatches(node, WatcherType.Any, false));
    }

    @Test
    void removeAllWatchesKeepsOtherKindsAndOtherSessions() throws Exception {
        make(writer, node, "");
        Events children = new Events();
        Events others = new Events();
        zk.getData(node, events, null);
        zk.getChildren(node, children);
        writer.getData(node, others, null);
        zk.removeAllWatches(node, WatcherType.Data, false);
        assertEquals(List.of("DataWatchRemoved " + node), seen());
        make(zk, node + "/a", "");
        zk.setData(node, bytes("1"), -1);
        fence(zk);
        fence(writer);
        assertEquals(List.of(), events.drain());
        assertEquals(List.of("NodeChildrenChanged " + node), children.drain());
        assertEquals(List.of("NodeDataChanged " + node), others.drain());
    }

    @Test
    void removePersistentAndRecursiveWatches() throws Exception {
        zk.addWatch(node, events, AddWatchMode.PERSISTENT);
        zk.addWatch(root, events, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.removeAllWatches(root, WatcherType.PersistentRecursive, false);
        assertEquals(List.of("PersistentWatchRemoved " + root), seen());
        make(writer, node, "");
        make(writer, node + "/a", "");
        assertEquals(List.of("NodeCreated " + node, "NodeChildrenChanged " + node), seen());
        zk.removeAllWatches(node, WatcherType.Persistent, false);
        assertEquals(List.of("PersistentWatchRemoved " + node), seen());
        writer.delete(node + "/a", -1);
        assertEquals(List.of(), seen());
    }

    @Test
    void transactionTellsOperationByOperation() throws Exception {
        make(writer, node, "");
        make(writer, node + "/old", "");
        Events children = new Events();
        zk.addWatch(root, events, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.getChildren(node, children);
        writer.multi(List.of(
                Op.create(node + "/a", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData(node, bytes("1"), -1),
                Op.delete(node + "/old", -1),
                Op.create(node + "/b", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)));
        List<String> expected = List.of("NodeCreated " + node + "/a", "NodeDataChanged " + node,
                "NodeDeleted " + node + "/old", "NodeCreated " + node + "/b");
        assertEquals(expected, seen());
        assertEquals(List.of("NodeChildrenChanged " + node), children.drain());
        refused(Code.BADVERSION, () -> writer.multi(List.of(Op.setData(node, bytes("2"), -1), Op.check(node, 99))));
        assertEquals(List.of(), seen());
    }

    /** The client drops events it has no watcher for, so that only the server's own list shows what it keeps. */
    @Test
    void serverKeepsNoWatchThatWasConsumedOrNeverAsked() throws Exception {
        Servers.needOwnSettings("wchp may be off");
        make(writer, node, "");
        zk.multi(List.of(Op.getData(node), Op.getChildren(node)));
        zk.getData(node, false, null);
        assertEquals(false, watchedPaths().contains(node));
        zk.getData(node, events, null);
        zk.getChildren(node, events);
        assertTrue(watchedPaths().contains(node));
        writer.delete(node, -1);
        assertEquals(false, watchedPaths().contains(node));
        zk.addWatch(node, events, AddWatchMode.PERSISTENT);
        make(writer, node, "");
        assertTrue(watchedPaths().contains(node));
        zk.close();
        assertEquals(false, watchedPaths().contains(node));
    }

    private List<String> watchedPaths() {
        int colon = hosts.lastIndexOf(':');
        int port = Integer.parseInt(hosts.substring(colon + 1));
        return ServerProcess.word(hosts.substring(0, colon), port, "wchp").lines().toList();
    }

    @Test
    void closingASessionTellsOfItsEphemerals() throws Exception {
        Client owner = connect();
        make(writer, node, "");
        Set<String> expected = new java.util.HashSet<>();
        for (int i = 0; i < 50; i++) {
            expected.add("NodeDeleted " + makeEphemeral(owner, node + "/e" + i));
        }
        Events children = new Events();
        zk.addWatch(node, events, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.getChildren(node, children);
        owner.close();
        List<String> seen = seen();
        assertEquals(50, seen.size());
        assertEquals(expected, Set.copyOf(seen));
        assertEquals(List.of("NodeChildrenChanged " + node), children.drain());
        assertEquals(100, zk.exists(node, false).getCversion());
    }

    /** The event of a session's own write comes before the write's reply; so do all of one transaction. */
    @Test
    void ownEventsComeBeforeTheReply() throws Exception {
        List<String> log = Collections.synchronizedList(new ArrayList<>());
        Watcher watcher = event -> log.add(event.getType() + " " + event.getPath());
        Answers done = new Answers();
        zk.exists(node, watcher, (rc, path, ctx, stat) -> log.add("exists"), null);
        zk.getChildren(root, watcher, (int rc, String path, Object ctx, List<String> c) -> log.add("children"), null);
        zk.create(node, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                (int rc, String path, Object ctx, String name) -> log.add("created"), null);
        zk.getData(node, watcher, (rc, path, ctx, data, stat) -> log.add("data"), null);
        zk.setData(node, bytes("1"), 0, (rc, path, ctx, stat) -> log.add("set"), null);
        zk.getData(node, false, (rc, path, ctx, data, stat) -> log.add("read"), null);
        zk.getChildren(node, watcher, (int rc, String path, Object ctx, List<String> c) -> log.add("children"), null);
        zk.delete(node, 1, (rc, path, ctx) -> log.add("deleted"), null);
        zk.sync("/", done.nothing(), null);
        done.take();
        assertEquals(List.of("exists", "children", "NodeCreated " + node, "NodeChildrenChanged " + root, "created",
                "data", "NodeDataChanged " + node, "set", "read", "children", "NodeDeleted " + node, "deleted"), log);
    }

    /** A session that watches never reads the new data before it got the event, however the two race. */
    @Test
    void eventComesBeforeAnyReplyThatShowsTheChange() throws Exception {
        make(writer, node, "");
        Answers reads = new Answers();
        for (int round = 1; round <= 300; round++) {
            List<String> log = Collections.synchronizedList(new ArrayList<>());
            zk.getData(node, event -> log.add("event"), null);
            Answers written = new Answers();
            writer.setData(node, bytes("v"), -1, written.stat(), null);
            int version = 0;
            while (version < round) {
                zk.exists(node, false, (rc, path, ctx, stat) -> {
                    log.add("version " + stat.getVersion());
                    reads.stat().processResult(rc, path, ctx, stat);
                }, null);
                version = reads.take().stat().getVersion();
            }
            written.take();
            int event = log.indexOf("event");
            int shown = log.indexOf("version " + round);
            assertTrue(event >= 0 && event < shown, () -> "the event must precede the new version: " + log);
        }
    }

    /** A read that sets a watch shows either the change or leads to its event: nothing is lost between the two. */
    @Test
    void noChangeFallsBetweenReadAndWatch() throws Exception {
        make(writer, node, "");
        int total = 600;
        Answers writes = new Answers();
        for (int i = 0; i < total; i++) {
            writer.setData(node, bytes("v"), -1, writes.stat(), null);
        }
        int version = 0;
        while (version < total) {
            Events own = new Events();
            Answers answers = new Answers();
            zk.getData(node, own, answers.data(), null);
            Answer answer = answers.take();
            version = answer.stat().getVersion();
            if (version < total) {
                WatchedEvent event = own.take();
                assertTrue(event.getZxid() > answer.stat().getMzxid());
            }
        }
    }

    @Test
    void everyWatcherOfManySessionsIsTold() throws Exception {
        make(writer, node, "");
        List<Events> watchers = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            Events own = new Events();
            watchers.add(own);
            connect().getData(node, own, null);
        }
        writer.setData(node, bytes("1"), -1);
        for (Events own : watchers) {
            own.expect("NodeDataChanged " + node);
        }
    }

    @Test
    void thousandsOfWatchesInOneSession() throws Exception {
        Answers answers = new Answers();
        List<Events> watchers = new ArrayList<>();
        for (int i = 0; i < 3000; i++) {
            Events own = new Events();
            watchers.add(own);
            zk.exists(root + "/w" + i, own, answers.stat(), null);
        }
        for (int i = 0; i < 3000; i++) {
            assertEquals(Code.NONODE, answers.take().code());
        }
        for (int i = 0; i < 3000; i += 3) {
            writer.create(root + "/w" + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, IGNORE, null);
        }
        fence(writer);
        fence(zk);
        for (int i = 0; i < 3000; i++) {
            List<String> expected = i % 3 == 0 ? List.of("NodeCreated " + root + "/w" + i) : List.of();
            assertEquals(expected, watchers.get(i).drain());
        }
    }
}
