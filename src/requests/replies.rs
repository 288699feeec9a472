//! From outcomes to reply frames.

use bytes::{BufMut, BytesMut};
use jute::{ErrorCode, MultiHeader, OpCode, ReplyHeader, put_buffer, put_stat, put_ustring, reply};

use crate::connection::Connection;
use crate::metrics;
use crate::state::{OpOutcome, Outcome};

/// The header's error code of an outcome. A multi that was refused has none (protocol.md 5.2).
pub(super) fn code(outcome: &Outcome) -> ErrorCode {
    match outcome {
        Outcome::Refused(code) => *code,
        Outcome::Op(_)
        | Outcome::Multi(_)
        | Outcome::MultiRefused(_)
        | Outcome::Done
        | Outcome::SessionOpened
        | Outcome::SessionAttached
        | Outcome::SessionClosed
        | Outcome::Pending => ErrorCode::OK,
        Outcome::Settled(settled) => match settled.reply {
            Ok(_) => ErrorCode::OK,
            Err(code) => code,
        },
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
        Outcome::Op(outcome) => put_body(out, outcome),
        Outcome::Multi(outcomes) => {
            for outcome in outcomes {
                put_op_header(out, op_of(outcome), false, ErrorCode::OK.0);
                put_body(out, outcome);
            }
            put_op_header(out, OpCode::ERROR, true, -1);
        }
        Outcome::MultiRefused(codes) => {
            for code in codes {
                put_op_header(out, OpCode::ERROR, false, code.0);
                out.put_i32(code.0);
            }
            put_op_header(out, OpCode::ERROR, true, -1);
        }
        Outcome::Refused(_)
        | Outcome::Done
        | Outcome::SessionOpened
        | Outcome::SessionAttached
        | Outcome::SessionClosed
        | Outcome::Pending => {}
        Outcome::Settled(settled) => {
            if let Ok(outcome) = &settled.reply {
                put_body(out, outcome);
            }
        }
    }
    finish(out, mark)
}

/// What is said of one op, behind a header.
fn put_body(out: &mut BytesMut, outcome: &OpOutcome) {
    match outcome {
        OpOutcome::Created { path } => put_ustring(out, Some(path)),
        OpOutcome::CreatedWithStat { path, stat } => {
            put_ustring(out, Some(path));
            put_stat(out, stat);
        }
        OpOutcome::Stat(stat) => put_stat(out, stat),
        OpOutcome::Data { data, stat } => {
            put_buffer(out, Some(data));
            put_stat(out, stat);
        }
        OpOutcome::Deleted | OpOutcome::Checked => {}
    }
}

/// The opcode in the header of one result of a multi. protocol.md 5.1.
fn op_of(outcome: &OpOutcome) -> OpCode {
    match outcome {
        OpOutcome::Created { .. } => OpCode::CREATE,
        OpOutcome::CreatedWithStat { .. } => OpCode::CREATE2,
        OpOutcome::Stat(_) => OpCode::SET_DATA,
        OpOutcome::Deleted => OpCode::DELETE,
        OpOutcome::Checked => OpCode::CHECK,
        OpOutcome::Data { .. } => OpCode::RECONFIG,
    }
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
