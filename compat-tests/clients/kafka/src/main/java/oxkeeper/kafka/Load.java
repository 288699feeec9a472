package oxkeeper.kafka;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A producer, idempotent and with acks=all, that writes a {@link Ledger} in the background until it is told to end.
 * A record that is refused fails the suite: Kafka's promise is that retries hide what happens here.
 */
final class Load implements AutoCloseable {
    private static final int IN_FLIGHT_MAX = 500;
    private static final int PAUSE_MICROS = 500;

    private final Ledger ledger;
    private final Producer<byte[], byte[]> producer;
    private final AtomicLong acknowledged = new AtomicLong();
    private final AtomicReference<Exception> refusal = new AtomicReference<>();
    private final Thread thread = new Thread(this::write, "load");
    private volatile boolean ending;
    private long sent;

    Load(Ledger ledger, Map<String, Object> client) {
        this.ledger = ledger;
        this.producer = producer(client);
        thread.start();
    }

    /** A producer of raw bytes, idempotent and with acks=all. */
    static Producer<byte[], byte[]> producer(Map<String, Object> client) {
        Map<String, Object> settings = new HashMap<>(client);
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("linger.ms", "5");
        settings.put("batch.size", "65536");
        settings.put("delivery.timeout.ms", "300000");
        settings.put("max.block.ms", "300000");
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Writes records 0 to `count` - 1 and returns when all are acknowledged. */
    static void writeAll(Ledger ledger, Map<String, Object> client, long count) throws Exception {
        AtomicReference<Exception> refusal = new AtomicReference<>();
        AtomicLong acknowledged = new AtomicLong();
        try (Producer<byte[], byte[]> producer = producer(client)) {
            for (long n = 0; n < count && refusal.get() == null; n++) {
                producer.send(ledger.record(n), (at, e) -> note(e, refusal, acknowledged));
            }
            producer.flush();
        }
        if (refusal.get() != null) {
            throw refusal.get();
        }
        Checks.equal("records acknowledged", count, acknowledged.get());
    }

    private static void note(Exception e, AtomicReference<Exception> refusal, AtomicLong acknowledged) {
        if (e == null) {
            acknowledged.incrementAndGet();
        } else {
            refusal.compareAndSet(null, e);
        }
    }

    private void write() {
        Semaphore room = new Semaphore(IN_FLIGHT_MAX);
        try {
            while (!ending && refusal.get() == null) {
                room.acquire();
                producer.send(ledger.record(sent), (at, e) -> {
                    room.release();
                    note(e, refusal, acknowledged);
                });
                sent++;
                TimeUnit.MICROSECONDS.sleep(PAUSE_MICROS);
            }
        } catch (Exception e) {
            refusal.compareAndSet(null, e);
        }
    }

    /** How many records have been acknowledged. */
    long acknowledged() throws Exception {
        if (refusal.get() != null) {
            throw new Exception("a record was refused", refusal.get());
        }
        return acknowledged.get();
    }

    /** Waits until so many more records than now are acknowledged. */
    void awaitMore(long records) throws Exception {
        long goal = acknowledged() + records;
        Checks.until(records + " more records are acknowledged", () -> acknowledged() >= goal);
    }

    /** Ends the load. Result: how many records were written, all of them acknowledged. */
    long end() throws Exception {
        ending = true;
        thread.join();
        producer.flush();
        Checks.equal("records acknowledged of those sent", sent, acknowledged());
        return sent;
    }

    @Override
    public void close() throws InterruptedException {
        ending = true;
        thread.join();
        producer.close();
    }
}
