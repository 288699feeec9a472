//! What a sequence is made of, and how a request becomes bytes.
//!
//! A sequence is plain data: it is generated, run, shrunk, written to a file and read back
//! (`script`). What
//! differs between two servers (session ids, passwords, zxids) is not in it; a step names it.
//!
//! Text in requests is written so: `~` at the start stands for the sequence's own subtree,
//! `<null>` for a null string, `<bad>` for two bytes that are not UTF-8.

use crate::wire::Writer;

/// One thing done to both servers, then awaited on both.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Opens a connection in a slot. What the slot had is dropped or taken over.
    Connect {
        /// Which of the sequence's connections.
        slot: usize,
        /// Which session is asked for.
        who: Who,
        /// The timeout asked for.
        timeout_ms: i32,
        /// The optional byte of the handshake.
        read_only: Option<bool>,
        /// Requests sent right behind the handshake.
        then: Vec<Request>,
    },
    /// Closes the connection without a word; the session lives on.
    Drop {
        /// Which connection.
        slot: usize,
    },
    /// Requests in one write.
    Burst {
        /// On which connection.
        slot: usize,
        /// The requests; more than one are pipelined.
        requests: Vec<Request>,
    },
    /// A frame of these bytes, which is no request; the server must close.
    Garbage {
        /// On which connection.
        slot: usize,
        /// The length that the frame announces.
        length: i32,
        /// What follows.
        bytes: Vec<u8>,
    },
    /// A four-letter word on a connection of its own.
    Word(String),
    /// The session of a slot expires: its connection is dropped, and both servers are given the
    /// time to notice.
    Expire {
        /// Whose session.
        slot: usize,
        /// Takes the session up once more before, for this timeout; so it can be short without
        /// having been short all the time. `None`: by its own timeout.
        timeout_ms: Option<i32>,
    },
    /// Requests that make containers or TTL nodes due, until both servers have reaped them.
    Reap {
        /// On which connection.
        slot: usize,
        /// The requests; more than one are pipelined.
        requests: Vec<Request>,
        /// What must be gone in the end.
        paths: Vec<String>,
    },
    /// Both servers are stopped and started.
    Restart {
        /// By SIGKILL instead of SIGTERM.
        crash: bool,
    },
}

/// Which session a handshake asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A new one, with 16 zero bytes as its password.
    New,
    /// A new one, with a null password.
    NewNullPassword,
    /// The one that this slot has or had.
    Slot(usize),
    /// That one, with a wrong password. Only while nobody is connected to it.
    WrongPassword(usize),
    /// One that never was.
    Unknown,
    /// A new one, by a client that has seen the future.
    Future,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// An unusual xid; otherwise the connection's next.
    pub xid: Option<i32>,
    /// What is asked.
    pub op: Op,
}

/// An ACL entry: perms, scheme, id.
pub type Acl = (i32, String, String);

/// The operations, by the shape of their records; field names are those of the records.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the records")]
pub enum Op {
    /// create, create2, createContainer, createTTL: 1, 15, 19, 21.
    Create {
        code: i32,
        path: String,
        data: Option<String>,
        acl: Option<Vec<Acl>>,
        flags: i32,
        ttl: i64,
    },
    /// delete (2) and check (13): path and version.
    Versioned {
        code: i32,
        path: String,
        version: i32,
    },
    /// exists, getData, getChildren, getChildren2: 3, 4, 8, 12.
    Read {
        code: i32,
        path: String,
        watch: bool,
    },
    /// setData.
    SetData {
        path: String,
        data: Option<String>,
        version: i32,
    },
    /// setACL.
    SetAcl {
        path: String,
        acl: Option<Vec<Acl>>,
        version: i32,
    },
    /// getACL, sync, getEphemerals, getAllChildrenNumber: 6, 9, 103, 104.
    Path { code: i32, path: String },
    /// checkWatches, removeWatches, addWatch: 17, 18, 106.
    Watch { code: i32, path: String, kind: i32 },
    /// multi (14) and multiRead (22). Without the end mark the request is truncated.
    Multi {
        code: i32,
        items: Vec<Op>,
        ended: bool,
    },
    /// setWatches (three lists) or setWatches2 (five). `None`: relative to the last zxid seen before
    /// the connection was made, as clients do it.
    SetWatches {
        since: Option<i64>,
        lists: Vec<Vec<String>>,
    },
    /// auth.
    Auth {
        scheme: String,
        auth: Option<String>,
    },
    /// reconfig.
    Reconfig {
        joining: String,
        leaving: String,
        members: String,
        config: i64,
    },
    /// Only a header: ping, whoAmI, closeSession, and numbers that are no operation.
    Bare { code: i32 },
    /// sasl with this token.
    Sasl { token: Option<String> },
    /// Another operation whose body is damaged.
    Broken { op: Box<Op>, damage: Damage },
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It ends after this many bytes (modulo its length).
    Cut(usize),
    /// So many bytes follow.
    Extra(usize),
    /// Four bytes at this offset (modulo its length) say this.
    Patch(usize, i32),
}

