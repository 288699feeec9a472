//! The one table of settings: every key of ZooKeeper 3.9 that an operator may have written, and ours.
//!
//! A key is added here and nowhere else: its entry says where it may be written, how its value is
//! read, its default, what we do with it, and one line for the manual (`docs/configuration.md` is
//! printed from it). The subjects have a file each; `server.N`, `group.N` and `weight.N` are listed
//! for the manual, and read by `members.rs` because they only mean something together.

mod admin;
mod auth;
mod core;
mod limits;
mod ours;
mod storage;
mod tls;

use super::key::Key;

/// A subject of the manual and its keys.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key],
}

/// The whole table, in the order of the manual.
pub(crate) const SECTIONS: [Section; 7] = [
    Section {
        title: "Oxkeeper's own",
        keys: ours::KEYS,
    },
    Section {
        title: "Core and ensemble",
        keys: core::KEYS,
    },
    Section {
        title: "Storage and log",
        keys: storage::KEYS,
    },
    Section {
        title: "Limits, throttling, sessions",
        keys: limits::KEYS,
    },
    Section {
        title: "Authentication and authorisation",
        keys: auth::KEYS,
    },
    Section {
        title: "Admin, metrics, audit, four-letter words",
        keys: admin::KEYS,
    },
    Section {
        title: "TLS",
        keys: tls::KEYS,
    },
];

/// Every entry.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The entry for a key as written: by its whole name, else by its longest prefix.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    let exact = all().find(|key| key.name == name);
    exact.or_else(|| {
        all()
            .filter(|key| key.matches(name))
            .max_by_key(|key| key.name.len())
    })
}

/// The entry whose documented title, which is not its key, was written.
pub(crate) fn find_title(name: &str) -> Option<&'static Key> {
    all().find(|key| key.title == Some(name))
}

/// The key that differs from `name` only in case: what a typo may have meant.
pub(crate) fn find_similar(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name.eq_ignore_ascii_case(name))
}
