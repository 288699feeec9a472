package oxkeeper.kafka;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.zip.CRC32;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Numbered records with checksums, and the proof that a topic holds exactly those. Record n goes to partition
 * n mod partitions, so that each partition must hold its numbers without a gap, once each, in order. A value is the
 * number (8 bytes), 20 to 180 bytes that follow from it, and the CRC32 of both (4 bytes).
 */
record Ledger(String topic, int partitions) {
    private static final int FRAME_BYTES = Long.BYTES + Integer.BYTES;
    private static final long SILENCE_SECONDS = 180;

    ProducerRecord<byte[], byte[]> record(long number) {
        byte[] key = ByteBuffer.allocate(Long.BYTES).putLong(number).array();
        return new ProducerRecord<>(topic, (int) (number % partitions), key, value(number));
    }

    private static byte[] value(long number) {
        SplittableRandom random = new SplittableRandom(number);
        byte[] body = new byte[random.nextInt(20, 181)];
        random.nextBytes(body);
        ByteBuffer value = ByteBuffer.allocate(FRAME_BYTES + body.length).putLong(number).put(body);
        return value.putInt(checksum(value.array())).array();
    }

    private static int checksum(byte[] value) {
        CRC32 crc = new CRC32();
        crc.update(value, 0, value.length - Integer.BYTES);
        return (int) crc.getValue();
    }

    /** The number of a record that came back whole; anything else fails. */
    static long number(ConsumerRecord<byte[], byte[]> record) {
        ByteBuffer value = ByteBuffer.wrap(record.value());
        Checks.holds(place(record) + " has a frame", value.limit() >= FRAME_BYTES);
        int found = value.getInt(value.limit() - Integer.BYTES);
        Checks.equal("checksum of " + place(record), checksum(record.value()), found);
        long number = value.getLong(0);
        Checks.equal("key of record " + number, number, ByteBuffer.wrap(record.key()).getLong());
        return number;
    }

    private static String place(ConsumerRecord<byte[], byte[]> record) {
        return "record at " + record.topic() + "-" + record.partition() + ":" + record.offset();
    }

    /** Reads the whole topic: it must hold the records 0 to `count` - 1 and nothing else. */
    void verify(Map<String, Object> client, long count) {
        try (Consumer<byte[], byte[]> consumer = consumer(client)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int p = 0; p < partitions; p++) {
                all.add(new TopicPartition(topic, p));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long[] next = new long[partitions];
            for (int p = 0; p < partitions; p++) {
                next[p] = p;
            }
            long silent = System.nanoTime();
            while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    silent = System.nanoTime();
                    Checks.equal(place(record), next[record.partition()], number(record));
                    next[record.partition()] += partitions;
                }
                Checks.holds("records come within " + SILENCE_SECONDS + " s",
                        System.nanoTime() - silent < TimeUnit.SECONDS.toNanos(SILENCE_SECONDS));
            }
            for (int p = 0; p < partitions; p++) {
                // The first of this partition's numbers that was never written.
                long end = count <= p ? p : p + (count - p + partitions - 1) / partitions * partitions;
                Checks.equal("first number missing in partition " + p, end, next[p]);
            }
        }
    }

    /** A consumer of raw bytes that starts at the beginning. */
    static Consumer<byte[], byte[]> consumer(Map<String, Object> client) {
        Map<String, Object> settings = new HashMap<>(client);
        settings.putIfAbsent("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("isolation.level", "read_committed");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }
}
