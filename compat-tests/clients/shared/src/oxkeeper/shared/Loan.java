package oxkeeper.shared;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * A server, or with MEMBERS=3 an ensemble, that the harness lends (`compat lend`): one connection to $SERVERS. It is
 * gone with `close`, or with this process.
 */
public final class Loan implements Closeable {
    private final Socket socket;
    private final BufferedReader lines;
    private final OutputStream out;

    /** Asks for one. */
    public Loan() throws IOException {
        String lender = System.getenv("SERVERS");
        int colon = lender.lastIndexOf(':');
        socket = new Socket(lender.substring(0, colon), Integer.parseInt(lender.substring(colon + 1)));
        lines = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
        out = socket.getOutputStream();
    }

    /** Whether there is a harness that lends. */
    public static boolean isOffered() {
        return System.getenv("SERVERS") != null;
    }

    /** One line, one answer: kind, members, addresses, leader, config KEY VALUE, property NAME VALUE, start, stop, kill [N]. */
    public String ask(String line) {
        try {
            out.write((line + "\n").getBytes(StandardCharsets.UTF_8));
            String answer = lines.readLine();
            if (answer == null || !answer.startsWith("ok")) {
                throw new IOException(line + ": " + answer);
            }
            return answer.substring(2).trim();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The numbers of all members, the one that leads first. */
    public List<Integer> leaderFirst() {
        int leader = Integer.parseInt(ask("leader"));
        int members = Integer.parseInt(ask("members"));
        List<Integer> all = new ArrayList<>(List.of(leader));
        for (int number = 1; number <= members; number++) {
            if (number != leader) {
                all.add(number);
            }
        }
        return all;
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}
