//! Ids of the scheme `digest`: a name, and a hash that only who knows the password can make.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jute::Text;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::config::DigestAlgorithm;

/// The id that credentials stand for: `user:` and the hash, in base64, of the whole credentials.
///
/// `credentials`: normally `user:password`. Anything does: without a colon all of it is the user,
/// and bytes that are no UTF-8 become U+FFFD first.
///
/// zk: DigestAuthenticationProvider.generateDigest.
pub(super) fn id(algorithm: DigestAlgorithm, credentials: &[u8]) -> String {
    let credentials = Text::from_wire(&Bytes::copy_from_slice(credentials));
    let hash = match algorithm {
        DigestAlgorithm::Sha1 => STANDARD.encode(Sha1::digest(credentials.as_str())),
        DigestAlgorithm::Sha256 => STANDARD.encode(Sha256::digest(credentials.as_str())),
        DigestAlgorithm::Sha512 => STANDARD.encode(Sha512::digest(credentials.as_str())),
    };
    format!("{}:{hash}", user(&credentials))
}

/// The user in an id, and in credentials: what stands before the first colon.
///
/// zk: DigestAuthenticationProvider.getUserName.
pub(super) fn user(id: &str) -> &str {
    id.split_once(':').map_or(id, |(user, _)| user)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What generateDigest of ZooKeeper 3.9.5 on Java 17 answers, its default charset being UTF-8.
    #[test]
    fn ids_are_those_of_zookeeper() {
        let check = |algorithm, credentials: &[u8], expected: &str| {
            assert_eq!(id(algorithm, credentials), expected);
        };
        let sha1 = DigestAlgorithm::Sha1;
        check(sha1, b"super:admin", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        check(sha1, b"u:p", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
        check(sha1, b"bob", "bob:SBgazSKz7a68ikR4aKfffOYpkgo=");
        check(sha1, b"", ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        check(sha1, b":pw", ":krPDEYdCl854cFNT6IXnoMv+VVA=");
        check(sha1, b"a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0=");
        check(sha1, "é:ü".as_bytes(), "é:Ztqg8TrMmzkSFpOaDBO87lu10+c=");
        check(sha1, b"a\0:b", "a\0:jhVNwb26p8H2YaqjCOOlResWdyc=");
        check(
            sha1,
            b"x\xff:\xed\xa0\x80p",
            "x\u{fffd}:R2KLqym6wPp0ihtVa9urITxZDNg=",
        );

        let sha256 = DigestAlgorithm::Sha256;
        check(
            sha256,
            b"super:admin",
            "super:wtZw1Um4mq1rRKbXqxHs8ueodBP35/JhtBP/nwJ62WY=",
        );
        check(
            sha256,
            b"u:p",
            "u:/Y8xRBngpX5duYn15uUqIRaIaCviy5TEwSk419hCwuA=",
        );
        check(sha256, b"", ":47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");

        check(
            DigestAlgorithm::Sha512,
            b"u:p",
            "u:JuOwXdmk4f1omXNJj7k4ILDOHOlc+8PMyEaxl9nrWl6OmV83jKYivSqJWsp5PsMTda6BtnipueoU1r5DtBd7CA==",
        );
    }

    #[test]
    fn users() {
        let check = |id, expected| assert_eq!(user(id), expected);
        check("bob:hash", "bob");
        check("bob:more:hash", "bob");
        check("bob", "bob");
        check(":hash", "");
        check("", "");
    }
}
