//! Reads: pure functions over the state, encoded straight into the caller's buffer.
//!
//! They look into memory only; what is missing there is reported, all of it at once, to be warmed
//! without the lock. How long a body gets is known, and bounded, before it is begun. Paths are not
//! validated: one that no znode can have does not exist, and the empty one is the root. Watches are
//! the caller's business.
//!
//! ```text
//!   stop ◂ reader: looks at one znode, parts of bodies ◂ single, multi ◂ here: which read it is
//! ```

mod multi;
mod reader;
mod single;
mod stop;

use bytes::BytesMut;
use jute::{ErrorCode, Request};

use self::reader::Reader;
use self::single::saturated;
pub use self::stop::{Asker, ReadStop};
use super::record::path;
use super::replica::State;
use super::store::{StoreError, View};

/// Number of znodes below `path`, as getAllChildrenNumber answers it.
///
/// # Errors
/// The storage failed: end the process.
pub fn count_descendants(view: &dyn View, path: &str) -> Result<i32, StoreError> {
    let path = path::resolve(path);
    let mut count = 0_u64;
    view.walk(path, &mut |found, _| {
        count += u64::from(found != path);
        true
    })?;
    Ok(saturated(count))
}

impl State {
    /// Appends the response record of a read to `body`, or leaves `body` as it was.
    ///
    /// `request`: exists, getData, getACL, getChildren, getChildren2, multiRead, getEphemerals,
    /// getAllChildrenNumber or whoAmI; others are refused with -6.
    ///
    /// # Errors
    /// See [`ReadStop`].
    ///
    /// zk: FinalRequestProcessor.processRequest.
    pub fn read(
        &self,
        request: &Request,
        asker: Asker<'_>,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let start = body.len();
        let read = self.answer(request, asker, body);
        if read.is_err() {
            body.truncate(start);
        }
        read
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`OpCode::class` says what is a read; a test asks all of them"
    )]
    fn answer(
        &self,
        request: &Request,
        asker: Asker<'_>,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let reader = Reader { state: self, asker };
        match request {
            Request::Exists(exists) => reader.exists(&exists.path, body),
            Request::GetData(get) => reader.data(get, body),
            Request::GetAcl(get) => reader.acl(&get.path, body),
            Request::GetChildren(get) => reader.children(get, body),
            Request::GetChildren2(get) => reader.children_and_stat(&get.path, body),
            Request::MultiRead(multi) => reader.multi(multi, body),
            Request::GetEphemerals(get) => reader.ephemerals(get, body),
            Request::GetAllChildrenNumber(get) => reader.descendants(&get.path, body),
            Request::WhoAmI => {
                reader.who_am_i(body);
                Ok(())
            }
            _ => Err(ReadStop::Refused(ErrorCode::UNIMPLEMENTED)),
        }
    }
}
