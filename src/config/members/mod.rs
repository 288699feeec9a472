//! Reading the members: server lines from zoo.cfg or from the dynamic file, and what they decide.
//!
//! ```text
//! zoo.cfg or dynamic file ─▶ server lines ─┬─ none, or one voter ──▶ standalone
//!             dataDir/myid ─▶ who I am ────┴─ more voters, or standaloneEnabled=false ──▶ ensemble
//! ```
//!
//! Names are not resolved: a peer whose name does not exist yet is no mistake. Hierarchical quorums are
//! accepted only where they mean a plain majority.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::builder::{Builder, resolve};
use super::dynamic::MemberFiles;
use super::ensemble::EnsembleSettings;
use super::finding::{Findings, Source};
use super::membership::MemberKey;
use super::{files, my_id};
use crate::state::{Member, PeerType, ServerId};

/// Ids are the top byte of a session's, and of an origin's.
const ID_MAX: u64 = 255;
/// With extended types that byte says of a znode's owner that it is no session.
///
/// zk: EphemeralType.MAX_EXTENDED_SERVER_ID.
const EXTENDED_ID_MAX: u64 = 254;

impl Builder {
    /// Reads the members and decides on standalone or ensemble. `members` come from zoo.cfg.
    pub(crate) fn settle_members(&mut self, members: Vec<MemberKey>, findings: &mut Findings) {
        self.check_peer_sasl(findings);
        let mistakes = findings.errors.len();
        let members = self.with_dynamic_file(members, findings);
        if let Some(data_dir) = &self.data_dir {
            self.membership.my_id = my_id::read(data_dir, findings);
        }
        self.parse_lines(&members, findings);
        self.check_hierarchy(&members, findings);
        self.decide(findings);
        let may_name = self.dynamic_file.is_some() || members.iter().any(MemberKey::names_client);
        self.client_port_unread = self.unread.contains("dynamicConfigFile")
            || (may_name && findings.errors.len() > mistakes);
    }

    /// zk: QuorumPeerConfig.parseProperties, the quorum.auth rules. enableSasl itself is refused.
    fn check_peer_sasl(&self, findings: &mut Findings) {
        let ensemble = &self.membership;
        for (required, key) in [
            (
                ensemble.server_requires_sasl,
                "quorum.auth.serverRequireSasl",
            ),
            (
                ensemble.learner_requires_sasl,
                "quorum.auth.learnerRequireSasl",
            ),
        ] {
            if required {
                let why = format!("quorum.auth.enableSasl is disabled, so cannot enable {key}");
                findings.error(&self.origin(key), key, why);
            }
        }
    }

    /// zk: QuorumPeerConfig.parse: with a dynamic file, zoo.cfg itself must not name members.
    fn with_dynamic_file(
        &mut self,
        members: Vec<MemberKey>,
        findings: &mut Findings,
    ) -> Vec<MemberKey> {
        let Some(path) = self.dynamic_file.clone() else {
            return members;
        };
        for MemberKey { key, origin, .. } in &members {
            let why = format!("parameter: {key} must be in a separate dynamic config file");
            findings.error(origin, key, why);
        }
        self.membership.version = version_of(&path);
        let path = Arc::new(path);
        let entries = match files::entries(&path, findings) {
            Ok(entries) => entries,
            Err(why) => {
                findings.error(&self.origin("dynamicConfigFile"), "dynamicConfigFile", why);
                return Vec::new();
            }
        };
        let mut found = BTreeMap::new();
        for (entry, origin) in entries {
            if MemberKey::is_one(&entry.key) {
                let member = MemberKey {
                    key: entry.key.clone(),
                    value: entry.value,
                    origin,
                };
                found.insert(entry.key, member);
            } else if entry.key == "version" {
                findings.error(
                    &origin,
                    "version",
                    "dynamic file shouldn't have version inside",
                );
            } else {
                let why = format!("Unrecognised parameter: {}", entry.key);
                findings.error(&origin, &entry.key, why);
            }
        }
        found.into_values().collect()
    }

    fn parse_lines(&mut self, members: &[MemberKey], findings: &mut Findings) {
        for MemberKey { key, value, origin } in members {
            let Some(id) = key.strip_prefix("server.") else {
                continue;
            };
            match Member::parse(id, value, self.multi_address) {
                Ok(one) if self.membership.servers.contains_key(&one.id) => {
                    let why = format!("server.{} is written twice", one.id);
                    findings.error(origin, key, why);
                }
                Ok(one) => {
                    let name = format!("server.{}", one.id);
                    self.origins.insert(name, origin.clone());
                    self.membership.servers.insert(one.id, one);
                }
                Err(why) => findings.error(origin, key, why),
            }
        }
    }

