//! What kind of work an opcode is: the one table of it.

use crate::OpCode;

/// What kind of work an opcode is. The opcode decides, never the xid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpClass {
    /// Changes the tree, if it may.
    Write,
    /// Answered from the tree or from what is known of the session.
    Read,
    /// Registers, removes or looks at watches of a connection.
    Watch,
    /// Waits until a server has caught up with the leader.
    Sync,
    /// Keeps the session alive.
    Ping,
    /// Adds an identity to the connection.
    Auth,
    /// A step of SASL.
    Sasl,
    /// Ends the session.
    Close,
    /// None that a client may send.
    Unknown,
}

impl OpCode {
    /// Its class. Opcodes that are internal to ZooKeeper are unknown when a client sends them, and
    /// so is `check` outside a multi.
    ///
    /// zk: Request.isValid, FinalRequestProcessor. zk-differs: deleteContainer and createSession
    /// from a client are refused, since they bypass ACLs and answer in another format.
    #[must_use]
    pub fn class(self) -> OpClass {
        match self {
            Self::CREATE
            | Self::DELETE
            | Self::SET_DATA
            | Self::SET_ACL
            | Self::MULTI
            | Self::CREATE2
            | Self::RECONFIG
            | Self::CREATE_CONTAINER
            | Self::CREATE_TTL => OpClass::Write,
            Self::EXISTS
            | Self::GET_DATA
            | Self::GET_ACL
            | Self::GET_CHILDREN
            | Self::GET_CHILDREN2
            | Self::MULTI_READ
            | Self::GET_EPHEMERALS
            | Self::GET_ALL_CHILDREN_NUMBER
            | Self::WHO_AM_I => OpClass::Read,
            Self::SET_WATCHES
            | Self::SET_WATCHES2
            | Self::ADD_WATCH
            | Self::CHECK_WATCHES
            | Self::REMOVE_WATCHES => OpClass::Watch,
            Self::SYNC => OpClass::Sync,
            Self::PING => OpClass::Ping,
            Self::AUTH => OpClass::Auth,
            Self::SASL => OpClass::Sasl,
            Self::CLOSE_SESSION => OpClass::Close,
            _ => OpClass::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OpClass;
    use crate::{OpCode, Request};

    #[test]
    fn whatever_has_a_request_has_a_class_but_a_check_alone() {
        for op in OpCode::ALL {
            let known = Request::OPS.contains(op) && *op != OpCode::CHECK;
            assert_eq!(op.class() != OpClass::Unknown, known, "{op}");
        }
    }
}
