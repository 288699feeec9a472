//! Requests about ACLs.

use crate::field::record;
use crate::{Acl, Stat, Text};

record! {
    /// Asks for a znode's ACL.
    pub struct GetAcl {
        /// Whose.
        pub path: Option<Text>,
    }
}

record! {
    /// Replaces a znode's ACL.
    pub struct SetAcl {
        /// Whose.
        pub path: Option<Text>,
        /// The new one.
        pub acl: Option<Vec<Acl>>,
        /// The expected ACL version, -1 for any.
        pub version: i32,
    }
}

record! {
    /// Answers getACL.
    pub struct GetAclResponse {
        /// With digests masked for callers without ADMIN.
        pub acl: Option<Vec<Acl>>,
        /// Of the znode.
        pub stat: Stat,
    }
}
