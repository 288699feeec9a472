//! Who may do what: [`Acl`] entries, their [`Id`]s and permission bits.

use crate::Text;
use crate::field::record;

/// Permission bits of an ACL entry. zk: ZooDefs.Perms.
pub mod perms {
    /// Read the data, list the children.
    pub const READ: i32 = 1;
    /// Set the data.
    pub const WRITE: i32 = 1 << 1;
    /// Create a child.
    pub const CREATE: i32 = 1 << 2;
    /// Delete a child.
    pub const DELETE: i32 = 1 << 3;
    /// Set the ACL.
    pub const ADMIN: i32 = 1 << 4;
    /// All of them.
    pub const ALL: i32 = READ | WRITE | CREATE | DELETE | ADMIN;
}

record! {
    /// An identity: a scheme and what it means by it.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Id {
        /// `world`, `digest`, `ip`, ...
        pub scheme: Option<Text>,
        /// `anyone`, `user:hash`, `10.0.0.0/8`, ...
        pub id: Option<Text>,
    }
    usual: (b"\0\0\0\x05world\0\0\0\x06anyone", Id::ANYONE)
}

impl Id {
    /// Everybody, which nearly every ACL names.
    pub const ANYONE: Self = Self {
        scheme: Some(Text::from_static("world")),
        id: Some(Text::from_static("anyone")),
    };
}

record! {
    /// One entry of an ACL. The bits are not checked here: servers store what they are given.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Acl {
        /// See [`perms`].
        pub perms: i32,
        /// Whom the entry is for.
        pub id: Id,
    }
}

record! {
    /// An identity of a connection, as whoAmI tells it.
    pub struct ClientInfo {
        /// The scheme.
        pub auth_scheme: Option<Text>,
        /// The user, without any secret.
        pub user: Option<Text>,
    }
}
