//! The four ways to create a znode.

use bytes::Bytes;

use crate::field::record;
use crate::{Acl, Stat, Text};

record! {
    /// Opcodes create, create2 and createContainer.
    pub struct Create {
        /// Where; the sequence number is appended to it.
        pub path: Option<Text>,
        /// Null and empty data are different.
        pub data: Option<Bytes>,
        /// Who may do what.
        pub acl: Option<Vec<Acl>>,
        /// 0 persistent, 1 ephemeral, 2 and 3 the same sequential, 4 container, 5 with a TTL,
        /// 6 the same sequential.
        pub flags: i32,
    }
}

record! {
    /// Opcode createTTL.
    pub struct CreateTtl {
        /// Where; the sequence number is appended to it.
        pub path: Option<Text>,
        /// Null and empty data are different.
        pub data: Option<Bytes>,
        /// Who may do what.
        pub acl: Option<Vec<Acl>>,
        /// As in [`Create`]; 5 and 6 make sense here.
        pub flags: i32,
        /// Time to live without children and changes, in milliseconds.
        pub ttl_ms: i64,
    }
}

record! {
    /// Answers create.
    pub struct CreateResponse {
        /// With the sequence number.
        pub path: Option<Text>,
    }
}

record! {
    /// Answers create2, createContainer and createTTL.
    pub struct Create2Response {
        /// With the sequence number.
        pub path: Option<Text>,
        /// Of the new znode.
        pub stat: Stat,
    }
}
