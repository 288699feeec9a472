package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.List;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.OpResult.CreateResult;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A client whose connect string ends in a path takes that path for its root, in all it sends and all it is told. */
class ChrootTest extends Fixture {
    private Client inside;

    @BeforeEach
    void connectInside() throws Exception {
        inside = connect(hosts + root, CALM_MS);
    }

    @Test
    void callsAndAnswersAreRelative() throws Exception {
        assertEquals("/a", make(inside, "/a", "1"));
        assertEquals("1", text(zk.getData(root + "/a", false, null)));
        assertEquals("/a/s0000000000",
                inside.create("/a/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL));
        assertEquals(List.of("a"), inside.getChildren("/", false));
        assertEquals("root", text(inside.getData("/", false, null)));
        assertEquals(2, inside.getAllChildrenNumber("/"));
        inside.setData("/", bytes("changed"), 0);
        assertEquals("changed", text(zk.getData(root, false, null)));
        Answers answers = new Answers();
        inside.create("/b", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, answers.nameAndStat(), null);
        Answer answer = answers.take();
        assertEquals("/b", answer.path());
        assertEquals("/b", answer.value());
        refused(Code.NONODE, "/no/x", () -> make(inside, "/no/x", ""));
        inside.sync("/");
        inside.delete("/b", 0);
        assertNull(zk.exists(root + "/b", false));
    }

    @Test
    void transactionsAreRelative() throws Exception {
        List<OpResult> results = inside.multi(List.of(
                Op.create("/a", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/a/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL)));
        assertInstanceOf(CreateResult.class, results.get(1));
        assertEquals(List.of("s0000000000"), zk.getChildren(root + "/a", false));
        inside.multi(List.of(Op.delete("/a/s0000000000", 0), Op.delete("/a", 0)));
        assertEquals(List.of(), zk.getChildren(root, false));
    }

    @Test
    void eventsAreRelativeAlsoAfterAReconnect() throws Exception {
        TcpProxy wire = proxy();
        Client far = connect(wire.hosts() + root, CALM_MS);
        Events events = new Events();
        Events recursive = new Events();
        far.exists("/a", events);
        far.getChildren("/", events);
        make(zk, root + "/a", "");
        events.expect("NodeCreated /a", "NodeChildrenChanged /");
        far.getData("/a", events, null);
        far.getData("/", events, null);
        far.addWatch("/", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        wire.refuse();
        far.events.forgetStates();
        wire.cut();
        zk.setData(root + "/a", bytes("1"), -1);
        wire.resume();
        far.events.awaitState(KeeperState.SyncConnected);
        events.expect("NodeDataChanged /a");
        recursive.expect("NodeDataChanged /a");
        zk.setData(root, bytes("1"), -1);
        events.expect("NodeDataChanged /");
        make(zk, root + "/a/b", "");
        recursive.expect("NodeDataChanged /", "NodeCreated /a/b");
    }

    @Test
    void watchesAreRemovedByTheirRelativePath() throws Exception {
        Events persistent = new Events();
        Events exists = new Events();
        make(inside, "/a", "");
        inside.addWatch("/a", persistent, AddWatchMode.PERSISTENT);
        inside.exists("/a", exists);
        inside.removeAllWatches("/a", WatcherType.Persistent, false);
        persistent.expect("PersistentWatchRemoved /a");
        refused(Code.NOWATCHER, "/a", () -> inside.removeAllWatches("/a", WatcherType.Persistent, false));
        zk.setData(root + "/a", bytes("1"), -1);
        exists.expect("NodeDataChanged /a");
        fence(inside);
        assertEquals(List.of(), persistent.drain());
    }

    /** The configuration of the ensemble lies outside, and is read and watched all the same. */
    @Test
    void configurationIsReadFromWithin() throws Exception {
        Stat stat = new Stat();
        assertEquals(text(zk.getConfig(false, null)), text(inside.getConfig(false, stat)));
        assertEquals(zk.exists("/zookeeper/config", false), stat);
        assertNull(inside.exists("/zookeeper/config", false));
        assertEquals(root + "/e", makeEphemeral(zk, root + "/e"));
        makeEphemeral(inside, "/mine");
        assertEquals(1, inside.getEphemerals().size());
    }

    @Test
    void chrootThatDoesNotExistYet() throws Exception {
        Client early = connect(hosts + root + "/later/root", CALM_MS);
        refused(Code.NONODE, () -> make(early, "/x", ""));
        assertNull(early.exists("/", false));
        make(zk, root + "/later", "");
        make(zk, root + "/later/root", "");
        make(early, "/x", "here");
        assertEquals("here", text(zk.getData(root + "/later/root/x", false, null)));
    }
}
