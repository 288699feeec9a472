package oxkeeper.compat;

import static org.junit.platform.engine.discovery.ClassNameFilter.includeClassNamePatterns;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectMethod;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectPackage;

import java.lang.reflect.Method;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.UniqueId.Segment;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs the suite, a line per test and the sum as the last line. Arguments narrow it: WatchTest, or
 * WatchTest#dataWatchFiresOnce; -Dsuite.classes is a pattern for all of them, -Dsuite.parallel says how many classes run
 * at a time. Ends with 1 when a test failed or none ran.
 */
public final class Main implements TestExecutionListener {
    private final Map<String, Long> started = new ConcurrentHashMap<>();
    private int passed;
    private int failed;
    private int skipped;

    /** Entry point. */
    public static void main(String[] args) throws ClassNotFoundException {
        LauncherDiscoveryRequestBuilder request = LauncherDiscoveryRequestBuilder.request();
        // Several classes at a time, since much of the work is waiting for timeouts.
        request.configurationParameter("junit.jupiter.execution.parallel.enabled", "true")
                .configurationParameter("junit.jupiter.execution.parallel.mode.default", "same_thread")
                .configurationParameter("junit.jupiter.execution.parallel.mode.classes.default", "concurrent")
                .configurationParameter("junit.jupiter.execution.parallel.config.strategy", "fixed")
                .configurationParameter("junit.jupiter.execution.parallel.config.fixed.parallelism",
                        System.getProperty("suite.parallel", "2"));
        String here = Main.class.getPackageName();
        for (String arg : args) {
            Class<?> type = Class.forName(here + "." + arg.replaceAll("#.*", ""));
            if (!arg.contains("#")) {
                request.selectors(selectClass(type));
            }
            for (Method method : type.getDeclaredMethods()) {
                if (arg.endsWith("#" + method.getName())) {
                    request.selectors(selectMethod(type, method));
                }
            }
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

    /** "WatchTest.dataWatchFiresOnce", with the argument in parentheses if it has one. */
    private static String name(TestIdentifier test) {
        String name = "";
        for (Segment segment : test.getUniqueIdObject().getSegments()) {
            String value = segment.getValue().replaceAll("\\(.*", "");
            name = switch (segment.getType()) {
                case "class" -> value.substring(value.lastIndexOf('.') + 1);
                case "method", "test-template" -> name + "." + value;
                case "test-template-invocation" -> name + "(" + test.getDisplayName() + ")";
                default -> name;
            };
        }
        return name;
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
