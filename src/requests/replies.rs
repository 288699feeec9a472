//! From outcomes to reply frames.

use bytes::{BufMut, BytesMut};
use jute::{ErrorCode, MultiHeader, OpCode, ReplyHeader, put_stat, put_ustring, reply};

use crate::connection::Connection;
use crate::metrics;
use crate::state::{OpOutcome, Outcome};

/// The header's error code of an outcome. A failed multi has none (protocol.md 5.2).
pub(super) fn code(outcome: &Outcome) -> ErrorCode {
    match outcome {
        Outcome::Refused(code) => *code,
        Outcome::Created { .. }
        | Outcome::CreatedWithStat { .. }
        | Outcome::Stat(_)
        | Outcome::Done
        | Outcome::Multi(_)
        | Outcome::SessionOpened
        | Outcome::SessionAttached
        | Outcome::SessionClosed => ErrorCode::OK,
    }
}

/// Appends the whole reply frame of a write.
///
/// # Errors
/// See [`TooLong`].
pub(super) fn put_outcome(
    out: &mut BytesMut,
    header: ReplyHeader,
    outcome: &Outcome,
) -> Result<(), TooLong> {
    let mark = reply::begin(out, header);
    match outcome {
        Outcome::Created { path } => put_ustring(out, Some(path)),
        Outcome::CreatedWithStat { path, stat } => {
            put_ustring(out, Some(path));
            put_stat(out, stat);
        }
        Outcome::Stat(stat) => put_stat(out, stat),
        Outcome::Multi(results) => put_results(out, results),
        Outcome::Refused(_)
        | Outcome::Done
        | Outcome::SessionOpened
        | Outcome::SessionAttached
        | Outcome::SessionClosed => {}
    }
    finish(out, mark)
}

/// Results of a multi, each behind its header, and the terminator. protocol.md 5.1.
fn put_results(out: &mut BytesMut, results: &[OpOutcome]) {
    for result in results {
        match result {
            OpOutcome::Created { path } => {
                put_op_header(out, OpCode::CREATE, false, ErrorCode::OK.0);
                put_ustring(out, Some(path));
            }
            OpOutcome::CreatedWithStat { path, stat } => {
                put_op_header(out, OpCode::CREATE2, false, ErrorCode::OK.0);
                put_ustring(out, Some(path));
                put_stat(out, stat);
            }
            OpOutcome::Stat(stat) => {
                put_op_header(out, OpCode::SET_DATA, false, ErrorCode::OK.0);
                put_stat(out, stat);
            }
            OpOutcome::Deleted => put_op_header(out, OpCode::DELETE, false, ErrorCode::OK.0),
            OpOutcome::Checked => put_op_header(out, OpCode::CHECK, false, ErrorCode::OK.0),
            OpOutcome::Error(code) => {
                put_op_header(out, OpCode::ERROR, false, code.0);
                out.put_i32(code.0);
            }
        }
    }
    put_op_header(out, OpCode::ERROR, true, -1);
}

fn put_op_header(out: &mut BytesMut, op: OpCode, done: bool, err: i32) {
    let mut bytes = [0; 9];
    MultiHeader { op, done, err }.encode(&mut bytes.as_mut_slice());
    out.put_slice(&bytes);
}

/// The reply is longer than a frame can be (2 GiB), and has been taken back: its connection must end,
/// for a reply that is left out would leave its client waiting.
#[derive(Debug)]
#[must_use = "the connection must end"]
pub(super) struct TooLong;

/// Ends a frame.
///
/// # Errors
/// See [`TooLong`].
pub(super) fn finish(out: &mut BytesMut, mark: reply::Mark) -> Result<(), TooLong> {
    reply::finish(out, mark).map_err(|error| {
        tracing::error!(%error, "a reply has no frame");
        TooLong
    })
}

/// A client asks for more than `bytes_max` bytes at once: its connection ends.
///
/// zk-differs: a ZooKeeper that is asked for more than its memory holds ends with it.
pub(super) fn note_too_large(connection: &Connection, op: OpCode, bytes_max: usize) {
    let (peer, session) = (connection.peer, connection.session());
    tracing::warn!(%peer, %session, ?op, bytes_max, "a reply would be too large: closing");
    metrics::reply_too_large();
}
