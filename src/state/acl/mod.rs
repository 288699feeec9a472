//! ACLs: what may be stored, who is permitted, and lists kept once for all znodes that share them.

mod ip;
mod rules;
mod table;

pub use rules::permits;
pub(super) use rules::{Fixed, fix, masked};
pub(super) use table::{AclTable, closed_list, open_list};
