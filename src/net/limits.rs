//! How many connections there may be: from one address, in all, and by the system's grace.
//!
//! The first two are the operator's: whoever is over them is turned away. The third one keeps
//! descriptors back for the log and the tree: beyond it nobody is accepted, and whoever comes waits
//! in the system's queue until somebody leaves. Even there the server goes on, and its metrics can
//! be read, for their port has a place of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::Config;
use crate::telemetry::Seldom;

/// The connections that have a permit each.
#[derive(Debug)]
pub(super) struct Limits {
    /// 0: no limit.
    per_ip_max: u32,
    /// 0: no limit.
    in_all_max: u32,
    /// What the descriptors are enough for.
    granted: u64,
    places: Mutex<Places>,
    left: Notify,
    complaint: Seldom,
}

#[derive(Debug, Default)]
struct Places {
    /// Only addresses that have connections.
    per_ip: HashMap<IpAddr, u32>,
    in_all: u64,
}

impl Limits {
    /// Nobody is connected. `granted`: as many as the system has descriptors for.
    pub(super) fn new(config: &Config, granted: u64) -> Self {
        Self {
            per_ip_max: config.connections_per_ip_max,
            in_all_max: config.connections_max,
            granted,
            places: Mutex::default(),
            left: Notify::new(),
            complaint: Seldom::default(),
        }
    }

    /// Waits until there is a descriptor for one more. Who asks is the only one who lets connections
    /// [`enter`](Self::enter).
    pub(super) async fn room(&self) {
        loop {
            let left = self.left.notified();
            let connections = self.places.lock().in_all;
            if connections < self.granted {
                return;
            }
            if self.complaint.is_due() {
                tracing::warn!(
                    connections,
                    "no file descriptors for more connections: new ones wait (see ulimit -Hn)"
                );
            }
            left.await;
        }
    }

    /// A place for one more from `ip`; `None` if that is over a limit of the operator's.
    ///
    /// zk: NIOServerCnxnFactory.acceptConnections.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Permit> {
        let mut places = self.places.lock();
        let here = places.per_ip.get(&ip).copied().unwrap_or(0);
        let over_ip = self.per_ip_max > 0 && here >= self.per_ip_max;
        let over_all = self.in_all_max > 0 && places.in_all >= u64::from(self.in_all_max);
        if over_ip || over_all {
            return None;
        }
        places.per_ip.insert(ip, here + 1);
        places.in_all += 1;
        let limits = Arc::clone(self);
        Some(Permit { limits, ip })
    }

    fn leave(&self, ip: IpAddr) {
        let mut places = self.places.lock();
        places.in_all -= 1;
        if let Some(count) = places.per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                places.per_ip.remove(&ip);
            }
        }
        drop(places);
        self.left.notify_one();
    }
}

/// A connection's place within the limits; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limits: Arc<Limits>,
    ip: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.leave(self.ip);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn limits(per_ip: u32, in_all: u32, granted: u64) -> Arc<Limits> {
        let config = Config {
            connections_per_ip_max: per_ip,
            connections_max: in_all,
            ..Config::default()
        };
        Arc::new(Limits::new(&config, granted))
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn addresses(limits: &Limits) -> usize {
        limits.places.lock().per_ip.len()
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let limits = limits(2, 0, 100);
        let both = [limits.enter(ip(1)), limits.enter(ip(1))];
        assert!(both.iter().all(Option::is_some) && limits.enter(ip(1)).is_none());
        let other = limits.enter(ip(2));
        assert!(other.is_some());
        drop(both);
        assert!(limits.enter(ip(1)).is_some());
    }

    #[test]
    fn all_together_have_one() {
        let limits = limits(0, 2, 100);
        let two = [limits.enter(ip(1)), limits.enter(ip(2))];
        assert!(two.iter().all(Option::is_some) && limits.enter(ip(3)).is_none());
        drop(two);
        assert!(limits.enter(ip(3)).is_some());
    }

    #[test]
    fn whoever_is_turned_away_leaves_nothing_behind() {
        let limits = limits(1, 1, 100);
        let one = limits.enter(ip(0));
        for last in 0..=255 {
            assert!(limits.enter(ip(last)).is_none());
        }
        assert_eq!(addresses(&limits), 1);
        drop(one);
        assert_eq!((addresses(&limits), limits.places.lock().in_all), (0, 0));
    }

    #[tokio::test]
    async fn beyond_the_descriptors_the_next_one_waits_until_somebody_leaves() {
        let limits = limits(0, 0, 2);
        limits.room().await;
        let one = limits.enter(ip(1));
        limits.room().await;
        let other = limits.enter(ip(2));
        let mut waiting = std::pin::pin!(limits.room());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(one);
        waiting.await;
        let third = limits.enter(ip(3));
        assert!(third.is_some() && limits.room().now_or_never().is_none());
        // One that left while nobody waited.
        drop(other);
        limits.room().await;
    }
}
