//! Reads of a server whose every read is linearizable (DESIGN 4.4): each waits for a read index that
//! was asked for after it came, and that has been applied here.
//!
//! What one round has confirmed holds for everything that had come from the client before the round
//! began, so a client that sends many reads at once waits once.

use jute::OpClass;

use super::client::Client;
use super::head::{Head, Reached};

/// How many of the bytes that wait in the inbox had come before a read index was asked for.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// When the round that is under way began.
    asked: usize,
    /// The same of the last one that has ended, as far as they have not been taken.
    confirmed: usize,
}

impl Fresh {
    /// A round begins; so many bytes are in the inbox.
    pub(super) fn ask(&mut self, inbox_bytes: usize) {
        self.asked = inbox_bytes;
    }

    /// It has ended; the request that asked is not in the inbox any more.
    pub(super) fn confirm(&mut self) {
        self.confirmed = std::mem::take(&mut self.asked);
    }

    /// A frame of so many bytes is taken out of the inbox: how far its request has come by that.
    pub(super) fn take(&mut self, frame_bytes: usize) -> Reached {
        if frame_bytes > self.confirmed {
            self.confirmed = 0;
            return Reached::New;
        }
        self.confirmed -= frame_bytes;
        Reached::Synced
    }
}

impl Client {
    /// Whether the head is a read that must not be answered yet by what is known here.
    pub(super) fn may_be_stale(&self, head: &Head) -> bool {
        self.requests.linearizable_reads
            && head.header.op.class() == OpClass::Read
            && matches!(head.reached, Reached::New)
    }
}
