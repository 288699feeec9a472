//! Proposals: requests as they enter the log, unjudged, and batches of them.
//!
//! A proposal carries all that is not deterministic (STYLE I1). A batch is one Raft entry.
//! The format begins with a version byte of [`BatchFormat`] (STYLE I9); numbers are varints
//! where small values are usual. Within a batch a run of proposals of one origin says the origin
//! once, and the ids of a connection are said once for a run of proposals that share them.

use std::sync::Arc;

use bytes::Bytes;
use jute::OpCode;

use super::identity::Identities;
use super::ids::{Origin, SessionId};
use crate::state::rules::Rules;
use crate::state::timeline::Reading;

/// A request on its way through the log.
#[derive(Clone, PartialEq, Debug)]
pub struct Proposal {
    /// The server that proposes it, and which run of it.
    pub origin: Origin,
    /// From 1, without gaps within one incarnation: the replicated cursor applies exactly the next.
    pub sequence: u64,
    /// The session it is for, [`SessionId::NONE`] for the leader's chores.
    pub session: SessionId,
    /// The client's xid, 0 if there is none.
    pub cxid: i32,
    /// Who the connection was when it sent the request.
    pub identities: Identities,
    /// What is wanted.
    pub action: Action,
}

/// What a proposal wants.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// A client's write, body as it came (decodable: checked before it was proposed).
    Client {
        /// One of the opcodes marked W in protocol.md 3.3 except the two session ones.
        op: OpCode,
        /// The request body, without its header.
        body: Bytes,
    },
    /// Opens the session `Proposal::session`.
    OpenSession {
        /// Granted timeout, milliseconds.
        timeout_ms: i32,
        /// The password that the origin chose.
        password: [u8; 16],
    },
    /// Closes the session: its client asked for it.
    CloseSession,
    /// Closes the session: the leader has not heard of it for its timeout.
    ExpireSession,
    /// Deletes a container or TTL node if it still deserves it.
    Reap {
        /// Full path.
        path: Arc<str>,
        /// A container that never had a child deserves it after so long, milliseconds: the leader's
        /// setting. 0: never.
        unused_ms: i64,
    },
}

/// Versions of the batch format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BatchFormat {
    /// 2026-11, first that is read: readings of two clocks, and how long a container may stay
    /// unused. Before it, never released, there was one clock.
    V2 = 2,
}

/// One Raft entry: proposals with the leader's stamp.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// What the leader's clocks said when it made the batch.
    pub reading: Reading,
    /// The leader's settings that judging depends on. They come from the log, not from the server
    /// that applies: a log that is applied again after a restart with other settings, or on another
    /// server, must give the same state.
    pub rules: Rules,
    /// In the order in which they are judged.
    pub proposals: Vec<Proposal>,
}

/// What a proposal wants, borrowed: what [`crate::state::BatchBuilder`] encodes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ActionRef<'a> {
    /// As [`Action::Client`].
    Client {
        /// The opcode.
        op: OpCode,
        /// The request body, without its header.
        body: &'a [u8],
    },
    /// As [`Action::OpenSession`].
    OpenSession {
        /// Granted timeout, milliseconds.
        timeout_ms: i32,
        /// The password that the origin chose.
        password: &'a [u8; 16],
    },
    /// As [`Action::CloseSession`].
    CloseSession,
    /// As [`Action::ExpireSession`].
    ExpireSession,
    /// As [`Action::Reap`].
    Reap {
        /// Full path.
        path: &'a str,
        /// As there.
        unused_ms: i64,
    },
}

impl Action {
    /// The same, borrowed.
    pub fn borrowed(&self) -> ActionRef<'_> {
        match self {
            Self::Client { op, body } => ActionRef::Client { op: *op, body },
            Self::OpenSession {
                timeout_ms,
                password,
            } => ActionRef::OpenSession {
                timeout_ms: *timeout_ms,
                password,
            },
            Self::CloseSession => ActionRef::CloseSession,
            Self::ExpireSession => ActionRef::ExpireSession,
            Self::Reap { path, unused_ms } => ActionRef::Reap {
                path,
                unused_ms: *unused_ms,
            },
        }
    }
}
