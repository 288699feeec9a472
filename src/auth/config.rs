//! Which authentication schemes exist and who must use one. `config/` fills this in; the room only
//! reads it.

use std::fmt;

/// The hash behind the ids of the scheme `digest`: those that a JVM offers.
#[expect(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// ZooKeeper's default; what nearly every stored ACL was made with.
    #[default]
    Sha1,
    Md2,
    Md5,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512To224,
    Sha512To256,
    Sha3To224,
    Sha3To256,
    Sha3To384,
    Sha3To512,
}

/// Each with Java's names for it: the usual one, the object identifier if it has one, and aliases.
const NAMES: [(DigestAlgorithm, &[&str]); 13] = [
    (
        DigestAlgorithm::Sha1,
        &["SHA-1", "1.3.14.3.2.26", "SHA1", "SHA"],
    ),
    (DigestAlgorithm::Md2, &["MD2"]),
    (DigestAlgorithm::Md5, &["MD5"]),
    (
        DigestAlgorithm::Sha224,
        &["SHA-224", "2.16.840.1.101.3.4.2.4", "SHA224"],
    ),
    (
        DigestAlgorithm::Sha256,
        &["SHA-256", "2.16.840.1.101.3.4.2.1", "SHA256"],
    ),
    (
        DigestAlgorithm::Sha384,
        &["SHA-384", "2.16.840.1.101.3.4.2.2", "SHA384"],
    ),
    (
        DigestAlgorithm::Sha512,
        &["SHA-512", "2.16.840.1.101.3.4.2.3", "SHA512"],
    ),
    (
        DigestAlgorithm::Sha512To224,
        &["SHA-512/224", "2.16.840.1.101.3.4.2.5", "SHA512/224"],
    ),
    (
        DigestAlgorithm::Sha512To256,
        &["SHA-512/256", "2.16.840.1.101.3.4.2.6", "SHA512/256"],
    ),
    (
        DigestAlgorithm::Sha3To224,
        &["SHA3-224", "2.16.840.1.101.3.4.2.7"],
    ),
    (
        DigestAlgorithm::Sha3To256,
        &["SHA3-256", "2.16.840.1.101.3.4.2.8"],
    ),
    (
        DigestAlgorithm::Sha3To384,
        &["SHA3-384", "2.16.840.1.101.3.4.2.9"],
    ),
    (
        DigestAlgorithm::Sha3To512,
        &["SHA3-512", "2.16.840.1.101.3.4.2.10"],
    ),
];

impl DigestAlgorithm {
    /// The algorithm of this name, in any case; an object identifier may have `OID.` before it.
    ///
    /// zk: DigestAuthenticationProvider: java.security.MessageDigest.getInstance, of Java 17.
    pub fn named(name: &str) -> Option<Self> {
        let bare = match name.get(..4) {
            Some(mark) if mark.eq_ignore_ascii_case("OID.") => name.get(4..)?,
            _ => name,
        };
        let is_oid = bare.starts_with(|c: char| c.is_ascii_digit());
        let sought = if is_oid { bare } else { name };
        NAMES
            .iter()
            .find(|(_, names)| names.iter().any(|known| known.eq_ignore_ascii_case(sought)))
            .map(|(algorithm, _)| *algorithm)
    }

    /// The usual names, for a message.
    pub fn all() -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter_map(|(_, names)| names.first().copied())
    }
}

/// Schemes, the super user, and enforcement. `Debug` does not show the super digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The scheme `digest` exists.
    pub digest_enabled: bool,
    /// How `digest` ids are made.
    pub digest_algorithm: DigestAlgorithm,
    /// `name:base64(hash(name:password))`; who proves to be it gains the scheme `super`.
    pub super_digest: Option<String>,
    /// Sessions must hold an id of one of `enforced_schemes`, else -124 and the connection closes.
    pub enforce: bool,
    /// Not empty when `enforce` is set; every name in it is a scheme of this server.
    pub enforced_schemes: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            enforce: false,
            enforced_schemes: Vec::new(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("digest_enabled", &self.digest_enabled)
            .field("digest_algorithm", &self.digest_algorithm)
            .field(
                "super_digest",
                &self.super_digest.as_ref().map(|_| "(hidden)"),
            )
            .field("enforce", &self.enforce)
            .field("enforced_schemes", &self.enforced_schemes)
            .finish()
    }
}
