//! What a request needs from the disk, and what keeps it in memory until it has been answered.
//!
//! ```text
//!   head misses ─▶ Warm ─▶ settle: loaded, pinned ─▶ Kept ─▶ head is tried again, and finds it
//!        ▲                                                     │ misses something else: more pins
//!        └─────────────────────────────────────────────────────┘ answered: unpinned
//! ```
//!
//! So a request gets on by one step with each load, whatever else is going on: it never depends on
//! what stays in the cache (DESIGN 3.6).

use crate::state::{Missing, Pins, Store, StoreError, warm_all, warm_some};

/// What is to be loaded.
#[derive(Debug)]
pub struct Warm {
    need: Need,
    /// What the requests behind the head will miss. Stays in memory if there is room.
    pub(super) ahead: Vec<Missing>,
}

#[derive(Debug)]
enum Need {
    /// All of it together, for a reply of so many bytes at most.
    All(Vec<Missing>, usize),
    /// Some of it, in order: the head works through it by and by.
    Some(Vec<Missing>),
}

impl Warm {
    /// The head needs all of this at the same time, for a reply of at most `bytes_max` bytes.
    pub(super) fn all(missing: Vec<Missing>, bytes_max: usize) -> Self {
        Self {
            need: Need::All(missing, bytes_max),
            ahead: Vec::new(),
        }
    }

    /// The head gets on with the first of this, and with as much of the rest as is there.
    pub(super) fn some(missing: Vec<Missing>) -> Self {
        Self {
            need: Need::Some(missing),
            ahead: Vec::new(),
        }
    }

    /// Loads it; `None` if it is too much.
    ///
    /// # Errors
    /// The storage failed: end the process.
    pub(super) fn run(&self, store: &dyn Store) -> Result<Option<Pins>, StoreError> {
        let mut pins = match &self.need {
            Need::All(missing, bytes_max) => match warm_all(store, missing, *bytes_max)? {
                Some(pins) => pins,
                None => return Ok(None),
            },
            Need::Some(missing) => warm_some(store, missing)?,
        };
        if !self.ahead.is_empty() {
            // Each of those asks for itself if this is gone by then.
            pins.join(store.warm(&self.ahead, AHEAD_BYTES_MAX)?.pins);
        }
        Ok(Some(pins))
    }
}

/// Bytes that are loaded for the requests behind the head.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// Pins of the request at the head, and of those behind it that were loaded with it.
#[derive(Debug, Default)]
pub(super) struct Kept(Pins);

impl Kept {
    /// These too, until the head has been answered.
    pub(super) fn add(&mut self, pins: Pins) {
        self.0.join(pins);
    }

    /// A turn is over. What was kept for a request that has been answered in it is let go of:
    /// unless the head is still the one that it was before, `is_same`. The state lock must not be
    /// held: giving memory back may take a moment.
    pub(super) fn end_turn(&mut self, is_same: bool) {
        if !is_same && !self.0.is_empty() {
            self.0 = Pins::default();
        }
    }
}
