//! The schemes that this server knows, and what they make of a connection's credentials.

use std::net::IpAddr;

use crate::state::{Identities, Identity};

use super::config::Config;
use super::{address, digest, order};

/// The authentication schemes of this server, as configured.
///
/// zk: ProviderRegistry and AuthenticationHelper.
#[derive(Clone, Debug)]
pub struct Schemes {
    config: Config,
}

/// An auth packet proves nothing: reply `AuthFailed` (-115), then close. The session lives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthRefused {
    /// There is no provider that takes auth packets of this scheme.
    #[error("no scheme of this name takes auth packets")]
    Scheme,
    /// The credentials are null, for a scheme that looks at them.
    #[error("credentials are missing")]
    NoCredentials,
    /// The connection has so many identities that another one would pass
    /// [`Schemes::IDENTITIES_BYTES_MAX`].
    #[error(
        "identities of the connection exceed {} bytes",
        Schemes::IDENTITIES_BYTES_MAX
    )]
    TooMany,
}

impl Schemes {
    /// How long the identities of one connection may be, in bytes of text.
    ///
    /// zk-differs: there is no such limit. Here each proposal of the connection carries them all.
    pub const IDENTITIES_BYTES_MAX: usize = 64 * 1024;

    /// The schemes that `config` asks for.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// What a connection from `peer` is without any proof: its address.
    ///
    /// zk: NIOServerCnxn's and NettyServerCnxn's constructors: addAuthInfo.
    pub fn of_connection(peer: IpAddr) -> Vec<Identity> {
        vec![identity("ip", &address::text(peer))]
    }

    /// Adds what an auth packet proves to what the connection `have`, in ZooKeeper's order.
    ///
    /// `scheme` and `auth` as they came, null or not. Answers with `have` itself, if all that is
    /// proved is there already.
    ///
    /// # Errors
    /// The packet proves nothing.
    ///
    /// zk: ZooKeeperServer.processPacket; for null credentials the digest provider throws, which
    /// counts as a refusal; empty ones it takes.
    pub fn authenticate(
        &self,
        scheme: Option<&str>,
        auth: Option<&[u8]>,
        peer: IpAddr,
        have: &Identities,
    ) -> Result<Identities, AuthRefused> {
        let proved = match scheme {
            Some("ip") => Self::of_connection(peer),
            Some("digest") if self.config.digest_enabled => {
                self.digest(auth.ok_or(AuthRefused::NoCredentials)?)
            }
            _ => return Err(AuthRefused::Scheme),
        };
        let added: Vec<Identity> = proved.into_iter().filter(|id| !have.contains(id)).collect();
        if added.is_empty() {
            return Ok(have.clone());
        }
        let all: Identities = added
            .into_iter()
            .fold(have.to_vec(), |all, id| order::insert(&all, id))
            .into();
        let bytes: usize = all.iter().map(|id| id.scheme.len() + id.id.len()).sum();
        if bytes > Self::IDENTITIES_BYTES_MAX {
            return Err(AuthRefused::TooMany);
        }
        Ok(all)
    }

    /// Never refuses: a wrong password is merely the proof of another identity.
    ///
    /// zk: DigestAuthenticationProvider.handleAuthentication.
    fn digest(&self, credentials: &[u8]) -> Vec<Identity> {
        let id = digest::id(self.config.digest_algorithm, credentials);
        let mut proved = Vec::new();
        if self.config.super_digest.as_ref() == Some(&id) {
            proved.push(identity("super", ""));
        }
        proved.push(identity("digest", &id));
        proved
    }

    /// Whether a connection with these identities may make requests other than `auth` and `sasl`.
    /// If not: reply `SessionClosedRequireSaslAuth` (-124), then close; pings too.
    ///
    /// zk: AuthenticationHelper.enforceAuthentication.
    pub fn admitted(&self, identities: &[Identity]) -> bool {
        !self.config.enforce
            || identities.iter().any(|identity| {
                let mut enforced = self.config.enforced_schemes.iter();
                enforced.any(|scheme| **scheme == *identity.scheme)
            })
    }

    /// Scheme and user of each identity, without what is secret.
    ///
    /// The user is empty for `super` and whatever else no provider answers for.
    ///
    /// zk: AuthUtil.getClientInfos, AuthenticationProvider.getUserName.
    pub fn who_am_i(&self, identities: &[Identity]) -> Vec<(String, String)> {
        let user = |identity: &Identity| match &*identity.scheme {
            "digest" if self.config.digest_enabled => digest::user(&identity.id).to_owned(),
            "ip" | "x509" | "sasl" => identity.id.to_string(),
            _ => String::new(),
        };
        identities
            .iter()
            .map(|identity| (identity.scheme.to_string(), user(identity)))
            .collect()
    }
}

fn identity(scheme: &str, id: &str) -> Identity {
    Identity {
        scheme: scheme.into(),
        id: id.into(),
    }
}

#[cfg(test)]
mod tests;
