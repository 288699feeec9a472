//! Reads behind a write of their own client: left to delivery, which answers them inside apply.
//!
//! The client's next writes are proposed meanwhile, so a stream of reads and writes needs one
//! round of the log, and not one for each write. Apply holds the state lock then, under which the
//! disk is not read (DESIGN 3.3) and much cannot be said. So only such a read is left to it whose
//! answer is in memory when it comes, and small; any other one waits at the head of its client's
//! queue until the writes before it have been answered, and everything behind it waits too.
//!
//! What was in memory can have been evicted until its turn comes. Then, once in a blue moon, it is
//! read under the lock (`reads_from_disk_in_apply_total`): letting go of the lock would show the
//! read what its client wrote after it.
//!
//! zk: CommitProcessor: a session's reads behind its write are processed when that write has been,
//! and before its next one.

use bytes::BytesMut;
use jute::{ErrorCode, MultiReadOp, OpCode, ReplyHeader, Request, Text, reply};
use tokio::time::Instant;

use super::deliver::Deliver;
use super::{replies, watches};
use crate::metrics;
use crate::session::{Connection, End};
use crate::state::{Identity, Peek, ReadStop, SessionId, State};

/// Requests of one connection that may wait for delivery.
pub(super) const WAITING_MAX: usize = 64;
/// Longest body of such a request, bytes.
pub(super) const WAITING_BYTES_MAX: usize = 4 * 1024;
/// Largest reply that delivery is to make to one of them, bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// Largest reply that delivery is to make to one request of this connection, bytes, as far as can be
/// told before: all that may wait fill half of its outbox at most.
pub(super) fn reply_bytes_max(connection: &Connection) -> usize {
    REPLY_BYTES_MAX.min(connection.outbox.bytes_max() / 2 / WAITING_MAX)
}

/// A request that delivery answers behind a write of the same connection.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) xid: i32,
    pub(super) op: OpCode,
    pub(super) request: Request,
    /// When it came.
    pub(super) since: Instant,
}

/// About the size of the reply if this request were answered now; `None` if memory cannot tell,
/// or if the request is none for delivery.
///
/// A listing must be known by its names: those of a parent without children are not kept when it
/// gets some, and would then have to be looked for on the disk.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is waits at the head"
)]
pub(super) fn reply_bytes(state: &State, request: &Request) -> Option<usize> {
    match request {
        Request::Exists(read) => data_bytes(state, &read.path).map(|_| 0),
        Request::GetData(read) => data_bytes(state, &read.path),
        Request::GetAcl(read) => acl_bytes(state, &read.path),
        Request::GetChildren(read) => names_bytes(state, &read.path),
        Request::GetChildren2(read) => names_bytes(state, &read.path),
        Request::MultiRead(multi) => multi.ops.iter().try_fold(0_usize, |sum, op| {
            let bytes = match op {
                MultiReadOp::GetData(read) => data_bytes(state, &read.path)?,
                MultiReadOp::GetChildren(read) => names_bytes(state, &read.path)?,
            };
            Some(sum + ITEM_BYTES + bytes)
        }),
        Request::WhoAmI | Request::Ping => Some(0),
        _ => None,
    }
}

/// An item's header and its Stat.
const ITEM_BYTES: usize = 96;
/// Children beyond which a listing is not looked at.
const NAMES_MAX: u64 = 256;
/// An entry of an ACL, as most are.
const ACL_BYTES: usize = 64;

fn data_bytes(state: &State, path: &Option<Text>) -> Option<usize> {
    let Some(path) = path else { return Some(0) };
    match state.peek_znode(path) {
        Peek::Known(node) => Some(node.map_or(0, |node| node.data_bytes())),
        Peek::NotInMemory => None,
    }
}

fn acl_bytes(state: &State, path: &Option<Text>) -> Option<usize> {
    let Some(path) = path else { return Some(0) };
    match state.peek_znode(path) {
        Peek::Known(node) => Some(node.map_or(0, |node| state.acl(node.acl).len() * ACL_BYTES)),
        Peek::NotInMemory => None,
    }
}

