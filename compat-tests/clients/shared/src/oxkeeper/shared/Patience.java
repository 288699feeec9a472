package oxkeeper.shared;

import java.time.Duration;
import java.util.concurrent.Callable;
import org.apache.zookeeper.KeeperException;

/** Calls that outlast a lost connection. The suites in Java build this each with their own client. */
public final class Patience {
    private static final long PAUSE_MS = 20;

    private Patience() {
    }

    /**
     * Calls again while the connection is away: only for what may be done twice.
     *
     * @param longest after which the loss is thrown
     */
    public static <T> T patiently(Duration longest, Callable<T> call) throws Exception {
        long end = System.nanoTime() + longest.toNanos();
        while (true) {
            try {
                return call.call();
            } catch (KeeperException.ConnectionLossException e) {
                if (System.nanoTime() - end > 0) {
                    throw e;
                }
                Thread.sleep(PAUSE_MS);
            }
        }
    }
}
