//! Looking ahead: one that reads znodes which are not in memory often reads many of them. What the
//! reads behind the head will miss is loaded together with what the head misses, since a hand-off to
//! the disk costs more than most loads.

use std::sync::Arc;

use bytes::Bytes;
use jute::{Cut, FrameCodec, OpClass, Reader, Request, RequestHeader, Text};

use super::client::Client;
use crate::state::{Missing, Peek, State};

/// Frames that are looked at.
const FRAMES_MAX: usize = 64;
/// A longer frame is no read, in bytes.
const READ_BYTES_MAX: usize = 4096;

impl Client {
    /// Adds to `missing` the znodes that the run of reads in the inbox will not find in memory.
    ///
    /// Takes nothing out of the inbox: each read is served when its turn comes, and misses again if
    /// what was loaded for it is gone by then (`warm.rs`).
    pub(super) fn look_ahead(&self, state: &State, missing: &mut Vec<Missing>) {
        let mut rest: &[u8] = &self.inbox;
        for _ in 0..FRAMES_MAX {
            let Some((request, behind)) = first_read(rest) else {
                return;
            };
            rest = behind;
            let Some(path) = path_of(&request).filter(|path| path.starts_with('/')) else {
                continue;
            };
            if matches!(state.peek_znode(path), Peek::NotInMemory) {
                let znode = Missing::Znode(Arc::from(path.as_str()));
                if !missing.contains(&znode) {
                    missing.push(znode);
                }
            }
        }
    }
}

/// The request in the frame that `bytes` begin with, if it is whole and a read, and what is behind it.
fn first_read(bytes: &[u8]) -> Option<(Request, &[u8])> {
    let Ok(Cut::Whole { payload, rest }) = FrameCodec::new(READ_BYTES_MAX).cut(bytes) else {
        return None;
    };
    let mut reader = Reader::new(Bytes::copy_from_slice(payload));
    let header = RequestHeader::decode(&mut reader).ok()?;
    if header.op.class() != OpClass::Read {
        return None;
    }
    let request = Request::decode(header.op, reader.rest()).ok()?;
    Some((request, rest))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no other request reads a single znode"
)]
fn path_of(request: &Request) -> Option<&Text> {
    match request {
        Request::Exists(read) => read.path.as_ref(),
        Request::GetData(read) => read.path.as_ref(),
        Request::GetAcl(read) => read.path.as_ref(),
        Request::GetChildren(read) => read.path.as_ref(),
        Request::GetChildren2(read) => read.path.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// exists "/a" with xid 1 and no watch, as it comes.
    const EXISTS: &[u8] = b"\0\0\0\x0f\0\0\0\x01\0\0\0\x03\0\0\0\x02/a\0";
    /// A ping.
    const PING: &[u8] = b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b";

    fn paths(mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let Some((request, rest)) = first_read(bytes) {
            bytes = rest;
            found.extend(path_of(&request).map(ToString::to_string));
        }
        found
    }

    #[test]
    fn a_run_of_reads_ends_at_what_is_none() {
        assert_eq!(paths(&[EXISTS, EXISTS].concat()), ["/a", "/a"]);
        assert_eq!(paths(&[EXISTS, PING, EXISTS].concat()), ["/a"]);
        let half = &EXISTS[..10];
        assert_eq!(paths(&[EXISTS, half].concat()), ["/a"]);
    }

    /// exists of a path that makes the frame so long, with this for its length.
    fn exists(length: i32, payload_bytes: i32) -> Vec<u8> {
        let path_bytes = payload_bytes - 13;
        let mut bytes = [length, 1, 3, path_bytes].map(i32::to_be_bytes).concat();
        bytes.push(b'/');
        bytes.resize(4 + usize::try_from(payload_bytes).unwrap() - 1, b'a');
        bytes.push(0);
        bytes
    }

    #[test]
    fn lengths_are_not_believed() {
        let longest = i32::try_from(READ_BYTES_MAX).unwrap();
        assert!(first_read(&exists(longest, longest)).is_some());
        assert!(first_read(&exists(longest + 1, longest + 1)).is_none());
        for length in [-1, i32::MAX, longest + 1] {
            assert!(first_read(&exists(length, longest)).is_none(), "{length}");
        }
        assert!(first_read(b"\0\0\0").is_none() && first_read(b"").is_none());
    }
}
