//! [`Response`]: the record behind the header of a successful reply.

use bytes::{Bytes, BytesMut};

use super::{
    Create2Response, CreateResponse, GetAclResponse, GetAllChildrenNumberResponse,
    GetChildren2Response, GetChildrenResponse, GetDataResponse, GetEphemeralsResponse,
    MultiResponse, SaslResponse, StatResponse, SyncResponse, WhoAmIResponse,
};
use crate::field::record;
use crate::{DecodeError, DecodeErrorKind, ErrorCode, OpCode, Reader};

record! {
    /// A bare code: a failed result inside a multi, and what addWatch answers (OK).
    #[derive(Copy)]
    pub struct ErrorResponse {
        /// The code.
        pub err: ErrorCode,
    }
}

/// What a successful request answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// No record: delete, check, ping, auth, setWatches, checkWatches, removeWatches,
    /// closeSession.
    Empty,
    /// To create.
    Create(CreateResponse),
    /// To create2, createContainer and createTTL.
    Create2(Create2Response),
    /// To exists, setData and setACL.
    Stat(StatResponse),
    /// To getData and reconfig.
    GetData(GetDataResponse),
    /// To getACL.
    GetAcl(GetAclResponse),
    /// To getChildren.
    GetChildren(GetChildrenResponse),
    /// To getChildren2.
    GetChildren2(GetChildren2Response),
    /// To sync.
    Sync(SyncResponse),
    /// To multi and multiRead.
    Multi(MultiResponse),
    /// To sasl.
    Sasl(SaslResponse),
    /// To getEphemerals.
    GetEphemerals(GetEphemeralsResponse),
    /// To getAllChildrenNumber.
    GetAllChildrenNumber(GetAllChildrenNumberResponse),
    /// To addWatch.
    AddWatch(ErrorResponse),
    /// To whoAmI.
    WhoAmI(WhoAmIResponse),
}

impl Response {
    /// Reads the body of a reply to a request with `op`. Bytes behind the record are ignored.
    ///
    /// # Errors
    /// As records do; `UnknownOpCode` for an opcode that has no request.
    pub fn decode(op: OpCode, body: Bytes) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(body);
        Ok(match op {
            OpCode::DELETE
            | OpCode::PING
            | OpCode::AUTH
            | OpCode::SET_WATCHES
            | OpCode::SET_WATCHES2
            | OpCode::CHECK
            | OpCode::CHECK_WATCHES
            | OpCode::REMOVE_WATCHES
            | OpCode::CLOSE_SESSION => Self::Empty,
            OpCode::CREATE => Self::Create(CreateResponse::decode(r)?),
            OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                Self::Create2(Create2Response::decode(r)?)
            }
            OpCode::EXISTS | OpCode::SET_DATA | OpCode::SET_ACL => {
                Self::Stat(StatResponse::decode(r)?)
            }
            OpCode::GET_DATA | OpCode::RECONFIG => Self::GetData(GetDataResponse::decode(r)?),
            OpCode::GET_ACL => Self::GetAcl(GetAclResponse::decode(r)?),
            OpCode::GET_CHILDREN => Self::GetChildren(GetChildrenResponse::decode(r)?),
            OpCode::GET_CHILDREN2 => Self::GetChildren2(GetChildren2Response::decode(r)?),
            OpCode::SYNC => Self::Sync(SyncResponse::decode(r)?),
            OpCode::MULTI | OpCode::MULTI_READ => Self::Multi(MultiResponse::decode(r)?),
            OpCode::SASL => Self::Sasl(SaslResponse::decode(r)?),
            OpCode::GET_EPHEMERALS => Self::GetEphemerals(GetEphemeralsResponse::decode(r)?),
            OpCode::GET_ALL_CHILDREN_NUMBER => {
                Self::GetAllChildrenNumber(GetAllChildrenNumberResponse::decode(r)?)
            }
            OpCode::ADD_WATCH => Self::AddWatch(ErrorResponse::decode(r)?),
            OpCode::WHO_AM_I => Self::WhoAmI(WhoAmIResponse::decode(r)?),
            _ => {
                return Err(DecodeError::new(
                    "op",
                    0,
                    DecodeErrorKind::UnknownOpCode(op),
                ));
            }
        })
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Empty => {}
            Self::Create(body) => body.encode(out),
            Self::Create2(body) => body.encode(out),
            Self::Stat(body) => body.encode(out),
            Self::GetData(body) => body.encode(out),
            Self::GetAcl(body) => body.encode(out),
            Self::GetChildren(body) => body.encode(out),
            Self::GetChildren2(body) => body.encode(out),
            Self::Sync(body) => body.encode(out),
            Self::Multi(body) => body.encode(out),
            Self::Sasl(body) => body.encode(out),
            Self::GetEphemerals(body) => body.encode(out),
            Self::GetAllChildrenNumber(body) => body.encode(out),
            Self::AddWatch(body) => body.encode(out),
            Self::WhoAmI(body) => body.encode(out),
        }
    }
}
