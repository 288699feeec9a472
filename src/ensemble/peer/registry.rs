//! Who is connected to this server: one process per server id, and few connections per lane.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::hello::{Hello, Lane, Mismatch};
use crate::state::ServerId;

/// Connections of one server for one lane. More than one: the other side has given the older ones up,
/// and this side has not yet noticed.
const PER_LANE_MAX: usize = 4;

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    servers: HashMap<ServerId, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    hello: Hello,
    lane: Lane,
    close: CancellationToken,
}

/// A connection's place; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    server: ServerId,
    number: u64,
    pub(super) lane: Lane,
    /// The place is taken away.
    pub(super) close: CancellationToken,
}

impl Registry {
    /// A place for a connection of `hello`.
    ///
    /// # Errors
    /// Another process with the same id is connected. Only its control connection counts, which is
    /// always read from, so that its end is noticed: whatever else it has is closed.
    pub(super) fn enter(self: &Arc<Self>, hello: &Hello, lane: Lane) -> Result<Place, Mismatch> {
        if let Some(other) = self.other_process(hello) {
            return Err(Mismatch::Doubled(other));
        }
        let mut inside = self.inside.lock();
        inside.next += 1;
        let number = inside.next;
        let close = CancellationToken::new();
        let entries = inside.servers.entry(hello.server).or_default();
        for entry in entries.iter() {
            if entry.hello.incarnation != hello.incarnation {
                entry.close.cancel();
            }
        }
        let same_lane = entries.iter().filter(|entry| entry.lane == lane);
        if same_lane.clone().count() >= PER_LANE_MAX
            && let Some(oldest) = same_lane.min_by_key(|entry| entry.number)
        {
            oldest.close.cancel();
        }
        entries.push(Entry {
            number,
            hello: *hello,
            lane,
            close: close.clone(),
        });
        Ok(Place {
            registry: Arc::clone(self),
            server: hello.server,
            number,
            lane,
            close,
        })
    }

    /// The incarnation of another process of the same id that is connected.
    pub(super) fn other_process(&self, hello: &Hello) -> Option<u64> {
        let inside = self.inside.lock();
        let entries = inside.servers.get(&hello.server)?;
        let other = entries.iter().find(|entry| {
            entry.lane == Lane::Control
                && entry.hello.incarnation != hello.incarnation
                && !entry.close.is_cancelled()
        });
        other.map(|entry| entry.hello.incarnation)
    }

    /// Closes the connections of those whose hello is such.
    pub(super) fn close_where(&self, is_such: impl Fn(&Hello) -> bool) {
        let inside = self.inside.lock();
        for entry in inside.servers.values().flatten() {
            if is_such(&entry.hello) {
                entry.close.cancel();
            }
        }
    }

    /// The lanes on which a server is connected.
    #[cfg(test)]
    pub(super) fn lanes(&self, server: ServerId) -> Vec<Lane> {
        let inside = self.inside.lock();
        let entries = inside.servers.get(&server);
        let lanes = entries.into_iter().flatten().map(|entry| entry.lane);
        let mut lanes: Vec<Lane> = lanes.collect();
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.registry.inside.lock();
        if let Some(entries) = inside.servers.get_mut(&self.server) {
            entries.retain(|entry| entry.number != self.number);
            if entries.is_empty() {
                inside.servers.remove(&self.server);
            }
        }
    }
}
