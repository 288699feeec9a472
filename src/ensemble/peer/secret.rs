//! The shared secret: proves to each side of a connection that the other one is a member, without
//! ever being sent.
//!
//! It keeps strangers out. It hides nothing and does not protect what follows the handshake from
//! whoever controls the network between two members: TLS does.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// A shorter secret could be guessed from a recorded handshake.
const BYTES_MIN: usize = 16;
/// Nobody means a longer file.
const BYTES_MAX: usize = 4096;

/// Of a proof: HMAC-SHA-256.
pub(super) const PROOF_BYTES: usize = 32;
/// Of what each side asks the other to prove it over; never used twice.
pub(super) const NONCE_BYTES: usize = 32;

/// Drawn anew by each side for each connection.
pub(super) type Nonce = [u8; NONCE_BYTES];
/// That whoever made it knows the secret.
pub(super) type Proof = [u8; PROOF_BYTES];

/// The file of the secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("read the secret in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// It is too short to be a secret, or too long to be meant.
    #[error("the secret in {path} has {bytes} bytes, {BYTES_MIN} to {BYTES_MAX} are expected")]
    Length {
        /// The file.
        path: PathBuf,
        /// Without the end of its last line.
        bytes: usize,
    },
}

/// What all members know.
#[derive(Clone)]
pub(in crate::ensemble) struct Secret(Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who proves it, so that no proof can be given back to its maker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Who opened the connection.
    Dialer,
    /// Who accepted it.
    Acceptor,
}

/// All that both sides have seen before a proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transcript<'a> {
    pub(super) dialer: &'a [u8],
    pub(super) acceptor: &'a [u8],
    /// What the dialer says of itself: ids, lane.
    pub(super) hello: &'a [u8],
    /// What the acceptor answers; empty before.
    pub(super) answer: &'a [u8],
}

impl<'a> Transcript<'a> {
    /// The same, with the acceptor's answer.
    pub(super) fn answered(self, answer: &'a [u8]) -> Self {
        Self { answer, ..self }
    }
}

impl Secret {
    /// Reads the file; line ends behind the secret are no part of it.
    ///
    /// # Errors
    /// It cannot be read, or is no secret.
    pub(in crate::ensemble) fn load(path: &Path) -> Result<Self, SecretError> {
        let read = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX) + 2;
        file.take(limit).read_to_end(&mut bytes).map_err(read)?;
        let line = bytes.trim_ascii_end();
        Self::new(line).ok_or_else(|| SecretError::Length {
            path: path.to_owned(),
            bytes: line.len(),
        })
    }

    /// `None` if it is too short or too long.
    pub(in crate::ensemble) fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (BYTES_MIN..=BYTES_MAX).contains(&bytes.len());
        fits.then(|| Self(bytes.into()))
    }

    /// The proof of `side`.
    pub(super) fn prove(&self, side: Side, seen: Transcript<'_>) -> Proof {
        self.mac(side, seen).finalize().into_bytes().into()
    }

    /// Whether `proof` is that of `side`; takes the same time wherever it differs.
    pub(super) fn is_proven(&self, side: Side, seen: Transcript<'_>, proof: &Proof) -> bool {
        self.mac(side, seen).verify_slice(proof).is_ok()
    }

    fn mac(&self, side: Side, seen: Transcript<'_>) -> Hmac<Sha256> {
        #[expect(
            clippy::expect_used,
            reason = "HMAC takes keys of any length: see RFC 2104"
        )]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(match side {
            Side::Dialer => b"oxkeeper peer 1 dialer\0\0",
            Side::Acceptor => b"oxkeeper peer 1 acceptor",
        });
        mac.update(seen.dialer);
        mac.update(seen.acceptor);
        // Its length in front, so that no byte can move from one part to the other.
        let hello = u64::try_from(seen.hello.len()).unwrap_or(u64::MAX);
        mac.update(&hello.to_be_bytes());
        mac.update(seen.hello);
        mac.update(seen.answer);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_one_side_one_connection_and_one_secret() {
        let secret = Secret::new(b"correct horse battery").expect("long enough");
        let other = Secret::new(b"correct horse batterz").expect("long enough");
        let (one, two) = ([1; NONCE_BYTES], [2; NONCE_BYTES]);
        let seen = Transcript {
            dialer: &one,
            acceptor: &two,
            hello: b"ab",
            answer: b"c",
        };
        let proof = secret.prove(Side::Acceptor, seen);
        assert!(secret.is_proven(Side::Acceptor, seen, &proof));
        assert!(!secret.is_proven(Side::Dialer, seen, &proof));
        assert!(!other.is_proven(Side::Acceptor, seen, &proof));
        let swapped = Transcript {
            dialer: &two,
            acceptor: &one,
            ..seen
        };
        let moved = Transcript {
            hello: b"a",
            answer: b"bc",
            ..seen
        };
        for differs in [swapped, moved] {
            assert!(!secret.is_proven(Side::Acceptor, differs, &proof));
        }
    }

    #[test]
    fn the_end_of_the_line_is_no_part_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("writes");
            Secret::load(&path)
        };
        let line = load(b"0123456789abcdef\r\n").expect("a secret");
        assert_eq!(&*line.0, b"0123456789abcdef");
        let short = load(b"0123456789abcde\n");
        assert!(matches!(short, Err(SecretError::Length { bytes: 15, .. })));
        assert!(matches!(
            load(&[b'x'; 5000]),
            Err(SecretError::Length { bytes: 4098, .. })
        ));
        assert!(load(&[b'x'; 4096]).is_ok());
    }
}
