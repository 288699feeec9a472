package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper.States;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.Test;

/** The handle and its settings: how it finds its server, which socket it uses, what it does on a reconnect, its end. */
class HandleTest extends Fixture {
    /** An address on loopback where nobody listens. */
    private static String nobody() throws Exception {
        try (ServerSocket probe = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            return "127.0.0.1:" + probe.getLocalPort();
        }
    }

    private void cut(TcpProxy wire, Client client, Call meanwhile) throws Exception {
        wire.refuse();
        client.events.forgetStates();
        wire.cut();
        client.events.awaitState(KeeperState.Disconnected);
        meanwhile.run();
        wire.resume();
        client.events.awaitState(KeeperState.SyncConnected);
    }

    /** One that would do with a read-only server is served in full by one that is not. */
    @Test
    void handleThatMayReadOnly() throws Exception {
        TcpProxy wire = proxy();
        Client client = connected(Client.begin(wire.hosts(), CALM_MS, true, Map.of()));
        assertEquals(States.CONNECTED, client.getState());
        String node = makeEphemeral(client, root + "/e");
        long id = client.getSessionId();
        cut(wire, client, () -> { });
        assertEquals(States.CONNECTED, client.getState());
        assertEquals(id, client.getSessionId());
        client.setData(node, bytes("1"), 0);
        assertEquals(0, client.events.count(KeeperState.ConnectedReadOnly));
    }

    @Test
    void deadServersOfTheListArePassedOver() throws Exception {
        Client client = connect(nobody() + "," + nobody() + "," + hosts + root, CALM_MS);
        assertEquals("root", text(client.getData("/", false, null)));
    }

    /** A new list without the server in use makes the client move, with its session and its watches. */
    @Test
    void listOfServersIsReplaced() throws Exception {
        TcpProxy before = proxy();
        TcpProxy after = proxy();
        Client client = connect(before.hosts(), CALM_MS);
        Events events = new Events();
        client.exists(root + "/new", events);
        String node = makeEphemeral(client, root + "/e");
        client.events.forgetStates();
        client.updateServerList(after.hosts());
        client.events.awaitState(KeeperState.SyncConnected);
        before.refuse();
        before.cut();
        assertEquals(List.of(node), patiently(client::getEphemerals));
        make(zk, root + "/new", "");
        events.expect("NodeCreated " + root + "/new");
    }

