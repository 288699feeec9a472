//! Ids of the scheme `digest`: a name, and a hash that only who knows the password can make.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jute::Text;
use md2::Md2;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

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
        DigestAlgorithm::Sha1 => hash::<Sha1>,
        DigestAlgorithm::Md2 => hash::<Md2>,
        DigestAlgorithm::Md5 => hash::<Md5>,
        DigestAlgorithm::Sha224 => hash::<Sha224>,
        DigestAlgorithm::Sha256 => hash::<Sha256>,
        DigestAlgorithm::Sha384 => hash::<Sha384>,
        DigestAlgorithm::Sha512 => hash::<Sha512>,
        DigestAlgorithm::Sha512To224 => hash::<Sha512_224>,
        DigestAlgorithm::Sha512To256 => hash::<Sha512_256>,
        DigestAlgorithm::Sha3To224 => hash::<Sha3_224>,
        DigestAlgorithm::Sha3To256 => hash::<Sha3_256>,
        DigestAlgorithm::Sha3To384 => hash::<Sha3_384>,
        DigestAlgorithm::Sha3To512 => hash::<Sha3_512>,
    };
    format!("{}:{}", user(&credentials), hash(&credentials))
}

fn hash<D: Digest>(credentials: &str) -> String {
    STANDARD.encode(D::digest(credentials))
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
    fn every_algorithm_of_java_17() {
        for (name, expected) in [
            ("SHA-1", "Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
            ("MD2", "Ld+DiKuPiWKHbswHNAXoDQ=="),
            ("MD5", "wj9ntl1lUHd6RGlGHs+1Hg=="),
            ("SHA-224", "buY2RDLG1qb161QWn3zO7zdHv1Jw5JzOzvoq8w=="),
            ("SHA-256", "/Y8xRBngpX5duYn15uUqIRaIaCviy5TEwSk419hCwuA="),
            (
                "SHA-384",
                "joW9fAMExHHjPTquSoLHR7yNt+hmUQSWOdXLQ1YgEw4t89oJD5tqLNcOJbpOm3hr",
            ),
            (
                "SHA-512",
                "JuOwXdmk4f1omXNJj7k4ILDOHOlc+8PMyEaxl9nrWl6OmV83jKYivSqJWsp5PsMTda6BtnipueoU1r5DtBd7CA==",
            ),
            ("SHA-512/224", "uQhd9bjKXP6GHJndVVZ2qIjzcJFAYrjzPmzxOg=="),
            (
                "SHA-512/256",
                "GahcuEqKVDomB4u/ebwuUp9/SoZ9jjQVdblytNb5wPo=",
            ),
            ("SHA3-224", "VetFxgqKhf3M+E8Pj5X4NLMXFF7lPCr+KjMt9g=="),
            ("SHA3-256", "3+U94Pf1dSrKR/q5qu/huTFf1Fha6TtpdtpSdhWvIS0="),
            (
                "SHA3-384",
                "d4zgobLcJSLRER2rxMYl64bQqLziPCVxzKEWJoX+pEfq/zm0wPI8ZyXDgZrO/jZl",
            ),
            (
                "SHA3-512",
                "CxK7PYZe5JmbxbczQTl9zOaNZXrjA0kC+0x9tzWMsGKrpYRMUAdSUKhye+ylfkRhhXm3ReL68pT1mUct81OUyQ==",
            ),
        ] {
            let algorithm = DigestAlgorithm::named(name).unwrap();
            assert_eq!(id(algorithm, b"u:p"), format!("u:{expected}"), "{name}");
        }
        assert_eq!(DigestAlgorithm::all().count(), 13);
    }

    #[test]
    fn names_are_those_of_java_17() {
        use DigestAlgorithm::{Md5, Sha1, Sha256, Sha512To256};
        for (name, expected) in [
            ("SHA", Some(Sha1)),
            ("sha1", Some(Sha1)),
            ("OID.1.3.14.3.2.26", Some(Sha1)),
            ("oid.1.3.14.3.2.26", Some(Sha1)),
            ("sha256", Some(Sha256)),
            ("2.16.840.1.101.3.4.2.1", Some(Sha256)),
            ("SHA512/256", Some(Sha512To256)),
            ("md5", Some(Md5)),
            ("OID.MD5", None),
            ("MD-5", None),
            ("SHA_256", None),
            ("SHA3256", None),
            ("1.2.840.113549.2.5", None),
            (" SHA-256", None),
            ("", None),
        ] {
            assert_eq!(DigestAlgorithm::named(name), expected, "{name:?}");
        }
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
