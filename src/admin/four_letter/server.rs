//! `srvr`, `stat`, `conf`, `dirs`, `envi`: the server as a whole.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::config::{Conf, EnsembleConf};
use super::super::java::Mean;
use super::super::report::{ConnectionLine, Overview};
use super::{clients, line};
use crate::storage::StorageStats;

/// What this server says it is: the ZooKeeper whose behaviour it has, then its own commit and the
/// time of its build, which the build may pass in.
///
/// Tools take it apart: `X.Y.Z-<40 hex>, built on YYYY-MM-DD HH:MM UTC`.
pub(in crate::admin) const VERSION: (&str, &str, &str) = (
    "3.9.5",
    match option_env!("OXKEEPER_COMMIT") {
        Some(commit) => commit,
        None => "0000000000000000000000000000000000000000",
    },
    match option_env!("OXKEEPER_BUILT") {
        Some(built) => built,
        None => "2026-11-21 00:00 UTC",
    },
);

/// The version line's text.
pub(in crate::admin) fn version() -> String {
    let (release, commit, built) = VERSION;
    format!("{release}-{commit}, built on {built}")
}

/// `srvr`; with connections, `stat`.
///
/// zk: StatCommand, ServerStats.toString.
pub(super) fn put_overview(
    out: &mut String,
    overview: &Overview,
    connections: Option<&[ConnectionLine]>,
) {
    line(out, format_args!("Zookeeper version: {}", version()));
    if let Some(connections) = connections {
        out.push_str("Clients:\n");
        for connection in connections {
            clients::put_brief(out, connection);
            out.push_str(")\n");
        }
        out.push('\n');
    }
    let figures = &overview.figures;
    line(
        out,
        format_args!(
            "Latency min/avg/max: {}/{}/{}",
            figures.latency_min_ms,
            Mean(figures.latency_avg_ms),
            figures.latency_max_ms
        ),
    );
    line(out, format_args!("Received: {}", figures.received));
    line(out, format_args!("Sent: {}", figures.sent));
    line(out, format_args!("Connections: {}", overview.connections));
    line(out, format_args!("Outstanding: {}", overview.outstanding));
    line(out, format_args!("Zxid: {}", overview.zxid));
    line(out, format_args!("Mode: {}", overview.view.word()));
    line(out, format_args!("Node count: {}", overview.znodes));
    if let Some(leading) = overview.view.leading() {
        let [last, min, max] = leading.proposal_sizes();
        line(
            out,
            format_args!("Proposal sizes last/min/max: {last}/{min}/{max}"),
        );
    }
}

/// `conf`. `bound`: the client port in use, for a configured port 0.
///
/// zk: ConfCommand, ZooKeeperServer.dumpConf, QuorumZooKeeperServer.dumpConf. The directories are those that ZooKeeper would use.
pub(super) fn put_conf(out: &mut String, conf: &Conf, bound: Option<u16>, storage: &StorageStats) {
    let port = match conf.client_port {
        Some(0) => bound.map_or(-1, i32::from),
        Some(port) => i32::from(port),
        None => -1,
    };
    let version_2 = |dir: &Path| {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        dir.join("version-2").display().to_string()
    };
    line(out, format_args!("clientPort={port}"));
    out.push_str("secureClientPort=-1\n");
    line(out, format_args!("dataDir={}", version_2(&conf.data_dir)));
    line(out, format_args!("dataDirSize={}", storage.data_dir_bytes));
    line(out, format_args!("dataLogDir={}", version_2(&conf.log_dir)));
    line(out, format_args!("dataLogSize={}", storage.log_dir_bytes));
    line(out, format_args!("tickTime={}", conf.tick_ms));
    line(
        out,
        format_args!("maxClientCnxns={}", conf.connections_per_ip_max),
    );
    line(
        out,
        format_args!("minSessionTimeout={}", conf.timeout_ms_min),
    );
    line(
        out,
        format_args!("maxSessionTimeout={}", conf.timeout_ms_max),
    );
    match conf.listen_backlog {
        Some(backlog) => line(out, format_args!("clientPortListenBacklog={backlog}")),
        None => out.push_str("clientPortListenBacklog=-1\n"),
    }
    line(out, format_args!("serverId={}", conf.server_id));
    if let Some(ensemble) = &conf.ensemble {
        put_ensemble_conf(out, ensemble);
    }
}

