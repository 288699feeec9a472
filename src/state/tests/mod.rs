//! The room as a whole: golden scripts and properties.

mod map_store;
mod model;
mod properties;
mod scripts;
mod world;