    /** The client's other socket, on Netty, which Curator and others may choose. */
    @Test
    void socketOnNetty() throws Exception {
        TcpProxy wire = proxy();
        Client client = connected(Client.begin(wire.hosts(), CALM_MS, false,
                Map.of(ZKClientConfig.ZOOKEEPER_CLIENT_CNXN_SOCKET, "org.apache.zookeeper.ClientCnxnSocketNetty")));
        byte[] large = new byte[700_000];
        large[699_999] = 7;
        client.setData(root, large, 0);
        assertArrayEquals(large, client.getData(root, false, null));
        Answers answers = new Answers();
        for (int i = 0; i < 500; i++) {
            client.create(root + "/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL, answers.name(), i);
        }
        for (int i = 0; i < 500; i++) {
            assertEquals(String.format("%s/s%010d", root, i), answers.take().value());
        }
        Events events = new Events();
        client.getChildren(root, events);
        client.addAuthInfo("digest", bytes("alice:a"));
        long id = client.getSessionId();
        cut(wire, client, () -> make(zk, root + "/x", ""));
        events.expect("NodeChildrenChanged " + root);
        assertEquals(id, client.getSessionId());
        assertEquals(2, client.whoAmI().size());
        client.close();
        assertEquals(List.of("x"), zk.getChildren(root, false));
    }

    /** Without the automatic reset a reconnect leaves all watches behind, and the server knows of none. */
    @Test
    void watchesAreNotSetAgainIfSwitchedOff() throws Exception {
        TcpProxy wire = proxy();
        Client client = connected(Client.begin(wire.hosts(), CALM_MS, false,
                Map.of(ZKClientConfig.DISABLE_AUTO_WATCH_RESET, "true")));
        Events events = new Events();
        client.getData(root, events, null);
        client.exists(root + "/a", events);
        client.getChildren(root, events);
        client.addWatch(root, events, AddWatchMode.PERSISTENT);
        cut(wire, client, () -> zk.setData(root, bytes("missed"), -1));
        make(zk, root + "/a", "");
        zk.setData(root, bytes("seen by nobody"), -1);
        fence(client);
        assertEquals(List.of(), events.drain());
        refused(Code.NOWATCHER, () -> client.removeAllWatches(root, WatcherType.Any, false));
        client.getData(root, events, null);
        zk.setData(root, bytes("again"), -1);
        events.expect("NodeDataChanged " + root);
    }

    /** Whoever takes a session up again says anew how long it may be silent. */
    @Test
    void timeoutIsNegotiatedAnew() throws Exception {
        Servers.needOwnSettings("the bounds of the session timeout");
        Client first = connect(hosts, 9_000);
        assertEquals(9_000, first.getSessionTimeout());
        Client second = resume(hosts, 2_500, first.getSessionId(), first.getSessionPasswd());
        second.events.awaitState(KeeperState.SyncConnected);
        assertEquals(2_500, second.getSessionTimeout());
        assertEquals(first.getSessionId(), second.getSessionId());
        assertArrayEquals(first.getSessionPasswd(), second.getSessionPasswd());
    }

    @Test
    void closedHandleAnswersNothing() throws Exception {
        Client client = connect();
        Events events = new Events();
        client.exists(root, events);
        assertTrue(client.close(20_000));
        assertFalse(client.getState().isAlive());
        assertEquals(States.CLOSED, client.getState());
        refused(Code.SESSIONEXPIRED, () -> client.exists(root, false));
        Answers answers = new Answers();
        client.setData(root, bytes("late"), -1, answers.stat(), 1);
        assertEquals(Code.SESSIONEXPIRED, answers.take().code());
        client.close();
        assertEquals("root", text(zk.getData(root, false, null)));
        zk.setData(root, bytes("1"), 0);
        fence(zk);
        assertEquals(List.of(), events.drain());
        events.awaitState(KeeperState.Closed);
        Client again = resume(hosts, CALM_MS, client.getSessionId(), client.getSessionPasswd());
        again.events.awaitState(KeeperState.Expired);
    }

    /** The handle of administrators is an ordinary one besides, whose reconfiguration is refused in all its forms. */
    @Test
    void handleOfAdministrators() throws Exception {
        Events events = new Events();
        try (ZooKeeperAdmin admin = new ZooKeeperAdmin(hosts, CALM_MS, events, true)) {
            events.awaitState(KeeperState.SyncConnected);
            assertEquals(root + "/a", make(admin, root + "/a", "1"));
            Stat stat = new Stat();
            byte[] config = admin.getConfig(events, stat);
            assertEquals(stat, admin.exists("/zookeeper/config", false));
            assertEquals(text(zk.getConfig(false, null)), text(config));
            Answers answers = new Answers();
            admin.getConfig(false, answers.data(), "ctx");
            var answer = answers.take();
            assertEquals(Code.OK, answer.code());
            assertEquals("ctx", answer.ctx());
            assertEquals(stat, answer.stat());
            if (Servers.external() == null) {
                List<String> joining = List.of("server.9=127.0.0.1:1:2;3");
                refused(Code.RECONFIGDISABLED, () -> admin.reconfigure(joining, null, null, -1, new Stat()));
                refused(Code.RECONFIGDISABLED, () -> admin.reconfigure(null, "1", null, -1, new Stat()));
                refused(Code.RECONFIGDISABLED,
                        () -> admin.reconfigure(null, null, "server.1=127.0.0.1:1:2;3", -1, new Stat()));
                admin.reconfigure(null, "1", null, -1, answers.data(), null);
                assertEquals(Code.RECONFIGDISABLED, answers.take().code());
            }
            refused(Code.NOAUTH, () -> admin.setData("/zookeeper/config", bytes("x"), -1));
            assertEquals(States.CONNECTED, admin.getState());
        }
    }

    /** What ships with the client for whole trees. */
    @Test
    void toolsForTrees() throws Exception {
        Set<String> all = new TreeSet<>(Set.of(root));
        for (String path : List.of("/a", "/a/b", "/a/b/c", "/d", "/d/e")) {
            all.add(make(zk, root + path, ""));
        }
        for (int i = 0; i < 300; i++) {
            all.add(make(zk, root + "/d/n" + i, ""));
        }
        List<String> breadthFirst = ZKUtil.listSubTreeBFS(zk, root);
        assertEquals(all, new TreeSet<>(breadthFirst));
        assertEquals(root, breadthFirst.get(0));
        Set<String> visited = new ConcurrentSkipListSet<>();
        ZKUtil.visitSubTreeDFS(zk, root, false, (rc, path, ctx, name) -> visited.add(path));
        assertEquals(all, visited);
        Answers answers = new Answers();
        ZKUtil.deleteRecursive(zk, root + "/a", answers.nothing(), "ctx");
        assertEquals(Code.OK, answers.take().code());
        assertNull(zk.exists(root + "/a", false));
        assertTrue(ZKUtil.deleteRecursive(zk, root + "/d", 50));
        assertEquals(List.of(), zk.getChildren(root, false));
    }
}
