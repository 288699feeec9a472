//! The one list of metrics: names, kinds, units and what they say.
//!
//! zk: ServerMetrics, ZooKeeperServer.registerMetrics, LeaderZooKeeperServer.registerMetrics. Every
//! name that ZooKeeper 3.9 has is here, so that no dashboard has a hole; those without a meaning
//! stay at zero, or without samples.

/// How a metric is kept and shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, but for `srst`.
    Counter,
    /// Number, sum, mean, extremes, median.
    Summary,
    /// A summary with more quantiles.
    Advanced,
    /// Gauges by a label.
    GaugeSet,
    /// Counters by a label.
    CounterSet,
    /// Summaries by a label.
    SummarySet,
    /// Advanced summaries by a label.
    AdvancedSet,
}

/// Where its value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Recorded by the verbs of this room.
    Recorded,
    /// Read off the server when somebody asks; missing if it has no meaning at that moment.
    Read,
}

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// ZooKeeper's name, without `zk_`.
    pub name: &'static str,
    /// How it is kept.
    pub kind: Kind,
    /// Where.
    pub source: Source,
    /// What is counted in, if not pieces.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// ZooKeeper's names that end as ours do.
const ZOOKEEPERS: [&str; 2] = ["response_bytes", "watch_bytes"];

impl Metric {
    /// Whether ZooKeeper does not have it. Its names are its own; ours say their unit at the end, or
    /// that they are of Raft.
    pub fn is_ours(&self) -> bool {
        let ends = ["_seconds", "_bytes", "_total"];
        self.name.starts_with("raft_")
            || (ends.iter().any(|end| self.name.ends_with(end)) && !ZOOKEEPERS.contains(&self.name))
    }

    const fn ms(self) -> Self {
        Self {
            unit: "milliseconds",
            ..self
        }
    }

    const fn bytes(self) -> Self {
        Self {
            unit: "bytes",
            ..self
        }
    }
}

const fn set(kind: Kind, name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        source: Source::Recorded,
        unit: "",
        help,
    }
}

const fn read_gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        source: Source::Read,
        ..set(Kind::Gauge, name, help)
    }
}

const fn read_counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        source: Source::Read,
        ..set(Kind::Counter, name, help)
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    set(Kind::Gauge, name, help)
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    set(Kind::Counter, name, help)
}

const fn summary(name: &'static str, help: &'static str) -> Metric {
    set(Kind::Summary, name, help)
}

const fn advanced(name: &'static str, help: &'static str) -> Metric {
    set(Kind::Advanced, name, help)
}

