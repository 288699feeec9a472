//! What is written down: ids, znodes, proposals and the batches that carry them, byte by byte.

pub(super) mod batch;
pub(super) mod identity;
pub(super) mod ids;
pub(super) mod member;
pub(super) mod path;
pub(super) mod proposal;
pub(crate) mod varint;
pub(super) mod znode;
