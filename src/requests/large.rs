//! Replies that are not small: each is made when there is room for it among all of them
//! ([`Budget`](crate::connection::Budget)).
//!
//! How long a reply will be is known when it has been made. So each is tried as a small one first,
//! which needs no room; then as one of a middle size; then as the longest that there may be. What
//! was loaded for an attempt that failed is let go of, and what was reserved for it, too, before more
//! is asked for: nobody waits for room while it holds some for the same reply.

use std::sync::Arc;

use super::client::Client;
use super::step::Step;
use crate::connection::Share;

/// Longest reply that needs no room, bytes: a znode as large as clients may write by default, with
/// what is around it.
const SMALL_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Longest reply of the middle size, bytes.
const MIDDLE_BYTES_MAX: usize = 16 << 20;

/// The reply to the head, if it is not small.
#[derive(Debug)]
pub(super) struct Large {
    bytes_max: usize,
    /// There once its turn has come.
    share: Option<Share>,
}

impl Client {
    /// Longest reply that may be made to the head as things are.
    pub(super) fn bytes_max(&self) -> usize {
        let allowed = self.requests.reply_bytes_max;
        match &self.large {
            None => SMALL_BYTES_MAX.min(allowed),
            Some(large) => large.bytes_max,
        }
    }

    /// The reply to the head is longer than that. False if it must not be.
    pub(super) fn enlarge(&mut self) -> bool {
        let allowed = self.requests.reply_bytes_max;
        let before = self.bytes_max();
        if before >= allowed {
            return false;
        }
        let bytes_max = if before < MIDDLE_BYTES_MAX {
            MIDDLE_BYTES_MAX.min(allowed)
        } else {
            allowed
        };
        let share = None;
        self.large = Some(Box::new(Large { bytes_max, share }));
        true
    }

    /// What to wait for before the reply to the head is made.
    pub(super) fn step_for_share(&self) -> Option<Step> {
        let large = self.large.as_ref().filter(|large| large.share.is_none())?;
        Some(Step::Large {
            connection: Arc::clone(&self.connection),
            // What is loaded for it, and itself.
            bytes: large.bytes_max.saturating_mul(2),
        })
    }

    /// True while the head must not be served.
    pub(super) fn waits_for_share(&self) -> bool {
        self.large.as_ref().is_some_and(|it| it.share.is_none())
    }

    /// There is room for the reply to the head.
    pub(super) fn shared(&mut self, share: Share) {
        if let Some(large) = self.large.as_mut() {
            large.share = Some(share);
        }
    }

    /// The reply to the head has been made: what it was lent goes with it, as far as it needs that.
    pub(super) fn note_made(&mut self) {
        let Some(large) = self.large.take() else {
            return;
        };
        if let Some(mut share) = large.share {
            share.cut_to(self.run.len() - self.reply_from);
            self.run_share = Some(Box::new(share));
        }
    }
}
