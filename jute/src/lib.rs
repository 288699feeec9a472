//! ZooKeeper's client wire format: frames, records, codes.
//!
//! ```text
//!  socket bytes ─▶ FrameCodec ─▶ Bytes (one frame) ─▶ Reader ─▶ RequestHeader, Request
//!  socket bytes ◀─ one BytesMut ◀─ reply::begin, encode the body, reply::finish
//! ```
//!
//! Decoding shares the frame: a `Text` or a buffer is a slice of it, so that a record costs no
//! copy; whoever keeps such a value for long copies it, or the whole frame stays in memory.
//! Encoding appends to a buffer that the caller reuses. Null and empty are different values
//! everywhere (`None` and an empty `Some`). Lengths and counts are checked against the bytes at
//! hand before memory is taken, and no input panics.
//!
//! This crate does not know that there is a server: it judges neither paths nor versions nor
//! ACLs, does no I/O and holds no policy. Numbers on the wire are open newtypes ([`OpCode`],
//! [`ErrorCode`]) that keep values nobody has heard of.

mod class;
mod codes;
pub mod data;
mod error;
mod field;
mod frame;
pub mod proto;
mod reader;
pub mod reply;
mod text;
mod writer;

#[cfg(test)]
mod tests;

pub use class::OpClass;
pub use codes::{ErrorCode, OpCode};
pub use data::{Acl, ClientInfo, Id, Stat, perms};
pub use error::{DecodeError, DecodeErrorKind, FrameError};
pub use frame::{Cut, FrameCodec, LENGTH_BYTES};
pub use proto::{
    AddWatch, Auth, Check, CheckWatches, ConnectRequest, ConnectResponse, Create, Create2Response,
    CreateResponse, CreateTtl, Delete, ErrorResponse, Exists, GetAcl, GetAclResponse,
    GetAllChildrenNumber, GetAllChildrenNumberResponse, GetChildren, GetChildren2,
    GetChildren2Response, GetChildrenResponse, GetData, GetDataResponse, GetEphemerals,
    GetEphemeralsResponse, Multi, MultiHeader, MultiOp, MultiRead, MultiReadOp, MultiResponse,
    MultiResult, Reconfig, ReconfigResponse, RemoveWatches, ReplyHeader, Request, RequestHeader,
    Response, Sasl, SaslResponse, SetAcl, SetData, SetWatches, SetWatches2, StatResponse, Sync,
    SyncResponse, WatcherEvent, WhoAmIResponse,
};
pub use reader::Reader;
pub use reply::Reply;
pub use text::Text;
pub use writer::{put_buffer, put_count, put_stat, put_ustring};
