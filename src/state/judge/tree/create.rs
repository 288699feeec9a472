//! create, create2, createContainer, createTTL.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jute::{ErrorCode, Stat, perms};

use super::{Addition, owned_data, refused};
use crate::state::acl::fix;
use crate::state::judge::judge::{Judge, Stop, some_path};
use crate::state::judge::new_znode::{Form, NewZnode};
use crate::state::record::path;
use crate::state::record::znode::{Kind, Owner};

/// A stat has room for no more; ZooKeeper's tables end long before that.
const CHILDREN_MAX: u32 = i32::MAX.cast_unsigned();

/// What the flags say. zk: CreateMode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mode {
    sequential: bool,
    made: Made,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    Persistent,
    Ephemeral,
    Container,
    Ttl,
}

impl TryFrom<i32> for Mode {
    type Error = Stop;

    fn try_from(flags: i32) -> Result<Self, Stop> {
        let (made, sequential) = match flags {
            0 => (Made::Persistent, false),
            1 => (Made::Ephemeral, false),
            2 => (Made::Persistent, true),
            3 => (Made::Ephemeral, true),
            4 => (Made::Container, false),
            5 => (Made::Ttl, false),
            6 => (Made::Ttl, true),
            _ => return refused(ErrorCode::BAD_ARGUMENTS),
        };
        Ok(Self { sequential, made })
    }
}

impl Judge<'_> {
    /// Creates a znode; full path and stat.
    ///
    /// zk: PrepRequestProcessor.pRequest2TxnCreate, in its order.
    pub(in crate::state) fn create(&mut self, new: NewZnode<'_>) -> Result<(Arc<str>, Stat), Stop> {
        let mode = Mode::try_from(new.flags)?;
        let owner = self.new_owner(mode, new.form)?;
        self.session_alive()?;
        let asked = some_path(new.path)?;
        let Some((parent_path, _)) = path::split(asked) else {
            return refused(ErrorCode::BAD_ARGUMENTS);
        };
        let acl = fix(new.acl, self.identities, &self.rules)?;
        let parent = self.existing(parent_path)?;
        self.permitted(parent.acl, perms::CREATE)?;
        let path: Arc<str> = if mode.sequential {
            sequential(asked, parent.creations)
        } else {
            Arc::from(asked)
        };
        if !path::is_valid(&path) {
            return refused(ErrorCode::BAD_ARGUMENTS);
        }
        if self.znode(&path)?.is_some() {
            return refused(ErrorCode::NODE_EXISTS);
        }
        if matches!(self.kind(parent.owner), Kind::Ephemeral(_))
            || self.work.is_mistaken(parent_path)
        {
            return refused(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        if parent.children >= CHILDREN_MAX {
            return refused(ErrorCode::SYSTEM_ERROR);
        }
        let data_bytes = new.data.as_ref().map_or(0, Bytes::len);
        self.quota_permits(&path, data_bytes, None)?;
        let data = owned_data(new.data);
        let addition = Addition {
            path: Arc::clone(&path),
            data,
            acl,
            owner,
            parent,
        };
        let stat = self.add(addition)?;
        let is_mistaken = new.form == Form::Container && mode.made == Made::Ephemeral;
        self.work.created(&path, is_mistaken);
        Ok((path, stat))
    }

    /// Judges flags, feature and TTL together: what will own the node.
    ///
    /// zk: PrepRequestProcessor.validateCreateRequest, EphemeralType.validateTTL.
    /// zk-differs: flags 4 make a container in create and create2 too, not only in a multi; a
    /// createTTL without TTL flags and with a negative TTL is refused instead of ending the server.
    fn new_owner(&self, mode: Mode, form: Form) -> Result<Owner, Stop> {
        if mode.made == Made::Ttl && !self.rules.extended_types {
            return refused(ErrorCode::UNIMPLEMENTED);
        }
        match (mode.made, form) {
            (Made::Ttl, Form::Ttl(ttl_ms)) if (1..=Owner::TTL_MS_MAX).contains(&ttl_ms) => {
                Ok(Owner::ttl(ttl_ms))
            }
            (Made::Ttl, _) | (_, Form::Ttl(_)) => refused(ErrorCode::BAD_ARGUMENTS),
            (_, Form::Container) | (Made::Container, Form::Plain) => Ok(Owner::CONTAINER),
            (Made::Ephemeral, Form::Plain) => Ok(Owner::ephemeral(self.session)),
            (Made::Persistent, Form::Plain) => Ok(Owner::PERSISTENT),
        }
    }
}

/// The path with the parent's count of creations, ten digits at least; the sign counts.
fn sequential(path: &str, creations: i32) -> Arc<str> {
    let mut full = String::with_capacity(path.len() + 11);
    full.push_str(path);
    // Writing to a string cannot fail.
    let written = write!(full, "{creations:010}");
    debug_assert!(written.is_ok());
    Arc::from(full)
}
