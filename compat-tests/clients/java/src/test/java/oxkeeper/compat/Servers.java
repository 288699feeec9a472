package oxkeeper.compat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Assumptions;

/**
 * Which server the suite talks to. With -Dzk.hosts=HOST:PORT it is one that somebody else runs: tests that need a
 * setting, or to kill it, are skipped. Otherwise the environment's SERVER says which program is started here.
 */
final class Servers {
    /** The password of the super user of every server started here. */
    static final String SUPER = "super:admin";

    private static ServerProcess shared;

    private Servers() {
    }

    /** The connect string of an external server, null when servers are started here. */
    static String external() {
        String hosts = System.getProperty("zk.hosts", "");
        return hosts.isEmpty() ? null : hosts;
    }

    static ServerProcess.Kind kind() {
        String server = System.getenv().getOrDefault("SERVER", "zookeeper");
        return switch (server) {
            case "zookeeper" -> ServerProcess.Kind.ZOOKEEPER;
            case "oxkeeper" -> ServerProcess.Kind.OXKEEPER;
            default -> throw new IllegalArgumentException("SERVER=" + server + ": zookeeper or oxkeeper expected");
        };
    }

    /** The server shared by all tests that neither kill nor restart it. */
    static synchronized String sharedHosts() throws Exception {
        if (external() != null) {
            return external();
        }
        if (shared == null) {
            shared = prepare().start();
        }
        return shared.hosts();
    }

    /** Skips the running test unless the suite configures the server itself. */
    static void needOwnSettings(String what) {
        Assumptions.assumeTrue(external() == null, "an external server: " + what);
    }

    /**
     * A server of the caller's own, not yet started; skips the test where none can be started.
     *
     * @param more flags besides the usual ones
     */
    static ServerProcess prepare(String... more) throws Exception {
        return prepare(Map.of(), more);
    }

    /** The same, with lines of zoo.cfg besides the usual ones. */
    static ServerProcess prepare(Map<String, String> settings, String... more) throws Exception {
        needOwnSettings("cannot be started and killed from here");
        Map<String, String> config = new LinkedHashMap<>();
        config.put("tickTime", "500");
        config.put("maxClientCnxns", "0");
        config.put("admin.enableServer", "false");
        config.put("4lw.commands.whitelist", "*");
        config.put("extendedTypesEnabled", "true");
        config.put("enforceQuota", "true");
        config.putAll(settings);
        List<String> flags = new ArrayList<>(List.of(
                "-Dznode.container.checkIntervalMs=500",
                "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs="));
        flags.addAll(List.of(more));
        return new ServerProcess(kind(), config, flags);
    }
}
