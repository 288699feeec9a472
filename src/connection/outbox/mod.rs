//! All bytes to one client, in the order in which they must arrive, and their one sender.
//!
//! Filled under the state lock only (STYLE I3): by apply, which holds it for writing, with events
//! and replies to writes; by the connection's own task, which holds it for reading, with a run of
//! replies at once. So the lock of the state orders everything that a client sees.
//!
//! Sent without any lock by whoever finds it not being sent: the task, or delivery. It takes the
//! buffer and the socket out, sends, and puts back what is left, in front of what has come meanwhile.
//!
//! ```text
//!             flush: takes buffer and socket
//!   idle ──────────────────────────────────────▶ sending
//!    ▲ ▲                                          │  │
//!    │ └───────────── all is sent ────────────────┘  │
//!    └── unclog: the task saw it writable ── clogged ◀ the socket takes no more
//! ```
//!
//! The task is woken when it must do something: when the socket is clogged, since it alone can wait
//! for that; when the connection ends; and for whatever comes, if it listens.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use futures::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};

use super::budget::Share;
use crate::io::{SocketWriter, buffers};

/// Ordered bytes for one connection, with a wake-up for its task.
pub struct Outbox {
    inner: Mutex<Inner>,
    /// Whether it is on somebody's list of those to be told.
    listed: AtomicBool,
    woken: AtomicBool,
    waker: AtomicWaker,
    /// A client for which more waits is given up (STYLE I8).
    bytes_max: usize,
}

struct Inner {
    /// What the socket did not take: goes first.
    front: BytesMut,
    back: BytesMut,
    /// Bytes of the newest run of replies, which do not count against the bound: a single reply may
    /// be larger.
    run_bytes: usize,
    /// What the budget gave for a large reply that has not been taken whole.
    large: Option<Box<Large>>,
    end: End,
    socket: Socket,
    /// The socket takes no more until the task has seen it writable.
    clogged: bool,
    /// The next attempt is made by [`SocketWriter::insist`].
    insists: bool,
    /// Bytes that the socket has taken.
    sent: u64,
    /// Something was told since the task attended.
    changed: bool,
    /// The task wants to be woken for whatever is told.
    listening: bool,
}

struct Large {
    share: Share,
    /// It is in the oldest buffer, so it has been taken when that has.
    is_first: bool,
}

enum Socket {
    Idle(Box<dyn SocketWriter>),
    Sending,
    Gone,
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

/// What a task finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Whether the connection goes on.
    pub end: End,
    /// Bytes that have not been sent, without those that are being sent at this moment.
    pub bytes: usize,
    /// Somebody is sending.
    pub is_sending: bool,
    /// Nothing is sent before [`Outbox::unclog`].
    pub is_clogged: bool,
    /// Bytes that have been sent so far.
    pub sent: u64,
}