    /// Hierarchical quorums change which failures stop writes; Raft knows only the plain majority.
    fn check_hierarchy(&self, members: &[MemberKey], findings: &mut Findings) {
        let of = |prefix: &'static str| members.iter().filter(move |m| m.key.starts_with(prefix));
        let groups: Vec<&MemberKey> = of("group").collect();
        let weights: BTreeSet<&str> = of("weight").map(|m| m.value.as_str()).collect();
        let Some(first) = groups.first().copied().or_else(|| of("weight").next()) else {
            return;
        };
        let servers = self.membership.servers.keys();
        let all: BTreeSet<String> = servers.map(ToString::to_string).collect();
        let listed: BTreeSet<String> = groups
            .iter()
            .flat_map(|group| group.value.split(':'))
            .map(|id| id.trim().to_owned())
            .collect();
        let covers = groups.is_empty() || listed == all;
        let equal = weights.len() <= 1 && !weights.contains("0");
        let weighted = of("weight").count();
        let complete = weighted == 0 || weighted == all.len() || weights.contains("1");
        if groups.len() <= 1 && covers && equal && complete {
            let text = "one group of equal weights is a plain majority, which is what applies";
            findings.warn(&first.origin, &first.key, text);
        } else {
            let why = "hierarchical quorums do not exist here, and ignoring them would change which \
                       failures stop writes; use an odd number of voters, and observers where \
                       failures must not count";
            findings.error(&first.origin, &first.key, why);
        }
    }

    /// zk: QuorumPeerConfig.parseDynamicConfig and isDistributed, with their words.
    fn decide(&mut self, findings: &mut Findings) {
        let ensemble = &self.membership;
        let (voters, observers): (Vec<_>, Vec<_>) = ensemble
            .servers
            .values()
            .partition(|one| one.role == PeerType::Voter);
        let first = ensemble.servers.keys().next();
        let origin = match first {
            Some(id) => self.origin(&format!("server.{id}")),
            None => self.source.clone().unwrap_or(Source::Default),
        };
        if voters.is_empty() && !ensemble.standalone_enabled {
            let why = "standaloneEnabled = false then number of participants should be >0";
            findings.error(&self.origin("standaloneEnabled"), "standaloneEnabled", why);
        } else if voters.is_empty() && !observers.is_empty() {
            let why = "Observers w/o participants is an invalid configuration";
            findings.error(&origin, "", why);
        } else if voters.len() == 1 && !observers.is_empty() && ensemble.standalone_enabled {
            findings.error(
                &origin,
                "",
                "Observers w/o quorum is an invalid configuration",
            );
        } else if voters.len() > 1 || (voters.len() == 1 && !ensemble.standalone_enabled) {
            self.warn_of_even_quorum(voters.len(), &origin, findings);
            self.settle_ensemble(findings);
        } else {
            self.take_only_line(findings);
        }
    }

    /// zk: QuorumPeerConfig.parseDynamicConfig.
    fn warn_of_even_quorum(&self, voters: usize, origin: &Source, findings: &mut Findings) {
        if voters == 2 {
            let text = "No server failure will be tolerated. You need at least 3 servers.";
            findings.warn(origin, "", text);
        } else if voters.is_multiple_of(2) {
            let text = format!(
                "Non-optimal configuration, consider an odd number of servers: {voters} tolerate no \
                 more failures than {}",
                voters - 1
            );
            findings.warn(origin, "", text);
        }
    }

    /// A server of an ensemble.
    fn settle_ensemble(&mut self, findings: &mut Findings) {
        self.check_required(findings);
        self.check_ids(findings);
        self.check_addresses(findings);
        self.check_timing(findings);
        self.check_secret(findings);
        let own = self.own_line(findings);
        if let Some(own) = &own {
            self.check_peer_type(own, findings);
            self.take_client_part(own, findings);
        }
        let read = &self.membership;
        self.settings.state.in_ensemble = true;
        self.settings.state.two_voters_min = read.standalone_enabled;
        let path = self.source.as_ref().and_then(Source::path);
        let files = path.filter(|_| self.settings.state.reconfig_enabled);
        let me = own.map_or(ServerId::default(), |own| own.id);
        self.settings.session.server_id = u8::try_from(me.0).unwrap_or_default();
        self.settings.ensemble = EnsembleSettings {
            me,
            members: read.servers.values().cloned().collect(),
            standalone: false,
            files: files.map(MemberFiles::beside),
            ..self.alone()
        };
    }

