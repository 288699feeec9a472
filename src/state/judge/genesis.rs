//! The first znodes of a new tree.

use std::sync::Arc;

use jute::{Acl, Id, perms};

use super::overlay::Counters;
use crate::state::record::ids::{AclId, Origin, SessionId, Zxid};
use crate::state::record::path;
use crate::state::record::znode::Znode;
use crate::state::txn::{Change, Outcome, Txn};

/// Makes the root, `/zookeeper` and what is below it: all zxids and times 0, and children that
/// do not count as creations, so that a fresh root reports cversion -1.
///
/// zk: DataTree's constructor, addConfigNode.
pub(in crate::state) fn first_txn() -> (Txn, Counters) {
    let read_only = Acl {
        perms: perms::READ,
        id: Id::ANYONE,
    };
    let config_acl = AclId(1);
    let node = |children| Znode {
        children,
        data: Some(Arc::from([])),
        ..Znode::default()
    };
    let config = Znode {
        aversion: -1,
        acl: config_acl,
        ..node(0)
    };
    let znodes = [
        (path::ROOT, node(1)),
        (path::ZOOKEEPER, node(2)),
        (path::CONFIG, config),
        (path::QUOTA, node(0)),
    ];
    let list = Change::Acl {
        id: config_acl,
        list: Arc::from([read_only]),
        references: 1,
    };
    let data_bytes = znodes.iter().map(|(path, _)| path::length(path)).sum();
    let changes = znodes.into_iter().map(|(path, node)| Change::Znode {
        path: Arc::from(path),
        after: Some(Arc::new(node)),
        listed: path != path::ROOT,
    });
    let changes = [list].into_iter().chain(changes).collect();
    let txn = Txn {
        origin: Origin::default(),
        sequence: 0,
        session: SessionId::NONE,
        cxid: 0,
        zxid: Zxid::default(),
        time_ms: 0,
        outcome: Outcome::Done,
        changes,
        events: Vec::new(),
    };
    let counters = Counters {
        acl_next: config_acl.0 + 1,
        znodes: 3,
        data_bytes,
        ephemerals: 0,
    };
    (txn, counters)
}