/// What the bytes of a request depend on beside itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The sequence's own subtree, without a slash at its end.
    pub root: &'a str,
    /// The last zxid that the client had seen when it connected: what setWatches is relative to.
    pub since: i64,
}

/// The bytes that a text of a sequence stands for.
pub fn text(text: &str, root: &str) -> Option<Vec<u8>> {
    if text == "<null>" {
        return None;
    }
    // Quota nodes repeat the path below their own.
    let full = match text.strip_prefix("~") {
        Some(rest) => format!("{root}{rest}"),
        None => text.replacen("quota~", &format!("quota{root}"), 1),
    };
    let mut bytes = Vec::new();
    for (index, part) in full.split("<bad>").enumerate() {
        if index > 0 {
            bytes.extend([0xff, 0xfe]);
        }
        bytes.extend(part.as_bytes());
    }
    Some(bytes)
}

impl Op {
    /// The opcode.
    pub fn code(&self) -> i32 {
        match self {
            Self::Create { code, .. }
            | Self::Versioned { code, .. }
            | Self::Read { code, .. }
            | Self::Path { code, .. }
            | Self::Watch { code, .. }
            | Self::Multi { code, .. }
            | Self::Bare { code } => *code,
            Self::SetData { .. } => 5,
            Self::SetAcl { .. } => 7,
            Self::SetWatches { lists, .. } if lists.len() == 3 => 101,
            Self::SetWatches { .. } => 105,
            Self::Auth { .. } => 100,
            Self::Reconfig { .. } => 16,
            Self::Sasl { .. } => 102,
            Self::Broken { op, .. } => op.code(),
        }
    }

    /// The body's bytes.
    pub fn body(&self, context: Context<'_>) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer, context);
        writer.finish()
    }

    fn write(&self, w: &mut Writer, context: Context<'_>) {
        let string = |w: &mut Writer, value: &str| write_text(w, value, context.root);
        match self {
            Self::Create {
                code,
                path,
                data: value,
                acl,
                flags,
                ttl,
            } => {
                string(w, path);
                write_data(w, value.as_deref());
                write_acl(w, acl.as_deref());
                w.i32(*flags);
                if *code == 21 {
                    w.i64(*ttl);
                }
            }
            Self::Versioned {
                path,
                version: number,
                ..
            }
            | Self::Watch {
                path, kind: number, ..
            } => {
                string(w, path);
                w.i32(*number);
            }
            Self::Read { path, watch, .. } => {
                string(w, path);
                w.bool(*watch);
            }
            Self::SetData {
                path,
                data: value,
                version,
            } => {
                string(w, path);
                w.buffer(value.as_ref().map(String::as_bytes)).i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                string(w, path);
                write_acl(w, acl.as_deref()).i32(*version);
            }
            Self::Path { path, .. } => string(w, path),
            Self::Multi { items, ended, .. } => write_multi(w, items, *ended, context),
            Self::SetWatches { since, lists } => write_watches(w, *since, lists, context),
            Self::Auth { scheme, auth } => {
                w.i32(0);
                string(w, scheme);
                write_data(w, auth.as_deref());
            }
            Self::Reconfig {
                joining,
                leaving,
                members,
                config,
            } => {
                [joining, leaving, members]
                    .into_iter()
                    .for_each(|value| string(w, value));
                w.i64(*config);
            }
            Self::Bare { .. } => {}
            Self::Sasl { token } => write_data(w, token.as_deref()),
            Self::Broken { op, damage } => {
                w.raw(&damage.apply(op.body(context)));
            }
        }
    }

