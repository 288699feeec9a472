//! A peer's address as text, in the one form that ACLs of the scheme `ip` were written against.

use std::net::IpAddr;

/// The address as Java prints it: IPv4 dotted, IPv6 as eight groups without compression, IPv4
/// within IPv6 as IPv4.
///
/// zk: IPAuthenticationProvider.handleAuthentication: InetAddress.getHostAddress.
/// zk-differs: no `%scope` behind a link-local address, with which no ACL could ever match.
pub(super) fn text(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_in_java() {
        let check = |peer: &str, expected| assert_eq!(text(peer.parse().unwrap()), expected);
        check("127.0.0.1", "127.0.0.1");
        check("10.0.200.3", "10.0.200.3");
        check("::1", "0:0:0:0:0:0:0:1");
        check("::", "0:0:0:0:0:0:0:0");
        check("2001:DB8::00FF:0", "2001:db8:0:0:0:0:ff:0");
        check("fe80::1ff:fe23:4567:890a", "fe80:0:0:0:1ff:fe23:4567:890a");
        check("::ffff:192.0.2.128", "192.0.2.128");
        check("::192.0.2.128", "0:0:0:0:0:0:c000:280");
    }
}
