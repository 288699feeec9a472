//! multiRead: some independent reads in one reply.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use jute::{ErrorCode, MultiRead, MultiReadOp, MultiResponse, OpCode, perms};

use super::reader::{LENGTH_BYTES, Reader, STAT_BYTES, given};
use super::stop::ReadStop;
use crate::state::record::path;
use crate::state::record::znode::Znode;
use crate::state::store::Missing;

/// Before each result of a multiRead, and at its end.
const MULTI_HEADER_BYTES: usize = 9;

impl Reader<'_> {
    /// A multiRead's items are independent: a refusal is one item's result.
    ///
    /// All are looked at before anything is copied: so what is missing is loaded together, and a
    /// small request for more than may be said takes no memory.
    pub(super) fn multi(&self, multi: &MultiRead, body: &mut BytesMut) -> Result<(), ReadStop> {
        let mut found = Vec::with_capacity(multi.ops.len());
        let mut bytes = MULTI_HEADER_BYTES;
        let mut is_missing = false;
        for op in &multi.ops {
            match self.item(op) {
                Ok((node, item_bytes)) => {
                    bytes = bytes.saturating_add(MULTI_HEADER_BYTES + item_bytes);
                    found.push(Ok(node));
                }
                Err(ReadStop::Refused(code)) if code != ErrorCode::MARSHALLING_ERROR => {
                    bytes = bytes.saturating_add(MULTI_HEADER_BYTES + LENGTH_BYTES);
                    found.push(Err(code));
                }
                Err(ReadStop::Missing(_)) => is_missing = true,
                Err(stop) => return Err(stop),
            }
        }
        if is_missing && bytes <= self.asker.bytes_max {
            let parts = multi.ops.iter().filter_map(|op| self.part(op));
            return Err(ReadStop::Missing(parts.collect()));
        }
        self.reserve(bytes, body)?;
        for (op, found) in multi.ops.iter().zip(found) {
            match found {
                Ok(node) => {
                    put_multi_header(op.op(), ErrorCode::OK, body);
                    match op {
                        MultiReadOp::GetChildren(get) => {
                            self.put_children(given(&get.path)?, &node, body)?;
                        }
                        MultiReadOp::GetData(_) => self.put_data(&node, body),
                    }
                }
                Err(code) => {
                    put_multi_header(OpCode::ERROR, code, body);
                    body.put_i32(code.0);
                }
            }
        }
        MultiResponse::encode_end(body);
        Ok(())
    }

    /// The znode of an item, and the bytes that it takes behind its header.
    fn item(&self, op: &MultiReadOp) -> Result<(Arc<Znode>, usize), ReadStop> {
        match op {
            MultiReadOp::GetChildren(get) => {
                let path = given(&get.path)?;
                let node = self.permitted(path, perms::READ)?;
                let bytes = self.names_bytes(path, &node)?;
                Ok((node, bytes))
            }
            MultiReadOp::GetData(get) => {
                let node = self.permitted(given(&get.path)?, perms::READ)?;
                let bytes = LENGTH_BYTES + node.data_bytes() + STAT_BYTES;
                Ok((node, bytes))
            }
        }
    }

    /// What an item looks at, as far as can be said before all of it is known.
    fn part(&self, op: &MultiReadOp) -> Option<Missing> {
        let (path, lists) = match op {
            MultiReadOp::GetChildren(get) => (given(&get.path).ok()?, true),
            MultiReadOp::GetData(get) => (given(&get.path).ok()?, false),
        };
        let path = path::resolve(path);
        if !path.starts_with('/') {
            return None;
        }
        let is_listed = || {
            let node = self.permitted(path, perms::READ);
            node.is_ok_and(|node| node.children > 0)
        };
        Some(if lists && is_listed() {
            Missing::Children(Arc::from(path))
        } else {
            Missing::Znode(Arc::from(path))
        })
    }
}

fn put_multi_header(op: OpCode, err: ErrorCode, body: &mut BytesMut) {
    body.put_i32(op.0);
    body.put_u8(0);
    body.put_i32(err.0);
}
