//! `cons` and `dump`: who is connected, which sessions there are and what they own.

use std::fmt::{Display, Write as _};

use jute::OpCode;

use super::super::java::{Date, Peer};
use super::super::report::{Buckets, ConnectionLine, Dump, Sessions};
use super::line;
use crate::connection::LastOp;
use crate::state::SessionId;

/// `cons`: a line per connection, and an empty one.
///
/// zk: ConsCommand, ServerCnxn.dumpConnectionInfo.
pub(super) fn put_connections(out: &mut String, connections: &[ConnectionLine]) {
    for connection in connections {
        put_brief(out, connection);
        put_details(out, connection);
        out.push_str(")\n");
    }
    out.push('\n');
}

/// The part of a line that `stat` has too, without its closing parenthesis.
pub(super) fn put_brief(out: &mut String, connection: &ConnectionLine) {
    let put = write!(
        out,
        " {}[{}](queued={},recved={},sent={}",
        Peer(connection.peer),
        u8::from(connection.reads),
        connection.queued,
        connection.figures.received,
        connection.figures.sent
    );
    debug_assert!(put.is_ok(), "a String takes everything");
}

fn put_details(out: &mut String, connection: &ConnectionLine) {
    let Some(session) = connection.session else {
        return;
    };
    let figures = &connection.figures;
    let cxid = if figures.last_cxid < 0 {
        String::new()
    } else {
        format!("lcxid=0x{:x},", figures.last_cxid)
    };
    let put = write!(
        out,
        ",sid={},lop={},est={},to={},{cxid}lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
        session.id,
        last_op(figures.last_op),
        figures.established_ms,
        session.timeout_ms,
        figures.last_zxid,
        session.last_response_ms,
        figures.last_latency_ms,
        figures.min_latency_ms,
        figures.avg_latency_ms,
        figures.max_latency_ms
    );
    debug_assert!(put.is_ok(), "a String takes everything");
}

/// zk: FinalRequestProcessor.processRequest, its lastOp; ServerCnxn, whose own is null at first.
fn last_op(op: LastOp) -> &'static str {
    match op {
        LastOp::Never => "null",
        LastOp::Was(OpCode::CREATE_SESSION) => "SESS",
        LastOp::Was(OpCode::CLOSE_SESSION) => "CLOS",
        LastOp::Was(OpCode::PING) => "PING",
        LastOp::Was(OpCode::MULTI) => "MULT",
        LastOp::Was(OpCode::MULTI_READ) => "MLTR",
        LastOp::Was(
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL,
        ) => "CREA",
        LastOp::Was(OpCode::DELETE | OpCode::DELETE_CONTAINER) => "DELE",
        LastOp::Was(OpCode::EXISTS) => "EXIS",
        LastOp::Was(OpCode::GET_DATA) => "GETD",
        LastOp::Was(OpCode::SET_DATA) => "SETD",
        LastOp::Was(OpCode::GET_ACL) => "GETA",
        LastOp::Was(OpCode::SET_ACL) => "SETA",
        LastOp::Was(OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2) => "GETC",
        LastOp::Was(OpCode::GET_ALL_CHILDREN_NUMBER) => "GETACN",
        LastOp::Was(OpCode::GET_EPHEMERALS) => "GETE",
        LastOp::Was(OpCode::SYNC) => "SYNC",
        LastOp::Was(OpCode::CHECK) => "CHEC",
        LastOp::Was(OpCode::RECONFIG) => "RECO",
        LastOp::Was(OpCode::SET_WATCHES) => "SETW",
        LastOp::Was(OpCode::SET_WATCHES2) => "STW2",
        LastOp::Was(OpCode::CHECK_WATCHES) => "CHKW",
        LastOp::Was(OpCode::REMOVE_WATCHES) => "REMW",
        LastOp::Was(OpCode::ADD_WATCH) => "ADDW",
        LastOp::Was(OpCode::WHO_AM_I) => "HOMI",
        LastOp::None | LastOp::Was(_) => "NA",
    }
}

/// `dump`: sessions by their expiry, ephemerals by their owner, connections by their expiry.
///
/// zk: DumpCommand, SessionTrackerImpl.dumpSessions, LearnerSessionTracker.dumpSessions,
/// DataTree.dumpEphemerals, NIOServerCnxnFactory.dumpConnections.
pub(super) fn put_dump(out: &mut String, dump: &Dump) {
    out.push_str("SessionTracker dump:\n");
    match &dump.sessions {
        Sessions::Expiring(buckets) => {
            out.push_str("Session ");
            put_buckets(out, buckets, |id: &SessionId| *id);
        }
        Sessions::Known(sessions) => {
            line(out, format_args!("Global Sessions({}):", sessions.len()));
            for (id, timeout_ms) in sessions {
                line(out, format_args!("{id}\t{timeout_ms}ms"));
            }
        }
    }
    out.push_str("ephemeral nodes dump:\n");
    line(
        out,
        format_args!("Sessions with Ephemerals ({}):", dump.ephemerals.len()),
    );
    for (owner, paths) in &dump.ephemerals {
        line(out, format_args!("{owner}:"));
        for path in paths {
            line(out, format_args!("\t{path}"));
        }
    }
    out.push_str("Connections dump:\nConnections ");
    put_buckets(out, &dump.connections, |(peer, session)| {
        format!("ip: {} sessionId: {session}", Peer(*peer))
    });
}

/// zk: ExpiryQueue.dump.
fn put_buckets<T, D: Display>(out: &mut String, buckets: &Buckets<T>, show: impl Fn(&T) -> D) {
    let all: usize = buckets.iter().map(|(_, items)| items.len()).sum();
    line(out, format_args!("Sets ({})/({all}):", buckets.len()));
    for (at_ms, items) in buckets {
        line(
            out,
            format_args!("{} expire at {}:", items.len(), Date(*at_ms)),
        );
        for item in items {
            line(out, format_args!("\t{}", show(item)));
        }
    }
}
