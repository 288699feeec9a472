package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Who may do what: identities, every permission by itself, canonical forms, and what is not told to whom. */
class AclTest extends Fixture {
    private Client alice;
    private Client bob;
    private String node;

    @BeforeEach
    void connectIdentities() throws Exception {
        alice = connect();
        alice.addAuthInfo("digest", bytes("alice:a"));
        bob = connect();
        bob.addAuthInfo("digest", bytes("bob:b"));
        node = root + "/n";
    }

    private static Id digest(String credentials) throws Exception {
        return new Id("digest", DigestAuthenticationProvider.generateDigest(credentials));
    }

    /** The client looks for null in these lists, which List.of refuses to be asked. */
    private static List<ACL> acl(ACL... entries) {
        return Arrays.asList(entries);
    }

    /** Each permission allows its own operations and no other. */
    @Test
    void everyPermissionByItself() throws Exception {
        record Deed(String name, int needs, Call call) {
        }
        int[] perms = {Perms.READ, Perms.WRITE, Perms.CREATE, Perms.DELETE, Perms.ADMIN};
        for (int perm : perms) {
            String path = node + perm;
            make(zk, path, "data");
            make(zk, path + "/old", "");
            zk.setACL(path, acl(new ACL(perm, digest("alice:a")), new ACL(Perms.ALL, digest("bob:b"))), -1);
            List<ACL> same = bob.getACL(path, null);
            List<Deed> deeds = List.of(
                    new Deed("exists", Perms.READ, () -> alice.exists(path, false)),
                    new Deed("getData", Perms.READ, () -> alice.getData(path, false, null)),
                    new Deed("getChildren", Perms.READ, () -> alice.getChildren(path, false)),
                    new Deed("getChildren2", Perms.READ, () -> alice.getChildren(path, false, null)),
                    new Deed("getAllChildrenNumber", Perms.READ, () -> alice.getAllChildrenNumber(path)),
                    new Deed("check", Perms.READ, () -> alice.multi(List.of(Op.check(path, -1)))),
                    new Deed("getACL", Perms.READ | Perms.ADMIN, () -> alice.getACL(path, null)),
                    new Deed("setData", Perms.WRITE, () -> alice.setData(path, bytes("x"), -1)),
                    new Deed("multi setData", Perms.WRITE,
                            () -> alice.multi(List.of(Op.setData(path, bytes("x"), -1)))),
                    new Deed("create", Perms.CREATE, () -> make(alice, path + "/new", "")),
                    new Deed("multi create", Perms.CREATE, () -> alice.multi(List.of(
                            Op.create(path + "/new2", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)))),
                    new Deed("delete", Perms.DELETE, () -> alice.delete(path + "/old", -1)),
                    new Deed("setACL", Perms.ADMIN, () -> alice.setACL(path, same, -1)));
            Set<String> allowed = new TreeSet<>();
            Set<String> expected = new TreeSet<>();
            for (Deed deed : deeds) {
                if ((deed.needs() & perm) != 0) {
                    expected.add(deed.name());
                }
                try {
                    deed.call().run();
                    allowed.add(deed.name());
                } catch (KeeperException.NoAuthException e) {
                    // Refused, as all but the expected ones must be.
                }
            }
            assertEquals(expected, allowed, "with permission " + perm);
            refused(Code.NOAUTH, path, () -> zk.getData(path, false, null));
            refused(Code.NOAUTH, path, () -> zk.setACL(path, Ids.OPEN_ACL_UNSAFE, -1));
            bob.setData(path, bytes("bob may"), -1);
            bob.setACL(path, Ids.OPEN_ACL_UNSAFE, -1);
        }
    }

