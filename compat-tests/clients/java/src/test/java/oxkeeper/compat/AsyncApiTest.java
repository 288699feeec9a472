package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Set;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.Test;

/** Every call of the client in its asynchronous form: code, path, context, value, and that refusals come as codes. */
class AsyncApiTest extends Fixture {
    private static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;

    private final Answers answers = new Answers();
    private final Object ctx = new Object();

    private Answer answer(Code code, String path) throws Exception {
        Answer answer = answers.take();
        assertEquals(code, answer.code());
        assertEquals(path, answer.path());
        assertSame(ctx, answer.ctx());
        return answer;
    }

    @Test
    void create() throws Exception {
        zk.create(root + "/a", bytes("1"), OPEN, CreateMode.PERSISTENT, answers.name(), ctx);
        assertEquals(root + "/a", answer(Code.OK, root + "/a").value());
        zk.create(root + "/s", bytes("1"), OPEN, CreateMode.EPHEMERAL_SEQUENTIAL, answers.name(), ctx);
        assertEquals(root + "/s0000000001", answer(Code.OK, root + "/s").value());
        zk.create(root + "/a", bytes("1"), OPEN, CreateMode.PERSISTENT, answers.name(), ctx);
        assertNull(answer(Code.NODEEXISTS, root + "/a").value());
    }

    @Test
    void createWithStat() throws Exception {
        for (CreateMode mode : List.of(CreateMode.PERSISTENT, CreateMode.EPHEMERAL, CreateMode.CONTAINER)) {
            String path = root + "/" + mode;
            zk.create(path, bytes("abc"), OPEN, mode, answers.nameAndStat(), ctx);
            Answer answer = answer(Code.OK, path);
            assertEquals(path, answer.value());
            assertEquals(3, answer.stat().getDataLength());
            assertEquals(mode.isEphemeral() ? zk.getSessionId() : 0, answer.stat().getEphemeralOwner());
            assertEquals(zk.exists(path, false), answer.stat());
        }
        zk.create(root + "/no/no", null, OPEN, CreateMode.PERSISTENT, answers.nameAndStat(), ctx);
        assertNull(answer(Code.NONODE, root + "/no/no").stat());
    }

    @Test
    void createWithTtl() throws Exception {
        Servers.needOwnSettings("TTL nodes are off by default");
        zk.create(root + "/t", bytes("abc"), OPEN, CreateMode.PERSISTENT_WITH_TTL, answers.nameAndStat(), ctx, 60_000);
        assertEquals(zk.exists(root + "/t", false), answer(Code.OK, root + "/t").stat());
        zk.create(root + "/t", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, answers.nameAndStat(), ctx, 9);
        assertEquals(root + "/t0000000001", answer(Code.OK, root + "/t").value());
    }

    @Test
    void delete() throws Exception {
        make(zk, root + "/a", "");
        zk.delete(root + "/a", 3, answers.nothing(), ctx);
        answer(Code.BADVERSION, root + "/a");
        zk.delete(root + "/a", 0, answers.nothing(), ctx);
        answer(Code.OK, root + "/a");
        zk.delete(root + "/a", 0, answers.nothing(), ctx);
        answer(Code.NONODE, root + "/a");
    }

    @Test
    void existsAndData() throws Exception {
        Stat stat = zk.exists(root, false);
        zk.exists(root, false, answers.stat(), ctx);
        assertEquals(stat, answer(Code.OK, root).stat());
        zk.exists(root + "/x", false, answers.stat(), ctx);
        assertNull(answer(Code.NONODE, root + "/x").stat());
        zk.getData(root, false, answers.data(), ctx);
        Answer data = answer(Code.OK, root);
        assertEquals("root", text((byte[]) data.value()));
        assertEquals(stat, data.stat());
        zk.getData(root + "/x", false, answers.data(), ctx);
        assertNull(answer(Code.NONODE, root + "/x").value());
        zk.setData(root, bytes("new"), 0, answers.stat(), ctx);
        assertEquals(1, answer(Code.OK, root).stat().getVersion());
        zk.setData(root, bytes("newer"), 0, answers.stat(), ctx);
        assertNull(answer(Code.BADVERSION, root).stat());
        zk.getConfig(false, answers.data(), ctx);
        assertEquals(text(zk.getConfig(false, null)), text((byte[]) answer(Code.OK, "/zookeeper/config").value()));
    }

