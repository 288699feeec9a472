package oxkeeper.kafka;

import static oxkeeper.kafka.Checks.equal;
import static oxkeeper.kafka.Checks.failure;
import static oxkeeper.kafka.Checks.holds;
import static oxkeeper.kafka.Checks.until;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * One broker with SCRAM identities and AclAuthorizer: all that it keeps in ZooKeeper is written, used, read back after
 * restarts of the broker and after kills of the server under load.
 */
public final class OneBroker {
    private static final int RECORDS = 100_000;
    private static final int KILLS = 5;
    private static final String ADMIN = "admin";
    private static final String GROUP = "readers";
    /** A topic whose content nobody counts: it takes what shows that a setting works. */
    private static final String SCRATCH = "scratch";
    private static final ConfigResource BROKER = new ConfigResource(ConfigResource.Type.BROKER, "1");

    private final Checks checks = new Checks();
    private final Keeper keeper = new Keeper();
    private final String root = "/kafka-" + ProcessHandle.current().pid();
    private final Ledger orders = new Ledger("orders", 6);
    private final Ledger underway = new Ledger("underway", 3);
    private Registry registry;
    private Broker broker;
    private Admin admin;

    private OneBroker() throws Exception {
    }

    /** Entry point. */
    public static void main(String[] args) throws Exception {
        new OneBroker().run();
    }

    private void run() {
        checks.check("a SCRAM user is created in ZooKeeper before any broker runs", this::prepare);
        checks.check("a broker starts and registers", this::startBroker);
        checks.check("topics are created and described", this::createTopics);
        checks.check(RECORDS + " records are produced and consumed, none lost, none twice, in order",
                this::produceAndConsume);
        checks.check("topic configs are altered and take effect", this::alterTopicConfig);
        checks.check("broker configs are altered while it runs and take effect", this::alterBrokerConfig);
        checks.check("client quotas are altered", this::alterQuotas);
        checks.check("SCRAM users are created, changed and deleted", this::alterUsers);
        checks.check("ACLs allow one principal and deny another", this::alterAcls);
        checks.check("what a command writes straight into ZooKeeper reaches the broker", this::changeFromOutside);
        checks.check("a topic is deleted and created again empty", this::deleteTopic);
        checks.check("all of it survives a restart of the broker", this::restartBroker);
        String kills = "the server is killed " + KILLS + " times under load: no session and no record is lost";
        if (keeper.isExternal()) {
            checks.skip(kills, "somebody else's server is not killed");
        } else {
            checks.check(kills, this::killServer);
        }
        checks.check("the first records are still whole", () -> orders.verify(client(), RECORDS));
        checks.check("a broker that stops leaves ZooKeeper at once", this::stopBroker);
        checks.end();
    }

    /** Somebody whose password follows from the name. */
    private Principal user(String name) {
        return new Principal(broker.hosts(), name, password(name));
    }

    private Map<String, Object> client() {
        return user(ADMIN).settings();
    }

    private static String password(String user) {
        return user + "-secret";
    }

    private void prepare() throws Exception {
        keeper.start();
        registry = new Registry(keeper.hosts());
        registry.makeRoot(root);
        addUserByCommand(ADMIN);
        holds("its znode exists", registry.exists(root + "/config/users/" + ADMIN));
    }

    private void addUserByCommand(String user) throws Exception {
        Command.run(Command.CONFIGS, "--zookeeper", keeper.hosts() + root, "--alter",
                "--entity-type", "users", "--entity-name", user,
                "--add-config", "SCRAM-SHA-256=[iterations=4096,password=" + password(user) + "]");
    }

    private void startBroker() throws Exception {
        broker = new Broker(1, keeper.hosts() + root, "SASL_PLAINTEXT", Map.of(
                "security.inter.broker.protocol", "SASL_PLAINTEXT",
                "sasl.mechanism.inter.broker.protocol", "SCRAM-SHA-256",
                "sasl.enabled.mechanisms", "SCRAM-SHA-256",
                "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config",
                        Principal.login(ADMIN, password(ADMIN)),
                "authorizer.class.name", "kafka.security.authorizer.AclAuthorizer",
                "super.users", "User:" + ADMIN,
                "offsets.topic.replication.factor", "1",
                "transaction.state.log.replication.factor", "1",
                "transaction.state.log.min.isr", "1"));
        broker.start();
        awaitBroker();
        admin = Admin.create(client());
        equal("brokers that clients see", 1, admin.describeCluster().nodes().get().size());
    }

