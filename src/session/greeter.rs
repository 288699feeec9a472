//! What a ConnectRequest asks for: a new session, or its old one. Which sessions there are is judged
//! where proposals are applied, so that a server that lags tells no client that its session has expired.
//!
//! zk: ZooKeeperServer.processConnectRequest. protocol.md section 2.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::BytesMut;
use jute::{ConnectRequest, ConnectResponse};

use super::config::Config;
use super::throttle::{Throttle, Wants};
use crate::clock::Clock;
use crate::state::{SessionId, State, Zxid};

/// A session's secret, 16 bytes.
pub type Password = [u8; 16];

/// The answer to a ConnectRequest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// This server is behind what the client has seen: nothing that it says may be believed until it
    /// has applied this txn.
    Behind(Zxid),
    /// Propose this new session and answer when it is applied.
    Open(Granted),
    /// Propose that this connection gets the session and answer when it is applied.
    Attach(Granted),
    /// There can be no such session: the all-zero answer, then close.
    Invalid,
    /// Close without a word: this server cannot make a password.
    Unable,
}

/// What the client is granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The session.
    pub session: SessionId,
    /// Negotiated timeout, milliseconds.
    pub timeout_ms: i32,
    /// What to show for a renewal.
    pub password: Password,
}

/// Makes session ids and judges ConnectRequests.
#[derive(Debug)]
pub struct Greeter {
    config: Config,
    throttle: Throttle,
    next_id: AtomicI64,
}

impl Greeter {
    /// Ids start from this server's number and the clock.
    ///
    /// zk: SessionTrackerImpl.initializeNextSessionId. zk-differs: wall clock instead of a
    /// monotonic one, so that ids do not repeat after a reboot.
    pub fn new(config: Config, clock: &dyn Clock) -> Self {
        let time_bits = (clock.wall_ms() << 24).cast_unsigned() >> 8;
        let server_bits = u64::from(config.server_id) << 56;
        let first = (time_bits | server_bits).cast_signed();
        Self {
            config,
            throttle: Throttle::new(config.throttle),
            next_id: AtomicI64::new(first),
        }
    }

    /// Clamps the timeout that a client asks for to what this server grants, in milliseconds.
    ///
    /// zk: ZooKeeperServer.processConnectRequest.
    pub fn negotiate(&self, requested_ms: i32) -> i32 {
        let least = i32::try_from(self.config.timeout_ms_min).unwrap_or(i32::MAX);
        let most = i32::try_from(self.config.timeout_ms_max).unwrap_or(i32::MAX);
        requested_ms.max(least).min(most)
    }

    /// True if the throttle lets the client ask; to be called once for a request, however often
    /// [`Self::greet`] is then tried. False: close without a word.
    ///
    /// zk: ZooKeeperServer.processConnectRequest looks at the throttle before anything else.
    pub fn admits(&self, request: &ConnectRequest) -> bool {
        self.throttle
            .admits(if request.session_id == SessionId::NONE.0 {
                Wants::Open
            } else {
                Wants::Renew
            })
    }

    /// Judges a request against the state of this moment.
    ///
    /// The order of the checks is protocol.md 2.2. zk-differs: the password is checked before an
    /// old connection of the session is closed, so that nobody can cut a client off by its id.
    pub fn greet(&self, state: &State, request: &ConnectRequest) -> Greeting {
        if request.last_zxid_seen > state.last_zxid().0 {
            return Greeting::Behind(Zxid(request.last_zxid_seen));
        }
        let timeout_ms = self.negotiate(request.timeout_ms);
        if request.session_id == SessionId::NONE.0 {
            return match random_password() {
                Some(password) => Greeting::Open(Granted {
                    session: self.fresh_id(state),
                    timeout_ms,
                    password,
                }),
                None => Greeting::Unable,
            };
        }
        let shown = request.password.as_deref().unwrap_or_default();
        let Ok(password) = Password::try_from(shown) else {
            return Greeting::Invalid;
        };
        Greeting::Attach(Granted {
            session: SessionId(request.session_id),
            timeout_ms,
            password,
        })
    }

    /// The throttle, to be looked at.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    fn fresh_id(&self, state: &State) -> SessionId {
        loop {
            let id = SessionId(self.next_id.fetch_add(1, Ordering::Relaxed));
            if id != SessionId::NONE && id.0 != i64::MIN && state.session(id).is_none() {
                return id;
            }
        }
    }
}

/// 16 bytes that nobody can guess; `None` if the system has no randomness.
///
/// zk-differs: ZooKeeper derives the password from the id (DESIGN 4.5).
fn random_password() -> Option<Password> {
    let mut password = [0; 16];
    getrandom::fill(&mut password).ok()?;
    Some(password)
}

/// Appends the frame that answers a ConnectRequest. `granted` is `None` for an invalid session.
///
/// The readOnly byte is sent if and only if the request had it (protocol.md 2.1).
pub fn put_connect_response(out: &mut BytesMut, granted: Option<&Granted>, read_only_asked: bool) {
    let password = granted.map_or([0; 16], |granted| granted.password);
    let response = ConnectResponse {
        protocol_version: 0,
        timeout_ms: granted.map_or(0, |granted| granted.timeout_ms),
        session_id: granted.map_or(0, |granted| granted.session.0),
        password: Some(bytes::Bytes::copy_from_slice(&password)),
        read_only: read_only_asked.then_some(false),
    };
    let mark = jute::reply::begin_frame(out);
    response.encode(out);
    if let Err(error) = jute::reply::finish(out, mark) {
        // A ConnectResponse has 37 bytes: it always fits in a frame.
        tracing::error!(%error, "connect response dropped");
    }
}
