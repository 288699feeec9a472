package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The server is killed and started again: data, sessions, ephemerals and watches go on. */
@Timeout(240)
class RestartTest extends Fixture {
    private static ServerProcess process;

    @Override
    String server() throws Exception {
        if (process == null) {
            process = Servers.prepare().start();
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

    private void killAndStart(Client... connected) throws Exception {
        for (Client client : connected) {
            client.events.forgetStates();
        }
        process.kill();
        process.start();
        for (Client client : connected) {
            client.events.awaitState(KeeperState.SyncConnected);
        }
    }

    /** The Stat, ACL and data of everything below a path, as text. */
    private TreeMap<String, String> image(String path) throws Exception {
        TreeMap<String, String> image = new TreeMap<>();
        Stat stat = new Stat();
        String data = text(zk.getData(path, false, stat));
        image.put(path, data + " " + zk.getACL(path, null) + " " + stat);
        for (String child : zk.getChildren(path, false)) {
            image.putAll(image(path + "/" + child));
        }
        return image;
    }

    @Test
    void everythingIsThereAfterAKill() throws Exception {
        for (int i = 0; i < 20; i++) {
            make(zk, root + "/n" + i, "v" + i);
            zk.setData(root + "/n" + i, bytes("w" + i), 0);
        }
        zk.create(root + "/null", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create(root + "/big", new byte[500_000], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create(root + "/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        zk.setACL(root + "/n3", Arrays.asList(new ACL(Perms.READ | Perms.ADMIN, Ids.ANYONE_ID_UNSAFE),
                new ACL(Perms.ALL, new Id("digest", "a:b"))), 0);
        zk.multi(List.of(Op.delete(root + "/n5", 1), Op.setData(root + "/n6", bytes("multi"), 1),
                Op.create(root + "/n6/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL)));
        makeEphemeral(zk, root + "/e");
        TreeMap<String, String> before = image(root);
        long zxid = zk.lastZxid();
        for (int i = 0; i < 2; i++) {
            killAndStart(zk);
            assertEquals(before, image(root));
        }
        Stat stat = zk.setData(root, bytes("after"), -1);
        assertTrue(stat.getMzxid() > zxid);
        assertEquals(root + "/s0000000024",
                zk.create(root + "/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL));
        process.stop();
        zk.events.forgetStates();
        before.remove(root);
        process.start();
        zk.events.awaitState(KeeperState.SyncConnected);
        TreeMap<String, String> after = image(root);
        assertNotNull(after.remove(root));
        assertNotNull(after.remove(root + "/s0000000024"));
        assertEquals(before, after);
    }

    @Test
    void sessionsAndEphemeralsSurviveAKill() throws Exception {
        long id = zk.getSessionId();
        byte[] password = zk.getSessionPasswd();
        String node = makeEphemeral(zk, root + "/e");
        zk.addAuthInfo("digest", bytes("alice:secret"));
        zk.create(root + "/mine", bytes("x"), Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL);
        for (int i = 0; i < 2; i++) {
            killAndStart(zk);
            assertEquals(id, zk.getSessionId());
            assertArrayEquals(password, zk.getSessionPasswd());
            assertEquals(Set.of(node, root + "/mine"), Set.copyOf(zk.getEphemerals()));
            assertEquals("x", text(zk.getData(root + "/mine", false, null)));
        }
        Client fresh = connect();
        assertTrue(fresh.getSessionId() != id);
        assertEquals(id, fresh.exists(node, false).getEphemeralOwner());
        zk.close();
        assertNull(fresh.exists(node, false));
        zk = fresh;
    }

    /** A session whose client never returns ends a whole timeout after the start, and no earlier. */
    @Test
    void abandonedSessionExpiresAWholeTimeoutAfterTheStart() throws Exception {
        TcpProxy wire = proxy();
        Client gone = connect(wire.hosts(), 5000);
        String node = makeEphemeral(gone, root + "/e");
        wire.refuse();
        wire.cut();
        killAndStart(zk);
        long start = System.nanoTime();
        Events events = new Events();
        assertNotNull(zk.exists(node, events), "the session must start anew with its whole timeout");
        events.expect("NodeDeleted " + node);
        // The server was serving a little before its clients were back.
        long elapsed = millisSince(start);
        assertTrue(elapsed > 1000 && elapsed < 12_000, () -> "gone after " + elapsed + " ms");
        wire.resume();
        gone.events.awaitState(KeeperState.Expired);
    }

    /** What changes while one client is away, over a kill of the server, is told to it; nothing else is. */
    @Test
    void watchesAreToldWhatTheyMissedOverAKill() throws Exception {
        TcpProxy wire = proxy();
        Client far = connect(wire.hosts(), CALM_MS);
        Events data = new Events();
        Events exists = new Events();
        Events children = new Events();
        Events persistent = new Events();
        for (String name : List.of("quiet", "before", "after", "deleted")) {
            make(zk, root + "/" + name, "");
            far.getData(root + "/" + name, data, null);
            far.getChildren(root + "/" + name, children);
        }
        far.exists(root + "/born", exists);
        far.exists(root + "/unborn", exists);
        far.addWatch(root, persistent, AddWatchMode.PERSISTENT_RECURSIVE);
        wire.refuse();
        far.events.forgetStates();
        wire.cut();
        zk.setData(root + "/before", bytes("1"), -1);
        make(zk, root + "/quiet/child", "");
        killAndStart(zk);
        zk.setData(root + "/after", bytes("1"), -1);
        zk.delete(root + "/deleted", -1);
        make(zk, root + "/born", "");
        wire.resume();
        far.events.awaitState(KeeperState.SyncConnected);
        fence(far);
        assertEquals(Set.of("NodeDataChanged " + root + "/before", "NodeDataChanged " + root + "/after",
                "NodeDeleted " + root + "/deleted"), Set.copyOf(data.drain()));
        assertEquals(List.of("NodeCreated " + root + "/born"), exists.drain());
        assertEquals(Set.of("NodeChildrenChanged " + root + "/quiet", "NodeDeleted " + root + "/deleted"),
                Set.copyOf(children.drain()));
        persistent.drain();
        zk.setData(root + "/quiet", bytes("1"), -1);
        zk.setData(root + "/before", bytes("2"), -1);
        make(zk, root + "/unborn", "");
        fence(far);
        assertEquals(List.of("NodeDataChanged " + root + "/quiet"), data.drain());
        assertEquals(List.of("NodeCreated " + root + "/unborn"), exists.drain());
        assertEquals(List.of(), children.drain());
        assertEquals(List.of("NodeDataChanged " + root + "/quiet", "NodeDataChanged " + root + "/before",
                "NodeCreated " + root + "/unborn"), persistent.drain());
    }

    /** Killed while four sessions write: what was acknowledged is there once, versions and zxids go on upwards. */
    @Test
    void acknowledgedWritesSurviveAKillUnderLoad() throws Exception {
        for (int round = 0; round < 3; round++) {
            String base = make(zk, root + "/r" + round, "");
            List<Client> writers = new ArrayList<>();
            List<Answers> answers = new ArrayList<>();
            int each = 2000;
            for (int w = 0; w < 4; w++) {
                Client client = connect();
                Answers own = new Answers();
                writers.add(client);
                answers.add(own);
                for (int i = 0; i < each; i++) {
                    CreateMode mode = i % 5 == 0 ? CreateMode.EPHEMERAL_SEQUENTIAL : CreateMode.PERSISTENT_SEQUENTIAL;
                    client.create(base + "/s", bytes(w + " " + i), Ids.OPEN_ACL_UNSAFE, mode, own.nameAndStat(), i);
                }
            }
            int target = 200 * (round + 1);
            until("answers came", () -> answers.get(3).size() > target);
            killAndStart(zk);
            TreeSet<String> there = new TreeSet<>(zk.getChildren(base, false));
            Set<String> contents = new HashSet<>();
            long zxid = 0;
            for (String name : there) {
                Stat stat = new Stat();
                assertTrue(contents.add(text(zk.getData(base + "/" + name, false, stat))), "written twice: " + name);
                assertTrue(stat.getCzxid() > zxid, "numbers and zxids must agree");
                zxid = stat.getCzxid();
            }
            int acknowledged = 0;
            for (int w = 0; w < 4; w++) {
                for (int i = 0; i < each; i++) {
                    Answer answer = answers.get(w).take();
                    if (answer.code() == Code.OK) {
                        acknowledged++;
                        String name = ((String) answer.value()).substring(base.length() + 1);
                        assertTrue(there.contains(name), () -> "acknowledged and lost: " + name);
                    }
                }
            }
            assertTrue(acknowledged > target, "only " + acknowledged + " acknowledged");
            assertEquals(there.size(), zk.exists(base, false).getNumChildren());
            String next = zk.create(base + "/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL);
            assertTrue(next.compareTo(base + "/" + there.last()) > 0);
            for (Client writer : writers) {
                writer.close();
            }
            for (String name : zk.getChildren(base, false)) {
                assertEquals(0, zk.exists(base + "/" + name, false).getEphemeralOwner(), "an ephemeral outlived");
            }
        }
    }
}
