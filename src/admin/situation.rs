//! `kill -QUIT`: what the server is at, for whoever asks why it does not go on.
//!
//! The JVM answers that signal with a dump of its threads. Here a thread serves many tasks, so its
//! stack says little: what is shown is what threads, tasks and queues there are and what they hold.
//!
//! It is asked for when something hangs, perhaps with a lock. So each part is read by itself, on a
//! thread that may block, and only for so long.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

use super::inspector::{Inner, Inspector};
use super::process;
use crate::system;

/// How long one part may take.
const PART_TIME_MAX: Duration = Duration::from_secs(2);
/// Connections that are named: those with most bytes that wait to be sent.
const CONNECTIONS_NAMED: usize = 10;

/// Reads one part of the server.
type Part = fn(&Inner, &mut String);

/// Those that take no locks of the server come first.
const PARTS: [(&str, Part); 6] = [
    ("process", put_process),
    ("threads", put_threads),
    ("ensemble", put_ensemble),
    ("connections", put_connections),
    ("state", put_state),
    ("storage", put_storage),
];

impl Inspector {
    /// The whole text, which ends with a line feed. Takes some seconds at most.
    pub async fn situation(&self) -> String {
        let mut text = "what the server is at:\n".to_owned();
        let inner = self.inner();
        put_runtime(&mut text, "workers", &Handle::current().metrics());
        let ensemble = &inner.sources.ensemble;
        put_runtime(&mut text, "ensemble's thread", &ensemble.runtime_metrics());
        for (name, part) in PARTS {
            let inner = self.inner();
            let read = tokio::task::spawn_blocking(move || {
                let mut part_text = String::new();
                part(&inner, &mut part_text);
                part_text
            });
            match tokio::time::timeout(PART_TIME_MAX, read).await {
                Ok(Ok(part_text)) => text.push_str(&part_text),
                Ok(Err(error)) => put(&mut text, format_args!("{name}: {error}")),
                Err(_) => put(
                    &mut text,
                    format_args!(
                        "{name}: not to be had within {PART_TIME_MAX:?}: something holds it"
                    ),
                ),
            }
        }
        text
    }
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    let put = writeln!(out, "  {line}");
    debug_assert!(put.is_ok(), "a String takes everything");
}

fn put_runtime(out: &mut String, name: &str, metrics: &RuntimeMetrics) {
    put(
        out,
        format_args!(
            "{name}: {} tasks, {} of them wait for one of {} threads",
            metrics.num_alive_tasks(),
            metrics.global_queue_depth(),
            metrics.num_workers()
        ),
    );
}

fn put_process(_: &Inner, out: &mut String) {
    let process = process::read();
    put(
        out,
        format_args!(
            "process: {:.1} s of processor, {} MiB resident, {} of {} descriptors, {} memory maps",
            process.cpu_seconds,
            process.resident_bytes >> 20,
            process.files.open,
            process.files.max,
            process::memory_maps()
        ),
    );
}

fn put_threads(_: &Inner, out: &mut String) {
    let threads = process::threads();
    put(out, format_args!("{} threads:", threads.len()));
    for thread in threads {
        put(
            out,
            format_args!(
                "  {} {}: {} {:.2} s {}",
                thread.id, thread.name, thread.state, thread.cpu_seconds, thread.waits_in
            ),
        );
    }
}

fn put_ensemble(inner: &Inner, out: &mut String) {
    let ensemble = &inner.sources.ensemble;
    let report = ensemble.report();
    let queue = report.queue;
    put(
        out,
        format_args!(
            "ensemble: {}, term {}, log to {:?}, committed {:?}, applied {:?}, checkpoint {:?}, purged {:?}",
            report.role,
            report.term,
            report.last_log,
            report.committed,
            report.applied.map(|position| position.index),
            report.checkpoint,
            report.purged
        ),
    );
    put(
        out,
        format_args!(
            "proposals: {} bytes wait, {} batches of {} bytes under way, where nothing has got on for {:?}",
            queue.waiting_bytes,
            queue.flight_batches,
            queue.flight_bytes,
            ensemble.stuck_for()
        ),
    );
}

fn put_connections(inner: &Inner, out: &mut String) {
    let sources = &inner.sources;
    let connections = sources.connections.all();
    let mut waiting: Vec<_> = connections
        .iter()
        .map(|connection| (connection.outbox.look().bytes, connection))
        .collect();
    let bytes: usize = waiting.iter().map(|(bytes, _)| bytes).sum();
    put(
        out,
        format_args!(
            "connections: {} of {}, {bytes} bytes wait to be sent, {} requests are in flight",
            connections.len(),
            system::connections_max(),
            sources.requests.outstanding()
        ),
    );
    waiting.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    for (bytes, connection) in waiting.into_iter().take(CONNECTIONS_NAMED) {
        if bytes > 0 {
            let (peer, session) = (connection.peer, connection.session());
            put(
                out,
                format_args!("  {peer} session {session}: {bytes} bytes"),
            );
        }
    }
    let watches = sources.requests.watch_count();
    let sessions = sources.sessions.count();
    put(
        out,
        format_args!("sessions: {sessions}; watches: {watches}"),
    );
}

fn put_state(inner: &Inner, out: &mut String) {
    let state = inner.sources.replica.read();
    let meta = state.meta();
    put(
        out,
        format_args!(
            "state: zxid 0x{:x}, {} znodes, {} bytes of data, {} ephemerals, {} ACLs",
            state.last_zxid().0,
            meta.znodes,
            meta.data_bytes,
            meta.ephemerals,
            state.acl_count()
        ),
    );
}

fn put_storage(inner: &Inner, out: &mut String) {
    let storage = inner.sources.storage();
    put(
        out,
        format_args!(
            "disk: tree {} bytes, log {} bytes; memory: cache {} bytes, blocks {}, memtables {}, log {}",
            storage.data_dir_bytes,
            storage.log_dir_bytes,
            storage.cache_bytes,
            storage.block_cache_bytes,
            storage.tree_memtable_bytes,
            storage.log_tail_bytes
        ),
    );
    put(
        out,
        format_args!(
            "syncs: {}, the longest {} us, {} of them slow",
            storage.syncs, storage.sync_us_max, storage.slow_syncs
        ),
    );
}
