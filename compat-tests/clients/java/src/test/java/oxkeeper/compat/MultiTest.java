package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.CreateOptions;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.OpResult.CheckResult;
import org.apache.zookeeper.OpResult.CreateResult;
import org.apache.zookeeper.OpResult.DeleteResult;
import org.apache.zookeeper.OpResult.ErrorResult;
import org.apache.zookeeper.OpResult.GetChildrenResult;
import org.apache.zookeeper.OpResult.GetDataResult;
import org.apache.zookeeper.OpResult.SetDataResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.Test;

/** Transactions: one zxid, typed results, all or nothing, and the layout of a failure. */
class MultiTest extends Fixture {
    private static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;

    private Op create(String name, CreateMode mode) {
        return Op.create(root + name, bytes("x"), OPEN, mode);
    }

    private static int error(OpResult result) {
        return assertInstanceOf(ErrorResult.class, result).getErr();
    }

    @Test
    void resultsAreTyped() throws Exception {
        make(zk, root + "/old", "");
        List<OpResult> results = zk.multi(List.of(
                Op.check(root, 0),
                create("/a", CreateMode.PERSISTENT),
                Op.setData(root + "/a", bytes("yy"), 0),
                create("/c", CreateMode.CONTAINER),
                create("/e", CreateMode.EPHEMERAL),
                Op.delete(root + "/old", 0),
                create("/s", CreateMode.PERSISTENT_SEQUENTIAL)));
        assertEquals(7, results.size());
        assertInstanceOf(CheckResult.class, results.get(0));
        CreateResult a = assertInstanceOf(CreateResult.class, results.get(1));
        assertEquals(root + "/a", a.getPath());
        Stat set = assertInstanceOf(SetDataResult.class, results.get(2)).getStat();
        assertEquals(1, set.getVersion());
        assertEquals(2, set.getDataLength());
        assertEquals(root + "/c", assertInstanceOf(CreateResult.class, results.get(3)).getPath());
        assertEquals(root + "/e", assertInstanceOf(CreateResult.class, results.get(4)).getPath());
        assertInstanceOf(DeleteResult.class, results.get(5));
        assertEquals(root + "/s0000000004", assertInstanceOf(CreateResult.class, results.get(6)).getPath());
        // One transaction: every znode it touched carries the same zxid and time.
        Stat parent = zk.exists(root, false);
        for (String name : zk.getChildren(root, false)) {
            Stat stat = zk.exists(root + "/" + name, false);
            assertEquals(parent.getPzxid(), stat.getCzxid());
            assertEquals(parent.getPzxid(), stat.getMzxid());
            assertEquals(set.getMtime(), stat.getCtime());
        }
        assertEquals(zk.getSessionId(), zk.exists(root + "/e", false).getEphemeralOwner());
        assertEquals(Set.of("a", "c", "e", "s0000000004"), Set.copyOf(zk.getChildren(root, false)));
    }

    @Test
    void createWithTtlReportsAStat() throws Exception {
        Servers.needOwnSettings("TTL nodes are off by default");
        CreateOptions options = CreateOptions.newBuilder(OPEN, CreateMode.PERSISTENT_WITH_TTL).withTtl(60_000).build();
        List<OpResult> results = zk.multi(List.of(
                Op.create(root + "/t", bytes("abc"), OPEN, CreateMode.PERSISTENT_WITH_TTL, 60_000),
                Op.create(root + "/o", bytes("abcd"), options)));
        assertEquals(4, assertInstanceOf(CreateResult.class, results.get(1)).getStat().getDataLength());
        CreateResult t = assertInstanceOf(CreateResult.class, results.get(0));
        assertEquals(OpCode.create2, t.getType());
        assertEquals(3, t.getStat().getDataLength());
        assertEquals(zk.exists(root + "/t", false), t.getStat());
    }

