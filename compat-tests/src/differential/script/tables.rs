//! The names of numbers, and what need not be said.

use super::super::step::Acl;
use super::super::values;

pub(super) const TIMEOUT_MS: i32 = 300_000;
pub(super) const PIPED: &str = "piped";

/// Kinds of watches by number; those of addWatch are other ones.
pub(super) const KINDS: [(i32, &str); 5] = [
    (1, "children"),
    (2, "data"),
    (3, "any"),
    (4, "persistent"),
    (5, "recursive"),
];
pub(super) const MODES: [(i32, &str); 2] = [(0, "persistent"), (1, "recursive")];
pub(super) const LISTS: [&str; 5] = ["data", "exist", "child", "persistent", "recursive"];

/// Commands by the opcode that they say, for each shape of a record.
pub(super) const VERSIONED: [(i32, &str); 2] = [(2, "delete"), (13, "check")];
pub(super) const READS: [(i32, &str); 4] = [(3, "stat"), (4, "get"), (8, "ls"), (12, "ls2")];
pub(super) const PATHS: [(i32, &str); 4] = [
    (6, "getacl"),
    (9, "sync"),
    (103, "ephemerals"),
    (104, "count"),
];
pub(super) const WATCHES: [(i32, &str); 3] =
    [(17, "checkwatch"), (18, "removewatch"), (106, "addwatch")];
pub(super) const MULTIS: [(i32, &str); 2] = [(14, "multi"), (22, "multiread")];
pub(super) const BARE: [(i32, &str); 3] = [(-11, "close"), (107, "whoami"), (11, "ping")];
pub(super) const CREATES: [(i32, &str); 4] = [
    (1, "create"),
    (15, "create2"),
    (19, "container"),
    (21, "ttl"),
];

/// The name of a number, if it has one.
pub(super) fn name_of(table: &[(i32, &'static str)], number: i32) -> Option<&'static str> {
    let found = table.iter().find(|(known, _)| *known == number);
    found.map(|(_, name)| *name)
}

/// The number of a name.
pub(super) fn number_of(table: &[(i32, &str)], name: &str) -> Option<i32> {
    let found = table.iter().find(|(_, known)| *known == name);
    found.map(|(number, _)| *number)
}

pub(super) fn kinds(code: i32) -> &'static [(i32, &'static str)] {
    if code == 106 { &MODES } else { &KINDS }
}

pub(super) fn open_acl() -> Option<Vec<Acl>> {
    values::open_acl()
}
