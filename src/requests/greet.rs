//! A connection's first frame: it asks for a session, new or its old one.

use std::sync::Arc;

use jute::{ConnectRequest, Reader};

use super::client::{Client, Head, Phase, Progress, Served};
use super::pending::Awaits;
use super::step::Step;
use crate::ensemble::SubmitError;
use crate::metrics;
use crate::session::{Greeting, put_connect_response};
use crate::state::{ActionRef, State};

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
        if matches!(head.progress, Progress::New) {
            if !requests.greeter.admits(&request) {
                tracing::debug!(peer = %self.connection.peer, "too many ask for sessions");
                metrics::connection_rejected();
                return Served::End;
            }
            metrics::session_asked(requests.greeter.throttle().deficit());
            head.progress = Progress::Admitted;
        }
        let clocks = &requests.shared.sessions;
        match requests.greeter.greet(state, clocks, &request) {
            Greeting::Behind => Served::End,
            Greeting::Invalid => {
                put_connect_response(&mut self.run, None, read_only_asked);
                requests.shared.count_besides(&self.connection);
                Served::End
            }
            Greeting::Renew(granted) => {
                let touch = clocks.of(granted.session);
                if let Some(touch) = &touch {
                    clocks.renew(touch, granted.timeout_ms);
                }
                self.connection.bind(granted.session, touch);
                self.inherited = requests.bind(granted.session, &self.connection);
                put_connect_response(&mut self.run, Some(&granted), read_only_asked);
                requests.shared.count_besides(&self.connection);
                self.begin_serving();
                Served::Done
            }
            Greeting::Open(granted) => {
                let password = granted.password;
                let action = ActionRef::OpenSession {
                    timeout_ms: granted.timeout_ms,
                    password: &password,
                };
                let session = granted.session;
                let awaits = Awaits::Session {
                    granted,
                    read_only_asked,
                };
                match requests.submit(&self.connection, session, 0, action, awaits, self.arrived) {
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
        }
    }

    fn begin_serving(&mut self) {
        self.phase = Phase::Serving;
        self.codec.set_max(self.requests.frame_bytes_max);
    }
}
