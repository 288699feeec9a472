package oxkeeper.kafka;

import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;

/**
 * Runs a scenario's checks in order, a line each. They build on each other, so that after one that failed the rest is
 * only named.
 */
final class Checks {
    private static final long PATIENCE_SECONDS = 300;

    private int passed;
    private int failed;
    private int skipped;

    /** A part of the scenario; fails by throwing. */
    interface Step {
        void run() throws Exception;
    }

    void check(String name, Step step) {
        if (failed > 0) {
            skip(name, "an earlier check failed");
            return;
        }
        long start = System.nanoTime();
        try {
            step.run();
            passed++;
            System.out.printf("ok   %s (%.1f s)%n", name, (System.nanoTime() - start) / 1e9);
        } catch (Exception | AssertionError e) {
            failed++;
            System.out.printf("FAIL %s (%.1f s)%n", name, (System.nanoTime() - start) / 1e9);
            e.printStackTrace(System.out);
            Program.printTails();
        }
    }

    void skip(String name, String reason) {
        skipped++;
        System.out.println("skip " + name + ": " + reason);
    }

    /** Prints the sum and ends the suite. */
    void end() {
        System.out.printf("%d passed, %d failed%s%n", passed, failed, skipped > 0 ? ", " + skipped + " skipped" : "");
        System.exit(failed > 0 || passed == 0 ? 1 : 0);
    }

    /** Waits for what no event announces. An exception of the condition ends the wait. */
    static void until(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("never came true: " + what);
            }
            Thread.sleep(50);
        }
    }

    static void equal(String what, Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }

    static void holds(String what, boolean condition) {
        if (!condition) {
            throw new AssertionError("does not hold: " + what);
        }
    }

    /** Runs what must fail, and returns why it did: the cause of an ExecutionException, else the exception. */
    static Throwable failure(String what, Step step) {
        try {
            step.run();
        } catch (java.util.concurrent.ExecutionException e) {
            return e.getCause();
        } catch (Exception e) {
            return e;
        }
        throw new AssertionError("did not fail: " + what);
    }
}
