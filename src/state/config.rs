//! The settings that change how a request is judged. `config/` fills this in; the room only reads it.
//!
//! They are part of what every replica must agree on: two servers that differ here would judge the
//! same proposal differently. Credentials are not here: whoever is `super` is known from the auth ids
//! in the proposal, so the super digest belongs to `auth/`.

/// What judging needs to know of the operator's wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// No ACL is checked at all.
    pub skip_acl: bool,
    /// Quotas refuse writes instead of only being counted.
    pub enforce_quota: bool,
    /// TTL znodes exist; without it createTTL answers `Unimplemented`.
    pub extended_types: bool,
    /// The reconfig operation is enabled; a standalone server still has nothing to change.
    pub reconfig_enabled: bool,
    /// The scheme `digest` exists; without it an ACL that names it is invalid.
    pub digest_enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            skip_acl: false,
            enforce_quota: false,
            extended_types: false,
            reconfig_enabled: false,
            digest_enabled: true,
        }
    }
}
