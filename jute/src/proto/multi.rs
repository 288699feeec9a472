//! multi and multiRead: several ops in one request.
//!
//! ```text
//!  { MultiHeader(op, done 0, err -1), the op's record }*  MultiHeader(-1, done 1, err -1)
//! ```
//!
//! Here, and only here, the decoder judges: ZooKeeper's own refuses the whole request for what
//! would be the refusal of one op elsewhere, and it rewrites opcodes from create flags.

use bytes::BytesMut;

use super::{Check, Create, CreateTtl, Delete, GetChildren, GetData, MultiHeader, SetData};
use crate::{DecodeError, DecodeErrorKind, OpCode, Reader};

/// Create flags that mean a container.
const CONTAINER: i32 = 4;
/// Create flags that mean a time to live, plain and sequential.
const WITH_TTL: std::ops::RangeInclusive<i32> = 5..=6;
/// The last of the modes.
const FLAGS_MAX: i32 = 6;
/// Bytes of a small op with its header.
const OP_BYTES_USUAL: usize = 96;
/// For more ops the vector grows.
const OPS_EXPECTED_MAX: usize = 64;

/// Several writes, all or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multi {
    /// In order; may be empty.
    pub ops: Vec<MultiOp>,
}

/// A write inside a multi, as ZooKeeper understands it after decoding: the variant, not the
/// opcode it was sent with, says what is done and what the result looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp {
    /// Answers the path. Its flags are 0 to 3, or anything if it came as a createTTL.
    Create(Create),
    /// Answers path and Stat. Its flags are 0 to 3.
    Create2(Create),
    /// Answers path and Stat. Its flags are 0 to 4: the variant makes it a container.
    CreateContainer(Create),
    /// Answers path and Stat. Its flags are 5 or 6; the TTL is not judged yet.
    CreateTtl(CreateTtl),
    /// Answers nothing.
    Delete(Delete),
    /// Answers the Stat.
    SetData(SetData),
    /// Answers nothing.
    Check(Check),
}

/// Several reads, answered one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRead {
    /// In order; may be empty.
    pub ops: Vec<MultiReadOp>,
}

/// A read inside a multiRead. Its watch flag has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiReadOp {
    /// Answers the names of the children.
    GetChildren(GetChildren),
    /// Answers data and Stat.
    GetData(GetData),
}

impl Multi {
    /// Reads up to and including the header that says done.
    ///
    /// zk: MultiOperationRecord.deserialize, and PrepRequestProcessor.getPendingChanges, which
    /// fails for a null path. Reads in a multi fail there too, alone or mixed with writes.
    ///
    /// # Errors
    /// As records do, and for all that makes ZooKeeper answer MarshallingError to the whole.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let ops = decode_ops(reader, MultiOp::decode)?;
        Ok(Self { ops })
    }

    /// Appends the ops and the header that says done.
    pub fn encode(&self, out: &mut BytesMut) {
        for op in &self.ops {
            op.encode(out);
        }
        MultiHeader::END.encode(out);
    }
}

impl MultiRead {
    /// Reads up to and including the header that says done.
    ///
    /// zk: MultiOperationRecord.deserialize and FinalRequestProcessor, case multiRead.
    /// zk-differs: a null path is found before anything is read, so that the error reply never
    /// has the results of the ops in front of it as a body.
    ///
    /// # Errors
    /// As records do; any op but getChildren and getData.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let ops = decode_ops(reader, MultiReadOp::decode)?;
        Ok(Self { ops })
    }

    /// Appends the ops and the header that says done.
    pub fn encode(&self, out: &mut BytesMut) {
        for op in &self.ops {
            op.encode(out);
        }
        MultiHeader::END.encode(out);
    }
}

