//! Requests about the connection itself and about the ensemble.

use bytes::Bytes;

use crate::field::record;
use crate::{ClientInfo, GetDataResponse, Text};

record! {
    /// Adds an identity to the connection. Its success has no record.
    pub struct Auth {
        /// 0; servers ignore it.
        pub kind: i32,
        /// Which scheme the credentials are for.
        pub scheme: Option<Text>,
        /// The credentials, for `digest` `user:password`.
        pub auth: Option<Bytes>,
    }
}

record! {
    /// One step of a SASL exchange.
    pub struct Sasl {
        /// The mechanism's bytes.
        pub token: Option<Bytes>,
    }
}

record! {
    /// Answers a step of a SASL exchange, also when it failed.
    pub struct SaslResponse {
        /// The mechanism's bytes; null after a failure, and where SASL is not configured.
        pub token: Option<Bytes>,
    }
}

record! {
    /// Answers whoAmI.
    pub struct WhoAmIResponse {
        /// One for each identity of the connection, in no specified order.
        pub clients: Vec<ClientInfo>,
    }
}

record! {
    /// Changes the members of the ensemble: either joining and leaving ones, or all anew.
    pub struct Reconfig {
        /// `server.N=...` lines, comma separated.
        pub joining_servers: Option<Text>,
        /// Server ids, comma separated.
        pub leaving_servers: Option<Text>,
        /// The whole new membership.
        pub new_members: Option<Text>,
        /// The version of the config that the change is meant for, -1 for any.
        pub cur_config_id: i64,
    }
}

/// Answers reconfig: the new config's text and the Stat of its znode.
pub type ReconfigResponse = GetDataResponse;
