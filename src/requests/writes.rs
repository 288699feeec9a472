//! What becomes a proposal: writes, and the end of a session.

use jute::{DecodeError, DecodeErrorKind, ErrorCode, OpCode, Request};

use super::client::{Client, Life};
use super::head::{Head, Served};
use super::pending::Awaits;
use super::step::Step;
use crate::ensemble::SubmitError;
use crate::state::{ActionRef, State};

impl Client {
    /// A write: checked to be decodable, then proposed as it came.
    pub(super) fn write(&mut self, state: &State, head: Head) -> Served {
        if !self.is_admitted() {
            if self.has_write_in_flight() {
                return Served::Stays(head, Step::Blocked);
            }
            return self.refuse_unadmitted(&head);
        }
        if let Err(error) = Request::decode(head.header.op, head.body.clone())
            && !takes_zxid(head.header.op, &error)
        {
            if self.has_write_in_flight() {
                return Served::Stays(head, Step::Blocked);
            }
            tracing::debug!(peer = %self.connection.peer, %error, "request refused");
            self.put_header(&head, state.last_zxid(), ErrorCode::MARSHALLING_ERROR);
            return Served::Done;
        }
        let action = ActionRef::Client {
            op: head.header.op,
            connection: self.connection.id.0,
            body: &head.body,
        };
        match self.propose(&head, action) {
            Ok(()) => {
                self.reconfigures = head.header.op == OpCode::RECONFIG;
                Served::Done
            }
            Err(SubmitError::Full) => Served::Stays(head, Step::Full),
            Err(SubmitError::Closed) => Served::End,
        }
    }

    fn propose(&mut self, head: &Head, action: ActionRef<'_>) -> Result<(), SubmitError> {
        let awaits = Awaits::Reply {
            xid: head.header.xid,
            op: head.header.op,
        };
        let session = self.connection.session();
        let xid = head.header.xid;
        self.leave_to_delivery();
        if !self.has_write_in_flight() {
            self.write_bytes = 0;
        }
        self.sequence = self.requests.propose_for(
            &self.connection,
            session,
            xid,
            action,
            awaits,
            self.arrived,
        )?;
        self.write_bytes = self.write_bytes.max(head.body.len());
        self.writes_proposed += 1;
        Ok(())
    }

    /// closeSession: behind everything this client sent; nothing is taken in after it.
    pub(super) fn close(&mut self, head: Head) -> Served {
        match self.propose(&head, ActionRef::CloseSession) {
            Ok(()) => {
                // Delivery ends the connection behind the reply; until then the inbox is ignored.
                self.life = Life::Leaving;
                Served::Done
            }
            Err(SubmitError::Full) => Served::Stays(head, Step::Full),
            Err(SubmitError::Closed) => Served::End,
        }
    }
}

/// True if a body that cannot be decoded is proposed all the same, to be refused with a zxid of its
/// own: ZooKeeper fetches the zxid of a multi before it reads the ops.
///
/// zk: PrepRequestProcessor.pRequestHelper, case multi: a null ACL fails before that.
fn takes_zxid(op: OpCode, error: &DecodeError) -> bool {
    op == OpCode::MULTI && !(error.kind == DecodeErrorKind::Null && error.field.ends_with("acl"))
}
