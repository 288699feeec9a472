//! Scheme `ip`: addresses as text, with a network mask in ACLs.
//!
//! zk: IPAuthenticationProvider. zk-differs: digits are ASCII digits; Java's `parseInt` takes those
//! of other scripts too.

/// An address of either family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

/// Whether an ACL may hold this id: an address, perhaps with `/bits`.
pub(super) fn is_valid(id: &str) -> bool {
    network(id).is_some()
}

/// Whether the connection's address `id` lies in the ACL's network. Families never mix.
pub(super) fn matches(id: &str, network_text: &str) -> bool {
    let Some((network, bits)) = network(network_text) else {
        return false;
    };
    match (network, parse(id)) {
        (Address::V4(network), Some(Address::V4(id))) => same_prefix(&network, &id, bits),
        (Address::V6(network), Some(Address::V6(id))) => same_prefix(&network, &id, bits),
        _ => false,
    }
}

/// Address and number of bits that count.
fn network(text: &str) -> Option<(Address, usize)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address = parse(address)?;
    let bits_max = match address {
        Address::V4(_) => 32,
        Address::V6(_) => 128,
    };
    let bits = match bits {
        None => bits_max,
        Some(bits) => usize::try_from(bits.parse::<i32>().ok()?).ok()?,
    };
    (bits <= bits_max).then_some((address, bits))
}

fn parse(text: &str) -> Option<Address> {
    if text.contains(':') {
        v6(text).map(Address::V6)
    } else {
        v4(text).map(Address::V4)
    }
}

/// Four decimal numbers; signs and leading zeros are tolerated.
fn v4(text: &str) -> Option<[u8; 4]> {
    let mut parts = text.split('.');
    let mut address = [0; 4];
    for byte in &mut address {
        *byte = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
    }
    parts.next().is_none().then_some(address)
}

/// Eight groups of hex digits, or fewer with one `::` in place of at least one group of zeros.
fn v6(text: &str) -> Option<[u8; 16]> {
    let mut address = [0; 16];
    match text.split_once("::") {
        None => {
            let used = put_groups(&mut address, text)?;
            (used == 16).then_some(address)
        }
        // Java splits at every "::"; a second one is found here as an empty group.
        Some((head, tail)) => {
            let head_bytes = put_groups(&mut address, head)?;
            let mut behind = [0; 16];
            let tail_bytes = put_groups(&mut behind, tail)?;
            if head_bytes + tail_bytes >= 16 {
                return None;
            }
            let place = address.get_mut(16 - tail_bytes..)?;
            place.copy_from_slice(behind.get(..tail_bytes)?);
            Some(address)
        }
    }
}

/// Writes groups from the front; how many bytes they took.
fn put_groups(address: &mut [u8; 16], text: &str) -> Option<usize> {
    let mut used = 0;
    if text.is_empty() {
        return Some(used);
    }
    for group in text.split(':') {
        if group.len() > 4 {
            return None;
        }
        let value = i32::from_str_radix(group, 16).ok()?;
        let [_, _, high, low] = value.to_be_bytes();
        address
            .get_mut(used..used + 2)?
            .copy_from_slice(&[high, low]);
        used += 2;
    }
    Some(used)
}

fn same_prefix(left: &[u8], right: &[u8], bits: usize) -> bool {
    let mut left_over = bits;
    for (left, right) in left.iter().zip(right) {
        let here = left_over.min(8);
        let mask = u8::try_from(0xff00_u32 >> here & 0xff).unwrap_or(u8::MAX);
        if left & mask != right & mask {
            return false;
        }
        left_over -= here;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity() {
        let valid = [
            "1.2.3.4",
            "1.2.3.4/0",
            "1.2.3.4/32",
            "+1.02.-0.255",
            "::",
            "::1",
            "1::",
            "1::/64",
            "0:0:0:0:0:0:0:1",
            "fe80::1/128",
            "1:2:3:4:5:6:7::",
            "::a/+5",
            "-1::2",
        ];
        for valid in valid {
            assert!(is_valid(valid), "{valid}");
        }
        let invalid = [
            "",
            "1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3.4",
            "256.1.1.1",
            "-1.2.3.4",
            "1.2.3.4/",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/a",
            "1.2.3.4/8/8",
            "a.b.c.d",
            ":",
            ":::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::8",
            "::1::",
            "12345::",
            "g::",
            "::1.2.3.4",
            "::1/129",
            "fe80::1%eth0",
            "host",
        ];
        for invalid in invalid {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn matching() {
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(matches("10.1.2.3", "10.0.0.0/8"));
        assert!(matches("10.1.2.3", "10.1.3.0/23"));
        assert!(!matches("10.1.4.3", "10.1.3.0/23"));
        assert!(matches("10.1.2.3", "99.9.9.9/0"));
        assert!(matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(matches("fe80:0:0:0:0:0:0:9", "fe80::/10"));
        assert!(!matches("fe80:0:0:0:0:0:0:9%eth0", "fe80::/10"));
        assert!(!matches("127.0.0.1", "::/0"));
        assert!(!matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"));
    }
}
