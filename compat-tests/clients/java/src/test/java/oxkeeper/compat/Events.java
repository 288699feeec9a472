package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.fail;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;

/** A watcher that keeps what it is told: znode events as "NodeCreated /path", session states apart. */
final class Events implements Watcher {
    private static final long PATIENCE_MS = 20_000;

    private final List<WatchedEvent> nodes = new ArrayList<>();
    private final List<Event.KeeperState> states = new ArrayList<>();

    @Override
    public synchronized void process(WatchedEvent event) {
        if (event.getType() == Event.EventType.None) {
            states.add(event.getState());
        } else {
            nodes.add(event);
        }
        notifyAll();
    }

    private static String text(WatchedEvent event) {
        return event.getType() + " " + event.getPath();
    }

    /** Takes the next znode event, waiting for it. */
    synchronized WatchedEvent take() throws InterruptedException {
        long end = end();
        while (nodes.isEmpty()) {
            await(end, "no event came");
        }
        return nodes.remove(0);
    }

    /** Takes as many events as expected, in this order. */
    void expect(String... expected) throws InterruptedException {
        List<String> seen = new ArrayList<>();
        for (int i = 0; i < expected.length; i++) {
            seen.add(text(take()));
        }
        assertEquals(List.of(expected), seen);
    }

    /** All events so far, without waiting; they are taken. Call Fixture.fence first. */
    synchronized List<String> drain() {
        List<String> all = nodes.stream().map(Events::text).toList();
        nodes.clear();
        return all;
    }

    /** The distinct zxids of all events so far; the events are taken. */
    synchronized Set<Long> drainZxids() {
        Set<Long> zxids = new HashSet<>();
        nodes.forEach(event -> zxids.add(event.getZxid()));
        nodes.clear();
        return zxids;
    }

    /** Waits until the session's state was told `times` times since the last forget(). */
    synchronized void awaitState(Event.KeeperState state, int times) throws InterruptedException {
        long end = end();
        while (count(state) < times) {
            await(end, "state " + state + " did not come " + times + " times, only " + states);
        }
    }

    void awaitState(Event.KeeperState state) throws InterruptedException {
        awaitState(state, 1);
    }

    synchronized long count(Event.KeeperState state) {
        return states.stream().filter(s -> s == state).count();
    }

    /** Forgets the states told so far. */
    synchronized void forgetStates() {
        states.clear();
    }

    private static long end() {
        return System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(PATIENCE_MS);
    }

    private void await(long end, String otherwise) throws InterruptedException {
        long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
        if (left <= 0) {
            fail(otherwise);
        }
        wait(left);
    }
}