impl Outbox {
    /// An empty outbox that gives up its client when more than `bytes_max` bytes wait.
    pub fn new(bytes_max: usize, socket: Box<dyn SocketWriter>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                front: BytesMut::new(),
                back: BytesMut::new(),
                run_bytes: 0,
                large: None,
                end: End::Open,
                socket: Socket::Idle(socket),
                clogged: false,
                insists: false,
                sent: 0,
                changed: false,
                listening: false,
            }),
            listed: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            bytes_max,
        }
    }

    /// Appends what `write` encodes, on behalf of apply; `None` if the connection is ending. A
    /// client that has let more than the bound pile up is given up: its connection closes and it
    /// must come back.
    pub fn push<T>(&self, write: impl FnOnce(&mut BytesMut) -> T) -> Option<T> {
        let mut inner = self.inner.lock();
        if inner.end != End::Open {
            return None;
        }
        if inner.bytes() > self.bytes_max.saturating_add(inner.run_bytes) {
            inner.end_now();
            drop(inner);
            self.wake();
            return None;
        }
        Some(write(&mut inner.back))
    }

    /// Appends a run of replies, on behalf of the connection's own task, and empties `run`. Says
    /// whether the connection goes on.
    pub fn append(&self, run: &mut BytesMut) -> End {
        self.append_large(run, None)
    }

    /// The same for a run with a large reply, if there is a `share`: that is held until the client
    /// has taken the run.
    pub fn append_large(&self, run: &mut BytesMut, share: Option<Share>) -> End {
        let mut inner = self.inner.lock();
        if inner.end == End::Now {
            run.clear();
        }
        if run.is_empty() {
            return inner.end;
        }
        inner.run_bytes = run.len();
        if let Some(share) = share {
            inner.keep(share);
        }
        if inner.back.is_empty() {
            std::mem::swap(&mut inner.back, run);
            run.clear();
        } else {
            inner.back.extend_from_slice(run);
            run.clear();
        }
        inner.end
    }

    /// Closes the connection, at once or after what waits has been sent; its task is woken.
    pub fn end(&self, end: End) {
        let mut inner = self.inner.lock();
        match end {
            End::Open => return,
            End::AfterFlush if inner.end == End::Open => inner.end = end,
            End::AfterFlush => {}
            End::Now => inner.end_now(),
        }
        inner.changed = true;
        drop(inner);
        self.wake();
    }

    /// The connection is gone: nothing is sent any more, and the socket is let go of.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.end_now();
        let socket = std::mem::replace(&mut inner.socket, Socket::Gone);
        drop(inner);
        drop(socket);
    }

    /// After pushes, and whatever else the task may wait for. True if the caller must see to it that
    /// [`Self::tell`] is called; else somebody is going to.
    pub fn list(&self) -> bool {
        !self.listed.swap(true, Ordering::AcqRel)
    }

    /// What was pushed is complete: sends it, unless somebody is sending, who then sends this too.
    /// The task is woken if there is something for it to do.
    pub fn tell(&self) {
        self.listed.swap(false, Ordering::AcqRel);
        let mut inner = self.inner.lock();
        inner.changed = true;
        let (mut inner, _) = self.send_all(inner);
        // What clogged it is for the task, and whoever waits for room has some now.
        inner.changed = true;
        let wakes = inner.listening || inner.clogged || inner.end != End::Open;
        drop(inner);
        if wakes {
            self.wake();
        }
    }

    /// Sends what waits, as far as the socket takes it, unless somebody is sending. Called by the
    /// task. True if something has been sent.
    pub fn flush(&self) -> bool {
        self.send_all(self.inner.lock()).1
    }

    /// The task is at work: forgets what was told so far, and says what there is.
    pub fn attend(&self) -> Found {
        let mut inner = self.inner.lock();
        inner.changed = false;
        inner.listening = false;
        inner.found()
    }

    /// The task is about to wait, and wants to be woken for whatever is told. False if something was
    /// told since it attended: then it must look again.
    pub fn listen(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.listening = !inner.changed;
        inner.listening
    }

    /// The task has seen the socket writable.
    pub fn unclog(&self) {
        self.inner.lock().clogged = false;
    }

    /// The socket is clogged, and nothing tells how much it would take: sends what it takes. True if
    /// something has been sent.
    pub fn insist(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.clogged = false;
        inner.insists = true;
        self.send_all(inner).1
    }

    /// What there is.
    pub fn look(&self) -> Found {
        self.inner.lock().found()
    }

    /// Bytes that may wait.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Wakes the connection's task; cheap when it has been woken already.
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ready after a wake-up, also one that came before this call. One task may ask.
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

    /// Sends until nothing waits or the socket takes no more; the lock is let go of meanwhile. The
    /// flag says whether something has been sent.
    fn send_all<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> (MutexGuard<'a, Inner>, bool) {
        let mut has_sent = false;
        while let Some((mut bytes, socket)) = inner.take() {
            let insists = std::mem::take(&mut inner.insists);
            drop(inner);
            let outcome = if insists {
                socket.insist(&bytes)
            } else {
                socket.try_send(&bytes)
            };
            inner = self.inner.lock();
            if matches!(inner.socket, Socket::Sending) {
                inner.socket = Socket::Idle(socket);
            }
            match outcome {
                Ok(sent) => {
                    has_sent = true;
                    inner.sent = inner.sent.saturating_add(sent as u64);
                    bytes.advance(sent.min(bytes.len()));
                    inner.clogged = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => inner.clogged = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "connection lost");
                    inner.end_now();
                }
            }
            if bytes.is_empty() {
                buffers::take_back(bytes);
                if inner.large.as_ref().is_some_and(|large| large.is_first) {
                    inner.large = None;
                }
            } else if inner.end != End::Now {
                inner.front = bytes;
            }
        }
        (inner, has_sent)
    }
}

impl Inner {
    fn bytes(&self) -> usize {
        self.front.len() + self.back.len()
    }

    fn found(&self) -> Found {
        Found {
            end: self.end,
            bytes: self.bytes(),
            is_sending: matches!(self.socket, Socket::Sending),
            is_clogged: self.clogged,
            sent: self.sent,
        }
    }

    fn end_now(&mut self) {
        self.end = End::Now;
        self.changed = true;
        self.front = BytesMut::new();
        self.back = BytesMut::new();
        self.large = None;
    }

    /// For a run that is appended now. Copying it behind what waits would take its memory twice, so
    /// that is set before it if nobody is going to put something there.
    fn keep(&mut self, share: Share) {
        if self.front.is_empty() && matches!(self.socket, Socket::Idle(_)) {
            self.front = std::mem::take(&mut self.back);
        }
        let before = self.large.take();
        let mut large = Box::new(Large {
            share,
            is_first: false,
        });
        if let Some(before) = before {
            large.share.join(before.share);
        }
        self.large = Some(large);
    }

    /// What is to be sent next, and by what; `None` if there is nothing to do, or somebody else
    /// does it.
    fn take(&mut self) -> Option<(BytesMut, Box<dyn SocketWriter>)> {
        if self.clogged || self.bytes() == 0 {
            return None;
        }
        match std::mem::replace(&mut self.socket, Socket::Sending) {
            Socket::Idle(socket) => {
                let first = if self.front.is_empty() {
                    if let Some(large) = &mut self.large {
                        large.is_first = true;
                    }
                    &mut self.back
                } else {
                    &mut self.front
                };
                Some((std::mem::take(first), socket))
            }
            Socket::Sending => None,
            Socket::Gone => {
                self.socket = Socket::Gone;
                None
            }
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.look().fmt(f)
    }
}

#[cfg(test)]
mod tests;
