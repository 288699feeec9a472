//! The configuration while it is read: the rooms' structs, filled key by key, and the raw values that
//! only mean something together. [`Builder::settle`] checks the rules that span keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::ensemble::EnsembleSettings;
use super::finding::{Findings, Source};
use super::membership::{MemberKey, Membership};
use super::settings::Settings;
use crate::admin::{Commands, Conf, EnsembleConf, MetricsProvider};
use crate::auth::DigestAlgorithm;
use crate::state::{PeerAddress, PeerType};

/// Which metrics class zoo.cfg names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MetricsClass {
    #[default]
    Default,
    Null,
    Prometheus,
}

/// What has been read so far.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pub(crate) settings: Settings,
    pub(crate) membership: Membership,
    pub(crate) client_port: Option<u16>,
    pub(crate) client_host: Option<String>,
    pub(crate) secure_client_port: Option<u16>,
    pub(crate) secure_client_host: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) log_dir: Option<PathBuf>,
    pub(crate) tick_ms: Option<u32>,
    /// As written; -1 is ZooKeeper's word for unset.
    pub(crate) timeout_ms_min: Option<i64>,
    pub(crate) timeout_ms_max: Option<i64>,
    pub(crate) dynamic_file: Option<PathBuf>,
    pub(crate) multi_address: bool,
    pub(crate) metrics_class: MetricsClass,
    pub(crate) metrics_host: Option<String>,
    pub(crate) metrics_port: Option<u16>,
    pub(crate) metrics_process: Option<bool>,
    /// A line that may have named the client port had a mistake: whether one is set is not known.
    pub(crate) client_port_unread: bool,
    /// The keys whose values were mistakes: nobody may call them missing besides.
    pub(crate) unread: BTreeSet<String>,
    /// Where each key was written, by its name in the table (in full for a prefix).
    pub(crate) origins: BTreeMap<String, Source>,
    /// The whole zoo.cfg, for what is missing from it.
    pub(crate) source: Option<Source>,
}

