//! What a server shows of its own in `/zookeeper/config`: the members as its files name them.
//!
//! Files of the servers may differ, so their lines are no part of the replicated state, where this
//! znode is empty. They are laid over it when it is read, and only then: nothing is judged by them.
//!
//! zk: ZKDatabase.initConfigInZKDatabase, which writes them into the server's own tree whenever it
//! joins a leader: version -1, mzxid the version of the list, mtime that moment. Watches do not fire,
//! for no client is connected then. A write by somebody whom the ACL lets is an ordinary txn, and from
//! then on all show what was written.
//!
//! zk-differs: there a server that starts again shows its own lines over what was written, until the
//! next write; here what was written stays. The first write makes version 1, there 0.

use std::sync::Arc;

use super::record::ids::Zxid;
use super::record::path;
use super::record::znode::Znode;

/// The text, and the stat that goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalConfig {
    text: Arc<[u8]>,
    version: Zxid,
    since_ms: i64,
}

impl LocalConfig {
    /// `text`: a line for each member, and the version. `version`: the same version, shown as mzxid.
    /// `since_ms`: wall clock of the server's start, shown as mtime.
    pub fn new(text: &str, version: u64, since_ms: i64) -> Self {
        Self {
            text: Arc::from(text.as_bytes()),
            version: Zxid(i64::try_from(version).unwrap_or(i64::MAX)),
            since_ms,
        }
    }

    /// Bytes of the text.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// What is shown of the znode at `path` instead of `node`; `None`: the node itself.
    ///
    /// `outdated`: what a txn of this zxid has written there are members that the log knew when requests
    /// changed them, which they do not any more.
    pub(super) fn over(&self, path: &str, node: &Znode, outdated: Option<Zxid>) -> Option<Znode> {
        let is_written = node.mzxid != Zxid::default() && Some(node.mzxid) != outdated;
        if path != path::CONFIG || is_written {
            return None;
        }
        Some(Znode {
            data: Some(Arc::clone(&self.text)),
            version: -1,
            mzxid: self.version,
            mtime_ms: self.since_ms,
            ..node.clone()
        })
    }
}
