//! Brings every source of settings onto the names of the table, and applies the verdicts.
//!
//! ```text
//! weakest   SERVER_JVMFLAGS   JVMFLAGS   -D on the command line   zoo.cfg   strongest
//!               └────────────────┴──────────────┴────── take_property    └─ take_entry
//!                                   one value per key ─▶ fill ─▶ Builder, errors, warnings
//! ```
//!
//! zk: zoo.cfg's `K` becomes the system property `zookeeper.K` after the JVM's own were set, and so
//! wins. A property without that prefix cannot be set from zoo.cfg there, so for those -D wins here.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::Builder;
use super::finding::{Findings, Source};
use super::key::{Key, Reach, Unread, Verdict};
use super::keys;
use super::membership::MemberKey;

#[derive(Debug)]
struct Given {
    entry: &'static Key,
    value: String,
    origin: Source,
}

/// The one value of each key that was written anywhere.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    by_name: BTreeMap<String, Given>,
}

impl Gathered {
    /// Takes one `name=value` of a `-D` word. False: it is of no concern to us, as for the JVM only.
    pub(crate) fn take_property(
        &mut self,
        name: &str,
        value: &str,
        origin: &Source,
        findings: &mut Findings,
    ) -> bool {
        let prefixed = name.strip_prefix("zookeeper.");
        let (entry, name) = look_up(prefixed.unwrap_or(name), name, origin, findings);
        let Some(entry) = entry else {
            if prefixed.is_some() {
                unknown(name, origin, findings);
            }
            return prefixed.is_some();
        };
        match (entry.reach, prefixed.is_some()) {
            (Reach::Both | Reach::BothAndBare, true)
            | (Reach::BothAndBare | Reach::Jvm, false)
            | (Reach::Ours, _) => {}
            (Reach::File, true) => {
                let text = format!("ignored: {name} is read from zoo.cfg only");
                findings.warn(origin, name, text);
                return true;
            }
            (Reach::Jvm, true) => {
                let text = format!("the property is {name}, without zookeeper.; taken for it");
                findings.warn(origin, name, text);
            }
            (Reach::Both, false) if entry.name == name => {
                let text = format!("ignored: the property is zookeeper.{name}");
                findings.warn(origin, name, text);
                return true;
            }
            (Reach::Both | Reach::File, false) => return false,
        }
        self.insert(entry, name, value, origin);
        true
    }

    /// Takes one entry of zoo.cfg.
    pub(crate) fn take_entry(
        &mut self,
        name: &str,
        value: &str,
        origin: &Source,
        findings: &mut Findings,
    ) {
        let (entry, name) = look_up(name, name, origin, findings);
        let Some(entry) = entry else {
            unknown(name, origin, findings);
            return;
        };
        let before = self.by_name.get(name).map(|given| &given.origin);
        let from_file = matches!(before, Some(Source::File { .. }));
        if let (true, Some(before)) = (from_file, before) {
            findings.warn(
                before,
                name,
                format!("written again at {origin}, which counts"),
            );
        }
        if entry.reach == Reach::Jvm {
            if let (false, Some(before)) = (from_file, before) {
                let text = format!("ignored: the property -D{name} of {before} counts");
                findings.warn(origin, name, text);
                return;
            }
            let text = format!("ZooKeeper would read it from -D{name} only; taken from here too");
            findings.warn(origin, name, text);
        }
        self.insert(entry, name, value, origin);
    }

    fn insert(&mut self, entry: &'static Key, name: &str, value: &str, origin: &Source) {
        let given = Given {
            entry,
            value: value.to_owned(),
            origin: origin.clone(),
        };
        self.by_name.insert(name.to_owned(), given);
    }

    /// Applies every verdict; what names members is handed back, to be read together.
    pub(crate) fn fill(self, builder: &mut Builder, findings: &mut Findings) -> Vec<MemberKey> {
        let mut members = Vec::new();
        let asleep = self.asleep();
        for (
            key,
            Given {
                entry,
                value,
                origin,
            },
        ) in self.by_name
        {
            builder.origins.insert(key.clone(), origin.clone());
            if entry.name.ends_with('*') && MemberKey::is_one(&key) {
                members.push(MemberKey { key, value, origin });
            } else if !asleep.contains(&key) {
                judge(entry, &key, &value, &origin, builder, findings);
            }
        }
        members
    }

