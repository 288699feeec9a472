//! The members: server lines from zoo.cfg or from the dynamic file, and what they decide.
//!
//! ```text
//! zoo.cfg or dynamic file ─▶ server lines ─┬─ none, or one voter ──▶ standalone
//!                                          └─ more voters, or standaloneEnabled=false ──▶ refused
//! ```
//!
//! The lines are kept whole for the time when the ensemble is built. Hierarchical quorums are
//! accepted only where they mean a plain majority.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::draft::{Draft, resolve};
use super::files;
use super::finding::{Findings, Origin};
pub use super::server_line::{ClientAddress, PeerAddress, Role, ServerLine};

/// What zoo.cfg says of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// By server id.
    pub servers: BTreeMap<u64, ServerLine>,
    /// What `dataDir/myid` holds, if it exists.
    pub my_id: Option<u64>,
    /// The version of the dynamic file's name; 0 without one.
    pub version: u64,
    /// zoo.cfg's `peerType`; the server line wins.
    pub peer_type: Role,
    /// One voter is a standalone server, not an ensemble of one.
    pub standalone_enabled: bool,
    /// Peers reach this server on every address.
    pub listen_on_all_ips: bool,
    /// 0: not set.
    pub init_limit_ticks: u32,
    /// 0: not set.
    pub sync_limit_ticks: u32,
    pub(crate) server_requires_sasl: bool,
    pub(crate) learner_requires_sasl: bool,
}

impl Default for Membership {
    fn default() -> Self {
        Membership {
            servers: BTreeMap::new(),
            my_id: None,
            version: 0,
            peer_type: Role::Voter,
            standalone_enabled: true,
            listen_on_all_ips: false,
            init_limit_ticks: 0,
            sync_limit_ticks: 0,
            server_requires_sasl: false,
            learner_requires_sasl: false,
        }
    }
}

/// A key that says who is a member, as written.
#[derive(Clone, Debug)]
pub(crate) struct MemberKey {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

impl MemberKey {
    /// zk: QuorumPeerConfig.parseDynamicConfig: `group` and `weight` by prefix, whatever follows.
    pub(crate) fn is_one(key: &str) -> bool {
        ["server.", "group", "weight"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    }

    fn names_client(&self) -> bool {
        self.key.starts_with("server.") && self.value.contains(';')
    }
}

impl Draft {
    /// Reads the members and decides on standalone or ensemble. `members` come from zoo.cfg.
    pub(crate) fn settle_members(&mut self, members: Vec<MemberKey>, findings: &mut Findings) {
        self.check_peer_sasl(findings);
        let mistakes = findings.errors.len();
        let members = self.with_dynamic_file(members, findings);
        self.read_my_id(findings);
        self.parse_lines(&members, findings);
        self.check_hierarchy(&members, findings);
        self.decide(findings);
        let may_name = self.dynamic_file.is_some() || members.iter().any(MemberKey::names_client);
        self.client_port_unread = self.unread.contains("dynamicConfigFile")
            || (may_name && findings.errors.len() > mistakes);
    }

    /// zk: QuorumPeerConfig.parseProperties, the quorum.auth rules. enableSasl itself is refused.
    fn check_peer_sasl(&self, findings: &mut Findings) {
        let ensemble = &self.settings.ensemble;
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
        self.settings.ensemble.version = version_of(&path);
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

    /// zk: QuorumPeerConfig.setupMyId: the file may be missing, but not hold something else.
    fn read_my_id(&mut self, findings: &mut Findings) {
        let Some(data_dir) = &self.data_dir else {
            return;
        };
        let path = data_dir.join("myid");
        if !path.is_file() {
            return;
        }
        let origin = Origin::File {
            path: Arc::new(path.clone()),
            line: Some(1),
        };
        match files::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let first = text.lines().next().unwrap_or_default();
                match first.parse() {
                    Ok(id) => self.settings.ensemble.my_id = Some(id),
                    Err(_) => {
                        findings.error(&origin, "", format!("serverid {first} is not a number"));
                    }
                }
            }
            Err(why) => findings.error(&origin, "", why),
        }
    }

