//! What judging depends on besides the log. Must be equal on all servers of an ensemble.

/// Settings of the state machine.
///
/// Deviating values on two replicas would make them diverge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Every ACL check passes. zk: skipACL, default no.
    pub skip_acl: bool,
    /// Hard quotas refuse with -125. zk: enforceQuota, default false.
    pub enforce_quota: bool,
    /// TTL nodes exist. zk: extendedTypesEnabled, default false.
    pub extended_types: bool,
    /// ACL scheme `digest` is known. zk: DigestAuthenticationProvider.enabled, default true.
    pub digest_disabled: bool,
}
