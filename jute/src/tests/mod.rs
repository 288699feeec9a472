//! Tests of the whole crate: vectors, round trips, hostile bytes.

mod hostile;
mod round_trip;
pub(crate) mod sample;
mod vectors;
