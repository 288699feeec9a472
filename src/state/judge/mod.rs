//! What a proposal comes to: ZooKeeper's rules, over what the txn has changed so far.

pub(super) mod genesis;
#[expect(
    clippy::module_inception,
    reason = "a file is named after the thing that it holds"
)]
pub(super) mod judge;
pub(super) mod multi;
pub(super) mod new_znode;
pub(super) mod overlay;
pub(super) mod quota;
pub(super) mod reconfig;
pub(super) mod sessions;
pub(super) mod tree;
