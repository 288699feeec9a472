package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A connection that breaks, stalls and comes back: the session, its ephemerals and exactly the missed events. */
class ReconnectTest extends Fixture {
    private TcpProxy wire;
    private Client far;

    @BeforeEach
    void connectThroughTheWire() throws Exception {
        wire = proxy();
        far = connect(wire.hosts(), CALM_MS);
    }

    /** Cuts the wire and keeps it cut until mend(). */
    private void sever() throws Exception {
        wire.refuse();
        far.events.forgetStates();
        wire.cut();
        far.events.awaitState(KeeperState.Disconnected);
    }

    private void mend() throws Exception {
        wire.resume();
        far.events.awaitState(KeeperState.SyncConnected);
    }

    @Test
    void sessionAndEphemeralsSurviveACutConnection() throws Exception {
        String node = makeEphemeral(far, root + "/e");
        long id = far.getSessionId();
        byte[] password = far.getSessionPasswd();
        for (int i = 0; i < 2; i++) {
            sever();
            assertThrows(KeeperException.ConnectionLossException.class, () -> far.exists(node, false));
            assertEquals(id, zk.exists(node, false).getEphemeralOwner());
            mend();
            assertEquals(id, far.getSessionId());
            assertArrayEquals(password, far.getSessionPasswd());
            assertEquals(List.of(node), far.getEphemerals());
            far.setData(node, bytes("round " + i), i);
        }
        assertEquals("round 1", text(zk.getData(node, false, null)));
    }

    /** Everything that the rules of setWatches distinguish, in one absence. */
    @Test
    void oneShotWatchesFireExactlyForWhatWasMissed() throws Exception {
        List<String> names = List.of("quiet", "changed", "deleted", "again", "parent", "family", "doomed", "acl");
        for (String name : names) {
            make(zk, root + "/" + name, "");
        }
        make(zk, root + "/family/child", "");
        Events data = new Events();
        Events exists = new Events();
        Events children = new Events();
        for (String name : List.of("quiet", "changed", "deleted", "again", "acl", "family")) {
            far.getData(root + "/" + name, data, null);
        }
        for (String name : List.of("born", "flash", "unborn")) {
            assertNull(far.exists(root + "/" + name, exists));
        }
        for (String name : List.of("parent", "family", "doomed", "quiet")) {
            far.getChildren(root + "/" + name, children);
        }
        sever();
        zk.setData(root + "/changed", bytes("1"), -1);
        zk.delete(root + "/deleted", -1);
        zk.delete(root + "/again", -1);
        make(zk, root + "/again", "");
        zk.setACL(root + "/acl", Ids.OPEN_ACL_UNSAFE, -1);
        make(zk, root + "/born", "");
        make(zk, root + "/flash", "");
        zk.delete(root + "/flash", -1);
        make(zk, root + "/parent/new", "");
        zk.setData(root + "/family/child", bytes("1"), -1);
        zk.delete(root + "/doomed", -1);
        assertEquals(List.of(), data.drain());
        mend();
        fence(far);
        assertEquals(Set.of("NodeDataChanged " + root + "/changed", "NodeDeleted " + root + "/deleted",
                "NodeDataChanged " + root + "/again"), Set.copyOf(data.drain()));
        assertEquals(List.of("NodeCreated " + root + "/born"), exists.drain());
        assertEquals(Set.of("NodeChildrenChanged " + root + "/parent", "NodeDeleted " + root + "/doomed"),
                Set.copyOf(children.drain()));

        // What was not missed is still watched, once; what fired is not.
        for (String name : List.of("quiet", "changed", "again", "acl", "family")) {
            zk.setData(root + "/" + name, bytes("2"), -1);
        }
        make(zk, root + "/flash", "");
        make(zk, root + "/unborn", "");
        zk.setData(root + "/born", bytes("2"), -1);
        make(zk, root + "/family/second", "");
        make(zk, root + "/parent/second", "");
        zk.delete(root + "/quiet", -1);
        fence(far);
        assertEquals(List.of("NodeDataChanged " + root + "/quiet", "NodeDataChanged " + root + "/acl",
                "NodeDataChanged " + root + "/family"), data.drain());
        assertEquals(List.of("NodeCreated " + root + "/flash", "NodeCreated " + root + "/unborn"), exists.drain());
        assertEquals(List.of("NodeChildrenChanged " + root + "/family", "NodeDeleted " + root + "/quiet"),
                children.drain());
    }

