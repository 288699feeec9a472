package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.HashSet;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper.States;
import org.junit.jupiter.api.Test;

/** The end of sessions: by silence, by close, and with creates under way. An ephemeral never outlives its session. */
class SessionTest extends Fixture {
    private static final int SHORT_MS = 2_000;
    /** A tick rounds the expiry up (3 s by default, half a second on servers started here), a busy machine adds. */
    private static final int SLACK_MS = 6_000;

    @Test
    void silenceEndsTheSession() throws Exception {
        TcpProxy wire = proxy();
        Client quiet = connect(wire.hosts(), SHORT_MS);
        Client watcher = connect();
        Events events = new Events();
        Events recursive = new Events();
        Set<String> expected = new HashSet<>();
        for (int i = 0; i < 20; i++) {
            expected.add("NodeDeleted " + makeEphemeral(quiet, root + "/e" + i));
        }
        watcher.exists(root + "/e0", events);
        watcher.addWatch(root, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        long start = System.nanoTime();
        quiet.exists(root, false);
        wire.refuse();
        wire.cut();
        events.expect("NodeDeleted " + root + "/e0");
        long elapsed = millisSince(start);
        int timeout = quiet.getSessionTimeout();
        assertTrue(elapsed >= timeout, () -> "expired after " + elapsed + " ms of " + timeout);
        assertTrue(elapsed <= timeout + SLACK_MS, () -> "expired only after " + elapsed + " ms of " + timeout);
        fence(watcher);
        assertEquals(expected, Set.copyOf(recursive.drain()));
        assertEquals(List.of(), zk.getChildren(root, false));
        assertEquals(40, zk.exists(root, false).getCversion());
        // The session itself learns of it when it comes back.
        wire.resume();
        quiet.events.awaitState(KeeperState.Expired);
        assertEquals(States.CLOSED, quiet.getState());
        refused(Code.SESSIONEXPIRED, () -> quiet.create(root + "/late", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.EPHEMERAL));
    }

    /** A connection that stays open but says nothing expires as well, and is closed by the server. */
    @Test
    void stalledConnectionExpires() throws Exception {
        TcpProxy wire = proxy();
        Client quiet = connect(wire.hosts(), SHORT_MS);
        Events events = new Events();
        makeEphemeral(quiet, root + "/e");
        zk.exists(root + "/e", events);
        wire.stall();
        events.expect("NodeDeleted " + root + "/e");
        wire.cut();
        wire.resume();
        quiet.events.awaitState(KeeperState.Expired);
    }

    @Test
    void pingsKeepAnIdleSessionAlive() throws Exception {
        Client idle = connect(hosts, SHORT_MS);
        Events events = new Events();
        String node = makeEphemeral(idle, root + "/e");
        zk.exists(node, events);
        Thread.sleep(2L * idle.getSessionTimeout());
        fence(zk);
        assertEquals(List.of(), events.drain());
        assertEquals(idle.getSessionId(), zk.exists(node, false).getEphemeralOwner());
        assertEquals(0, idle.events.count(KeeperState.Disconnected));
        assertEquals(List.of(node), idle.getEphemerals());
    }

    @Test
    void closeRemovesEphemeralsBeforeItReturns() throws Exception {
        for (int round = 0; round < 10; round++) {
            Client owner = connect();
            for (int i = 0; i < 20; i++) {
                makeEphemeral(owner, root + "/e" + i);
            }
            Events events = new Events();
            for (int i = 0; i < 20; i++) {
                zk.exists(root + "/e" + i, events);
            }
            owner.close();
            assertEquals(List.of(), zk.getChildren(root, false));
            // One transaction removed them all, the parent's last change.
            assertEquals(Set.of(zk.exists(root, false).getPzxid()), events.drainZxids());
        }
    }

    /** Creates still under way when close is called: done before it, or never; and no ephemeral is left. */
    @Test
    void closeBehindCreatesInFlight() throws Exception {
        for (int round = 0; round < 5; round++) {
            String base = make(zk, root + "/r" + round, "");
            Client owner = connect();
            Answers answers = new Answers();
            for (int i = 0; i < 400; i++) {
                CreateMode mode = i % 2 == 0 ? CreateMode.EPHEMERAL : CreateMode.PERSISTENT;
                owner.create(base + "/n" + i, null, Ids.OPEN_ACL_UNSAFE, mode, answers.name(), i);
            }
            owner.close();
            Set<String> expected = new HashSet<>();
            for (int i = 0; i < 400; i++) {
                Answer answer = answers.take();
                assertEquals(Code.OK, answer.code());
                if ((int) answer.ctx() % 2 == 1) {
                    expected.add("n" + answer.ctx());
                }
            }
            assertEquals(200, expected.size());
            assertEquals(expected, Set.copyOf(zk.getChildren(base, false)));
        }
    }

    /** The same with the session taken over and closed by another handle while the first one pumps creates. */
    @Test
    void closeByAnotherHandleDuringCreates() throws Exception {
        for (int round = 0; round < 5; round++) {
            String base = make(zk, root + "/r" + round, "");
            TcpProxy wire = proxy();
            Client owner = connect(wire.hosts(), CALM_MS);
            Answers answers = new Answers();
            for (int i = 0; i < 1000; i++) {
                owner.create(base + "/n" + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, answers.name(), i);
            }
            wire.refuse();
            Client second = resume(hosts, CALM_MS, owner.getSessionId(), owner.getSessionPasswd());
            second.events.awaitState(KeeperState.SyncConnected);
            second.close();
            assertEquals(List.of(), zk.getChildren(base, false), "an ephemeral outlived its session");
            for (int i = 0; i < 1000; i++) {
                answers.take();
            }
            fence(zk);
            assertEquals(List.of(), zk.getChildren(base, false), "an ephemeral came after its session's end");
        }
    }

    /** And with a session that expires: its last creates were on their way when the wire broke. */
    @Test
    void expiryBehindCreatesInFlight() throws Exception {
        TcpProxy wire = proxy();
        Client owner = connect(wire.hosts(), SHORT_MS);
        Client watcher = connect();
        Events events = new Events();
        String first = makeEphemeral(owner, root + "/first");
        watcher.exists(first, events);
        Answers answers = new Answers();
        for (int i = 0; i < 2000; i++) {
            owner.create(root + "/n" + i, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, answers.name(), i);
        }
        until("some answers came", () -> answers.size() > 10);
        wire.refuse();
        wire.cut();
        events.expect("NodeDeleted " + first);
        assertEquals(List.of(), watcher.getChildren(root, false));
    }

    /** Ephemerals of a session that others delete and create again belong to whoever created them last. */
    @Test
    void ephemeralTakenOverByAnotherSession() throws Exception {
        Client first = connect();
        Client second = connect();
        String node = makeEphemeral(first, root + "/e");
        zk.delete(node, -1);
        makeEphemeral(second, node);
        first.close();
        assertEquals(second.getSessionId(), zk.exists(node, false).getEphemeralOwner());
        second.close();
        assertEquals(List.of(), zk.getChildren(root, false));
    }

    @Test
    void manySessionsComeAndGo() throws Exception {
        List<Client> clients = new ArrayList<>();
        Set<Long> ids = new HashSet<>();
        for (int i = 0; i < 24; i++) {
            Client client = connect();
            clients.add(client);
            ids.add(client.getSessionId());
            makeEphemeral(client, root + "/e" + i);
        }
        assertEquals(24, ids.size());
        for (int i = 0; i < 24; i += 2) {
            clients.get(i).close();
        }
        assertEquals(12, zk.getChildren(root, false).size());
        for (int i = 1; i < 24; i += 2) {
            assertNotNull(zk.exists(root + "/e" + i, false));
        }
    }
}
