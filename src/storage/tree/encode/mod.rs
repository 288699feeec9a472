//! Values of the tree's database. Each begins with a version byte of [`Version`]
//! (formats.md 5).
//!
//! ```text
//! znode    version, flags, czxid, mzxid - czxid, pzxid - czxid, ctime, mtime - ctime, version,
//!          creations, aversion, [owner, 8 bytes], acl, children, data to the end
//! meta     version, flags, [applied: term, index], [membership], [cluster, 16 bytes], last zxid, time, next ACL,
//!          znodes, data bytes, ephemerals, cursors: count, (server, incarnation, sequence)*,
//!          [members: zxid, lines], [wanted: zxid, server, incarnation, sequence, lines]
//! time     stamp, age, anchored, [term, wall, steady], settings: count, (zxid, ahead)*
//! session  version, migrated, timeout, password (16 bytes), owner: server, incarnation, connection
//! acl      version, references, count, entries in jute's form
//! ```
//!
//! Differences and numbers that may be negative are in zigzag; all numbers are varints.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::Acl;

use crate::state::{
    AclId, Anchor, ClusterId, Cursor, Lineup, Lineups, LogPosition, Members, Meta, Origin, Owner,
    PendingLineup, Reading, ServerId, SessionOwner, SessionRecord, Setting, Timeline, Znode, Zxid,
    lines, read_lines,
};
use crate::storage::varint::{ByteReader, Malformed, put_bytes, put_i64, put_u64};

/// Versions of the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Version {
    /// First format.
    V1 = 1,
    /// Meta of 2026-11 has a timeline in place of the last time; a session of 2026-12 has an owner
    /// in place of a server.
    V2 = 2,
    /// Meta of 2026-12 that knows the members; without any it is still written as V2.
    V3 = 3,
}

const HAS_DATA: u8 = 1;
const HAS_OWNER: u8 = 1 << 1;
const HAS_APPLIED: u8 = 1;
const HAS_MEMBERSHIP: u8 = 1 << 1;
const HAS_CLUSTER: u8 = 1 << 2;
const HAS_MEMBERS: u8 = 1 << 3;
const HAS_WANTED: u8 = 1 << 4;

/// Appends a znode's value to `out`.
pub(in crate::storage) fn put_znode(node: &Znode, out: &mut Vec<u8>) {
    let has_owner = node.owner != Owner::PERSISTENT;
    let flags = if node.data.is_some() { HAS_DATA } else { 0 };
    out.push(Version::V1 as u8);
    out.push(flags | if has_owner { HAS_OWNER } else { 0 });
    put_i64(out, node.czxid.0);
    put_i64(out, node.mzxid.0.wrapping_sub(node.czxid.0));
    put_i64(out, node.pzxid.0.wrapping_sub(node.czxid.0));
    put_i64(out, node.ctime_ms);
    put_i64(out, node.mtime_ms.wrapping_sub(node.ctime_ms));
    put_i64(out, node.version.into());
    put_i64(out, node.creations.into());
    put_i64(out, node.aversion.into());
    if has_owner {
        out.extend_from_slice(&node.owner.0.to_be_bytes());
    }
    put_u64(out, node.acl.0);
    put_u64(out, node.children.into());
    out.extend_from_slice(node.data.as_deref().unwrap_or_default());
}

/// Reads a znode's value.
pub(in crate::storage) fn read_znode(value: &[u8]) -> Result<Znode, Malformed> {
    let mut cursor = versioned(value, Version::V1)?;
    let flags = cursor.u8("flags")?;
    let czxid = cursor.i64("czxid")?;
    let mzxid = czxid.wrapping_add(cursor.i64("mzxid")?);
    let pzxid = czxid.wrapping_add(cursor.i64("pzxid")?);
    let ctime_ms = cursor.i64("ctime")?;
    let mtime_ms = ctime_ms.wrapping_add(cursor.i64("mtime")?);
    let version = cursor.i32("version")?;
    let creations = cursor.i32("creations")?;
    let aversion = cursor.i32("aversion")?;
    let owner = if flags & HAS_OWNER == 0 {
        Owner::PERSISTENT
    } else {
        Owner(i64::from_be_bytes(cursor.array("owner")?))
    };
    let acl = AclId(cursor.u64("acl")?);
    let children = cursor.u32("children")?;
    let data = if flags & HAS_DATA == 0 {
        cursor.end("children")?;
        None
    } else {
        Some(Arc::from(cursor.rest()))
    };
    Ok(Znode {
        czxid: Zxid(czxid),
        mzxid: Zxid(mzxid),
        pzxid: Zxid(pzxid),
        ctime_ms,
        mtime_ms,
        version,
        creations,
        aversion,
        owner,
        acl,
        children,
        data,
    })
}

