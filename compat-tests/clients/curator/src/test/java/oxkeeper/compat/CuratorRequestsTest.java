package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.curator.x.async.AsyncCuratorFramework;
import org.apache.curator.x.async.AsyncEventException;
import org.apache.curator.x.async.AsyncStage;
import org.apache.curator.x.async.WatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.OpResult.ErrorResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Curator's requests themselves: transactions, its asynchronous language, and what its retries promise. */
class CuratorRequestsTest extends CuratorFixture {
    @Troubled
    void transactions(Trouble trouble) throws Exception {
        begin(trouble);
        down();
        Future<List<CuratorTransactionResult>> whole = aside(() -> far.transaction().forOperations(
                far.transactionOp().create().forPath(root + "/a", bytes("1")),
                far.transactionOp().setData().withVersion(0).forPath(root + "/a", bytes("2")),
                far.transactionOp().check().withVersion(1).forPath(root + "/a"),
                far.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath(root + "/b"),
                far.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(root + "/s-"),
                far.transactionOp().delete().forPath(root + "/b")));
        if (trouble != Trouble.NONE) {
            assertPending(whole);
        }
        up();
        List<CuratorTransactionResult> results = await(whole);
        assertEquals(List.of(OperationType.CREATE, OperationType.SET_DATA, OperationType.CHECK, OperationType.CREATE,
                OperationType.CREATE, OperationType.DELETE),
                results.stream().map(CuratorTransactionResult::getType).toList());
        assertEquals(root + "/a", results.get(0).getResultPath());
        assertEquals(1, results.get(1).getResultStat().getVersion());
        assertTrue(results.get(4).getResultPath().matches(root + "/s-\\d{10}"), results.get(4)::getResultPath);
        assertEquals("2", text(near.getData().forPath(root + "/a")));
        KeeperException.BadVersionException no = assertThrows(KeeperException.BadVersionException.class,
                () -> far.transaction().forOperations(
                        far.transactionOp().create().forPath(root + "/never"),
                        far.transactionOp().check().withVersion(7).forPath(root + "/a")));
        assertEquals(List.of(0, KeeperException.Code.BADVERSION.intValue()),
                no.getResults().stream().map(result -> ((ErrorResult) result).getErr()).toList());
        assertNull(near.checkExists().forPath(root + "/never"));
    }

    /** Transactions in flight while far meets its trouble: each is applied whole or not at all, and once. */
    @Troubled
    void transactionsInFlight(Trouble trouble) throws Exception {
        begin(trouble);
        near.create().forPath(root + "/sum", bytes("0"));
        near.create().forPath(root + "/items", bytes(""));
        AtomicBoolean enough = new AtomicBoolean();
        AtomicInteger next = new AtomicInteger();
        AtomicInteger doubtful = new AtomicInteger();
        Future<Void> work = aside(() -> {
            while (!enough.get()) {
                int i = next.get();
                try {
                    far.transaction().forOperations(
                            far.transactionOp().create().forPath(root + "/items/" + i, bytes("")),
                            far.transactionOp().setData().withVersion(i).forPath(root + "/sum", bytes("" + (i + 1))));
                } catch (KeeperException.NodeExistsException e) {
                    // It was applied, but the answer was lost, so that Curator tried again.
                    doubtful.incrementAndGet();
                }
                next.incrementAndGet();
            }
            return null;
        });
        until("it works", () -> next.get() > 10);
        down();
        int before = next.get();
        up();
        until("it goes on", () -> next.get() > before + 10);
        enough.set(true);
        await(work);
        assertEquals(next.get(), children(root + "/items"));
        Stat stat = new Stat();
        assertEquals("" + next.get(), text(near.getData().storingStatIn(stat).forPath(root + "/sum")));
        assertEquals(next.get(), stat.getVersion());
        assertTrue(doubtful.get() <= (trouble == Trouble.NONE ? 0 : suspensions() + 1), doubtful::toString);
    }

    private static <T> T await(CompletionStage<T> stage) throws Exception {
        return stage.toCompletableFuture().get(PATIENCE_S, SECONDS);
    }

