import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Asks the genuine server what it makes of a setting, thousands of times: fills in the cells of a table whose rows
 * are keys and whose columns are values.
 *
 * <p>A JVM for each case would take hours. So each case gets ZooKeeper's classes anew, by a class loader of its own
 * (what a setting does is often decided while a class is initialised), and runs what QuorumPeerMain runs. Whatever
 * that cannot tell, an Error that nobody catches or a server that is silent, is asked of a JVM of its own.
 *
 * <p>A verdict: `serves` (a session is opened and a znode created), the code with which it exits, or `mute`: it runs,
 * and no client is served.
 *
 * <p>Usage: Verdicts TABLE JARS SCRATCH [part of a key]; the current directory must be SCRATCH, and is emptied.
 */
public final class Verdicts {
    private static final long START_MS_MAX = 3_000;
    private static final long PROCESS_MS_MAX = 12_000;
    private static final String SERVES = "serves";
    private static final String ASK_A_PROCESS = "?";

    private final List<File> jars;
    private final Path scratch;
    private final URL[] own;
    private final ClassLoader shared;
    private final Properties properties = new Properties();
    private int cases;

    private Verdicts(Path jarDir, Path scratch) throws IOException {
        this.scratch = scratch;
        try (Stream<Path> found = Files.list(jarDir)) {
            jars = found.map(Path::toFile).filter(f -> f.getName().endsWith(".jar")).sorted().collect(Collectors.toList());
        }
        List<URL> ours = new ArrayList<>();
        List<URL> others = new ArrayList<>();
        for (File jar : jars) {
            boolean fresh = jar.getName().startsWith("zookeeper") || jar.getName().startsWith("simpleclient");
            (fresh ? ours : others).add(jar.toURI().toURL());
        }
        Path logging = Files.createTempFile("verdicts", ".xml");
        Files.writeString(logging, "<configuration/>");
        logging.toFile().deleteOnExit();
        System.setProperty("logback.configurationFile", logging.toString());
        own = ours.toArray(new URL[0]);
        shared = new URLClassLoader(others.toArray(new URL[0]), ClassLoader.getPlatformClassLoader());
        // What is asked is whether it starts, not whether it survives a loss of power.
        System.setProperty("zookeeper.forceSync", "no");
        properties.putAll(System.getProperties());
    }

    public static void main(String[] args) throws Exception {
        Path table = Path.of(args[0]).toAbsolutePath();
        Path scratch = Path.of("").toAbsolutePath();
        if (!scratch.equals(Path.of(args[2]).toAbsolutePath())) {
            throw new IllegalArgumentException("run me in " + args[2] + ", which I empty");
        }
        String only = args.length > 3 ? args[3] : "";
        Verdicts verdicts = new Verdicts(Path.of(args[1]), scratch);
        List<String> lines = new ArrayList<>(Files.readAllLines(table));
        List<String> values = null;
        for (int i = 0; i < lines.size(); i++) {
            String line = lines.get(i);
            if (line.startsWith("#") || line.isBlank()) {
                continue;
            }
            String[] cells = line.split("\t", -1);
            if (values == null) {
                values = Arrays.stream(cells).skip(3).map(Verdicts::unquoted).collect(Collectors.toList());
                continue;
            }
            if (!cells[0].contains(only)) {
                continue;
            }
            StringBuilder row = new StringBuilder(cells[0] + "\t" + cells[1] + "\t" + cells[2]);
            for (String value : values) {
                row.append('\t').append(verdicts.judge(cells[0], cells[1].equals("-D"), cells[2], value));
            }
            System.out.println(row);
            lines.set(i, row.toString());
            Files.write(table, lines);
        }
        System.exit(0);
    }

    private static String unquoted(String cell) {
        return cell.substring(1, cell.length() - 1);
    }

    private String judge(String key, boolean property, String with, String value) throws Exception {
        // A server that takes all memory takes ours, too.
        boolean greedy = value.equals("2147483647") && key.matches("(?i).*(threads|buffer|size|capacity).*");
        String verdict = greedy ? ASK_A_PROCESS : judgeHere(key, property, with, value);
        return verdict.equals(ASK_A_PROCESS) ? judgeByProcess(key, property, with, value) : verdict;
    }

