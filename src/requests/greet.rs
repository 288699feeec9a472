//! A connection's first frame: it asks for a session, new or its old one.

use std::sync::Arc;

use jute::{ConnectRequest, Reader};

use super::client::{Client, Life};
use super::head::{Head, Reached, Served};
use super::pending::{Asked, Awaits};
use super::step::Step;
use crate::ensemble::SubmitError;
use crate::metrics;
use crate::planted::{self, Defect};
use crate::session::{Granted, Greeting, put_connect_response};
use crate::state::{ActionRef, SessionRecord, State, Zxid};

impl Client {
    /// The first frame. zk: ZooKeeperServer.processConnectRequest.
    pub(super) fn greet(&mut self, state: &State, mut head: Head) -> Served {
        let request = match ConnectRequest::decode(&mut Reader::new(head.body.clone())) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "connect request refused");
                return Served::End;
            }
        };
        let read_only_asked = request.read_only.is_some();
        let requests = Arc::clone(&self.requests);
        if !requests.ensemble.admits() {
            tracing::debug!(peer = %self.connection.peer, "not serving: a client is sent away");
            return Served::End;
        }
        if matches!(head.reached, Reached::New) {
            if !requests.greeter.admits(&request) {
                tracing::debug!(peer = %self.connection.peer, "too many ask for sessions");
                metrics::connection_rejected();
                return Served::End;
            }
            metrics::session_asked(requests.greeter.throttle().deficit());
            let until = self.now + requests.catch_up_time;
            head.reached = Reached::Admitted { until };
        }
        let (granted, asked) = match requests.greeter.greet(state, &request) {
            Greeting::Behind(zxid) => return self.behind(head, zxid),
            Greeting::Unable => return Served::End,
            Greeting::Attach(granted) if self.is_judged_here(state, &granted) => {
                return self.expired(read_only_asked);
            }
            Greeting::Invalid => return self.expired(read_only_asked),
            Greeting::Open(granted) => (granted, Asked::New),
            Greeting::Attach(granted) if !is_known(state, &granted) => {
                if self.knows_all(&head) {
                    return self.expired(read_only_asked);
                }
                return Served::Stays(head, Step::Barrier);
            }
            Greeting::Attach(granted) if self.lives(state, &granted) => (granted, Asked::Told),
            Greeting::Attach(granted) => (granted, Asked::Old),
        };
        // Whatever it waits for now, it has been heard of. zk: ZooKeeperServer.reopenSession.
        if let Some(clock) = requests.shared.sessions.of(granted.session) {
            requests.shared.sessions.touch(&clock);
        }
        match self.ask(granted.clone(), asked, read_only_asked) {
            Ok(sequence) => {
                self.sequence = sequence;
                self.writes_proposed += 1;
                self.begin_serving();
                if asked == Asked::Told {
                    let touch = requests.shared.sessions.of(granted.session);
                    self.connection.bind(granted.session, touch);
                    put_connect_response(&mut self.run, Some(&granted), read_only_asked);
                    requests.shared.count_besides(&self.connection);
                }
                Served::Done
            }
            Err(SubmitError::Full) => Served::Stays(head, Step::Full),
            Err(SubmitError::Closed) => Served::End,
        }
    }

    /// This server is behind what the client has seen; it may catch up while the client waits, but not
    /// for long: there are others.
    ///
    /// zk-differs: ZooKeeper closes such a connection at once, and the client tries the next server.
    fn behind(&self, head: Head, zxid: Zxid) -> Served {
        if let Reached::Admitted { until } = head.reached
            && until > self.now
        {
            return Served::Stays(head, Step::Behind { zxid, until });
        }
        tracing::debug!(peer = %self.connection.peer, %zxid, "the client has seen more");
        Served::End
    }

    /// A defect that may be planted: what this server has not applied does not exist.
    #[expect(clippy::unused_self, reason = "reads as what the client is told")]
    fn is_judged_here(&self, state: &State, granted: &Granted) -> bool {
        planted::has(Defect::AttachJudgedLocally) && state.session(granted.session).is_none()
    }

    /// Whether it is certain that the session lives, as nobody knows more than this server: then its
    /// client need not wait for the disk to be told so. What it asks next does: it is behind a write.
    fn lives(&self, state: &State, granted: &Granted) -> bool {
        let clock = || self.requests.shared.sessions.of(granted.session);
        self.requests.is_only_server()
            && is_known(state, granted)
            && clock().is_some_and(|clock| !clock.closing())
    }

    /// Whether every session whose client could ask for it is known here: there are no others, or a
    /// quorum has said since it asked up to where this server had to come. Then what is not known
    /// needs no log and no disk to be refused: else anybody could make them work.
    ///
    /// zk: ZooKeeperServer.reopenSession and Learner.validateSession: neither is a txn.
    fn knows_all(&self, head: &Head) -> bool {
        self.requests.is_only_server() || matches!(head.reached, Reached::Synced)
    }

    /// Tells the client that it has no session.
    fn expired(&mut self, read_only_asked: bool) -> Served {
        put_connect_response(&mut self.run, None, read_only_asked);
        self.requests.shared.count_besides(&self.connection);
        Served::End
    }

    /// Proposes what the client gets if there is nothing against it.
    fn ask(
        &self,
        granted: Granted,
        asked: Asked,
        read_only_asked: bool,
    ) -> Result<u64, SubmitError> {
        let (session, timeout_ms, password) =
            (granted.session, granted.timeout_ms, granted.password);
        let connection = self.connection.id.0;
        let action = match asked {
            Asked::New => ActionRef::OpenSession {
                connection,
                timeout_ms,
                password: &password,
            },
            Asked::Old | Asked::Told => ActionRef::Attach {
                connection,
                timeout_ms,
                password: &password,
            },
        };
        let awaits = Awaits::Session {
            granted,
            asked,
            read_only_asked,
        };
        let requests = &self.requests;
        requests.propose_for(&self.connection, session, 0, action, awaits, self.arrived)
    }

    fn begin_serving(&mut self) {
        self.life = Life::Serving;
        self.codec.set_max(self.requests.frame_bytes_max);
    }
}

/// Whether there is such a session, with this password, as far as this server has come.
fn is_known(state: &State, granted: &Granted) -> bool {
    let has_password = |it: &SessionRecord| it.password == granted.password;
    state.session(granted.session).is_some_and(has_password)
}
