//! Sockets that are not a client's: the one leaf besides `net` that may open them.

mod http;
pub mod tcp;

pub use http::{Answer, HttpError, HttpListener, Page};
