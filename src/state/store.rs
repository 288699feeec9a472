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
/// of it together: no more than 2 MiB unless the first alone is larger.
///
/// # Errors
/// The storage failed: end the process.
pub fn warm_some(store: &dyn Store, missing: &[Missing]) -> Result<Pins, StoreError> {
    let warmed = store.warm(missing, SOME_BYTES_MAX)?;
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
/// The same for one that gets on with a part: its client may take a while until it goes on.
const SOME_BYTES_MAX: usize = 2 << 20;

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

impl StoreError {
    /// An entry was given up half done, so nothing is written any more.
    pub fn abandoned(doing: &'static str) -> Self {
        Self {
            doing,
            source: Box::new(EntryError::Abandoned),
        }
    }
}

/// Why an entry is not taken.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
enum EntryError {
    #[error("an entry was given up half done: memory shows what the disk will never hold")]
    Abandoned,
    #[error("{unstaged} txns are installed and not staged, {staged} come")]
    OutOfStep { unstaged: usize, staged: usize },
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

/// A log entry on its way into a store: for each slice of its proposals `install` per txn, under the
/// write lock, then, without it, `stage`; after the last slice `persist`, which ends it.
///
/// An entry that is dropped before it was persisted has been given up: by an error, which ends the
/// process, or by mistake. Memory may then show a part of it, and so may what has been staged, and
/// neither can be taken back. So from then on the store refuses to write anything: the disk stays at
/// the end of an entry before. (No assertion: this happens while an error is on its way to who
/// reports it.)
#[derive(Debug)]
#[must_use = "an entry that is not persisted spoils its store"]
pub struct Entry<'a> {
    intake: &'a dyn Intake,
    /// Txns that have been installed and not staged.
    unstaged: usize,
    is_persisted: bool,
}

impl<'a> Entry<'a> {
    /// An entry begins: until it is persisted nothing of it may be on the disk as the state. State
    /// lock not held. A store has one at a time.
    pub fn begin(intake: &'a dyn Intake) -> Self {
        intake.begin();
        Self {
            intake,
            unstaged: 0,
            is_persisted: false,
        }
    }

    /// Makes the changes of a txn visible in memory. Write lock held; never reads the disk.
    pub fn install(&mut self, txn: &Txn) {
        self.intake.install(txn);
        self.unstaged += 1;
    }

    /// Takes over the changes of a slice: of the txns that have been installed since the last one.
    /// State lock not held. They are written at the end of the entry or later.
    ///
    /// # Errors
    /// The storage failed, or these are not the txns that were installed: end the process.
    pub fn stage(&mut self, txns: &[Txn]) -> Result<(), StoreError> {
        self.expect_unstaged("stage a slice", txns.len())?;
        self.intake.stage(txns)?;
        self.unstaged = 0;
        Ok(())
    }

    /// The entry is complete: takes over `meta` as it is behind it. State lock not held. All is
    /// written at once or later, but in order, and atomically with the entries that are written
    /// with it: a crash leaves the state between two entries.
    ///
    /// # Errors
    /// The storage failed, or something was installed and not staged: end the process.
    pub fn persist(mut self, meta: &Meta) -> Result<(), StoreError> {
        self.expect_unstaged("persist an entry", 0)?;
        self.intake.end(meta)?;
        self.is_persisted = true;
        Ok(())
    }

    fn expect_unstaged(&self, doing: &'static str, staged: usize) -> Result<(), StoreError> {
        let unstaged = self.unstaged;
        if unstaged == staged {
            return Ok(());
        }
        Err(StoreError {
            doing,
            source: Box::new(EntryError::OutOfStep { unstaged, staged }),
        })
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.is_persisted {
            self.intake.abandon();
        }
    }
}

/// The steps of an [`Entry`], as a store takes them. Only an entry calls them, which keeps their
/// order; so they are not among what [`Store`] offers.
///
/// From `install` until it is written memory must answer for what was installed, since the disk does
/// not know it yet.
pub trait Intake: fmt::Debug + Send + Sync {
    /// See [`Entry::begin`].
    fn begin(&self);

    /// See [`Entry::install`].
    fn install(&self, txn: &Txn);

    /// See [`Entry::stage`].
    ///
    /// # Errors
    /// The storage failed, or an entry has been abandoned.
    fn stage(&self, txns: &[Txn]) -> Result<(), StoreError>;

    /// See [`Entry::persist`].
    ///
    /// # Errors
    /// The storage failed, or an entry has been abandoned.
    fn end(&self, meta: &Meta) -> Result<(), StoreError>;

    /// The entry will not end: from now on nothing is written, and `stage` and `end` refuse.
    fn abandon(&self);
}

/// The tree's storage.
///
/// The state lock is held by the caller as each method says.
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
    /// does not run on an async worker. Never replaces what was installed meanwhile.
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

    /// Begins an entry: the only way to change the tree. State lock not held; only the one task
    /// that applies calls it.
    fn entry(&self) -> Entry<'_>;

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

    /// Calls `visit` with path and znode of every container and TTL node, in the order of their
    /// paths' bytes; only those behind the path `after`, if it is given. `visit` returns false to
    /// stop. Holds none of them.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn reapable(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &Znode) -> bool,
    ) -> Result<(), StoreError>;
}