    @Test
    void acl() throws Exception {
        zk.setACL(root, Ids.READ_ACL_UNSAFE, 0, answers.stat(), ctx);
        assertEquals(1, answer(Code.OK, root).stat().getAversion());
        zk.getACL(root, new Stat(), answers.acl(), ctx);
        Answer answer = answer(Code.OK, root);
        assertEquals(Ids.READ_ACL_UNSAFE, answer.value());
        assertEquals(1, answer.stat().getAversion());
        zk.setACL(root, OPEN, 1, answers.stat(), ctx);
        answer(Code.NOAUTH, root);
        zk.getACL(root + "/x", new Stat(), answers.acl(), ctx);
        answer(Code.NONODE, root + "/x");
    }

    @Test
    void children() throws Exception {
        make(zk, root + "/a", "");
        make(zk, root + "/b", "");
        makeEphemeral(zk, root + "/a/e");
        zk.getChildren(root, false, answers.children(), ctx);
        assertEquals(Set.of("a", "b"), Set.copyOf((List<?>) answer(Code.OK, root).value()));
        zk.getChildren(root, false, answers.childrenAndStat(), ctx);
        Answer answer = answer(Code.OK, root);
        assertEquals(Set.of("a", "b"), Set.copyOf((List<?>) answer.value()));
        assertEquals(2, answer.stat().getNumChildren());
        zk.getChildren(root + "/x", false, answers.children(), ctx);
        answer(Code.NONODE, root + "/x");
        zk.getAllChildrenNumber(root, answers.number(), ctx);
        assertEquals(3, answer(Code.OK, root).value());
        zk.getEphemerals(root, answers.ephemerals(), ctx);
        assertEquals(List.of(root + "/a/e"), answer(Code.OK, null).value());
        zk.getEphemerals(answers.ephemerals(), ctx);
        assertEquals(List.of(root + "/a/e"), answer(Code.OK, null).value());
    }

    @Test
    void syncAndWatches() throws Exception {
        zk.sync(root, answers.nothing(), ctx);
        answer(Code.OK, root);
        Events events = new Events();
        zk.addWatch(root, events, AddWatchMode.PERSISTENT_RECURSIVE, answers.nothing(), ctx);
        answer(Code.OK, root);
        make(zk, root + "/w", "");
        events.expect("NodeCreated " + root + "/w");
        zk.removeWatches(root, events, WatcherType.Any, false, answers.nothing(), ctx);
        answer(Code.OK, root);
        zk.removeAllWatches(root, WatcherType.Data, false, answers.nothing(), ctx);
        answer(Code.NOWATCHER, root);
    }

    /** The client's own check of arguments must not be what the server's answers rest on. */
    @Test
    void answersOfOneConnectionKeepTheOrderOfTheRequests() throws Exception {
        for (int i = 0; i < 200; i++) {
            zk.create(root + "/n", null, OPEN, CreateMode.EPHEMERAL, answers.name(), 3 * i);
            zk.exists(root + "/n", false, answers.stat(), 3 * i + 1);
            zk.delete(root + "/n", 0, answers.nothing(), 3 * i + 2);
        }
        for (int i = 0; i < 600; i++) {
            Answer answer = answers.take();
            assertEquals(i, answer.ctx());
            assertEquals(Code.OK, answer.code());
        }
        assertTrue(zk.getChildren(root, false).isEmpty());
    }
}
