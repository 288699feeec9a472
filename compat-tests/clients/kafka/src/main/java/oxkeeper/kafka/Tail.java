package oxkeeper.kafka;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;

/**
 * A member of a consumer group that reads a {@link Ledger} as it is written, committing as it goes. Numbers must come
 * in order and without a gap; one may come again only after the group gave the partitions anew.
 */
final class Tail implements AutoCloseable {
    private final Ledger ledger;
    private final Consumer<byte[], byte[]> consumer;
    /** By partition: the number that comes next if nothing is read twice. */
    private final AtomicLongArray next;
    /** By partition: the number that was read last since the group gave it, -1 for none. */
    private final long[] last;
    private final AtomicReference<Throwable> failure = new AtomicReference<>();
    private final Thread thread = new Thread(this::read, "tail");
    private volatile boolean ending;

    Tail(Ledger ledger, Map<String, Object> client) {
        this.ledger = ledger;
        this.next = new AtomicLongArray(ledger.partitions());
        this.last = new long[ledger.partitions()];
        for (int p = 0; p < ledger.partitions(); p++) {
            next.set(p, p);
            last[p] = -1;
        }
        Map<String, Object> settings = new HashMap<>(client);
        settings.put("group.id", "tail");
        this.consumer = Ledger.consumer(settings);
        thread.start();
    }

    private void read() {
        try (consumer) {
            consumer.subscribe(List.of(ledger.topic()), new Assigned());
            while (!ending) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    take(record.partition(), Ledger.number(record));
                }
                commit();
            }
        } catch (Exception | AssertionError e) {
            failure.set(e);
        }
    }

    private void commit() {
        try {
            consumer.commitSync();
        } catch (CommitFailedException | RetriableException e) {
            // The coordinator went away or gave the partitions anew; what was read is then read again.
            return;
        }
    }

    private void take(int partition, long number) {
        if (last[partition] >= 0) {
            Checks.equal("record that follows " + last[partition], last[partition] + ledger.partitions(), number);
        } else {
            Checks.holds("no gap before record " + number + ", " + next.get(partition) + " was next",
                    number <= next.get(partition) && number % ledger.partitions() == partition);
        }
        last[partition] = number;
        next.accumulateAndGet(partition, number + ledger.partitions(), Math::max);
    }

    /** Waits until the records 0 to `count` - 1 have been read. */
    void await(long count) throws Exception {
        Checks.until(count + " records are read", () -> {
            if (failure.get() != null) {
                throw new Exception("the reader failed", failure.get());
            }
            for (int p = 0; p < ledger.partitions(); p++) {
                // next is the first of the partition's numbers not yet read.
                if (next.get(p) < count) {
                    return false;
                }
            }
            return true;
        });
    }

    @Override
    public void close() throws InterruptedException {
        ending = true;
        thread.join();
    }

    /** What is given anew is read from the last commit on. */
    private final class Assigned implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(p -> last[p.partition()] = -1);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(p -> last[p.partition()] = -1);
        }
    }
}
