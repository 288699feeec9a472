package oxkeeper.compat;

import static org.junit.platform.engine.discovery.ClassNameFilter.includeClassNamePatterns;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectMethod;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectPackage;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs the suite, a line per test and the sum as the last line. Arguments narrow it: WatchTest, or
 * WatchTest#dataWatchFiresOnce; -Dsuite.classes is a pattern for all of them. Ends with 1 when a test failed or none ran.
 */
public final class Main implements TestExecutionListener {
    private final Map<String, Long> started = new ConcurrentHashMap<>();
    private int passed;
    private int failed;
    private int skipped;

    /** Entry point. */
    public static void main(String[] args) {
        LauncherDiscoveryRequestBuilder request = LauncherDiscoveryRequestBuilder.request();
        // Two classes at a time, since much of the work is waiting for timeouts.
        request.configurationParameter("junit.jupiter.execution.parallel.enabled", "true")
                .configurationParameter("junit.jupiter.execution.parallel.mode.default", "same_thread")
                .configurationParameter("junit.jupiter.execution.parallel.mode.classes.default", "concurrent")
                .configurationParameter("junit.jupiter.execution.parallel.config.strategy", "fixed")
                .configurationParameter("junit.jupiter.execution.parallel.config.fixed.parallelism", "2");
        String here = Main.class.getPackageName();
        for (String arg : args) {
            String name = here + "." + arg;
            request.selectors(arg.contains("#") ? selectMethod(name) : selectClass(name));
        }
        String classes = System.getProperty("suite.classes", ".*Test");
        if (args.length == 0) {
            request.selectors(selectPackage(here)).filters(includeClassNamePatterns(classes));
        }
        Main main = new Main();
        LauncherFactory.create().execute(request.build(), main);
        System.out.printf("%d passed, %d failed, %d skipped%n", main.passed, main.failed, main.skipped);
        System.exit(main.failed > 0 || main.passed == 0 ? 1 : 0);
    }

    private static String name(TestIdentifier test) {
        String parent = test.getParentIdObject().map(id -> id.getLastSegment().getValue()).orElse("");
        String group = parent.substring(parent.lastIndexOf('.') + 1);
        return group + "." + test.getDisplayName().replace("()", "");
    }

    @Override
    public void executionStarted(TestIdentifier test) {
        started.put(test.getUniqueId(), System.nanoTime());
    }

    @Override
    public synchronized void executionSkipped(TestIdentifier test, String reason) {
        skipped++;
        System.out.println("skip " + name(test) + ": " + reason);
    }

    @Override
    public synchronized void executionFinished(TestIdentifier test, TestExecutionResult result) {
        long millis = (System.nanoTime() - started.get(test.getUniqueId())) / 1_000_000;
        switch (result.getStatus()) {
            case SUCCESSFUL -> {
                if (test.isTest()) {
                    passed++;
                    System.out.printf("ok   %s (%d ms)%n", name(test), millis);
                }
            }
            case ABORTED -> executionSkipped(test, result.getThrowable().map(Throwable::getMessage).orElse(""));
            case FAILED -> {
                failed++;
                System.out.printf("FAIL %s (%d ms)%n", name(test), millis);
                result.getThrowable().ifPresent(e -> e.printStackTrace(System.out));
            }
        }
    }
}
