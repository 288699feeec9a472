//! Requests about watches: registering, removing, asking, and catching up after a reconnect.
//!
//! All under the state lock held for reading, so that no change can come between the look at the
//! tree and the registration (protocol.md section 9).

use std::sync::Arc;

use jute::{ErrorCode, Request, Text};

use super::client::Client;
use super::deliver::put_event;
use super::head::Catchup;
use super::replies::TooLong;
use crate::state::{Missing, Peek, State, Znode};
use crate::watch::{NoticeKind, Registration, RemoveKind, WatcherId};

/// What a request about watches came to.
pub(super) enum Watched {
    /// A header with this code.
    Reply(ErrorCode),
    /// addWatch: a header and an int 0.
    Added,
    /// setWatches stopped at a znode that only the disk knows; that one, and what it will miss behind
    /// it.
    Missing(Catchup, Vec<Missing>),
    /// An event has no frame: the connection must end.
    TooLong,
}

/// The lists of setWatches2 in the order in which they are worked off.
const LISTS: [List; 5] = [
    List::Data,
    List::Exist,
    List::Child,
    List::Persistent,
    List::PersistentRecursive,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    Data,
    Exist,
    Child,
    Persistent,
    PersistentRecursive,
}

impl List {
    /// Its paths are registered whatever there is at them.
    fn is_persistent(self) -> bool {
        matches!(self, Self::Persistent | Self::PersistentRecursive)
    }
}

impl Client {
    fn watcher(&self) -> WatcherId {
        WatcherId(self.connection.id.0)
    }

    /// Serves addWatch, checkWatches, removeWatches, setWatches and setWatches2.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the class of its opcode sends no other request here"
    )]
    pub(super) fn serve_watch(
        &mut self,
        state: &State,
        request: &Request,
        from: Catchup,
    ) -> Watched {
        match request {
            Request::AddWatch(add) => {
                let Ok(registration) = Registration::of_add_watch(add.mode) else {
                    return Watched::Reply(ErrorCode::MARSHALLING_ERROR);
                };
                // A null path is accepted, and nothing ever happens to it.
                self.add(add.path.as_deref(), registration);
                Watched::Added
            }
            Request::CheckWatches(check) => {
                Watched::Reply(self.look(check.path.as_deref(), check.kind, false))
            }
            Request::RemoveWatches(remove) => {
                Watched::Reply(self.look(remove.path.as_deref(), remove.kind, true))
            }
            Request::SetWatches(set) => {
                let lists = [
                    &set.data_watches,
                    &set.exist_watches,
                    &set.child_watches,
                    &Some(Vec::new()),
                    &Some(Vec::new()),
                ];
                self.catch_up(state, set.relative_zxid, lists, from)
            }
            Request::SetWatches2(set) => {
                let lists = [
                    &set.data_watches,
                    &set.exist_watches,
                    &set.child_watches,
                    &set.persistent_watches,
                    &set.persistent_recursive_watches,
                ];
                self.catch_up(state, set.relative_zxid, lists, from)
            }
            _ => Watched::Reply(ErrorCode::UNIMPLEMENTED),
        }
    }

    fn add(&self, path: Option<&str>, registration: Registration) {
        let mut watches = self.requests.shared.watches.lock();
        watches.add(path, self.watcher(), registration);
    }

    fn look(&self, path: Option<&str>, kind: i32, remove: bool) -> ErrorCode {
        let Ok(kind) = RemoveKind::try_from(kind) else {
            return ErrorCode::MARSHALLING_ERROR;
        };
        let mut watches = self.requests.shared.watches.lock();
        let found = if remove {
            watches.remove(path, self.watcher(), kind)
        } else {
            watches.contains(path, self.watcher(), kind)
        };
        if found {
            ErrorCode::OK
        } else {
            ErrorCode::NO_WATCHER
        }
    }

    /// zk: DataTree.setWatches. Each path is looked up and registered in one step; what happens to
    /// it afterwards comes as an ordinary event.
    fn catch_up(
        &mut self,
        state: &State,
        relative_zxid: i64,
        lists: [&Option<Vec<Option<Text>>>; 5],
        mut at: Catchup,
    ) -> Watched {
        for (list, paths) in LISTS.iter().zip(lists).skip(at.list) {
            // A null list is found when its turn comes: the lists in front of it count.
            let Some(paths) = paths else {
                return Watched::Reply(ErrorCode::MARSHALLING_ERROR);
            };
            for path in paths.iter().skip(at.done) {
                let path = path.as_deref();
                match (list, path) {
                    (List::Persistent, _) => self.add(path, Registration::Persistent),
                    (List::PersistentRecursive, _) => {
                        self.add(path, Registration::PersistentRecursive);
                    }
                    (_, None) => return Watched::Reply(ErrorCode::MARSHALLING_ERROR),
                    (_, Some(path)) => {
                        match self.catch_up_path(state, relative_zxid, *list, path) {
                            Ok(()) => {}
                            Err(Behind::Missing) => {
                                return Watched::Missing(at, missing_from(state, lists, at));
                            }
                            Err(Behind::TooLong) => return Watched::TooLong,
                        }
                    }
                }
                at.done += 1;
            }
            at = Catchup {
                list: at.list + 1,
                done: 0,
            };
        }
        Watched::Reply(ErrorCode::OK)
    }

    fn catch_up_path(
        &mut self,
        state: &State,
        relative_zxid: i64,
        list: List,
        path: &str,
    ) -> Result<(), Behind> {
        let registration = match list {
            List::Child => Registration::Child,
            List::Data | List::Exist | List::Persistent | List::PersistentRecursive => {
                Registration::Data
            }
        };
        let node = match state.peek_znode(path) {
            Peek::Known(node) => node,
            Peek::NotInMemory => return Err(Behind::Missing),
        };
        match missed(list, node.as_deref(), relative_zxid) {
            Some(kind) => {
                put_event(&mut self.run, -1, kind.wire_type(), path)
                    .map_err(|TooLong| Behind::TooLong)?;
                let bytes = self.run.len() - self.reply_from;
                self.reply_from = self.run.len();
                self.requests.shared.count_missed(&self.connection, bytes);
            }
            None => self.add(Some(path), registration),
        }
        Ok(())
    }
}

