package oxkeeper.kafka;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZKUtil;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;
import oxkeeper.shared.Patience;

/** What Kafka keeps in ZooKeeper, looked at with a session of our own. */
final class Registry implements AutoCloseable {
    private static final int TIMEOUT_MS = 40_000;
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    /** Which session holds a znode since which transaction: equal as long as that session never lost it. */
    record Hold(long session, long czxid) {
    }

    private final ZooKeeper zk;

    Registry(String hosts) throws Exception {
        zk = new ZooKeeper(hosts, TIMEOUT_MS, event -> { });
    }

    /** Makes the root below which a cluster of Kafka lives. */
    void makeRoot(String path) throws Exception {
        patiently(() -> zk.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
    }

    /** Removes it with all below it. */
    void removeRoot(String path) throws Exception {
        ZKUtil.deleteRecursive(zk, path, 500);
    }

    /** Who holds this ephemeral; null when there is none. */
    Hold hold(String path) throws Exception {
        Stat stat = patiently(() -> zk.exists(path, false));
        return stat == null ? null : new Hold(stat.getEphemeralOwner(), stat.getCzxid());
    }

    boolean exists(String path) throws Exception {
        return patiently(() -> zk.exists(path, false)) != null;
    }

    List<String> children(String path) throws Exception {
        return patiently(() -> zk.getChildren(path, false));
    }

    String text(String path) throws Exception {
        return new String(patiently(() -> zk.getData(path, false, null)), StandardCharsets.UTF_8);
    }

    /** Removes a znode that has no children, whoever made it. */
    void delete(String path) throws Exception {
        zk.delete(path, -1);
    }

    /** The id of the broker that is controller, -1 while there is none. */
    int controller(String root) throws Exception {
        try {
            Matcher id = Pattern.compile("\"brokerid\":(\\d+)").matcher(text(root + "/controller"));
            return id.find() ? Integer.parseInt(id.group(1)) : -1;
        } catch (KeeperException.NoNodeException none) {
            return -1;
        }
    }

    /** How many controllers there have been. */
    int controllerEpoch(String root) throws Exception {
        return Integer.parseInt(text(root + "/controller_epoch"));
    }

    /** Tries again while the connection is away: only for what may be done twice. */
    private static <T> T patiently(Callable<T> call) throws Exception {
        return Patience.patiently(PATIENCE, call);
    }

    @Override
    public void close() throws InterruptedException {
        zk.close();
    }
}