fn names_bytes(state: &State, path: &Option<Text>) -> Option<usize> {
    let Some(path) = path else { return Some(0) };
    match state.peek_znode(path) {
        Peek::Known(Some(node)) if (1..=NAMES_MAX).contains(&u64::from(node.children)) => {}
        Peek::Known(_) | Peek::NotInMemory => return None,
    }
    let mut bytes = 0;
    match state.peek_children(path, &mut |name| bytes += 4 + name.len()) {
        Peek::Known(()) => Some(bytes),
        Peek::NotInMemory => None,
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) session: SessionId,
    pub(super) identities: &'a [Identity],
}

/// Appends the whole reply to a read; returns its code.
///
/// # Errors
/// Nothing was appended: memory does not know, or only a scan can tell.
pub(super) fn put_read(
    out: &mut BytesMut,
    state: &State,
    asker: Asker<'_>,
    xid: i32,
    request: &Request,
) -> Result<ErrorCode, ReadStop> {
    let header = |err| ReplyHeader {
        xid,
        zxid: state.last_zxid().0,
        err,
    };
    if matches!(request, Request::Ping) {
        let xid = reply::PING_XID;
        let header = header(ErrorCode::OK);
        reply::put_header_only(out, ReplyHeader { xid, ..header });
        return Ok(ErrorCode::OK);
    }
    let mark = reply::begin(out, header(ErrorCode::OK));
    match state.read(request, asker.session, asker.identities, out) {
        Ok(()) => {
            replies::finish(out, mark);
            Ok(ErrorCode::OK)
        }
        Err(ReadStop::Refused(code)) => {
            reply::abandon(out, mark);
            reply::put_header_only(out, header(code));
            Ok(code)
        }
        Err(stop @ (ReadStop::Missing(_) | ReadStop::NeedsScan)) => {
            reply::abandon(out, mark);
            Err(stop)
        }
    }
}

impl Deliver {
    /// Answers what a client asked behind the write that has just been answered.
    pub(super) fn answer_waiting(
        &self,
        state: &State,
        connection: &Connection,
        reads: &[Waiting],
        now: Instant,
    ) {
        if reads.is_empty() || connection.is_fenced() {
            return;
        }
        let identities = connection.identities();
        let asker = Asker {
            session: connection.session(),
            identities: &identities,
        };
        let zxid = state.last_zxid();
        for read in reads {
            let Some(code) = self.answer_read(state, connection, asker, read) else {
                return;
            };
            watches::register(&self.shared, connection, &read.request, code);
            let took = now.duration_since(read.since);
            connection.stats.replied(read.op, read.xid, zxid, took);
            self.shared.stats.sent(1);
            self.shared.stats.answered(1, took);
            metrics::read_answered(took);
        }
        metrics::reads_answered_behind_write(reads.len());
    }

    /// The code of the reply; `None` if the connection ends.
    fn answer_read(
        &self,
        state: &State,
        connection: &Connection,
        asker: Asker<'_>,
        read: &Waiting,
    ) -> Option<ErrorCode> {
        /// Each look may miss something else; a cache that forgets at once is no cache.
        const LOADS_MAX: u32 = 1000;
        for _ in 0..LOADS_MAX {
            let put = |out: &mut BytesMut| put_read(out, state, asker, read.xid, &read.request);
            match connection.outbox.push(put)? {
                Ok(code) => return Some(code),
                Err(ReadStop::Missing(missing)) => {
                    metrics::read_from_disk_in_apply();
                    if let Err(error) = state.warm(&missing) {
                        self.shared.report_store_failure(error);
                        break;
                    }
                }
                Err(ReadStop::Refused(_) | ReadStop::NeedsScan) => break,
            }
        }
        connection.outbox.end(End::Now);
        None
    }
}
