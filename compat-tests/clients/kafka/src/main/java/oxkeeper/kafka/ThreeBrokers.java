package oxkeeper.kafka;

import static oxkeeper.kafka.Checks.equal;
import static oxkeeper.kafka.Checks.holds;
import static oxkeeper.kafka.Checks.until;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;

/**
 * Three brokers, written to and read from all the time: the controller is killed, partitions move, the server is
 * killed while they do, every broker is restarted in turn, and what was acknowledged is there, once, in order.
 */
public final class ThreeBrokers {
    private static final int RECORDS = 20_000;
    private static final int SOME_RECORDS = 1_000;
    /** Throttles of reassignments, in bytes per second. */
    private static final long SLOW_BYTES = 10_000;
    private static final long FAST_BYTES = 1_000_000_000;

    private final Checks checks = new Checks();
    private final Keeper keeper = new Keeper();
    private final String root = "/kafka-" + ProcessHandle.current().pid();
    private final List<Broker> brokers = new ArrayList<>();
    private final Ledger stream = new Ledger("stream", 6);
    private final Ledger moving = new Ledger("moving", 4);
    private Registry registry;
    private Admin admin;
    private Load load;
    private Tail tail;
    private Broker killed;

    private ThreeBrokers() throws Exception {
    }

    /** Entry point; `rolling`: only the servers are killed, one member of their ensemble after the other. */
    public static void main(String[] args) throws Exception {
        if (List.of(args).contains("rolling")) {
            new ThreeBrokers().runRolling();
        } else {
            new ThreeBrokers().run();
        }
    }

    private void runRolling() {
        checks.check("three brokers start and elect one controller", this::startBrokers);
        checks.check("replicated topics are created, written and read", this::createTopics);
        checks.check("each server is killed under load, the leader first: no session is lost",
                () -> restartServers("killed", keeper::kill));
        checks.check("each server is stopped under load, the leader first: no session is lost",
                () -> restartServers("stopped", keeper::stop));
        checks.check("a topic is created, written and read afterwards", this::createLater);
        checks.check("every acknowledged record is there, once, in order", this::verify);
        checks.check("brokers that stop leave ZooKeeper at once", this::stopBrokers);
        checks.end();
    }

    /** How a member is ended. */
    private interface End {
        void of(int member) throws Exception;
    }

    private void restartServers(String how, End end) throws Exception {
        List<Registry.Hold> before = registered();
        for (int member : keeper.leaderFirst()) {
            long acknowledged = load.acknowledged();
            end.of(member);
            load.awaitMore(SOME_RECORDS);
            equal("who is registered while server " + member + " is away", before, registered());
            keeper.start();
            bothGoOn();
            equal("who is registered once server " + member + " is back", before, registered());
            System.out.printf("     server %d %s: %d records acknowledged meanwhile%n", member, how,
                    load.acknowledged() - acknowledged);
        }
    }

    private void createLater() throws Exception {
        Ledger later = new Ledger("later", 3);
        admin.createTopics(List.of(new NewTopic(later.topic(), later.partitions(), (short) 3))).all().get();
        Load.writeAll(later, client(), SOME_RECORDS);
        later.verify(client(), SOME_RECORDS);
    }

    private void run() {
        checks.check("three brokers start and elect one controller", this::startBrokers);
        checks.check("replicated topics are created, written and read", this::createTopics);
        checks.check("the controller is killed and another takes over", this::killController);
        checks.check("the killed broker returns and catches up", this::returnKilled);
        checks.check("the controller's znode is deleted and a new election held", this::deposeController);
        checks.check("partitions move to other brokers", () -> reassign(List.of(List.of(2, 3), List.of(3, 1)), false));
        String kill = "partitions move while the server is killed";
        if (keeper.isExternal()) {
            checks.skip(kill, "somebody else's server is not killed");
        } else {
            checks.check(kill, () -> reassign(List.of(List.of(3, 1), List.of(1, 2)), true));
        }
        checks.check("every broker is restarted in turn under load", this::restartInTurn);
        checks.check("preferred leaders are elected", this::electPreferred);
        checks.check("every acknowledged record is there, once, in order", this::verify);
        checks.check("brokers that stop leave ZooKeeper at once", this::stopBrokers);
        checks.end();
    }

