package oxkeeper.compat;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.state.SessionConnectionStateErrorPolicy;
import org.junit.jupiter.api.Test;

/** Curator's elections: one leader, who steps back when it cannot know that it still is, and is followed by another. */
class CuratorElectionsTest extends CuratorFixture {
    private static LeaderLatch latch(CuratorFramework client, String path, String id, List<String> told) {
        LeaderLatch latch = new LeaderLatch(client, path, id);
        latch.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {
                told.add("leads");
            }

            @Override
            public void notLeader() {
                told.add("follows");
            }
        });
        return latch;
    }

    @Troubled
    void latch(Trouble trouble) throws Exception {
        begin(trouble);
        List<String> told = new CopyOnWriteArrayList<>();
        LeaderLatch one = latch(far, root + "/latch", "one", told);
        LeaderLatch other = latch(near, root + "/latch", "other", new ArrayList<>());
        one.start();
        assertTrue(one.await(PATIENCE_S, SECONDS));
        other.start();
        until("two take part", () -> children(root + "/latch") == 2);
        assertEquals("one", other.getLeader().getId());
        down();
        if (trouble != Trouble.NONE) {
            until("one steps back when it is cut off", () -> !one.hasLeadership());
        }
        assertEquals(endsSession(), other.await(endsSession() ? PATIENCE_S : 0, SECONDS));
        up();
        until("both take part again", () -> children(root + "/latch") == 2);
        if (endsSession()) {
            assertTrue(other.hasLeadership());
            assertFalse(one.hasLeadership());
            assertEquals("other", one.getLeader().getId());
            other.close();
        }
        assertTrue(one.await(PATIENCE_S, SECONDS));
        assertEquals(trouble == Trouble.NONE ? List.of("leads") : List.of("leads", "follows", "leads"), told);
        if (!endsSession()) {
            assertFalse(other.hasLeadership());
            other.close();
        }
        one.close();
        until("nobody is left", () -> children(root + "/latch") == 0);
    }

    /** With the policy that only the end of a session is an error, a cut does not make the leader step back. */
    @Troubled
    void latchThatTrustsItsSession(Trouble trouble) throws Exception {
        begin(trouble, builder -> builder.connectionStateErrorPolicy(new SessionConnectionStateErrorPolicy()));
        List<String> told = new CopyOnWriteArrayList<>();
        LeaderLatch one = latch(far, root + "/latch", "one", told);
        LeaderLatch other = latch(near, root + "/latch", "other", new ArrayList<>());
        one.start();
        assertTrue(one.await(PATIENCE_S, SECONDS));
        other.start();
        until("two take part", () -> children(root + "/latch") == 2);
        down();
        if (trouble == Trouble.EXPIRED) {
            until("one steps back when it is lost", () -> !one.hasLeadership());
        } else {
            // One that was ended at the server learns of it when it comes back.
            assertTrue(one.hasLeadership());
        }
        up();
        if (endsSession()) {
            assertTrue(other.await(PATIENCE_S, SECONDS));
            until("one knows", () -> !one.hasLeadership());
            assertEquals(List.of("leads", "follows"), told);
        } else {
            assertEquals(List.of("leads"), told);
        }
        one.close();
        assertTrue(other.await(PATIENCE_S, SECONDS));
        other.close();
    }

    /** Leads until told to stop or interrupted, and knows who is inside. */
    private final class Term extends LeaderSelectorListenerAdapter {
        private final Semaphore over = new Semaphore(0);
        private volatile boolean leads;

        @Override
        public void takeLeadership(CuratorFramework client) throws Exception {
            leads = true;
            try {
                over.acquire();
            } finally {
                leads = false;
            }
        }
    }

    @Troubled
    void selector(Trouble trouble) throws Exception {
        begin(trouble);
        Term one = new Term();
        Term other = new Term();
        LeaderSelector first = new LeaderSelector(far, root + "/sel", one);
        LeaderSelector second = new LeaderSelector(near, root + "/sel", other);
        first.setId("one");
        second.setId("other");
        first.autoRequeue();
        second.autoRequeue();
        first.start();
        until("one leads", () -> one.leads);
        second.start();
        until("two take part", () -> second.getParticipants().size() == 2);
        assertEquals("one", second.getLeader().getId());
        down();
        if (trouble == Trouble.NONE) {
            one.over.release();
        } else {
            until("one is called off", () -> !one.leads);
        }
        if (endsSession()) {
            until("other leads meanwhile", () -> other.leads);
        }
        up();
        until("other leads", () -> other.leads);
        assertFalse(one.leads);
        until("one stands again", () -> second.getParticipants().size() == 2);
        other.over.release();
        until("one leads again", () -> one.leads);
        assertFalse(other.leads);
        second.close();
        first.close();
    }

    @Test
    void selectorGivesEveryoneATurn() throws Exception {
        begin(Trouble.NONE);
        List<String> turns = new CopyOnWriteArrayList<>();
        AtomicInteger inside = new AtomicInteger();
        CountDownLatch all = new CountDownLatch(6);
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            String id = "s" + i;
            CuratorFramework client = i == 0 ? far : near;
            LeaderSelector selector = new LeaderSelector(client, root + "/sel", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework who) {
                    assertEquals(1, inside.incrementAndGet());
                    turns.add(id);
                    inside.decrementAndGet();
                    all.countDown();
                }
            });
            selector.setId(id);
            selector.autoRequeue();
            selectors.add(selector);
            selector.start();
        }
        assertTrue(all.await(PATIENCE_S, SECONDS));
        selectors.forEach(LeaderSelector::close);
        assertTrue(turns.contains("s0") && turns.contains("s1"), turns::toString);
    }
}
