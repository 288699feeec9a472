//! What waits to be sent to one client, in the order in which it must arrive.
//!
//! Filled by apply (events, replies to writes) while it holds the state lock for writing, and
//! emptied by the connection's task, which holds it for reading whenever it adds replies of its
//! own behind what it took out (STYLE I3). So the lock of the state orders everything a client sees.

use std::fmt;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Ordered bytes for one connection, with a wake-up for its task.
pub struct Outbox {
    inner: Mutex<Inner>,
    wake: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: BytesMut,
    end: End,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    /// It goes on.
    #[default]
    Open,
    /// It closes once what is in the outbox has been sent; nothing more is taken in.
    AfterFlush,
    /// It closes now.
    Now,
}

impl Outbox {
    /// An empty outbox that gives up its client when more than `bytes_max` bytes wait.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner::default()),
            wake: Notify::new(),
            bytes_max,
        }
    }

    /// Appends what `write` encodes, and returns what it returns; `None` if the connection is ending.
    /// A client that has let more than the bound pile up is given up: its connection closes and it
    /// must come back.
    pub fn push<T>(&self, write: impl FnOnce(&mut BytesMut) -> T) -> Option<T> {
        let mut inner = self.inner.lock();
        if inner.end != End::Open {
            return None;
        }
        if inner.bytes.len() > self.bytes_max {
            inner.bytes = BytesMut::new();
            inner.end = End::Now;
            return None;
        }
        Some(write(&mut inner.bytes))
    }

    /// Closes the connection, at once or after what waits has been sent.
    pub fn end(&self, end: End) {
        let mut inner = self.inner.lock();
        if inner.end != End::Now && end != End::Open {
            inner.end = end;
        }
    }

    /// Moves everything that waits behind what `wire` holds. Says whether the connection goes on.
    pub fn drain_into(&self, wire: &mut BytesMut) -> End {
        let mut inner = self.inner.lock();
        if wire.is_empty() {
            std::mem::swap(&mut inner.bytes, wire);
        } else if !inner.bytes.is_empty() {
            wire.extend_from_slice(&inner.bytes);
            inner.bytes.clear();
        }
        inner.end
    }

    /// Whether the connection goes on.
    pub fn state(&self) -> End {
        self.inner.lock().end
    }

    /// Bytes that may wait.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.inner.lock().bytes.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes the connection's task; cheap when it is awake already.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Resolves after the next [`Self::wake`], also one that came before this call.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Outbox")
            .field("bytes", &inner.bytes.len())
            .field("end", &inner.end)
            .finish_non_exhaustive()
    }
}
