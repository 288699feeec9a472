//! The watch table: registering, triggering, checking and removing.
//!
//! What an event triggers (reference: protocol 9.3), P being its path:
//!
//! | event | first | then |
//! | --- | --- | --- |
//! | created | data table of P: created | child table of the parent: children changed |
//! | deleted | data and child table of P: deleted | child table of the parent: children changed |
//! | data changed | data table of P: data changed | |
//!
//! To the watchers of P in the data table belong those that watch an ancestor recursively. Each
//! watcher gets one notice per trigger, however many of its modes and paths match.

use jute::Acl;

use super::keys::{PathKey, WatcherId, WatcherKey};
use super::modes::{Modes, Registration, RemoveKind};
use super::paths::Paths;
use super::watchers::Watchers;
use crate::state::{Event, split_last};

/// Who wants to know what: the watches of all connections of this server.
///
/// The caller holds the lock. A read that registers must do so before the state it read can change.
///
/// zk: the two WatchManagers of DataTree.
#[derive(Debug)]
pub struct WatchTable {
    pub(super) paths: Paths,
    pub(super) watchers: Watchers,
    pub(super) counts: Counts,
    /// Those to be told by the trigger at hand. Kept for its memory only.
    recipients: Vec<WatcherKey>,
}

/// How many watches there are: pairs of path and watcher, as in ZooKeeper's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) data: usize,
    pub(super) child: usize,
    pub(super) recursive: usize,
    /// Paths that have a watcher in the data table.
    pub(super) data_paths: usize,
}

/// What one watcher is to be told, unless it may not read `filter_acl`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Notice<'a> {
    /// Who.
    pub watcher: WatcherId,
    /// What happened.
    pub kind: NoticeKind,
    /// Where: the node that was created, deleted or set, or the one whose children changed.
    pub path: &'a str,
    /// ACL that must grant READ to the watcher, or the notice is not sent. Its watch is consumed
    /// all the same.
    pub filter_acl: &'a [Acl],
}

/// What happened to a node, as clients know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeKind {
    /// NodeCreated.
    Created,
    /// NodeDeleted.
    Deleted,
    /// NodeDataChanged.
    DataChanged,
    /// NodeChildrenChanged.
    ChildrenChanged,
}

impl NoticeKind {
    /// The type in a WatcherEvent record.
    ///
    /// zk: Watcher.Event.EventType.
    pub const fn wire_type(self) -> i32 {
        match self {
            Self::Created => 1,
            Self::Deleted => 2,
            Self::DataChanged => 3,
            Self::ChildrenChanged => 4,
        }
    }
}

impl Default for WatchTable {
    fn default() -> Self {
        Self::new()
    }
}

impl WatchTable {
    /// A table without watches. Takes no memory until it has some.
    pub fn new() -> Self {
        Self {
            paths: Paths::new(),
            watchers: Watchers::new(),
            counts: Counts::default(),
            recipients: Vec::new(),
        }
    }

