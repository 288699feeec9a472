//! Where a connection's task runs.
//!
//! ```text
//!   accepted ──▶ on the lone voter's thread ◀── writes ── on the workers
//!                        │                                    ▲
//!                        └─ reads, or much is written ────────┘
//! ```
//!
//! A lone voter puts proposals into the log, waits for the disk and applies them on one thread. A
//! client that hardly does anything but write waits for that thread all the time, so it is served
//! there: nobody is woken between its request and the reply, and all that has come when a batch is
//! cut is in it. A client that reads is served by the workers, which never wait for a disk. New
//! connections begin with a write: they open a session.
//!
//! Where the batches are large the thread has no time to take requests apart as well, and all are
//! served by the workers. With several voters there is no such thread.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::connection::Task;
use crate::ensemble::Ensemble;
use crate::metrics;
use crate::pipeline::Client;

/// Bytes of a batch, on average, up to which connections come to the thread.
const COME_BATCH_BYTES_MAX: usize = 16 << 10;
/// The same up to which they stay: there batches are larger, since more gets into each.
const STAY_BATCH_BYTES_MAX: usize = 64 << 10;

/// A disk that takes longer is in trouble: whoever comes now, an operator's probe perhaps, must not
/// wait for it.
const STALL: Duration = Duration::from_millis(20);

/// Whether a client should be served elsewhere.
pub(super) fn is_misplaced(client: &Client, ensemble: &Ensemble) -> bool {
    if client.connection().is_near() {
        client.leaning.is_reader() || ensemble.batch_bytes() > STAY_BATCH_BYTES_MAX
    } else {
        client.leaning.is_writer() && near(ensemble).is_some()
    }
}

/// The thread of a lone voter, if it has time for connections.
fn near(ensemble: &Ensemble) -> Option<&Handle> {
    let thread = ensemble.thread()?;
    let has_time = ensemble.batch_bytes() <= COME_BATCH_BYTES_MAX && ensemble.waits() <= STALL;
    has_time.then_some(thread)
}

/// Accepts a connection. Its socket belongs to the runtime that will serve it; true: that is the
/// thread's.
///
/// # Errors
/// As the system's accept.
pub(super) async fn accept(
    socket: &TcpListener,
    ensemble: &Ensemble,
) -> io::Result<(TcpStream, SocketAddr, bool)> {
    poll_fn(|cx| {
        let thread = near(ensemble);
        let _there = thread.map(Handle::enter);
        let accepted = socket.poll_accept(cx);
        accepted.map_ok(|(stream, peer)| (stream, peer, thread.is_some()))
    })
    .await
}

/// Runs a connection's task until the connection ends, or the task goes on elsewhere.
pub(super) struct Serving {
    /// There until then.
    task: Option<Task>,
    tasks: TaskTracker,
}

impl Serving {
    /// Has `tasks` run it on the runtime that its socket belongs to.
    pub(super) fn spawn(task: Task, tasks: &TaskTracker) {
        let front = Arc::clone(task.front());
        let runtime = match front.pipeline.ensemble.thread() {
            Some(thread) if task.connection().is_near() => thread,
            Some(_) | None => &front.workers,
        };
        let serving = Self {
            task: Some(task),
            tasks: tasks.clone(),
        };
        tasks.spawn_on(serving, runtime);
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(task) = self.task.as_mut() {
            match ready!(task.poll(cx)) {
                Ok(()) if task.moves() => {
                    if let Err(error) = switch(task) {
                        // It stays: poll it on.
                        tracing::debug!(peer = %task.connection().peer, %error, "cannot be moved");
                    } else if let Some(task) = self.task.take() {
                        Self::spawn(task, &self.tasks);
                    }
                }
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(peer = %task.connection().peer, %error, "connection lost");
                    metrics::connection_dropped();
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}

/// From the thread to the workers, or back.
fn switch(task: &mut Task) -> io::Result<()> {
    let front = Arc::clone(task.front());
    let thread = front.pipeline.ensemble.thread();
    let target = thread.filter(|_| !task.connection().is_near());
    task.take_socket_to(target.unwrap_or(&front.workers))?;
    task.connection().set_near(target.is_some());
    Ok(())
}
