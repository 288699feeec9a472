//! What the server counts and measures: one verb for each thing that happens, called where it does.
//!
//! ```text
//!   a room ─▶ metrics::fsync_took(..) ─▶ a handle of the `metrics` crate ─▶ a cell of ours
//!                                                                             │
//!   admin: mntr, /metrics ◀─ each(..): the table's rows with what their counters hold ◀─┘
//! ```
//!
//! [`TABLE`] is the one list of names. ZooKeeper's names and units are kept (milliseconds without a
//! suffix); new ones end in their unit. Cells are found once: recording is an atomic addition or
//! two, without hashing or allocation. There is one set of counters in a process, as in ZooKeeper.
//!
//! A leaf: open to every room but the pure ones.

mod counters;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use ::metrics::{Key, KeyName, Metadata, Recorder, SharedString, Unit};

pub use counters::Distribution;
use counters::{Count, Samples};
pub use table::{Kind, Metric, Source, TABLE};

/// See [`follows`].
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// What the table's rows hold.
#[derive(Debug)]
struct Cells {
    rows: Vec<Cell>,
}

#[derive(Debug)]
enum Cell {
    Count(Arc<Count>),
    Samples(Arc<Samples>),
    /// Read off the server when somebody asks, or a set without members.
    Elsewhere,
}

static CELLS: LazyLock<Cells> = LazyLock::new(|| {
    let rows = TABLE
        .iter()
        .map(|metric| match (metric.source, metric.kind) {
            (Source::Read, _) => Cell::Elsewhere,
            (Source::Recorded, Kind::Gauge | Kind::Counter) => Cell::Count(Arc::default()),
            (Source::Recorded, Kind::Summary | Kind::Advanced) => Cell::Samples(Arc::default()),
            (
                Source::Recorded,
                Kind::GaugeSet | Kind::CounterSet | Kind::SummarySet | Kind::AdvancedSet,
            ) => Cell::Elsewhere,
        });
    Cells {
        rows: rows.collect(),
    }
});

impl Cells {
    fn find(&self, name: &str) -> Option<&Cell> {
        let row = TABLE.iter().position(|metric| metric.name == name)?;
        self.rows.get(row)
    }

    fn count(&self, name: &str) -> Option<Arc<Count>> {
        match self.find(name)? {
            Cell::Count(count) => Some(Arc::clone(count)),
            Cell::Samples(_) | Cell::Elsewhere => None,
        }
    }

    fn samples(&self, name: &str) -> Option<Arc<Samples>> {
        match self.find(name)? {
            Cell::Samples(samples) => Some(Arc::clone(samples)),
            Cell::Count(_) | Cell::Elsewhere => None,
        }
    }
}

/// The recorder behind the `metrics` crate's macros, for libraries that use them: what is not in
/// the table is not kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableRecorder;

