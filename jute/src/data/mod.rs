//! Records that stand inside other records: [`Stat`], [`Acl`], [`Id`], [`ClientInfo`].

mod acl;
mod stat;

pub use acl::{Acl, ClientInfo, Id, perms};
pub use stat::Stat;
