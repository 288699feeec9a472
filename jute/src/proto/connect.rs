//! The handshake: the first frame in each direction, without headers.

use bytes::Bytes;

use crate::field::record;

record! {
    /// Opens a session or takes one up again.
    ///
    /// zk: ProtocolManager.deserializeConnectRequest: the last byte is optional, clients of the
    /// 3.3 line and go-zookeeper leave it out.
    pub struct ConnectRequest {
        /// 0; servers ignore it.
        pub protocol_version: i32,
        /// The highest zxid that the client has seen, 0 for none.
        pub last_zxid_seen: i64,
        /// The session timeout it asks for; any value.
        pub timeout_ms: i32,
        /// 0 for a new session.
        pub session_id: i64,
        /// 16 bytes by convention; anything for a new session.
        pub password: Option<Bytes>,
        /// Whether a read-only server will do. `None`: the byte is absent.
        pub read_only: Option<bool>,
    }
}

record! {
    /// Answers a ConnectRequest. Has the last byte if and only if the request had it.
    pub struct ConnectResponse {
        /// Always 0.
        pub protocol_version: i32,
        /// The negotiated session timeout; 0: the session is no longer valid.
        pub timeout_ms: i32,
        /// 0: the session is no longer valid.
        pub session_id: i64,
        /// Always 16 bytes: the C client has no room for more.
        pub password: Option<Bytes>,
        /// Whether this server is read-only. `None`: the byte is absent.
        pub read_only: Option<bool>,
    }
}
