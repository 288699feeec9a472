//! Quotas: two ordinary znodes below `/zookeeper/quota` for each path under quota.
//!
//! `zookeeper_limits` says what is allowed, `zookeeper_stats` what is used. The data of the stats
//! node *is* the count: every change under a quota rewrites it in place, without a version, a time
//! or an event, as ZooKeeper does. Of nested quotas only the deepest counts.
//!
//! zk-differs: a stats node that cannot be parsed, and limits on the root, are without effect;
//! there they end the server while applying, and again at every start. A start does not count
//! again, since the numbers are part of the replicated state.
//!
//! Its sums wrap, as Java's do: clients may write any number into the stats.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use jute::ErrorCode;

use super::judge::{Judge, Stop};
use super::overlay::Layer;
use crate::state::record::path;
use crate::state::record::znode::Znode;
use crate::state::store::StoreError;
use crate::state::txn::Change;

const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

const COUNT: &str = "count";
const BYTES: &str = "bytes";
const COUNT_HARD: &str = "countHardLimit";
const BYTES_HARD: &str = "byteHardLimit";

/// The text of a limits or stats node: named numbers, -1 for one that is missing.
///
/// zk: StatsTrack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Track<'a> {
    numbers: BTreeMap<Cow<'a, str>, i64>,
}

impl<'a> Track<'a> {
    /// `None`: ZooKeeper's parser throws.
    fn parse(data: Option<&'a [u8]>) -> Option<Self> {
        let mut track = Self::default();
        match String::from_utf8_lossy(data?) {
            Cow::Borrowed(text) => track.read(text, Cow::Borrowed)?,
            Cow::Owned(text) => track.read(&text, |key| Cow::Owned(key.to_owned()))?,
        }
        Some(track)
    }

    /// Java's `split` drops empty parts at the end; a run of separators counts as one, and one in
    /// front makes an empty pair.
    fn read<'t>(&mut self, text: &'t str, own: impl Fn(&'t str) -> Cow<'a, str>) -> Option<()> {
        const SEPARATORS: [char; 2] = [',', ';'];
        let pairs = text.trim_end_matches(SEPARATORS);
        if pairs.starts_with(SEPARATORS) {
            return None;
        }
        for pair in pairs.split(SEPARATORS).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.trim_end_matches('=').split('=');
            let key = parts.next()?;
            let number = match parts.next()? {
                "" => -1,
                number => number.parse().ok()?,
            };
            self.numbers.insert(own(key), number);
        }
        Some(())
    }

    fn get(&self, key: &str) -> i64 {
        self.numbers.get(key).copied().unwrap_or(-1)
    }

    fn add(&mut self, key: &'static str, difference: i64) {
        let sum = self.get(key).wrapping_add(difference);
        self.numbers.insert(Cow::Borrowed(key), sum);
    }

    /// zk: StatsTrack.toString: count and bytes in front, the others sorted behind a '='.
    fn to_text(&self) -> String {
        let mut text = format!("{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES));
        let others = self
            .numbers
            .iter()
            .filter(|(key, _)| !matches!(&***key, COUNT | BYTES));
        for (index, (key, number)) in others.enumerate() {
            let before = if index == 0 { "=" } else { "" };
            // Writing to a string cannot fail.
            let written = write!(text, "{before};{key}={number}");
            debug_assert!(written.is_ok());
        }
        text
    }
}

/// The path under quota that a node at `path` is about, and whether it holds limits or stats.
/// Empty for the root.
fn quota_node(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.strip_prefix(path::QUOTA)?.rsplit_once('/')?;
    (parent.is_empty() || parent.starts_with('/')).then_some((parent, name))
}

fn stats_path(root: &str) -> String {
    format!("{}{root}/{STATS}", path::QUOTA)
}

fn limits_path(root: &str) -> String {
    format!("{}{root}/{LIMITS}", path::QUOTA)
}

fn difference(after: usize, before: usize) -> i64 {
    let wide = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    wide(after) - wide(before)
}

