//! What waits to be sent to one client, in the order in which it must arrive.
//!
//! Filled by apply (events, replies to writes) while it holds the state lock for writing, and
//! emptied by the connection's task, which holds it for reading whenever it adds replies of its
//! own behind what it took out (STYLE I3). So the lock of the state orders everything a client sees.
//!
//! ```text
//!   at work ── rest: nothing waits, all is sent ──▶ at rest
//!      ▲                                              │ flush: sent from here, without the task
//!      └── stir, drain_into; a flush that failed ─────┘
//! ```
//!
//! While its task rests nobody else sends to the client, so delivery may: the task, which would
//! only have moved these bytes, sleeps on. In every other case it is woken and sends them behind
//! what it has on its wire.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// Bytes above which a drain takes the outbox's buffer instead of copying.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// The sending side of a client's connection.
pub trait Line: Send + Sync {
    /// Sends as much as can be sent without waiting; the number of bytes.
    ///
    /// # Errors
    /// `WouldBlock`: nothing now. All others: the connection is broken.
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Another line takes its place: the client does not hear of its end.
    fn let_go(self: Box<Self>);
}

/// Ordered bytes for one connection, with a wake-up for its task.
pub struct Outbox {
    inner: Mutex<Inner>,
    woken: AtomicBool,
    waker: AtomicWaker,
    bytes_max: usize,
}

