//! The two open enums of the protocol: opcodes and error codes.
//!
//! Values that nobody has heard of are kept: what to do about one is the server's business.

use std::fmt;

/// Defines an open enum: a newtype with a constant and a name per known value.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])* $constant:ident = $value:literal, $text:literal; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i32);

        impl $name {
            $( $(#[$doc])* pub const $constant: Self = Self($value); )*

            /// Every known value, in the order of definition.
            pub const ALL: &'static [Self] = &[$( Self::$constant, )*];

            /// ZooKeeper's name of the value, `unknown` for one that it does not know.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$constant => $text, )*
                    _ => "unknown",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} ({})", self.name(), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<i32> for $name {
            fn from(value: i32) -> Self {
                Self(value)
            }
        }
    };
}

open_enum! {
    /// What a request asks for. zk: ZooDefs.OpCode, names from Request.op2String.
    pub struct OpCode {
        /// Never valid as a request.
        NOTIFICATION = 0, "notification";
        /// Creates a znode; answers its path.
        CREATE = 1, "create";
        /// Deletes a znode.
        DELETE = 2, "delete";
        /// Asks for a znode's Stat.
        EXISTS = 3, "exists";
        /// Asks for a znode's data and Stat.
        GET_DATA = 4, "getData";
        /// Replaces a znode's data.
        SET_DATA = 5, "setData";
        /// Asks for a znode's ACL and Stat.
        GET_ACL = 6, "getACL";
        /// Replaces a znode's ACL.
        SET_ACL = 7, "setACL";
        /// Asks for the names of the children.
        GET_CHILDREN = 8, "getChildren";
        /// Waits until this server has caught up with the leader.
        SYNC = 9, "sync";
        /// Keeps the session alive.
        PING = 11, "ping";
        /// Asks for the names of the children and the Stat.
        GET_CHILDREN2 = 12, "getChildren2";
        /// Compares a version; only inside a multi.
        CHECK = 13, "check";
        /// Several writes, all or none.
        MULTI = 14, "multi";
        /// Creates a znode; answers its path and Stat.
        CREATE2 = 15, "create2";
        /// Changes the members of the ensemble.
        RECONFIG = 16, "reconfig";
        /// Asks whether a watch is set.
        CHECK_WATCHES = 17, "checkWatches";
        /// Removes watches.
        REMOVE_WATCHES = 18, "removeWatches";
        /// Creates a container.
        CREATE_CONTAINER = 19, "createContainer";
        /// Internal to ZooKeeper; refused from clients.
        DELETE_CONTAINER = 20, "deleteContainer";
        /// Creates a znode with a time to live.
        CREATE_TTL = 21, "createTTL";
        /// Several reads, answered one by one.
        MULTI_READ = 22, "multiRead";
        /// Adds an identity to the connection.
        AUTH = 100, "auth";
        /// Sets watches again after a reconnect.
        SET_WATCHES = 101, "setWatches";
        /// One step of a SASL exchange.
        SASL = 102, "sasl";
        /// Asks for the session's own ephemerals.
        GET_EPHEMERALS = 103, "getEphemerals";
        /// Asks for the number of all descendants.
        GET_ALL_CHILDREN_NUMBER = 104, "getAllChildrenNumber";
        /// Sets watches again after a reconnect, persistent ones too.
        SET_WATCHES2 = 105, "setWatches2";
        /// Sets a persistent watch.
        ADD_WATCH = 106, "addWatch";
        /// Asks for the connection's identities.
        WHO_AM_I = 107, "whoAmI";
        /// Internal to ZooKeeper; refused from clients.
        CREATE_SESSION = -10, "createSession";
        /// Ends the session.
        CLOSE_SESSION = -11, "closeSession";
        /// Never valid as a request; marks a failed result in a multi.
        ERROR = -1, "error";
    }
}

open_enum! {
    /// How a request ended. zk: KeeperException.Code.
    pub struct ErrorCode {
        /// Success; inside a failed multi: would have succeeded, rolled back.
        OK = 0, "OK";
        /// A marker of a range, never sent.
        SYSTEM_ERROR = -1, "SYSTEMERROR";
        /// Inside a failed multi: an op behind the one that failed, not judged.
        RUNTIME_INCONSISTENCY = -2, "RUNTIMEINCONSISTENCY";
        /// Never sent.
        DATA_INCONSISTENCY = -3, "DATAINCONSISTENCY";
        /// Made by clients, never sent.
        CONNECTION_LOSS = -4, "CONNECTIONLOSS";
        /// The request cannot be decoded, or holds null where a value is needed.
        MARSHALLING_ERROR = -5, "MARSHALLINGERROR";
        /// Unknown opcode, or a feature that is switched off.
        UNIMPLEMENTED = -6, "UNIMPLEMENTED";
        /// Made by clients, never sent.
        OPERATION_TIMEOUT = -7, "OPERATIONTIMEOUT";
        /// A bad path, bad flags or a bad TTL.
        BAD_ARGUMENTS = -8, "BADARGUMENTS";
        /// Internal to ZooKeeper, never sent.
        UNKNOWN_SESSION = -12, "UNKNOWNSESSION";
        /// The new configuration has no quorum that is connected and up to date.
        NEW_CONFIG_NO_QUORUM = -13, "NEWCONFIGNOQUORUM";
        /// Another reconfiguration has not ended yet.
        RECONFIG_IN_PROGRESS = -14, "RECONFIGINPROGRESS";
        /// A marker of a range, never sent.
        API_ERROR = -100, "APIERROR";
        /// The znode does not exist.
        NO_NODE = -101, "NONODE";
        /// The ACL does not permit it.
        NO_AUTH = -102, "NOAUTH";
        /// The expected version is not the current one.
        BAD_VERSION = -103, "BADVERSION";
        /// The parent is ephemeral.
        NO_CHILDREN_FOR_EPHEMERALS = -108, "NOCHILDRENFOREPHEMERALS";
        /// The znode exists already.
        NODE_EXISTS = -110, "NODEEXISTS";
        /// The znode has children.
        NOT_EMPTY = -111, "NOTEMPTY";
        /// The session has ended.
        SESSION_EXPIRED = -112, "SESSIONEXPIRED";
        /// Made by clients, never sent.
        INVALID_CALLBACK = -113, "INVALIDCALLBACK";
        /// The ACL is empty or has an entry that no scheme accepts.
        INVALID_ACL = -114, "INVALIDACL";
        /// The credentials were refused.
        AUTH_FAILED = -115, "AUTHFAILED";
        /// The session is served by another server now.
        SESSION_MOVED = -118, "SESSIONMOVED";
        /// A write or a sync on a read-only server.
        NOT_READ_ONLY = -119, "NOTREADONLY";
        /// An ephemeral in a local session that may not become a global one.
        EPHEMERAL_ON_LOCAL_SESSION = -120, "EPHEMERALONLOCALSESSION";
        /// There is no such watch.
        NO_WATCHER = -121, "NOWATCHER";
        /// Made by clients, never sent.
        REQUEST_TIMEOUT = -122, "REQUESTTIMEOUT";
        /// Reconfiguration is switched off.
        RECONFIG_DISABLED = -123, "RECONFIGDISABLED";
        /// The server demands an authentication that the connection has not done.
        SESSION_CLOSED_REQUIRE_SASL_AUTH = -124, "SESSIONCLOSEDREQUIRESASLAUTH";
        /// A hard quota would be exceeded.
        QUOTA_EXCEEDED = -125, "QUOTAEXCEEDED";
        /// The request waited for too long and was not executed.
        THROTTLED_OP = -127, "THROTTLEDOP";
    }
}
