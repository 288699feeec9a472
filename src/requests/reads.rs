//! Requests that are answered on the connection's own task: reads, watches, sync, ping, auth.
//!
//! Each function appends its reply to `run` while the caller holds the state lock for reading.

use jute::{ErrorCode, OpClass, OpCode, ReplyHeader, Request, reply};

use super::behind::put_read;
use super::client::Client;
use super::counts::Answer;
use super::head::{Catchup, Head, Reached, Served};
use super::replies::{self, TooLong};
use super::step::Step;
use super::warm::Warm;
use super::watches::Watched;
use crate::metrics;
use crate::state::{Asker, ReadStop, State, Zxid};

impl Client {
    pub(super) fn read(&mut self, state: &State, mut head: Head) -> Served {
        self.parse(state, &mut head);
        let Some(request) = &head.request else {
            return Served::Done;
        };
        if let Reached::Counted { at, count, tries } = head.reached {
            return self.answer_count(state, head, at, count, tries);
        }
        if let Some(step) = self.step_for_share() {
            return Served::Stays(head, step);
        }
        let zxid = state.last_zxid();
        let identities = self.connection.identities();
        let bytes_max = self.bytes_max();
        let asker = Asker {
            session: self.connection.session(),
            identities: &identities,
            bytes_max,
        };
        match put_read(&mut self.run, state, asker, head.header.xid, request) {
            Ok(code) => {
                let shared = &self.requests.shared;
                shared.register(&self.connection, request, code);
                self.note_reply(&head, zxid);
                self.note_made();
                Served::Done
            }
            Err(ReadStop::Missing(missing)) => {
                let warm = Warm::all(missing, bytes_max);
                Served::Stays(head, Step::Warm(warm))
            }
            Err(ReadStop::TooLarge) => {
                if self.enlarge()
                    && let Some(step) = self.step_for_share()
                {
                    return Served::Stays(head, step);
                }
                self.note_too_large(head.header.op);
                Served::End
            }
            Err(ReadStop::Refused(_) | ReadStop::NeedsScan) => {
                let step = if let Request::GetAllChildrenNumber(wanted) = request {
                    Step::Count {
                        view: state.view(),
                        path: wanted.path.as_deref().unwrap_or_default().into(),
                        at: zxid,
                    }
                } else {
                    Step::End
                };
                Served::Stays(head, step)
            }
        }
    }