/// Reads ops until a header says done. The vector grows with the bytes that are there.
fn decode_ops<T>(
    reader: &mut Reader,
    decode: impl Fn(OpCode, &mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    // So that most never grow; the bytes are there, so this is bounded by the frame.
    let mut ops = Vec::with_capacity((reader.remaining() / OP_BYTES_USUAL).min(OPS_EXPECTED_MAX));
    loop {
        let at = |error: DecodeError| error.within_element("ops", ops.len());
        let header = MultiHeader::decode(reader).map_err(at)?;
        if header.done {
            return Ok(ops);
        }
        let op = decode(header.op, reader).map_err(at)?;
        ops.push(op);
    }
}

impl MultiOp {
    /// Reads the record behind a header with `op`.
    fn decode(op: OpCode, reader: &mut Reader) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let decoded = match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
                Self::from_create(op, Create::decode(reader)?)
            }
            OpCode::CREATE_TTL => Ok(Self::from_create_ttl(CreateTtl::decode(reader)?)),
            OpCode::DELETE => Ok(Self::Delete(Delete::decode(reader)?)),
            OpCode::SET_DATA => Ok(Self::SetData(SetData::decode(reader)?)),
            OpCode::CHECK => Ok(Self::Check(Check::decode(reader)?)),
            _ => Err(("op", DecodeErrorKind::NotAllowedInMulti(op))),
        };
        let checked = decoded.and_then(|op| match op.has_path() {
            true => Ok(op),
            false => Err(("path", DecodeErrorKind::Null)),
        });
        checked.map_err(|(field, kind)| DecodeError::new(field, offset, kind))
    }

    /// Judges the flags of the three opcodes that carry no TTL.
    ///
    /// zk: MultiOperationRecord.deserialize (CreateMode.fromFlag, CreateOptions.newBuilder
    /// demands an ACL, build demands a TTL for the TTL modes) and Op.Create.getOpcode.
    fn from_create(op: OpCode, create: Create) -> Result<Self, (&'static str, DecodeErrorKind)> {
        if !(0..=FLAGS_MAX).contains(&create.flags) {
            return Err(("flags", DecodeErrorKind::BadCreateFlags(create.flags)));
        }
        if create.acl.is_none() {
            return Err(("acl", DecodeErrorKind::Null));
        }
        match create.flags {
            CONTAINER => Ok(Self::CreateContainer(create)),
            flags if WITH_TTL.contains(&flags) => {
                Err(("flags", DecodeErrorKind::TtlMissing(flags)))
            }
            _ => Ok(match op {
                OpCode::CREATE2 => Self::Create2(create),
                OpCode::CREATE_CONTAINER => Self::CreateContainer(create),
                _ => Self::Create(create),
            }),
        }
    }

    /// Judges the flags of createTTL: without TTL flags it is a container or a plain create,
    /// which forgets the TTL and keeps even flags that are no mode.
    ///
    /// zk: Op.create(path, data, acl, flags, ttl) and Op.Create.getOpcode.
    fn from_create_ttl(create: CreateTtl) -> Self {
        if WITH_TTL.contains(&create.flags) {
            return Self::CreateTtl(create);
        }
        let CreateTtl {
            path,
            data,
            acl,
            flags,
            ttl_ms: _,
        } = create;
        let create = Create {
            path,
            data,
            acl,
            flags,
        };
        if flags == CONTAINER {
            return Self::CreateContainer(create);
        }
        Self::Create(create)
    }

    /// The opcode that says what is done.
    #[must_use]
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::CREATE,
            Self::Create2(_) => OpCode::CREATE2,
            Self::CreateContainer(_) => OpCode::CREATE_CONTAINER,
            Self::CreateTtl(_) => OpCode::CREATE_TTL,
            Self::Delete(_) => OpCode::DELETE,
            Self::SetData(_) => OpCode::SET_DATA,
            Self::Check(_) => OpCode::CHECK,
        }
    }

    /// Appends header and record, such that decoding gives the same op again.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Create(create) | Self::CreateContainer(create) if must_be_ttl(create) => {
                encode_create_as_ttl(create, out);
            }
            Self::Create(create) | Self::Create2(create) | Self::CreateContainer(create) => {
                MultiHeader::put_op(self.op(), out);
                create.encode(out);
            }
            Self::CreateTtl(create) => {
                MultiHeader::put_op(self.op(), out);
                create.encode(out);
            }
            Self::Delete(delete) => {
                MultiHeader::put_op(self.op(), out);
                delete.encode(out);
            }
            Self::SetData(set_data) => {
                MultiHeader::put_op(self.op(), out);
                set_data.encode(out);
            }
            Self::Check(check) => {
                MultiHeader::put_op(self.op(), out);
                check.encode(out);
            }
        }
    }

    /// Whether the path is there. ZooKeeper's multi cannot do without.
    fn has_path(&self) -> bool {
        match self {
            Self::Create(op) | Self::Create2(op) | Self::CreateContainer(op) => op.path.is_some(),
            Self::CreateTtl(op) => op.path.is_some(),
            Self::Delete(op) => op.path.is_some(),
            Self::SetData(op) => op.path.is_some(),
            Self::Check(op) => op.path.is_some(),
        }
    }
}

/// Whether only createTTL can carry this op, because under its own opcode it is refused.
fn must_be_ttl(create: &Create) -> bool {
    create.acl.is_none() || !(0..=CONTAINER).contains(&create.flags)
}

/// Appends an op that came as a createTTL without TTL flags. Cheap: nothing is copied.
fn encode_create_as_ttl(create: &Create, out: &mut BytesMut) {
    MultiHeader::put_op(OpCode::CREATE_TTL, out);
    create.encode(out);
    bytes::BufMut::put_i64(out, 0);
}

impl MultiReadOp {
    /// Reads the record behind a header with `op`.
    fn decode(op: OpCode, reader: &mut Reader) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let (decoded, has_path) = match op {
            OpCode::GET_CHILDREN => {
                let op = GetChildren::decode(reader)?;
                let has_path = op.path.is_some();
                (Self::GetChildren(op), has_path)
            }
            OpCode::GET_DATA => {
                let op = GetData::decode(reader)?;
                let has_path = op.path.is_some();
                (Self::GetData(op), has_path)
            }
            _ => {
                let kind = DecodeErrorKind::NotAllowedInMulti(op);
                return Err(DecodeError::new("op", offset, kind));
            }
        };
        match has_path {
            true => Ok(decoded),
            false => Err(DecodeError::new("path", offset, DecodeErrorKind::Null)),
        }
    }

    /// The opcode.
    #[must_use]
    pub fn op(&self) -> OpCode {
        match self {
            Self::GetChildren(_) => OpCode::GET_CHILDREN,
            Self::GetData(_) => OpCode::GET_DATA,
        }
    }

    /// Appends header and record.
    pub fn encode(&self, out: &mut BytesMut) {
        MultiHeader::put_op(self.op(), out);
        match self {
            Self::GetChildren(op) => op.encode(out),
            Self::GetData(op) => op.encode(out),
        }
    }
}