/// Why catching up stops at a path.
enum Behind {
    /// Only the disk knows its znode.
    Missing,
    /// Its event has no frame.
    TooLong,
}

/// Paths that are loaded together: some milliseconds of the disk, some megabytes of memory.
const LOADED_TOGETHER: usize = 4096;

/// What catching up from `at` on finds missing in memory, in order.
fn missing_from(
    state: &State,
    lists: [&Option<Vec<Option<Text>>>; 5],
    at: Catchup,
) -> Vec<Missing> {
    let looked_up = LISTS.iter().zip(lists).enumerate().skip(at.list);
    looked_up
        .filter(|(_, (list, _))| !list.is_persistent())
        .flat_map(|(index, (_, paths))| {
            let done = if index == at.list { at.done } else { 0 };
            paths.iter().flatten().skip(done)
        })
        .flatten()
        .filter(|path| matches!(state.peek_znode(path), Peek::NotInMemory))
        .take(LOADED_TOGETHER)
        .map(|path| Missing::Znode(Arc::from(looked_up_as(path))))
        .collect()
}

/// The empty path is an alias of the root.
fn looked_up_as(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// The event that a client has missed on a path since `relative_zxid`, if any. protocol.md 9.5.
fn missed(list: List, node: Option<&Znode>, relative_zxid: i64) -> Option<NoticeKind> {
    match (list, node) {
        (List::Data | List::Child, None) => Some(NoticeKind::Deleted),
        (List::Data, Some(node)) if node.mzxid.0 > relative_zxid => Some(NoticeKind::DataChanged),
        (List::Child, Some(node)) if node.pzxid.0 > relative_zxid => {
            Some(NoticeKind::ChildrenChanged)
        }
        (List::Exist, Some(_)) => Some(NoticeKind::Created),
        _ => None,
    }
}