    /// The count was made without the lock: it is the answer if nothing has been applied since,
    /// or when three attempts were overtaken (then it is one that was true while it was asked).
    pub(super) fn answer_count(
        &mut self,
        state: &State,
        mut head: Head,
        at: Zxid,
        count: i32,
        tries: u32,
    ) -> Served {
        const TRIES_MAX: u32 = 3;
        if at != state.last_zxid() && tries < TRIES_MAX {
            let path = match &head.request {
                Some(Request::GetAllChildrenNumber(wanted)) => {
                    wanted.path.as_deref().unwrap_or_default().into()
                }
                _ => "".into(),
            };
            let step = Step::Count {
                view: state.view(),
                path,
                at: state.last_zxid(),
            };
            head.reached = Reached::Counted { at, count, tries };
            return Served::Stays(head, step);
        }
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: at.0,
            err: ErrorCode::OK,
        };
        let mark = reply::begin(&mut self.run, header);
        bytes::BufMut::put_i32(&mut self.run, count);
        self.finish(&head, mark, at)
    }

    pub(super) fn watch(&mut self, state: &State, mut head: Head) -> Served {
        self.parse(state, &mut head);
        let Some(request) = &head.request else {
            return Served::Done;
        };
        let from = match &head.reached {
            Reached::CatchingUp(catchup) => *catchup,
            Reached::New | Reached::Admitted { .. } | Reached::Synced | Reached::Counted { .. } => {
                Catchup::default()
            }
        };
        match self.serve_watch(state, request, from) {
            Watched::Reply(code) => {
                self.put_header(&head, state.last_zxid(), code);
                Served::Done
            }
            Watched::Added => {
                let mark = reply::begin(
                    &mut self.run,
                    ReplyHeader {
                        xid: head.header.xid,
                        zxid: state.last_zxid().0,
                        err: ErrorCode::OK,
                    },
                );
                bytes::BufMut::put_i32(&mut self.run, 0);
                self.finish(&head, mark, state.last_zxid())
            }
            Watched::Missing(catchup, missing) => {
                head.reached = Reached::CatchingUp(catchup);
                Served::Stays(head, Step::Warm(Warm::some(missing)))
            }
            Watched::TooLong => Served::End,
        }
    }

    pub(super) fn sync(&mut self, state: &State, mut head: Head) -> Served {
        self.parse(state, &mut head);
        let Some(request) = &head.request else {
            return Served::Done;
        };
        if !matches!(head.reached, Reached::Synced) {
            return Served::Stays(head, Step::Barrier);
        }
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: state.last_zxid().0,
            err: ErrorCode::OK,
        };
        let mark = reply::begin(&mut self.run, header);
        if let Request::Sync(sync) = request {
            jute::put_ustring(&mut self.run, sync.path.as_deref());
        }
        self.finish(&head, mark, state.last_zxid())
    }

    pub(super) fn ping(&mut self, state: &State, head: &Head) -> Served {
        let header = ReplyHeader {
            xid: reply::PING_XID,
            zxid: state.last_zxid().0,
            err: ErrorCode::OK,
        };
        reply::put_header_only(&mut self.run, header);
        self.note_reply(head, state.last_zxid());
        Served::Done
    }

    /// zk: ZooKeeperServer.processPacket for auth: zxid 0; a refusal closes the connection, not
    /// the session; a body that is no record does so without an answer. zk-differs: answered in request order, as kazoo and ClickHouse need it.
    pub(super) fn authenticate(&mut self, head: &Head) -> Served {
        let request = match Request::decode(OpCode::AUTH, head.body.clone()) {
            Ok(Request::Auth(request)) => request,
            // zk: read in processPacket, by the thread that reads the socket, and not by one that
            // answers what it cannot decode.
            Ok(_) | Err(_) => return Served::End,
        };
        let authenticated = self.requests.schemes.authenticate(
            request.scheme.as_deref(),
            request.auth.as_deref(),
            self.connection.peer.ip(),
            &self.connection.identities(),
        );
        match authenticated {
            Ok(identities) => {
                self.connection.set_identities(identities);
                self.put_aside(head, Zxid(0), ErrorCode::OK);
                Served::Done
            }
            Err(refused) => {
                tracing::debug!(peer = %self.connection.peer, %refused, "authentication refused");
                metrics::auth_failed();
                self.put_aside(head, Zxid(0), ErrorCode::AUTH_FAILED);
                Served::End
            }
        }
    }

    /// SASL is not configured: any token gets a null token, and the connection stays usable.
    ///
    /// zk: ZooKeeperServer.processSasl without a ZooKeeperSaslServer. protocol.md 11.5.
    pub(super) fn sasl(&mut self, head: &Head) -> Served {
        match Request::decode(OpCode::SASL, head.body.clone()) {
            Ok(Request::Sasl(step)) if step.token.is_some() => {}
            // zk: the length of a null token is asked for in the log line, which throws: close.
            Ok(_) | Err(_) => return Served::End,
        }
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: 0,
            err: ErrorCode::OK,
        };
        let mark = reply::begin(&mut self.run, header);
        jute::put_buffer(&mut self.run, None);
        match replies::finish(&mut self.run, mark) {
            Ok(()) => {
                self.note_aside();
                Served::Done
            }
            Err(TooLong) => Served::End,
        }
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.requests
            .schemes
            .admitted(&self.connection.identities())
    }

    /// zk: AuthenticationHelper.enforceAuthentication: -124, zxid 0, then close.
    pub(super) fn refuse_unadmitted(&mut self, head: &Head) -> Served {
        self.put_aside(head, Zxid(0), ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH);
        Served::End
    }

    /// Parses the body when its turn has come. One that is no record is answered here, and
    /// `head.request` stays empty.
    pub(super) fn parse(&mut self, state: &State, head: &mut Head) {
        if head.request.is_some() {
            return;
        }
        match Request::decode(head.header.op, head.body.clone()) {
            Ok(request) => head.request = Some(request),
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "request refused");
                self.put_header(head, state.last_zxid(), ErrorCode::MARSHALLING_ERROR);
            }
        }
    }

    /// Ends the frame of a reply to the head.
    fn finish(&mut self, head: &Head, mark: reply::Mark, zxid: Zxid) -> Served {
        match replies::finish(&mut self.run, mark) {
            Ok(()) => {
                self.note_reply(head, zxid);
                Served::Done
            }
            Err(TooLong) => Served::End,
        }
    }

    /// What the head needs is more than may be said.
    pub(super) fn note_too_large(&self, op: OpCode) {
        replies::note_too_large(&self.connection, op, self.requests.reply_bytes_max);
    }

    /// A reply that is a header, to a request that counts.
    pub(super) fn put_header(&mut self, head: &Head, zxid: Zxid, err: ErrorCode) {
        self.put_only_header(head, zxid, err);
        self.note_reply(head, zxid);
    }

    /// The same to one that does not, see [`Audience::count_aside`](super::audience::Audience).
    pub(super) fn put_aside(&mut self, head: &Head, zxid: Zxid, err: ErrorCode) {
        self.put_only_header(head, zxid, err);
        self.note_aside();
    }

    fn put_only_header(&mut self, head: &Head, zxid: Zxid, err: ErrorCode) {
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: zxid.0,
            err,
        };
        reply::put_header_only(&mut self.run, header);
    }

    fn note_aside(&self) {
        let bytes = self.run.len() - self.reply_from;
        self.requests.shared.count_aside(&self.connection, bytes);
    }

    fn note_reply(&self, head: &Head, zxid: Zxid) {
        let op = head.header.op;
        let answer = Answer {
            // A write that is answered here and not by delivery is refused.
            op: (op.class() != OpClass::Write).then_some(op),
            xid: head.header.xid,
            zxid,
            took: self.now.duration_since(self.arrived),
            frame_bytes: self.run.len() - self.reply_from,
        };
        let shared = &self.requests.shared;
        shared.count_answer(&self.connection, &answer);
        metrics::read_answered(answer.took);
    }
}
