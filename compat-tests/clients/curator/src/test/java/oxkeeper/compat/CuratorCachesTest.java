package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.state.ConnectionState;
import org.junit.jupiter.api.Test;

/** Curator's older caches, which live on one-shot watches, its special queues, and nodes kept alive by writing. */
@SuppressWarnings("deprecation")
class CuratorCachesTest extends CuratorFixture {
    private final BlockingQueue<String> got = new LinkedBlockingQueue<>();

    private final QueueConsumer<String> consumer = new QueueConsumer<>() {
        @Override
        public void consumeMessage(String message) {
            got.add(message);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {
            // The queue goes on by itself.
        }
    };

    private static final QueueSerializer<String> STRINGS = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return bytes(item);
        }

        @Override
        public String deserialize(byte[] data) {
            return text(data);
        }
    };

    /** One disturbance per round: none, a cut connection, an ended session. */
    private void disturb(int round) throws Exception {
        if (round == 1) {
            cutFar();
        } else if (round == 2) {
            expireFar();
        }
    }

    @Test
    void nodeCacheFollows() throws Exception {
        NodeCache cache = new NodeCache(far, root + "/n");
        cache.start(true);
        for (int round = 0; round < 3; round++) {
            disturb(round);
            String value = "v" + round;
            near.create().orSetData().forPath(root + "/n", bytes(value));
            until(value, () -> cache.getCurrentData() != null && value.equals(text(cache.getCurrentData().getData())));
            near.delete().forPath(root + "/n");
            until("gone", () -> cache.getCurrentData() == null);
        }
        cache.close();
    }

    @Test
    void pathChildrenCacheFollows() throws Exception {
        near.create().forPath(root + "/p");
        PathChildrenCache cache = new PathChildrenCache(far, root + "/p", true);
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        for (int round = 0; round < 3; round++) {
            disturb(round);
            for (int i = 0; i < 10; i++) {
                near.create().forPath(root + "/p/r" + round + "-" + i, bytes("" + i));
            }
            near.delete().forPath(root + "/p/r" + round + "-0");
            near.setData().forPath(root + "/p/r" + round + "-1", bytes("changed"));
            List<String> expected = new ArrayList<>();
            for (int r = 0; r <= round; r++) {
                for (int i = 1; i < 10; i++) {
                    expected.add("r" + r + "-" + i + "=" + (i == 1 ? "changed" : "" + i));
                }
            }
            until("the children of round " + round, () -> cache.getCurrentData().stream()
                    .map(c -> c.getPath().substring(root.length() + 3) + "=" + text(c.getData()))
                    .sorted().collect(Collectors.toList()).equals(expected));
        }
        cache.close();
    }

    @Test
    void treeCacheFollows() throws Exception {
        near.create().forPath(root + "/t");
        TreeCache cache = new TreeCache(far, root + "/t");
        cache.start();
        for (int round = 0; round < 3; round++) {
            disturb(round);
            String path = root + "/t/a/b/r" + round;
            near.create().creatingParentsIfNeeded().forPath(path, bytes("1"));
            near.setData().forPath(path, bytes("2"));
            until(path, () -> cache.getCurrentData(path) != null
                    && "2".equals(text(cache.getCurrentData(path).getData())));
            near.delete().forPath(path);
            until("gone: " + path, () -> cache.getCurrentData(path) == null);
        }
        assertEquals(0, cache.getCurrentChildren(root + "/t/a/b").size());
        cache.close();
    }

    @Test
    void idQueue() throws Exception {
        DistributedIdQueue<String> in = QueueBuilder.<String>builder(near, null, STRINGS, root + "/q").buildIdQueue();
        in.start();
        in.put("one", "1");
        in.put("two", "2");
        in.put("three", "3");
        in.flushPuts(10, SECONDS);
        assertEquals(1, in.remove("2"));
        DistributedIdQueue<String> out = QueueBuilder.builder(far, consumer, STRINGS, root + "/q").buildIdQueue();
        out.start();
        until("two items", () -> got.size() == 2);
        assertEquals(List.of("one", "three"), new ArrayList<>(got));
        out.close();
        in.close();
    }

    @Test
    void priorityQueue() throws Exception {
        DistributedPriorityQueue<String> in =
                QueueBuilder.<String>builder(near, null, STRINGS, root + "/q").buildPriorityQueue(0);
        in.start();
        for (int priority : new int[] {5, 1, 9, 3}) {
            in.put("p" + priority, priority);
        }
        in.flushPuts(10, SECONDS);
        DistributedPriorityQueue<String> out =
                QueueBuilder.builder(far, consumer, STRINGS, root + "/q").buildPriorityQueue(0);
        out.start();
        until("four items", () -> got.size() == 4);
        assertEquals(List.of("p1", "p3", "p5", "p9"), new ArrayList<>(got));
        out.close();
        in.close();
    }

    @Test
    void delayQueue() throws Exception {
        DistributedDelayQueue<String> queue =
                QueueBuilder.builder(far, consumer, STRINGS, root + "/q").buildDelayQueue();
        queue.start();
        long now = System.currentTimeMillis();
        queue.put("later", now + 2500);
        queue.put("soon", now + 500);
        until("the first", () -> got.size() == 1);
        assertTrue(System.currentTimeMillis() >= now + 500);
        cutFar();
        until("the second", () -> got.size() == 2);
        assertTrue(System.currentTimeMillis() >= now + 2500);
        assertEquals(List.of("soon", "later"), new ArrayList<>(got));
        queue.close();
    }

    @Test
    void persistentTtlNode() throws Exception {
        Servers.needOwnSettings("TTL nodes are off by default");
        PersistentTtlNode node = new PersistentTtlNode(far, root + "/ttl", 1500, bytes("x"));
        node.start();
        assertTrue(node.waitForInitialCreate(10, SECONDS));
        cutFar();
        Thread.sleep(4000);
        assertEquals("x", text(near.getData().forPath(root + "/ttl")));
        node.close();
        until("reaped when nobody renews it", () -> near.checkExists().forPath(root + "/ttl") == null);
    }
}
