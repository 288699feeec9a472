//! The one way by which data flows back left: apply tells its results (STYLE 2).

use std::fmt;

use super::State;
use super::txn::Txn;

/// Told by apply what happened. `requests/deliver` implements it, `server.rs` plugs it in.
pub trait Sink: fmt::Debug + Send + Sync {
    /// A txn has been installed. The write lock is held: push events, then the reply, and return
    /// quickly. Called once per txn, in zxid order, with the state right after this txn.
    fn applied(&self, state: &State, txn: &Txn);

    /// The state is another one from now on, a snapshot from another server: this one. What was changed by
    /// it nobody is told. The write lock is held: return quickly.
    fn replaced(&self, state: &State);

    /// The lock has been released after a slice of txns: wake the connections that were told.
    fn slice_done(&self);
}

/// Tells nobody: for replay at start and for tests.
#[derive(Clone, Copy, Debug)]
pub struct Silence;

impl Sink for Silence {
    fn applied(&self, _state: &State, _txn: &Txn) {}
    fn replaced(&self, _state: &State) {}
    fn slice_done(&self) {}
}
