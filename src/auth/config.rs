//! Which authentication schemes exist and who must use one. `config/` fills this in; the room only
//! reads it.

use std::fmt;

/// The hash behind the ids of the scheme `digest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// ZooKeeper's default; what nearly every stored ACL was made with.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
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
