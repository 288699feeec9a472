//! The room as a whole: golden scripts and properties.
