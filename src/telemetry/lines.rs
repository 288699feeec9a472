//! Lines on their way out of the process.
//!
//! ```text
//!   any thread ─▶ put ─▶ at most 1 MiB that waits ─▶ one thread ─▶ standard output
//!                  └─ no room: lost                      └─ it fails: lost
//! ```
//!
//! Nobody waits for a reader that is slow or gone, or for a disk that is full, and no failure is
//! anybody's but this file's. What is lost is counted; when lines get out again, one of them says
//! how many did not.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use super::stamped;
use crate::metrics;

/// What may wait for a reader. A thousand lines and more: a burst is not lost, a dead reader costs
/// little.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// What both buffers keep when they are empty.
const KEPT_BYTES: usize = 64 << 10;
/// Until a pipe that somebody else has made non-blocking is tried again.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a thread that dies waits for the lock: it may be its own.
const LOCK_TIME_MAX: Duration = Duration::from_millis(100);

/// Lines on their way to standard output, and how many were lost. Clones share what waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    shared: Arc<Outlet>,
}

#[derive(Debug, Default)]
struct Outlet {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    filled: Condvar,
    /// Nothing waits, and nothing is being written.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_writing: bool,
    /// Lines lost of which no line has told.
    untold: u64,
}

impl Waiting {
    fn put(&mut self, line: &[u8]) {
        if self.bytes.len() + line.len() > WAITING_BYTES_MAX {
            self.lose(1);
        } else {
            self.bytes.extend_from_slice(line);
        }
    }

    fn lose(&mut self, lines: u64) {
        self.untold += lines;
        metrics::stdout_lines_lost(lines);
    }

    fn is_drained(&self) -> bool {
        self.bytes.is_empty() && !self.is_writing
    }
}

impl Lines {
    /// Has a thread write what is put here to `out`, for as long as the process lives.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn write_to(&self, out: impl Write + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut out = Out {
            out,
            is_torn: false,
        };
        let thread = thread::Builder::new().name("stdout".to_owned());
        thread.spawn(move || shared.write_all(&mut out)).map(drop)
    }

    /// Takes a line, which ends with a line feed. Never waits for its reader.
    pub(super) fn put(&self, line: &[u8]) {
        self.shared.waiting.lock().put(line);
        self.shared.filled.notify_one();
    }

    /// The same for a thread that dies, perhaps while it holds the lock.
    pub(super) fn put_last(&self, line: &[u8]) {
        if let Some(mut waiting) = self.shared.waiting.try_lock_for(LOCK_TIME_MAX) {
            waiting.put(line);
        }
        self.shared.filled.notify_one();
    }

    /// Waits until nothing waits any more; false if that takes longer than `time_max`.
    pub(super) fn flush(&self, time_max: Duration) -> bool {
        let Some(mut waiting) = self.shared.waiting.try_lock_for(LOCK_TIME_MAX) else {
            return false;
        };
        let drained = &self.shared.drained;
        let waited = drained.wait_while_for(&mut waiting, |it| !it.is_drained(), time_max);
        !waited.timed_out()
    }
}

impl Outlet {
    fn write_all<W: Write>(&self, out: &mut Out<W>) {
        let mut taken = Vec::new();
        loop {
            self.take(&mut taken);
            let lost = out.put(&taken);
            let untold = self.settle(lost);
            if untold > 0 && out.put(told(untold).as_bytes()) == 0 {
                self.waiting.lock().untold -= untold;
            }
            self.rest();
        }
    }

    /// Waits for lines, and takes all there are.
    fn take(&self, taken: &mut Vec<u8>) {
        taken.clear();
        taken.shrink_to(KEPT_BYTES);
        let mut waiting = self.waiting.lock();
        self.filled
            .wait_while(&mut waiting, |it| it.bytes.is_empty());
        std::mem::swap(&mut waiting.bytes, taken);
        waiting.is_writing = true;
    }

    /// Some were written, but for `lost` lines. How many lost ones are to be told of now: not
    /// while more are being lost.
    fn settle(&self, lost: u64) -> u64 {
        let mut waiting = self.waiting.lock();
        if lost > 0 {
            waiting.lose(lost);
        }
        let works = lost == 0 && waiting.bytes.is_empty();
        if works { waiting.untold } else { 0 }
    }

    fn rest(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_writing = false;
        if waiting.bytes.is_empty() {
            self.drained.notify_all();
        }
    }
}

fn told(lost: u64) -> String {
    let text = format_args!("the log is written again; lines were lost lost={lost}");
    stamped("WARN", text)
}

/// Where lines go.
struct Out<W> {
    out: W,
    /// What was written last is not a whole line.
    is_torn: bool,
}

impl<W: Write> Out<W> {
    /// Writes lines; how many of them could not be, or not wholly.
    fn put(&mut self, lines: &[u8]) -> u64 {
        if self.is_torn {
            match self.write(b"\n") {
                Ok(_) => self.is_torn = false,
                Err(_) => return count(lines),
            }
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(written) => {
                    let (done, left) = rest.split_at(written.min(rest.len()));
                    self.is_torn = done.last() != Some(&b'\n');
                    rest = left;
                }
                Err(_) => return count(rest),
            }
        }
        0
    }

    /// Writes at least a byte.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(PAUSE),
                done => return done,
            }
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Takes the lines of events.
#[derive(Debug)]
pub(super) struct Event<'a>(&'a Lines);

