//! reconfig: what it asks for, whether that may be, and how it ends.
//!
//! Judging only begins a change, which becomes the state's pending one; the request is answered by the
//! txn that ends it, once the ensemble has other members or could not get them.
//!
//! zk: PrepRequestProcessor.pRequest2Txn, case reconfig: there the change is judged and made in one
//! txn. zk-differs: whether a quorum of the new members is there is found out last, behind the ACL.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use jute::{ErrorCode, Reconfig, Text, perms};

use super::judge::{Judge, Stop};
use crate::state::lineup::{Lineup, Lineups, Members, PendingLineup, voters};
use crate::state::record::ids::{Origin, ServerId, Zxid};
use crate::state::record::member::Member;
use crate::state::record::path;
use crate::state::record::znode::Znode;
use crate::state::store::StoreError;
use crate::state::txn::{Change, Event, OpOutcome, Outcome};

/// Ids are the top byte of a session's.
const ID_MAX: u64 = 255;

/// Who asked for the change that has ended, and what it is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Settled {
    /// Who proposed the request.
    pub origin: Origin,
    /// As which of its proposals.
    pub sequence: u64,
    /// The reply.
    pub reply: Result<OpOutcome, ErrorCode>,
}

impl Judge<'_> {
    /// Begins a change of the members.
    pub(super) fn reconfig(&mut self, request: &Reconfig) -> Result<Outcome, Stop> {
        if !self.rules.reconfig_enabled {
            return Err(ErrorCode::RECONFIG_DISABLED.into());
        }
        self.session_alive()?;
        if !self.rules.in_ensemble {
            return Err(ErrorCode::UNIMPLEMENTED.into());
        }
        let lineups = self.lineups().clone();
        let Some(current) = &lineups.current else {
            // The first leader is about to say who is a member.
            return Err(ErrorCode::RECONFIG_IN_PROGRESS.into());
        };
        if lineups.pending.is_some() {
            return Err(ErrorCode::RECONFIG_IN_PROGRESS.into());
        }
        let expected = request.cur_config_id;
        if expected != -1 && expected != current.version.0 {
            return Err(ErrorCode::BAD_VERSION.into());
        }
        let needs_two = self.rules.two_voters_min;
        let members = match &request.new_members {
            Some(text) => whole(text.as_str(), needs_two)?,
            None => changed(current.members.clone(), request)?,
        };
        let ids_max = ID_MAX - u64::from(self.rules.extended_types);
        // zk-differs: there any number is an id, and on the loopback two servers may have one address.
        if members.keys().any(|id| id.0 > ids_max) || share_address(&members) {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        if voters(&members) < if needs_two { 2 } else { 1 } {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        let node = self.existing(path::CONFIG)?;
        self.permitted(node.acl, perms::WRITE)?;
        let pending = PendingLineup {
            change: self.zxid,
            origin: self.speaker.origin,
            sequence: self.sequence,
            members,
        };
        self.put_lineups(Lineups {
            pending: Some(Arc::new(pending)),
            ..lineups
        });
        Ok(Outcome::Pending)
    }

    /// Ends the change of this name, if it is under way. `refusal`: why it could not be made.
    pub(super) fn settle(
        &mut self,
        change: Zxid,
        refusal: ErrorCode,
    ) -> Result<Option<Outcome>, StoreError> {
        let lineups = self.lineups().clone();
        let Some(pending) = lineups.pending.filter(|pending| pending.change == change) else {
            return Ok(None);
        };
        let reply = if refusal == ErrorCode::OK {
            self.put_members(pending.members.clone())?
        } else {
            self.put_lineups(Lineups {
                pending: None,
                ..lineups
            });
            Err(refusal)
        };
        Ok(Some(Outcome::Settled(Box::new(Settled {
            origin: pending.origin,
            sequence: pending.sequence,
            reply,
        }))))
    }

    /// Says who is a member, without anybody having asked; nothing if a change is under way.
    pub(super) fn line_up(&mut self, members: &Members) -> Result<Option<Outcome>, StoreError> {
        let lineups = self.lineups();
        let is_known = lineups.current.as_ref().map(|known| &known.members) == Some(members);
        if is_known || lineups.pending.is_some() {
            return Ok(None);
        }
        // Its answer is for nobody.
        let _stat = self.put_members(members.clone())?;
        Ok(Some(Outcome::Done))
    }

    /// As the txns before this one have left them.
    fn lineups(&self) -> &Lineups {
        let changed = self.work.lineups.as_ref();
        changed.unwrap_or(&self.state.meta().lineups)
    }

    fn put_lineups(&mut self, lineups: Lineups) {
        self.work.lineups = Some(lineups.clone());
        self.work.changes.push(Change::Lineups(lineups));
    }

    /// From this txn on these are the members, and the config's znode says so.
    ///
    /// zk: SetDataTxn with version -1 on CONFIG_NODE. The version of the znode stays -1.
    fn put_members(
        &mut self,
        members: Members,
    ) -> Result<Result<OpOutcome, ErrorCode>, StoreError> {
        let version = self.zxid;
        let lineup = Lineup { members, version };
        let data: Arc<[u8]> = Arc::from(lineup.text().as_bytes());
        self.put_lineups(Lineups {
            current: Some(Arc::new(lineup)),
            pending: None,
        });
        let Some(node) = self.znode(path::CONFIG)? else {
            // It cannot be deleted.
            return Ok(Err(ErrorCode::NO_NODE));
        };
        let (key, time_ms) = (self.key(path::CONFIG), self.timeline.stamp_ms);
        let stamp = |after: &mut Znode| {
            after.version = -1;
            after.mzxid = version;
            after.mtime_ms = time_ms;
        };
        let after = self.put_data(Arc::clone(&key), &node, Some(Arc::clone(&data)), stamp);
        let acl = self.acl_list(node.acl);
        self.work.events.push(Event::DataChanged { path: key, acl });
        Ok(Ok(OpOutcome::Data {
            data,
            stat: after.stat(self.rules.extended()),
        }))
    }
}

/// What becomes of `members` when some leave and some join, in this order.
fn changed(mut members: Members, request: &Reconfig) -> Result<Members, Stop> {
    for leaving in listed(&request.leaving_servers) {
        members.remove(&ServerId(number(leaving)?));
    }
    for joining in listed(&request.joining_servers) {
        let mut parts = joining.split('=').map(str::trim);
        let mut part = || parts.find(|part| !part.is_empty());
        let (Some(name), Some(value), None) = (part(), part(), part()) else {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        };
        let id = name.rsplit('.').next().unwrap_or(name);
        let member = member(id, value)?;
        let others = members.values().filter(|other| other.id != member.id);
        if member.client.is_none() || meets(&member, others) {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        members.insert(member.id, member);
    }
    Ok(members)
}

/// Whether it has an address that another one has. Those of the loopback do not count.
///
/// zk: QuorumServer.checkAddressDuplicate, excludedSpecialAddresses.
fn meets<'a>(member: &Member, mut others: impl Iterator<Item = &'a Member>) -> bool {
    let own = places(member);
    others.any(|other| places(other).iter().any(|place| own.contains(place)))
}

/// Whether two of them are reached by the others at the same address.
fn share_address(members: &Members) -> bool {
    let mut taken = BTreeMap::new();
    let addresses = members
        .values()
        .flat_map(|one| one.addresses.iter().map(move |address| (one.id, address)));
    addresses.into_iter().any(|(id, address)| {
        let place = (address.host.to_ascii_lowercase(), address.quorum_port);
        *taken.entry(place).or_insert(id) != id
    })
}

fn places(member: &Member) -> Vec<(&str, u16)> {
    let peers = member.addresses.iter().flat_map(|address| {
        [address.quorum_port, address.election_port].map(|port| (address.host.as_str(), port))
    });
    let clients = member.client.iter();
    let clients = clients.map(|client| (client.host.as_str(), client.port));
    let is_own = |host: &str| {
        let ip = IpAddr::from_str(host);
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
    };
    let places = peers.chain(clients);
    places.filter(|(host, _)| !is_own(host)).collect()
}

/// The members that a whole list names.
///
/// zk: QuorumPeerConfig.parseDynamicConfig over Properties.load, commas being line feeds.
fn whole(text: &str, needs_two: bool) -> Result<Members, Stop> {
    let mut members = Members::new();
    for line in text.split(['\n', '\r', ',']).map(str::trim) {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let is_end = |c: char| c == '=' || c == ':' || c.is_whitespace();
        let (key, rest) = line.split_at(line.find(is_end).unwrap_or(line.len()));
        let rest = rest.trim_start();
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
        if key == "version" {
            continue;
        }
        // Groups and weights, too: zk-differs, there they make a hierarchical quorum.
        let id = key
            .strip_prefix("server.")
            .ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let member = member(id, value)?;
        members.insert(member.id, member);
    }
    let (voting, all) = (voters(&members), members.len());
    // zk: IllegalArgumentException, which is no mistake of the arguments there.
    let is_odd = match voting {
        0 => !needs_two || all > 0,
        1 => needs_two && all > 1,
        _ => false,
    };
    if is_odd {
        return Err(ErrorCode::MARSHALLING_ERROR.into());
    }
    Ok(members)
}

/// zk: ConfigException is -8, all else that goes wrong -5.
fn member(id: &str, value: &str) -> Result<Member, Stop> {
    let id = number(id)?;
    Member::parse(&id.to_string(), value, true).map_err(|why| {
        let is_odd = why.starts_with("port out of range");
        Stop::Refused(if is_odd {
            ErrorCode::MARSHALLING_ERROR
        } else {
            ErrorCode::BAD_ARGUMENTS
        })
    })
}

/// zk: Long.parseLong. A negative id is too large here, which is refused of those who join.
fn number(text: &str) -> Result<u64, Stop> {
    let number: i64 = text.parse().map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    Ok(u64::try_from(number).unwrap_or(u64::MAX))
}

/// zk: StringUtils.split: trimmed, empty ones left out.
fn listed(text: &Option<Text>) -> impl Iterator<Item = &str> {
    let text = text.as_ref().map_or("", Text::as_str);
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}
