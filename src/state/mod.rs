//! What every replica agrees on: the tree, sessions, ACLs, quotas, and the rules for changing them.
//!
//! A proposal comes from the log unjudged; [`Replica::apply`] judges it against the state and makes
//! a [`Txn`]: zxid, outcome, changes, events. Every replica makes the same one, byte for byte (I1),
//! and nothing else judges writes or assigns zxids (I2). Reads are answered by pure functions over
//! the same state.
//!
//! ```text
//!   Batch ─▶ judge (upgradable guard: readers go on; may read the disk) ─▶ Vec<Txn>
//!         ─▶ per txn, write lock: install in memory, Sink::applied (events, reply)
//!         ─▶ lock released: Sink::slice_done; after the entry's last slice Entry::persist
//! ```
//!
//! This room does not know: connections, watches, Raft, RocksDB, the clock. It is synchronous and
//! iterates in order only.

mod acl;
mod apply;
mod judge;
mod lineup;
mod local_config;
mod read;
pub(crate) mod record;
mod replica;
mod rules;
mod sink;
mod store;
mod timeline;
mod txn;

#[cfg(test)]
mod tests;

pub use acl::permits;
pub use apply::{ApplyError, SLICE_PROPOSALS_MAX};
pub use judge::reconfig::Settled;
pub use judge::tree::is_due;
pub use lineup::{Lineup, Lineups, Members, PendingLineup, lines, read_lines};
pub use local_config::LocalConfig;
pub use read::{Asker, ReadStop, count_descendants};
pub use record::batch::{BatchBuilder, FormatError, Unstamped};
pub use record::identity::{Identities, Identity};
pub use record::ids::{
    AclId, ClusterId, LogPosition, Origin, ServerId, SessionId, SessionOwner, Zxid,
};
pub use record::member::{ClientAddress, Member, PeerAddress, PeerType};
pub(crate) use record::path::split_last;
pub use record::proposal::{Action, ActionRef, Batch, BatchFormat, Proposal};
pub use record::znode::{Extended, Kind, Owner, Znode};
pub use replica::{Replica, State};
pub use rules::Rules;
pub use sink::{Silence, Sink};
pub use store::{
    Entry, Intake, Missing, Peek, Pins, Restored, Store, StoreError, View, Warmed, warm_all,
    warm_some,
};
pub use timeline::{Anchor, Reading, STANDSTILL_MS_MAX, Setting, Timeline};
pub use txn::{Change, Cursor, Event, Meta, OpOutcome, Outcome, SessionRecord, Txn};
