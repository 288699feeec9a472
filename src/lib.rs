//! Temporary crate root of this branch: only what the configuration needs.

pub mod config;

#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod net {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod session {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod state {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod auth {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod storage {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod leader {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod pipeline {
    mod config;
    pub use config::*;
}
#[allow(missing_docs, reason = "stands in for the room's own door")]
pub mod admin {
    mod config;
    pub use config::*;
}
