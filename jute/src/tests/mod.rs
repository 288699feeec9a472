//! Tests of the whole crate: vectors, round trips, hostile bytes.

pub(crate) mod sample;