/// A number of the table as `u32`; what is negative is ZooKeeper's "off" and becomes 0.
pub(crate) fn to_u32(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// The same as `usize`.
pub(crate) fn to_usize(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

/// The same as `u64`.
pub(crate) fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A port whose bounds the table has checked.
pub(crate) fn to_port(number: i64) -> Option<u16> {
    u16::try_from(number).ok()
}

impl Builder {
    /// Where `key` was written, else the file as a whole.
    pub(crate) fn origin(&self, key: &str) -> Source {
        let found = self.origins.get(key).or(self.source.as_ref());
        found.cloned().unwrap_or(Source::Default)
    }

    /// Checks the rules that span keys and returns the finished settings; they are of use only if
    /// `findings` holds no error.
    ///
    /// zk: the checks at the end of QuorumPeerConfig.parseProperties, with their words.
    pub(crate) fn settle(mut self, members: Vec<MemberKey>, findings: &mut Findings) -> Settings {
        self.settle_directories(findings);
        self.settle_members(members, findings);
        self.settle_sessions(findings);
        self.settle_listeners(findings);
        self.settle_auth(findings);
        self.settle_metrics(findings);
        self.fill_conf();
        self.settings
    }

    fn settle_directories(&mut self, findings: &mut Findings) {
        let Some(data_dir) = self.data_dir.clone() else {
            if !self.unread.contains("dataDir") {
                findings.error(&self.origin(""), "", "dataDir is not set");
            }
            return;
        };
        if data_dir.is_relative() && !data_dir.starts_with(".") && self.source.is_some() {
            let text = format!(
                "{} is relative to the working directory",
                data_dir.display()
            );
            findings.warn(&self.origin("dataDir"), "dataDir", text);
        }
        self.settings.storage.log_dir = self.log_dir.clone().unwrap_or_else(|| data_dir.clone());
        self.settings.storage.data_dir = data_dir;
    }

    /// zk: QuorumPeerConfig.parseProperties: -1 means 2 and 20 ticks.
    fn settle_sessions(&mut self, findings: &mut Findings) {
        let session = &mut self.settings.session;
        session.tick_ms = self.tick_ms.unwrap_or(session.tick_ms);
        let tick_ms = i64::from(session.tick_ms);
        if tick_ms == 0 {
            findings.error(&self.origin("tickTime"), "tickTime", "tickTime is not set");
            return;
        }
        let given = |bound: Option<i64>| bound.filter(|&ms| ms != -1);
        let min = given(self.timeout_ms_min).unwrap_or(tick_ms * 2);
        let max = given(self.timeout_ms_max).unwrap_or(tick_ms * 20);
        let bound = |ms: i64| to_u32(ms.min(i64::from(i32::MAX)));
        (session.timeout_ms_min, session.timeout_ms_max) = (bound(min), bound(max));
        if min > max {
            let key = if self.timeout_ms_max.is_some() {
                "maxSessionTimeout"
            } else {
                "minSessionTimeout"
            };
            let why = format!(
                "minSessionTimeout must not be larger than maxSessionTimeout ({min} > {max} ms)"
            );
            findings.error(&self.origin(key), key, why);
        }
    }

    /// zk-differs: without any port ZooKeeper starts and waits for clients that cannot come.
    fn settle_listeners(&mut self, findings: &mut Findings) {
        for (host, port, key, port_key) in [
            (
                &self.client_host,
                self.client_port,
                "clientPortAddress",
                "clientPort",
            ),
            (
                &self.secure_client_host,
                self.secure_client_port,
                "secureClientPortAddress",
                "secureClientPort",
            ),
        ] {
            if host.is_some() && port.is_none() && !self.origins.contains_key(port_key) {
                findings.error(
                    &self.origin(key),
                    key,
                    format!("{key} is set but {port_key} is not set"),
                );
            }
        }
        if let Some(port) = self.client_port {
            match resolve(self.client_host.as_deref(), port) {
                Ok(addr) => self.settings.net.client_addr = Some(addr),
                Err(why) => {
                    findings.error(&self.origin("clientPortAddress"), "clientPortAddress", why)
                }
            }
        }
        let Some(port) = self.secure_client_port else {
            if self.client_port.is_none()
                && !self.client_port_unread
                && !self.origins.contains_key("clientPort")
                && !self.origins.contains_key("secureClientPort")
            {
                let why = "clientPort is not set: no client could connect";
                findings.error(&self.origin(""), "", why);
            }
            return;
        };
        let origin = self.origin("secureClientPort");
        if self.client_port.is_some() {
            let text = format!(
                "NOTHING LISTENS on the secure port {port}: TLS is not built yet; clients can only \
                 use the plaintext clientPort"
            );
            findings.warn(&origin, "secureClientPort", text);
        } else {
            let why = format!(
                "TLS is not built yet, and the secure port {port} is the only one: no client could \
                 connect (a plaintext clientPort is not opened in its place)"
            );
            findings.error(&origin, "secureClientPort", why);
        }
    }

    /// zk: AuthenticationHelper.validateConfiguredProperties, with its words: a scheme that does not
    /// exist would lock every client out, or, ignored, let every client in.
    fn settle_auth(&mut self, findings: &mut Findings) {
        let auth = &self.settings.auth;
        self.settings.state.digest_enabled = auth.digest_enabled;
        if !auth.enforce {
            return;
        }
        if auth.enforced_schemes.is_empty() {
            let key = "enforce.auth.enabled";
            let why = "zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes must \
                       be  configured.";
            findings.error(&self.origin(key), key, why);
        }
        for scheme in &auth.enforced_schemes {
            let exists = scheme == "ip" || (scheme == "digest" && auth.digest_enabled);
            if !exists {
                let key = "enforce.auth.schemes";
                let why = format!("Authentication scheme {scheme} is not available.");
                findings.error(&self.origin(key), key, why);
            }
        }
    }

    fn settle_metrics(&mut self, findings: &mut Findings) {
        self.settings.admin.metrics_provider = match self.metrics_class {
            MetricsClass::Default => MetricsProvider::Default,
            MetricsClass::Null => MetricsProvider::Null,
            MetricsClass::Prometheus => {
                let port = self.metrics_port.unwrap_or(7000);
                match resolve(self.metrics_host.as_deref(), port) {
                    Ok(addr) => MetricsProvider::Prometheus {
                        addr,
                        export_process: self.metrics_process.unwrap_or(true),
                    },
                    Err(why) => {
                        let key = "metricsProvider.httpHost";
                        findings.error(&self.origin(key), key, why);
                        MetricsProvider::Default
                    }
                }
            }
        };
    }

    fn fill_conf(&mut self) {
        let Settings {
            net,
            session,
            storage,
            admin,
            ensemble,
            ..
        } = &mut self.settings;
        admin.conf = Conf {
            client_port: net.client_addr.map(|addr| addr.port()),
            data_dir: storage.data_dir.clone(),
            log_dir: storage.log_dir.clone(),
            tick_ms: session.tick_ms,
            connections_per_ip_max: net.connections_per_ip_max,
            timeout_ms_min: session.timeout_ms_min,
            timeout_ms_max: session.timeout_ms_max,
            listen_backlog: net.listen_backlog,
            // zk: a standalone server's id there is that of nobody.
            server_id: if ensemble.standalone {
                0
            } else {
                ensemble.me.0
            },
            ensemble: ensemble_conf(ensemble),
        };
    }
}

/// zk: QuorumZooKeeperServer.dumpConf.
fn ensemble_conf(ensemble: &EnsembleSettings) -> Option<EnsembleConf> {
    let own = ensemble.own()?;
    let ports = |of: fn(&PeerAddress) -> u16| {
        let all: BTreeSet<u16> = own.addresses.iter().map(of).collect();
        all.into_iter().collect()
    };
    Some(EnsembleConf {
        init_limit_ticks: ensemble.init_limit_ticks,
        sync_limit_ticks: ensemble.sync_limit_ticks,
        election_ports: ports(|address| address.election_port),
        quorum_ports: ports(|address| address.quorum_port),
        is_observer: ensemble.role() == PeerType::Observer,
        membership: ensemble.config_text(),
    })
}

/// Resolves a host to the address to bind; no host is every address.
///
/// zk: InetAddress.getByName: an empty name is the loopback; of several answers the first, here IPv4 first, as the JVM orders them.
pub(crate) fn resolve(host: Option<&str>, port: u16) -> Result<SocketAddr, String> {
    let Some(host) = host else {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    };
    if host.is_empty() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let found: Vec<SocketAddr> = (bare, port)
        .to_socket_addrs()
        .map_err(|e| format!("cannot resolve {host:?}: {e}"))?
        .collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first
        .copied()
        .ok_or_else(|| format!("cannot resolve {host:?}: no address"))
}

/// Setters of the table that need more than a line.
impl Builder {
    pub(crate) fn set_digest_algorithm(&mut self, name: &str) -> Result<(), String> {
        self.settings.auth.digest_algorithm = DigestAlgorithm::named(name).ok_or_else(|| {
            let all: Vec<&str> = DigestAlgorithm::all().collect();
            format!("expected one of {}, found {name:?}", all.join(", "))
        })?;
        Ok(())
    }

    /// zk: DigestAuthenticationProvider: `super:<base64(sha1("super:password"))>`.
    pub(crate) fn set_super_digest(&mut self, digest: &str) -> Result<(), String> {
        if digest.is_empty() {
            return Ok(());
        }
        if digest
            .split_once(':')
            .is_none_or(|(name, hash)| name.is_empty() || hash.is_empty())
        {
            return Err("expected name:base64(hash of name:password)".to_owned());
        }
        self.settings.auth.super_digest = Some(digest.to_owned());
        Ok(())
    }

    pub(crate) fn set_enforced_schemes(&mut self, list: &str) -> Result<(), String> {
        let schemes = list
            .split(',')
            .map(str::trim)
            .filter(|scheme| !scheme.is_empty());
        self.settings.auth.enforced_schemes = schemes.map(str::to_owned).collect();
        Ok(())
    }

    pub(crate) fn set_commands(&mut self, list: &str) -> Result<(), String> {
        self.settings.admin.commands = Commands::parse(list);
        Ok(())
    }

    /// zk: MetricsProviderBootstrap loads the class; we know the three that ship with ZooKeeper.
    pub(crate) fn set_metrics_class(&mut self, class: &str) -> Result<(), String> {
        self.metrics_class = match class {
            "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider" => MetricsClass::Default,
            "org.apache.zookeeper.metrics.impl.NullMetricsProvider" => MetricsClass::Null,
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider" => {
                MetricsClass::Prometheus
            }
            _ => {
                return Err(format!(
                    "metrics provider class was not found: {class} (JVM plug-ins cannot be loaded; \
                     use org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider)"
                ));
            }
        };
        Ok(())
    }
}