    private Map<String, Object> client() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", String.join(",", brokers.stream().map(Broker::hosts).toList()));
        settings.put("default.api.timeout.ms", "300000");
        // A request that takes long is not sent again: the first may have done what was asked.
        settings.put("request.timeout.ms", "120000");
        return settings;
    }

    private void startBrokers() throws Exception {
        keeper.start();
        registry = new Registry(keeper.hosts());
        registry.makeRoot(root);
        for (int id = 1; id <= 3; id++) {
            brokers.add(new Broker(id, keeper.hosts() + root, "PLAINTEXT", Map.of(
                    "default.replication.factor", "3",
                    "min.insync.replicas", "2",
                    "offsets.topic.replication.factor", "3",
                    "auto.leader.rebalance.enable", "false",
                    "controlled.shutdown.retry.backoff.ms", "1000")));
        }
        for (Broker broker : brokers) {
            broker.start();
        }
        for (Broker broker : brokers) {
            awaitRegistered(broker);
        }
        until("there is a controller", () -> registry.controller(root) > 0);
        admin = Admin.create(client());
        until("clients see three brokers", () -> admin.describeCluster().nodes().get().size() == 3);
        equal("the controller that clients see", registry.controller(root),
                admin.describeCluster().controller().get().id());
    }

    private void awaitRegistered(Broker broker) throws Exception {
        until(broker + " is registered", () -> {
            holds(broker + " runs", broker.isAlive());
            return registry.exists(path(broker));
        });
    }

    private String path(Broker broker) {
        return root + "/brokers/ids/" + broker.id;
    }

    private void createTopics() throws Exception {
        Map<Integer, List<Integer>> placed = new HashMap<>();
        for (int p = 0; p < moving.partitions(); p++) {
            placed.put(p, List.of(1 + p % 2, 2 - p % 2));
        }
        admin.createTopics(List.of(new NewTopic(stream.topic(), stream.partitions(), (short) 3),
                new NewTopic(moving.topic(), placed).configs(Map.of("min.insync.replicas", "1")))).all().get();
        Load.writeAll(moving, client(), RECORDS);
        moving.verify(client(), RECORDS);
        load = new Load(stream, client());
        tail = new Tail(stream, client());
        bothGoOn();
    }

    /** Waits until the background load has written, and its reader read, more than they have now. */
    private void bothGoOn() throws Exception {
        load.awaitMore(1000);
        tail.await(load.acknowledged());
    }

    private List<TopicPartitionInfo> partitions(Ledger ledger) throws Exception {
        Map<String, TopicDescription> topics = admin.describeTopics(List.of(ledger.topic())).allTopicNames().get();
        return topics.get(ledger.topic()).partitions();
    }

    private void awaitInSync() throws Exception {
        until("all replicas are in sync", () -> {
            for (Ledger ledger : List.of(stream, moving)) {
                for (TopicPartitionInfo partition : partitions(ledger)) {
                    if (partition.isr().size() != partition.replicas().size()) {
                        return false;
                    }
                }
            }
            return true;
        });
    }

    private Broker controller() throws Exception {
        return brokers.get(registry.controller(root) - 1);
    }

    private void killController() throws Exception {
        killed = controller();
        int epoch = registry.controllerEpoch(root);
        Registry.Hold before = registry.hold(root + "/controller");
        killed.kill();
        until("another broker is controller", () -> {
            int id = registry.controller(root);
            return id > 0 && id != killed.id;
        });
        holds("it holds a new znode", !before.equals(registry.hold(root + "/controller")));
        equal("controllers so far", epoch + 1, registry.controllerEpoch(root));
        until("the killed broker's registration is gone", () -> !registry.exists(path(killed)));
        until("every partition has a leader that lives", () -> {
            for (TopicPartitionInfo partition : partitions(stream)) {
                if (partition.leader() == null || partition.leader().id() == killed.id || partition.isr().size() != 2) {
                    return false;
                }
            }
            return true;
        });
        until("clients see the new controller",
                () -> admin.describeCluster().controller().get().id() == registry.controller(root));
        admin.createTopics(List.of(new NewTopic("under-two", 2, (short) 2))).all().get();
        bothGoOn();
    }

    private void returnKilled() throws Exception {
        killed.start();
        awaitRegistered(killed);
        awaitInSync();
        bothGoOn();
    }

    private void deposeController() throws Exception {
        int epoch = registry.controllerEpoch(root);
        registry.delete(root + "/controller");
        until("there is a controller of the next epoch",
                () -> registry.controllerEpoch(root) > epoch && registry.controller(root) > 0);
        admin.createTopics(List.of(new NewTopic("after-election", 2, (short) 3))).all().get();
        bothGoOn();
    }

    /** Moves the partitions of `moving`, even ones to the first replicas given, odd ones to the second. */
    private void reassign(List<List<Integer>> replicas, boolean killServer) throws Exception {
        List<String> parts = new ArrayList<>();
        for (int p = 0; p < moving.partitions(); p++) {
            parts.add("{\"topic\":\"moving\",\"partition\":" + p + ",\"replicas\":" + replicas.get(p % 2) + "}");
        }
        Path plan = Files.createTempFile("compat-kafka-plan-", ".json");
        try {
            Files.writeString(plan, "{\"version\":1,\"partitions\":[" + String.join(",", parts) + "]}");
            // Slow enough that the server can be killed in the middle.
            command("--execute", plan, "--throttle", Long.toString(killServer ? SLOW_BYTES : FAST_BYTES));
            if (killServer) {
                killInTheMiddle();
            }
            until("the move is done", () -> admin.listPartitionReassignments().reassignments().get().isEmpty());
            // Also takes the throttles away.
            String report = command("--verify", plan);
            holds("the command says so: " + report,
                    report.contains("is completed") && !report.contains("still in progress"));
        } finally {
            Files.delete(plan);
        }
        for (TopicPartitionInfo partition : partitions(moving)) {
            equal("replicas of partition " + partition.partition(), replicas.get(partition.partition() % 2),
                    partition.replicas().stream().map(Node::id).toList());
        }
        awaitInSync();
        moving.verify(client(), RECORDS);
        bothGoOn();
    }

    private void killInTheMiddle() throws Exception {
        holds("the move is under way", !admin.listPartitionReassignments().reassignments().get().isEmpty());
        List<Registry.Hold> before = registered();
        keeper.kill();
        load.awaitMore(1000);
        keeper.start();
        equal("who is registered", before, registered());
        holds("the move is still under way", !admin.listPartitionReassignments().reassignments().get().isEmpty());
        Map<ConfigResource, Collection<AlterConfigOp>> faster = new HashMap<>();
        for (Broker broker : brokers) {
            faster.put(new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(broker.id)), List.of(
                    set("leader.replication.throttled.rate", FAST_BYTES),
                    set("follower.replication.throttled.rate", FAST_BYTES)));
        }
        admin.incrementalAlterConfigs(faster).all().get();
    }

    private static AlterConfigOp set(String key, long value) {
        return new AlterConfigOp(new ConfigEntry(key, Long.toString(value)), OpType.SET);
    }

    private String command(String what, Path plan, String... more) throws Exception {
        List<String> words = new ArrayList<>(List.of("--bootstrap-server", brokers.get(0).hosts(), what,
                "--reassignment-json-file", plan.toString()));
        words.addAll(List.of(more));
        return Command.run(Command.REASSIGN, words.toArray(String[]::new));
    }

    /** Who holds the registrations of the three brokers and the controller's znode. */
    private List<Registry.Hold> registered() throws Exception {
        List<Registry.Hold> all = new ArrayList<>();
        for (Broker broker : brokers) {
            all.add(registry.hold(path(broker)));
        }
        all.add(registry.hold(root + "/controller"));
        return all;
    }

    private void restartInTurn() throws Exception {
        for (Broker broker : brokers) {
            Registry.Hold before = registry.hold(path(broker));
            broker.stop();
            holds("its registration is gone", !before.equals(registry.hold(path(broker))));
            bothGoOn();
            broker.start();
            awaitRegistered(broker);
            awaitInSync();
            bothGoOn();
        }
    }

    private void electPreferred() throws Exception {
        Set<TopicPartition> all = new HashSet<>();
        for (TopicPartitionInfo partition : partitions(stream)) {
            all.add(new TopicPartition(stream.topic(), partition.partition()));
        }
        until("every partition is led by its first replica", () -> {
            for (TopicPartitionInfo partition : partitions(stream)) {
                if (partition.leader() == null || partition.leader().id() != partition.replicas().get(0).id()) {
                    // A client that has not heard of the newest controller is only told that it asked the wrong one.
                    try (Admin fresh = Admin.create(client())) {
                        fresh.electLeaders(ElectionType.PREFERRED, all).partitions().get();
                    }
                    return false;
                }
            }
            return true;
        });
        bothGoOn();
    }

    private void verify() throws Exception {
        long written = load.end();
        tail.await(written);
        tail.close();
        load.close();
        stream.verify(client(), written);
        moving.verify(client(), RECORDS);
    }

    private void stopBrokers() throws Exception {
        admin.close();
        for (Broker broker : brokers) {
            broker.stop();
            holds("its registration is gone", !registry.exists(path(broker)));
        }
        holds("there is no controller", !registry.exists(root + "/controller"));
        registry.removeRoot(root);
        registry.close();
    }
}
