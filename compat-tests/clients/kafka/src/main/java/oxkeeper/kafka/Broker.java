package oxkeeper.kafka;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** One Kafka broker: kafka.Kafka with a server.properties, as its start script would run it. */
final class Broker {
    final int id;
    private final int port;
    private final Program program;
    private final String protocol;

    /**
     * Prepares a broker without starting it.
     *
     * @param zookeeper its connect string, with chroot
     * @param protocol its only listener's: PLAINTEXT or SASL_PLAINTEXT
     * @param settings lines of server.properties besides those that every broker here has
     */
    Broker(int id, String zookeeper, String protocol, Map<String, String> settings) throws IOException {
        this.id = id;
        this.protocol = protocol;
        this.program = new Program("broker " + id);
        this.port = Program.freePort();
        List<String> lines = new ArrayList<>(List.of(
                "broker.id=" + id,
                "zookeeper.connect=" + zookeeper,
                "listeners=" + protocol + "://127.0.0.1:" + port,
                "security.inter.broker.protocol=" + protocol,
                "log.dirs=" + program.dir.resolve("data"),
                "num.network.threads=2", "num.io.threads=4", "num.recovery.threads.per.data.dir=1",
                "log.cleaner.dedupe.buffer.size=4194304",
                "offsets.topic.num.partitions=4", "transaction.state.log.num.partitions=4",
                "group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false"));
        settings.forEach((key, value) -> lines.add(key + "=" + value));
        Files.write(program.dir.resolve("server.properties"), lines);
    }

    String hosts() {
        return "127.0.0.1:" + port;
    }

    /** Writes a file of client settings, for the --command-config of a command; its path. */
    String clientFile(Map<String, Object> settings) throws IOException {
        Path file = program.dir.resolve("client.properties");
        Files.write(file, settings.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).toList());
        return file.toString();
    }

    /** Starts it, or starts it again on the same port and data; does not wait until it serves. */
    void start() throws IOException {
        List<String> command = jvm("-Xmx512m", "-Dsuite.log=INFO");
        command.addAll(List.of("kafka.Kafka", program.dir.resolve("server.properties").toString()));
        program.start(command, Map.of());
    }

    boolean isAlive() {
        return program.isAlive();
    }

    /** SIGTERM: it moves its leaderships away, closes its session and ends. */
    void stop() throws InterruptedException {
        program.stop();
    }

    /** SIGKILL: its session is left to expire. */
    void kill() throws InterruptedException {
        program.kill();
    }

    @Override
    public String toString() {
        return "broker " + id + " (" + protocol + " on " + port + ")";
    }

    /** The words that begin any command of Kafka's. */
    static List<String> jvm(String... words) {
        List<String> command = new ArrayList<>(List.of(Program.java(), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Xshare:auto", "-XX:-UsePerfData", "-Dlog4j.configuration=log4j.properties"));
        command.addAll(List.of(words));
        command.addAll(List.of("-cp", System.getProperty("java.class.path")));
        return command;
    }
}
