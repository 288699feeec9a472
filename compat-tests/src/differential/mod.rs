//! Random request sequences to two servers in lockstep.