    fn parse_lines(&mut self, members: &[MemberKey], findings: &mut Findings) {
        for MemberKey { key, value, origin } in members {
            let Some(id) = key.strip_prefix("server.") else {
                continue;
            };
            match ServerLine::parse(id, value, self.multi_address) {
                Ok(line) => {
                    self.origins
                        .insert(format!("server.{}", line.id), origin.clone());
                    self.settings.ensemble.servers.insert(line.id, line);
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
        let all: BTreeSet<String> = self
            .settings
            .ensemble
            .servers
            .values()
            .map(|line| line.id.to_string())
            .collect();
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
            let why = "hierarchical quorums do not exist here: ignoring them would change which \
                       failures stop writes";
            findings.error(&first.origin, &first.key, why);
        }
    }

    /// zk: QuorumPeerConfig.parseDynamicConfig and isDistributed, with their words.
    fn decide(&mut self, findings: &mut Findings) {
        let ensemble = &self.settings.ensemble;
        let voters = ensemble
            .servers
            .values()
            .filter(|line| line.role == Role::Voter)
            .count();
        let observers = ensemble.servers.len() - voters;
        let whole = self.source.clone().unwrap_or(Origin::Default);
        let first = ensemble
            .servers
            .keys()
            .next()
            .map(|id| format!("server.{id}"));
        let origin = first.map_or(whole.clone(), |key| self.origin(&key));
        if voters == 0 && !ensemble.standalone_enabled {
            let why = "standaloneEnabled = false then number of participants should be >0";
            findings.error(&self.origin("standaloneEnabled"), "standaloneEnabled", why);
        } else if voters == 0 && observers > 0 {
            let why = "Observers w/o participants is an invalid configuration";
            findings.error(&origin, "", why);
        } else if voters == 1 && observers > 0 && ensemble.standalone_enabled {
            findings.error(
                &origin,
                "",
                "Observers w/o quorum is an invalid configuration",
            );
        } else if voters > 1 || (voters == 1 && !ensemble.standalone_enabled) {
            self.refuse_ensemble(voters, &origin, &whole, findings);
        } else {
            self.take_client_part(findings);
        }
    }

    fn refuse_ensemble(
        &self,
        voters: usize,
        origin: &Origin,
        whole: &Origin,
        findings: &mut Findings,
    ) {
        let ensemble = &self.settings.ensemble;
        let (origin, key, why) = if voters > 1 {
            let why = format!(
                "the ensemble is not built yet: {voters} voting servers are listed; keep one \
                 server line, or none, to run a standalone server"
            );
            (origin.clone(), "server.N", why)
        } else {
            let why = "the ensemble is not built yet: standaloneEnabled=false asks for an ensemble \
                       of one; remove it to run a standalone server";
            (
                self.origin("standaloneEnabled"),
                "standaloneEnabled",
                why.to_owned(),
            )
        };
        findings.error(&origin, key, why);
        for (missing, why) in [
            (
                ensemble.init_limit_ticks == 0 && !self.unread.contains("initLimit"),
                "initLimit is not set",
            ),
            (
                ensemble.sync_limit_ticks == 0 && !self.unread.contains("syncLimit"),
                "syncLimit is not set",
            ),
            (
                ensemble.my_id.is_none() && self.my_id_is_missing(),
                "myid file is missing",
            ),
        ] {
            if missing {
                findings.error(whole, "", why);
            }
        }
    }

    /// One with something else in it has been complained of.
    fn my_id_is_missing(&self) -> bool {
        let dir = self.data_dir.as_ref();
        dir.is_some_and(|dir| !dir.join("myid").is_file())
    }

    /// A standalone server with one server line listens where the line says.
    ///
    /// zk: QuorumPeerConfig.setupClientPort: a static wildcard with the same port agrees.
    /// zk-differs: without a `myid` file ZooKeeper runs and listens nowhere; here the one line counts.
    fn take_client_part(&mut self, findings: &mut Findings) {
        let ensemble = &self.settings.ensemble;
        let Some(line) = ensemble.servers.values().next() else {
            return;
        };
        let (key, id) = (format!("server.{}", line.id), line.id);
        let origin = self.origin(&key);
        if ensemble.my_id.is_some_and(|my_id| my_id != id) {
            let text = format!("myid is not {id}: the line is another server's and is ignored");
            findings.warn(&origin, &key, text);
            return;
        }
        let Some(client) = line.client.clone() else {
            return;
        };
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
            if ensemble.my_id.is_some() && named.is_some() {
                self.client_host = Some(client.host);
            }
            return;
        };
        let why = format!(
            "client address for this server (id = {id}) in static config file is {fixed} is \
             different from client address found in dynamic file: {named}"
        );
        if ensemble.my_id.is_some() {
            findings.error(&origin, &key, why);
        } else {
            findings.warn(&origin, &key, format!("{why}; the static one is used"));
        }
    }
}

/// zk: QuorumPeerConfig.getVersionFromFilename: the hexadecimal suffix of the name, else 0.
fn version_of(path: &Path) -> u64 {
    let name = path.to_string_lossy();
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    u64::from_str_radix(suffix, 16).unwrap_or(0)
}
