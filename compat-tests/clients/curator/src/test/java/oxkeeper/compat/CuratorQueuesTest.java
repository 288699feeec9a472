package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.Closeable;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.state.ConnectionState;

/** Curator's queues, with their lock path: what was put is delivered, at least once, in the order the queue keeps. */
class CuratorQueuesTest extends CuratorFixture {
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

    /** Keeps what it gets, and holds still on an item named "pause" until it may go on. */
    private static final class Consumer implements QueueConsumer<String> {
        private final List<String> got = new CopyOnWriteArrayList<>();
        private final Map<String, Long> times = new ConcurrentHashMap<>();
        private final CountDownLatch reached = new CountDownLatch(1);
        private final CountDownLatch go = new CountDownLatch(1);

        @Override
        public void consumeMessage(String message) throws Exception {
            times.putIfAbsent(message, System.currentTimeMillis());
            got.add(message);
            if (message.equals("pause")) {
                reached.countDown();
                go.await();
            }
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {
            // The queue goes on by itself.
        }

        /** Everything without what came again. */
        List<String> distinct() {
            return got.stream().distinct().toList();
        }
    }

    /** Puts one item, with whatever the queue wants to know besides. */
    private interface Put {
        void put(String item) throws Exception;
    }

    private final Consumer consumer = new Consumer();

    private QueueBuilder<String> queue(CuratorFramework client, QueueConsumer<String> consumer) {
        return QueueBuilder.builder(client, consumer, STRINGS, root + "/queue").lockPath(root + "/locks");
    }

    /**
     * Far consumes and meets the trouble with an item in hand, and again without one. Meanwhile both put; what far puts
     * while it is away is kept until it is back. It never meets it while it takes or removes an item: Curator does not
     * recognise a lock of its own whose answer was lost, and leaves the item alone as long as its session lives.
     *
     * @return the items in the order in which they were put
     */
    private List<String> deliver(Put ofNear, Put ofFar) throws Exception {
        List<String> put = new ArrayList<>();
        for (String item : List.of("a", "b", "pause", "c", "d")) {
            ofNear.put(item);
            put.add(item);
        }
        assertTrue(consumer.reached.await(PATIENCE_S, SECONDS));
        for (int round = 0; round < 2; round++) {
            down();
            List<String> here = IntStream.range(10 * round, 10 * round + 10).mapToObj(i -> "n" + i).toList();
            for (String item : here) {
                ofNear.put(item);
            }
            Future<Void> away = aside(() -> {
                for (String item : here) {
                    ofFar.put(item.replace('n', 'f'));
                }
                return null;
            });
            up();
            await(away);
            put.addAll(here);
            here.forEach(item -> put.add(item.replace('n', 'f')));
            consumer.go.countDown();
            until("all of round " + round, () -> new HashSet<>(consumer.got).containsAll(put));
            until("the queue is empty", () -> children(root + "/queue") == 0);
            until("no lock is left", () -> children(root + "/locks") == 0);
        }
        // Only what was in hand when the session ended may come again.
        long came = consumer.got.stream().filter(put::contains).count();
        assertTrue(came <= put.size() + (endsSession() ? 1 : 0), consumer.got::toString);
        return put;
    }

    private static List<String> only(String prefix, List<String> items) {
        return items.stream().filter(item -> item.startsWith(prefix)).toList();
    }

    private static void close(Closeable... all) throws Exception {
        for (Closeable one : all) {
            one.close();
        }
    }

    @Troubled
    void queue(Trouble trouble) throws Exception {
        begin(trouble);
        DistributedQueue<String> in = queue(near, null).buildQueue();
        DistributedQueue<String> back = queue(far, null).buildQueue();
        DistributedQueue<String> out = queue(far, consumer).buildQueue();
        in.start();
        back.start();
        for (String item : List.of("first", "second")) {
            in.put(item);
        }
        assertTrue(in.flushPuts(PATIENCE_S, SECONDS));
        out.start();
        until("what was there before", () -> consumer.got.equals(List.of("first", "second")));
        consumer.got.clear();
        List<String> put = deliver(in::put, back::put);
        // What one producer put comes in its order.
        assertEquals(only("n", put), only("n", consumer.distinct()));
        close(out, back, in);
    }

    @Troubled
    void idQueue(Trouble trouble) throws Exception {
        begin(trouble);
        DistributedIdQueue<String> in = queue(near, null).buildIdQueue();
        DistributedIdQueue<String> back = queue(far, null).buildIdQueue();
        in.start();
        back.start();
        in.put("unwanted", "x");
        in.put("unwanted too", "x");
        in.put("a first one", "y");
        assertTrue(in.flushPuts(PATIENCE_S, SECONDS));
        assertEquals(2, back.remove("x"));
        assertEquals(0, in.remove("x"));
        DistributedIdQueue<String> out = queue(far, consumer).buildIdQueue();
        out.start();
        until("what was not removed", () -> consumer.got.equals(List.of("a first one")));
        consumer.got.clear();
        List<String> put = deliver(item -> in.put(item, "id-" + item), item -> back.put(item, "id-" + item));
        assertEquals(only("n", put), only("n", consumer.distinct()));
        close(out, back, in);
    }

    @Troubled
    void priorityQueue(Trouble trouble) throws Exception {
        begin(trouble);
        DistributedPriorityQueue<String> in = queue(near, null).buildPriorityQueue(0);
        DistributedPriorityQueue<String> back = queue(far, null).buildPriorityQueue(0);
        DistributedPriorityQueue<String> out = queue(far, consumer).buildPriorityQueue(0);
        in.start();
        back.start();
        out.start();
        deliver(item -> in.put(item, 5), item -> back.put(item, item.length()));
        close(out);
        for (int priority : new int[] {5, -1, 9, 3, Integer.MIN_VALUE, 3}) {
            in.put("p" + priority, priority);
            back.put("q" + priority, priority);
        }
        assertTrue(in.flushPuts(PATIENCE_S, SECONDS));
        assertTrue(back.flushPuts(PATIENCE_S, SECONDS));
        consumer.got.clear();
        DistributedPriorityQueue<String> again = queue(far, consumer).buildPriorityQueue(0);
        again.start();
        until("twelve items", () -> consumer.got.size() == 12);
        List<Integer> order = consumer.got.stream().map(item -> Integer.parseInt(item.substring(1))).toList();
        assertEquals(order.stream().sorted().toList(), order);
        close(again, back, in);
    }

    @Troubled
    void delayQueue(Trouble trouble) throws Exception {
        begin(trouble);
        DistributedDelayQueue<String> in = queue(near, null).buildDelayQueue();
        DistributedDelayQueue<String> back = queue(far, null).buildDelayQueue();
        DistributedDelayQueue<String> out = queue(far, consumer).buildDelayQueue();
        in.start();
        back.start();
        out.start();
        Map<String, Long> due = new ConcurrentHashMap<>();
        deliver(item -> put(in, item, due), item -> put(back, item, due));
        put(back, "latest", due);
        until("the latest", () -> consumer.times.containsKey("latest"));
        due.forEach((item, time) -> assertTrue(consumer.times.get(item) >= time, item + " came too early"));
        close(out, back, in);
    }

    private static void put(DistributedDelayQueue<String> queue, String item, Map<String, Long> due) throws Exception {
        long time = System.currentTimeMillis() + 100 + Math.floorMod(item.hashCode(), 300);
        due.put(item, time);
        queue.put(item, time);
    }
}