/// What a member of an ensemble prints behind it; it ends without a line feed.
fn put_ensemble_conf(out: &mut String, conf: &EnsembleConf) {
    let ports = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        ports.join("|")
    };
    line(out, format_args!("initLimit={}", conf.init_limit_ticks));
    line(out, format_args!("syncLimit={}", conf.sync_limit_ticks));
    out.push_str("electionAlg=3\n");
    let election_ports = ports(&conf.election_ports);
    line(out, format_args!("electionPort={election_ports}"));
    line(
        out,
        format_args!("quorumPort={}", ports(&conf.quorum_ports)),
    );
    line(out, format_args!("peerType={}", u8::from(conf.is_observer)));
    out.push_str("membership: \n");
    out.push_str(&conf.membership);
}

/// `dirs`. zk: DirsCommand.
pub(super) fn put_dirs(out: &mut String, storage: &StorageStats) {
    line(
        out,
        format_args!("datadir_size: {}", storage.data_dir_bytes),
    );
    line(out, format_args!("logdir_size: {}", storage.log_dir_bytes));
}

/// `envi`. zk: Environment.list. There is no Java: its keys stay, for those who go by lines. What
/// this server really is stands behind them.
pub(super) fn put_environment(out: &mut String) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let user = User::own();
    let memory = read("/proc/meminfo");
    let values = [
        ("zookeeper.version", version()),
        (
            "host.name",
            read("/proc/sys/kernel/hostname").trim().to_owned(),
        ),
        ("java.version", String::new()),
        ("java.vendor", String::new()),
        ("java.home", String::new()),
        ("java.class.path", String::new()),
        ("java.library.path", String::new()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", "<NA>".to_owned()),
        ("os.name", os_name(std::env::consts::OS).to_owned()),
        ("os.arch", os_arch(std::env::consts::ARCH).to_owned()),
        (
            "os.version",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("user.name", user.name),
        ("user.home", user.home),
        (
            "user.dir",
            std::env::current_dir()
                .unwrap_or_default()
                .display()
                .to_string(),
        ),
        ("os.memory.free", megabytes(&memory, "MemAvailable:")),
        ("os.memory.max", megabytes(&memory, "MemTotal:")),
        ("os.memory.total", megabytes(&memory, "MemTotal:")),
        ("oxkeeper.version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    out.push_str("Environment:\n");
    for (key, value) in values {
        let value = if value.is_empty() { "n/a" } else { &value };
        if write!(out, "{key}={value}").is_ok() {
            out.push('\n');
        }
    }
}

fn os_name(os: &str) -> &str {
    match os {
        "linux" => "Linux",
        "macos" => "Mac OS X",
        other => other,
    }
}

fn os_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        other => other,
    }
}

/// A line of /proc/meminfo, in kB there, as Java's `MB`.
fn megabytes(meminfo: &str, key: &str) -> String {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    match kilobytes.and_then(|text| text.parse::<u64>().ok()) {
        Some(kilobytes) => format!("{}MB", kilobytes / 1024),
        None => String::new(),
    }
}

/// Who runs this process, by the system's list of users.
struct User {
    name: String,
    home: String,
}

impl User {
    fn own() -> Self {
        let uid = fs::metadata("/proc/self").map(|meta| meta.uid()).ok();
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let fields = users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_own = fields.get(2).and_then(|text| text.parse().ok()) == uid;
            is_own.then_some(fields)
        });
        let field = |index: usize| {
            let found = fields.as_ref().and_then(|fields| fields.get(index));
            found.copied().unwrap_or_default().to_owned()
        };
        User {
            name: field(0),
            home: field(5),
        }
    }
}