    /// True when the server answers apart from the order of requests (auth, sasl, and at once what
    /// is no operation), or not always in it (ping): never pipelined.
    pub fn stands_alone(&self) -> bool {
        matches!(self.code(), 102 | 11) || (self.may_close() && self.code() != -11)
    }

    /// True when the connection may be closed after it: nothing is sent behind it.
    pub fn may_close(&self) -> bool {
        !matches!(self.code(), 1..=9 | 11 | 12 | 14..=19 | 21 | 22 | 101..=107)
    }
}

impl Damage {
    fn apply(self, mut body: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Cut(at) => body.truncate(at % body.len().max(1)),
            Self::Extra(count) => body.extend(std::iter::repeat_n(7, count)),
            Self::Patch(at, value) => {
                if body.len() >= 4 {
                    let at = at % (body.len() - 3);
                    body[at..at + 4].copy_from_slice(&value.to_be_bytes());
                }
            }
        }
        body
    }
}

fn write_text(w: &mut Writer, value: &str, root: &str) {
    w.buffer(text(value, root).as_deref());
}

fn write_data(w: &mut Writer, value: Option<&str>) {
    w.buffer(value.map(str::as_bytes));
}

fn write_acl<'a>(w: &'a mut Writer, acl: Option<&[Acl]>) -> &'a mut Writer {
    w.i32(acl.map_or(-1, |acl| acl.len() as i32));
    for (perms, scheme, id) in acl.unwrap_or_default() {
        w.i32(*perms);
        write_text(w, scheme, "");
        write_text(w, id, "");
    }
    w
}

fn write_multi(w: &mut Writer, items: &[Op], ended: bool, context: Context<'_>) {
    for item in items {
        w.i32(item.code()).bool(false).i32(-1);
        item.write(w, context);
    }
    if ended {
        w.i32(-1).bool(true).i32(-1);
    }
}

fn write_watches(w: &mut Writer, since: Option<i64>, lists: &[Vec<String>], context: Context<'_>) {
    w.i64(since.unwrap_or(context.since));
    for list in lists {
        w.i32(list.len() as i32);
        for path in list {
            write_text(w, path, context.root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'static> = Context {
        root: "/d1",
        since: 7,
    };

    #[test]
    fn text_names_what_differs() {
        assert_eq!(text("~/a", "/d1"), Some(b"/d1/a".to_vec()));
        assert_eq!(
            text("/zookeeper/quota~/a", "/d1"),
            Some(b"/zookeeper/quota/d1/a".to_vec())
        );
        assert_eq!(text("<null>", "/d1"), None);
        assert_eq!(text("~/<bad>", "/d1"), Some(b"/d1/\xff\xfe".to_vec()));
    }

    #[test]
    fn a_multi_ends_with_its_mark() {
        let item = Op::Versioned {
            code: 13,
            path: "~".into(),
            version: 2,
        };
        let multi = Op::Multi {
            code: 14,
            items: vec![item],
            ended: true,
        };
        let mut expected = Writer::new();
        expected
            .i32(13)
            .bool(false)
            .i32(-1)
            .buffer(Some(b"/d1"))
            .i32(2);
        expected.i32(-1).bool(true).i32(-1);
        assert_eq!(multi.body(CONTEXT), expected.finish());
    }

    #[test]
    fn damage_stays_within_the_body() {
        let op = Box::new(Op::Path {
            code: 9,
            path: "<null>".into(),
        });
        for damage in [Damage::Cut(9), Damage::Patch(99, 3), Damage::Extra(2)] {
            let broken = Op::Broken {
                op: op.clone(),
                damage,
            };
            let length = broken.body(CONTEXT).len();
            assert!(length <= 6, "{damage:?}: {length}");
        }
    }
}
