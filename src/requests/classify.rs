//! What kind of work an opcode is. The opcode decides, never the xid (protocol.md 3.1).

use jute::{DecodeError, DecodeErrorKind, OpCode};

/// How a request is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Becomes a proposal.
    Write,
    /// Answered from the state.
    Read,
    /// Registers, removes or looks at watches of this connection.
    Watch,
    /// Waits for the read index.
    Sync,
    /// Keeps the session alive.
    Ping,
    /// Adds an identity to the connection.
    Auth,
    /// A step of SASL, which is not configured.
    Sasl,
    /// Closes the session.
    Close,
    /// Refused with -6, and the connection closes.
    Unknown,
}

/// Sorts an opcode. Internal ones are unknown when a client sends them (protocol.md trap 19), and
/// so is `check` outside a multi.
///
/// zk: Request.isValid, FinalRequestProcessor. zk-differs: deleteContainer and createSession from
/// a client are refused, since they bypass ACLs and answer in another format (protocol.md 3.3).
pub(super) fn classify(op: OpCode) -> Class {
    match op {
        OpCode::CREATE
        | OpCode::DELETE
        | OpCode::SET_DATA
        | OpCode::SET_ACL
        | OpCode::MULTI
        | OpCode::CREATE2
        | OpCode::RECONFIG
        | OpCode::CREATE_CONTAINER
        | OpCode::CREATE_TTL => Class::Write,
        OpCode::EXISTS
        | OpCode::GET_DATA
        | OpCode::GET_ACL
        | OpCode::GET_CHILDREN
        | OpCode::GET_CHILDREN2
        | OpCode::MULTI_READ
        | OpCode::GET_EPHEMERALS
        | OpCode::GET_ALL_CHILDREN_NUMBER
        | OpCode::WHO_AM_I => Class::Read,
        OpCode::SET_WATCHES
        | OpCode::SET_WATCHES2
        | OpCode::ADD_WATCH
        | OpCode::CHECK_WATCHES
        | OpCode::REMOVE_WATCHES => Class::Watch,
        OpCode::SYNC => Class::Sync,
        OpCode::PING => Class::Ping,
        OpCode::AUTH => Class::Auth,
        OpCode::SASL => Class::Sasl,
        OpCode::CLOSE_SESSION => Class::Close,
        _ => Class::Unknown,
    }
}

/// True if a body that cannot be decoded is proposed all the same, to be refused with a zxid of its
/// own: ZooKeeper fetches the zxid of a multi before it reads the ops.
///
/// zk: PrepRequestProcessor.pRequestHelper, case multi: a null ACL fails before that.
pub(super) fn takes_zxid(op: OpCode, error: &DecodeError) -> bool {
    op == OpCode::MULTI && !(error.kind == DecodeErrorKind::Null && error.field.ends_with("acl"))
}
