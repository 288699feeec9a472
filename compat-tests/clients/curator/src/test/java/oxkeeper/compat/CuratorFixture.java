package oxkeeper.compat;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Two Curator clients: `far` behind a wire that can break, `near` directly at the server. */
abstract class CuratorFixture extends Fixture {
    private final List<CuratorFramework> curators = new ArrayList<>();
    CuratorFramework far;
    CuratorFramework near;
    TcpProxy wire;

    @BeforeEach
    void connectCurators() throws Exception {
        wire = proxy();
        far = curator(wire.hosts());
        near = curator(hosts);
    }

    @AfterEach
    void closeCurators() {
        wire.resume();
        curators.forEach(CuratorFramework::close);
    }

    CuratorFramework curator(String where) throws Exception {
        CuratorFramework curator = CuratorFrameworkFactory.builder().connectString(where).sessionTimeoutMs(CALM_MS)
                .connectionTimeoutMs(5_000).retryPolicy(new RetryNTimes(40, 250)).build();
        curators.add(curator);
        curator.start();
        if (!curator.blockUntilConnected(20, TimeUnit.SECONDS)) {
            throw new AssertionError("Curator did not connect to " + where);
        }
        return curator;
    }

    /** The connection breaks and may be made again at once. */
    void cutFar() throws Exception {
        wire.cut();
    }

    /** Ends the session of `far` as an expiry would: it learns of it when it reconnects. */
    void expireFar() throws Exception {
        ZooKeeper victim = far.getZookeeperClient().getZooKeeper();
        Client reaper = resume(hosts, CALM_MS, victim.getSessionId(), victim.getSessionPasswd());
        reaper.events.awaitState(KeeperState.SyncConnected);
        reaper.close();
    }
}
