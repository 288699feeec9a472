//! Clients that have seen a later txn than this server: each waits until it has been applied here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::state::{Replica, Zxid};

/// Who waits for which txn. Apply asks for it with the state lock held.
#[derive(Debug, Default)]
pub(super) struct Lag {
    waiting: Mutex<Waiting>,
    /// So many wait: nearly always none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    by_zxid: BTreeMap<(Zxid, u64), oneshot::Sender<()>>,
    next: u64,
}

/// Waits no longer when it is dropped.
struct Place<'a> {
    lag: &'a Lag,
    key: (Zxid, u64),
}

impl Lag {
    /// Returns when `zxid`, or a later txn, has been applied here.
    pub(super) async fn applied(&self, replica: &Replica, zxid: Zxid) {
        let (told, tells) = oneshot::channel();
        let _place = self.wait(zxid, told);
        // Whatever is applied from here on finds it waiting: it needs the lock that is taken now.
        if replica.read().last_zxid() >= zxid {
            return;
        }
        // It is dropped only after it was told.
        _ = tells.await;
    }

    fn wait(&self, zxid: Zxid, told: oneshot::Sender<()>) -> Place<'_> {
        let mut waiting = self.waiting.lock();
        let key = (zxid, waiting.next);
        waiting.next += 1;
        waiting.by_zxid.insert(key, told);
        self.count.store(waiting.by_zxid.len(), Ordering::Release);
        Place { lag: self, key }
    }

    /// Whether anybody waits.
    #[cfg(test)]
    pub(super) fn waits(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// This txn has been applied; the state lock is held for writing.
    pub(super) fn reach(&self, zxid: Zxid) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock();
        while let Some(first) = waiting.by_zxid.first_entry()
            && first.key().0 <= zxid
        {
            // Who does not wait any more need not be told.
            _ = first.remove().send(());
        }
        self.count.store(waiting.by_zxid.len(), Ordering::Release);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.lag.waiting.lock();
        waiting.by_zxid.remove(&self.key);
        self.lag
            .count
            .store(waiting.by_zxid.len(), Ordering::Release);
    }
}
