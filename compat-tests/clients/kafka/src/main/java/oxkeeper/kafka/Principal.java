package oxkeeper.kafka;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.SaslAuthenticationException;

/** Somebody with a SCRAM password, and what the broker lets them do. */
record Principal(String hosts, String user, String password) {
    private interface Attempt {
        void run() throws Exception;
    }

    /** What a client, or a broker that is one, logs in with. */
    static String login(String user, String password) {
        return "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" + user + "\" password=\""
                + password + "\";";
    }

    /** The settings of a client with this identity. */
    Map<String, Object> settings() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", hosts);
        settings.put("default.api.timeout.ms", "300000");
        // A request that takes long is not sent again: the first may have done what was asked.
        settings.put("request.timeout.ms", "120000");
        settings.put("security.protocol", "SASL_PLAINTEXT");
        settings.put("sasl.mechanism", "SCRAM-SHA-256");
        settings.put("sasl.jaas.config", login(user, password));
        return settings;
    }

    /** True when it can log in. */
    boolean logsIn() throws Exception {
        return succeeds(SaslAuthenticationException.class, () -> {
            try (Admin admin = Admin.create(settings())) {
                admin.describeCluster().nodes().get();
            }
        });
    }

    /** True when it may write to this topic, and then has. */
    boolean mayWrite(String topic) throws Exception {
        return succeeds(AuthorizationException.class, () -> send(topic, 10));
    }

    /** True when a record of this size is taken, false when it is too large. */
    boolean fits(String topic, int bytes) throws Exception {
        return succeeds(RecordTooLargeException.class, () -> send(topic, bytes));
    }

    private void send(String topic, int bytes) throws Exception {
        try (Producer<byte[], byte[]> producer = Load.producer(settings())) {
            producer.send(new ProducerRecord<>(topic, new byte[1], new byte[bytes])).get();
        }
    }

    /** False for a failure of this kind; any other fails the suite. */
    private static boolean succeeds(Class<? extends ApiException> refusal, Attempt attempt) throws Exception {
        try {
            attempt.run();
            return true;
        } catch (ExecutionException e) {
            if (refusal.isInstance(e.getCause())) {
                return false;
            }
            throw e;
        }
    }
}