/// Appends the value of the state's small rest to `out`.
pub(in crate::storage) fn put_meta(meta: &Meta, out: &mut Vec<u8>) {
    let applied = if meta.applied.is_some() {
        HAS_APPLIED
    } else {
        0
    };
    let membership = if meta.membership.is_some() {
        HAS_MEMBERSHIP
    } else {
        0
    };
    let Lineups { current, pending } = &meta.lineups;
    let (version, members) = match (current, pending) {
        (None, None) => (Version::V2, 0),
        (Some(_), None) => (Version::V3, HAS_MEMBERS),
        (None, Some(_)) => (Version::V3, HAS_WANTED),
        (Some(_), Some(_)) => (Version::V3, HAS_MEMBERS | HAS_WANTED),
    };
    out.push(version as u8);
    let cluster = if meta.cluster.is_some() {
        HAS_CLUSTER
    } else {
        0
    };
    out.push(applied | membership | cluster | members);
    if let Some(applied) = meta.applied {
        put_position(out, applied);
    }
    if let Some(membership) = &meta.membership {
        put_bytes(out, membership);
    }
    if let Some(cluster) = meta.cluster {
        out.extend_from_slice(&cluster.0);
    }
    put_i64(out, meta.last_zxid.0);
    put_timeline(out, &meta.timeline);
    put_u64(out, meta.acl_next);
    put_u64(out, meta.znodes);
    put_u64(out, meta.data_bytes);
    put_u64(out, meta.ephemerals);
    put_u64(out, meta.cursors.len() as u64);
    for (server, applied) in &meta.cursors {
        put_u64(out, server.0);
        put_u64(out, applied.incarnation);
        put_u64(out, applied.sequence);
    }
    put_lineups(out, &meta.lineups);
}

/// Reads the value of the state's small rest.
pub(in crate::storage) fn read_meta(value: &[u8]) -> Result<Meta, Malformed> {
    let mut cursor = versioned(value, Version::V2).or_else(|_| versioned(value, Version::V3))?;
    let flags = cursor.u8("flags")?;
    let applied = match flags & HAS_APPLIED {
        0 => None,
        _ => Some(read_position(&mut cursor)?),
    };
    let membership = match flags & HAS_MEMBERSHIP {
        0 => None,
        _ => Some(cursor.bytes("membership")?),
    };
    let cluster = match flags & HAS_CLUSTER {
        0 => None,
        _ => Some(ClusterId(cursor.array("cluster")?)),
    };
    let last_zxid = Zxid(cursor.i64("last zxid")?);
    let timeline = read_timeline(&mut cursor)?;
    let acl_next = cursor.u64("next ACL")?;
    let znodes = cursor.u64("znodes")?;
    let data_bytes = cursor.u64("data bytes")?;
    let ephemerals = cursor.u64("ephemerals")?;
    let mut cursors = BTreeMap::new();
    for _ in 0..cursor.u64("number of cursors")? {
        let server = ServerId(cursor.u64("cursor server")?);
        let incarnation = cursor.u64("cursor incarnation")?;
        let sequence = cursor.u64("cursor sequence")?;
        cursors.insert(
            server,
            Cursor {
                incarnation,
                sequence,
            },
        );
    }
    let lineups = read_lineups(&mut cursor, flags)?;
    cursor.end("members")?;
    Ok(Meta {
        applied,
        membership,
        cluster,
        lineups,
        last_zxid,
        timeline,
        acl_next,
        znodes,
        data_bytes,
        ephemerals,
        cursors,
    })
}

/// Who the members are and are to be; nothing of what there is not.
fn put_lineups(out: &mut Vec<u8>, lineups: &Lineups) {
    if let Some(Lineup { members, version }) = lineups.current.as_deref() {
        put_i64(out, version.0);
        put_bytes(out, lines(members).as_bytes());
    }
    if let Some(pending) = lineups.pending.as_deref() {
        put_i64(out, pending.change.0);
        put_u64(out, pending.origin.server.0);
        put_u64(out, pending.origin.incarnation);
        put_u64(out, pending.sequence);
        put_bytes(out, lines(&pending.members).as_bytes());
    }
}

fn read_lineups(cursor: &mut ByteReader<'_>, flags: u8) -> Result<Lineups, Malformed> {
    let current = match flags & HAS_MEMBERS {
        0 => None,
        _ => {
            let version = Zxid(cursor.i64("zxid of the members")?);
            let members = read_members(cursor)?;
            Some(Arc::new(Lineup { members, version }))
        }
    };
    let pending = match flags & HAS_WANTED {
        0 => None,
        _ => {
            let change = Zxid(cursor.i64("zxid of the change")?);
            let origin = Origin {
                server: ServerId(cursor.u64("who asked")?),
                incarnation: cursor.u64("incarnation of who asked")?,
            };
            let sequence = cursor.u64("sequence of who asked")?;
            let members = read_members(cursor)?;
            Some(Arc::new(PendingLineup {
                change,
                origin,
                sequence,
                members,
            }))
        }
    };
    Ok(Lineups { current, pending })
}