    /** Waits until the broker is registered and controller. */
    private void awaitBroker() throws Exception {
        until("the broker is registered and controller", () -> {
            holds("the broker runs", broker.isAlive());
            return registry.exists(brokerPath()) && registry.controller(root) == broker.id;
        });
    }

    private String brokerPath() {
        return root + "/brokers/ids/" + broker.id;
    }

    private void createTopics() throws Exception {
        admin.createTopics(List.of(new NewTopic(orders.topic(), orders.partitions(), (short) 1),
                new NewTopic(underway.topic(), underway.partitions(), (short) 1))).all().get();
        Command.run(Command.TOPICS, "--bootstrap-server", broker.hosts(), "--command-config",
                broker.clientFile(client()), "--create", "--topic", SCRATCH, "--partitions", "4",
                "--config", "retention.ms=3600000");
        equal("topics", Set.of(orders.topic(), underway.topic(), SCRATCH), admin.listTopics().names().get());
        equal("partitions", 4,
                admin.describeTopics(List.of(SCRATCH)).allTopicNames().get().get(SCRATCH).partitions().size());
        failure("a topic is not created twice",
                () -> admin.createTopics(List.of(new NewTopic(SCRATCH, 1, (short) 1))).all().get());
        equal("topics in ZooKeeper", 3, registry.children(root + "/brokers/topics").size());
    }

