//! [`Text`], jute's `ustring`: UTF-8 that shares the frame it came in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;
use bytestring::ByteString;

/// A string. Cloning it copies no characters.
///
/// Ordered by bytes, as `str` is.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    /// Bytes that have been checked once, so that looking at them as `str` costs nothing.
    inner: ByteString,
}

impl Text {
    /// Takes bytes from the wire. Never fails: well-formed UTF-8 is taken as it is, without a
    /// copy; every malformed sequence becomes U+FFFD.
    ///
    /// zk: BinaryInputArchive.readString, that is `new String(bytes, UTF_8)` of Java 17.
    #[must_use]
    pub fn from_wire(bytes: &Bytes) -> Self {
        Self::within(bytes, 0..bytes.len())
    }

    /// As [`Text::from_wire`], of the bytes at `span`, which must be within the frame.
    pub(crate) fn within(frame: &Bytes, span: Range<usize>) -> Self {
        match ByteString::try_from(frame.slice(span.clone())) {
            Ok(inner) => Self { inner },
            Err(_) => Self::from(decode_as_java_does(&frame.slice(span))),
        }
    }

    /// A text that takes no memory.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self {
            inner: ByteString::from_static(text),
        }
    }

    /// The text as `str`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.inner
    }

    /// The bytes, shared with this value.
    #[must_use]
    pub fn as_bytes_shared(&self) -> &Bytes {
        self.inner.as_bytes()
    }

    /// The same text in memory of its own, for a value that outlives its frame by far.
    #[must_use]
    pub fn to_detached(&self) -> Self {
        Self::from(self.as_str())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self {
            inner: ByteString::from(text),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self {
            inner: ByteString::from(text),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// Replaces each malformed sequence by one U+FFFD.
///
/// A sequence is as long as it is the beginning of a well-formed one, at least one byte. That
/// is what Rust's lossy decoding does too, but for surrogates (ED A0..BF xx): to Java those are
/// complete and then refused as one, to Rust they are three bytes of rubbish.
fn decode_as_java_does(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [lead, tail @ ..] = rest {
        let used = 1 + continuation_bytes(*lead, tail);
        let (sequence, after) = rest.split_at(used);
        match std::str::from_utf8(sequence) {
            Ok(character) => text.push_str(character),
            Err(_) => text.push(char::REPLACEMENT_CHARACTER),
        }
        rest = after;
    }
    text
}

/// How many bytes of `tail` belong to the sequence that begins with `lead`.
fn continuation_bytes(lead: u8, tail: &[u8]) -> usize {
    let (wanted, second) = match lead {
        0xc2..=0xdf => (1, 0x80..=0xbf),
        0xe0 => (2, 0xa0..=0xbf),
        0xe1..=0xef => (2, 0x80..=0xbf),
        0xf0 => (3, 0x90..=0xbf),
        0xf1..=0xf3 => (3, 0x80..=0xbf),
        0xf4 => (3, 0x80..=0x8f),
        _ => return 0,
    };
    match tail.first() {
        Some(byte) if second.contains(byte) => {}
        _ => return 0,
    }
    let more = tail
        .iter()
        .skip(1)
        .take(wanted - 1)
        .take_while(|byte| (**byte & 0xc0) == 0x80);
    1 + more.count()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    fn from_wire(bytes: &[u8]) -> Text {
        Text::from_wire(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn well_formed_text_is_not_copied() {
        let bytes = Bytes::from("/\u{e4}/\u{20ac}/\u{1f600}".to_owned());
        let text = Text::from_wire(&bytes);
        assert_eq!(text, "/\u{e4}/\u{20ac}/\u{1f600}");
        assert_eq!(text.as_bytes_shared().as_ptr(), bytes.as_ptr());
        assert_ne!(
            text.to_detached().as_bytes_shared().as_ptr(),
            bytes.as_ptr()
        );
    }

    #[test]
    fn malformed_sequences_become_replacement_characters() {
        let table: [(&[u8], &str); 12] = [
            (b"a\x80b", "a\u{fffd}b"),
            (b"\xc0A", "\u{fffd}A"),
            (b"\xe0\x80", "\u{fffd}\u{fffd}"),
            (b"\xe1\x80", "\u{fffd}"),
            (b"\xe1\x80/", "\u{fffd}/"),
            (b"\xf0\x90A", "\u{fffd}A"),
            (b"\xf0\x80\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            (b"\xf4\x90\x80\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            // Surrogates: one each, whole or cut off, alone or as a pair.
            (b"\xed\xa0\x80", "\u{fffd}"),
            (b"\xed\xa0A", "\u{fffd}A"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}"),
        ];
        for (bytes, expected) in table {
            assert_eq!(from_wire(bytes), expected, "{bytes:x?}");
        }
    }

    /// All sequences of one to four of the bytes at which decoders branch, against a checksum
    /// (FNV-1a, 0xff behind each) of what `new String(bytes, UTF_8)` of OpenJDK 17.0.15 gives.
    #[test]
    fn replaces_exactly_as_java_does() {
        const BRANCHES: [u8; 27] = [
            0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0,
            0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff,
        ];
        let mut checksum = 0xcbf2_9ce4_8422_2325_u64;
        for length in 1..=4 {
            for number in 0..BRANCHES.len().pow(length) {
                let mut rest = number;
                let mut bytes = Vec::new();
                for _ in 0..length {
                    bytes.push(BRANCHES[rest % BRANCHES.len()]);
                    rest /= BRANCHES.len();
                }
                for byte in from_wire(&bytes).bytes().chain([0xff]) {
                    checksum = (checksum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        }
        assert_eq!(checksum, 0x8eb2_6687_7f00_7c13);
    }

    #[test]
    fn is_looked_up_by_str() {
        let hashed: HashSet<Text> = ["/a", "/b"].map(Text::from).into();
        let ordered: BTreeSet<Text> = ["/a", "/b"].map(Text::from).into();
        assert!(hashed.contains("/a") && ordered.contains("/b"));
        assert!(!hashed.contains("/c") && !ordered.contains("/c"));
        assert_eq!(
            format!("{} {:?}", Text::from("/a"), Text::from("/a")),
            "/a \"/a\""
        );
    }
}
