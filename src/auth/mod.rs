//! Authentication schemes: what a connection may call itself, and by what proof.
//!
//! ```text
//!   accepted ─▶ of_connection ─▶ Identities [ip]
//!   auth packet ─▶ authenticate ─▶ Identities [ip, digest, super]   or refused: -115, then close
//!   every other request ─▶ admitted? (enforced authentication)      else -124, then close
//!   whoAmI ─▶ who_am_i
//! ```
//!
//! Schemes: `ip` and `digest` (with `super`, the digest that may do anything). `world` is everybody
//! and nobody's identity; `auth` exists in ACLs only.
//!
//! Identities belong to a connection, not to its session: they are gone after a reconnect. They are
//! never taken away, and travel with each proposal, because every replica judges by them.
//!
//! This room does not know: sockets, frames, sessions, znodes, and what an identity is allowed to do
//! (`state` judges that by the ACLs).

mod address;
mod config;
mod digest;
mod order;
mod schemes;

pub use config::{Config, DigestAlgorithm};
pub use schemes::{AuthRefused, Schemes};