    /** Delete looks at the parent, not at the znode itself; a missing znode below a readable one is just missing. */
    @Test
    void deletionIsTheParentsMatter() throws Exception {
        alice.create(node, null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        zk.delete(node, 0);
        alice.create(node, null, acl(new ACL(Perms.ALL & ~Perms.DELETE, Ids.ANYONE_ID_UNSAFE)), CreateMode.PERSISTENT);
        make(zk, node + "/c", "");
        refused(Code.NOAUTH, node + "/c", () -> alice.delete(node + "/c", -1));
        assertNull(zk.exists(node + "/no", false));
        alice.setACL(node, Ids.OPEN_ACL_UNSAFE, -1);
    }

    @Test
    void authExpandsToTheCallersIdentities() throws Exception {
        alice.addAuthInfo("digest", bytes("second:s"));
        alice.create(node, null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        Set<ACL> expected = Set.of(new ACL(Perms.ALL, digest("alice:a")), new ACL(Perms.ALL, digest("second:s")));
        assertEquals(expected, new HashSet<>(alice.getACL(node, null)));
        Client second = connect();
        refused(Code.NOAUTH, () -> second.getData(node, false, null));
        second.addAuthInfo("digest", bytes("second:wrong"));
        refused(Code.NOAUTH, () -> second.getData(node, false, null));
        second.addAuthInfo("digest", bytes("second:s"));
        assertNull(second.getData(node, false, null));
        refused(Code.INVALIDACL, () -> zk.create(node + "2", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        second.delete(node, -1);
    }

    @Test
    void duplicateEntriesBecomeOne() throws Exception {
        ACL read = new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE);
        ACL all = new ACL(Perms.ALL, digest("alice:a"));
        alice.create(node, null, acl(all, read, all, read), CreateMode.PERSISTENT);
        assertEquals(List.of(all, read), alice.getACL(node, null));
    }

    @Test
    void invalidListsAreRefused() throws Exception {
        List<Id> ids = List.of(new Id("world", "somebody"), new Id("digest", "nocolon"), new Id("ip", "999.1.1.1"),
                new Id("ip", "10.0.0.0/33"), new Id("nosuch", "x"), new Id("sasl", "bob"), new Id("super", "x"));
        for (Id id : ids) {
            ACL entry = new ACL(Perms.ALL, id);
            refused(Code.INVALIDACL, () -> zk.create(node, null, acl(entry), CreateMode.PERSISTENT));
            refused(Code.INVALIDACL, () -> zk.setACL(root, acl(entry), -1));
        }
        refused(Code.INVALIDACL, () -> zk.create(node, null, new ArrayList<>(), CreateMode.PERSISTENT));
        assertEquals(List.of(), zk.getChildren(root, false));
        assertEquals(0, zk.exists(root, false).getAversion());
    }

    @Test
    void addressesMatchByPrefix() throws Exception {
        Servers.needOwnSettings("the client's address is not known");
        record Case(String id, boolean matches) {
        }
        for (Case c : List.of(new Case("127.0.0.1", true), new Case("127.0.0.0/8", true), new Case("127.0.0.0/31", true),
                new Case("127.0.0.2/31", false), new Case("10.0.0.0/8", false), new Case("0.0.0.0/0", true),
                new Case("127.0.0.2", false))) {
            String path = zk.create(root + "/ip-", bytes("x"), acl(new ACL(Perms.READ, new Id("ip", c.id()))),
                    CreateMode.PERSISTENT_SEQUENTIAL);
            if (c.matches()) {
                assertEquals("x", text(zk.getData(path, false, null)), c.id());
            } else {
                refused(Code.NOAUTH, path, () -> zk.getData(path, false, null));
            }
        }
    }

    @Test
    void digestsAreShownToAdministratorsOnly() throws Exception {
        ACL full = new ACL(Perms.ALL, digest("alice:a"));
        ACL read = new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE);
        alice.create(node, null, acl(full, read), CreateMode.PERSISTENT);
        assertEquals(List.of(full, read), alice.getACL(node, null));
        assertEquals(List.of(new ACL(Perms.ALL, new Id("digest", "alice:x")), read), zk.getACL(node, null));
    }

    @Test
    void superUserMayEverything() throws Exception {
        Servers.needOwnSettings("superDigest is unknown");
        alice.create(node, bytes("secret"), acl(new ACL(0, digest("alice:a"))), CreateMode.PERSISTENT);
        refused(Code.NOAUTH, () -> alice.getData(node, false, null));
        Client root = connect();
        refused(Code.NOAUTH, () -> root.setACL(node, Ids.OPEN_ACL_UNSAFE, -1));
        root.addAuthInfo("digest", bytes(Servers.SUPER));
        assertEquals("secret", text(root.getData(node, false, null)));
        make(root, node + "/c", "");
        root.delete(node + "/c", -1);
        root.setACL(node, Ids.OPEN_ACL_UNSAFE, -1);
        assertEquals("secret", text(bob.getData(node, false, null)));
    }

    /** A transaction is refused as a whole; a znode created in it is judged by its own list already. */
    @Test
    void transactionsAreJudged() throws Exception {
        alice.create(node, null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        KeeperException e = assertThrows(KeeperException.NoAuthException.class, () -> bob.multi(List.of(
                Op.setData(root, bytes("no"), -1), Op.setData(node, bytes("no"), -1), Op.check(root, -1))));
        assertEquals(List.of(0, Code.NOAUTH.intValue(), -2), e.getResults().stream()
                .map(r -> ((org.apache.zookeeper.OpResult.ErrorResult) r).getErr()).toList());
        refused(Code.NOAUTH, () -> bob.multi(List.of(
                Op.create(node + "2", null, acl(new ACL(Perms.ALL, digest("alice:a"))), CreateMode.PERSISTENT),
                Op.setData(node + "2", bytes("no"), -1))));
        assertEquals("root", text(zk.getData(root, false, null)));
        assertEquals(List.of("n"), zk.getChildren(root, false));
    }

    /** Whoever may not read a znode is not told of its changes; a one-shot watch is used up in silence. */
    @Test
    void eventsAreNotTellingWhatMayNotBeRead() throws Exception {
        Client carol = connect();
        Events one = new Events();
        Events children = new Events();
        Events persistent = new Events();
        Events allowed = new Events();
        make(zk, node, "");
        carol.exists(node, one);
        carol.getChildren(node, children);
        bob.addWatch(root, persistent, AddWatchMode.PERSISTENT_RECURSIVE);
        alice.exists(node, allowed);
        alice.setACL(node, Ids.CREATOR_ALL_ACL, -1);
        alice.setData(node, bytes("hidden"), -1);
        make(alice, node + "/c", "");
        alice.create(root + "/hidden", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        alice.setACL(node, Ids.OPEN_ACL_UNSAFE, -1);
        alice.setData(node, bytes("open again"), -1);
        make(alice, node + "/d", "");
        for (Client client : List.of(alice, bob, carol)) {
            fence(client);
        }
        assertEquals(List.of("NodeDataChanged " + node), allowed.drain());
        // The child's own list lets everyone read it, so its creation is told although its parent is hidden.
        assertEquals(List.of("NodeCreated " + node + "/c", "NodeDataChanged " + node, "NodeCreated " + node + "/d"),
                persistent.drain());
        assertEquals(List.of(), one.drain());
        assertEquals(List.of(), children.drain());
    }

    @Test
    void unknownSchemeEndsTheHandleButNotTheSession() throws Exception {
        Client client = connect();
        String ephemeral = makeEphemeral(client, root + "/e");
        client.addAuthInfo("nosuchscheme", bytes("x"));
        client.events.awaitState(KeeperState.AuthFailed);
        assertEquals(ZooKeeper.States.AUTH_FAILED, client.getState());
        refused(Code.AUTHFAILED, () -> client.exists(root, false));
        assertEquals(client.getSessionId(), zk.exists(ephemeral, false).getEphemeralOwner());
        Client again = resume(hosts, CALM_MS, client.getSessionId(), client.getSessionPasswd());
        again.events.awaitState(KeeperState.SyncConnected);
        assertEquals(List.of(ephemeral), again.getEphemerals());
    }

    /** Schemes that have no credentials: claiming one fails the handle, with what it had under way. */
    @Test
    void identitiesThatNobodyCanClaim() throws Exception {
        for (String scheme : List.of("world", "auth", "super", "sasl")) {
            Client client = connect();
            Answers answers = new Answers();
            client.addAuthInfo(scheme, bytes("anyone"));
            client.setData(root, bytes(scheme), -1, answers.stat(), null);
            assertTrue(Set.of(Code.AUTHFAILED, Code.CONNECTIONLOSS, Code.OK).contains(answers.take().code()));
            client.events.awaitState(KeeperState.AuthFailed);
            assertEquals(ZooKeeper.States.AUTH_FAILED, client.getState());
            refused(Code.AUTHFAILED, () -> client.getData(root, false, null));
            client.getData(root, false, answers.data(), null);
            assertEquals(Code.AUTHFAILED, answers.take().code());
            assertEquals(0, client.events.count(KeeperState.Expired));
        }
        Client client = connect();
        client.addAuthInfo("ip", bytes("10.0.0.1"));
        assertEquals(List.of("ip"), client.whoAmI().stream().map(ClientInfo::getAuthScheme).toList());
    }

    /** Identities told to a handle before it is connected count from its first request on. */
    @Test
    void identitiesGivenBeforeTheConnection() throws Exception {
        alice.create(node, bytes("x"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        for (int i = 0; i < 10; i++) {
            Client early = Client.begin(hosts, CALM_MS, MAX_BUFFER);
            Answers answers = new Answers();
            early.addAuthInfo("digest", bytes("alice:a"));
            early.getData(node, false, answers.data(), null);
            connected(early);
            assertEquals(Code.OK, answers.take().code());
        }
    }

    @Test
    void identitiesApplyFromTheRequestAfterTheAuth() throws Exception {
        alice.create(node, bytes("x"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        for (int i = 0; i < 20; i++) {
            Client fresh = connect();
            Answers answers = new Answers();
            fresh.getData(node, false, answers.data(), 0);
            fresh.addAuthInfo("digest", bytes("alice:a"));
            fresh.getData(node, false, answers.data(), 1);
            assertEquals(Code.NOAUTH, answers.take().code());
            assertEquals(Code.OK, answers.take().code());
            fresh.close();
        }
    }
}
