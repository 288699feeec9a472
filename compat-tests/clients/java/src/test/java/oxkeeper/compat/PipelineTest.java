package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import oxkeeper.compat.Answers.Answer;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;
import org.junit.jupiter.api.Test;

/** Thousands of requests in flight, from one session and from many. */
class PipelineTest extends Fixture {
    private static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;

    /** Each read must show exactly the writes sent before it, and each answer must come in its turn. */
    @Test
    void fiveThousandMixedRequestsInOrder() throws Exception {
        int rounds = 1250;
        Answers answers = new Answers();
        for (int i = 0; i < rounds; i++) {
            zk.create(root + "/n" + i, bytes("v" + i), OPEN, CreateMode.PERSISTENT, answers.nameAndStat(), 4 * i);
            zk.getData(root + "/n" + i, false, answers.data(), 4 * i + 1);
            zk.setData(root, bytes("r" + i), i, answers.stat(), 4 * i + 2);
            zk.exists(root + "/n" + (i + 1), false, answers.stat(), 4 * i + 3);
        }
        long zxid = 0;
        for (int i = 0; i < 4 * rounds; i++) {
            Answer answer = answers.take();
            assertEquals(i, answer.ctx());
            int round = i / 4;
            switch (i % 4) {
                case 0 -> {
                    assertEquals(root + "/n" + round, answer.value());
                    assertTrue(answer.stat().getCzxid() > zxid);
                    zxid = answer.stat().getCzxid();
                }
                case 1 -> {
                    assertEquals("v" + round, text((byte[]) answer.value()));
                    assertEquals(zxid, answer.stat().getMzxid());
                }
                case 2 -> {
                    assertEquals(round + 1, answer.stat().getVersion());
                    assertTrue(answer.stat().getMzxid() > zxid);
                    zxid = answer.stat().getMzxid();
                }
                default -> assertEquals(Code.NONODE, answer.code());
            }
        }
        assertEquals(rounds, zk.getChildren(root, false).size());
    }

    @Test
    void fiveThousandReadsInFlight() throws Exception {
        for (int i = 0; i < 10; i++) {
            make(zk, root + "/n" + i, "d" + i);
        }
        Answers answers = new Answers();
        for (int i = 0; i < 5000; i++) {
            zk.getData(root + "/n" + i % 10, false, answers.data(), i);
        }
        for (int i = 0; i < 5000; i++) {
            Answer answer = answers.take();
            assertEquals(i, answer.ctx());
            assertEquals("d" + i % 10, text((byte[]) answer.value()));
        }
    }

