//! Planted faults: each judge must find its kind.