    private void produceAndConsume() throws Exception {
        Load.writeAll(orders, client(), RECORDS);
        orders.verify(client(), RECORDS);
        Map<String, Object> settings = client();
        settings.put("group.id", GROUP);
        try (Consumer<byte[], byte[]> consumer = Ledger.consumer(settings)) {
            consumer.subscribe(List.of(orders.topic()));
            long[] seen = {0};
            until("a consumer group reads everything", () -> {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    Ledger.number(record);
                    seen[0]++;
                }
                return seen[0] >= RECORDS;
            });
            equal("records that the group read", (long) RECORDS, seen[0]);
            consumer.commitSync();
        }
        equal("offsets committed", (long) RECORDS, committed());
    }

    private long committed() throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets =
                admin.listConsumerGroupOffsets(GROUP).partitionsToOffsetAndMetadata().get();
        return offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
    }

    private void alter(ConfigResource resource, OpType what, String key, String value) throws Exception {
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry(key, value), what);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
    }

    private Config config(ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    private static ConfigResource topic(String name) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name);
    }

    /** True when a record of this size is taken. */
    private boolean fits(int bytes) throws Exception {
        return user(ADMIN).fits(SCRATCH, bytes);
    }

    private void alterTopicConfig() throws Exception {
        ConfigResource topic = topic(SCRATCH);
        equal("config given at creation", "3600000", config(topic).get("retention.ms").value());
        holds("5 kB are taken at first", fits(5000));
        alter(topic, OpType.SET, "max.message.bytes", "1000");
        until("5 kB are too large", () -> !fits(5000));
        equal("config described", "1000", config(topic).get("max.message.bytes").value());
        alter(topic, OpType.DELETE, "max.message.bytes", null);
        until("5 kB are taken again", () -> fits(5000));
        alter(topic, OpType.APPEND, "cleanup.policy", "compact");
        until("a list is appended to", () -> "delete,compact".equals(config(topic).get("cleanup.policy").value()));
    }

    private void alterBrokerConfig() throws Exception {
        ConfigResource all = new ConfigResource(ConfigResource.Type.BROKER, "");
        alter(BROKER, OpType.SET, "log.cleaner.threads", "2");
        until("the broker's own config is described", () -> {
            ConfigEntry entry = config(BROKER).get("log.cleaner.threads");
            return "2".equals(entry.value()) && entry.source() == ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG;
        });
        alter(all, OpType.SET, "message.max.bytes", "2000");
        until("5 kB are too large by the default of all brokers", () -> !fits(5000));
        alter(all, OpType.DELETE, "message.max.bytes", null);
        until("5 kB are taken again", () -> fits(5000));
    }

    private void alterQuotas() throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, "alice"));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity,
                List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e9))))).all().get();
        until("the quota is described", () -> Map.of(entity, Map.of("producer_byte_rate", 1e9))
                .equals(admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get()));
    }

    private void upsert(String user, String password) throws Exception {
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(user,
                new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), password))).all().get();
    }

    private Set<String> users() throws Exception {
        return admin.describeUserScramCredentials().all().get().keySet();
    }

    private void alterUsers() throws Exception {
        for (String user : List.of("alice", "bob", "dave")) {
            upsert(user, password(user));
            until(user + " logs in", () -> user(user).logsIn());
        }
        holds("a wrong password is refused", !new Principal(broker.hosts(), "alice", "wrong").logsIn());
        Principal changed = new Principal(broker.hosts(), "dave", "changed");
        upsert("dave", "changed");
        until("the new password is taken", () -> changed.logsIn());
        holds("the old one is not", !user("dave").logsIn());
        admin.alterUserScramCredentials(List.of(
                new UserScramCredentialDeletion("dave", ScramMechanism.SCRAM_SHA_256))).all().get();
        until("a deleted user is refused", () -> !changed.logsIn());
        equal("users", Set.of(ADMIN, "alice", "bob"), users());
    }

    private static AclBinding allow(String user, ResourceType type, String name, AclOperation operation) {
        return new AclBinding(new ResourcePattern(type, name, PatternType.LITERAL),
                new AccessControlEntry("User:" + user, "*", operation, AclPermissionType.ALLOW));
    }

    private void alterAcls() throws Exception {
        holds("nobody writes without an ACL", !user("alice").mayWrite(SCRATCH));
        // Idempotent producers need nothing else in this version: to write to a topic is enough.
        List<AclBinding> bindings = List.of(
                allow("alice", ResourceType.TOPIC, SCRATCH, AclOperation.WRITE),
                allow("alice", ResourceType.TOPIC, SCRATCH, AclOperation.READ),
                allow("alice", ResourceType.GROUP, GROUP, AclOperation.READ),
                allow("bob", ResourceType.TOPIC, SCRATCH, AclOperation.READ));
        admin.createAcls(bindings).all().get();
        until("who is allowed writes", () -> user("alice").mayWrite(SCRATCH));
        holds("who may only read does not", !user("bob").mayWrite(SCRATCH));
        Collection<AclBinding> listed = admin.describeAcls(AclBindingFilter.ANY).values().get();
        equal("ACLs listed", Set.copyOf(bindings), Set.copyOf(listed));
        String table = Command.run(Command.ACLS, "--bootstrap-server", broker.hosts(), "--command-config",
                broker.clientFile(client()), "--list", "--topic", SCRATCH);
        holds("the command lists them: " + table, table.contains("User:alice") && table.contains("User:bob"));
        admin.deleteAcls(List.of(bindings.get(0).toFilter())).all().get();
        until("whose right is taken away does not write", () -> !user("alice").mayWrite(SCRATCH));
        admin.createAcls(List.of(bindings.get(0))).all().get();
        until("whose right is given back writes", () -> user("alice").mayWrite(SCRATCH));
    }

    /** Both commands leave a sequential znode, by whose watch the broker must hear of the change. */
    private void changeFromOutside() throws Exception {
        addUserByCommand("carol");
        until("a user created in ZooKeeper logs in", () -> user("carol").logsIn());
        Command.run(Command.ACLS, "--authorizer-properties", "zookeeper.connect=" + keeper.hosts() + root,
                "--add", "--allow-principal", "User:carol", "--operation", "Write", "--topic", SCRATCH);
        until("an ACL created in ZooKeeper allows", () -> user("carol").mayWrite(SCRATCH));
    }

    private void deleteTopic() throws Exception {
        Ledger doomed = new Ledger("doomed", 2);
        for (int round = 1; round <= 2; round++) {
            admin.createTopics(List.of(new NewTopic(doomed.topic(), doomed.partitions(), (short) 1))).all().get();
            Load.writeAll(doomed, client(), 100L * round);
            doomed.verify(client(), 100L * round);
            admin.deleteTopics(List.of(doomed.topic())).all().get();
            until("its znodes are gone", () -> !registry.exists(root + "/brokers/topics/doomed")
                    && !registry.exists(root + "/config/topics/doomed")
                    && !registry.exists(root + "/admin/delete_topics/doomed"));
            until("no client sees it", () -> !admin.listTopics().names().get().contains("doomed"));
        }
    }

    private void restartBroker() throws Exception {
        Registry.Hold before = registry.hold(brokerPath());
        int epoch = registry.controllerEpoch(root);
        broker.stop();
        broker.start();
        awaitBroker();
        holds("it has a session of its own", !before.equals(registry.hold(brokerPath())));
        equal("controllers so far", epoch + 1, registry.controllerEpoch(root));
        // A broker knows none until its controller has told it.
        until("all topics are seen", () -> Set.of(orders.topic(), underway.topic(), SCRATCH)
                .equals(admin.listTopics().names().get()));
        equal("topic config", "3600000", config(topic(SCRATCH)).get("retention.ms").value());
        equal("broker config", "2", config(BROKER).get("log.cleaner.threads").value());
        equal("quotas", 1, admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().size());
        equal("users", Set.of(ADMIN, "alice", "bob", "carol"), users());
        equal("ACLs", 5, admin.describeAcls(AclBindingFilter.ANY).values().get().size());
        holds("who was allowed writes", user("alice").mayWrite(SCRATCH));
        holds("who was not does not", !user("bob").mayWrite(SCRATCH));
        orders.verify(client(), RECORDS);
        equal("offsets committed", (long) RECORDS, committed());
    }

    private void killServer() throws Exception {
        Registry.Hold registered = registry.hold(brokerPath());
        Registry.Hold controller = registry.hold(root + "/controller");
        try (Load load = new Load(underway, client())) {
            for (int kill = 1; kill <= KILLS; kill++) {
                load.awaitMore(1000);
                keeper.kill();
                // What needs ZooKeeper waits for it; what does not goes on.
                NewTopic topic = new NewTopic("while-down-" + kill, 2, (short) 1);
                KafkaFuture<Void> created = admin.createTopics(List.of(topic)).all();
                load.awaitMore(1000);
                holds("no topic is created without ZooKeeper", !created.isDone());
                keeper.start();
                created.get();
                equal("who is registered after kill " + kill, registered, registry.hold(brokerPath()));
                equal("who is controller after kill " + kill, controller, registry.hold(root + "/controller"));
                // Through a watch that the broker had set before the kill.
                alter(topic(SCRATCH), OpType.SET, "max.message.bytes", "1000");
                until("the broker hears of a new config", () -> !fits(5000));
                alter(topic(SCRATCH), OpType.DELETE, "max.message.bytes", null);
                until("the broker hears of its end", () -> fits(5000));
                Ledger fresh = new Ledger(topic.name(), 2);
                Load.writeAll(fresh, client(), 200);
                fresh.verify(client(), 200);
            }
            load.awaitMore(1000);
            underway.verify(client(), load.end());
        }
        holds("the broker runs", broker.isAlive());
        equal("users", Set.of(ADMIN, "alice", "bob", "carol"), users());
        holds("who was allowed writes", user("alice").mayWrite(SCRATCH));
        holds("who was not does not", !user("bob").mayWrite(SCRATCH));
    }

    private void stopBroker() throws Exception {
        admin.close();
        broker.stop();
        holds("its registration is gone", !registry.exists(brokerPath()));
        holds("there is no controller", !registry.exists(root + "/controller"));
        registry.removeRoot(root);
        registry.close();
    }
}
