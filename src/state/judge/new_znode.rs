//! What the four requests that create a znode ask for, as one.

use bytes::Bytes;
use jute::{Acl, Text};

/// Which of the four requests it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::state) enum Form {
    /// create, create2: the flags alone say what is made.
    Plain,
    /// createContainer: a container, whatever the flags.
    Container,
    /// createTTL, with its milliseconds.
    Ttl(i64),
}

/// What a create asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct NewZnode<'a> {
    pub(in crate::state) form: Form,
    pub(in crate::state) path: &'a Option<Text>,
    pub(in crate::state) data: &'a Option<Bytes>,
    pub(in crate::state) acl: Option<&'a [Acl]>,
    pub(in crate::state) flags: i32,
}

impl<'a> NewZnode<'a> {
    /// From the record that three of the requests share.
    pub(in crate::state) fn plain(form: Form, create: &'a jute::Create) -> Self {
        let jute::Create {
            path,
            data,
            acl,
            flags,
        } = create;
        Self {
            form,
            path,
            data,
            acl: acl.as_deref(),
            flags: *flags,
        }
    }

    /// From createTTL's record.
    pub(in crate::state) fn ttl(create: &'a jute::CreateTtl) -> Self {
        let jute::CreateTtl {
            path,
            data,
            acl,
            flags,
            ttl_ms,
        } = create;
        Self {
            form: Form::Ttl(*ttl_ms),
            path,
            data,
            acl: acl.as_deref(),
            flags: *flags,
        }
    }
}