    /** zoo.cfg of a case. A key of the row or of its context replaces the line that every case has. */
    private List<String> lines(String key, boolean property, String with, String value) throws IOException {
        List<String> lines = new ArrayList<>(List.of(
            "dataDir=" + scratch.resolve("data" + ++cases), "clientPort=" + freePort(), "clientPortAddress=127.0.0.1",
            "admin.enableServer=false"));
        List<String> more = new ArrayList<>();
        if (!with.equals("-")) {
            more.addAll(Arrays.asList(with.replace("{port}", "" + freePort()).split("; ")));
        }
        if (!property) {
            more.add(key + "=" + value);
        }
        for (String line : more) {
            String name = line.substring(0, line.indexOf('='));
            lines.removeIf(other -> other.startsWith(name + "="));
            lines.add(line);
        }
        return lines;
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private String judgeHere(String key, boolean property, String with, String value) throws Exception {
        empty();
        Path config = scratch.resolve("zoo.cfg");
        Files.write(config, lines(key, property, with, value));
        Properties fresh = new Properties();
        fresh.putAll(properties);
        System.setProperties(fresh);
        if (property) {
            System.setProperty(key, value);
        }
        // Not closed: the server's threads may still need a class while they end.
        return new Run(new URLClassLoader(own, shared), config).judge();
    }

    private void empty() throws IOException {
        try (Stream<Path> found = Files.walk(scratch)) {
            for (Path path : found.sorted(Comparator.reverseOrder()).collect(Collectors.toList())) {
                if (!path.equals(scratch)) {
                    path.toFile().delete();
                }
            }
        }
    }

    private String judgeByProcess(String key, boolean property, String with, String value) throws Exception {
        empty();
        Path config = scratch.resolve("zoo.cfg");
        List<String> lines = lines(key, property, with, value);
        Files.write(config, lines);
        List<String> command = new ArrayList<>(List.of(
            "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-XX:OnOutOfMemoryError=kill -9 %p",
            "-Dzookeeper.jmx.log4j.disable=true"));
        if (property) {
            command.add("-D" + key + "=" + value);
        }
        command.addAll(List.of(
            "-Dlogback.configurationFile=" + properties.getProperty("logback.configurationFile"), "-cp",
            jars.stream().map(File::getPath).collect(Collectors.joining(":")),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", config.toString()));
        Process process = new ProcessBuilder(command).directory(scratch.toFile())
            .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        try {
            int port = port(lines);
            long deadline = System.currentTimeMillis() + PROCESS_MS_MAX;
            while (System.currentTimeMillis() < deadline) {
                if (port > 0 && serves(port, 1_000) && !process.waitFor(300, TimeUnit.MILLISECONDS)) {
                    return SERVES;
                }
                if (process.waitFor(100, TimeUnit.MILLISECONDS)) {
                    return "" + process.exitValue();
                }
            }
            return "mute";
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    private static int port(List<String> lines) {
        for (String line : lines) {
            if (line.startsWith("clientPort=")) {
                try {
                    return Integer.parseInt(line.substring("clientPort=".length()).trim());
                } catch (NumberFormatException e) {
                    return 0;
                }
            }
        }
        return 0;
    }

    /** Opens a session and creates a znode. One who asks while the server begins may get no answer at all. */
    private static boolean serves(int port, int patienceMs) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 1_000);
            socket.setSoTimeout(patienceMs);
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            DataInputStream in = new DataInputStream(socket.getInputStream());
            ByteBuffer hello = ByteBuffer.allocate(49);
            hello.putInt(45).putInt(0).putLong(0).putInt(10_000).putLong(0).putInt(16).put(new byte[16]).put((byte) 0);
            out.write(hello.array());
            byte[] welcome = new byte[in.readInt()];
            in.readFully(welcome);
            if (ByteBuffer.wrap(welcome).getInt(4) <= 0) {
                return false;
            }
            byte[] path = "/a".getBytes(StandardCharsets.UTF_8);
            byte[] world = "world".getBytes(StandardCharsets.UTF_8);
            byte[] anyone = "anyone".getBytes(StandardCharsets.UTF_8);
            ByteBuffer create = ByteBuffer.allocate(4 + 8 + 4 + path.length + 4 + 4 + 4 + 4 + world.length + 4 + anyone.length + 4);
            create.putInt(create.capacity() - 4).putInt(1).putInt(1).putInt(path.length).put(path).putInt(-1);
            create.putInt(1).putInt(31).putInt(world.length).put(world).putInt(anyone.length).put(anyone).putInt(1);
            out.write(create.array());
            byte[] reply = new byte[in.readInt()];
            in.readFully(reply);
            return ByteBuffer.wrap(reply).getInt(0) == 1;
        } catch (IOException | NegativeArraySizeException e) {
            return false;
        }
    }

    /** One server in this JVM. */
    private static final class Run {
        private final ClassLoader loader;
        private final Path config;
        private final AtomicReference<String> ended = new AtomicReference<>();
        private volatile Object server;
        private volatile Object cleaner;

        Run(ClassLoader loader, Path config) {
            this.loader = loader;
            this.config = config;
        }

        String judge() throws Exception {
            Thread thread = new Thread(this::run, "case");
            thread.setContextClassLoader(loader);
            thread.setDaemon(true);
            thread.start();
            try {
                return verdict();
            } finally {
                stop(thread);
            }
        }

        private String verdict() throws Exception {
            long deadline = System.currentTimeMillis() + START_MS_MAX;
            while (System.currentTimeMillis() < deadline) {
                if (ended.get() != null) {
                    return ended.get();
                }
                int port = listens();
                if (port > 0 && serves(port, 150)) {
                    Thread.sleep(5);
                    return ended.get() == null ? SERVES : ASK_A_PROCESS;
                }
                Thread.sleep(10);
            }
            return ASK_A_PROCESS;
        }

        private int listens() {
            Object known = server;
            if (known == null) {
                return 0;
            }
            try {
                return (int) call(known, "getClientPort");
            } catch (ReflectiveOperationException e) {
                return 0;
            }
        }

        private static Object call(Object target, String name, Object... args) throws ReflectiveOperationException {
            for (Class<?> type = target.getClass(); type != null; type = type.getSuperclass()) {
                for (Method method : type.getDeclaredMethods()) {
                    if (method.getName().equals(name) && method.getParameterCount() == args.length) {
                        method.setAccessible(true);
                        return method.invoke(target, args);
                    }
                }
            }
            throw new NoSuchMethodException(name);
        }

        /** What QuorumPeerMain.main does, with its exit codes. */
        private void run() {
            String path = config.toString();
            try {
                Consumer<Integer> exit = code -> ended.compareAndSet(null, "" + code);
                loader.loadClass("org.apache.zookeeper.util.ServiceUtils")
                    .getMethod("setSystemExitProcedure", Consumer.class).invoke(null, exit);
                Object parsed = create("org.apache.zookeeper.server.quorum.QuorumPeerConfig");
                call(parsed, "parse", path);
                cleaner = loader.loadClass("org.apache.zookeeper.server.DatadirCleanupManager")
                    .getConstructor(File.class, File.class, int.class, int.class)
                    .newInstance(call(parsed, "getDataDir"), call(parsed, "getDataLogDir"),
                        call(parsed, "getSnapRetainCount"), call(parsed, "getPurgeInterval"));
                call(cleaner, "start");
                if ((boolean) call(parsed, "isDistributed")) {
                    ended.compareAndSet(null, "ensemble");
                    return;
                }
                Object main = create("org.apache.zookeeper.server.ZooKeeperServerMain");
                server = main;
                call(main, "initializeAndRun", (Object) new String[] {path});
                ended.compareAndSet(null, "0");
            } catch (InvocationTargetException e) {
                ended.compareAndSet(null, code(e.getCause()));
            } catch (ReflectiveOperationException | RuntimeException | Error e) {
                ended.compareAndSet(null, ASK_A_PROCESS);
            }
        }

        private Object create(String name) throws ReflectiveOperationException {
            return loader.loadClass(name).getConstructor().newInstance();
        }

        private static String code(Throwable error) {
            if (!(error instanceof Exception)) {
                return ASK_A_PROCESS;
            }
            for (Class<?> type = error.getClass(); type != null; type = type.getSuperclass()) {
                switch (type.getSimpleName()) {
                    case "IllegalArgumentException":
                    case "ConfigException":
                        return "2";
                    case "DatadirException":
                        return "3";
                    case "AdminServerException":
                        return "4";
                    default:
                }
            }
            return "1";
        }

        /** Begins to. */
        private void stop(Thread thread) throws InterruptedException {
            Thread stopper = new Thread(() -> {
                try {
                    if (cleaner != null) {
                        call(cleaner, "shutdown");
                    }
                    if (server != null) {
                        call(server, "close");
                        call(server, "shutdown");
                    }
                } catch (ReflectiveOperationException | RuntimeException | Error e) {
                    // It was never whole; what is left of it holds a port that nobody will ask for.
                } finally {
                    thread.interrupt();
                }
            });
            stopper.setDaemon(true);
            stopper.start();
            // It may take its time: the next case has other classes, another port, another directory.
            stopper.join(20);
        }
    }
}
