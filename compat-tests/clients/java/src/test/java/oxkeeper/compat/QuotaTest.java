package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.StatsTrack;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Quotas, written as the command line tool writes them: counted by the server, and the hard limits enforced. */
class QuotaTest extends Fixture {
    private String quota;

    @BeforeEach
    void prepare() throws Exception {
        Servers.needOwnSettings("enforceQuota is off by default");
        quota = "/zookeeper/quota" + root;
    }

    @AfterEach
    void removeQuota() throws Exception {
        if (quota != null && zk.exists(quota, false) != null) {
            zk.delete(quota + "/zookeeper_limits", -1);
            zk.delete(quota + "/zookeeper_stats", -1);
            zk.delete(quota, -1);
        }
    }

    private void setQuota(StatsTrack limits) throws Exception {
        make(zk, quota, "");
        zk.create(quota + "/zookeeper_limits", limits.getStatsBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        StatsTrack zero = new StatsTrack();
        zero.setCount(0);
        zero.setBytes(0L);
        zk.create(quota + "/zookeeper_stats", zero.getStatsBytes(), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    private void assertUse(long count, long bytes) throws Exception {
        StatsTrack use = new StatsTrack(zk.getData(quota + "/zookeeper_stats", false, null));
        assertEquals(count + " " + bytes, use.getCount() + " " + use.getBytes());
    }

    @Test
    void useIsCounted() throws Exception {
        make(zk, root + "/before", "12345");
        StatsTrack limits = new StatsTrack();
        limits.setCount(1000);
        limits.setBytes(100_000L);
        setQuota(limits);
        assertUse(2, 9);
        make(zk, root + "/before/deep", "1");
        assertUse(3, 10);
        zk.setData(root + "/before", bytes("12"), -1);
        assertUse(3, 7);
        zk.delete(root + "/before/deep", -1);
        assertUse(2, 6);
        Client owner = connect();
        makeEphemeral(owner, root + "/e");
        assertUse(3, 7);
        owner.close();
        assertUse(2, 6);
        zk.multi(List.of(Op.create(root + "/m", bytes("123"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.setData(root, bytes(""), -1)));
        assertUse(3, 5);
        // The statistics change without a trace in the znode's own versions.
        Stat stat = zk.exists(quota + "/zookeeper_stats", false);
        assertEquals(0, stat.getVersion());
        assertEquals(stat.getCzxid(), stat.getMzxid());
    }

    @Test
    void softLimitsOnlyWarn() throws Exception {
        StatsTrack limits = new StatsTrack();
        limits.setCount(1);
        limits.setBytes(1L);
        setQuota(limits);
        make(zk, root + "/a", "more than a byte");
        assertUse(2, 20);
    }

    @Test
    void hardCountIsEnforced() throws Exception {
        StatsTrack limits = new StatsTrack();
        limits.setCountHardLimit(3);
        setQuota(limits);
        make(zk, root + "/a", "");
        make(zk, root + "/a/b", "");
        assertThrows(KeeperException.QuotaExceededException.class, () -> make(zk, root + "/c", ""));
        assertThrows(KeeperException.QuotaExceededException.class, () -> makeEphemeral(zk, root + "/a/c"));
        refused(Code.QUOTAEXCEEDED, () -> zk.multi(List.of(
                Op.create(root + "/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT))));
        assertUse(3, 4);
        zk.delete(root + "/a/b", -1);
        make(zk, root + "/c", "");
        zk.delete(quota + "/zookeeper_limits", -1);
        make(zk, root + "/d", "");
        make(zk, quota + "/zookeeper_limits", "count=-1,bytes=-1");
    }

    @Test
    void hardBytesAreEnforced() throws Exception {
        StatsTrack limits = new StatsTrack();
        limits.setByteHardLimit(10);
        setQuota(limits);
        make(zk, root + "/a", "123456");
        assertUse(2, 10);
        refused(Code.QUOTAEXCEEDED, () -> make(zk, root + "/b", "1"));
        refused(Code.QUOTAEXCEEDED, root + "/a", () -> zk.setData(root + "/a", bytes("1234567"), -1));
        // The quota is looked at before the version.
        refused(Code.QUOTAEXCEEDED, root + "/a", () -> zk.setData(root + "/a", bytes("1234567"), 77));
        make(zk, root + "/b", "");
        zk.setData(root + "/a", bytes("654321"), -1);
        zk.setData(root + "/a", bytes("1"), -1);
        zk.setData(root + "/b", bytes("12345"), -1);
        assertUse(3, 10);
        assertEquals("1", text(zk.getData(root + "/a", false, null)));
    }
}
