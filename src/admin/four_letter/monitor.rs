//! `mntr`: every metric of ZooKeeper's as a line of name and value, whichever provider is configured.
//!
//! Programs pass these lines on, and break where one is not as they know it. Telegraf gives up a
//! whole server for one line that is not `zk_name<TAB>value` with letters, digits, dots and dashes:
//! no braces, no empty values. An exporter makes a page that Prometheus refuses out of one value that
//! is no number, of which it knows two: the version and the state. So there is nothing here that
//! ZooKeeper would not say; what this server has besides is on `/metrics`.
//!
//! zk: MonitorCommand, DefaultMetricsProvider. zk-differs: with the Prometheus provider ZooKeeper
//! prints that provider's names and doubles, which no monitor reads.

use std::fmt;

use super::super::config::MetricsProvider;
use super::super::java::Mean;
use super::super::process;
use super::super::report::{Sources, znodes_as_zookeeper};
use super::super::view::View;
use super::line;
use super::server::version;
use crate::metrics::{self, Distribution, Kind, Reading};

/// A value of a gauge.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::admin) enum Number {
    /// Most are whole.
    Whole(i64),
    /// Means and seconds.
    Broken(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Whole(whole) => write!(f, "{whole}"),
            Number::Broken(broken) => Mean(*broken).fmt(f),
        }
    }
}

