//! Who is a member of the ensemble and where, as all replicas agree, and the change of it that is
//! under way.
//!
//! ```text
//!   none ── a leader's own files ──▶ current
//!   current ── reconfig, judged ──▶ current, pending ─┬─ the members have changed ──▶ current, the wanted one
//!                                                     └─ they could not ────────────▶ current, as before
//! ```
//!
//! A change stays pending until whoever leads has brought it to an end: a new leader finds it here. None at
//! all: the members are what each server's files say, and nobody may change them by a request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::record::ids::{Origin, ServerId, Zxid};
use super::record::member::{Member, PeerType};

/// The members, by their ids.
pub type Members = BTreeMap<ServerId, Member>;

/// The members since some txn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lineup {
    /// Who they are.
    pub members: Members,
    /// The txn that made it so.
    pub version: Zxid,
}

/// A change that has been judged, and that the ensemble has yet to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingLineup {
    /// The txn that began it: its name.
    pub change: Zxid,
    /// Who proposed it, and is told how it ends.
    pub origin: Origin,
    /// As which of its proposals.
    pub sequence: u64,
    /// Who are to be the members.
    pub members: Members,
}

/// What the state holds of the members.
#[derive(Clone, Debug, Default)]
pub struct Lineups {
    /// Those in force.
    pub current: Option<Arc<Lineup>>,
    /// Those that are wanted.
    pub pending: Option<Arc<PendingLineup>>,
}

impl Lineup {
    /// What `/zookeeper/config` holds: a line for each member, and the version without a line feed.
    ///
    /// zk: QuorumMaj.toString.
    pub fn text(&self) -> String {
        format!("{}version={:x}", lines(&self.members), self.version.0)
    }
}

/// Asked after each entry that is applied: mostly it is the same value.
impl PartialEq for Lineups {
    fn eq(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
                (one, other) => one.is_none() && other.is_none(),
            }
        }
        same(self.current.as_ref(), other.current.as_ref())
            && same(self.pending.as_ref(), other.pending.as_ref())
    }
}

impl Eq for Lineups {}

/// A line for each member, each with a line feed.
pub fn lines(members: &Members) -> String {
    let mut text = String::new();
    for (id, member) in members {
        // A string takes everything.
        writeln!(text, "server.{id}={member}").unwrap_or_default();
    }
    text
}

/// Reads back what [`lines`] wrote. `None`: somebody else wrote it.
pub fn read_lines(text: &str) -> Option<Members> {
    let mut members = Members::new();
    for line in text.lines() {
        let (id, value) = line.strip_prefix("server.")?.split_once('=')?;
        let member = Member::parse(id, value, true).ok()?;
        members.insert(member.id, member);
    }
    Some(members)
}

/// How many of them vote.
pub(super) fn voters(members: &Members) -> usize {
    let roles = members.values().map(|member| member.role);
    roles.filter(|role| *role == PeerType::Voter).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        let text = "server.1=a:1:2:participant;0.0.0.0:9\nserver.12=b:1:2|c:3:4:observer\n";
        let members = read_lines(text).unwrap();
        assert_eq!((lines(&members).as_str(), voters(&members)), (text, 1));
        let version = Zxid(0x1_0000_000a);
        let lineup = Lineup { members, version };
        assert_eq!(lineup.text(), format!("{text}version=10000000a"));
        for text in ["server.1", "server.x=a:1:2", "version=1", "server.1=a:1"] {
            assert_eq!(read_lines(text), None, "{text}");
        }
    }
}