    /// zk: QuorumPeerConfig.parseProperties and setupMyId, with their words.
    fn check_required(&self, findings: &mut Findings) {
        let ensemble = &self.membership;
        let whole = self.source.clone().unwrap_or(Source::Default);
        for (ticks, key) in [
            (ensemble.init_limit_ticks, "initLimit"),
            (ensemble.sync_limit_ticks, "syncLimit"),
        ] {
            if ticks == 0 && !self.unread.contains(key) {
                findings.error(&whole, "", format!("{key} is not set"));
            }
        }
        // One with something else in it has been complained of.
        if let Some(dir) = self.data_dir.as_ref().filter(|_| ensemble.my_id.is_none())
            && !dir.join("myid").is_file()
        {
            let why = format!(
                "myid file is missing: {} must hold this server's number, {}",
                dir.join("myid").display(),
                self.ids()
            );
            findings.error(&whole, "", why);
        }
    }

    /// `one of 1, 2, 3`.
    fn ids(&self) -> String {
        let ids = self.membership.servers.keys();
        let ids: Vec<String> = ids.map(ToString::to_string).collect();
        format!("one of {}", ids.join(", "))
    }

    /// zk-differs: ZooKeeper takes any number, and hands out sessions under its last byte.
    fn check_ids(&self, findings: &mut Findings) {
        let extended = self.settings.state.extended_types;
        let (id_max, which) = if extended {
            (EXTENDED_ID_MAX, " while extendedTypesEnabled is true")
        } else {
            (ID_MAX, "")
        };
        for id in self.membership.servers.keys().filter(|id| id.0 > id_max) {
            let key = format!("server.{id}");
            let why = format!(
                "expected a server id of at most {id_max}{which}: ids of sessions have a byte for it"
            );
            findings.error(&self.origin(&key), &key, why);
        }
    }

    /// zk-differs: ZooKeeper starts, and only one of the two can be reached.
    fn check_addresses(&self, findings: &mut Findings) {
        let mut taken: BTreeMap<(String, u16), ServerId> = BTreeMap::new();
        for one in self.membership.servers.values() {
            for address in &one.addresses {
                let place = (address.host.to_ascii_lowercase(), address.quorum_port);
                match taken.get(&place) {
                    Some(other) if *other != one.id => {
                        let key = format!("server.{}", one.id);
                        let why = format!(
                            "{}:{} is the address of server.{other} too",
                            address.host, address.quorum_port
                        );
                        findings.error(&self.origin(&key), &key, why);
                    }
                    Some(_) | None => {
                        taken.insert(place, one.id);
                    }
                }
            }
        }
    }

    fn check_timing(&self, findings: &mut Findings) {
        let heartbeat_ms = self.membership.heartbeat_ms;
        let (election_ms_min, _) = self.membership.election_ms;
        if heartbeat_ms.saturating_mul(2) > election_ms_min {
            let why = format!(
                "expected at least twice oxkeeper.heartbeatMs ({heartbeat_ms} ms), found \
                 {election_ms_min} ms: one late heartbeat would cost the leader its place"
            );
            let key = "oxkeeper.electionTimeoutMs";
            findings.error(&self.origin(key), key, why);
        }
    }

    /// The file is looked at, so that a mistake is told with all others; it is read when peers meet.
    fn check_secret(&self, findings: &mut Findings) {
        if self.membership.ssl_quorum {
            let why = "TLS between servers is not built yet, and to go on without it would send \
                       everything in the clear; remove it, and use oxkeeper.peerSecretFile within a \
                       network that you trust";
            findings.error(&self.origin("sslQuorum"), "sslQuorum", why);
        }
        let key = "oxkeeper.peerSecretFile";
        let origin = self.origin(key);
        let Some(path) = &self.membership.peer_secret_file else {
            if self.membership.servers.len() > 1 && !self.unread.contains(key) {
                let text = "not set: whoever reaches the quorum port is taken for a member";
                findings.warn(&origin, key, text);
            }
            return;
        };
        match files::read(path) {
            Ok(secret) if secret.trim_ascii().is_empty() => {
                let why = format!("{} is empty", path.display());
                findings.error(&origin, key, why);
            }
            Ok(_) => {
                let mode = path.metadata().map_or(0, |meta| meta.mode());
                if mode & 0o077 != 0 {
                    let text = format!(
                        "{} can be read or changed by others (mode {:o})",
                        path.display(),
                        mode & 0o777
                    );
                    findings.warn(&origin, key, text);
                }
            }
            Err(why) => findings.error(&origin, key, why),
        }
    }

    /// The line of `myid`; `None` where that is not known, which has been told.
    ///
    /// zk: QuorumPeer.start, with its words; there the process ends by an exception.
    fn own_line(&self, findings: &mut Findings) -> Option<Member> {
        let me = self.membership.my_id?;
        let own = self.membership.servers.get(&me);
        if let (None, Some(dir)) = (own, &self.data_dir) {
            let why = format!("My id {me} not in the peer list: expected {}", self.ids());
            findings.error(&my_id::origin(dir), "", why);
        }
        own.cloned()
    }