    @Test
    void failureLeavesNoTrace() throws Exception {
        Stat before = zk.exists(root, false);
        KeeperException e = assertThrows(KeeperException.BadVersionException.class, () -> zk.multi(List.of(
                create("/a", CreateMode.PERSISTENT),
                Op.setData(root, bytes("changed"), -1),
                create("/s", CreateMode.PERSISTENT_SEQUENTIAL),
                Op.check(root, 55),
                create("/b", CreateMode.PERSISTENT))));
        List<OpResult> results = e.getResults();
        assertEquals(List.of(0, 0, 0, Code.BADVERSION.intValue(), Code.RUNTIMEINCONSISTENCY.intValue()),
                results.stream().map(MultiTest::error).toList());
        assertEquals(before, zk.exists(root, false));
        assertEquals("root", text(zk.getData(root, false, null)));
        assertEquals(List.of(), zk.getChildren(root, false));
        assertEquals(root + "/s0000000000", zk.create(root + "/s", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
    }

    @Test
    void everyCodeAppearsAtItsOperation() throws Exception {
        make(zk, root + "/full", "");
        make(zk, root + "/full/child", "");
        makeEphemeral(zk, root + "/e");
        record Case(Op op, Code code) {
        }
        for (Case c : List.of(
                new Case(create("/full", CreateMode.PERSISTENT), Code.NODEEXISTS),
                new Case(create("/no/x", CreateMode.PERSISTENT), Code.NONODE),
                new Case(create("/e/x", CreateMode.PERSISTENT), Code.NOCHILDRENFOREPHEMERALS),
                new Case(Op.delete(root + "/full", -1), Code.NOTEMPTY),
                new Case(Op.delete(root + "/full/child", 9), Code.BADVERSION),
                new Case(Op.setData(root + "/no", bytes(""), -1), Code.NONODE),
                new Case(Op.check(root + "/no", -1), Code.NONODE))) {
            KeeperException e = assertThrows(KeeperException.class,
                    () -> zk.multi(List.of(Op.check(root, -1), c.op(), Op.check(root, -1))));
            assertEquals(c.code(), e.code());
            assertEquals(List.of(0, c.code().intValue(), -2), e.getResults().stream().map(MultiTest::error).toList());
        }
        assertEquals(3, zk.getAllChildrenNumber(root));
    }

    @Test
    void laterOperationsSeeEarlierOnes() throws Exception {
        List<OpResult> results = zk.multi(List.of(
                create("/n", CreateMode.PERSISTENT),
                create("/n/child", CreateMode.PERSISTENT),
                Op.setData(root + "/n", bytes("1"), 0),
                Op.setData(root + "/n", bytes("2"), 1),
                Op.check(root + "/n", 2),
                Op.delete(root + "/n/child", 0),
                Op.delete(root + "/n", 2),
                create("/n", CreateMode.EPHEMERAL)));
        assertEquals(2, assertInstanceOf(SetDataResult.class, results.get(3)).getStat().getVersion());
        Stat stat = new Stat();
        assertEquals("x", text(zk.getData(root + "/n", false, stat)));
        assertEquals(zk.getSessionId(), stat.getEphemeralOwner());
        assertEquals(0, stat.getVersion());
        assertEquals(3, zk.exists(root, false).getCversion());
    }

    @Test
    void transactionBuilder() throws Exception {
        List<OpResult> results = zk.transaction()
                .create(root + "/a", bytes("1"), OPEN, CreateMode.PERSISTENT)
                .setData(root + "/a", bytes("2"), 0)
                .check(root + "/a", 1)
                .create(root + "/b", bytes("1"), OPEN, CreateMode.PERSISTENT)
                .delete(root + "/b", 0)
                .commit();
        assertEquals(List.of(CreateResult.class, SetDataResult.class, CheckResult.class, CreateResult.class,
                DeleteResult.class), results.stream().map(Object::getClass).toList());
        assertEquals("2", text(zk.getData(root + "/a", false, null)));
        assertNull(zk.exists(root + "/b", false));
        Answers answers = new Answers();
        zk.transaction().delete(root + "/a", 1).commit(answers.multi(), "ctx");
        Answer answer = answers.take();
        assertEquals(Code.OK, answer.code());
        assertEquals("ctx", answer.ctx());
        assertEquals(List.of(new DeleteResult()), answer.value());
    }

    @Test
    void asynchronousFailureBringsCodeAndResults() throws Exception {
        Answers answers = new Answers();
        zk.multi(List.of(create("/a", CreateMode.PERSISTENT), Op.delete(root + "/no", 0)), answers.multi(), 1);
        Answer answer = answers.take();
        assertEquals(Code.NONODE, answer.code());
        assertEquals(List.of(new ErrorResult(0), new ErrorResult(Code.NONODE.intValue())), answer.value());
        assertNull(zk.exists(root + "/a", false));
    }

    @Test
    void readsAreIndependentOfEachOther() throws Exception {
        make(zk, root + "/a", "data of a");
        make(zk, root + "/a/1", "");
        make(zk, root + "/a/2", "");
        List<OpResult> results = zk.multi(List.of(
                Op.getData(root + "/a"),
                Op.getChildren(root + "/a"),
                Op.getData(root + "/no"),
                Op.getChildren(root + "/no"),
                Op.getChildren(root + "/a/1")));
        GetDataResult data = assertInstanceOf(GetDataResult.class, results.get(0));
        assertEquals("data of a", text(data.getData()));
        assertEquals(zk.exists(root + "/a", false), data.getStat());
        GetChildrenResult children = assertInstanceOf(GetChildrenResult.class, results.get(1));
        assertEquals(Set.of("1", "2"), Set.copyOf(children.getChildren()));
        assertEquals(Code.NONODE.intValue(), error(results.get(2)));
        assertEquals(Code.NONODE.intValue(), error(results.get(3)));
        assertEquals(List.of(), assertInstanceOf(GetChildrenResult.class, results.get(4)).getChildren());
    }

    @Test
    void largeTransaction() throws Exception {
        List<Op> ops = new ArrayList<>();
        for (int i = 0; i < 2000; i++) {
            ops.add(create("/n" + i, CreateMode.PERSISTENT));
        }
        List<OpResult> results = zk.multi(ops);
        for (int i = 0; i < 2000; i++) {
            assertEquals(root + "/n" + i, ((CreateResult) results.get(i)).getPath());
        }
        Stat stat = zk.exists(root, false);
        assertEquals(2000, stat.getNumChildren());
        assertEquals(2000, stat.getCversion());
        ops.replaceAll(op -> Op.delete(op.getPath(), 0));
        ops.add(Op.check(root, 9));
        assertThrows(KeeperException.BadVersionException.class, () -> zk.multi(ops));
        assertEquals(2000, zk.getChildren(root, false).size());
        ops.remove(2000);
        zk.multi(ops);
        assertTrue(zk.getChildren(root, false).isEmpty());
    }

    @Test
    void failedOnesBetweenPipelinedWritesDoNotDisturbThem() throws Exception {
        Answers answers = new Answers();
        for (int i = 0; i < 300; i++) {
            zk.create(root + "/s-", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL, answers.name(), null);
            zk.multi(List.of(create("/s-", CreateMode.PERSISTENT_SEQUENTIAL), Op.setData(root, bytes("no"), -1),
                    Op.check(root, 1000)), answers.multi(), null);
            zk.setData(root, bytes("v"), i, answers.stat(), null);
        }
        for (int i = 0; i < 300; i++) {
            assertEquals(String.format("%s/s-%010d", root, i), answers.take().value());
            assertEquals(Code.BADVERSION, answers.take().code());
            Answer set = answers.take();
            assertEquals(Code.OK, set.code());
            assertEquals(i + 1, set.stat().getVersion());
        }
    }
}
