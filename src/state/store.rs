//! The state's trait to the tree's storage: what it needs of RocksDB or of a map in memory.

use std::fmt;
use std::sync::Arc;

use jute::Acl;

use super::ids::{AclId, SessionId};
use super::txn::{Meta, SessionRecord, Txn};
use super::znode::Znode;

/// Answer of a look into memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peek<T> {
    /// Memory knows the answer (which may be "no such node").
    Known(T),
    /// Only the disk knows: call [`Store::warm`] without the state lock, then ask again.
    NotInMemory,
}

/// What a read found missing in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The znode of this path, or the knowledge that there is none.
    Znode(Arc<str>),
    /// The names of the children of this path.
    Children(Arc<str>),
}

/// The storage failed: disk or corruption. The process ends (STYLE I6).
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct StoreError {
    /// What was being done, as a verb phrase.
    pub doing: &'static str,
    /// The room's own error.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What is read back at start.
#[derive(Debug, Default)]
pub struct Restored {
    /// The small rest; default if the tree is new.
    pub meta: Meta,
    /// All live sessions.
    pub sessions: Vec<(SessionId, SessionRecord)>,
    /// All ephemerals by owner.
    pub ephemerals: Vec<(SessionId, Arc<str>)>,
    /// Interned ACL lists with their reference counts (without [`AclId::OPEN`]).
    pub acls: Vec<(AclId, Arc<[Acl]>, u64)>,
    /// Paths under quota.
    pub quotas: Vec<Arc<str>>,
}

/// The tree's storage.
///
/// The state lock is held by the caller as each method says. Order of one log entry: `begin`; for
/// each slice of its proposals judge (`load`), under the write lock `install` per txn, lock
/// released, `stage`; after the last slice `persist` once. From `install` until it is written memory
/// must answer for what was installed, since the disk does not know it yet.
pub trait Store: fmt::Debug + Send + Sync {
    /// What memory knows of a znode. Read or write lock held; never reads the disk.
    fn peek(&self, path: &str) -> Peek<Option<Arc<Znode>>>;

    /// Calls `visit` with the name (last component) of every child, in byte order, if memory
    /// knows them all. Read or write lock held; never reads the disk. `path` "/" or "/a/b".
    fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()>;

    /// Brings into memory what a read missed. State lock NOT held, except by apply (see
    /// [`State::warm`](super::State::warm)); reads the disk, so it does not run on an async worker.
    /// Never replaces what `install` brought meanwhile.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn warm(&self, missing: &Missing) -> Result<(), StoreError>;

    /// A znode from memory or disk. Only the one task that applies calls it (no write lock held),
    /// so nothing changes meanwhile.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn load(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError>;

    /// An entry begins: until [`Store::persist`] nothing of it may be on the disk as the state.
    /// State lock not held.
    fn begin(&self);

    /// Makes the changes of a txn visible in memory. Write lock held; never reads the disk.
    fn install(&self, txn: &Txn);

    /// Takes over the changes of a slice, which have been installed. State lock not held. They are
    /// written at the end of their entry or later.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn stage(&self, txns: &[Txn]) -> Result<(), StoreError>;

    /// The entry's changes have all been staged: takes over `meta` as it is behind them. State lock
    /// not held. All are written at once or later, but in order, and atomically with those of the
    /// entries that are written with them: a crash leaves the state between two entries.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn persist(&self, meta: &Meta) -> Result<(), StoreError>;

    /// The tree as it is now, to be scanned after the lock is gone. Read or write lock held.
    fn view(&self) -> Box<dyn View>;

    /// Everything that the state holds in memory, read at start.
    ///
    /// # Errors
    /// The storage failed or its format is not ours: end the process.
    fn restore(&self) -> Result<Restored, StoreError>;
}

/// The tree at one moment. Reads the disk: not on an async worker.
pub trait View: Send {
    /// Calls `visit` with path and znode of `root` and everything below it, parents first,
    /// children in byte order within one depth. `visit` returns false to stop.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn walk(
        &self,
        root: &str,
        visit: &mut dyn FnMut(&str, &Znode) -> bool,
    ) -> Result<(), StoreError>;

    /// Calls `visit` with the path of every container and TTL node.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn reapable(&self, visit: &mut dyn FnMut(&str, &Znode) -> bool) -> Result<(), StoreError>;
}