    /// zk: QuorumPeerConfig.setupPeerType.
    fn check_peer_type(&self, own: &Member, findings: &mut Findings) {
        let given = self.membership.peer_type;
        if given != own.role && self.origins.contains_key("peerType") {
            let text = format!(
                "Peer type from servers list ({}) doesn't match peerType ({given}). Defaulting to \
                 servers list.",
                own.role
            );
            findings.warn(&self.origin("peerType"), "peerType", text);
        }
    }

    /// A standalone server, with all that is set besides.
    fn alone(&self) -> EnsembleSettings {
        let read = &self.membership;
        let (election_ms_min, election_ms_max) = read.election_ms;
        EnsembleSettings {
            version: read.version,
            listen_on_all_ips: read.listen_on_all_ips,
            tick_ms: self.tick_ms.unwrap_or(self.settings.session.tick_ms),
            init_limit_ticks: read.init_limit_ticks,
            sync_limit_ticks: read.sync_limit_ticks,
            heartbeat_ms: read.heartbeat_ms,
            election_ms_min,
            election_ms_max,
            peer_secret_file: read.peer_secret_file.clone(),
            // It keeps it when others join it.
            me: read.my_id.unwrap_or(EnsembleSettings::default().me),
            ..EnsembleSettings::default()
        }
    }

    /// A standalone server listens where its one server line says, if there is one.
    ///
    /// zk-differs: without a `myid` file ZooKeeper runs and listens nowhere; here the one line counts.
    fn take_only_line(&mut self, findings: &mut Findings) {
        self.settings.ensemble = self.alone();
        let Some(only) = self.membership.servers.values().next().cloned() else {
            return;
        };
        let my_id = self.membership.my_id;
        if my_id.is_some_and(|my_id| my_id != only.id) {
            let key = format!("server.{}", only.id);
            let text = format!(
                "myid is not {}: the line is another server's and is ignored",
                only.id
            );
            findings.warn(&self.origin(&key), &key, text);
            return;
        }
        self.take_client_part(&only, findings);
    }

    /// This server listens where its line says.
    ///
    /// zk: QuorumPeerConfig.setupClientPort: a static wildcard with the same port agrees.
    fn take_client_part(&mut self, own: &Member, findings: &mut Findings) {
        let Some(client) = own.client.clone() else {
            return;
        };
        let key = format!("server.{}", own.id);
        let origin = self.origin(&key);
        let has_id = self.membership.my_id.is_some();
        if self.client_port.is_none() {
            if let Err(why) = resolve(Some(&client.host), client.port) {
                findings.error(&origin, &key, why);
                return;
            }
            self.client_port = Some(client.port);
            self.client_host = Some(client.host);
            return;
        }
        let fixed = self
            .client_port
            .and_then(|p| resolve(self.client_host.as_deref(), p).ok());
        let named = resolve(Some(&client.host), client.port).ok();
        let agree = fixed.zip(named).is_none_or(|(fixed, named)| {
            fixed == named || (fixed.ip().is_unspecified() && fixed.port() == named.port())
        });
        let (Some(fixed), Some(named), false) = (fixed, named, agree) else {
            if has_id && named.is_some() {
                self.client_host = Some(client.host);
            }
            return;
        };
        let why = format!(
            "client address for this server (id = {}) in static config file is {fixed} is different \
             from client address found in dynamic file: {named}",
            own.id
        );
        if has_id {
            findings.error(&origin, &key, why);
        } else {
            findings.warn(&origin, &key, format!("{why}; the static one is used"));
        }
    }
}

/// Setters of the table.
impl Builder {
    /// `300..600`: milliseconds, from and to.
    pub(crate) fn set_election_timeout(&mut self, range: &str) -> Result<(), String> {
        let parts = range.split_once("..");
        let numbers = parts.and_then(|(min, max)| {
            let number = |text: &str| text.trim().parse::<u32>().ok();
            number(min).zip(number(max))
        });
        let within = numbers.filter(|&(min, max)| (20..max).contains(&min) && max <= 60_000);
        self.membership.election_ms = within.ok_or_else(|| {
            format!(
                "expected two numbers of milliseconds from 20 to 60000, the second one larger, as in \
                 300..600; found {range:?}"
            )
        })?;
        Ok(())
    }
}

/// zk: QuorumPeerConfig.getVersionFromFilename: the hexadecimal suffix of the name, else 0.
fn version_of(path: &Path) -> u64 {
    let name = path.to_string_lossy();
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    u64::from_str_radix(suffix, 16).unwrap_or(0)
}
