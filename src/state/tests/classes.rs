//! What the class of an opcode promises is what this room does.

use bytes::Bytes;
use jute::{ErrorCode, OpClass, OpCode, Request};

use super::world::{World, client, localhost};
use crate::state::{Outcome, ReadStop, Rules, SessionId};

/// A request of each opcode, of empty paths, or of no ops.
fn requests() -> Vec<Request> {
    let bodies: [&[u8]; 2] = [&[0; 64], b"\xff\xff\xff\xff\x01\xff\xff\xff\xff"];
    let requests = Request::OPS.iter().map(|op| {
        let decoded = bodies
            .iter()
            .find_map(|body| Request::decode(*op, Bytes::from_static(body)).ok());
        decoded.unwrap_or_else(|| panic!("{op} takes neither body"))
    });
    requests.collect()
}

#[test]
fn what_is_a_read_is_answered_and_nothing_else_is() {
    let world = World::new(Rules::default());
    for request in requests() {
        let read = world.read(&request, SessionId(1), &localhost());
        let refused = Err(ReadStop::Refused(ErrorCode::UNIMPLEMENTED));
        let is_read = request.op().class() == OpClass::Read;
        assert_eq!(read != refused, is_read, "{request:?}");
    }
}

#[test]
fn what_is_a_write_is_judged_and_nothing_else_is_but_a_check() {
    let mut world = World::new(Rules::default());
    for request in requests() {
        let proposal = world.proposal(SessionId(1), &localhost(), client(&request));
        let txns = world.apply(vec![proposal]);
        let refused = Outcome::Refused(ErrorCode::UNIMPLEMENTED);
        let op = request.op();
        let is_judged = op.class() == OpClass::Write || op == OpCode::CHECK;
        assert_eq!(txns[0].outcome != refused, is_judged, "{request:?}");
    }
}
