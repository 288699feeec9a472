//! Golden scripts: what clients do and see, one behaviour per file, on any back end.
//!
//! The scripts lie in `compat-tests/scripts/golden`. Apache ZooKeeper 3.9.5 writes them
//! (`UPDATE=1 SERVER=zookeeper compat golden`); our server and the state alone must print the same.
//! A prefix names the client. What it is answered stands behind its command, and then what anybody
//! else saw, with the name of whoever saw it in brackets.
//!
//! ```text
//! config KEY=yes                  before all else: enforce_quota skip_acl
//! c: open [TIMEOUT]               a connection and a new session
//! c: drop | resume                the connection without its session; the session taken up again
//! c: close | expire               the session ends; by the client, by time
//! reap PATH                       time passes until this container or TTL node is gone
//! c: auth SCHEME AUTH
//! c: create PATH [DATA] [op=create|create2|container|ttl] [flags=N] [ttl=MS] [acl=SCHEME:ID:PERMS;..]
//! c: delete PATH [VERSION] | set PATH DATA [VERSION] | setacl PATH ACL [VERSION] | check PATH VERSION
//! c: multi "OP" "OP"...           DATA `null` is null, so is PATH
//! c: stat | get | ls | ls2 PATH [watch]
//! c: getacl | count | sync PATH; ephemerals PREFIX; whoami; multiread "OP"...
//! c: addwatch PATH persistent|recursive
//! c: checkwatch | removewatch PATH children|data|any|persistent|recursive
//! c: setwatches [since=start|now] [data=P,P] [exist=P,P] [child=P,P] [persistent=P,P] [recursive=P,P]
//! c: undecodable OP               an operation whose body is cut off
//! ```
//!
//! zxids print as `Z1`, `Z2`... in order of appearance: of successful changes, events and stats. A
//! time is checked against its zxid instead of printed. The ephemerals of a session go in no stated
//! order, so the events of its end are sorted.
//!
//! The scripts of `src/state/scripts`, on what no client can ask for, ask and print by the same words:
//! [`change`], [`read`] and [`print`](mod@print).

mod ask;
pub mod print;
mod script;

pub use ask::{Settings, Words, acls, change, read};
pub use script::{Script, play};

use anyhow::Result;
use bytes::Bytes;
use jute::{ErrorCode, OpCode, WatcherEvent};

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A watch fired.
    Event {
        /// Of the header.
        zxid: i64,
        /// What happened.
        event: WatcherEvent,
    },
    /// The answer to its request.
    Answer {
        /// Of the header.
        zxid: i64,
        /// OK or why not.
        err: ErrorCode,
        /// The record; empty for an error.
        body: Bytes,
    },
}

/// What scripts run on. Clients are known by their names.
pub trait Backend {
    /// Begins from nothing.
    ///
    /// # Errors
    /// The server does not start.
    fn start(&mut self, settings: &Settings) -> Result<()>;

    /// Connects a client and opens a session; its number.
    ///
    /// # Errors
    /// The server does not answer.
    fn open(&mut self, client: &str, timeout_ms: i32) -> Result<i64>;

    /// Takes the client's last session up again on a new connection; false: it is no longer there.
    ///
    /// # Errors
    /// The server does not answer.
    fn resume(&mut self, client: &str) -> Result<bool>;

    /// Closes the connection only.
    ///
    /// # Errors
    /// The server does not answer.
    fn drop_connection(&mut self, client: &str) -> Result<()>;

    /// Drops the connection and lets the session expire.
    ///
    /// # Errors
    /// It does not expire.
    fn expire(&mut self, client: &str) -> Result<()>;

    /// Lets time pass until this znode is reaped.
    ///
    /// # Errors
    /// It is not reaped.
    fn reap(&mut self, path: &str) -> Result<()>;

    /// Sends a request; what the client saw up to and including the answer.
    ///
    /// # Errors
    /// The server does not answer.
    fn ask(&mut self, client: &str, op: OpCode, body: Bytes) -> Result<Vec<Seen>>;

    /// What the client, which is connected, has seen since.
    ///
    /// # Errors
    /// The server does not answer.
    fn settle(&mut self, client: &str) -> Result<Vec<Seen>>;
}
