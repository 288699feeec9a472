//! Reads behind a write of their own client: left to delivery, which answers them inside apply.
//!
//! The client's next writes are proposed meanwhile, so a stream of reads and writes needs one
//! round of the log, and not one for each write. Apply holds the state lock then, under which the
//! disk is not read (DESIGN 3.3) and much cannot be said. So only such a read is left to it whose
//! answer is in memory when it comes, and small; any other one waits at the head of its client's
//! queue until the writes before it have been answered, and everything behind it waits too.
//!
//! All that such a read may look at is pinned in the moment in which it is left to delivery: the
//! znodes of its paths, or the knowledge that there are none, and for a listing the names of all
//! children, permitted or not, since that may change. What is pinned is kept in step and stays known
//! (`Store::pin`), whatever is applied in between: a znode that goes and comes again, with other
//! children, too. And reads look at nothing else: `State::read` asks for the znode of a path and for
//! the names of its children, and for a count over a part of the tree only in a request that is
//! never left to delivery ([`parts`]). So memory knows the answer when its turn comes, and apply
//! never waits for the disk under the lock.
//!
//! zk: CommitProcessor: a session's reads behind its write are processed when that write has been,
//! and before its next one.

use std::sync::Arc;

use bytes::BytesMut;
use jute::{ErrorCode, MultiReadOp, ReplyHeader, Request, Text, reply};
use tokio::time::Instant;

use super::counts::Answer;
use super::deliver::Deliver;
use super::pending::Waiting;
use super::replies::{self, TooLong};
use crate::connection::{Connection, End};
use crate::metrics;
use crate::state::{Asker, Missing, Peek, Pins, ReadStop, State};

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

/// Pins what this request looks at, if memory knows all of it and if the reply would be small now,
/// `bytes_max` at most, about; `None` also if the request is none for delivery.
pub(super) fn pin_if_small(state: &State, request: &Request, bytes_max: usize) -> Option<Pins> {
    let parts = parts(request)?;
    if parts.is_empty() {
        return Some(Pins::default());
    }
    let mut bytes = 0;
    for part in &parts {
        bytes += reply_bytes(state, request, part)?;
        if bytes > bytes_max {
            return None;
        }
    }
    state.pin(&parts)
}

/// What this request looks at, whatever the state will be; `None` if it is none for delivery.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is waits at the head"
)]
fn parts(request: &Request) -> Option<Vec<Missing>> {
    let mut parts = Vec::new();
    match request {
        Request::Exists(read) => parts.extend(znode(&read.path)),
        Request::GetData(read) => parts.extend(znode(&read.path)),
        Request::GetAcl(read) => parts.extend(znode(&read.path)),
        Request::GetChildren(read) => parts.extend(children(&read.path)),
        Request::GetChildren2(read) => parts.extend(children(&read.path)),
        Request::MultiRead(multi) => {
            parts.extend(multi.ops.iter().filter_map(|op| match op {
                MultiReadOp::GetData(read) => znode(&read.path),
                MultiReadOp::GetChildren(read) => children(&read.path),
            }));
        }
        Request::WhoAmI | Request::Ping => {}
        _ => return None,
    }
    Some(parts)
}

fn znode(path: &Option<Text>) -> Option<Missing> {
    looked_up(path).map(Missing::Znode)
}

fn children(path: &Option<Text>) -> Option<Missing> {
    looked_up(path).map(Missing::Children)
}

/// The path that a read means; a null one is refused, and one without a slash is no znode's.
fn looked_up(path: &Option<Text>) -> Option<Arc<str>> {
    match path.as_ref()?.as_str() {
        "" => Some("/".into()),
        path => path.starts_with('/').then(|| path.into()),
    }
}

/// An item's header and its Stat.
const ITEM_BYTES: usize = 96;
/// An entry of an ACL, as most are.
const ACL_BYTES: usize = 64;

/// Bytes that a part would have in the reply now, about; `None` if memory cannot tell.
fn reply_bytes(state: &State, request: &Request, part: &Missing) -> Option<usize> {
    let (Missing::Znode(path) | Missing::Children(path)) = part;
    let Peek::Known(node) = state.peek_znode(path) else {
        return None;
    };
    let Some(node) = node else {
        return Some(ITEM_BYTES);
    };
    let bytes = match part {
        Missing::Znode(_) if matches!(request, Request::GetAcl(_)) => {
            state.acl(node.acl).len() * ACL_BYTES
        }
        Missing::Znode(_) if matches!(request, Request::Exists(_)) => 0,
        Missing::Znode(_) => node.data_bytes(),
        Missing::Children(path) => match state.peek_names_bytes(path) {
            Peek::Known(bytes) => bytes,
            Peek::NotInMemory => return None,
        },
    };
    Some(ITEM_BYTES + bytes)
}

/// Appends the whole reply to a read; returns its code.
///
/// # Errors
/// Nothing was appended: memory does not know, only a scan can tell, or it would be too long.
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
    match state.read(request, asker, out) {
        Ok(()) => match replies::finish(out, mark) {
            Ok(()) => Ok(ErrorCode::OK),
            Err(TooLong) => Err(ReadStop::TooLarge),
        },
        Err(ReadStop::Refused(code)) => {
            reply::abandon(out, mark);
            reply::put_header_only(out, header(code));
            Ok(code)
        }
        Err(stop @ (ReadStop::Missing(_) | ReadStop::TooLarge | ReadStop::NeedsScan)) => {
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
            // More in one piece would be the end of this connection anyway.
            bytes_max: connection.outbox.bytes_max(),
        };
        let zxid = state.last_zxid();
        for read in reads {
            let Some((code, frame_bytes)) = self.answer_read(state, connection, asker, read) else {
                return;
            };
            self.shared.register(connection, &read.request, code);
            let took = now.duration_since(read.since);
            let answer = Answer {
                op: Some(read.op),
                xid: read.xid,
                zxid,
                took,
                frame_bytes,
            };
            self.shared.count_answer(connection, &answer);
            metrics::read_answered(took);
        }
        metrics::reads_answered_behind_write(reads.len());
    }

    /// The code of the reply and the bytes of its frame; `None` if the connection ends.
    fn answer_read(
        &self,
        state: &State,
        connection: &Connection,
        asker: Asker<'_>,
        read: &Waiting,
    ) -> Option<(ErrorCode, usize)> {
        let put = |out: &mut BytesMut| {
            let before = out.len();
            let code = put_read(out, state, asker, read.xid, &read.request)?;
            Ok((code, out.len() - before))
        };
        match connection.outbox.push(put)? {
            Ok(answered) => return Some(answered),
            Err(ReadStop::TooLarge) => {
                replies::note_too_large(connection, read.op, asker.bytes_max);
            }
            Err(stop @ (ReadStop::Missing(_) | ReadStop::Refused(_) | ReadStop::NeedsScan)) => {
                // It cannot be, as the head of this file says: better no reply than a wrong one.
                let (op, xid) = (read.op, read.xid);
                tracing::error!(?op, xid, ?stop, ?read.pins, "a read that was pinned is not known");
            }
        }
        connection.outbox.end(End::Now);
        None
    }
}
