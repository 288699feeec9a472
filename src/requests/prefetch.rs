//! Looking ahead: one that reads znodes which are not in memory often reads many of them. What the
//! reads behind the head will miss is loaded together with what the head misses, since a hand-off to
//! the disk costs more than most loads.

use std::sync::Arc;

use bytes::Bytes;
use jute::{OpClass, Reader, Request, RequestHeader, Text};

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
            let Some((frame, behind)) = first_frame(rest) else {
                return;
            };
            rest = behind;
            let Some(request) = read_in(frame) else {
                return;
            };
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

/// The first frame of `bytes` and what is behind it, if it is whole and may be a read.
fn first_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    if length > READ_BYTES_MAX {
        return None;
    }
    rest.split_at_checked(length)
}

/// The request in a frame, if it is a read.
fn read_in(frame: &[u8]) -> Option<Request> {
    let mut reader = Reader::new(Bytes::copy_from_slice(frame));
    let header = RequestHeader::decode(&mut reader).ok()?;
    if header.op.class() != OpClass::Read {
        return None;
    }
    Request::decode(header.op, reader.rest()).ok()
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
        while let Some((frame, rest)) = first_frame(bytes) {
            bytes = rest;
            let Some(request) = read_in(frame) else {
                break;
            };
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

    #[test]
    fn lengths_are_not_believed() {
        for length in [-1, i32::MAX, 4097] {
            let bytes = [&length.to_be_bytes()[..], &[0; 8192]].concat();
            assert!(first_frame(&bytes).is_none(), "{length}");
        }
        assert!(first_frame(b"\0\0\0").is_none() && first_frame(b"").is_none());
    }
}
