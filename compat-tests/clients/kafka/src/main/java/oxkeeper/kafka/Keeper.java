package oxkeeper.kafka;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;

/** The server under test, by the environment's SERVER: zookeeper, oxkeeper or HOST:PORT. */
final class Keeper {
    private final String kind = System.getenv().getOrDefault("SERVER", "zookeeper");
    private final Program program;
    private final String hosts;

    /** Prepares it without starting it. */
    Keeper() throws IOException {
        if (isExternal()) {
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
        return kind.contains(":");
    }

    String hosts() {
        return hosts;
    }

    /** Starts it, or starts it again on the same port and data; returns when it serves. */
    void start() throws Exception {
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

    /** SIGKILL. */
    void kill() throws InterruptedException {
        program.kill();
    }

    private String word(String word) {
        String[] address = hosts.split(":");
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