impl Judge<'_> {
    /// Refuses with -125 what a hard limit forbids; `before`: the node that setData replaces.
    ///
    /// zk: ZooKeeperServer.checkQuota: text that cannot be parsed makes it fail, hence -5. Limits
    /// and stats are those before the whole multi: its ops together may exceed a limit.
    pub(in crate::state) fn quota_permits(
        &self,
        path: &str,
        data_bytes: usize,
        before: Option<&Znode>,
    ) -> Result<(), Stop> {
        if !self.rules.enforce_quota {
            return Ok(());
        }
        let committed = [self.work.committed()];
        let Some(root) = self.quota_root(&committed, path) else {
            return Ok(());
        };
        let Some(limits) = self.znode_under(&committed, &limits_path(root))? else {
            return Ok(());
        };
        let unreadable = Stop::Refused(ErrorCode::MARSHALLING_ERROR);
        let Some(limits) = Track::parse(limits.data.as_deref()) else {
            return Err(unreadable);
        };
        let count_more = i64::from(before.is_none());
        let bytes_more = difference(data_bytes, before.map_or(0, Znode::data_bytes));
        let is_set = |soft, hard| limits.get(soft) > -1 || limits.get(hard) > -1;
        let count_asked = count_more != 0 && is_set(COUNT, COUNT_HARD);
        let bytes_asked = bytes_more != 0 && is_set(BYTES, BYTES_HARD);
        if !count_asked && !bytes_asked {
            return Ok(());
        }
        let Some(used) = self.znode_under(&committed, &stats_path(root))? else {
            return Ok(());
        };
        let Some(used) = Track::parse(used.data.as_deref()) else {
            return Err(unreadable);
        };
        let over = |asked: bool, used: i64, more: i64, limit: i64| {
            asked && limit > -1 && used.wrapping_add(more) > limit
        };
        if over(
            count_asked,
            used.get(COUNT),
            count_more,
            limits.get(COUNT_HARD),
        ) || over(
            bytes_asked,
            used.get(BYTES),
            bytes_more,
            limits.get(BYTES_HARD),
        ) {
            return Err(Stop::Refused(ErrorCode::QUOTA_EXCEEDED));
        }
        Ok(())
    }

    /// A node was created.
    ///
    /// zk: DataTree.createNode, its end.
    pub(in crate::state) fn quota_created(
        &mut self,
        path: &Arc<str>,
        data_bytes: usize,
    ) -> Result<(), StoreError> {
        match quota_node(path) {
            Some((root, LIMITS)) if !root.is_empty() => self.put_quota(root, true),
            Some((root, STATS)) => self.recount(path, root)?,
            _ => {}
        }
        self.use_quota(path, difference(data_bytes, 0), 1)
    }

    /// A node was deleted.
    ///
    /// zk: DataTree.deleteNode.
    pub(in crate::state) fn quota_deleted(
        &mut self,
        path: &str,
        data_bytes: usize,
    ) -> Result<(), StoreError> {
        match quota_node(path) {
            Some((root, LIMITS)) if !root.is_empty() => self.put_quota(root, false),
            _ => {}
        }
        self.use_quota(path, difference(0, data_bytes), -1)
    }

    /// A node's data was set: the stats are rewritten even if its length is the same.
    ///
    /// zk: DataTree.setData.
    pub(in crate::state) fn quota_set(
        &mut self,
        path: &str,
        before_bytes: usize,
        after_bytes: usize,
    ) -> Result<(), StoreError> {
        self.use_quota(path, difference(after_bytes, before_bytes), 0)
    }

    /// The deepest of the path and its ancestors that is under quota, as `layers` over the state
    /// say.
    ///
    /// zk: DataTree.getMaxPrefixWithQuota.
    fn quota_root<'p>(&self, layers: &[&Layer], path: &'p str) -> Option<&'p str> {
        if !self.state.has_quotas() && layers.iter().all(|layer| layer.quotas.is_empty()) {
            return None;
        }
        path::upwards(path).find(|path| {
            let held = layers.iter().find_map(|layer| layer.quotas.get(*path));
            held.copied().unwrap_or_else(|| self.state.has_quota(path))
        })
    }

    fn put_quota(&mut self, root: &str, added: bool) {
        let path: Arc<str> = Arc::from(root);
        self.work.top().quotas.insert(Arc::clone(&path), added);
        self.work.changes.push(Change::Quota { path, added });
    }

    /// zk: DataTree.updateQuotaStat.
    fn use_quota(&mut self, path: &str, bytes: i64, count: i64) -> Result<(), StoreError> {
        let Some(root) = self.quota_root(&self.work.layers(), path) else {
            return Ok(());
        };
        let stats_path = stats_path(root);
        let Some(stats) = self.znode(&stats_path)? else {
            return Ok(());
        };
        let Some(mut used) = Track::parse(stats.data.as_deref()) else {
            return Ok(());
        };
        used.add(COUNT, count);
        used.add(BYTES, bytes);
        let text = used.to_text();
        let key = self.key(&stats_path);
        self.put_data(key, &stats, Some(Arc::from(text.as_bytes())), |_| {});
        Ok(())
    }

    /// Counts everything under `root` anew, itself included, and writes that into the stats node.
    ///
    /// zk: DataTree.updateQuotaForPath, getCounts. Reads the whole subtree, as there.
    fn recount(&mut self, stats_path: &Arc<str>, root: &str) -> Result<(), StoreError> {
        let root = path::resolve(root);
        let below = format!("{}/", root.trim_end_matches('/'));
        let [multi, slice] = self.work.layers();
        let is_inside = |path: &str| path == root || path.starts_with(&below);
        let mut changed: HashMap<&str, Option<&Znode>> = HashMap::new();
        for layer in [slice, multi] {
            let inside = layer.znodes.iter().filter(|(path, _)| is_inside(path));
            changed.extend(inside.map(|(path, held)| (&**path, held.znode.as_deref())));
        }
        let (mut count, mut bytes) = (0_i64, 0_i64);
        let mut visit = |node: &Znode| {
            count += 1;
            bytes = bytes.wrapping_add(difference(node.data_bytes(), 0));
        };
        self.state.store().view().walk(root, &mut |path, node| {
            if !changed.contains_key(path) {
                visit(node);
            }
            true
        })?;
        // A sum: the order of hashing does not show.
        changed.values().flatten().for_each(|node| visit(node));
        let mut used = Track::default();
        used.numbers.insert(Cow::Borrowed(COUNT), count);
        used.numbers.insert(Cow::Borrowed(BYTES), bytes);
        let text = used.to_text();
        if let Some(stats) = self.znode(stats_path)? {
            let data = Some(Arc::from(text.as_bytes()));
            self.put_data(Arc::clone(stats_path), &stats, data, |_| {});
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Track::parse(Some(text.as_bytes())).map(|track| track.to_text())
    }

    #[test]
    fn text_is_read_as_zookeeper_reads_it() {
        let cases = [
            ("", "count=-1,bytes=-1"),
            (",", "count=-1,bytes=-1"),
            ("count=1,bytes=2", "count=1,bytes=2"),
            ("bytes=2;count=1", "count=1,bytes=2"),
            ("count=1,,;bytes=2,;", "count=1,bytes=2"),
            ("count==,bytes=+7", ""),
            ("count==5", "count=-1,bytes=-1"),
            ("count=3=4", "count=3,bytes=-1"),
            ("=5", "count=-1,bytes=-1=;=5"),
            (
                "count=1,bytes=2=;byteHardLimit=9;countHardLimit=8",
                "count=1,bytes=2=;byteHardLimit=9;countHardLimit=8",
            ),
            ("z=1;a=2", "count=-1,bytes=-1=;a=2;z=1"),
        ];
        for (text, expected) in cases {
            let expected = (!expected.is_empty()).then(|| expected.to_owned());
            assert_eq!(parsed(text), expected, "{text:?}");
        }
        for bad in [
            ",count=1",
            "count",
            "count=",
            "=",
            "count=x",
            "count=1 ",
            "count=99999999999999999999",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
        assert_eq!(Track::parse(None), None);
    }

    #[test]
    fn quota_nodes() {
        assert_eq!(
            quota_node("/zookeeper/quota/a/b/zookeeper_limits"),
            Some(("/a/b", LIMITS))
        );
        assert_eq!(
            quota_node("/zookeeper/quota/zookeeper_stats"),
            Some(("", STATS))
        );
        assert_eq!(quota_node("/zookeeper/quotas/a/zookeeper_limits"), None);
        assert_eq!(quota_node("/zookeeper/quota"), None);
    }
}