    /** Persistent watches come back with the session; what happened meanwhile is not told. */
    @Test
    void persistentWatchesComeBackWithoutThePast() throws Exception {
        Events persistent = new Events();
        Events recursive = new Events();
        Events exists = new Events();
        make(zk, root + "/p", "");
        far.addWatch(root + "/p", persistent, AddWatchMode.PERSISTENT);
        far.addWatch(root, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        far.exists(root + "/x", exists);
        sever();
        zk.setData(root + "/p", bytes("missed"), -1);
        make(zk, root + "/missed", "");
        make(zk, root + "/x", "");
        mend();
        fence(far);
        // The catch-up of the exists watch is an event of /x, which the recursive watcher of this client matches too.
        assertEquals(List.of("NodeCreated " + root + "/x"), exists.drain());
        assertEquals(List.of(), persistent.drain());
        assertEquals(List.of("NodeCreated " + root + "/x"), recursive.drain());
        for (int i = 0; i < 2; i++) {
            zk.setData(root + "/p", bytes("seen"), -1);
            make(zk, root + "/p/c" + i, "");
        }
        fence(far);
        assertEquals(List.of("NodeDataChanged " + root + "/p", "NodeChildrenChanged " + root + "/p",
                "NodeDataChanged " + root + "/p", "NodeChildrenChanged " + root + "/p"), persistent.drain());
        assertEquals(List.of("NodeDataChanged " + root + "/p", "NodeCreated " + root + "/p/c0",
                "NodeDataChanged " + root + "/p", "NodeCreated " + root + "/p/c1"), recursive.drain());
    }

    /** More paths than one setWatches request may carry. */
    @Test
    void thousandsOfWatchesComeBack() throws Exception {
        int total = 3000;
        String pad = "w".repeat(100);
        Answers answers = new Answers();
        List<Events> watchers = new ArrayList<>();
        for (int i = 0; i < total; i++) {
            Events own = new Events();
            watchers.add(own);
            far.exists(root + "/" + pad + i, own, answers.stat(), null);
        }
        for (int i = 0; i < total; i++) {
            assertEquals(Code.NONODE, answers.take().code());
        }
        sever();
        for (int i = 0; i < total; i += 10) {
            zk.create(root + "/" + pad + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, IGNORE, null);
        }
        fence(zk);
        mend();
        for (int i = 1; i < total; i += 10) {
            zk.create(root + "/" + pad + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, IGNORE, null);
        }
        fence(zk);
        fence(far);
        for (int i = 0; i < total; i++) {
            List<String> expected = i % 10 < 2 ? List.of("NodeCreated " + root + "/" + pad + i) : List.of();
            assertEquals(expected, watchers.get(i).drain());
        }
    }

    /** Watches of every kind, together far more than one setWatches2 request may carry: none is lost, none doubled. */
    @Test
    void watchesOfEveryKindComeBackInSeveralRequests() throws Exception {
        int each = 500;
        String pad = "w".repeat(150);
        Answers answers = new Answers();
        for (int i = 0; i < each; i++) {
            for (String kind : List.of("d", "c", "p", "r")) {
                zk.create(root + "/" + kind + pad + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, IGNORE, null);
            }
        }
        fence(zk);
        Events data = new Events();
        Events exists = new Events();
        Events children = new Events();
        Events persistent = new Events();
        Events recursive = new Events();
        for (int i = 0; i < each; i++) {
            far.getData(root + "/d" + pad + i, data, answers.data(), null);
            far.exists(root + "/e" + pad + i, exists, answers.stat(), null);
            far.getChildren(root + "/c" + pad + i, children, answers.children(), null);
            far.addWatch(root + "/p" + pad + i, persistent, AddWatchMode.PERSISTENT, answers.nothing(), null);
            far.addWatch(root + "/r" + pad + i, recursive, AddWatchMode.PERSISTENT_RECURSIVE, answers.nothing(), null);
        }
        for (int i = 0; i < 5 * each; i++) {
            answers.take();
        }
        sever();
        for (int i = 0; i < each; i += 50) {
            touch(pad, i);
        }
        fence(zk);
        mend();
        fence(far);
        for (int i = 1; i < each; i += 50) {
            touch(pad, i);
        }
        fence(zk);
        fence(far);
        Set<String> single = new TreeSet<>();
        Set<String> listed = new TreeSet<>();
        Set<String> stayed = new TreeSet<>();
        Set<String> below = new TreeSet<>();
        Set<String> made = new TreeSet<>();
        for (int i = 0; i < each; i += 50) {
            for (int n = i; n < i + 2; n++) {
                single.add("NodeDataChanged " + root + "/d" + pad + n);
                made.add("NodeCreated " + root + "/e" + pad + n);
                listed.add("NodeChildrenChanged " + root + "/c" + pad + n);
            }
            // Persistent watches are not told what they missed.
            stayed.add("NodeChildrenChanged " + root + "/p" + pad + (i + 1));
            below.add("NodeCreated " + root + "/r" + pad + (i + 1) + "/new");
        }
        for (var told : List.of(List.of(single, data), List.of(made, exists), List.of(listed, children),
                List.of(stayed, persistent), List.of(below, recursive))) {
            List<String> events = ((Events) told.get(1)).drain();
            assertEquals(told.get(0), new TreeSet<>(events));
            assertEquals(new TreeSet<>(events).size(), events.size());
        }
    }

    private void touch(String pad, int i) {
        zk.setData(root + "/d" + pad + i, bytes("1"), -1, new Answers().stat(), null);
        zk.create(root + "/e" + pad + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, IGNORE, null);
        for (String kind : List.of("c", "p", "r")) {
            zk.create(root + "/" + kind + pad + i + "/new", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, IGNORE, null);
        }
    }

    /** Whatever is watched, its watcher is told of the connection too, and of the end of the session once. */
    @Test
    void everyWatcherIsToldOfTheConnection() throws Exception {
        List<Events> all = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            all.add(new Events());
        }
        far.getData(root, all.get(0), null);
        far.exists(root + "/none", all.get(1));
        far.getChildren(root, all.get(2));
        far.addWatch(root, all.get(3), AddWatchMode.PERSISTENT);
        far.addWatch(root, all.get(4), AddWatchMode.PERSISTENT_RECURSIVE);
        sever();
        mend();
        for (Events watcher : all) {
            watcher.awaitState(KeeperState.Disconnected);
            watcher.awaitState(KeeperState.SyncConnected);
        }
        Client second = resume(hosts, CALM_MS, far.getSessionId(), far.getSessionPasswd());
        second.events.awaitState(KeeperState.SyncConnected);
        second.close();
        for (Events watcher : all) {
            watcher.awaitState(KeeperState.Expired);
            assertEquals(1, watcher.count(KeeperState.Expired));
            assertEquals(List.of(), watcher.drain());
        }
        refused(Code.SESSIONEXPIRED, () -> far.exists(root, false));
    }