impl Recorder for TableRecorder {
    fn describe_counter(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn describe_gauge(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn describe_histogram(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        counter(key.name())
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        let found = CELLS.count(key.name());
        found.map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        histogram(key.name())
    }
}

fn counter(name: &str) -> Counter {
    let found = CELLS.count(name);
    found.map_or_else(Counter::noop, Counter::from_arc)
}

fn histogram(name: &str) -> Histogram {
    let found = CELLS.samples(name);
    found.map_or_else(Histogram::noop, Histogram::from_arc)
}

/// Puts the table behind the macros of the `metrics` crate. Once more is once.
pub fn install() {
    if ::metrics::set_global_recorder(TableRecorder).is_err() {
        tracing::trace!("a metrics recorder is installed already");
    }
}

/// What a row of the table holds now.
#[derive(Clone, Debug)]
pub enum Reading {
    /// A counter or a gauge.
    Count(u64),
    /// A summary.
    Samples(Distribution),
    /// The row's values come from the server itself, or its set has no members.
    Elsewhere,
}

/// Every row of the table with what it holds, in order.
pub fn each() -> impl Iterator<Item = (&'static Metric, Reading)> {
    TABLE.iter().zip(&CELLS.rows).map(|(metric, cell)| {
        let reading = match cell {
            Cell::Count(count) => Reading::Count(count.value()),
            Cell::Samples(samples) => Reading::Samples(samples.read()),
            Cell::Elsewhere => Reading::Elsewhere,
        };
        (metric, reading)
    })
}

/// `srst`: counters and summaries begin all over, gauges stay.
///
/// zk: DefaultMetricsProvider.resetAllValues.
pub fn reset() {
    for (metric, cell) in TABLE.iter().zip(&CELLS.rows) {
        match cell {
            Cell::Count(count) if metric.kind == Kind::Counter => count.reset(),
            Cell::Samples(samples) => samples.reset(),
            Cell::Count(_) | Cell::Elsewhere => {}
        }
    }
}

/// Declares the handles: each found once, by its name in the table.
macro_rules! handles {
    ($($name:ident: $kind:ident,)*) => {
        struct Handles { $($name: handles!(@type $kind),)* }

        static HANDLES: LazyLock<Handles> = LazyLock::new(|| Handles {
            $($name: $kind(stringify!($name)),)*
        });

        /// Names and whether each is a counter, for the test that holds them against the table.
        #[cfg(test)]
        const HANDLE_NAMES: &[(&str, bool)] =
            &[$((stringify!($name), handles!(@counts $kind)),)*];
    };
    (@type counter) => { Counter };
    (@type histogram) => { Histogram };
    (@counts counter) => { true };
    (@counts histogram) => { false };
}

handles! {
    auth_failed_count: counter,
    bytes_received_count: counter,
    commit_count: counter,
    connection_drop_count: counter,
    connection_rejected: counter,
    connection_request_count: counter,
    connection_token_deficit: histogram,
    dbinittime: histogram,
    diff_count: counter,
    election_time: histogram,
    fsynctime: histogram,
    inflight_snap_count: histogram,
    looking_count: counter,
    node_changed_watch_count: histogram,
    node_children_watch_count: histogram,
    node_created_watch_count: histogram,
    node_deleted_watch_count: histogram,
    learner_commit_received_count: counter,
    learner_proposal_received_count: counter,
    proposal_count: counter,
    propagation_latency: histogram,
    quorum_ack_latency: histogram,
    readlatency: histogram,
    reads_issued_from_session_queue: histogram,
    replies_too_large_total: counter,
    large_replies_not_taken_total: counter,
    response_bytes: counter,
    sent_bytes_total: counter,
    sessionless_connections_expired: counter,
    snap_count: counter,
    snapshottime: histogram,
    stale_sessions_expired: counter,
    startup_snap_load_time: histogram,
    stdout_lines_lost_total: counter,
    sync_process_time: histogram,
    sync_processor_batch_size: histogram,
    sync_processor_queue_flush_time_ms: histogram,
    sync_processor_request_queued: counter,
    updatelatency: histogram,
    watch_bytes: counter,
}

/// Whole milliseconds, ZooKeeper's unit.
fn ms(took: Duration) -> f64 {
    whole(took.as_millis())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, which no sample reaches"
)]
fn whole(number: u128) -> f64 {
    number as f64
}

/// A group of `writes` appends and votes was written and synced to the log.
pub fn fsync_took(took: Duration, writes: usize) {
    let ms = ms(took);
    HANDLES.fsynctime.record(ms);
    HANDLES.sync_process_time.record(ms);
    HANDLES.sync_processor_queue_flush_time_ms.record(ms);
    HANDLES
        .sync_processor_batch_size
        .record(whole(writes as u128));
    HANDLES
        .sync_processor_request_queued
        .increment(writes as u64);
}

/// A checkpoint of the tree was taken.
pub fn snapshot_took(took: Duration) {
    HANDLES.snapshottime.record(ms(took));
}

/// A server that is too far behind for the log is sent a snapshot.
///
/// zk: LearnerHandler.syncFollower, SNAP.
pub fn snapshot_sent() {
    HANDLES.snap_count.increment(1);
}

/// So many snapshots are on their way, with one that begins.
pub fn snapshots_in_flight(count: usize) {
    HANDLES.inflight_snap_count.record(whole(count as u128));
}

/// A server that has connected is brought up to date by the log.
///
/// zk: LearnerHandler.syncFollower, DIFF.
pub fn diff_sent() {
    HANDLES.diff_count.increment(1);
}

/// The stores were opened and the state restored from them.
pub fn database_opened(took: Duration) {
    HANDLES.dbinittime.record(ms(took));
    HANDLES.startup_snap_load_time.record(ms(took));
}

/// A request that changes nothing was answered so long after it came.
pub fn read_answered(took: Duration) {
    HANDLES.readlatency.record(ms(took));
}

/// So many reads were answered together, behind a write of their session.
pub fn reads_answered_behind_write(reads: usize) {
    HANDLES
        .reads_issued_from_session_queue
        .record(whole(reads as u128));
}

/// A connection was closed, for a reply on it would have been too large.
pub fn reply_too_large() {
    HANDLES.replies_too_large_total.increment(1);
}

/// A client did not take a large reply while others waited: its connection is closed.
pub fn large_reply_not_taken() {
    HANDLES.large_replies_not_taken_total.increment(1);
}

/// A request that went through the log was answered so long after it came.
pub fn update_answered(took: Duration) {
    HANDLES.updatelatency.record(ms(took));
}

/// A batch has been applied here so long after its leader proposed it.
pub fn propagated(took: Duration) {
    HANDLES.propagation_latency.record(ms(took));
}

/// A quorum has a batch, and its leader has applied it, so long after that proposed it.
pub fn quorum_acknowledged(took: Duration) {
    HANDLES.quorum_ack_latency.record(ms(took));
}

/// Whether what is applied from now on was proposed by another server.
pub fn follows(follows: bool) {
    FOLLOWS.store(follows, Relaxed);
}

/// A txn was applied: a leader has proposed and committed it, the others have been sent it.
///
/// zk: Leader.propose, Leader.commit; Follower.processPacket.
pub fn committed() {
    if FOLLOWS.load(Relaxed) {
        HANDLES.learner_proposal_received_count.increment(1);
        HANDLES.learner_commit_received_count.increment(1);
    } else {
        HANDLES.proposal_count.increment(1);
        HANDLES.commit_count.increment(1);
    }
}

/// A client asked for a session and was not throttled, whose bucket lacks so many tokens.
pub fn session_asked(token_deficit: u64) {
    HANDLES.connection_request_count.increment(1);
    HANDLES
        .connection_token_deficit
        .record(whole(token_deficit.into()));
}

/// A session's time was over.
pub fn session_expired() {
    HANDLES.stale_sessions_expired.increment(1);
}

/// A connection was over a limit.
pub fn connection_rejected() {
    HANDLES.connection_rejected.increment(1);
}

/// A connection broke, or its client ended it.
pub fn connection_dropped() {
    HANDLES.connection_drop_count.increment(1);
}

/// A connection did not ask for a session in time.
pub fn sessionless_connection_expired() {
    HANDLES.sessionless_connections_expired.increment(1);
}

/// Bytes came from clients.
pub fn received(bytes: usize) {
    HANDLES.bytes_received_count.increment(bytes as u64);
}

/// A client's socket took so many bytes.
pub fn sent(bytes: usize) {
    HANDLES.sent_bytes_total.increment(bytes as u64);
}

/// A request that is no ping was answered by a reply of so many bytes, those of its length not counted.
///
/// zk: FinalRequestProcessor.processRequest.
pub fn responded(bytes: usize) {
    HANDLES.response_bytes.increment(bytes as u64);
}

/// A client was told what it had missed, by an event of so many bytes, those of its length not
/// counted. No trigger: it is no sample of how many watchers one has.
pub fn caught_up(bytes: usize) {
    HANDLES.watch_bytes.increment(bytes as u64);
}

/// A client's credentials were refused.
pub fn auth_failed() {
    HANDLES.auth_failed_count.increment(1);
}

/// So many lines for standard output were lost: it could not be written, or nobody read it.
pub fn stdout_lines_lost(lines: u64) {
    HANDLES.stdout_lines_lost_total.increment(lines);
}

/// This server became a candidate.
pub fn looking() {
    HANDLES.looking_count.increment(1);
}

/// This server knew no leader for so long.
pub fn election_took(took: Duration) {
    HANDLES.election_time.record(ms(took));
}

/// How many watchers one trigger told, by what they were told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fired {
    /// NodeCreated, NodeDeleted, NodeDataChanged, NodeChildrenChanged.
    counts: [u32; 4],
    bytes: usize,
}

impl Fired {
    /// One watcher was told by an event of this wire type, in so many bytes, those of its length not
    /// counted.
    pub fn note(&mut self, wire_type: i32, bytes: usize) {
        let index = usize::try_from(wire_type).unwrap_or(0).wrapping_sub(1);
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.bytes += bytes;
    }

    /// How many watchers were told.
    pub fn watchers(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// The trigger is over. zk: WatchManager.triggerWatch: kinds that told nobody are no sample.
    pub fn record(self) {
        if self.bytes == 0 {
            return;
        }
        HANDLES.watch_bytes.increment(self.bytes as u64);
        let [created, deleted, changed, children] = self.counts;
        let summaries = [
            (created, &HANDLES.node_created_watch_count),
            (deleted, &HANDLES.node_deleted_watch_count),
            (changed, &HANDLES.node_changed_watch_count),
            (children, &HANDLES.node_children_watch_count),
        ];
        for (count, summary) in summaries {
            if count > 0 {
                summary.record(f64::from(count));
            }
        }
    }
}