struct Inner {
    bytes: BytesMut,
    end: End,
    /// The task waits, and everything that it took from here has been sent.
    resting: bool,
    line: Option<Box<dyn Line>>,
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
    pub fn new(bytes_max: usize, line: Box<dyn Line>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                bytes: BytesMut::new(),
                end: End::Open,
                resting: false,
                line: Some(line),
            }),
            woken: AtomicBool::new(false),
            waker: AtomicWaker::new(),
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

    /// From now on `line` leads to the client. Called by the task, which is at work meanwhile.
    pub fn replug(&self, line: Box<dyn Line>) {
        let before = self.inner.lock().line.replace(line);
        if let Some(before) = before {
            before.let_go();
        }
    }

    /// The connection is gone: nothing is sent any more, and the line is let go of.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.end = End::Now;
        inner.bytes = BytesMut::new();
        inner.line = None;
    }

    /// Moves everything that waits behind what `wire` holds. Says whether the connection goes on.
    pub fn drain_into(&self, wire: &mut BytesMut) -> End {
        let mut inner = self.inner.lock();
        inner.resting = false;
        if inner.bytes.is_empty() {
            return inner.end;
        }
        let bytes = std::mem::take(&mut inner.bytes);
        let end = inner.end;
        drop(inner);
        if wire.is_empty() && bytes.len() > COPY_BYTES_MAX {
            *wire = bytes;
        } else {
            wire.extend_from_slice(&bytes);
        }
        end
    }

    /// The task is about to wait for bytes of its client and has sent everything: from now on
    /// [`Self::flush`] may send. False if there is something to do first: drain.
    pub fn rest(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.resting = inner.end == End::Open && inner.bytes.is_empty();
        inner.resting
    }

    /// The task is at work: from now on it is woken for whatever comes. Called whenever the task
    /// runs, since what it finds may make it wait for more than bytes of its client (an answer to a
    /// write, while the server has too much to do to read on), and then it must hear of answers.
    pub fn stir(&self) {
        self.inner.lock().resting = false;
    }

    /// Sends what waits, if the task rests; else, or if the client does not take all of it, the
    /// task is woken to do so.
    pub fn flush(&self) {
        let mut inner = self.inner.lock();
        if inner.resting && inner.end == End::Open {
            let Inner { bytes, line, .. } = &mut *inner;
            // A broken line is found by the task, too, which ends the connection.
            let sent = line.as_ref().and_then(|line| line.try_send(bytes).ok());
            bytes.advance(sent.unwrap_or(0).min(bytes.len()));
            if bytes.is_empty() {
                *bytes = BytesMut::new();
                return;
            }
            inner.resting = false;
        }
        drop(inner);
        self.wake();
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

    /// Wakes the connection's task; cheap when it has been woken already.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready after a [`Self::wake`], also one that came before this call. One task may ask.
    pub fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        if self.take_woken() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.take_woken() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn take_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire) && self.woken.swap(false, Ordering::AcqRel)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A client that takes so many bytes.
    #[derive(Clone, Default)]
    struct Client {
        room: Arc<Mutex<usize>>,
        got: Arc<Mutex<Vec<u8>>>,
        let_go: Arc<Mutex<bool>>,
    }

    impl Line for Client {
        fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock();
            let taken = bytes.len().min(*room);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *room -= taken;
            self.got.lock().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn let_go(self: Box<Self>) {
            *self.let_go.lock() = true;
        }
    }

    fn outbox(room: usize) -> (Outbox, Client) {
        let client = Client::default();
        *client.room.lock() = room;
        (Outbox::new(1000, Box::new(client.clone())), client)
    }

    fn is_woken(outbox: &Outbox) -> bool {
        let cx = Context::from_waker(std::task::Waker::noop());
        outbox.poll_woken(&cx).is_ready()
    }

    #[test]
    fn what_comes_while_the_task_rests_is_sent_at_once() {
        let (outbox, client) = outbox(100);
        assert!(outbox.rest());
        outbox.push(|out| out.extend_from_slice(b"event"));
        outbox.flush();
        assert_eq!(&*client.got.lock(), b"event");
        assert!(outbox.is_empty() && !is_woken(&outbox));
    }

    #[test]
    fn what_comes_while_the_task_works_is_left_to_it() {
        let (outbox, client) = outbox(100);
        let mut wire = BytesMut::from(&b"reply "[..]);
        assert!(outbox.rest());
        outbox.drain_into(&mut wire);
        outbox.push(|out| out.extend_from_slice(b"event"));
        outbox.flush();
        assert!(client.got.lock().is_empty() && is_woken(&outbox));
        assert!(!outbox.rest(), "there is something to send first");
        outbox.drain_into(&mut wire);
        assert_eq!(&wire[..], b"reply event");
    }

    #[test]
    fn whoever_stirs_is_woken_for_what_comes() {
        let (outbox, client) = outbox(100);
        assert!(outbox.rest());
        outbox.stir();
        outbox.push(|out| out.extend_from_slice(b"event"));
        outbox.flush();
        assert!(client.got.lock().is_empty() && is_woken(&outbox));
    }

    #[test]
    fn the_rest_of_what_a_slow_client_takes_is_left_to_the_task() {
        let (outbox, client) = outbox(2);
        assert!(outbox.rest());
        outbox.push(|out| out.extend_from_slice(b"event"));
        outbox.flush();
        assert!(is_woken(&outbox));
        *client.room.lock() = 100;
        outbox.push(|out| out.extend_from_slice(b" more"));
        outbox.flush();
        assert_eq!(&*client.got.lock(), b"ev");
        let mut wire = BytesMut::new();
        outbox.drain_into(&mut wire);
        assert_eq!(&wire[..], b"ent more");
    }

    #[test]
    fn what_comes_behind_a_new_line_goes_there() {
        let (outbox, before) = outbox(100);
        let after = Client::default();
        *after.room.lock() = 100;
        outbox.replug(Box::new(after.clone()));
        assert!(*before.let_go.lock() && !*after.let_go.lock());
        assert!(outbox.rest());
        outbox.push(|out| out.extend_from_slice(b"event"));
        outbox.flush();
        assert_eq!(&*after.got.lock(), b"event");
        assert!(before.got.lock().is_empty());
    }

    #[test]
    fn an_end_wakes_the_task() {
        let (outbox, _client) = outbox(100);
        assert!(outbox.rest());
        outbox.push(|out| out.extend_from_slice(b"closed"));
        outbox.end(End::AfterFlush);
        outbox.flush();
        assert!(is_woken(&outbox) && !outbox.rest());
        let mut wire = BytesMut::new();
        assert_eq!(outbox.drain_into(&mut wire), End::AfterFlush);
        assert_eq!(&wire[..], b"closed");
    }
}
