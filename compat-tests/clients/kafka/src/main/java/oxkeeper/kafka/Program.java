package oxkeeper.kafka;

import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * A process with a temporary directory that outlives its restarts. Everything it prints goes to one log there. All
 * of them end, and their directories go, when the suite ends.
 */
final class Program {
    private static final ConcurrentLinkedQueue<Program> ALL = new ConcurrentLinkedQueue<>();
    private static final int LOWEST_PORT = 12_000;
    private static final int STOP_SECONDS = 180;

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> ALL.forEach(Program::remove)));
    }

    /** What failure reports call it. */
    final String name;
    /** Its own directory, empty at first. */
    final Path dir;
    private Process process;

    Program(String name) throws IOException {
        this.name = name;
        this.dir = Files.createTempDirectory("compat-kafka-");
        ALL.add(this);
    }

    /** Starts the process; `environment` is added to the suite's own. */
    void start(List<String> command, Map<String, String> environment) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command).directory(dir.toFile());
        builder.environment().putAll(environment);
        File log = dir.resolve("log").toFile();
        process = builder.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log)).start();
    }

    boolean isAlive() {
        return process != null && process.isAlive();
    }

    /** SIGKILL, and waits until the process is gone. */
    void kill() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    /** SIGTERM, and waits until the process is gone. */
    void stop() throws InterruptedException {
        process.destroy();
        if (!process.waitFor(STOP_SECONDS, TimeUnit.SECONDS)) {
            process.destroyForcibly().waitFor();
            throw new AssertionError(name + " did not stop within " + STOP_SECONDS + " s of SIGTERM");
        }
    }

    /** The last lines of its log that are not frames of stack traces. */
    String tail() {
        try {
            List<String> all = Files.readAllLines(dir.resolve("log"));
            List<String> lines = all.stream().filter(line -> !line.startsWith("\tat ")).toList();
            return String.join("\n", lines.subList(Math.max(0, lines.size() - 40), lines.size()));
        } catch (IOException e) {
            return "no log: " + e;
        }
    }

    /** The ends of all logs, for a failure report. */
    static void printTails() {
        ALL.forEach(program -> System.out.println("--- the log of " + program.name + " ends:\n" + program.tail()));
    }

    private void remove() {
        try {
            if (process != null) {
                kill();
            }
            try (Stream<Path> walk = Files.walk(dir)) {
                walk.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
            }
        } catch (IOException | InterruptedException e) {
            System.err.println("cannot remove " + dir + ": " + e);
        }
    }

    /**
     * A port that nobody listens on, from below the range that the system gives to outgoing connections: what stops
     * and starts again on its port must find it free, however often others try to connect meanwhile.
     */
    static int freePort() throws IOException {
        String range = Files.readString(Path.of("/proc/sys/net/ipv4/ip_local_port_range")).trim();
        int end = Math.max(LOWEST_PORT + 1000, Integer.parseInt(range.split("\\s+")[0]));
        Random random = new Random();
        for (int i = 0; i < 1000; i++) {
            int port = random.nextInt(LOWEST_PORT, end);
            try (ServerSocket probe = new ServerSocket(port, 1, InetAddress.getByName("127.0.0.1"))) {
                return probe.getLocalPort();
            } catch (IOException taken) {
                continue;
            }
        }
        throw new IOException("no free port between " + LOWEST_PORT + " and " + end);
    }

    /** The JVM that runs this suite. */
    static String java() {
        return Path.of(System.getProperty("java.home"), "bin", "java").toString();
    }
}