    /** Writes in flight at a cut: the acknowledged ones are there, the others perhaps; in order and none twice. */
    @Test
    void requestsInFlightAtACutAreDoneOrNot() throws Exception {
        Answers answers = new Answers();
        int total = 2000;
        for (int i = 0; i < total; i++) {
            far.create(root + "/s-", bytes("" + i), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL,
                    answers.name(), i);
            if (i == total / 2) {
                until("some answers came", () -> answers.size() > 10);
                wire.cut();
            }
        }
        int acknowledged = 0;
        int lost = 0;
        for (int i = 0; i < total; i++) {
            Answer answer = answers.take();
            if (answer.code() == Code.OK) {
                acknowledged++;
                assertEquals("" + answer.ctx(), text(zk.getData((String) answer.value(), false, null)));
            } else {
                lost++;
                assertEquals(Code.CONNECTIONLOSS, answer.code());
            }
        }
        assertTrue(acknowledged >= 10 && lost > 0, acknowledged + " acknowledged, " + lost + " lost");
        int last = -1;
        Set<String> names = new TreeSet<>(zk.getChildren(root, false));
        for (String name : names) {
            int number = Integer.parseInt(text(zk.getData(root + "/" + name, false, null)));
            assertTrue(number > last, "written twice or out of order: " + number + " after " + last);
            last = number;
        }
        assertTrue(names.size() >= acknowledged);
    }

    /** A wire that holds everything back for a moment loses nothing and reorders nothing. */
    @Test
    void stalledConnectionGoesOnWhereItStopped() throws Exception {
        Events events = new Events();
        Answers answers = new Answers();
        far.getData(root, events, null);
        wire.stall();
        for (int i = 0; i < 200; i++) {
            far.create(root + "/" + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, answers.name(), i);
        }
        zk.setData(root, bytes("meanwhile"), -1);
        assertEquals(0, answers.size());
        wire.resume();
        for (int i = 0; i < 200; i++) {
            Answer answer = answers.take();
            assertEquals(i, answer.ctx());
            assertEquals(Code.OK, answer.code());
        }
        events.expect("NodeDataChanged " + root);
        assertEquals(200, far.getEphemerals().size());
        assertEquals(0, far.events.count(KeeperState.Disconnected));
    }

