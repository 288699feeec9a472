package oxkeeper.kafka;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import oxkeeper.shared.Loan;

/**
 * The server under test, by the environment's SERVER: zookeeper, oxkeeper or HOST:PORT. With SERVERS it is what the
 * harness lends (`compat lend`): an ensemble, when MEMBERS says so.
 */
final class Keeper {
    private final String kind = System.getenv().getOrDefault("SERVER", "zookeeper");
    private final Loan loan;
    private final Program program;
    private String hosts;

    /** Prepares it without starting it. */
    Keeper() throws IOException {
        loan = Loan.isOffered() ? new Loan() : null;
        if (loan != null || isExternal()) {
            program = null;
            hosts = kind;
            return;
        }
        program = new Program(kind);
        int port = Program.freePort();
        hosts = "127.0.0.1:" + port;
        Files.writeString(program.dir.resolve("zoo.cfg"), String.join("\n",
                "clientPort=" + port, "clientPortAddress=127.0.0.1", "dataDir=" + program.dir.resolve("data"),
                "maxClientCnxns=0", "admin.enableServer=false", ""));
    }

    /** True for a server that somebody else runs: it is never killed. */
    boolean isExternal() {
        return loan == null && kind.contains(":");
    }

    /** The addresses of all that can be connected to; of a lent server only once it was started. */
    String hosts() {
        return hosts;
    }

    /** Starts all of it that does not run, the second time with the data it has; returns when all serve. */
    void start() throws Exception {
        if (loan != null) {
            loan.ask("start");
            hosts = loan.ask("addresses");
            return;
        }
        if (program != null) {
            String config = program.dir.resolve("zoo.cfg").toString();
            if (kind.equals("oxkeeper")) {
                program.start(List.of(System.getenv("OXKEEPER_BIN"), config), Map.of());
            } else {
                program.start(List.of(Program.java(), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                        "-cp", System.getenv("ZOOKEEPER_CLASS_PATH"),
                        "org.apache.zookeeper.server.quorum.QuorumPeerMain", config), Map.of());
            }
        }
        Checks.until("the server serves", () -> {
            if (program != null && !program.isAlive()) {
                throw new IOException("the server ended");
            }
            return word("srvr").contains("Mode:");
        });
    }

    /** SIGKILL, to all members of an ensemble. */
    void kill() throws InterruptedException {
        if (loan != null) {
            loan.ask("kill");
        } else {
            program.kill();
        }
    }

    /** The numbers of the members of an ensemble, the one that leads first. */
    List<Integer> leaderFirst() {
        return loan.leaderFirst();
    }

    /** SIGKILL to one member. */
    void kill(int number) {
        loan.ask("kill " + number);
    }

    /** SIGTERM to one member; returns when it has ended. */
    void stop(int number) {
        loan.ask("stop " + number);
    }

    private String word(String word) {
        String[] address = hosts.split(",")[0].split(":");
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(address[0], Integer.parseInt(address[1])), 2000);
            socket.setSoTimeout(5000);
            socket.getOutputStream().write(word.getBytes(StandardCharsets.US_ASCII));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            return "";
        }
    }
}
