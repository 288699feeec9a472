//! Where our server deliberately answers otherwise than Apache ZooKeeper 3.9.5, or where the genuine
//! one leaves it open: the one list. `compat differences` prints it.

use super::step::{Op, text};

/// How the suite keeps a difference out of its comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The generator never makes the request.
    NeverSent,
    /// Both answers become the same text.
    Normalised,
    /// The clock decides, so the suite waits or avoids the situation.
    Avoided,
}

/// One deliberate difference.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// What a client does.
    pub request: &'static str,
    /// What Apache ZooKeeper 3.9.5 does then.
    pub genuine: &'static str,
    /// What ours does, and why.
    pub ours: &'static str,
    /// How the suite keeps it out.
    pub how: How,
}

/// All of them.
pub const DIFFERENCES: [Difference; 23] = [
    Difference {
        request: "createTTL with a mode that has no TTL and a negative ttl",
        genuine: "ends the process while applying, again at every start",
        ours: "-8: a client must not end a server",
        how: How::NeverSent,
    },
    Difference {
        request: "a write that cannot be decoded, to a member of an ensemble",
        genuine: "proposes an error with the zxid of the txn before: a follower that waits for it \
                  answers nobody any more, and sessions can be opened nowhere",
        ours: "-5: a client must not stop an ensemble",
        how: How::NeverSent,
    },
    Difference {
        request: "a ping behind a reconfig that has begun, to a member of an ensemble",
        genuine: "answers it behind the reconfig",
        ours: "answers it at once: a change of the members may take longer than a session lives",
        how: How::NeverSent,
    },
    Difference {
        request: "text that is no quota in a zookeeper_stats node",
        genuine: "ends the process while applying, again at every start",
        ours: "counts as no quota: a client must not end a server",
        how: How::NeverSent,
    },
    Difference {
        request: "create of /zookeeper/quota/zookeeper_limits",
        genuine: "ends the process while applying, again at every start",
        ours: "an ordinary node without effect: a client must not end a server",
        how: How::NeverSent,
    },
    Difference {
        request: "deleteContainer (20) by a client",
        genuine: "deletes without a look at ACLs",
        ours: "-6 and close: it is internal, and would bypass ACLs",
        how: How::NeverSent,
    },
    Difference {
        request: "a multi that has a getData or getChildren and, behind it, a create with a null ACL",
        genuine: "-5 without using up a zxid: the null is what it meets first",
        ours: "-5 with a zxid of its own, as for every other multi that cannot be read",
        how: How::NeverSent,
    },
    Difference {
        request: "createSession (-10) as a request",
        genuine: "answers with a headerless ConnectResponse",
        ours: "-6 and close: it is internal",
        how: How::NeverSent,
    },
    Difference {
        request: "create or create2 with the container flag",
        genuine: "makes a persistent node",
        ours: "makes a container, as in a multi: a client sees it only when it is reaped",
        how: How::Avoided,
    },
    Difference {
        request: "a handshake with a wrong password for a session that somebody is connected to",
        genuine: "closes that connection before it looks at the password",
        ours: "looks first: a stranger must not disconnect a client",
        how: How::Avoided,
    },
    Difference {
        request: "any that lists children",
        genuine: "in the order of a hash set",
        ours: "in a fixed order",
        how: How::Normalised,
    },
    Difference {
        request: "multiRead with a null path",
        genuine: "-5, with the results that it had read so far behind the header",
        ours: "-5 without a body, as every other refusal",
        how: How::Normalised,
    },
    Difference {
        request: "close of a session with several ephemerals, watched",
        genuine: "events in the order of a hash set",
        ours: "events in a fixed order",
        how: How::Normalised,
    },
    Difference {
        request: "auth, sasl or an unknown opcode, pipelined behind other requests",
        genuine: "answers it at once, ahead of them",
        ours: "in order: every client accepts that",
        how: How::Avoided,
    },
    Difference {
        request: "requests pipelined behind a setACL of the node that they need permission on",
        genuine: "are judged by the old ACL or by the new one, as the clock has it",
        ours: "are judged by the new one",
        how: How::Avoided,
    },
    Difference {
        request: "requests pipelined behind a multi that fails with -5 (a null id in an ACL) after parts that were good",
        genuine: "are judged as if those parts were done, until the failed multi's turn to be applied",
        ours: "are judged by what is: a failed multi changes nothing",
        how: How::Avoided,
    },
    Difference {
        request: "requests for a deleted node, pipelined behind its delete and a failing multi that generated its name",
        genuine: "may see the node again until the delete is applied",
        ours: "do not see it: a failed multi changes nothing",
        how: How::Avoided,
    },
    Difference {
        request: "pipelined creates under a hard quota",
        genuine: "may overshoot: the check sees only what is committed",
        ours: "never overshoots",
        how: How::Avoided,
    },
    Difference {
        request: "wchs and wchc after watches have fired",
        genuine: "go on counting and listing connections that have no watch left",
        ours: "do not: nothing is kept for a watch that is gone",
        how: How::Normalised,
    },
    Difference {
        request: "requests pipelined behind createContainer with the flags of an ephemeral",
        genuine: "find an ephemeral until it is applied, and a container then",
        ours: "find a container, but for the rest of its own multi",
        how: How::Avoided,
    },
    Difference {
        request: "dump after ephemerals have been deleted",
        genuine: "goes on counting and listing their sessions",
        ours: "does not",
        how: How::Normalised,
    },
    Difference {
        request: "envi",
        genuine: "has the keys of a Java process only",
        ours: "has a line oxkeeper.version= behind them",
        how: How::Normalised,
    },
    Difference {
        request: "a character above U+FFFF that is echoed: sync, getACL, whoAmI, setWatches",
        genuine: "sends it as two three-byte surrogates, which no decoder accepts, its own included",
        ours: "sends it as it came",
        how: How::Normalised,
    },
];

