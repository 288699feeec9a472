//! What operators ask of the watch table: counts, and who watches what.
//!
//! zk-differs: ZooKeeper goes on counting, and listing with no paths, a connection whose watches
//! have all been triggered, since it forgets to take it off its table. Here it is gone.

use std::sync::Arc;

use super::keys::WatcherId;
use super::modes::Modes;
use super::table::WatchTable;

/// The three numbers of `wchs`. They cover the data table only, as in ZooKeeper.
///
/// zk: WatchManager.getWatchesSummary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Connections that watch something.
    pub connections: usize,
    /// Paths that are watched.
    pub paths: usize,
    /// Pairs of the two.
    pub watches: usize,
}

impl WatchTable {
    /// Number of watches, those in the data and in the child table added; a persistent watch is in
    /// both (`zk_watch_count`).
    ///
    /// zk: DataTree.getWatchCount.
    pub fn watch_count(&self) -> usize {
        self.counts.data + self.counts.child
    }

    /// The numbers of `wchs`. Takes as long as there are connections.
    pub fn summary(&self) -> Summary {
        Summary {
            connections: self
                .watchers
                .iter()
                .filter(|watcher| watcher.data > 0)
                .count(),
            paths: self.counts.data_paths,
            watches: self.counts.data,
        }
    }

    /// The list of `wchc`: each watcher of the data table with its paths, all sorted.
    ///
    /// zk: WatchManager.dumpWatches, getWatches.
    pub fn by_watcher(&self) -> impl Iterator<Item = (WatcherId, Vec<&str>)> {
        let mut watchers: Vec<_> = self
            .watchers
            .iter()
            .filter(|watcher| watcher.data > 0)
            .collect();
        watchers.sort_unstable_by_key(|watcher| watcher.id);
        watchers.into_iter().map(|watcher| {
            let key = self.watchers.find(watcher.id);
            let watched = watcher
                .paths
                .iter()
                .filter_map(|path| self.paths.get(*path));
            let in_data = watched.filter(|watched| {
                key.is_some_and(|key| watched.entries.modes(key).meets(Modes::DATA_TABLE))
            });
            let mut paths: Vec<&str> = in_data.map(|watched| &*watched.text).collect();
            paths.sort_unstable();
            (watcher.id, paths)
        })
    }

    /// The list of `wchp`: each path of the data table with its watchers, all sorted.
    ///
    /// zk: WatchManager.dumpWatches, getWatchesByPath.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<WatcherId>)> {
        let mut paths: Vec<_> = self
            .paths
            .iter()
            .filter(|watched| watched.entries.any_data())
            .collect();
        paths.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        paths.into_iter().map(|watched| {
            let entries = watched.entries.as_slice().iter();
            let in_data = entries.filter(|entry| entry.modes.meets(Modes::DATA_TABLE));
            let found = in_data.filter_map(|entry| self.watchers.get(entry.watcher));
            let mut watchers: Vec<WatcherId> = found.map(|watcher| watcher.id).collect();
            watchers.sort_unstable();
            (&*watched.text, watchers)
        })
    }

    /// Copies a part of the data table to `found`: each pair of a path and one of its watchers, in
    /// no meaningful order. For `wchc` and `wchp` of tables that are too large to be copied under
    /// one lock: begin with `from` 0, go on at the answer, in as many steps as it takes. What comes
    /// and goes between the steps may be missed.
    pub fn copy_part(
        &self,
        from: usize,
        slots: usize,
        found: &mut Vec<(Arc<str>, WatcherId)>,
    ) -> Option<usize> {
        for watched in self.paths.part(from, slots)? {
            if !watched.entries.any_data() {
                continue;
            }
            let path: Arc<str> = Arc::from(&*watched.text);
            let entries = watched.entries.as_slice().iter();
            let in_data = entries.filter(|entry| entry.modes.meets(Modes::DATA_TABLE));
            let watchers = in_data.filter_map(|entry| self.watchers.get(entry.watcher));
            found.extend(watchers.map(|watcher| (Arc::clone(&path), watcher.id)));
        }
        Some(from.saturating_add(slots))
    }
}
