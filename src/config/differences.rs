//! Where ZooKeeper starts with a value and this server does not, or the other way round, and why.
//!
//! The suite `zoocfg` compares every key with every kind of value, and takes no difference that is
//! not listed here; nor a line here that no case shows. So this table is all there is to know.

/// One line of the manual.
#[derive(Debug)]
pub(super) struct Difference {
    /// Keys, between commas; a `*` at the end stands for more.
    pub(super) keys: &'static str,
    /// Values, between commas, as they are; or `any but empty`; none: any for which ZooKeeper does so.
    pub(super) values: &'static str,
    pub(super) zookeeper: Outcome,
    pub(super) here: Outcome,
    pub(super) why: &'static str,
}

/// What becomes of a start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Starts,
    Ends,
    /// The process runs, and no client is served.
    Mute,
}

impl Outcome {
    pub(super) fn words(self) -> &'static str {
        match self {
            Outcome::Starts => "starts",
            Outcome::Ends => "ends",
            Outcome::Mute => "serves nobody",
        }
    }
}

const fn difference(
    keys: &'static str,
    values: &'static str,
    (zookeeper, here): (Outcome, Outcome),
    why: &'static str,
) -> Difference {
    Difference {
        keys,
        values,
        zookeeper,
        here,
        why,
    }
}

/// ZooKeeper does not start, and nothing here is wrong.
const MILDER: (Outcome, Outcome) = (Outcome::Ends, Outcome::Starts);
/// To go on without it would change what is safe or who may do what.
const STRICTER: (Outcome, Outcome) = (Outcome::Starts, Outcome::Ends);
/// ZooKeeper runs without clients.
const CURED: (Outcome, Outcome) = (Outcome::Mute, Outcome::Starts);
/// The same, and there is nothing that could be done for them.
const SAID: (Outcome, Outcome) = (Outcome::Mute, Outcome::Ends);

#[rustfmt::skip] // A table: one row, one line.
pub(super) static DIFFERENCES: &[Difference] = &[
    difference("dataDir, dataLogDir", "0, 5", MILDER, "ZooKeeper looks at the first two letters of a relative path, also where there is one"),
    difference("secureClientPort", "0, 5", MILDER, "TLS is not built yet, and a warning says that nothing listens there; ZooKeeper's own transport needs serverCnxnFactory to be changed"),
    difference("tickTime", "2147483647", MILDER, "20 ticks are too many for ZooKeeper's arithmetic; here the bound of a session is the longest that there is"),
    difference("weight.1", "", STRICTER, "hierarchical quorums do not exist here, and ignoring them would change which failures stop writes"),
    difference("quorum.auth.enableSasl", "true", STRICTER, "SASL between servers does not exist here: without it any peer would be let in"),
    difference("oraclePath", "any but empty", STRICTER, "a tie-break file breaks the safety of a majority"),
    difference("snapSizeLimitInKb", "0", MILDER, "0 turns it off, as the manual says; ZooKeeper divides by it and stops"),
    difference("testingonly.initialZxid", "any but empty", STRICTER, "it is for ZooKeeper's own tests and changes zxids"),
    difference("db.autocreate", "", SAID, "a server without data and without the file `initialize` says why it does not begin; ZooKeeper runs and refuses all clients"),
    difference("jute.maxbuffer", "", SAID, "no request would fit: at least 64 bytes"),
    difference("connection_throttle_tokens", "-1", SAID, "no client could open a session"),
    difference("connection_throttle_fill_time", "0", CURED, "it counts as 1; ZooKeeper divides by it whenever a client comes"),
    difference("flushDelay, maxBatchSize, intBufferStartingSizeBytes, nio.numSelectorThreads, nio.directBufferBytes, pathStats.*", "", MILDER, "these threads, buffers and statistics do not exist here, so no value of them can be wrong or take too much"),
    difference("flushDelay, maxBatchSize, intBufferStartingSizeBytes, nio.numSelectorThreads, nio.directBufferBytes, pathStats.*", "", CURED, "the same, where ZooKeeper runs and serves nobody"),
    difference("metricsProvider.maxQueueSize", "0, -1", MILDER, "there is no such queue here"),
    difference("admin.serverAddress, admin.serverPort, admin.commandURL", "", MILDER, "the AdminServer does not exist here, which a warning says"),
    difference("audit.impl.class", "", SAID, "classes of a JVM cannot be loaded, and the audit log would be missing"),
    difference("ssl.authProvider", "", STRICTER, "classes of a JVM cannot be loaded, and who holds which certificate would not be judged as was asked"),
    difference("server.principal, server.realm", "", MILDER, "of clients, found in shared files; ZooKeeper takes them for members"),
    difference("serverCnxnFactory, watchManagerName", "", MILDER, "classes of a JVM, which have no meaning here"),
];
