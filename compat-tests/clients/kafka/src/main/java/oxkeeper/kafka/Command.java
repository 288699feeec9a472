package oxkeeper.kafka;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Kafka's own commands, each as the process that its script in bin/ would start. */
final class Command {
    static final String TOPICS = "org.apache.kafka.tools.TopicCommand";
    static final String CONFIGS = "kafka.admin.ConfigCommand";
    static final String ACLS = "kafka.admin.AclCommand";
    static final String REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";

    private static final long PATIENCE_SECONDS = 300;

    private Command() {
    }

    /** Runs it to its end, which must be a good one. Result: what it printed. */
    static String run(String main, String... args) throws IOException, InterruptedException {
        List<String> command = Broker.jvm("-Xmx128m", "-Dsuite.log=OFF");
        command.add(main);
        command.addAll(List.of(args));
        Path output = Files.createTempFile("compat-kafka-command-", ".txt");
        try {
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
            Process process = builder.redirectOutput(output.toFile()).start();
            boolean ended = process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS);
            if (!ended) {
                process.destroyForcibly().waitFor();
            }
            String text = Files.readString(output, StandardCharsets.UTF_8);
            Checks.holds(main + " " + String.join(" ", args) + " ends well; it said:\n" + text,
                    ended && process.exitValue() == 0);
            return text;
        } finally {
            Files.delete(output);
        }
    }
}
