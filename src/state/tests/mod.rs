//! The room as a whole: golden scripts and properties.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what a test does not expect fails it"
)]

mod classes;
mod generate;
mod golden;
mod local_config;
mod map_store;
mod model;
mod moves;
mod numbers;
mod on_disk;
mod properties;
mod replace;
mod scripts;
mod world;
