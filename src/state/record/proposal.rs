//! Proposals: requests as they enter the log, unjudged, and batches of them.
//!
//! A proposal carries all that is not deterministic (STYLE I1). A batch is one Raft entry.
//! The format begins with a version byte of [`BatchFormat`] (STYLE I9); numbers are varints
//! where small values are usual. Within a batch a run of proposals of one origin says the origin
//! once, and the ids of a connection are said once for a run of proposals that share them.

use std::sync::Arc;

use bytes::Bytes;
use jute::{ErrorCode, OpCode};

use super::identity::Identities;
use super::ids::{ClusterId, Origin, SessionId, SessionOwner, Zxid};
use crate::state::lineup::Members;
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
        /// The connection that it came by, which must own the session.
        connection: u64,
        /// The request body, without its header.
        body: Bytes,
    },
    /// Opens the session `Proposal::session`.
    OpenSession {
        /// The connection that asked, which owns the session then.
        connection: u64,
        /// Granted timeout, milliseconds.
        timeout_ms: i32,
        /// The password that the origin chose.
        password: [u8; 16],
    },
    /// Gives the session to another connection, of this server or of another one, if its client knows
    /// the password. Takes no zxid and changes nothing but the session's record.
    Attach {
        /// The connection that asked, which owns the session then.
        connection: u64,
        /// Granted timeout, milliseconds.
        timeout_ms: i32,
        /// What the client showed.
        password: [u8; 16],
    },
    /// Closes the session: its client asked for it.
    CloseSession,
    /// Closes the session: the leader has not heard of it for its timeout. Void in another term than
    /// its own, and if the session has been attached since.
    ExpireSession {
        /// The term in which it was decided.
        term: u64,
        /// Who owned the session then.
        owner: SessionOwner,
    },
    /// Deletes a container or TTL node if it still deserves it. Void in another term than its own.
    Reap {
        /// The term in which it was decided.
        term: u64,
        /// Full path.
        path: Arc<str>,
        /// A container that never had a child deserves it after so long, milliseconds: the leader's
        /// setting. 0: never.
        unused_ms: i64,
    },
    /// Names the ensemble, if it has no name. Is no txn, and has no turn among the proposals of its
    /// origin: it may come at any time and any number of times.
    Found {
        /// The name.
        cluster: ClusterId,
    },
    /// Says who is a member, where nobody has asked for it: what the leader's files say. Void in another
    /// term than its own, and while a change is under way.
    LineUp {
        /// The term in which it was decided.
        term: u64,
        /// Who they are.
        members: Members,
    },
    /// Ends the change of the members that is under way. Void in another term than its own, and if that
    /// change has ended.
    Settle {
        /// The term in which it was decided.
        term: u64,
        /// The txn that began it.
        change: Zxid,
        /// Why it could not be made; OK: it has been.
        refusal: ErrorCode,
    },
}

/// Versions of the batch format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BatchFormat {
    /// 2026-12, first that is read: sessions have owners, and what the leader decides has a term.
    /// Before it, never released, there was neither (2), and one clock (1).
    V3 = 3,
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
        /// As there.
        connection: u64,
        /// The request body, without its header.
        body: &'a [u8],
    },
    /// As [`Action::OpenSession`].
    OpenSession {
        /// As there.
        connection: u64,
        /// Granted timeout, milliseconds.
        timeout_ms: i32,
        /// The password that the origin chose.
        password: &'a [u8; 16],
    },
    /// As [`Action::Attach`].
    Attach {
        /// As there.
        connection: u64,
        /// Granted timeout, milliseconds.
        timeout_ms: i32,
        /// What the client showed.
        password: &'a [u8; 16],
    },
    /// As [`Action::CloseSession`].
    CloseSession,
    /// As [`Action::ExpireSession`].
    ExpireSession {
        /// As there.
        term: u64,
        /// As there.
        owner: SessionOwner,
    },
    /// As [`Action::Reap`].
    Reap {
        /// As there.
        term: u64,
        /// Full path.
        path: &'a str,
        /// As there.
        unused_ms: i64,
    },
    /// As [`Action::Found`].
    Found {
        /// As there.
        cluster: ClusterId,
    },
    /// As [`Action::LineUp`].
    LineUp {
        /// As there.
        term: u64,
        /// As there.
        members: &'a Members,
    },
    /// As [`Action::Settle`].
    Settle {
        /// As there.
        term: u64,
        /// As there.
        change: Zxid,
        /// As there.
        refusal: ErrorCode,
    },
}

impl Action {
    /// The connection in whose name this is wanted, if it is a client's.
    pub(in crate::state) fn connection(&self) -> Option<u64> {
        match self {
            Self::Client { connection, .. }
            | Self::OpenSession { connection, .. }
            | Self::Attach { connection, .. } => Some(*connection),
            Self::CloseSession
            | Self::ExpireSession { .. }
            | Self::Reap { .. }
            | Self::Found { .. }
            | Self::LineUp { .. }
            | Self::Settle { .. } => None,
        }
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> ActionRef<'_> {
        match self {
            Self::Client {
                op,
                connection,
                body,
            } => ActionRef::Client {
                op: *op,
                connection: *connection,
                body,
            },
            Self::OpenSession {
                connection,
                timeout_ms,
                password,
            } => ActionRef::OpenSession {
                connection: *connection,
                timeout_ms: *timeout_ms,
                password,
            },
            Self::Attach {
                connection,
                timeout_ms,
                password,
            } => ActionRef::Attach {
                connection: *connection,
                timeout_ms: *timeout_ms,
                password,
            },
            Self::CloseSession => ActionRef::CloseSession,
            Self::ExpireSession { term, owner } => ActionRef::ExpireSession {
                term: *term,
                owner: *owner,
            },
            Self::Reap {
                term,
                path,
                unused_ms,
            } => ActionRef::Reap {
                term: *term,
                path,
                unused_ms: *unused_ms,
            },
            Self::Found { cluster } => ActionRef::Found { cluster: *cluster },
            Self::LineUp { term, members } => ActionRef::LineUp {
                term: *term,
                members,
            },
            Self::Settle {
                term,
                change,
                refusal,
            } => ActionRef::Settle {
                term: *term,
                change: *change,
                refusal: *refusal,
            },
        }
    }
}

impl ActionRef<'_> {
    /// The part of a proposal's size that is not small.
    pub(crate) fn body_bytes(self) -> usize {
        match self {
            Self::Client { body, .. } => body.len(),
            Self::Reap { path, .. } => path.len(),
            Self::OpenSession { .. }
            | Self::Attach { .. }
            | Self::CloseSession
            | Self::ExpireSession { .. }
            | Self::Found { .. }
            | Self::LineUp { .. }
            | Self::Settle { .. } => 0,
        }
    }
}