    /** A request is judged by the state behind all requests sent before it, answered or not. */
    @Test
    void unansweredWritesAreVisibleToLaterOnes() throws Exception {
        Answers answers = new Answers();
        List<Code> expected = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            String path = root + "/" + i;
            zk.create(path, null, OPEN, CreateMode.PERSISTENT, answers.name(), null);
            zk.create(path + "/c", null, OPEN, CreateMode.PERSISTENT, answers.name(), null);
            zk.delete(path, 0, answers.nothing(), null);
            zk.setData(path, bytes("x"), 0, answers.stat(), null);
            zk.delete(path + "/c", 0, answers.nothing(), null);
            zk.delete(path, 0, answers.nothing(), null);
            zk.delete(path, 1, answers.nothing(), null);
            zk.exists(path, false, answers.stat(), null);
            expected.addAll(List.of(Code.OK, Code.OK, Code.NOTEMPTY, Code.OK, Code.OK, Code.BADVERSION, Code.OK,
                    Code.NONODE));
        }
        List<Code> seen = new ArrayList<>();
        for (int i = 0; i < expected.size(); i++) {
            seen.add(answers.take().code());
        }
        assertEquals(expected, seen);
        assertEquals(1000, zk.exists(root, false).getCversion());
    }

    /** Eight sessions number their znodes below one parent: no number twice, none left out, in order of zxid. */
    @Test
    void sequenceNumbersUnderConcurrency() throws Exception {
        int sessions = 8;
        int each = 250;
        List<Client> clients = new ArrayList<>();
        List<Answers> answers = new ArrayList<>();
        for (int i = 0; i < sessions; i++) {
            clients.add(connect());
            answers.add(new Answers());
        }
        for (int n = 0; n < each; n++) {
            for (int i = 0; i < sessions; i++) {
                CreateMode mode = i % 2 == 0 ? CreateMode.PERSISTENT_SEQUENTIAL : CreateMode.EPHEMERAL_SEQUENTIAL;
                clients.get(i).create(root + "/s", null, OPEN, mode, answers.get(i).nameAndStat(), null);
            }
        }
        TreeMap<Long, String> byZxid = new TreeMap<>();
        for (int i = 0; i < sessions; i++) {
            String last = "";
            for (int n = 0; n < each; n++) {
                Answer answer = answers.get(i).take();
                String name = (String) answer.value();
                assertTrue(name.compareTo(last) > 0, () -> "a session's own numbers must grow: " + name);
                last = name;
                byZxid.put(answer.stat().getCzxid(), name);
            }
        }
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < sessions * each; i++) {
            expected.add(String.format("%s/s%010d", root, i));
        }
        assertEquals(expected, new ArrayList<>(byZxid.values()));
        assertEquals(sessions * each, zk.getChildren(root, false).size());
    }

    /** Compare and set by version: of all that try the same version exactly one wins. */
    @Test
    void versionsDecideRaces() throws Exception {
        int sessions = 6;
        int rounds = 200;
        List<Answers> answers = new ArrayList<>();
        for (int i = 0; i < sessions; i++) {
            Client client = connect();
            Answers own = new Answers();
            answers.add(own);
            for (int version = 0; version < rounds; version++) {
                client.setData(root, bytes("by " + i), version, own.stat(), version);
            }
        }
        Set<Integer> won = new HashSet<>();
        int wins = 0;
        for (Answers own : answers) {
            for (int n = 0; n < rounds; n++) {
                Answer answer = own.take();
                if (answer.code() == Code.OK) {
                    wins++;
                    assertEquals((int) answer.ctx() + 1, answer.stat().getVersion());
                    won.add(answer.stat().getVersion());
                } else {
                    assertEquals(Code.BADVERSION, answer.code());
                }
            }
        }
        assertEquals(wins, won.size());
        assertEquals(wins, zk.exists(root, false).getVersion());
        assertTrue(wins > 0);
    }

    /** What one session is shown never goes back while others write: neither headers nor the znode's own zxid. */
    @Test
    void zxidsNeverGoBackForAClient() throws Exception {
        Client writer = connect();
        Client reader = connect();
        Answers writes = new Answers();
        Answers reads = new Answers();
        long header = reader.lastZxid();
        long seen = 0;
        int version = 0;
        for (int i = 0; i < 400; i++) {
            for (int n = 0; n < 4; n++) {
                writer.setData(root, bytes("w"), -1, writes.stat(), null);
                reader.exists(root, false, reads.stat(), null);
            }
            for (int n = 0; n < 4; n++) {
                Stat stat = reads.take().stat();
                assertTrue(stat.getMzxid() >= seen && stat.getVersion() >= version);
                seen = stat.getMzxid();
                version = stat.getVersion();
            }
            long now = reader.lastZxid();
            assertTrue(now >= header, "a reply's header went back");
            assertTrue(now >= seen, "a reply's header is behind what the reply shows");
            header = now;
        }
        long last = 0;
        for (int i = 0; i < 1600; i++) {
            Stat stat = writes.take().stat();
            assertTrue(stat.getMzxid() > last);
            last = stat.getMzxid();
        }
        assertTrue(writer.lastZxid() >= last);
        assertEquals(1600, zk.exists(root, false).getVersion());
    }
}
