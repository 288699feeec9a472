package oxkeeper.compat;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A wire that can break: forwards bytes between clients and one server, and on command cuts every connection, refuses
 * new ones, or holds all bytes back (in both directions, connections staying open) until resumed.
 */
final class TcpProxy implements Closeable {
    private final String host;
    private final int port;
    private final ServerSocket listener;
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
    private boolean refusing;
    private boolean stalled;

    TcpProxy(String target) throws IOException {
        int colon = target.lastIndexOf(':');
        this.host = target.substring(0, colon);
        this.port = Integer.parseInt(target.substring(colon + 1));
        this.listener = new ServerSocket(0, 64, InetAddress.getByName("127.0.0.1"));
        daemon(this::accept);
    }

    /** The connect string of this side of the wire. */
    String hosts() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Closes every connection there is; new ones are let through. */
    void cut() {
        sockets.forEach(TcpProxy::quietly);
        sockets.clear();
    }

    /** From now on new connections are closed at once; the ones there are go on. */
    synchronized void refuse() {
        refusing = true;
    }

    /** From now on bytes are kept back. */
    synchronized void stall() {
        stalled = true;
    }

    /** Bytes and connections go through again; what was kept back leaves first. */
    synchronized void resume() {
        refusing = false;
        stalled = false;
        notifyAll();
    }

    @Override
    public void close() {
        resume();
        quietly(listener);
        cut();
    }

    private void accept() {
        while (!listener.isClosed()) {
            try {
                Socket client = listener.accept();
                if (isRefusing()) {
                    client.close();
                    continue;
                }
                Socket server;
                try {
                    server = new Socket(host, port);
                } catch (IOException e) {
                    // Without a server the client must see its connection end, not wait for an answer.
                    client.close();
                    continue;
                }
                client.setTcpNoDelay(true);
                server.setTcpNoDelay(true);
                sockets.add(client);
                sockets.add(server);
                daemon(() -> pump(client, server));
                daemon(() -> pump(server, client));
            } catch (IOException e) {
                // The listener closed, or the client went away at once.
            }
        }
    }

    private synchronized boolean isRefusing() {
        return refusing;
    }

    private synchronized void awaitFlow() throws InterruptedException {
        while (stalled) {
            wait();
        }
    }

    private void pump(Socket from, Socket to) {
        byte[] buffer = new byte[65536];
        try {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                awaitFlow();
                out.write(buffer, 0, n);
            }
        } catch (IOException | InterruptedException e) {
            // Either end broke: both are closed below.
        }
        quietly(from);
        quietly(to);
        sockets.remove(from);
        sockets.remove(to);
    }

    private static void daemon(Runnable work) {
        Thread thread = new Thread(work, "tcp-proxy");
        thread.setDaemon(true);
        thread.start();
    }

    private static void quietly(Closeable what) {
        try {
            what.close();
        } catch (IOException e) {
            // It is closed in any case.
        }
    }
}
