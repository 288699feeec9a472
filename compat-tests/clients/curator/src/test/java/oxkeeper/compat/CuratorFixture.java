package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.UnaryOperator;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;
import org.junit.jupiter.api.AfterEach;

/**
 * Two Curator clients: `far` behind a wire that can break, `near` directly at the server. A test begins with the
 * trouble that far is to meet, calls {@link #down} and {@link #up} in the middle of its recipe, and checks what Curator
 * promises while far is away and after it came back.
 */
abstract class CuratorFixture extends Fixture {
    /** How long anything that must come may take. */
    static final int PATIENCE_S = 40;
    /** How long something is watched that must not come. */
    static final int MOMENT_MS = 250;
    /** Short enough to be waited for; a busy machine must not reach it by itself. */
    private static final int BRIEF_MS = 3_000;

    private final List<CuratorFramework> curators = new ArrayList<>();
    private final List<ConnectionState> states = new CopyOnWriteArrayList<>();
    private volatile Thread apartThread;
    private final ExecutorService apart = Executors.newSingleThreadExecutor(work -> {
        apartThread = new Thread(work, "apart");
        return apartThread;
    });
    private final ExecutorService pool = Executors.newCachedThreadPool();
    private Trouble trouble;
    private TcpProxy wire;
    private long session;
    CuratorFramework far;
    CuratorFramework near;

    /** Connects both; `far` will meet this trouble. */
    void begin(Trouble what) throws Exception {
        begin(what, builder -> builder);
    }

    void begin(Trouble what, UnaryOperator<CuratorFrameworkFactory.Builder> settings) throws Exception {
        trouble = what;
        wire = proxy();
        far = curator(wire.hosts(), what == Trouble.EXPIRED ? BRIEF_MS : CALM_MS, settings);
        near = curator(hosts, CALM_MS, settings);
        far.getConnectionStateListenable().addListener((client, state) -> states.add(state));
    }

    /** Connects both, without a wire between: no trouble but that of their servers. */
    void beginAt(String where, UnaryOperator<CuratorFrameworkFactory.Builder> settings) throws Exception {
        trouble = Trouble.NONE;
        far = curator(where, CALM_MS, settings);
        near = curator(where, CALM_MS, settings);
    }

    private CuratorFramework curator(String where, int timeoutMs, UnaryOperator<CuratorFrameworkFactory.Builder> settings)
            throws Exception {
        CuratorFramework curator = settings.apply(CuratorFrameworkFactory.builder().connectString(where)
                .sessionTimeoutMs(timeoutMs).connectionTimeoutMs(5_000).retryPolicy(new RetryNTimes(80, 250))).build();
        curators.add(curator);
        curator.start();
        assertTrue(curator.blockUntilConnected(PATIENCE_S, TimeUnit.SECONDS), "Curator did not connect to " + where);
        return curator;
    }

    @AfterEach
    void closeCurators() {
        if (wire != null) {
            wire.resume();
        }
        apart.shutdownNow();
        pool.shutdownNow();
        curators.forEach(CuratorFramework::close);
    }

    /** `far` loses its connection and, if that is the trouble, its session at the server. It cannot come back yet. */
    void down() throws Exception {
        if (trouble == Trouble.NONE) {
            return;
        }
        far.create().withMode(CreateMode.EPHEMERAL).forPath(root + "/far-lives");
        states.clear();
        ZooKeeper client = far.getZookeeperClient().getZooKeeper();
        session = client.getSessionId();
        wire.refuse();
        wire.cut();
        until("far is suspended", () -> states.contains(ConnectionState.SUSPENDED));
        if (trouble == Trouble.ENDED) {
            Client reaper = resume(hosts, CALM_MS, session, client.getSessionPasswd());
            reaper.events.awaitState(KeeperState.SyncConnected);
            reaper.close();
        }
        if (trouble == Trouble.EXPIRED) {
            until("far knows that it is lost", () -> states.contains(ConnectionState.LOST));
        }
        if (trouble.endsSession()) {
            until("the session is gone", () -> near.checkExists().forPath(root + "/far-lives") == null);
        }
    }

    /** `far` comes back; its listeners were told what became of its session. */
    void up() throws Exception {
        if (trouble == Trouble.NONE) {
            return;
        }
        wire.resume();
        until("far is reconnected", () -> states.contains(ConnectionState.RECONNECTED));
        assertEquals(trouble.endsSession(), states.contains(ConnectionState.LOST), states::toString);
        long now = far.getZookeeperClient().getZooKeeper().getSessionId();
        if (trouble.endsSession()) {
            assertNotEquals(session, now);
        } else {
            assertEquals(session, now);
            far.delete().forPath(root + "/far-lives");
        }
    }

    /** Whether `far` comes back from its trouble with another session. */
    boolean endsSession() {
        return trouble.endsSession();
    }

    /** How often `far` was told of a broken connection since it went down. */
    long suspensions() {
        return states.stream().filter(state -> state == ConnectionState.SUSPENDED).count();
    }

    /** The session that `far` has now. */
    long farSession() throws Exception {
        return far.getZookeeperClient().getZooKeeper().getSessionId();
    }

    /** Does it in the test's second thread, always the same: Curator's locks belong to threads. */
    <T> Future<T> apart(Callable<T> work) {
        return apart.submit(work);
    }

    /** Whether the second thread waits in this very method, not in one that it called. */
    boolean apartWaitsIn(String method) {
        for (StackTraceElement frame : apartThread.getStackTrace()) {
            if (!frame.getClassName().equals("java.lang.Object")) {
                return frame.getMethodName().equals(method);
            }
        }
        return false;
    }

    /** Does it in a thread of its own. */
    <T> Future<T> aside(Callable<T> work) {
        return pool.submit(work);
    }

    static <T> T await(Future<T> future) throws Exception {
        return future.get(PATIENCE_S, TimeUnit.SECONDS);
    }

    /** Asserts that it is not done within a moment. */
    static void assertPending(Future<?> future) {
        assertThrows(TimeoutException.class, () -> future.get(MOMENT_MS, TimeUnit.MILLISECONDS));
    }

    /** How many children a znode has, 0 if there is none. */
    int children(String path) throws Exception {
        return near.checkExists().forPath(path) == null ? 0 : near.getChildren().forPath(path).size();
    }
}
