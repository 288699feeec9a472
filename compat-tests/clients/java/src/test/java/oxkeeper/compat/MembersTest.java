package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import oxkeeper.compat.Answers.Answer;
import oxkeeper.shared.Loan;

/**
 * Clients that know all members of an ensemble, which are killed or stopped one after the other, the leader first:
 * sessions, ephemerals and watches go on at the members that live, and what was acknowledged is there once.
 */
@Timeout(240)
class MembersTest extends Fixture {
    private static ServerProcess process;

    private Loan members;

    @Override
    String server() throws Exception {
        if (process == null) {
            process = Servers.prepare().start();
        }
        members = process.needMembers();
        process.start();
        return process.allHosts();
    }

    @AfterAll
    static void removeServers() {
        if (process != null) {
            process.remove();
            process = null;
        }
    }

    /** Ends a member by `how`, and returns when these clients are connected, wherever. */
    private void end(String how, int member, List<Client> connected) throws Exception {
        members.ask(how + " " + member);
        for (Client client : connected) {
            fence(client, member);
        }
    }

    /** Returns once the client is answered; a connection lost meanwhile is taken up again. */
    private static void fence(Client client, int member) throws Exception {
        until("an answer without member " + member, () -> {
            Answers answers = new Answers();
            client.sync("/", answers.nothing(), null);
            return answers.take().code() == Code.OK;
        });
    }

    /** So many clients that several of them are at each member, wherever their lists begin. */
    private List<Client> several() throws Exception {
        List<Client> clients = new ArrayList<>();
        for (int i = 0; i < 9; i++) {
            clients.add(connect());
        }
        return clients;
    }

    @Test
    void sessionsEphemeralsAndWatchesOutliveEachMember() throws Exception {
        List<Client> clients = several();
        List<Stat> held = new ArrayList<>();
        List<Long> sessions = new ArrayList<>();
        Set<Long> openedAt = new TreeSet<>();
        for (int i = 0; i < clients.size(); i++) {
            Client client = clients.get(i);
            String node = makeEphemeral(client, root + "/e" + i);
            fence(zk); // perhaps at another member
            held.add(zk.exists(node, false));
            sessions.add(client.getSessionId());
            openedAt.add(client.getSessionId() >>> 56);
        }
        assertTrue(openedAt.size() > 1, () -> "all sessions were opened at the same member: " + openedAt);
        int round = 0;
        for (String how : List.of("kill", "stop")) {
            for (int member : members.leaderFirst()) {
                outlive(how, member, "r" + round++, clients);
                for (int i = 0; i < clients.size(); i++) {
                    String node = root + "/e" + i;
                    Stat stat = patiently(() -> zk.exists(node, false));
                    assertEquals(held.get(i), stat, node);
                    assertEquals(sessions.get(i).longValue(), clients.get(i).getSessionId());
                }
                process.start();
            }
        }
        for (Client client : clients) {
            assertEquals(0, client.events.count(KeeperState.Expired));
        }
    }

    /** Each client's watches tell it once of what is done while a member is away. */
    private void outlive(String how, int member, String name, List<Client> clients) throws Exception {
        String node = make(zk, root + "/" + name, "0");
        List<Events> data = new ArrayList<>();
        List<Events> recursive = new ArrayList<>();
        for (Client client : clients) {
            Events once = new Events();
            Events always = new Events();
            fence(client);
            client.getData(node, once, null);
            client.addWatch(node, always, AddWatchMode.PERSISTENT_RECURSIVE);
            data.add(once);
            recursive.add(always);
        }
        end(how, member, clients);
        fence(zk, member);
        zk.setData(node, bytes("1"), 0);
        zk.setData(node, bytes("2"), 1);
        for (int i = 0; i < clients.size(); i++) {
            Client client = clients.get(i);
            fence(client);
            assertEquals(List.of("NodeDataChanged " + node), data.get(i).drain());
            assertEquals(List.of("NodeDataChanged " + node, "NodeDataChanged " + node), recursive.get(i).drain());
            assertEquals("2", text(client.getData(node, false, null)));
        }
    }

    @Test
    void pipelinedWritesAreDoneOnceWhileMembersGo() throws Exception {
        for (int member : members.leaderFirst()) {
            String base = make(zk, root + "/m" + member, "");
            List<Client> writers = several();
            List<Answers> answers = new ArrayList<>();
            int each = 600;
            for (int w = 0; w < writers.size(); w++) {
                Answers own = new Answers();
                answers.add(own);
                for (int i = 0; i < each; i++) {
                    writers.get(w).create(base + "/s", bytes(w + " " + i), Ids.OPEN_ACL_UNSAFE,
                            CreateMode.PERSISTENT_SEQUENTIAL, own.nameAndStat(), i);
                }
            }
            until("answers came", () -> answers.get(0).size() > 50);
            end("kill", member, writers);
            fence(zk, member);
            int acknowledged = judge(base, writers.size(), each, answers);
            assertTrue(acknowledged > 50, "only " + acknowledged + " acknowledged");
            for (Client writer : writers) {
                writer.close();
            }
            process.start();
        }
    }

    /** What was acknowledged is there, and each write at most once, each writer's in its order; how many there were. */
    private int judge(String base, int writers, int each, List<Answers> answers) throws Exception {
        TreeSet<String> there = new TreeSet<>(zk.getChildren(base, false));
        List<Integer> last = new ArrayList<>();
        for (int w = 0; w < writers; w++) {
            last.add(-1);
        }
        for (String name : there) {
            String[] words = text(zk.getData(base + "/" + name, false, null)).split(" ");
            int writer = Integer.parseInt(words[0]);
            int number = Integer.parseInt(words[1]);
            assertTrue(number > last.get(writer), () -> name + ": write " + number + " after " + last.get(writer));
            last.set(writer, number);
        }
        int acknowledged = 0;
        for (Answers own : answers) {
            for (int i = 0; i < each; i++) {
                Answer answer = own.take();
                if (answer.code() == Code.OK) {
                    acknowledged++;
                    String name = ((String) answer.value()).substring(base.length() + 1);
                    assertTrue(there.contains(name), () -> "acknowledged and lost: " + name);
                }
            }
        }
        return acknowledged;
    }
}
