//! What stands in front of a record.

use bytes::BytesMut;

use crate::field::record;
use crate::{ErrorCode, OpCode};

record! {
    /// In front of every request after the handshake.
    #[derive(Copy)]
    pub struct RequestHeader {
        /// The client's number for the request, echoed by the reply. Any value.
        pub xid: i32,
        /// What is asked for; it alone decides, never the xid.
        pub op: OpCode,
    }
}

record! {
    /// In front of every reply and event after the handshake.
    #[derive(Copy)]
    pub struct ReplyHeader {
        /// The request's, or -1 for an event.
        pub xid: i32,
        /// Zxid of the write, or the last one applied for a read.
        pub zxid: i64,
        /// Unless it is OK, no record follows.
        pub err: ErrorCode,
    }
}

impl ReplyHeader {
    /// Size on the wire.
    pub(crate) const BYTES: usize = 16;
    /// The same, as the length of a frame that holds nothing else.
    pub(crate) const LENGTH: i32 = 16;
}

record! {
    /// In front of every op and result inside a multi, and once at its end.
    #[derive(Copy)]
    pub struct MultiHeader {
        /// The op's code or the result's, -1 for an error and at the end.
        pub op: OpCode,
        /// True at the end, where no record follows.
        pub done: bool,
        /// -1 in a request and at the end, otherwise the result's code.
        pub err: i32,
    }
}

impl MultiHeader {
    /// Stands behind the last op or result.
    pub(crate) const END: Self = Self {
        op: OpCode::ERROR,
        done: true,
        err: -1,
    };

    /// Appends the header of an op in a request.
    pub(crate) fn put_op(op: OpCode, out: &mut BytesMut) {
        Self {
            op,
            done: false,
            err: -1,
        }
        .encode(out);
    }

    /// Appends the header of a result in a response.
    pub(crate) fn put_result(op: OpCode, err: ErrorCode, out: &mut BytesMut) {
        Self {
            op,
            done: false,
            err: err.0,
        }
        .encode(out);
    }
}