    @Troubled
    void asynchronousCalls(Trouble trouble) throws Exception {
        begin(trouble);
        AsyncCuratorFramework async = AsyncCuratorFramework.wrap(far);
        assertEquals(root + "/a", await(async.create().forPath(root + "/a", bytes("1"))));
        down();
        CompletionStage<String> chain = async.setData().withVersion(0).forPath(root + "/a", bytes("2"))
                .thenCompose(stat -> async.getData().forPath(root + "/a"))
                .thenCompose(data -> async.create().withMode(CreateMode.EPHEMERAL).forPath(root + "/e", data))
                .thenCompose(path -> async.getChildren().forPath(root))
                .thenApply(names -> new TreeSet<>(names).toString());
        if (trouble != Trouble.NONE) {
            assertPending(chain.toCompletableFuture());
        }
        up();
        String names = await(chain);
        assertTrue(names.contains("a, e"), names);
        assertEquals("2", text(near.getData().forPath(root + "/e")));
        assertEquals(farSession(), near.checkExists().forPath(root + "/e").getEphemeralOwner());
        List<CuratorTransactionResult> both = await(async.transaction().forOperations(List.of(
                async.transactionOp().create().forPath(root + "/t", bytes("t")),
                async.transactionOp().delete().forPath(root + "/e"))));
        assertEquals(2, both.size());
        Throwable no = assertThrows(ExecutionException.class, () -> await(async.delete().forPath(root + "/none")))
                .getCause();
        assertInstanceOf(KeeperException.NoNodeException.class, no);
    }

    private static AsyncEventException broken(CompletionStage<WatchedEvent> event) {
        Throwable cause = assertThrows(ExecutionException.class, () -> await(event)).getCause();
        return assertInstanceOf(AsyncEventException.class, cause);
    }

    /** A watch whose stage also tells of broken connections can be set anew, and then sees what it missed. */
    @Troubled
    void asynchronousWatch(Trouble trouble) throws Exception {
        begin(trouble);
        near.create().forPath(root + "/a", bytes("1"));
        AsyncCuratorFramework async = AsyncCuratorFramework.wrap(far);
        AsyncStage<byte[]> watched = async.watched().getData().forPath(root + "/a");
        assertEquals("1", text(await(watched)));
        CompletionStage<WatchedEvent> event = watched.event();
        down();
        if (trouble != Trouble.NONE) {
            AsyncEventException broken = broken(event);
            event = trouble == Trouble.EXPIRED ? event : broken.reset();
        }
        near.setData().forPath(root + "/a", bytes("2"));
        up();
        if (endsSession()) {
            broken(event);
            AsyncStage<byte[]> again = async.watched().getData().forPath(root + "/a");
            assertEquals("2", text(await(again)));
            near.setData().forPath(root + "/a", bytes("3"));
            event = again.event();
        }
        assertEquals(EventType.NodeDataChanged, await(event).getType());
    }

    /** A watch that tells of changes only is silent over a cut, and hears afterwards what it missed. */
    @ParameterizedTest(name = "{0}")
    @EnumSource(names = {"NONE", "CUT"})
    void asynchronousWatchOfSuccessOnly(Trouble trouble) throws Exception {
        begin(trouble);
        AsyncCuratorFramework async = AsyncCuratorFramework.wrap(far);
        AsyncStage<Stat> watched = async.with(WatchMode.successOnly).watched().checkExists().forPath(root + "/new");
        assertNull(await(watched));
        down();
        assertFalse(watched.event().toCompletableFuture().isDone());
        near.create().forPath(root + "/new", bytes("1"));
        up();
        assertEquals(EventType.NodeCreated, await(watched.event()).getType());
    }

    /** Sequential znodes made with protection while the connection breaks again and again: each call makes one. */
    @Troubled
    void protectionMakesOneZnodePerCall(Trouble trouble) throws Exception {
        begin(trouble);
        near.create().forPath(root + "/p", bytes(""));
        AtomicBoolean enough = new AtomicBoolean();
        AtomicInteger made = new AtomicInteger();
        Future<List<String>> work = aside(() -> {
            List<String> paths = new ArrayList<>();
            while (!enough.get()) {
                paths.add(far.create().withProtection().withMode(CreateMode.PERSISTENT_SEQUENTIAL)
                        .forPath(root + "/p/s-", bytes("")));
                made.incrementAndGet();
            }
            return paths;
        });
        for (int round = 0; round < (trouble == Trouble.CUT ? 5 : 1); round++) {
            int before = made.get();
            until("it works", () -> made.get() > before + 5);
            down();
            up();
        }
        int before = made.get();
        until("it goes on", () -> made.get() > before + 5);
        enough.set(true);
        Set<String> paths = new TreeSet<>(await(work));
        Set<String> there = new TreeSet<>();
        near.getChildren().forPath(root + "/p").forEach(name -> there.add(root + "/p/" + name));
        assertEquals(paths, there);
    }
}
