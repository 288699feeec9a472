//! Who is in the ensemble, and what this server is in it.

pub(super) mod role;
