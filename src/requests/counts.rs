//! What is counted of each frame that a client is sent.
//!
//! zk: ServerCnxn.packetSent, ServerCnxn.serialize, FinalRequestProcessor.updateStats. zk-differs:
//! counted when it is on its way to the outbox, not when the socket has taken it: who has a reply
//! finds it counted.

use std::time::Duration;

use jute::OpCode;

use super::audience::Audience;
use crate::connection::Connection;
use crate::metrics::{self, Fired};
use crate::state::Zxid;

/// Bytes of a frame's length, which no size counts.
const LENGTH_BYTES: usize = 4;

/// A request that has been answered.
pub(super) struct Answer {
    /// What was asked; `None` for a write that was refused.
    pub(super) op: Option<OpCode>,
    pub(super) xid: i32,
    pub(super) zxid: Zxid,
    pub(super) took: Duration,
    /// Bytes of the reply's frame; 0 if there is none, as its connection ends.
    pub(super) frame_bytes: usize,
}

impl Audience {
    /// A request has been answered.
    pub(super) fn count_answer(&self, connection: &Connection, answer: &Answer) {
        let Answer {
            op,
            xid,
            zxid,
            took,
            frame_bytes,
        } = *answer;
        connection.stats.replied(op, xid, zxid, took);
        self.connections.stats().answered(1, took);
        if let Some(bytes) = frame_bytes.checked_sub(LENGTH_BYTES) {
            self.connections.stats().sized(bytes);
            // zk: a ping is answered before the place where bytes are counted.
            if op != Some(OpCode::PING) {
                metrics::responded(bytes);
            }
        }
    }

    /// A frame with a reply's header has been made that is nobody's answer in the statistics.
    ///
    /// zk: ZooKeeperServer.processPacket for auth and sasl, AuthenticationHelper,
    /// UnimplementedRequestProcessor.
    pub(super) fn count_aside(&self, connection: &Connection, frame_bytes: usize) {
        self.count_besides(connection);
        self.connections
            .stats()
            .sized(frame_bytes.saturating_sub(LENGTH_BYTES));
    }

    /// A ConnectResponse has been made for whom no session was opened: of no size, as it is no reply.
    ///
    /// zk: ZooKeeperServer.finishSessionInit.
    pub(super) fn count_besides(&self, connection: &Connection) {
        connection.stats.sent_besides(1);
        self.connections.stats().sent_besides(1);
    }

    /// An event has been made of what a client had missed.
    ///
    /// zk: NIOServerCnxn.process, called by DataTree.setWatches.
    pub(super) fn count_missed(&self, connection: &Connection, frame_bytes: usize) {
        self.count_aside(connection, frame_bytes);
        metrics::caught_up(frame_bytes.saturating_sub(LENGTH_BYTES));
    }
}

/// The events of one trigger, counted together but for one number of each connection.
#[derive(Default)]
pub(super) struct Events {
    fired: Fired,
    frame_bytes: usize,
}

impl Events {
    /// A watcher has been told.
    pub(super) fn note(
        &mut self,
        shared: &Audience,
        connection: &Connection,
        kind: i32,
        frame: &[u8],
    ) {
        connection.stats.sent_besides(1);
        let bytes = frame.len().saturating_sub(LENGTH_BYTES);
        self.fired.note(kind, bytes);
        // Nearly always the same for all of them.
        if self.frame_bytes != frame.len() {
            self.frame_bytes = frame.len();
            shared.connections.stats().sized(bytes);
        }
    }

    /// The trigger is over.
    pub(super) fn record(self, shared: &Audience) {
        let watchers = self.fired.watchers();
        if watchers > 0 {
            shared.connections.stats().sent_besides(watchers);
            self.fired.record();
        }
    }
}