    /** The session goes to a second handle with id and password; ephemerals stay, the first connection is closed. */
    @Test
    void sessionMovesToASecondHandle() throws Exception {
        String node = makeEphemeral(far, root + "/e");
        Events watch = new Events();
        far.getData(root, watch, null);
        wire.refuse();
        far.events.forgetStates();
        Client second = resume(hosts, CALM_MS, far.getSessionId(), far.getSessionPasswd());
        second.events.awaitState(KeeperState.SyncConnected);
        assertEquals(far.getSessionId(), second.getSessionId());
        assertArrayEquals(far.getSessionPasswd(), second.getSessionPasswd());
        far.events.awaitState(KeeperState.Disconnected);
        assertEquals(List.of(node), second.getEphemerals());
        second.setData(node, bytes("by the second"), 0);
        makeEphemeral(second, root + "/e2");
        assertEquals(far.getSessionId(), zk.exists(root + "/e2", false).getEphemeralOwner());
        // Watches belong to the connection that set them.
        zk.setData(root, bytes("1"), -1);
        fence(second);
        assertEquals(List.of(), second.events.drain());
        assertEquals(List.of(), watch.drain());
        second.close();
        assertNull(zk.exists(node, false));
        assertNull(zk.exists(root + "/e2", false));
        // The first handle finds its session gone, and not for a moment a connection to it.
        wire.resume();
        far.events.awaitState(KeeperState.Expired);
        assertEquals(0, far.events.count(KeeperState.SyncConnected));
        refused(Code.SESSIONEXPIRED, () -> far.exists(root, false));
    }

    /** While a session goes back and forth between two handles its writes stay in each handle's order. */
    @Test
    void sessionMovesWithRequestsInFlight() throws Exception {
        Answers first = new Answers();
        for (int i = 0; i < 1000; i++) {
            far.create(root + "/e" + i, bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, first.name(), i);
        }
        wire.refuse();
        Client second = resume(hosts, CALM_MS, far.getSessionId(), far.getSessionPasswd());
        second.events.awaitState(KeeperState.SyncConnected);
        String marker = makeEphemeral(second, root + "/marker");
        long moved = second.exists(marker, false).getCzxid();
        int acknowledged = 0;
        for (int i = 0; i < 1000; i++) {
            Answer answer = first.take();
            if (answer.code() == Code.OK) {
                acknowledged++;
                assertEquals(i + 1, acknowledged, "a gap among the acknowledged ones");
            } else {
                assertEquals(Code.CONNECTIONLOSS, answer.code());
            }
        }
        int there = 0;
        for (String name : zk.getChildren(root, false)) {
            if (!name.equals("marker")) {
                there++;
                assertTrue(zk.exists(root + "/" + name, false).getCzxid() < moved,
                        () -> name + " was written by the old connection after the session had moved");
            }
        }
        assertTrue(there >= acknowledged);
        for (int i = 0; i < there; i++) {
            assertEquals(far.getSessionId(), zk.exists(root + "/e" + i, false).getEphemeralOwner());
        }
        second.close();
        assertEquals(List.of(), zk.getChildren(root, false));
    }

    @Test
    void wrongPasswordIsRefusedAndHarmsNobody() throws Exception {
        String node = makeEphemeral(far, root + "/e");
        byte[] wrong = far.getSessionPasswd().clone();
        wrong[0] ^= 1;
        Client thief = resume(hosts, CALM_MS, far.getSessionId(), wrong);
        thief.events.awaitState(KeeperState.Expired);
        assertEquals(0, thief.events.count(KeeperState.SyncConnected));
        assertEquals(List.of(node), patiently(far::getEphemerals));
        assertEquals(Code.OK, patiently(() -> {
            far.setData(node, bytes("mine"), -1);
            return Code.OK;
        }));
        assertEquals(far.getSessionId(), zk.exists(node, false).getEphemeralOwner());
    }

    @Test
    void unknownSessionIsRefused() throws Exception {
        Client stranger = resume(hosts, CALM_MS, 0x1234567890abcdL, new byte[16]);
        stranger.events.awaitState(KeeperState.Expired);
        refused(Code.SESSIONEXPIRED, () -> stranger.exists("/", false));
    }

    /** Identities belong to the connection; the client sends them again. */
    @Test
    void identitiesComeBack() throws Exception {
        far.addAuthInfo("digest", bytes("alice:secret"));
        far.create(root + "/mine", bytes("x"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        refused(Code.NOAUTH, () -> zk.getData(root + "/mine", false, null));
        sever();
        mend();
        assertEquals("x", text(far.getData(root + "/mine", false, null)));
        assertEquals(2, far.whoAmI().size());
        far.delete(root + "/mine", -1);
    }
}
