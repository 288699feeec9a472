//! [`Text`], jute's `ustring`: UTF-8 that shares the frame it came in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

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
    pub fn from_wire(bytes: Bytes) -> Self {
        match ByteString::try_from(bytes.clone()) {
            Ok(inner) => Self { inner },
            Err(_) => Self::from(decode_as_java_does(&bytes)),
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