/// All metrics: gauges, counters, summaries, advanced summaries, sets.
#[rustfmt::skip] // A table: one row, one line.
pub static TABLE: &[Metric] = &[
    read_gauge("avg_latency", "time from a request to its reply, since the start or the last srst").ms(),
    read_gauge("max_latency", "largest of them").ms(),
    read_gauge("min_latency", "smallest of them").ms(),
    read_gauge("packets_received", "requests since the start or the last srst"),
    read_gauge("packets_sent", "replies since the start or the last srst"),
    read_gauge("num_alive_connections", "open client connections"),
    read_gauge("outstanding_requests", "requests that wait for their proposals"),
    read_gauge("uptime", "time since clients are served").ms(),
    read_gauge("znode_count", "znodes, the root counted twice"),
    read_gauge("watch_count", "watches of data and of children"),
    read_gauge("ephemerals_count", "ephemeral znodes"),
    read_gauge("approximate_data_size", "bytes of all paths and data").bytes(),
    read_gauge("global_sessions", "sessions of the whole ensemble"),
    read_gauge("local_sessions", "sessions that this server alone knows"),
    read_gauge("open_file_descriptor_count", "file descriptors in use"),
    read_gauge("max_file_descriptor_count", "limit of file descriptors"),
    read_gauge("connection_drop_probability", "share of new connections that the throttle refuses"),
    read_gauge("last_client_response_size", "size of the last reply").bytes(),
    read_gauge("max_client_response_size", "size of the largest reply").bytes(),
    read_gauge("min_client_response_size", "size of the smallest reply").bytes(),
    read_gauge("outstanding_tls_handshake", "TLS handshakes under way"),
    read_gauge("non_mtls_remote_conn_count", "connections without a client certificate, from other hosts"),
    read_gauge("non_mtls_local_conn_count", "connections without a client certificate, from this host"),
    read_gauge("quorum_size", "voters of the ensemble"),
    read_gauge("learners", "followers and observers that are connected; of the leader only"),
    read_gauge("synced_followers", "followers that keep up; of the leader only"),
    read_gauge("followers", "followers that are connected; of the leader only"),
    read_gauge("synced_observers", "observers that keep up; of the leader only"),
    read_gauge("synced_non_voting_followers", "removed servers that keep up; of the leader only"),
    read_gauge("pending_syncs", "syncs under way; of the leader only"),
    read_gauge("leader_uptime", "time since this server leads; of the leader only").ms(),
    read_gauge("last_proposal_size", "size of the last proposal; of the leader only").bytes(),
    read_gauge("max_proposal_size", "size of the largest proposal; of the leader only").bytes(),
    read_gauge("min_proposal_size", "size of the smallest proposal; of the leader only").bytes(),
    read_gauge("fsync_threshold_exceed_count", "syncs of the log that took longer than fsync.warningthresholdms"),
    read_gauge("raft_term", "Raft term"),
    read_gauge("raft_last_log_index", "last entry in the log"),
    read_gauge("raft_commit_index", "last entry known to be committed"),
    read_gauge("raft_applied_index", "last entry applied"),
    set(Kind::GaugeSet, "raft_learner_lag_entries", "entries that a member has not acknowledged, by its id; of the leader only"),
    read_gauge("data_dir_bytes", "files of the tree and its checkpoints").bytes(),
    read_gauge("log_dir_bytes", "files of the log").bytes(),
    read_gauge("znode_cache_bytes", "znodes and names in the cache").bytes(),
    read_gauge("block_cache_bytes", "blocks of the tree in memory").bytes(),
    read_gauge("tree_memtable_bytes", "changes of the tree that are not flushed").bytes(),
    read_gauge("log_tail_bytes", "entries of the log in memory").bytes(),
    gauge("auth_failed_count", "credentials of clients that were refused"),
    set(Kind::GaugeSet, "quota_count_limit_per_namespace", "limit of znodes under a quota"),
    set(Kind::GaugeSet, "quota_bytes_limit_per_namespace", "limit of bytes under a quota"),
    set(Kind::GaugeSet, "quota_count_usage_per_namespace", "znodes under a quota"),
    set(Kind::GaugeSet, "quota_bytes_usage_per_namespace", "bytes of data under a quota"),
    counter("add_dead_watcher_stall_time", "of ZooKeeper only: nothing happens here that it counts"),
    counter("bytes_received_count", "bytes that came from clients").bytes(),
    counter("cnxn_closed_without_zk_server_running", "of ZooKeeper only: nothing happens here that it counts"),
    counter("commit_count", "txns applied while no other server led"),
    counter("connection_drop_count", "connections that broke or were ended by their clients"),
    counter("connection_rejected", "connections over a limit"),
    counter("connection_request_count", "sessions asked for"),
    counter("connection_revalidate_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("dead_watchers_cleared", "of ZooKeeper only: nothing happens here that it counts"),
    counter("dead_watchers_queued", "of ZooKeeper only: nothing happens here that it counts"),
    counter("diff_count", "servers that connected and were brought up to date by the log"),
    counter("digest_mismatches_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("ensemble_auth_fail", "of ZooKeeper only: nothing happens here that it counts"),
    counter("ensemble_auth_skip", "of ZooKeeper only: nothing happens here that it counts"),
    counter("ensemble_auth_success", "of ZooKeeper only: nothing happens here that it counts"),
    counter("insecure_admin_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("large_requests_rejected", "of ZooKeeper only: nothing happens here that it counts"),
    counter("learner_commit_received_count", "txns applied while another server led"),
    counter("learner_proposal_received_count", "the same"),
    counter("looking_count", "times this server became a candidate"),
    counter("outstanding_changes_queued", "of ZooKeeper only: nothing happens here that it counts"),
    counter("outstanding_changes_removed", "of ZooKeeper only: nothing happens here that it counts"),
    counter("prep_processor_request_queued", "of ZooKeeper only: nothing happens here that it counts"),
    counter("proposal_count", "the same, whosever clients asked for them"),
    counter("quit_leading_due_to_disloyal_voter", "of ZooKeeper only: nothing happens here that it counts"),
    counter("request_commit_queued", "of ZooKeeper only: nothing happens here that it counts"),
    counter("request_throttle_wait_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("requests_not_forwarded_to_commit_processor", "of ZooKeeper only: nothing happens here that it counts"),
    counter("response_bytes", "bytes of replies to requests other than ping, auth and sasl, without the four of their length").bytes(),
    counter("response_packet_cache_hits", "of ZooKeeper only: nothing happens here that it counts"),
    counter("response_packet_cache_misses", "of ZooKeeper only: nothing happens here that it counts"),
    counter("response_packet_get_children_cache_hits", "of ZooKeeper only: nothing happens here that it counts"),
    counter("response_packet_get_children_cache_misses", "of ZooKeeper only: nothing happens here that it counts"),
    counter("restore_error_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("restore_rate_limited_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("revalidate_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("sessionless_connections_expired", "connections that did not ask for a session in time"),
    counter("skip_learner_request_to_next_processor_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("snap_count", "snapshots that were begun to be sent to servers too far behind for the log"),
    counter("snapshot_error_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("snapshot_rate_limited_count", "of ZooKeeper only: nothing happens here that it counts"),
    counter("stale_replies", "of ZooKeeper only: nothing happens here that it counts"),
    counter("stale_requests", "of ZooKeeper only: nothing happens here that it counts"),
    counter("stale_requests_dropped", "of ZooKeeper only: nothing happens here that it counts"),
    counter("stale_sessions_expired", "sessions whose time was over"),
    counter("sync_processor_request_queued", "appends and votes written to the log"),
    counter("throttled_ops", "of ZooKeeper only: nothing happens here that it counts"),
    counter("tls_handshake_exceeded", "of ZooKeeper only: nothing happens here that it counts"),
    counter("unrecoverable_error_count", "of ZooKeeper only: such a failure ends the process here"),
    counter("unsuccessful_handshake", "of ZooKeeper only: nothing happens here that it counts"),
    counter("watch_bytes", "bytes of watch events, without the four of their length").bytes(),
    counter("replies_too_large_total", "connections closed because a reply would have been longer than oxkeeper.replyBytesMax"),
    counter("large_replies_not_taken_total", "connections closed because their clients did not take a large reply while others waited for its room"),
    counter("sent_bytes_total", "bytes that the sockets of clients took: replies, events, handshakes, answers to command words").bytes(),
    counter("stdout_lines_lost_total", "lines for standard output that were lost: it could not be written, or nobody read it"),
    read_counter("log_syncs_total", "syncs of the log since the start"),
    read_counter("log_sync_seconds_total", "time spent in syncs of the log since the start"),
    read_counter("log_appended_bytes_total", "bytes appended to the log since the start").bytes(),
    set(Kind::CounterSet, "quota_exceeded_error_per_namespace", "of ZooKeeper only: nothing happens here that it counts"),
    summary("fsynctime", "writing and syncing of the log").ms(),
    summary("snapshottime", "taking a checkpoint of the tree").ms(),
    summary("restore_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("dbinittime", "opening the stores and restoring the state").ms(),
    summary("follower_sync_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("observer_sync_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("election_time", "time without a leader").ms(),
    summary("connection_token_deficit", "tokens missing in the bucket when a client asked for a session"),
    summary("inflight_snap_count", "snapshots on their way when one is begun"),
    summary("inflight_diff_count", "of ZooKeeper only: nothing happens here that it measures"),
    summary("node_created_watch_count", "watchers told of one creation"),
    summary("node_deleted_watch_count", "watchers told of one deletion"),
    summary("node_changed_watch_count", "watchers told of one change of data"),
    summary("node_children_watch_count", "watchers told of one change of children"),
    summary("prep_processor_queue_size", "of ZooKeeper only: nothing happens here that it measures"),
    summary("prep_process_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("proposal_process_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("unavailable_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("leader_unavailable_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("requests_in_session_queue", "of ZooKeeper only: nothing happens here that it measures"),
    summary("pending_session_queue_size", "of ZooKeeper only: nothing happens here that it measures"),
    summary("reads_after_write_in_session_queue", "of ZooKeeper only: nothing happens here that it measures"),
    summary("reads_issued_from_session_queue", "reads answered together behind a write of their session"),
    summary("session_queues_drained", "of ZooKeeper only: nothing happens here that it measures"),
    summary("time_waiting_empty_pool_in_commit_processor_read_ms", "of ZooKeeper only: nothing happens here that it measures"),
    summary("write_batch_time_in_commit_processor", "of ZooKeeper only: nothing happens here that it measures"),
    summary("concurrent_request_processing_in_commit_processor", "of ZooKeeper only: nothing happens here that it measures"),
    summary("read_commit_proc_req_queued", "of ZooKeeper only: nothing happens here that it measures"),
    summary("write_commit_proc_req_queued", "of ZooKeeper only: nothing happens here that it measures"),
    summary("commit_commit_proc_req_queued", "of ZooKeeper only: nothing happens here that it measures"),
    summary("read_commit_proc_issued", "of ZooKeeper only: nothing happens here that it measures"),
    summary("write_commit_proc_issued", "of ZooKeeper only: nothing happens here that it measures"),
    summary("commit_process_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("startup_txns_loaded", "of ZooKeeper only: nothing happens here that it measures"),
    summary("startup_txns_load_time", "of ZooKeeper only: nothing happens here that it measures"),
    summary("startup_snap_load_time", "opening the stores and restoring the state").ms(),
    summary("sync_processor_queue_size", "of ZooKeeper only: nothing happens here that it measures"),
    summary("sync_process_time", "writing and syncing of the log").ms(),
    summary("sync_processor_batch_size", "appends and votes that shared a sync"),
    summary("netty_queued_buffer_capacity", "of ZooKeeper only: nothing happens here that it measures"),
    summary("learner_request_processor_queue_size", "of ZooKeeper only: nothing happens here that it measures"),
    summary("socket_closing_time", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("readlatency", "time from a request that changes nothing to its reply").ms(),
    advanced("updatelatency", "time from a write to its reply").ms(),
    advanced("propagation_latency", "time from the proposal of a batch to its apply on this server").ms(),
    advanced("dead_watchers_cleaner_latency", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("prep_processor_queue_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("close_session_prep_time", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("read_commitproc_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("write_commitproc_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("local_write_committed_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("server_write_committed_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("om_proposal_process_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("om_commit_process_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("read_final_proc_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("write_final_proc_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("proposal_latency", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("proposal_ack_creation_latency", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("commit_propagation_latency", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("sync_processor_queue_and_flush_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("sync_processor_queue_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("sync_processor_queue_flush_time_ms", "writing and syncing of the log").ms(),
    advanced("quorum_ack_latency", "time from the proposal of a batch to its commit and apply; of the leader only").ms(),
    advanced("request_throttle_queue_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    advanced("jvm_pause_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
    set(Kind::SummarySet, "write_per_namespace", "of ZooKeeper only: nothing happens here that it measures"),
    set(Kind::SummarySet, "read_per_namespace", "of ZooKeeper only: nothing happens here that it measures"),
    set(Kind::SummarySet, "learner_handler_qp_size", "of ZooKeeper only: nothing happens here that it measures"),
    set(Kind::AdvancedSet, "ack_latency", "of ZooKeeper only: nothing happens here that it measures"),
    set(Kind::AdvancedSet, "learner_handler_qp_time_ms", "of ZooKeeper only: nothing happens here that it measures"),
];
