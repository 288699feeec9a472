//! The records of requests and responses, a file per family.
//!
//! [`Request`] and [`Response`] are the doors: an opcode and a body in, a record out. A record
//! can also be read and written by itself (`decode`, `encode`). Nothing here is judged, only
//! multi refuses what ZooKeeper's own decoder refuses.

mod acls;
mod connect;
mod create;
mod header;
mod multi;
mod multi_response;
mod node;
mod request;
mod response;
mod session;
mod watches;

pub use acls::{GetAcl, GetAclResponse, SetAcl};
pub use connect::{ConnectRequest, ConnectResponse};
pub use create::{Create, Create2Response, CreateResponse, CreateTtl};
pub use header::{MultiHeader, ReplyHeader, RequestHeader};
pub use multi::{Multi, MultiOp, MultiRead, MultiReadOp};
pub use multi_response::{MultiResponse, MultiResult};
pub use node::{
    Check, Delete, Exists, GetAllChildrenNumber, GetAllChildrenNumberResponse, GetChildren,
    GetChildren2, GetChildren2Response, GetChildrenResponse, GetData, GetDataResponse,
    GetEphemerals, GetEphemeralsResponse, SetData, StatResponse, Sync, SyncResponse,
};
pub use request::Request;
pub use response::{ErrorResponse, Response};
pub use session::{Auth, Reconfig, ReconfigResponse, Sasl, SaslResponse, WhoAmIResponse};
pub use watches::{AddWatch, CheckWatches, RemoveWatches, SetWatches, SetWatches2, WatcherEvent};
