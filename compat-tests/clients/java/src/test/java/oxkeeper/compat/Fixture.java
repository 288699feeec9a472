package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import oxkeeper.shared.Patience;

/**
 * What every test class starts from: a server, one connected client, and an own empty znode `root` to work below.
 * Nothing is awaited by sleeping where an event or a reply can be awaited instead.
 */
@Timeout(90)
abstract class Fixture {
    /** Asked for where the test does not wait for an expiry. */
    static final int CALM_MS = 10_000;
    static final int MAX_BUFFER = 0xfffff;

    private static final AtomicInteger COUNTER = new AtomicInteger();

    private final List<Client> clients = new ArrayList<>();
    private final List<TcpProxy> proxies = new ArrayList<>();
    /** Where the server listens. */
    String hosts;
    /** A connected client that tests may use for anything but losing its session. */
    Client zk;
    /** This test's own znode. */
    String root;

    /** The server under this test; classes that kill it bring their own. */
    String server() throws Exception {
        return Servers.sharedHosts();
    }

    @BeforeEach
    void open() throws Exception {
        hosts = server();
        zk = connect();
        root = "/java-" + ProcessHandle.current().pid() + "-" + COUNTER.incrementAndGet();
        zk.create(root, bytes("root"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    @AfterEach
    void closeAll() throws Exception {
        proxies.forEach(TcpProxy::resume);
        for (Client client : clients) {
            client.close();
        }
        proxies.forEach(TcpProxy::close);
        if (Servers.external() != null && root != null) {
            tidy();
        }
    }

    /** Removes what the test left on a server that others use, too, as whoever may have written it. */
    private void tidy() throws Exception {
        try (Client janitor = Client.begin(hosts, CALM_MS, 64 << 20)) {
            for (String identity : List.of("alice:a", "alice:secret", "bob:b")) {
                janitor.addAuthInfo("digest", bytes(identity));
            }
            ZKUtil.deleteRecursive(janitor, root, 500);
        }
    }

    Client connect() throws Exception {
        return connect(hosts, CALM_MS);
    }

    Client connect(String where, int timeoutMs) throws Exception {
        return connect(where, timeoutMs, MAX_BUFFER);
    }

    Client connect(String where, int timeoutMs, int maxBuffer) throws Exception {
        return connected(Client.begin(where, timeoutMs, maxBuffer));
    }

    /** Returns when the client is connected; it is closed after the test. */
    Client connected(Client client) throws Exception {
        clients.add(client);
        client.events.awaitState(KeeperState.SyncConnected);
        return client;
    }

    /** A second handle for a session; connected or refused when this returns, by the caller's own wait. */
    Client resume(String where, int timeoutMs, long id, byte[] password) throws Exception {
        Client client = Client.resume(where, timeoutMs, id, password);
        clients.add(client);
        return client;
    }

    TcpProxy proxy() throws Exception {
        TcpProxy proxy = new TcpProxy(hosts);
        proxies.add(proxy);
        return proxy;
    }

    /** Returns when everything the server sent this client before now went through its watchers and callbacks. */
    static void fence(ZooKeeper client) throws Exception {
        Answers answers = new Answers();
        client.sync("/", answers.nothing(), null);
        assertEquals(Code.OK, answers.take().code());
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] data) {
        return data == null ? null : new String(data, StandardCharsets.UTF_8);
    }

    /** Creates a persistent znode open to all. */
    static String make(ZooKeeper client, String path, String data) throws Exception {
        return client.create(path, bytes(data), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    static String makeEphemeral(ZooKeeper client, String path) throws Exception {
        return client.create(path, bytes("e"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
    }

    /** A call that may fail with a ZooKeeper error. */
    interface Call {
        void run() throws Exception;
    }

    /** Asserts that the call fails with exactly this code, and that the exception names the path if one is given. */
    static void refused(Code code, String path, Call call) {
        KeeperException e = assertThrows(KeeperException.class, call::run);
        assertEquals(code, e.code());
        if (path != null) {
            assertEquals(path, e.getPath());
        }
    }

    static void refused(Code code, Call call) {
        refused(code, null, call);
    }

    /** Tries again while the connection is away: only for calls that change nothing. */
    static <T> T patiently(Callable<T> call) throws Exception {
        return Patience.patiently(Duration.ofSeconds(30), call);
    }

    /** Waits until the condition holds; for what no event announces. */
    static void until(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("never came true: " + what);
            }
            Thread.sleep(20);
        }
    }

    static long millisSince(long startNanos) {
        return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - startNanos);
    }

    /** A callback that does nothing, for requests whose answer is not of interest. */
    static final AsyncCallback.StringCallback IGNORE = (rc, path, ctx, name) -> { };
}