impl Write for Event<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// An output that does what the test says with each write, and waits until it says so.
    struct Scripted {
        orders: Receiver<Order>,
        seen: Sender<Vec<u8>>,
    }

    enum Order {
        Take(usize),
        Fail(ErrorKind),
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.orders.recv().map_err(io::Error::other)? {
                Order::Take(most) => {
                    let taken = most.min(bytes.len());
                    drop(self.seen.send(bytes[..taken].to_vec()));
                    Ok(taken)
                }
                Order::Fail(kind) => Err(kind.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct World {
        lines: Lines,
        orders: Sender<Order>,
        seen: Receiver<Vec<u8>>,
    }

    impl World {
        fn new() -> Self {
            let (orders, given) = channel();
            let (seen, shown) = channel();
            let lines = Lines::default();
            let out = Scripted {
                orders: given,
                seen,
            };
            lines.write_to(out).expect("a thread");
            Self {
                lines,
                orders,
                seen: shown,
            }
        }

        fn order(&self, order: Order) {
            self.orders.send(order).expect("the thread lives");
        }

        fn take_all(&self) -> String {
            self.order(Order::Take(usize::MAX));
            let bytes = self.seen.recv_timeout(PAUSE * 1000).expect("a write");
            String::from_utf8(bytes).expect("text")
        }

        /// The output fails with the next write, which has been settled when this returns.
        fn fail(&self, kind: ErrorKind) {
            self.order(Order::Fail(kind));
            assert!(self.lines.flush(PATIENCE), "a failure is no reason to wait");
        }

        fn untold(&self) -> u64 {
            self.lines.shared.waiting.lock().untold
        }
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_one_of_them_says_so_when_it_is_back() {
        let world = World::new();
        world.lines.put(b"one\n");
        assert_eq!(world.take_all(), "one\n");
        for _ in 0..3 {
            world.lines.put(b"into a closed pipe\n");
            world.fail(ErrorKind::BrokenPipe);
        }
        world.lines.put(b"onto a full disk\n");
        world.fail(ErrorKind::StorageFull);
        assert_eq!(world.untold(), 4);
        world.lines.put(b"two\n");
        assert_eq!(world.take_all(), "two\n");
        let told = world.take_all();
        assert!(
            told.contains("  WARN ") && told.ends_with("lines were lost lost=4\n"),
            "{told}"
        );
        assert!(world.lines.flush(PATIENCE));
        world.lines.put(b"three\n");
        assert_eq!(world.take_all(), "three\n");
        assert!(world.lines.flush(PATIENCE), "told once");
        assert_eq!(world.untold(), 0);
    }

    #[test]
    fn what_was_not_told_of_is_told_later() {
        let world = World::new();
        world.lines.put(b"lost\n");
        world.fail(ErrorKind::BrokenPipe);
        world.lines.put(b"written\n");
        assert_eq!(world.take_all(), "written\n");
        world.fail(ErrorKind::BrokenPipe);
        assert_eq!(world.untold(), 1);
        world.lines.put(b"written\n");
        assert_eq!(world.take_all(), "written\n");
        assert!(world.take_all().ends_with("lost=1\n"));
    }

    #[test]
    fn an_unread_pipe_holds_nobody_up_and_little_memory() {
        let world = World::new();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        // The thread waits in its first write, or has not begun it.
        for _ in 0..10_000 {
            world.lines.put(&line);
        }
        assert!(!world.lines.flush(Duration::from_millis(1)), "nobody reads");
        let most = 2 * WAITING_BYTES_MAX / line.len();
        let lost = world.untold();
        assert!(lost >= 10_000 - most as u64, "{lost}");
        let mut read = 0;
        while !world.take_all().ends_with(&format!("lost={lost}\n")) {
            read += 1;
        }
        assert!((1..=2).contains(&read), "{read}");
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next() {
        let world = World::new();
        world.lines.put(b"abcdef\nghi\n");
        world.order(Order::Take(3));
        world.fail(ErrorKind::StorageFull);
        assert_eq!(world.untold(), 2);
        world.lines.put(b"next\n");
        world.order(Order::Take(9));
        world.order(Order::Fail(ErrorKind::Interrupted));
        world.order(Order::Fail(ErrorKind::WouldBlock));
        world.order(Order::Take(9));
        world.order(Order::Take(usize::MAX));
        assert!(world.lines.flush(PATIENCE));
        let all: Vec<u8> = world.seen.try_iter().flatten().collect();
        let all = String::from_utf8(all).expect("text");
        assert!(
            all.starts_with("abc\nnext\n") && all.ends_with("lost=2\n"),
            "{all}"
        );
    }

    #[test]
    fn a_thread_that_dies_with_the_lock_is_not_held_up_by_it() {
        let world = World::new();
        let held = world.lines.shared.waiting.lock();
        world.lines.put_last(b"last\n");
        assert!(!world.lines.flush(PATIENCE));
        drop(held);
        world.lines.put_last(b"last\n");
        assert_eq!(world.take_all(), "last\n");
        assert!(world.lines.flush(PATIENCE));
    }

    #[test]
    fn a_line_larger_than_all_room_is_lost() {
        let world = World::new();
        world.lines.put(&vec![b'x'; WAITING_BYTES_MAX + 1]);
        assert_eq!(world.untold(), 1);
        assert!(world.lines.flush(PATIENCE));
    }
}
