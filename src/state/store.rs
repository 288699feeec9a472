//! The state's trait to the tree's storage: what it needs of RocksDB or of a map in memory.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use jute::Acl;

use super::record::ids::{AclId, SessionId};
use super::record::znode::Znode;
use super::txn::{Meta, SessionRecord, Txn};

/// Answer of a look into memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peek<T> {
    /// Memory knows the answer (which may be "no such node").
    Known(T),
    /// Only the disk knows: call [`Store::warm`] without the state lock, then ask again.
    NotInMemory,
}

/// A part of the tree: what a read looks at, and may find missing in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The znode of this path, or the knowledge that there is none.
    Znode(Arc<str>),
    /// The same, and the names of all its children.
    Children(Arc<str>),
}

/// Keeps parts of the tree in memory, in step with what is installed, until it is dropped: whoever
/// has pinned what it looks at finds it there, however little memory there is.
///
/// A znode that is pinned stays known when it goes and comes again, and so do the names of its
/// children if they are pinned.
#[derive(Default)]
pub struct Pins(Vec<Box<dyn Any + Send + Sync>>);

impl Pins {
    /// What unpins when it is dropped.
    pub fn of(held: impl Any + Send + Sync) -> Self {
        Self(vec![Box::new(held)])
    }

    /// These too.
    pub fn join(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// True if nothing is pinned.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pins({})", self.0.len())
    }
}

/// What [`Store::warm`] came to.
#[derive(Debug, Default)]
pub struct Warmed {
    /// Keeps it in memory.
    pub pins: Pins,
    /// So many of the parts, from the first on.
    pub done: usize,
    /// Bytes that they have in a reply, about.
    pub bytes: usize,
}

/// Loads all that one request misses, so that it is answered by what `pins` keeps; `None` if that is
/// more than a reply of `bytes_max` bytes. State lock not held.
///
/// Of what is refused in the end no more than a part is held: behind 16 MiB everything is weighed
/// before it is loaded.
///
/// # Errors
/// The storage failed: end the process.
pub fn warm_all(
    store: &dyn Store,
    missing: &[Missing],
    bytes_max: usize,
) -> Result<Option<Pins>, StoreError> {
    // A single listing is not scanned twice.
    let part_bytes_max = match missing {
        [_] => bytes_max,
        _ => bytes_max.min(HELD_BYTES_MAX),
    };
    let Warmed {
        mut pins,
        done,
        mut bytes,
    } = store.warm(missing, part_bytes_max)?;
    let rest = missing.get(done..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(Some(pins));
    }
    if part_bytes_max == bytes_max {
        return Ok(None);
    }
    let room = bytes_max.saturating_sub(bytes);
    for part in rest {
        match store.weigh(part, bytes_max.saturating_sub(bytes))? {
            Some(more) => bytes += more,
            None => return Ok(None),
        }
    }
    let more = store.warm(rest, room)?;
    if more.done < rest.len() {
        return Ok(None);
    }
    pins.join(more.pins);
    Ok(Some(pins))
}

/// Loads some of what a request misses, at least the first part of it, that is not answered by all
/// of it together: no more than 16 MiB unless the first alone is larger.
///
/// # Errors
/// The storage failed: end the process.
pub fn warm_some(store: &dyn Store, missing: &[Missing]) -> Result<Pins, StoreError> {
    let warmed = store.warm(missing, HELD_BYTES_MAX)?;
    match missing.first() {
        Some(first) if warmed.done == 0 => {
            let alone = store.warm(std::slice::from_ref(first), usize::MAX)?;
            Ok(alone.pins)
        }
        _ => Ok(warmed.pins),
    }
}

/// Bytes that are loaded for a request before it is known that it can be answered.
const HELD_BYTES_MAX: usize = 16 << 20;

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

    /// Bytes of the names of all children, each with its length of four bytes, if memory knows
    /// them. Read or write lock held; never reads the disk.
    fn peek_names_bytes(&self, path: &str) -> Peek<usize>;

    /// Pins what memory knows; `None` if it does not know all of it. Read or write lock held; never
    /// reads the disk. From now on `peek` and `peek_children` know it, until the pins are dropped.
    fn pin(&self, parts: &[Missing]) -> Option<Pins>;

    /// Brings into memory what a read missed, in order, and pins it; stops in front of the part that
    /// would bring its bytes in a reply above `bytes_max`. State lock NOT held; reads the disk, so it
    /// does not run on an async worker. Never replaces what `install` brought meanwhile.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn warm(&self, missing: &[Missing], bytes_max: usize) -> Result<Warmed, StoreError>;

    /// Bytes that a part has in a reply, about; `None` if they are more than `bytes_max`. As `warm`,
    /// but holds nothing.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn weigh(&self, part: &Missing, bytes_max: usize) -> Result<Option<usize>, StoreError>;

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
