package oxkeeper.compat;

import java.io.IOException;
import java.util.Map;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;

/** The official client with a default watcher that remembers. */
final class Client extends ZooKeeper {
    /** What the default watcher was told. */
    final Events events;

    private Client(String hosts, int timeoutMs, Events events, boolean readOnly, ZKClientConfig config)
            throws IOException {
        super(hosts, timeoutMs, events, readOnly, config);
        this.events = events;
    }

    private Client(String hosts, int timeoutMs, Events events, long id, byte[] password) throws IOException {
        super(hosts, timeoutMs, events, id, password);
        this.events = events;
    }

    /** Starts to connect with a new session. */
    static Client begin(String hosts, int timeoutMs, int maxBuffer) throws IOException {
        return begin(hosts, timeoutMs, false, Map.of(ZKClientConfig.JUTE_MAXBUFFER, Integer.toString(maxBuffer)));
    }

    /**
     * Starts to connect with a new session.
     *
     * @param readOnly whether a server without a quorum would do
     * @param settings the client's properties
     */
    static Client begin(String hosts, int timeoutMs, boolean readOnly, Map<String, String> settings)
            throws IOException {
        ZKClientConfig config = new ZKClientConfig();
        settings.forEach(config::setProperty);
        return new Client(hosts, timeoutMs, new Events(), readOnly, config);
    }

    /** Starts to connect to a session that exists. */
    static Client resume(String hosts, int timeoutMs, long id, byte[] password) throws IOException {
        return new Client(hosts, timeoutMs, new Events(), id, password);
    }

    /** The highest zxid that the headers of replies have shown. */
    long lastZxid() {
        return cnxn.getLastZxid();
    }
}
