//! [`Request`]: everything that a client may send after the handshake.

use bytes::{Bytes, BytesMut};

use super::{
    AddWatch, Auth, Check, CheckWatches, Create, CreateTtl, Delete, Exists, GetAcl,
    GetAllChildrenNumber, GetChildren, GetChildren2, GetData, GetEphemerals, Multi, MultiRead,
    Reconfig, RemoveWatches, Sasl, SetAcl, SetData, SetWatches, SetWatches2, Sync,
};
use crate::{DecodeError, DecodeErrorKind, OpCode, Reader};

/// Defines the request enum from one table: opcodes with a record, then those without.
macro_rules! requests {
    (
        $(#[$meta:meta])*
        pub enum Request {
            $( $(#[$doc:meta])* $variant:ident($record:ident) = $op:ident, )+
            ;
            $( $(#[$bare_doc:meta])* $bare:ident = $bare_op:ident, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request {
            $( $(#[$doc])* $variant($record), )+
            $( $(#[$bare_doc])* $bare, )+
        }

        impl Request {
            /// Reads the body of a request, the part behind its header. Bytes behind the record
            /// are ignored, as ZooKeeper does.
            ///
            /// # Errors
            /// `UnknownOpCode`, also for opcodes that are internal to ZooKeeper: answer
            /// UNIMPLEMENTED and close. Everything else: answer MARSHALLING_ERROR.
            pub fn decode(op: OpCode, body: Bytes) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(body);
                Ok(match op {
                    $( OpCode::$op => Self::$variant($record::decode(&mut reader)?), )+
                    $( OpCode::$bare_op => Self::$bare, )+
                    _ => {
                        let kind = DecodeErrorKind::UnknownOpCode(op);
                        return Err(DecodeError::new("op", 0, kind));
                    }
                })
            }

            /// The opcode that it is sent with.
            #[must_use]
            pub fn op(&self) -> OpCode {
                match self {
                    $( Self::$variant(_) => OpCode::$op, )+
                    $( Self::$bare => OpCode::$bare_op, )+
                }
            }

            /// Appends the body, the part behind the header.
            pub fn encode_body(&self, out: &mut BytesMut) {
                match self {
                    $( Self::$variant(record) => record.encode(out), )+
                    $( Self::$bare => {} )+
                }
            }

            /// Every opcode that has a request.
            pub const OPS: &'static [OpCode] =
                &[$( OpCode::$op, )+ $( OpCode::$bare_op, )+];
        }

        #[cfg(test)]
        impl crate::tests::sample::Sample for Request {
            fn sample() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::{Just, Strategy as _, Union};
                Union::new([
                    $( <$record as crate::tests::sample::Sample>::sample()
                        .prop_map(Self::$variant)
                        .boxed(), )+
                    $( Just(Self::$bare).boxed(), )+
                ])
                .boxed()
            }
        }
    };
}

requests! {
    /// A request, without its header.
    ///
    /// zk: ZooDefs.OpCode. Not among them, and refused: deleteContainer, createSession,
    /// notification and error, which are internal to ZooKeeper.
    /// zk-differs: ZooKeeper takes deleteContainer and createSession from clients and so lets
    /// them go around ACLs.
    pub enum Request {
        /// Creates a znode; answers its path.
        Create(Create) = CREATE,
        /// Creates a znode; answers its path and Stat.
        Create2(Create) = CREATE2,
        /// Creates a container.
        CreateContainer(Create) = CREATE_CONTAINER,
        /// Creates a znode with a time to live.
        CreateTtl(CreateTtl) = CREATE_TTL,
        /// Deletes a znode.
        Delete(Delete) = DELETE,
        /// Asks for a znode's Stat.
        Exists(Exists) = EXISTS,
        /// Asks for a znode's data and Stat.
        GetData(GetData) = GET_DATA,
        /// Replaces a znode's data.
        SetData(SetData) = SET_DATA,
        /// Asks for a znode's ACL and Stat.
        GetAcl(GetAcl) = GET_ACL,
        /// Replaces a znode's ACL.
        SetAcl(SetAcl) = SET_ACL,
        /// Asks for the names of the children.
        GetChildren(GetChildren) = GET_CHILDREN,
        /// Asks for the names of the children and the Stat.
        GetChildren2(GetChildren2) = GET_CHILDREN2,
        /// Waits until this server has caught up with the leader.
        Sync(Sync) = SYNC,
        /// Compares a version; as a request of its own it is refused by the server.
        Check(Check) = CHECK,
        /// Several writes, all or none.
        Multi(Multi) = MULTI,
        /// Several reads.
        MultiRead(MultiRead) = MULTI_READ,
        /// Changes the members of the ensemble.
        Reconfig(Reconfig) = RECONFIG,
        /// Asks whether a watch is set.
        CheckWatches(CheckWatches) = CHECK_WATCHES,
        /// Removes watches.
        RemoveWatches(RemoveWatches) = REMOVE_WATCHES,
        /// Adds an identity to the connection.
        Auth(Auth) = AUTH,
        /// Sets watches again after a reconnect.
        SetWatches(SetWatches) = SET_WATCHES,
        /// Sets watches again after a reconnect, persistent ones too.
        SetWatches2(SetWatches2) = SET_WATCHES2,
        /// One step of a SASL exchange.
        Sasl(Sasl) = SASL,
        /// Asks for the session's own ephemerals.
        GetEphemerals(GetEphemerals) = GET_EPHEMERALS,
        /// Asks for the number of all descendants.
        GetAllChildrenNumber(GetAllChildrenNumber) = GET_ALL_CHILDREN_NUMBER,
        /// Sets a persistent watch.
        AddWatch(AddWatch) = ADD_WATCH,
        ;
        /// Keeps the session alive.
        Ping = PING,
        /// Asks for the connection's identities.
        WhoAmI = WHO_AM_I,
        /// Ends the session.
        CloseSession = CLOSE_SESSION,
    }
}
