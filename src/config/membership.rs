//! What is read of the ensemble before it is known what that makes: the raw values of its keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ensemble::EnsembleSettings;
use super::finding::Source;
use crate::state::{Member, PeerType, ServerId};

/// What has been read so far of the ensemble.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// By server id.
    pub(crate) servers: BTreeMap<ServerId, Member>,
    /// What `dataDir/myid` holds, if it exists.
    pub(crate) my_id: Option<ServerId>,
    /// The version of the dynamic file's name; 0 without one.
    pub(crate) version: u64,
    /// zoo.cfg's `peerType`; the server line wins.
    pub(crate) peer_type: PeerType,
    /// One voter is a standalone server, not an ensemble of one.
    pub(crate) standalone_enabled: bool,
    pub(crate) listen_on_all_ips: bool,
    /// 0: not set.
    pub(crate) init_limit_ticks: u32,
    /// 0: not set.
    pub(crate) sync_limit_ticks: u32,
    pub(crate) heartbeat_ms: u32,
    pub(crate) election_ms: (u32, u32),
    pub(crate) peer_secret_file: Option<PathBuf>,
    pub(crate) ssl_quorum: bool,
    pub(crate) server_requires_sasl: bool,
    pub(crate) learner_requires_sasl: bool,
}

impl Default for Membership {
    fn default() -> Self {
        let EnsembleSettings {
            heartbeat_ms,
            election_ms_min,
            election_ms_max,
            ..
        } = EnsembleSettings::default();
        Membership {
            servers: BTreeMap::new(),
            my_id: None,
            version: 0,
            peer_type: PeerType::Voter,
            standalone_enabled: true,
            listen_on_all_ips: false,
            init_limit_ticks: 0,
            sync_limit_ticks: 0,
            heartbeat_ms,
            election_ms: (election_ms_min, election_ms_max),
            peer_secret_file: None,
            ssl_quorum: false,
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
    pub(crate) origin: Source,
}

impl MemberKey {
    /// zk: QuorumPeerConfig.parseDynamicConfig: `group` and `weight` by prefix, whatever follows.
    pub(crate) fn is_one(key: &str) -> bool {
        ["server.", "group", "weight"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    }

    pub(crate) fn names_client(&self) -> bool {
        self.key.starts_with("server.") && self.value.contains(';')
    }
}
