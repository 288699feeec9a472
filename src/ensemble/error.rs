//! What can go wrong between a proposal and the log, sorted by what happens next.

use std::sync::Arc;

use crate::state::{ApplyError, LogPosition, ServerId, StoreError};
use crate::storage::StorageError;

use super::peer::{ListenError, SecretError};
use super::raft::records::FormatError;

/// The ensemble did not start: print it and exit.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This server's id is none of the voters'.
    #[error("server {server} is not among the configured voters")]
    NotAVoter {
        /// This server.
        server: ServerId,
    },
    /// The log was written by an ensemble of other members.
    #[error(
        "by its data the servers {} vote, and these files list {}: is myid wrong, or dataDir? Going back \
         to one server by files is not built yet",
        listed(stored),
        listed(configured)
    )]
    OtherMembers {
        /// Voters of the membership in the log.
        stored: Vec<ServerId>,
        /// Voters of the configuration.
        configured: Vec<ServerId>,
    },
    /// A setting that openraft refuses.
    #[error("check the timing of the ensemble")]
    Timing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The secret of the peers.
    #[error("read the secret of the peers")]
    Secret(#[source] SecretError),
    /// The port of the peers.
    #[error("open the port of the peers")]
    Listen(#[source] ListenError),
    /// The system has no thread for it.
    #[error("start the thread of the ensemble")]
    Thread(#[source] std::io::Error),
    /// A new log that does not take its first entry.
    #[error("write the first membership")]
    Initialize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A store failed, or the core died.
    #[error("start the ensemble")]
    Failed(#[source] Arc<Failure>),
}

/// A proposal was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too much waits: stop reading, wait for room, submit again.
    #[error("the queue of proposals is full")]
    Full,
    /// This server stops: close the connection.
    #[error("the server is stopping")]
    Closed,
}

/// No leader confirmed it: wait for one and try again, or close the connection (I5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nobody leads, or the leader has lost its quorum.
    #[error("no leader")]
    NoLeader,
    /// This server stops.
    #[error("the server is stopping")]
    Stopped,
}

/// Why this server cannot go on: end the process with an error (I6).
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The log or a checkpoint.
    #[error("storage failed")]
    Storage(#[source] StorageError),
    /// The tree, when a membership or blank entry was applied.
    #[error("tree failed")]
    Store(#[source] StoreError),
    /// The tree, when a batch was applied.
    #[error("apply entry {index} of term {term}")]
    Apply {
        /// The entry's index.
        index: u64,
        /// The entry's term.
        term: u64,
        /// What happened.
        #[source]
        source: ApplyError,
    },
    /// A batch that no version of this program wrote.
    #[error("read the batch in entry {index} of term {term}")]
    Batch {
        /// The entry's index.
        index: u64,
        /// The entry's term.
        term: u64,
        /// What is wrong with it.
        #[source]
        source: crate::state::FormatError,
    },
    /// An entry that no version of this program wrote.
    #[error("read entry {index} of the log")]
    Entry {
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// A record of the log or the tree, other than an entry, that no version of this program wrote.
    #[error("read the {what}")]
    Record {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// A snapshot in which nothing has been applied.
    #[error("install a snapshot that holds nothing")]
    Install,
    /// This server could not get into its ensemble.
    #[error("join the ensemble")]
    Join(#[source] Box<StartError>),
    /// A leader takes back what was applied here: the disk of one of the servers is not what it was.
    #[error(
        "entry {applied} has been applied here, and the leader keeps none behind {kept:?}: this \
         server's data differs from the ensemble's; set it aside and start with an empty dataDir"
    )]
    Diverged {
        /// The last entry applied.
        applied: LogPosition,
        /// The last one that the leader keeps.
        kept: Option<u64>,
    },
    /// The log holds proposals of a later process with this server's id: all of this one's would be
    /// taken for duplicates. The next start takes a later number still.
    #[error(
        "server {server} is known as process {other}, and this is process {incarnation}: either \
         another one runs with the same myid, or this disk and this clock are older than the \
         ensemble; start again"
    )]
    Superseded {
        /// This server's id.
        server: ServerId,
        /// This process' number.
        incarnation: u64,
        /// The number in the log.
        other: u64,
    },
    /// A task that blocks on the disk was cut off.
    #[error("{doing} was cut off")]
    CutOff {
        /// Verb phrase.
        doing: &'static str,
    },
    /// openraft's core ended for a reason of its own.
    #[error("raft core ended")]
    Core(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Servers as their operator knows them.
fn listed(servers: &[ServerId]) -> String {
    let ids: Vec<String> = servers.iter().map(|server| server.0.to_string()).collect();
    ids.join(", ")
}
