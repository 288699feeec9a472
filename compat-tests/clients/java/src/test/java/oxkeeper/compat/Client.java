package oxkeeper.compat;

import java.io.IOException;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;

/** The official client with a default watcher that remembers. */
final class Client extends ZooKeeper {
    /** What the default watcher was told. */
    final Events events;

    private Client(String hosts, int timeoutMs, Events events, ZKClientConfig config) throws IOException {
        super(hosts, timeoutMs, events, config);
        this.events = events;
    }

    private Client(String hosts, int timeoutMs, Events events, long id, byte[] password) throws IOException {
        super(hosts, timeoutMs, events, id, password);
        this.events = events;
    }

    /** Starts to connect with a new session. */
    static Client begin(String hosts, int timeoutMs, int maxBuffer) throws IOException {
        ZKClientConfig config = new ZKClientConfig();
        config.setProperty(ZKClientConfig.JUTE_MAXBUFFER, Integer.toString(maxBuffer));
        return new Client(hosts, timeoutMs, new Events(), config);
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
