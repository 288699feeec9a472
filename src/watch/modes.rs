//! How a watch is registered, what a removal is after, and the set of modes of one entry.

/// How a watcher wants to be told about a path. Several may coexist for one watcher and path.
///
/// zk: WatcherMode, and DataTree.addWatch for the tables that each one enters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Registration {
    /// `exists`, `getData`: once, about the node itself.
    Data,
    /// `getChildren`: once, about the node's list of children, or the node's end.
    Child,
    /// `addWatch` mode 0: all that the two above tell, until removed.
    Persistent,
    /// `addWatch` mode 1: creation, deletion and data of the node and everything below it.
    PersistentRecursive,
}

/// Which watches a check or a removal is after.
///
/// zk: Watcher.WatcherType, DataTree.containsWatcher, DataTree.removeWatch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RemoveKind {
    /// Standard child watches.
    Children,
    /// Standard data watches; `exists` and `getData` cannot be told apart.
    Data,
    /// Watches of every kind.
    Any,
    /// Persistent watches that are not recursive.
    Persistent,
    /// Persistent recursive watches.
    PersistentRecursive,
}

/// The code of a watch mode or watcher type is none that ZooKeeper defines: answer `MarshallingError`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("watch code {0} is not defined")]
pub struct UnknownCode(pub i32);

impl Registration {
    /// The registration that an `addWatch` asks for by its wire `mode`.
    ///
    /// # Errors
    /// Any mode but 0 and 1.
    ///
    /// zk: WatcherMode.fromZooDef.
    pub fn of_add_watch(mode: i32) -> Result<Self, UnknownCode> {
        match mode {
            0 => Ok(Self::Persistent),
            1 => Ok(Self::PersistentRecursive),
            other => Err(UnknownCode(other)),
        }
    }

    pub(super) const fn modes(self) -> Modes {
        match self {
            Self::Data => Modes::DATA,
            Self::Child => Modes::CHILD,
            Self::Persistent => Modes::PERSISTENT,
            Self::PersistentRecursive => Modes::RECURSIVE,
        }
    }
}

impl RemoveKind {
    pub(super) const fn modes(self) -> Modes {
        match self {
            Self::Children => Modes::CHILD,
            Self::Data => Modes::DATA,
            Self::Any => Modes::ALL,
            Self::Persistent => Modes::PERSISTENT,
            Self::PersistentRecursive => Modes::RECURSIVE,
        }
    }
}

impl TryFrom<i32> for RemoveKind {
    type Error = UnknownCode;

    /// zk: WatcherType.fromInt.
    fn try_from(code: i32) -> Result<Self, UnknownCode> {
        match code {
            1 => Ok(Self::Children),
            2 => Ok(Self::Data),
            3 => Ok(Self::Any),
            4 => Ok(Self::Persistent),
            5 => Ok(Self::PersistentRecursive),
            other => Err(UnknownCode(other)),
        }
    }
}

/// The modes of one watcher on one path: a set of [`Registration`]s.
///
/// The persistent mode is in both of ZooKeeper's tables or in neither, so one bit does for both.
///
/// zk: WatchStats, of both tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Modes(u8);

impl Modes {
    pub(super) const NONE: Self = Self(0);
    pub(super) const DATA: Self = Self(1);
    pub(super) const CHILD: Self = Self(2);
    pub(super) const PERSISTENT: Self = Self(4);
    pub(super) const RECURSIVE: Self = Self(8);
    pub(super) const ALL: Self = Self(15);
    /// Those that vanish when they are triggered.
    pub(super) const STANDARD: Self = Self::DATA.with(Self::CHILD);
    /// Those that stand in ZooKeeper's data table.
    pub(super) const DATA_TABLE: Self = Self::DATA.with(Self::PERSISTENT).with(Self::RECURSIVE);
    /// Those that stand in ZooKeeper's child table.
    pub(super) const CHILD_TABLE: Self = Self::CHILD.with(Self::PERSISTENT);

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