/// The metrics that are read off the server, by name, and what it is.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::admin) struct Figures {
    pub(in crate::admin) view: View,
    pub(in crate::admin) values: Vec<(&'static str, Number)>,
    /// Of sets: the name, the value of the label, the value.
    pub(in crate::admin) sets: Vec<(&'static str, String, u64)>,
}

impl Figures {
    /// Walks the directories.
    pub(in crate::admin) fn read(sources: &Sources, view: View) -> Self {
        let mut figures = Self {
            view,
            values: Vec::new(),
            sets: Vec::new(),
        };
        figures.read_clients(sources);
        figures.read_state(sources);
        figures.read_raft(sources);
        figures.read_quorum();
        figures.read_storage(sources);
        let files = process::open_files();
        figures.whole("open_file_descriptor_count", files.open);
        figures.whole("max_file_descriptor_count", files.max);
        figures
    }

    fn whole(&mut self, name: &'static str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.values.push((name, Number::Whole(value)));
    }

    fn broken(&mut self, name: &'static str, value: f64) {
        self.values.push((name, Number::Broken(value)));
    }

    fn read_clients(&mut self, sources: &Sources) {
        let overview = sources.overview(&self.view);
        let figures = overview.figures;
        self.broken("avg_latency", figures.latency_avg_ms);
        self.whole("max_latency", figures.latency_max_ms);
        self.whole("min_latency", figures.latency_min_ms);
        self.whole("packets_received", figures.received);
        self.whole("packets_sent", figures.sent);
        self.whole("num_alive_connections", overview.connections as u64);
        self.whole("outstanding_requests", overview.outstanding as u64);
        let [last, min, max] = figures.reply_bytes;
        for (name, bytes) in [
            ("last_client_response_size", last),
            ("max_client_response_size", max),
            ("min_client_response_size", min),
        ] {
            self.values.push((name, Number::Whole(bytes)));
        }
        let uptime = sources.started.elapsed().as_millis();
        self.whole("uptime", u64::try_from(uptime).unwrap_or(u64::MAX));
        let watches = sources.requests.watch_count();
        self.whole("watch_count", watches as u64);
        let drop_share = sources.requests.throttle().drop_share();
        self.broken("connection_drop_probability", drop_share.fraction());
        // There is no TLS yet.
        for name in [
            "outstanding_tls_handshake",
            "non_mtls_remote_conn_count",
            "non_mtls_local_conn_count",
        ] {
            self.whole(name, 0);
        }
    }

    fn read_state(&mut self, sources: &Sources) {
        let (znodes, bytes, ephemerals, sessions) = {
            let state = sources.replica.read();
            let meta = state.meta();
            (
                meta.znodes,
                state.data_bytes_shown(),
                meta.ephemerals,
                state.sessions().len(),
            )
        };
        self.whole("znode_count", znodes_as_zookeeper(znodes));
        self.whole("approximate_data_size", bytes);
        self.whole("ephemerals_count", ephemerals);
        self.whole("global_sessions", sessions as u64);
        self.whole("local_sessions", 0);
    }

    fn read_raft(&mut self, sources: &Sources) {
        let report = sources.ensemble.report();
        self.whole("raft_term", report.term);
        let indexes = [
            ("raft_last_log_index", report.last_log),
            ("raft_commit_index", report.committed),
            (
                "raft_applied_index",
                report.applied.map(|position| position.index),
            ),
        ];
        for (name, index) in indexes {
            self.whole(name, index.unwrap_or(0));
        }
    }

    /// zk: ReplicatedServer's and the leader's metrics: absent, not zero, where they have no meaning;
    /// alerts find the leader by that.
    pub(super) fn read_quorum(&mut self) {
        if let Some(voters) = self.view.voters {
            self.whole("quorum_size", voters as u64);
        }
        let Some(leading) = self.view.leading().cloned() else {
            return;
        };
        let uptime = u64::try_from(leading.uptime.as_millis());
        for (name, value) in [
            ("learners", leading.learners.len() as u64),
            ("followers", leading.followers() as u64),
            ("synced_followers", leading.synced_followers() as u64),
            ("synced_observers", leading.synced_observers() as u64),
            // Nobody is a member without being in the list.
            ("synced_non_voting_followers", 0),
            ("pending_syncs", leading.pending_syncs),
            ("leader_uptime", uptime.unwrap_or(u64::MAX)),
        ] {
            self.whole(name, value);
        }
        let [last, min, max] = leading.proposal_sizes();
        for (name, bytes) in [
            ("last_proposal_size", last),
            ("min_proposal_size", min),
            ("max_proposal_size", max),
        ] {
            self.values.push((name, Number::Whole(bytes)));
        }
        for learner in &leading.learners {
            let id = learner.id.to_string();
            self.sets
                .push(("raft_learner_lag_entries", id, learner.lag_entries));
        }
    }

    fn read_storage(&mut self, sources: &Sources) {
        let storage = sources.storage();
        self.whole("fsync_threshold_exceed_count", storage.slow_syncs);
        self.whole("data_dir_bytes", storage.data_dir_bytes);
        self.whole("log_dir_bytes", storage.log_dir_bytes);
        self.whole("znode_cache_bytes", storage.cache_bytes);
        self.whole("block_cache_bytes", storage.block_cache_bytes);
        self.whole("tree_memtable_bytes", storage.tree_memtable_bytes);
        self.whole("log_tail_bytes", storage.log_tail_bytes);
        self.whole("log_syncs_total", storage.syncs);
        self.whole("log_appended_bytes_total", storage.appended_bytes);
        let micros = std::time::Duration::from_micros(storage.sync_us_sum);
        self.broken("log_sync_seconds_total", micros.as_secs_f64());
    }

    /// The value of a metric that is read; `None` if it has none now.
    pub(in crate::admin) fn value(&self, name: &str) -> Option<Number> {
        let found = self.values.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// `mntr`.
pub(super) fn put(out: &mut String, figures: &Figures, provider: MetricsProvider) {
    line(out, format_args!("zk_version\t{}", version()));
    line(
        out,
        format_args!("zk_server_state\t{}", figures.view.word()),
    );
    if let Some(state) = figures.view.peer_state() {
        line(out, format_args!("zk_peer_state\t{state}"));
    }
    if let Some(master) = figures.view.observer_master() {
        line(out, format_args!("zk_observer_master_id\t{master}"));
    }
    for (metric, reading) in metrics::each().filter(|(metric, _)| !metric.is_ours()) {
        let name = metric.name;
        match reading {
            Reading::Elsewhere => {
                if let Some(value) = figures.value(name) {
                    line(out, format_args!("zk_{name}\t{value}"));
                }
            }
            // zk: NullMetricsProvider keeps nothing that must be recorded.
            Reading::Count(_) | Reading::Samples(_) if provider == MetricsProvider::Null => {}
            Reading::Count(count) => line(out, format_args!("zk_{name}\t{count}")),
            Reading::Samples(samples) => put_summary(out, name, &samples, metric.kind),
        }
    }
}

/// zk: AvgMinMaxCounter.values, AvgMinMaxPercentileCounter.values.
fn put_summary(out: &mut String, name: &str, samples: &Distribution, kind: Kind) {
    line(out, format_args!("zk_avg_{name}\t{}", Mean(samples.mean())));
    let whole = [
        ("min", samples.min),
        ("max", samples.max),
        ("cnt", samples.count),
        ("sum", samples.sum),
    ];
    for (word, value) in whole {
        line(out, format_args!("zk_{word}_{name}\t{value}"));
    }
    if kind == Kind::Advanced {
        for (word, per_thousand) in [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)] {
            let value = samples.quantile(per_thousand).unwrap_or(0);
            line(out, format_args!("zk_{word}_{name}\t{value}"));
        }
    }
}
