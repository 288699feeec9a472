//! What multi and multiRead answer.

use bytes::BytesMut;

use super::{
    Create2Response, CreateResponse, ErrorResponse, GetChildrenResponse, GetDataResponse,
    MultiHeader, StatResponse,
};
use crate::{DecodeError, DecodeErrorKind, ErrorCode, OpCode, Reader, Stat, Text};

/// The results, one for each op. The reply's header says OK even when a multi failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiResponse {
    /// In the order of the ops. Of a failed multi all are errors: OK in front of the op that
    /// failed, its code, RUNTIME_INCONSISTENCY behind it.
    pub results: Vec<MultiResult>,
}

/// The result of one op.
///
/// zk: MultiResponse.serialize; containers and TTL znodes answer as create2 does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    /// Of create.
    Create {
        /// With the sequence number.
        path: Option<Text>,
    },
    /// Of create2, createContainer and createTTL.
    Create2 {
        /// With the sequence number.
        path: Option<Text>,
        /// Right after the op.
        stat: Stat,
    },
    /// Of delete.
    Delete,
    /// Of setData.
    SetData {
        /// Right after the op.
        stat: Stat,
    },
    /// Of check.
    Check,
    /// Of getChildren.
    GetChildren {
        /// Names, not paths.
        children: Option<Vec<Option<Text>>>,
    },
    /// Of getData.
    GetData {
        /// Null if it was created with null.
        data: Option<bytes::Bytes>,
        /// Of the znode.
        stat: Stat,
    },
    /// Of an op that failed, or that was rolled back because another did.
    Error(ErrorCode),
}

impl MultiResponse {
    /// Reads up to and including the header that says done.
    ///
    /// # Errors
    /// As records do; a result of a type that no server sends.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut results = Vec::new();
        loop {
            let at = |error: DecodeError| error.within_element("results", results.len());
            let header = MultiHeader::decode(reader).map_err(at)?;
            if header.done {
                return Ok(Self { results });
            }
            let result = MultiResult::decode(header.op, reader).map_err(at)?;
            results.push(result);
        }
    }

    /// Appends the results and the header that says done.
    pub fn encode(&self, out: &mut BytesMut) {
        for result in &self.results {
            result.encode(out);
        }
        Self::encode_end(out);
    }

    /// Appends only the header that says done, for callers that encode results one by one.
    pub fn encode_end(out: &mut BytesMut) {
        MultiHeader::END.encode(out);
    }
}

impl MultiResult {
    /// Reads the record behind a header with `op`.
    fn decode(op: OpCode, reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::CREATE => {
                let CreateResponse { path } = CreateResponse::decode(reader)?;
                Self::Create { path }
            }
            OpCode::CREATE2 => {
                let Create2Response { path, stat } = Create2Response::decode(reader)?;
                Self::Create2 { path, stat }
            }
            OpCode::DELETE => Self::Delete,
            OpCode::SET_DATA => Self::SetData {
                stat: StatResponse::decode(reader)?.stat,
            },
            OpCode::CHECK => Self::Check,
            OpCode::GET_CHILDREN => {
                let GetChildrenResponse { children } = GetChildrenResponse::decode(reader)?;
                Self::GetChildren { children }
            }
            OpCode::GET_DATA => {
                let GetDataResponse { data, stat } = GetDataResponse::decode(reader)?;
                Self::GetData { data, stat }
            }
            OpCode::ERROR => Self::Error(ErrorResponse::decode(reader)?.err),
            _ => {
                let kind = DecodeErrorKind::UnknownResult(op);
                return Err(DecodeError::new("op", reader.offset(), kind));
            }
        })
    }

    /// The type that the result's header says.
    #[must_use]
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create { .. } => OpCode::CREATE,
            Self::Create2 { .. } => OpCode::CREATE2,
            Self::Delete => OpCode::DELETE,
            Self::SetData { .. } => OpCode::SET_DATA,
            Self::Check => OpCode::CHECK,
            Self::GetChildren { .. } => OpCode::GET_CHILDREN,
            Self::GetData { .. } => OpCode::GET_DATA,
            Self::Error(_) => OpCode::ERROR,
        }
    }

    /// Appends header and record.
    pub fn encode(&self, out: &mut BytesMut) {
        use crate::field::Field as _;

        let err = if let Self::Error(code) = self {
            *code
        } else {
            ErrorCode::OK
        };
        MultiHeader::put_result(self.op(), err, out);
        match self {
            Self::Create { path } => path.put(out),
            Self::Create2 { path, stat } => {
                path.put(out);
                stat.put(out);
            }
            Self::Delete | Self::Check => {}
            Self::SetData { stat } => stat.put(out),
            Self::GetChildren { children } => children.put(out),
            Self::GetData { data, stat } => {
                data.put(out);
                stat.put(out);
            }
            Self::Error(code) => code.put(out),
        }
    }
}