/// True for what members of an ensemble are not sent besides: writes that cannot be decoded, and
/// changes of the members, which a ping overtakes.
pub fn never_sent_to_members(op: &Op) -> bool {
    let is_write = matches!(op.code(), 1 | 2 | 5 | 7 | 13..=16 | 19..=21);
    match op {
        Op::Reconfig { .. } => true,
        Op::Bare { .. } | Op::Broken { .. } => is_write,
        Op::Multi { items, ended, .. } => {
            // A multi is read whole, and a list that is null is no list there.
            let unreadable = |item: &Op| {
                matches!(item, Op::Create { acl: None, .. }) || never_sent_to_members(item)
            };
            is_write && (!ended || items.iter().any(unreadable))
        }
        _ => false,
    }
}

/// True for what [`DIFFERENCES`] says is never sent. Damaged requests are judged as what their
/// bytes may become.
pub fn never_sent(op: &Op) -> bool {
    match op {
        Op::Create {
            code: 21,
            flags,
            ttl,
            ..
        } => !matches!(flags, 5 | 6) && *ttl < 0,
        Op::Create { path, data, .. } => quota_root(path) || bad_stats(path, data.as_deref()),
        Op::SetData { path, data, .. } => bad_stats(path, data.as_deref()),
        Op::Bare { code } => matches!(code, 20 | -10),
        Op::Multi { code, items, .. } => {
            items.iter().any(never_sent) || (*code == 14 && null_acl_behind_read(items))
        }
        Op::Broken { op, .. } => never_sent(op) || fragile(op),
        _ => false,
    }
}

fn null_acl_behind_read(items: &[Op]) -> bool {
    let mut behind = items
        .iter()
        .skip_while(|item| !matches!(item, Op::Read { .. }));
    behind.any(|item| matches!(item, Op::Create { acl: None, .. }))
}

fn quota_root(path: &str) -> bool {
    path == "/zookeeper/quota/zookeeper_limits"
}

fn bad_stats(path: &str, data: Option<&str>) -> bool {
    path.ends_with("/zookeeper_stats")
        && !data.is_some_and(|data| data.starts_with("count=") && data.contains(",bytes="))
}

/// True when a few changed bytes could make it one of the requests that end a genuine server.
fn fragile(op: &Op) -> bool {
    match op {
        Op::Create { code, path, .. } => *code == 21 || in_quota(path),
        Op::SetData { path, .. } => in_quota(path),
        Op::Multi { items, .. } => items.iter().any(fragile),
        _ => false,
    }
}

fn in_quota(path: &str) -> bool {
    text(path, "").is_some_and(|path| path.starts_with(b"/zookeeper/quota"))
}
