package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.x.async.AsyncCuratorFramework;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.zookeeper.CreateMode;
import org.junit.jupiter.api.Test;

/** Curator's shared state: barriers, counters, queues, caches, nodes, discovery, transactions, asynchronous calls. */
class CuratorSharedTest extends CuratorFixture {
    private static final RetryNTimes OFTEN = new RetryNTimes(1000, 2);

    @Test
    void barriers() throws Exception {
        DistributedBarrier one = new DistributedBarrier(far, root + "/barrier");
        DistributedBarrier other = new DistributedBarrier(near, root + "/barrier");
        one.setBarrier();
        assertFalse(other.waitOnBarrier(300, MILLISECONDS));
        cutFar();
        one.removeBarrier();
        assertTrue(other.waitOnBarrier(10, SECONDS));
        ExecutorService pool = Executors.newFixedThreadPool(2);
        List<Future<Boolean>> both = new ArrayList<>();
        for (CuratorFramework client : List.of(far, near)) {
            both.add(pool.submit(() -> {
                DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, root + "/double", 2);
                return barrier.enter(10, SECONDS) && barrier.leave(10, SECONDS);
            }));
        }
        for (Future<Boolean> each : both) {
            assertTrue(each.get());
        }
        pool.shutdown();
        assertFalse(new DistributedDoubleBarrier(far, root + "/alone", 2).enter(300, MILLISECONDS));
    }

    @Test
    void countersUnderContention() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(2);
        List<Future<?>> both = new ArrayList<>();
        for (CuratorFramework client : List.of(far, near)) {
            both.add(pool.submit(() -> {
                DistributedAtomicLong number = new DistributedAtomicLong(client, root + "/long", OFTEN);
                DistributedAtomicInteger small = new DistributedAtomicInteger(client, root + "/int", OFTEN);
                for (int i = 0; i < 50; i++) {
                    AtomicValue<Long> after = number.increment();
                    assertTrue(after.succeeded());
                    assertEquals(after.preValue() + 1, after.postValue());
                    assertTrue(small.add(2).succeeded());
                }
                return null;
            }));
        }
        for (Future<?> each : both) {
            each.get();
        }
        pool.shutdown();
        assertEquals(100, new DistributedAtomicLong(near, root + "/long", OFTEN).get().postValue());
        assertEquals(200, new DistributedAtomicInteger(near, root + "/int", OFTEN).get().postValue());
        DistributedAtomicValue value = new DistributedAtomicValue(far, root + "/value", OFTEN);
        assertTrue(value.initialize(bytes("a")));
        assertFalse(value.compareAndSet(bytes("x"), bytes("y")).succeeded());
        assertTrue(value.compareAndSet(bytes("a"), bytes("b")).succeeded());
        assertArrayEquals(bytes("b"), new DistributedAtomicValue(near, root + "/value", OFTEN).get().postValue());
    }

    @Test
    void sharedCountFollowsOverACut() throws Exception {
        SharedCount one = new SharedCount(far, root + "/count", 7);
        SharedCount other = new SharedCount(near, root + "/count", 7);
        one.start();
        other.start();
        assertEquals(7, one.getCount());
        other.setCount(8);
        until("the other sees 8", () -> one.getCount() == 8);
        cutFar();
        other.setCount(9);
        until("9 over a cut", () -> one.getCount() == 9);
        assertTrue(one.trySetCount(one.getVersionedValue(), 10));
        until("10 back", () -> other.getCount() == 10);
        one.close();
        other.close();
    }

    @Test
    void queueDeliversEachItemOnce() throws Exception {
        BlockingQueue<String> got = new LinkedBlockingQueue<>();
        QueueConsumer<String> consumer = new QueueConsumer<>() {
            @Override
            public void consumeMessage(String message) {
                got.add(message);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {
                // The queue goes on by itself.
            }
        };
        QueueSerializer<String> serializer = new QueueSerializer<>() {
            @Override
            public byte[] serialize(String item) {
                return bytes(item);
            }

            @Override
            public String deserialize(byte[] data) {
                return text(data);
            }
        };
        DistributedQueue<String> in = QueueBuilder.builder(near, null, serializer, root + "/queue").buildQueue();
        DistributedQueue<String> out = QueueBuilder.builder(far, consumer, serializer, root + "/queue").buildQueue();
        in.start();
        out.start();
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            expected.add("item " + i);
            in.put("item " + i);
            if (i == 50) {
                in.flushPuts(10, SECONDS);
                until("half came", () -> got.size() == 51);
                cutFar();
            }
        }
        until("all came", () -> got.size() >= 100);
        assertEquals(expected, new ArrayList<>(got));
        in.close();
        out.close();
    }

    @Test
    void cacheFollowsTheTreeOverCutAndExpiry() throws Exception {
        near.create().forPath(root + "/tree", bytes("0"));
        CuratorCache cache = CuratorCache.build(far, root + "/tree");
        cache.start();
        for (int i = 0; i < 3; i++) {
            for (int n = 0; n < 20; n++) {
                near.create().creatingParentsIfNeeded().forPath(root + "/tree/r" + i + "/n" + n, bytes("v" + n));
            }
            near.delete().forPath(root + "/tree/r" + i + "/n7");
            near.setData().forPath(root + "/tree/r" + i + "/n8", bytes("changed " + i));
            int round = i;
            until("the cache has round " + i, () -> cache.size() == 1 + (round + 1) * 20
                    && cache.get(root + "/tree/r" + round + "/n8").map(ChildData::getData).map(Fixture::text)
                            .orElse("").equals("changed " + round)
                    && cache.get(root + "/tree/r" + round + "/n7").isEmpty());
            if (i == 0) {
                cutFar();
            } else if (i == 1) {
                expireFar();
            }
        }
        near.delete().deletingChildrenIfNeeded().forPath(root + "/tree");
        until("the cache is empty", () -> cache.size() == 0);
        cache.close();
    }

    @Test
    void persistentNodeAndGroupMembersComeBackAfterExpiry() throws Exception {
        PersistentNode node = new PersistentNode(far, CreateMode.EPHEMERAL, false, root + "/node", bytes("here"));
        node.start();
        assertTrue(node.waitForInitialCreate(10, SECONDS));
        GroupMember one = new GroupMember(far, root + "/group", "one", bytes("1"));
        GroupMember other = new GroupMember(near, root + "/group", "other", bytes("2"));
        one.start();
        other.start();
        until("both are there", () -> other.getCurrentMembers().keySet().equals(Set.of("one", "other")));
        long session = near.checkExists().forPath(root + "/node").getEphemeralOwner();
        near.delete().forPath(root + "/node");
        until("created again", () -> near.checkExists().forPath(root + "/node") != null);
        expireFar();
        until("created by the new session", () -> near.checkExists().forPath(root + "/node") != null
                && near.checkExists().forPath(root + "/node").getEphemeralOwner() != session);
        assertEquals("here", text(near.getData().forPath(root + "/node")));
        until("both again", () -> other.getCurrentMembers().keySet().equals(Set.of("one", "other")));
        one.close();
        until("one left", () -> other.getCurrentMembers().keySet().equals(Set.of("other")));
        other.close();
        node.close();
    }

    @Test
    void servicesAreFound() throws Exception {
        ServiceDiscovery<Void> one = ServiceDiscoveryBuilder.builder(Void.class).client(far)
                .basePath(root + "/services").build();
        ServiceDiscovery<Void> other = ServiceDiscoveryBuilder.builder(Void.class).client(near)
                .basePath(root + "/services").build();
        one.start();
        other.start();
        one.registerService(ServiceInstance.<Void>builder().name("web").id("a").address("h1").port(1).build());
        other.registerService(ServiceInstance.<Void>builder().name("web").id("b").address("h2").port(2).build());
        Set<String> ids = new TreeSet<>();
        other.queryForInstances("web").forEach(i -> ids.add(i.getId() + " " + i.getAddress() + ":" + i.getPort()));
        assertEquals(Set.of("a h1:1", "b h2:2"), ids);
        expireFar();
        until("registered again", () -> other.queryForInstances("web").size() == 2);
        one.close();
        until("gone with its discovery", () -> other.queryForInstances("web").size() == 1);
        other.close();
    }

    @Test
    void transactions() throws Exception {
        List<CuratorTransactionResult> results = far.transaction().forOperations(
                far.transactionOp().create().forPath(root + "/a", bytes("1")),
                far.transactionOp().setData().withVersion(0).forPath(root + "/a", bytes("2")),
                far.transactionOp().check().withVersion(1).forPath(root + "/a"),
                far.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath(root + "/b"),
                far.transactionOp().delete().forPath(root + "/b"));
        assertEquals(List.of(OperationType.CREATE, OperationType.SET_DATA, OperationType.CHECK, OperationType.CREATE,
                OperationType.DELETE), results.stream().map(CuratorTransactionResult::getType).toList());
        assertEquals(1, results.get(1).getResultStat().getVersion());
        assertEquals("2", text(near.getData().forPath(root + "/a")));
    }

    @Test
    void asynchronousCalls() throws Exception {
        AsyncCuratorFramework async = AsyncCuratorFramework.wrap(far);
        String made = async.create().forPath(root + "/a", bytes("1"))
                .thenCompose(path -> async.setData().forPath(path, bytes("2")))
                .thenCompose(stat -> async.getData().forPath(root + "/a"))
                .thenApply(Fixture::text).toCompletableFuture().get(20, SECONDS);
        assertEquals("2", made);
        var watched = async.watched().getData().forPath(root + "/a");
        assertEquals("2", text(watched.toCompletableFuture().get(20, SECONDS)));
        near.setData().forPath(root + "/a", bytes("3"));
        assertEquals(root + "/a", watched.event().toCompletableFuture().get(20, SECONDS).getPath());
    }
}
