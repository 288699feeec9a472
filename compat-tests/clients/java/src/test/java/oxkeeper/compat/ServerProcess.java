package oxkeeper.compat;

import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import oxkeeper.shared.Loan;

/**
 * One server as a process of its own: the genuine one from this suite's class path, or the program named by
 * OXKEEPER_BIN. Both get the same zoo.cfg as their only argument; a kill is SIGKILL, and a start after it finds the
 * same port and data directory. Where the harness lends, it is what that has: with MEMBERS=3 an ensemble, of which a
 * kill ends all.
 */
final class ServerProcess {
    private static final ConcurrentLinkedQueue<ServerProcess> ALL = new ConcurrentLinkedQueue<>();

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> ALL.forEach(ServerProcess::remove)));
    }

    /** Which program answers. */
    enum Kind { ZOOKEEPER, OXKEEPER }

    private final Kind kind;
    private final Path dir;
    private final int port;
    private final List<String> flags;
    private Process process;
    /** In place of a process: what the harness lends, if it does. */
    private final Loan loan;
    private String lent;

    /**
     * Prepares a server without starting it.
     *
     * @param config lines of zoo.cfg besides port, address and dataDir
     * @param flags words of the form -Dname=value, as operators put into JVMFLAGS
     */
    ServerProcess(Kind kind, Map<String, String> config, List<String> flags) throws IOException {
        this.kind = kind;
        this.flags = flags;
        this.loan = Loan.isOffered() ? new Loan() : null;
        if (loan != null) {
            this.dir = null;
            this.port = 0;
            // The harness grants more than a server does by itself.
            int ticks = Integer.parseInt(config.getOrDefault("tickTime", "2000"));
            loan.ask("config maxSessionTimeout " + 20 * ticks);
            config.forEach((key, value) -> loan.ask("config " + key + " " + value));
            flags.forEach(flag -> loan.ask("property " + flag.substring("-D".length()).replaceFirst("=", " ")));
            return;
        }
        this.dir = Files.createTempDirectory("compat-java-");
        this.port = freePort();
        StringBuilder text = new StringBuilder();
        text.append("clientPort=").append(port).append("\nclientPortAddress=127.0.0.1\n");
        text.append("dataDir=").append(dir.resolve("data")).append('\n');
        config.forEach((key, value) -> text.append(key).append('=').append(value).append('\n'));
        Files.writeString(dir.resolve("zoo.cfg"), text);
        ALL.add(this);
    }

    private static int freePort() throws IOException {
        try (ServerSocket probe = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            return probe.getLocalPort();
        }
    }

    /** The connect string of this server; of an ensemble that of its first member. */
    String hosts() {
        return loan != null ? lent : "127.0.0.1:" + port;
    }

    /** The connect string of all members. */
    String allHosts() {
        return loan != null ? loan.ask("addresses") : hosts();
    }

    /** The ensemble that this is; skips the running test where it is a lone server. */
    Loan needMembers() {
        Assumptions.assumeTrue(loan != null && allHosts().contains(","), "a lone server: MEMBERS=3 asks for an ensemble");
        return loan;
    }

    /** Starts what does not run, and returns when it serves. */
    ServerProcess start() throws Exception {
        if (loan != null) {
            lent = loan.ask("start");
            return this;
        }
        List<String> command = new ArrayList<>();
        if (kind == Kind.ZOOKEEPER) {
            command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
            command.addAll(List.of("-Xmx1g", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path")));
            command.add("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
            command.addAll(flags);
            command.add("org.apache.zookeeper.server.quorum.QuorumPeerMain");
        } else {
            command.add(System.getenv("OXKEEPER_BIN"));
        }
        command.add(dir.resolve("zoo.cfg").toString());
        ProcessBuilder builder = new ProcessBuilder(command).directory(dir.toFile());
        File log = dir.resolve("server.log").toFile();
        builder.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log));
        if (kind == Kind.OXKEEPER) {
            builder.environment().put("JVMFLAGS", String.join(" ", flags));
        }
        process = builder.start();
        awaitServing();
        return this;
    }

    private void awaitServing() throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!word("127.0.0.1", port, "srvr").contains("Mode:")) {
            if (!process.isAlive() || System.nanoTime() > end) {
                throw new IOException("the server does not serve; its log:\n" + tail());
            }
            Thread.sleep(20);
        }
    }

    private String tail() throws IOException {
        List<String> lines = Files.readAllLines(dir.resolve("server.log"));
        return String.join("\n", lines.subList(Math.max(0, lines.size() - 30), lines.size()));
    }

    /** SIGKILL, and waits until the process is gone. */
    void kill() throws InterruptedException {
        if (loan != null) {
            loan.ask("kill");
            return;
        }
        process.destroyForcibly().waitFor();
    }

    /** SIGTERM, and waits until the process is gone. */
    void stop() throws InterruptedException {
        if (loan != null) {
            loan.ask("stop");
            return;
        }
        process.destroy();
        if (!process.waitFor(30, TimeUnit.SECONDS)) {
            process.destroyForcibly().waitFor();
            throw new AssertionError("the server did not stop within 30 s of SIGTERM");
        }
    }

    /** Ends the process and deletes its directory. */
    void remove() {
        ALL.remove(this);
        try {
            if (loan != null) {
                loan.close();
                return;
            }
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

    /** Sends a four-letter word; the answer, or "" when nobody answers. */
    static String word(String host, int port, String word) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, port), 2000);
            socket.setSoTimeout(5000);
            socket.getOutputStream().write(word.getBytes(StandardCharsets.US_ASCII));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            return "";
        }
    }
}
