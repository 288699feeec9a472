//! Counters of the whole server, as ZooKeeper's `srvr`, `stat` and `mntr` show them.
//!
//! zk: ServerStats. Relaxed atomics: the numbers are independent of each other.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Packets, latencies and reply sizes since the start or the last `srst`.
#[derive(Debug)]
pub struct ServerStats {
    received: AtomicU64,
    /// Frames sent besides answers to requests, which are as many as have a latency.
    sent_besides: AtomicU64,
    latency_count: AtomicU64,
    latency_sum_ms: AtomicU64,
    latency_min_ms: AtomicU64,
    latency_max_ms: AtomicU64,
    reply_last_bytes: AtomicI64,
    reply_min_bytes: AtomicI64,
    reply_max_bytes: AtomicI64,
}

/// A reading of [`ServerStats`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ServerFigures {
    /// Frames received, four-letter words included.
    pub received: u64,
    /// Frames sent: replies, events, answers to handshakes; of those to four-letter words the pieces.
    pub sent: u64,
    /// Smallest latency in milliseconds, 0 if nothing was measured.
    pub latency_min_ms: u64,
    /// Mean latency in milliseconds.
    pub latency_avg_ms: f64,
    /// Largest latency in milliseconds.
    pub latency_max_ms: u64,
    /// Size of the last, smallest and largest reply or event in bytes, without the four of its
    /// length; -1 before the first.
    pub reply_bytes: [i64; 3],
}

impl Default for ServerStats {
    fn default() -> Self {
        Self {
            received: AtomicU64::new(0),
            sent_besides: AtomicU64::new(0),
            latency_count: AtomicU64::new(0),
            latency_sum_ms: AtomicU64::new(0),
            latency_min_ms: AtomicU64::new(u64::MAX),
            latency_max_ms: AtomicU64::new(0),
            reply_last_bytes: AtomicI64::new(-1),
            reply_min_bytes: AtomicI64::new(-1),
            reply_max_bytes: AtomicI64::new(-1),
        }
    }
}

impl ServerStats {
    /// Frames have come.
    pub fn received(&self, frames: u64) {
        self.received.fetch_add(frames, Ordering::Relaxed);
    }

    /// Frames have been sent that answer no request, or one that is not counted as one.
    pub fn sent_besides(&self, frames: u64) {
        self.sent_besides.fetch_add(frames, Ordering::Relaxed);
    }

    /// `requests` requests took so long from their arrival to their replies, a frame each.
    pub fn answered(&self, requests: u64, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.latency_count.fetch_add(requests, Ordering::Relaxed);
        self.latency_sum_ms
            .fetch_add(ms.saturating_mul(requests), Ordering::Relaxed);
        self.latency_min_ms.fetch_min(ms, Ordering::Relaxed);
        self.latency_max_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// A reply or an event of so many bytes has been made, the four of its length not counted.
    ///
    /// zk: ServerCnxn.serialize, BufferStats.setLastBufferSize. Looked at before it is written:
    /// every reply comes here.
    pub fn sized(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.reply_last_bytes.store(bytes, Ordering::Relaxed);
        if bytes > self.reply_max_bytes.load(Ordering::Relaxed) {
            self.reply_max_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
        let least = self.reply_min_bytes.load(Ordering::Relaxed);
        if least < 0 || bytes < least {
            self.reply_min_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// `srst`: begins all over.
    pub fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.sent_besides.store(0, Ordering::Relaxed);
        self.latency_count.store(0, Ordering::Relaxed);
        self.latency_sum_ms.store(0, Ordering::Relaxed);
        self.latency_min_ms.store(u64::MAX, Ordering::Relaxed);
        self.latency_max_ms.store(0, Ordering::Relaxed);
        self.reply_last_bytes.store(-1, Ordering::Relaxed);
        self.reply_min_bytes.store(-1, Ordering::Relaxed);
        self.reply_max_bytes.store(-1, Ordering::Relaxed);
    }

    /// All numbers as they are now.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a mean with four decimals needs no more"
    )]
    pub fn figures(&self) -> ServerFigures {
        let count = self.latency_count.load(Ordering::Relaxed);
        let besides = self.sent_besides.load(Ordering::Relaxed);
        let sum = self.latency_sum_ms.load(Ordering::Relaxed);
        let latency_min_ms = match self.latency_min_ms.load(Ordering::Relaxed) {
            u64::MAX => 0,
            least => least,
        };
        ServerFigures {
            received: self.received.load(Ordering::Relaxed),
            sent: count + besides,
            latency_min_ms,
            latency_avg_ms: if count == 0 {
                0.0
            } else {
                sum as f64 / count as f64
            },
            latency_max_ms: self.latency_max_ms.load(Ordering::Relaxed),
            reply_bytes: [
                self.reply_last_bytes.load(Ordering::Relaxed),
                self.reply_min_bytes.load(Ordering::Relaxed),
                self.reply_max_bytes.load(Ordering::Relaxed),
            ],
        }
    }
}