    /// Registers a watch. Once more is once.
    ///
    /// `path`: any text, also of a node that does not exist, or one that no node can have; or
    /// `None`, a null path, which is kept for [`WatchTable::contains`] and the counts.
    ///
    /// zk: DataTree.addWatch, WatchManager.addWatch.
    pub fn add<'a>(
        &mut self,
        path: impl Into<Option<&'a str>>,
        watcher: WatcherId,
        registration: Registration,
    ) {
        // Both keys run out only with 2^32 live connections or paths: such a watch is not kept.
        let Some(watcher) = self.watchers.find_or_insert(watcher) else {
            return;
        };
        let Some(path) = self.paths.find_or_insert(path.into()) else {
            return;
        };
        self.alter(path, watcher, |modes| modes.with(registration.modes()));
    }

    /// Takes away the watches of this kind that `watcher` has on `path`; false, if it had none.
    /// No notice is sent for them.
    ///
    /// zk: DataTree.removeWatch.
    pub fn remove<'a>(
        &mut self,
        path: impl Into<Option<&'a str>>,
        watcher: WatcherId,
        kind: RemoveKind,
    ) -> bool {
        let path = self.paths.find(path.into());
        let (Some(path), Some(watcher)) = (path, self.watchers.find(watcher)) else {
            return false;
        };
        self.alter(path, watcher, |modes| modes.without(kind.modes()))
    }

    /// Takes away all watches of a connection that has ended.
    ///
    /// zk: DataTree.removeCnxn.
    pub fn drop_watcher(&mut self, watcher: WatcherId) {
        while self.drop_watcher_part(watcher, usize::MAX) {}
    }

    /// Takes away at most `count` watched paths of a connection that has ended; true, if more are
    /// left. A million of them take a second, for which nobody else should have to wait.
    pub fn drop_watcher_part(&mut self, watcher: WatcherId, count: usize) -> bool {
        let Some(key) = self.watchers.find(watcher) else {
            return false;
        };
        let Some(held) = self.watchers.get(key) else {
            return false;
        };
        let part: Vec<_> = held.paths.iter().take(count.max(1)).copied().collect();
        let more = part.len() < held.paths.len();
        for path in part {
            self.alter(path, key, |_| Modes::NONE);
        }
        if !more {
            self.watchers.remove(watcher);
        }
        more
    }

    /// Tells all who want to know of `event`, in the order in which each of them must hear it,
    /// and takes away the standard watches that it used up.
    ///
    /// A path that nobody watches costs a look-up in a hash table, and one for each of its
    /// ancestors only if there are recursive watches at all.
    ///
    /// zk: DataTree.createNode, deleteNode, setData; WatchManager.triggerWatch.
    pub fn trigger(&mut self, event: &Event, notify: &mut dyn FnMut(Notice<'_>)) {
        match event {
            Event::Created {
                path,
                acl,
                parent_acl,
            } => {
                self.trigger_at(path, Modes::DATA_TABLE, NoticeKind::Created, acl, notify);
                self.trigger_parent(path, parent_acl, notify);
            }
            Event::Deleted {
                path,
                acl,
                parent_acl,
            } => {
                // ZooKeeper triggers the data table, then the child table without those who have
                // been told already. One pass over both tells the same connections the same.
                let both = Modes::DATA_TABLE.with(Modes::CHILD_TABLE);
                self.trigger_at(path, both, NoticeKind::Deleted, acl, notify);
                self.trigger_parent(path, parent_acl, notify);
            }
            Event::DataChanged { path, acl } => {
                self.trigger_at(
                    path,
                    Modes::DATA_TABLE,
                    NoticeKind::DataChanged,
                    acl,
                    notify,
                );
            }
        }
    }

    fn trigger_parent(&mut self, path: &str, acl: &[Acl], notify: &mut dyn FnMut(Notice<'_>)) {
        if let Some(parent) = parent(path) {
            let kind = NoticeKind::ChildrenChanged;
            self.trigger_at(parent, Modes::CHILD_TABLE, kind, acl, notify);
        }
    }

    /// One trigger: everybody on `path` with one of the modes in `table`; ancestors too, if the
    /// data table is meant.
    fn trigger_at(
        &mut self,
        path: &str,
        table: Modes,
        kind: NoticeKind,
        filter_acl: &[Acl],
        notify: &mut dyn FnMut(Notice<'_>),
    ) {
        self.recipients.clear();
        if let Some(key) = self.paths.find(Some(path)) {
            self.consume(key, table);
        }
        if table.meets(Modes::RECURSIVE) && self.counts.recursive > 0 {
            self.add_recursive(path);
        }
        for key in &self.recipients {
            if let Some(watcher) = self.watchers.get(*key) {
                notify(Notice {
                    watcher: watcher.id,
                    kind,
                    path,
                    filter_acl,
                });
            }
        }
        self.recipients.shrink_to(RECIPIENTS_KEPT);
    }

    /// Collects the watchers on one path and takes away their standard watches.
    fn consume(&mut self, path: PathKey, table: Modes) {
        let Self {
            paths,
            watchers,
            counts,
            recipients,
        } = self;
        let Some(watched) = paths.get_mut(path) else {
            return;
        };
        let had_data = watched.entries.any_data();
        watched.entries.revise(&mut |entry| {
            if !entry.modes.meets(table) {
                return entry.modes;
            }
            recipients.push(entry.watcher);
            let after = entry.modes.without(table.and(Modes::STANDARD));
            if after != entry.modes {
                settle(counts, watchers, path, entry.watcher, entry.modes, after);
            }
            after
        });
        counts.data_paths += usize::from(watched.entries.any_data());
        counts.data_paths -= usize::from(had_data);
        if watched.entries.is_empty() {
            paths.remove(path);
        }
    }

    /// Adds those who watch an ancestor of `path` recursively, each once.
    fn add_recursive(&mut self, path: &str) {
        let own = self.recipients.len();
        let mut below = path;
        while let Some(ancestor) = parent(below) {
            below = ancestor;
            let Some(watched) = self
                .paths
                .find(Some(ancestor))
                .and_then(|key| self.paths.get(key))
            else {
                continue;
            };
            if watched.entries.any_recursive() {
                let entries = watched.entries.as_slice().iter();
                let recursive = entries.filter(|entry| entry.modes.meets(Modes::RECURSIVE));
                self.recipients.extend(recursive.map(|entry| entry.watcher));
            }
        }
        if self.recipients.len() > own {
            self.recipients.sort_unstable();
            self.recipients.dedup();
        }
    }

    /// Changes the modes of one watcher on one path and keeps all counts and both halves of the
    /// table right. True, if that changed anything.
    fn alter(
        &mut self,
        path: PathKey,
        watcher: WatcherKey,
        change: impl FnOnce(Modes) -> Modes,
    ) -> bool {
        let Some(watched) = self.paths.get_mut(path) else {
            return false;
        };
        let before = watched.entries.modes(watcher);
        let after = change(before);
        let had_data = watched.entries.any_data();
        if before != after {
            watched.entries.set(watcher, after);
            settle(
                &mut self.counts,
                &mut self.watchers,
                path,
                watcher,
                before,
                after,
            );
        }
        self.counts.data_paths += usize::from(watched.entries.any_data());
        self.counts.data_paths -= usize::from(had_data);
        if watched.entries.is_empty() {
            self.paths.remove(path);
        }
        before != after
    }

    /// Whether `watcher` has a watch of this kind on `path`.
    ///
    /// zk: DataTree.containsWatcher.
    pub fn contains<'a>(
        &self,
        path: impl Into<Option<&'a str>>,
        watcher: WatcherId,
        kind: RemoveKind,
    ) -> bool {
        let path = self.paths.find(path.into());
        let (Some(path), Some(watcher)) = (path, self.watchers.find(watcher)) else {
            return false;
        };
        let watched = self.paths.get(path);
        watched.is_some_and(|watched| watched.entries.modes(watcher).meets(kind.modes()))
    }
}

/// How many keys `recipients` keeps room for between triggers.
const RECIPIENTS_KEPT: usize = 64 * 1024;

/// Books the change of one watcher's modes on one path, `before` and `after` being different.
fn settle(
    counts: &mut Counts,
    watchers: &mut Watchers,
    path: PathKey,
    watcher: WatcherKey,
    before: Modes,
    after: Modes,
) {
    let change = |count: &mut usize, table: Modes| {
        *count += usize::from(after.meets(table));
        *count -= usize::from(before.meets(table));
    };
    change(&mut counts.data, Modes::DATA_TABLE);
    change(&mut counts.child, Modes::CHILD_TABLE);
    change(&mut counts.recursive, Modes::RECURSIVE);
    if let Some(watcher) = watchers.get_mut(watcher) {
        change(&mut watcher.data, Modes::DATA_TABLE);
    }
    if before.is_empty() {
        watchers.link(watcher, path);
    } else if after.is_empty() {
        watchers.unlink(watcher, path);
    }
}

/// The path one level up; `None` above the root.
///
/// zk: PathParentIterator.next.
fn parent(path: &str) -> Option<&str> {
    match split_last(path)? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}
