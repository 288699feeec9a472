package oxkeeper.compat;

import static org.junit.jupiter.api.Assertions.assertNotNull;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.Stat;

/** Collects the callbacks of asynchronous calls, of whatever kind, in the order in which they come. */
final class Answers {
    private static final long PATIENCE_S = 30;

    /** One callback: its code, the path and context it repeats, what it brought, and the Stat if it has one. */
    record Answer(Code code, String path, Object ctx, Object value, Stat stat) {
    }

    private final BlockingQueue<Answer> queue = new LinkedBlockingQueue<>();

    private void put(int rc, String path, Object ctx, Object value, Stat stat) {
        queue.add(new Answer(Code.get(rc), path, ctx, value, stat));
    }

    /** The next answer, waiting for it. */
    Answer take() throws InterruptedException {
        Answer answer = queue.poll(PATIENCE_S, TimeUnit.SECONDS);
        assertNotNull(answer, "no callback within " + PATIENCE_S + " s");
        return answer;
    }

    int size() {
        return queue.size();
    }

    AsyncCallback.VoidCallback nothing() {
        return (rc, path, ctx) -> put(rc, path, ctx, null, null);
    }

    AsyncCallback.StringCallback name() {
        return (rc, path, ctx, name) -> put(rc, path, ctx, name, null);
    }

    AsyncCallback.Create2Callback nameAndStat() {
        return (rc, path, ctx, name, stat) -> put(rc, path, ctx, name, stat);
    }

    AsyncCallback.StatCallback stat() {
        return (rc, path, ctx, stat) -> put(rc, path, ctx, null, stat);
    }

    AsyncCallback.DataCallback data() {
        return (rc, path, ctx, data, stat) -> put(rc, path, ctx, data, stat);
    }

    AsyncCallback.ACLCallback acl() {
        return (rc, path, ctx, acl, stat) -> put(rc, path, ctx, acl, stat);
    }

    AsyncCallback.ChildrenCallback children() {
        return (rc, path, ctx, children) -> put(rc, path, ctx, children, null);
    }

    AsyncCallback.Children2Callback childrenAndStat() {
        return (rc, path, ctx, children, stat) -> put(rc, path, ctx, children, stat);
    }

    AsyncCallback.AllChildrenNumberCallback number() {
        return (rc, path, ctx, number) -> put(rc, path, ctx, number, null);
    }

    AsyncCallback.EphemeralsCallback ephemerals() {
        return (rc, ctx, paths) -> put(rc, null, ctx, paths, null);
    }

    AsyncCallback.MultiCallback multi() {
        return (rc, path, ctx, results) -> put(rc, path, ctx, results, null);
    }
}
