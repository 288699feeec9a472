package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.Test;

/** Every call of the client in its synchronous form, with what it answers and how it is refused. */
class SyncApiTest extends Fixture {
    private static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;

    @Test
    void createInEveryMode() throws Exception {
        String plain = zk.create(root + "/p", bytes("1"), OPEN, CreateMode.PERSISTENT);
        assertEquals(root + "/p", plain);
        assertEquals(root + "/s0000000001", zk.create(root + "/s", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
        assertEquals(root + "/e", zk.create(root + "/e", null, OPEN, CreateMode.EPHEMERAL));
        assertEquals(root + "/es0000000003", zk.create(root + "/es", null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL));
        assertEquals(root + "/c", zk.create(root + "/c", null, OPEN, CreateMode.CONTAINER));
        assertEquals(Set.of("p", "s0000000001", "e", "es0000000003", "c"), Set.copyOf(zk.getChildren(root, false)));
        assertEquals(0, zk.exists(plain, false).getEphemeralOwner());
        assertEquals(zk.getSessionId(), zk.exists(root + "/e", false).getEphemeralOwner());
        assertEquals(zk.getSessionId(), zk.exists(root + "/es0000000003", false).getEphemeralOwner());
        assertEquals(0, zk.exists(root + "/c", false).getEphemeralOwner());
    }

    @Test
    void createWithTtl() throws Exception {
        Servers.needOwnSettings("TTL nodes are off by default");
        Stat stat = new Stat();
        String ttl = zk.create(root + "/t", bytes("x"), OPEN, CreateMode.PERSISTENT_WITH_TTL, stat, 60_000);
        assertEquals(root + "/t", ttl);
        assertEquals(0, stat.getEphemeralOwner());
        assertEquals(root + "/t0000000001",
                zk.create(root + "/t", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, null, 60_000));
        assertEquals(1, stat.getDataLength());
        // The longest that fits into the owner's field, which is 40 bits of milliseconds.
        long longest = (1L << 40) - 1;
        zk.create(root + "/longest", null, OPEN, CreateMode.PERSISTENT_WITH_TTL, stat, longest);
        assertEquals(stat, zk.exists(root + "/longest", false));
        for (long wrong : new long[] {longest + 1, 0, -1}) {
            assertThrows(IllegalArgumentException.class,
                    () -> zk.create(root + "/no", null, OPEN, CreateMode.PERSISTENT_WITH_TTL, null, wrong));
        }
        assertThrows(IllegalArgumentException.class,
                () -> zk.create(root + "/no", null, OPEN, CreateMode.PERSISTENT, null, 1000));
        assertEquals(3, zk.exists(root, false).getNumChildren());
    }

    @Test
    void createFillsTheStat() throws Exception {
        for (CreateMode mode : List.of(CreateMode.PERSISTENT, CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL,
                CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.CONTAINER)) {
            Stat stat = new Stat();
            String path = zk.create(root + "/" + mode, bytes("12345"), OPEN, mode, stat);
            assertTrue(stat.getCzxid() > 0);
            assertEquals(stat.getCzxid(), stat.getMzxid());
            assertEquals(stat.getCzxid(), stat.getPzxid());
            assertEquals(stat.getCtime(), stat.getMtime());
            assertTrue(Math.abs(System.currentTimeMillis() - stat.getCtime()) < 60_000);
            assertEquals(0, stat.getVersion() | stat.getCversion() | stat.getAversion() | stat.getNumChildren());
            assertEquals(5, stat.getDataLength());
            assertEquals(mode.isEphemeral() ? zk.getSessionId() : 0, stat.getEphemeralOwner());
            assertEquals(stat, zk.exists(path, false));
        }
    }

    @Test
    void createIsRefused() throws Exception {
        refused(Code.NODEEXISTS, root, () -> make(zk, root, ""));
        refused(Code.NONODE, root + "/a/b", () -> make(zk, root + "/a/b", ""));
        makeEphemeral(zk, root + "/e");
        refused(Code.NOCHILDRENFOREPHEMERALS, root + "/e/x", () -> make(zk, root + "/e/x", ""));
        refused(Code.NODEEXISTS, () -> make(zk, "/zookeeper", ""));
        assertEquals(List.of("e"), zk.getChildren(root, false));
    }

    @Test
    void sequenceCountsEveryCreationAndNoDeletion() throws Exception {
        make(zk, root + "/a", "");
        zk.delete(root + "/a", -1);
        make(zk, root + "/b", "");
        assertEquals(root + "/n-0000000002",
                zk.create(root + "/n-", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
        assertEquals(root + "/0000000003", zk.create(root + "/", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
        Stat parent = zk.exists(root, false);
        assertEquals(3, parent.getNumChildren());
        assertEquals(5, parent.getCversion());
    }

    @Test
    void deleteJudgesVersionAndChildren() throws Exception {
        make(zk, root + "/a", "");
        make(zk, root + "/a/b", "");
        refused(Code.BADVERSION, root + "/a", () -> zk.delete(root + "/a", 7));
        refused(Code.NOTEMPTY, root + "/a", () -> zk.delete(root + "/a", 0));
        zk.delete(root + "/a/b", 0);
        zk.delete(root + "/a", -1);
        assertNull(zk.exists(root + "/a", false));
        refused(Code.NONODE, root + "/a", () -> zk.delete(root + "/a", -1));
        refused(Code.BADARGUMENTS, () -> zk.delete("/zookeeper", -1));
    }

    @Test
    void dataKeepsNullAndEmptyApart() throws Exception {
        zk.create(root + "/null", null, OPEN, CreateMode.PERSISTENT);
        zk.create(root + "/empty", new byte[0], OPEN, CreateMode.PERSISTENT);
        assertNull(zk.getData(root + "/null", false, null));
        assertArrayEquals(new byte[0], zk.getData(root + "/empty", false, null));
        zk.setData(root + "/null", new byte[0], 0);
        zk.setData(root + "/empty", null, 0);
        assertArrayEquals(new byte[0], zk.getData(root + "/null", false, null));
        assertNull(zk.getData(root + "/empty", false, null));
        byte[] every = new byte[256];
        for (int i = 0; i < 256; i++) {
            every[i] = (byte) i;
        }
        zk.setData(root, every, -1);
        assertArrayEquals(every, zk.getData(root, false, null));
    }

    @Test
    void setDataMovesVersionTimeAndLength() throws Exception {
        Stat before = zk.exists(root, false);
        Stat after = zk.setData(root, bytes("longer than before"), 0);
        assertEquals(1, after.getVersion());
        assertEquals(18, after.getDataLength());
        assertEquals(before.getCzxid(), after.getCzxid());
        assertEquals(before.getPzxid(), after.getPzxid());
        assertTrue(after.getMzxid() > before.getMzxid());
        assertTrue(after.getMtime() >= before.getMtime());
        Stat read = new Stat();
        assertEquals("longer than before", text(zk.getData(root, false, read)));
        assertEquals(after, read);
        refused(Code.BADVERSION, root, () -> zk.setData(root, bytes("no"), 0));
        refused(Code.NONODE, root + "/x", () -> zk.setData(root + "/x", bytes("no"), -1));
        assertEquals(2, zk.setData(root, bytes("any"), -1).getVersion());
        refused(Code.NONODE, root + "/x", () -> zk.getData(root + "/x", false, null));
    }

    @Test
    void aclIsReadAndSet() throws Exception {
        Stat stat = new Stat();
        assertEquals(OPEN, zk.getACL(root, stat));
        assertEquals(zk.exists(root, false), stat);
        List<ACL> changed = Arrays.asList(new ACL(Perms.ALL, Ids.ANYONE_ID_UNSAFE),
                new ACL(Perms.READ, new Id("digest", "bob:hash=")));
        Stat after = zk.setACL(root, changed, 0);
        assertEquals(1, after.getAversion());
        assertEquals(stat.getMzxid(), after.getMzxid());
        assertEquals(stat.getMtime(), after.getMtime());
        assertEquals(0, after.getVersion());
        assertEquals(changed, zk.getACL(root, null));
        refused(Code.BADVERSION, root, () -> zk.setACL(root, OPEN, 0));
        refused(Code.NONODE, root + "/x", () -> zk.setACL(root + "/x", OPEN, -1));
        refused(Code.NONODE, root + "/x", () -> zk.getACL(root + "/x", null));
    }

    @Test
    void childrenAreListedInBothForms() throws Exception {
        assertEquals(List.of(), zk.getChildren(root, false));
        for (int i = 0; i < 20; i++) {
            make(zk, root + "/c" + i, "");
        }
        make(zk, root + "/c0/deep", "");
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 20; i++) {
            expected.add("c" + i);
        }
        Stat stat = new Stat();
        assertEquals(expected, new TreeSet<>(zk.getChildren(root, false, stat)));
        assertEquals(expected, new TreeSet<>(zk.getChildren(root, null)));
        assertEquals(20, stat.getNumChildren());
        assertEquals(20, stat.getCversion());
        assertEquals(zk.exists(root + "/c19", false).getCzxid(), stat.getPzxid());
        assertEquals(21, zk.getAllChildrenNumber(root));
        refused(Code.NONODE, root + "/x", () -> zk.getChildren(root + "/x", false));
        refused(Code.NONODE, root + "/x", () -> zk.getChildren(root + "/x", false, new Stat()));
        refused(Code.NONODE, root + "/x", () -> zk.getAllChildrenNumber(root + "/x"));
    }

    @Test
    void ephemeralsAreListedBySessionAndPrefix() throws Exception {
        Client other = connect();
        make(zk, root + "/a", "");
        makeEphemeral(zk, root + "/a/1");
        makeEphemeral(zk, root + "/a/2");
        makeEphemeral(zk, root + "/b");
        makeEphemeral(other, root + "/a/other");
        assertEquals(Set.of(root + "/a/1", root + "/a/2", root + "/b"), Set.copyOf(zk.getEphemerals()));
        assertEquals(Set.of(root + "/a/1", root + "/a/2"), Set.copyOf(zk.getEphemerals(root + "/a")));
        assertEquals(List.of(root + "/a/other"), other.getEphemerals());
        assertEquals(List.of(), other.getEphemerals(root + "/b"));
        zk.delete(root + "/b", 0);
        assertEquals(List.of(), zk.getEphemerals(root + "/b"));
    }

    @Test
    void syncReturnsAfterEarlierWrites() throws Exception {
        Client other = connect();
        for (int i = 1; i <= 50; i++) {
            zk.setData(root, bytes("v" + i), -1);
            other.sync(root);
            assertEquals("v" + i, text(other.getData(root, false, null)));
        }
        zk.sync(root + "/missing");
    }

    @Test
    void whoAmINamesAllIdentities() throws Exception {
        assertEquals(List.of("ip"), zk.whoAmI().stream().map(ClientInfo::getAuthScheme).toList());
        zk.addAuthInfo("digest", bytes("alice:secret"));
        List<ClientInfo> infos = zk.whoAmI();
        assertEquals(2, infos.size());
        assertTrue(infos.contains(new ClientInfo("digest", "alice")), infos::toString);
        ClientInfo ip = infos.stream().filter(i -> i.getAuthScheme().equals("ip")).findFirst().orElseThrow();
        assertTrue(ip.getUser().contains("127.0.0.1") || Servers.external() != null, ip::getUser);
    }

    @Test
    void configIsReadableAndReconfigRefused() throws Exception {
        Stat stat = new Stat();
        byte[] config = zk.getConfig(false, stat);
        assertEquals(text(zk.getData("/zookeeper/config", false, null)), text(config));
        assertEquals(config == null ? 0 : config.length, stat.getDataLength());
        if (Servers.external() == null) {
            boolean isAlone = System.getenv().getOrDefault("MEMBERS", "1").equals("1");
            assertEquals(isAlone, config.length == 0, () -> text(config));
            assertTrue(isAlone || text(config).contains("\nserver.3=127.0.0.1:"), () -> text(config));
        }
        Events events = new Events();
        try (ZooKeeperAdmin admin = new ZooKeeperAdmin(hosts, CALM_MS, events)) {
            events.awaitState(KeeperState.SyncConnected);
            refused(Code.RECONFIGDISABLED,
                    () -> admin.reconfigure("server.9=127.0.0.1:1:2;3", null, null, -1, new Stat()));
            assertEquals(ZooKeeperAdmin.States.CONNECTED, admin.getState());
        }
    }

    @Test
    void sessionIsDescribed() throws Exception {
        assertNotEquals(0, zk.getSessionId());
        assertEquals(16, zk.getSessionPasswd().length);
        assertTrue(zk.getSessionTimeout() > 0);
        Client other = connect();
        assertNotEquals(zk.getSessionId(), other.getSessionId());
        if (Servers.external() == null) {
            // Bounds are 2 and 20 ticks of 500 ms.
            assertEquals(10_000, connect(hosts, 1_000_000).getSessionTimeout());
            assertEquals(1_000, connect(hosts, 900).getSessionTimeout());
            assertEquals(3_210, connect(hosts, 3_210).getSessionTimeout());
        }
    }

    @Test
    void pathsOutsideAsciiAndLongOnesWork() throws Exception {
        String path = root + "/\u00e4\u20ac\u4e2d-\u05d0";
        assertEquals(path, make(zk, path, "\u00fc"));
        assertEquals(List.of(path.substring(root.length() + 1)), zk.getChildren(root, false));
        assertEquals("\u00fc", text(zk.getData(path, false, null)));
        String deep = root;
        for (int i = 0; i < 200; i++) {
            deep = make(zk, deep + "/d" + i, "x");
        }
        assertEquals("x", text(zk.getData(deep, false, null)));
        assertEquals(201, zk.getAllChildrenNumber(root));
        String wide = root + "/" + "w".repeat(10_000);
        make(zk, wide, "wide");
        assertEquals("wide", text(zk.getData(wide, false, null)));
    }
}