fn read_members(cursor: &mut ByteReader<'_>) -> Result<Members, Malformed> {
    let text = cursor.bytes("members")?;
    let members = std::str::from_utf8(&text).ok().and_then(read_lines);
    members.ok_or_else(|| cursor.malformed("members", "no lines of members"))
}

/// Appends a position in the log.
pub(in crate::storage) fn put_position(out: &mut Vec<u8>, position: LogPosition) {
    put_u64(out, position.term);
    put_u64(out, position.index);
}

/// Reads a position in the log.
pub(in crate::storage) fn read_position(
    cursor: &mut ByteReader<'_>,
) -> Result<LogPosition, Malformed> {
    Ok(LogPosition {
        term: cursor.u64("term")?,
        index: cursor.u64("index")?,
    })
}

/// The value of a session.
pub(in crate::storage) fn session(record: &SessionRecord) -> Vec<u8> {
    let mut out = vec![Version::V2 as u8, u8::from(record.migrated)];
    put_i64(&mut out, record.timeout_ms.into());
    out.extend_from_slice(&record.password);
    put_u64(&mut out, record.owner.origin.server.0);
    put_u64(&mut out, record.owner.origin.incarnation);
    put_u64(&mut out, record.owner.connection);
    out
}

/// Reads the value of a session.
pub(in crate::storage) fn read_session(value: &[u8]) -> Result<SessionRecord, Malformed> {
    let mut cursor = versioned(value, Version::V2)?;
    let migrated = cursor.u8("migrated")? != 0;
    let timeout_ms = cursor.i32("timeout")?;
    let password = cursor.array("password")?;
    let origin = Origin {
        server: ServerId(cursor.u64("owner's server")?),
        incarnation: cursor.u64("owner's incarnation")?,
    };
    let connection = cursor.u64("owner's connection")?;
    cursor.end("owner's connection")?;
    Ok(SessionRecord {
        timeout_ms,
        password,
        migrated,
        owner: SessionOwner { origin, connection },
    })
}

/// The value of an interned ACL list.
pub(in crate::storage) fn acl(list: &[Acl], references: u64) -> Vec<u8> {
    let mut out = vec![Version::V1 as u8];
    put_u64(&mut out, references);
    put_u64(&mut out, list.len() as u64);
    let mut entries = BytesMut::new();
    for entry in list {
        entry.encode(&mut entries);
    }
    out.extend_from_slice(&entries);
    out
}

/// Reads the value of an interned ACL list: the list and the number of references.
pub(in crate::storage) fn read_acl(value: &[u8]) -> Result<(Arc<[Acl]>, u64), Malformed> {
    let mut cursor = versioned(value, Version::V1)?;
    let references = cursor.u64("references")?;
    let count = cursor.u64("count")?;
    let mut reader = jute::Reader::new(Bytes::copy_from_slice(cursor.rest()));
    let mut list = Vec::new();
    for _ in 0..count {
        let entry = Acl::decode(&mut reader);
        list.push(entry.map_err(|_| cursor.malformed("entries", "no ACL entry"))?);
    }
    Ok((list.into(), references))
}

fn put_timeline(out: &mut Vec<u8>, timeline: &Timeline) {
    put_i64(out, timeline.stamp_ms);
    put_i64(out, timeline.age_ms);
    out.push(u8::from(timeline.anchor.is_some()));
    if let Some(Anchor { term, reading }) = timeline.anchor {
        put_u64(out, term);
        put_i64(out, reading.wall_ms);
        put_u64(out, reading.steady_ms);
    }
    put_u64(out, timeline.settings.len() as u64);
    for Setting { from, ahead_ms } in &timeline.settings {
        put_i64(out, from.0);
        put_i64(out, *ahead_ms);
    }
}

fn read_timeline(cursor: &mut ByteReader<'_>) -> Result<Timeline, Malformed> {
    let stamp_ms = cursor.i64("stamp")?;
    let age_ms = cursor.i64("age")?;
    let anchor = match cursor.u8("anchored")? {
        0 => None,
        _ => Some(Anchor {
            term: cursor.u64("anchor term")?,
            reading: Reading {
                wall_ms: cursor.i64("wall clock")?,
                steady_ms: cursor.u64("steady clock")?,
            },
        }),
    };
    let mut settings = Vec::new();
    for _ in 0..cursor.u64("number of settings")? {
        settings.push(Setting {
            from: Zxid(cursor.i64("setting zxid")?),
            ahead_ms: cursor.i64("setting")?,
        });
    }
    Ok(Timeline {
        stamp_ms,
        age_ms,
        anchor,
        settings,
    })
}

fn versioned(value: &[u8], version: Version) -> Result<ByteReader<'_>, Malformed> {
    let mut cursor = ByteReader::new(value);
    if cursor.u8("version")? != version as u8 {
        return Err(cursor.malformed("version", "not a version of this format"));
    }
    Ok(cursor)
}

#[cfg(test)]
mod tests;