    /// The keys that nobody reads, since what they belong to is not switched on.
    fn asleep(&self) -> BTreeSet<String> {
        let holds = |(key, value): (&str, &str)| {
            let given = self.by_name.get(key);
            given.is_some_and(|given| given.value.eq_ignore_ascii_case(value))
        };
        let asleep = self
            .by_name
            .iter()
            .filter(|(_, given)| given.entry.only_if.is_some_and(|other| !holds(other)));
        asleep.map(|(name, _)| name.clone()).collect()
    }
}

/// Finds the entry and its real name: the table's for an exact key or a title, the whole word where
/// the entry is a prefix.
fn look_up<'a>(
    name: &'a str,
    written: &str,
    origin: &Source,
    findings: &mut Findings,
) -> (Option<&'static Key>, &'a str) {
    if let Some(entry) = keys::find(name) {
        return (Some(entry), name);
    }
    let Some(entry) = keys::find_title(name) else {
        return (None, name);
    };
    let text = format!(
        "this is a title of the manual; the key is {}, for which it is taken",
        entry.name
    );
    findings.warn(origin, written, text);
    (Some(entry), entry.name)
}

fn unknown(name: &str, origin: &Source, findings: &mut Findings) {
    let text = match keys::find_similar(name) {
        Some(key) => format!("unknown key, ignored; is {} meant?", key.name),
        None => "unknown key, ignored".to_owned(),
    };
    findings.warn(origin, name, text);
}

/// Reads one value and does what the table says.
///
/// A value that cannot be read is a mistake where it would be in force, and where ZooKeeper itself
/// parses it and would not start; elsewhere it is only odd.
fn judge(
    entry: &Key,
    key: &str,
    value: &str,
    origin: &Source,
    builder: &mut Builder,
    findings: &mut Findings,
) {
    if let Some(text) = entry.oddity(value) {
        findings.warn(origin, key, text);
    }
    let canonical = match entry.canonical(value) {
        Ok(canonical) => canonical,
        Err(unread) => {
            if unreadable(entry, key, unread, origin, findings) {
                builder.unread.insert(key.to_owned());
            }
            return;
        }
    };
    let same = |other: &str| entry.canonical(other).as_ref() == Ok(&canonical);
    let plain = same(entry.default) || entry.quiet.is_some_and(same);
    match entry.verdict {
        Verdict::Honour => match entry.apply(builder, value) {
            Err(why) if entry.lenient => findings.warn(origin, key, why),
            Err(why) => {
                builder.unread.insert(key.to_owned());
                findings.error(origin, key, why);
            }
            Ok(()) => {
                if let (false, Some(caution)) = (plain, entry.caution) {
                    findings.warn(origin, key, caution);
                }
            }
        },
        Verdict::Ignore => {}
        Verdict::Later(_) | Verdict::Warn(_) | Verdict::Refuse(_) if plain => {}
        Verdict::Later(what) => findings.warn(origin, key, format!("not built yet: {what}")),
        Verdict::Warn(why) => findings.warn(origin, key, format!("ignored: {why}")),
        Verdict::Refuse(why) => {
            let secret = key.to_ascii_lowercase().contains("password");
            let found = if secret { "(hidden)" } else { value };
            findings.error(origin, key, format!("{found:?} is refused: {why}"));
        }
    }
}

/// Says what was wrong, and what applies instead. True: it is a mistake.
fn unreadable(
    entry: &Key,
    key: &str,
    unread: Unread,
    origin: &Source,
    findings: &mut Findings,
) -> bool {
    let useless = entry.reach == Reach::Jvm && matches!(origin, Source::File { .. });
    match unread {
        Unread::Mistake(why) if useless => {
            let text = format!("{why}; ignored, as ZooKeeper does not read it here");
            findings.warn(origin, key, text);
        }
        Unread::Mistake(why)
            if entry.verdict == Verdict::Honour || matches!(entry.reach, Reach::File) =>
        {
            findings.error(origin, key, why);
            return true;
        }
        Unread::Mistake(why) => findings.warn(origin, key, why),
        Unread::Default(why) => {
            let default = match entry.default {
                "" => "the default",
                default => &format!("the default, {default},"),
            };
            let text = format!("{why}; {default} applies, as in ZooKeeper");
            findings.warn(origin, key, text);
        }
    }
    false
}
