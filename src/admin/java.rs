//! How Java prints what operators' tools parse: addresses, dates, doubles.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use chrono::DateTime;

/// A peer as `InetSocketAddress.toString` prints one whose name was never looked up:
/// `/127.0.0.1:40088`, `/[0:0:0:0:0:0:0:1]:40088`; the brackets since Java 14.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip().to_canonical() {
            IpAddr::V4(ip) => write!(f, "/{ip}")?,
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, g, h, i] = ip.segments();
                write!(f, "/[{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}:{h:x}:{i:x}")?;
                match self.0 {
                    SocketAddr::V6(addr) if addr.scope_id() != 0 => {
                        write!(f, "%{}]", addr.scope_id())?;
                    }
                    SocketAddr::V4(_) | SocketAddr::V6(_) => f.write_str("]")?,
                }
            }
        }
        write!(f, ":{}", self.0.port())
    }
}

/// Milliseconds since 1970 as `Date.toString` prints them in UTC: `Sat Nov 21 00:06:51 UTC 2026`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Date(pub(super) i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        write!(f, "{}", date.format("%a %b %d %H:%M:%S UTC %Y"))
    }
}

/// A mean as ZooKeeper prints it: at most four decimals, at least one.
///
/// zk: AvgMinMaxCounter.getAvg.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean(pub(super) f64);

impl fmt::Display for Mean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.4}", self.0);
        let short = text.trim_end_matches('0');
        let point = if short.ends_with('.') { "0" } else { "" };
        write!(f, "{short}{point}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_java_does() {
        let peer = |text: &str| Peer(text.parse().expect("an address")).to_string();
        assert_eq!(peer("127.0.0.1:40088"), "/127.0.0.1:40088");
        assert_eq!(peer("[::1]:40088"), "/[0:0:0:0:0:0:0:1]:40088");
        assert_eq!(peer("[::ffff:10.0.0.1]:7"), "/10.0.0.1:7");
        assert_eq!(peer("[fe80::a1]:7"), "/[fe80:0:0:0:0:0:0:a1]:7");
        assert_eq!(peer("[fe80::a1%4]:7"), "/[fe80:0:0:0:0:0:0:a1%4]:7");
        assert_eq!(
            Date(1_795_219_611_000).to_string(),
            "Sat Nov 21 00:06:51 UTC 2026"
        );
        assert_eq!(Date(0).to_string(), "Thu Jan 01 00:00:00 UTC 1970");
        for (mean, text) in [
            (0.0, "0.0"),
            (15.3, "15.3"),
            (1.667_84, "1.6678"),
            (120.0, "120.0"),
        ] {
            assert_eq!(Mean(mean).to_string(), text);
        }
    }
}
