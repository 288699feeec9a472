//! Who a connection says it is: what ACLs are judged by.

use std::sync::Arc;

/// One authenticated id of a connection, such as `ip:127.0.0.1` or `digest:bob:...`.
///
/// zk: org.apache.zookeeper.data.Id within ServerCnxn.authInfo.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// `ip`, `digest`, `x509`, `sasl`, `super`.
    pub scheme: Arc<str>,
    /// Depends on the scheme; empty for `super`.
    pub id: Arc<str>,
}

/// All ids of a connection, shared with each of its proposals. Starts with the ip id.
pub type Identities = Arc<[Identity]>;
