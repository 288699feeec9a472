//! The settings that change how a request is judged. `config/` fills this in; the room only reads it.
//!
//! The leader stamps them on each batch, and whoever applies the batch judges by the stamp: servers
//! that differ here, or one that is restarted with other settings, still make the same state of the
//! same log. Reads go by the server's own. Credentials are not here: whoever is `super` is known from the auth ids
//! in the proposal, so the super digest belongs to `auth/`.

use super::record::znode::Extended;

/// What judging needs to know of the operator's wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// No ACL is checked at all.
    pub skip_acl: bool,
    /// Quotas refuse writes instead of only being counted.
    pub enforce_quota: bool,
    /// TTL znodes exist; without it createTTL answers `Unimplemented`.
    pub extended_types: bool,
    /// With extended types, TTL znodes of ZooKeeper 3.5.3 are some, too.
    pub emulate_353: bool,
    /// The reconfig operation is enabled.
    pub reconfig_enabled: bool,
    /// The scheme `digest` exists; without it an ACL that names it is invalid.
    pub digest_enabled: bool,
    /// There are members to be changed: the server is one of an ensemble, whatever its size.
    pub in_ensemble: bool,
    /// No change of the members leaves less than two that vote. zk: standaloneEnabled.
    pub two_voters_min: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            skip_acl: false,
            enforce_quota: false,
            extended_types: false,
            emulate_353: false,
            reconfig_enabled: false,
            digest_enabled: true,
            in_ensemble: false,
            two_voters_min: false,
        }
    }
}

impl Rules {
    /// How owners of znodes are read.
    ///
    /// zk: EphemeralType.get: the emulation is asked for only within the extended types.
    pub fn extended(self) -> Extended {
        match (self.extended_types, self.emulate_353) {
            (false, _) => Extended::Off,
            (true, false) => Extended::On,
            (true, true) => Extended::Emulate353,
        }
    }

    /// As a batch holds them: one bit each, those that came later behind the others.
    pub(super) fn bits(self) -> u8 {
        let flags = [
            self.skip_acl,
            self.enforce_quota,
            self.extended_types,
            self.reconfig_enabled,
            self.digest_enabled,
            self.emulate_353,
            self.in_ensemble,
            self.two_voters_min,
        ];
        let bit = |(place, flag): (usize, bool)| u8::from(flag) << place;
        flags.into_iter().enumerate().map(bit).sum()
    }

    /// The reverse of [`Self::bits`]: every bit means something. The next rule needs a form of the
    /// batch of its own.
    pub(super) fn from_bits(bits: u8) -> Self {
        let flag = |place: u8| bits & (1 << place) != 0;
        Self {
            skip_acl: flag(0),
            enforce_quota: flag(1),
            extended_types: flag(2),
            reconfig_enabled: flag(3),
            digest_enabled: flag(4),
            emulate_353: flag(5),
            in_ensemble: flag(6),
            two_voters_min: flag(7),
        }
    }
}
