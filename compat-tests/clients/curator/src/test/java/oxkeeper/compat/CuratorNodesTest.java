package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Set;
import java.util.TreeSet;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.data.Stat;

/** Nodes that Curator keeps in being: they survive a cut and are there again after their session ended. */
class CuratorNodesTest extends CuratorFixture {
    private void persistentNode(Trouble trouble, CreateMode mode, boolean protection) throws Exception {
        begin(trouble);
        PersistentNode node = new PersistentNode(far, mode, protection, root + "/node", bytes("here"));
        node.start();
        assertTrue(node.waitForInitialCreate(PATIENCE_S, SECONDS));
        String first = node.getActualPath();
        near.delete().forPath(first);
        until("created again after somebody deleted it", () -> near.checkExists().forPath(node.getActualPath()) != null);
        String path = node.getActualPath();
        Stat before = near.checkExists().forPath(path);
        assertEquals(farSession(), before.getEphemeralOwner());
        down();
        Stat meanwhile = near.checkExists().forPath(path);
        assertEquals(endsSession(), meanwhile == null);
        up();
        until("there, and of this session", () -> {
            Stat now = near.checkExists().forPath(node.getActualPath());
            return now != null && now.getEphemeralOwner() == farSession();
        });
        Stat after = near.checkExists().forPath(node.getActualPath());
        assertEquals(endsSession(), after.getCzxid() != before.getCzxid());
        assertEquals("here", text(near.getData().forPath(node.getActualPath())));
        node.setData(bytes("changed"));
        until("changed", () -> "changed".equals(text(near.getData().forPath(node.getActualPath()))));
        String last = node.getActualPath();
        node.close();
        until("gone", () -> near.checkExists().forPath(last) == null);
    }

    @Troubled
    void persistentNode(Trouble trouble) throws Exception {
        persistentNode(trouble, CreateMode.EPHEMERAL, false);
    }

    @Troubled
    void persistentNodeSequentialAndProtected(Trouble trouble) throws Exception {
        persistentNode(trouble, CreateMode.EPHEMERAL_SEQUENTIAL, true);
    }

    @Troubled
    void persistentTtlNode(Trouble trouble) throws Exception {
        Servers.needOwnSettings("TTL nodes are off by default");
        begin(trouble);
        PersistentTtlNode node = new PersistentTtlNode(far, root + "/ttl", 2_000, bytes("x"));
        node.start();
        assertTrue(node.waitForInitialCreate(PATIENCE_S, SECONDS));
        until("kept in being", () -> near.checkExists().forPath(root + "/ttl/touch") != null);
        down();
        up();
        // It belongs to no session; but nobody renewed it while far was away.
        until("there", () -> near.checkExists().forPath(root + "/ttl") != null);
        until("kept in being again", () -> near.checkExists().forPath(root + "/ttl/touch") != null);
        Set<Long> touches = new TreeSet<>();
        until("renewed", () -> {
            Stat touch = near.checkExists().forPath(root + "/ttl/touch");
            return touch != null && touches.add(touch.getMzxid()) && touches.size() == 3;
        });
        assertEquals("x", text(node.getData()));
        node.close();
        until("reaped when nobody renews it", () -> near.checkExists().forPath(root + "/ttl") == null);
    }

    @Troubled
    void groupMember(Trouble trouble) throws Exception {
        begin(trouble);
        GroupMember one = new GroupMember(far, root + "/group", "one", bytes("1"));
        GroupMember other = new GroupMember(near, root + "/group", "other", bytes("2"));
        one.start();
        other.start();
        Set<String> both = Set.of("one", "other");
        until("near sees both", () -> other.getCurrentMembers().keySet().equals(both));
        until("far sees both", () -> one.getCurrentMembers().keySet().equals(both));
        down();
        if (endsSession()) {
            until("one left", () -> other.getCurrentMembers().keySet().equals(Set.of("other")));
        }
        GroupMember late = new GroupMember(near, root + "/group", "late", bytes("3"));
        late.start();
        up();
        Set<String> all = Set.of("one", "other", "late");
        until("near sees all", () -> other.getCurrentMembers().keySet().equals(all));
        until("far sees all", () -> one.getCurrentMembers().keySet().equals(all));
        assertEquals("1", text(other.getCurrentMembers().get("one")));
        late.close();
        one.close();
        until("near is alone", () -> other.getCurrentMembers().keySet().equals(Set.of("other")));
        other.close();
    }

    private ServiceDiscovery<Void> discovery(CuratorFramework client) throws Exception {
        ServiceDiscovery<Void> discovery = ServiceDiscoveryBuilder.builder(Void.class).client(client)
                .basePath(root + "/services").build();
        discovery.start();
        return discovery;
    }

    private static ServiceInstance<Void> web(String id, int port) throws Exception {
        return ServiceInstance.<Void>builder().name("web").id(id).address("host-" + id).port(port).build();
    }

    private static Set<String> found(Iterable<ServiceInstance<Void>> instances) {
        Set<String> all = new TreeSet<>();
        instances.forEach(one -> all.add(one.getId() + "@" + one.getAddress() + ":" + one.getPort()));
        return all;
    }

    @Troubled
    void discovery(Trouble trouble) throws Exception {
        begin(trouble);
        ServiceDiscovery<Void> one = discovery(far);
        ServiceDiscovery<Void> other = discovery(near);
        one.registerService(web("a", 1));
        other.registerService(web("b", 2));
        ServiceCache<Void> cache = one.serviceCacheBuilder().name("web").build();
        cache.start();
        ServiceProvider<Void> provider = other.serviceProviderBuilder().serviceName("web").build();
        provider.start();
        assertEquals(Set.of("web"), Set.copyOf(other.queryForNames()));
        assertEquals(Set.of("a@host-a:1", "b@host-b:2"), found(other.queryForInstances("web")));
        until("the provider has both", () -> provider.getAllInstances().size() == 2);
        assertNotEquals(provider.getInstance().getId(), provider.getInstance().getId());
        down();
        if (endsSession()) {
            until("only near's is offered", () -> found(provider.getAllInstances()).equals(Set.of("b@host-b:2")));
        }
        other.registerService(web("c", 3));
        other.unregisterService(web("b", 2));
        up();
        Set<String> now = Set.of("a@host-a:1", "c@host-c:3");
        until("near finds both", () -> found(other.queryForInstances("web")).equals(now));
        until("the provider has them", () -> found(provider.getAllInstances()).equals(now));
        until("far's cache has them", () -> found(cache.getInstances()).equals(now));
        assertNotNull(one.queryForInstance("web", "c"));
        cache.close();
        one.close();
        until("gone with its discovery", () -> found(other.queryForInstances("web")).equals(Set.of("c@host-c:3")));
        provider.close();
        other.close();
    }
}
