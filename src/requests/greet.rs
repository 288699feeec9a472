//! A connection's first frame: it asks for a session, new or its old one.

use std::sync::Arc;

use jute::{ConnectRequest, Reader};

use super::client::{Client, Head, Phase, Progress, Served};
use super::pending::{Asked, Awaits};
use super::step::Step;
use crate::ensemble::SubmitError;
use crate::metrics;
use crate::session::{Granted, Greeting, put_connect_response};
use crate::state::{ActionRef, State, Zxid};

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
        if matches!(head.progress, Progress::New) {
            if !requests.greeter.admits(&request) {
                tracing::debug!(peer = %self.connection.peer, "too many ask for sessions");
                metrics::connection_rejected();
                return Served::End;
            }
            metrics::session_asked(requests.greeter.throttle().deficit());
            let until = self.now + requests.catch_up_time;
            head.progress = Progress::Admitted { until };
        }
        let (granted, asked) = match requests.greeter.greet(state, &request) {
            Greeting::Behind(zxid) => return self.behind(head, zxid),
            Greeting::Unable => return Served::End,
            Greeting::Invalid => {
                put_connect_response(&mut self.run, None, read_only_asked);
                requests.shared.count_besides(&self.connection);
                return Served::End;
            }
            Greeting::Open(granted) => (granted, Asked::New),
            Greeting::Attach(granted) => (granted, Asked::Old),
        };
        match self.ask(granted, asked, read_only_asked) {
            Ok(sequence) => {
                self.sequence = sequence;
                self.writes_proposed += 1;
                self.begin_serving();
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
        if let Progress::Admitted { until } = head.progress
            && until > self.now
        {
            return Served::Stays(head, Step::Behind { zxid, until });
        }
        tracing::debug!(peer = %self.connection.peer, %zxid, "the client has seen more");
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
            Asked::Old => ActionRef::Attach {
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
        requests.submit(&self.connection, session, 0, action, awaits, self.arrived)
    }

    fn begin_serving(&mut self) {
        self.phase = Phase::Serving;
        self.codec.set_max(self.requests.frame_bytes_max);
    }
}
