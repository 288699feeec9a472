//! Which of the bytes that come keep a session alive: whole requests, but not auth and sasl.
//!
//! ```text
//!   inbox:  auth | ping | au            each frame is looked at once, when it is whole, whatever
//!                       ^ looked_at     becomes of it later; its bytes may come one at a time
//! ```

use jute::{Cut, FrameCodec, OpCode};

/// How far an inbox has been looked at.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// All frames up to here have been seen whole; where the next one begins.
    looked_at: usize,
}

/// What has come since the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct News {
    /// So many frames have become whole.
    pub(super) frames: usize,
    /// Whether one of them keeps its session alive.
    pub(super) is_request: bool,
}

impl Heard {
    /// Looks at what has become whole.
    ///
    /// zk: ZooKeeperServer.submitRequestNow touches; processPacket answers auth and sasl before it.
    pub(super) fn look(&mut self, codec: &FrameCodec, inbox: &[u8]) -> News {
        let mut news = News::default();
        let mut left = inbox.get(self.looked_at..).unwrap_or_default();
        while let Ok(Cut::Whole { payload, rest }) = codec.cut(left) {
            news.frames += 1;
            news.is_request |= !matches!(op_of(payload), Some(OpCode::AUTH | OpCode::SASL));
            left = rest;
        }
        self.looked_at = inbox.len() - left.len();
        news
    }

    /// So many bytes were taken from the front of the inbox.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.looked_at = self.looked_at.saturating_sub(bytes);
    }
}

/// The second word of a header.
fn op_of(payload: &[u8]) -> Option<OpCode> {
    let op = payload.get(4..8)?.try_into().ok()?;
    Some(OpCode(i32::from_be_bytes(op)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(op: OpCode, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(8 + body.len()).unwrap();
        [length, 1, op.0]
            .map(i32::to_be_bytes)
            .concat()
            .into_iter()
            .chain(body.iter().copied())
            .collect()
    }

    #[test]
    fn only_whole_requests_keep_a_session_alive() {
        let codec = FrameCodec::new(1000);
        let auth = frame(OpCode::AUTH, b"whatever");
        let ping = frame(OpCode::PING, b"");
        let table: [(&[&[u8]], bool); 7] = [
            (&[], false),
            (&[&ping], true),
            (&[&ping[..ping.len() - 1]], false),
            (&[&auth], false),
            (&[&frame(OpCode::SASL, b"")], false),
            (&[&auth, &auth, &ping], true),
            (&[&frame(OpCode(777), b"")], true),
        ];
        for (parts, alive) in table {
            let news = Heard::default().look(&codec, &parts.concat());
            assert_eq!(news.is_request, alive, "{parts:?}");
        }
    }

    /// A request that has been there for long says nothing about its client any more.
    #[test]
    fn a_request_is_heard_once() {
        let codec = FrameCodec::new(1000);
        let mut heard = Heard::default();
        let mut inbox = frame(OpCode::PING, b"");
        assert!(heard.look(&codec, &inbox).is_request);
        let auth = frame(OpCode::AUTH, b"");
        for byte in &auth {
            inbox.push(*byte);
            assert!(!heard.look(&codec, &inbox).is_request);
        }
        inbox.extend(frame(OpCode::PING, b""));
        assert!(heard.look(&codec, &inbox).is_request);
    }

    /// What is served from the front is forgotten there, and nothing behind it is passed over.
    #[test]
    fn what_is_taken_from_the_front_shifts_the_rest() {
        let codec = FrameCodec::new(1000);
        for taken in 1..=3 {
            let mut heard = Heard::default();
            let ping = frame(OpCode::PING, b"");
            let mut inbox = [&ping[..], &ping, &ping, &ping[..5]].concat();
            assert_eq!(heard.look(&codec, &inbox).frames, 3);
            inbox.drain(..taken * ping.len());
            heard.taken(taken * ping.len());
            inbox.extend_from_slice(&ping[5..]);
            inbox.extend_from_slice(&ping);
            assert_eq!(heard.look(&codec, &inbox).frames, 2, "{taken}");
        }
    }

    /// A client that dribbles what keeps nobody alive costs no more than one that sends it at once.
    #[test]
    fn each_frame_is_looked_at_once() {
        let codec = FrameCodec::new(1000);
        let mut heard = Heard::default();
        let auth = frame(OpCode::AUTH, &[]);
        let frames = (1 << 20) / auth.len();
        let all = auth.repeat(frames);
        let (mut looked_at, mut come) = (0, 0);
        while come < all.len() {
            come = (come + 7).min(all.len());
            let news = heard.look(&codec, &all[..come]);
            assert!(!news.is_request);
            looked_at += news.frames;
        }
        assert_eq!(looked_at, frames);
    }

    /// Nothing is behind a length that is refused.
    #[test]
    fn a_frame_that_is_refused_is_no_request() {
        let codec = FrameCodec::new(100);
        for length in [-1, 101, i32::MAX] {
            let inbox = [&length.to_be_bytes()[..], &frame(OpCode::PING, b"")].concat();
            assert_eq!(Heard::default().look(&codec, &inbox), News::default());
        }
    }
}
