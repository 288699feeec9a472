//! What openraft's tasks run on: tokio, but for the watch channel.
//!
//! openraft publishes its figures several times for each write, and hardly ever does anybody wait
//! for one. tokio's channel then goes through eight lists of waiters, each on a cache line of its
//! own: a twelfth of what a lone write costs. Here there is one list.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use openraft_rt::watch::SendError;
use openraft_rt::{AsyncRuntime, OptionalSend, OptionalSync, RecvError};
use openraft_rt_tokio::TokioRuntime;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// tokio's runtime for openraft, with a watch channel of our own.
#[derive(Debug)]
pub(in crate::ensemble) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    #[cfg(not(test))]
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    #[cfg(test)]
    type ThreadLocalRng = rand::rngs::SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    #[cfg(not(test))]
    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    #[cfg(test)]
    fn thread_rng() -> Self::ThreadLocalRng {
        seeded::generator()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// Random numbers that a simulation repeats: openraft draws its election timeouts from them.
#[cfg(test)]
pub(in crate::ensemble) mod seeded {
    use std::cell::RefCell;

    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    thread_local! {
        static SEEDS: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
    }

    /// From now on all of this thread's numbers follow from `seed`; `None`: from the system again.
    pub(in crate::ensemble) fn set(seed: Option<u64>) {
        SEEDS.set(seed.map(SmallRng::seed_from_u64));
    }

    /// The next generator.
    pub(super) fn generator() -> SmallRng {
        let seed = SEEDS.with_borrow_mut(|seeds| seeds.as_mut().map(|seeds| seeds.next_u64()));
        match seed {
            Some(seed) => SmallRng::seed_from_u64(seed),
            None => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).expect("the system has random numbers");
                SmallRng::seed_from_u64(u64::from_ne_bytes(bytes))
            }
        }
    }
}

/// The watch channel: keeps the last value sent.
#[derive(Debug)]
pub(in crate::ensemble) struct Watch;

#[derive(Debug)]
struct Channel<T> {
    value: RwLock<T>,
    /// Number of changes; written while the value is locked.
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    changed: Notify,
}

/// Sends values.
#[derive(Debug)]
pub(in crate::ensemble) struct Sender<T>(Arc<Channel<T>>);

/// Sees the last value.
#[derive(Debug)]
pub(in crate::ensemble) struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// The version it has seen.
    seen: u64,
}

impl<T> Receiver<T> {
    fn new(channel: &Arc<Channel<T>>, seen: u64) -> Self {
        channel.receivers.fetch_add(1, SeqCst);
        Self {
            channel: Arc::clone(channel),
            seen,
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, SeqCst);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(&self.channel, self.seen)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.receivers.fetch_sub(1, SeqCst);
    }
}

impl openraft_rt::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let channel = Arc::new(Channel {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let receiver = Receiver::new(&channel, 0);
        (Sender(channel), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> openraft_rt::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(SeqCst) == 0 {
            return Err(SendError(value));
        }
        self.send_if_modified(|place| {
            *place = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        {
            let mut value = self.0.value.write();
            if !modify(&mut value) {
                return false;
            }
            self.0.version.fetch_add(1, SeqCst);
        }
        self.0.changed.notify_waiters();
        true
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.0, self.0.version.load(SeqCst))
    }
}

impl<T: OptionalSend + OptionalSync> openraft_rt::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            // Before looking: what is sent from here on wakes it.
            let changed = self.channel.changed.notified();
            let version = self.channel.version.load(SeqCst);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.channel.senders.load(SeqCst) == 0 {
                return Err(RecvError(()));
            }
            changed.await;
        }
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.channel.value.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.channel.value.read();
        self.seen = self.channel.version.load(SeqCst);
        value
    }
}

#[cfg(test)]
mod tests {
    use openraft_rt::testing::Suite;
    use openraft_rt::{Watch as _, WatchReceiver as _, WatchSender as _};

    use super::*;

    #[test]
    fn it_is_what_openraft_expects_of_a_runtime() {
        Suite::<Runtime>::test_all();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_misses_the_last_value() {
        const VALUES: u64 = 20_000;
        let (sender, receiver) = Watch::channel(0_u64);
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let mut receiver = receiver.clone();
                tokio::spawn(async move {
                    let mut last = 0;
                    while last < VALUES {
                        receiver.changed().await.unwrap();
                        let seen = *receiver.borrow_and_update();
                        assert!(seen >= last);
                        last = seen;
                    }
                    assert_eq!(receiver.changed().await, Err(RecvError(())));
                })
            })
            .collect();
        drop(receiver);
        for value in 1..=VALUES {
            sender.send(value).unwrap();
        }
        tokio::spawn(async move { drop(sender) }).await.unwrap();
        for one in waiting {
            one.await.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_listens() {
        let (sender, receiver) = Watch::channel(1);
        drop(receiver);
        assert_eq!(sender.send(2), Err(SendError(2)));
        assert!(sender.send_if_modified(|value| {
            *value = 3;
            true
        }));
        let mut receiver = sender.subscribe();
        assert_eq!(*receiver.borrow_watched(), 3);
        drop(sender.clone());
        assert!(!sender.send_if_different(3));
        assert!(sender.send_if_greater(4));
        receiver.changed().await.unwrap();
        drop(sender);
        assert!(receiver.changed().await.is_err());
    }
}
