//! What a read needs to know of who asks, and why it may have no body.

use jute::ErrorCode;

use crate::state::record::identity::Identity;
use crate::state::record::ids::SessionId;
use crate::state::store::Missing;

/// Why a read has no body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadStop {
    /// Judged and refused.
    Refused(ErrorCode),
    /// Memory does not know all of this: warm it without the lock, then read again while it is
    /// pinned. Each part as often as the body would hold it, also those that memory knows: they may
    /// be gone by then.
    Missing(Vec<Missing>),
    /// The body would be longer than it may be.
    TooLarge,
    /// Permitted, but only a scan can tell: take a view, and
    /// [`crate::state::count_descendants`] without the lock.
    NeedsScan,
}

/// Who asks, and how much may be said.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its session.
    pub session: SessionId,
    /// Its connection's identities.
    pub identities: &'a [Identity],
    /// Longest body of an answer, in bytes.
    pub bytes_max: usize,
}

impl From<ErrorCode> for ReadStop {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}
