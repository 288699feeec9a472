//! From a server's bytes to text that two servers must agree on.
//!
//! zxids and session ids are numbered in order of appearance, per server and sequence. A time must
//! be the one time of its txn (`T`), and lie within the run. Vectors without a stated order are
//! sorted. Everything else is printed as it is.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::wire::Reader;

/// The symbol table of one server.
#[derive(Debug, Default)]
pub struct Symbols {
    zxids: Vec<i64>,
    zxid_index: HashMap<i64, usize>,
    sessions: Vec<i64>,
    times: HashMap<i64, i64>,
}

impl Symbols {
    /// `Z1`, `Z2`, ...; 0 and -1 have meanings of their own.
    pub fn zxid(&mut self, zxid: i64) -> String {
        if matches!(zxid, 0 | -1) {
            return zxid.to_string();
        }
        let next = self.zxids.len();
        let index = *self.zxid_index.entry(zxid).or_insert(next);
        if index == next {
            self.zxids.push(zxid);
        }
        format!("Z{index}")
    }

    /// `S1`, `S2`, ...; 0 is none.
    pub fn session(&mut self, session: i64) -> String {
        if session == 0 {
            return "0".into();
        }
        let index = self
            .sessions
            .iter()
            .position(|known| *known == session)
            .unwrap_or_else(|| {
                self.sessions.push(session);
                self.sessions.len() - 1
            });
        format!("S{index}")
    }

    /// `T` when `time` is the time of the txn `zxid`.
    fn time(&mut self, zxid: i64, time: i64) -> String {
        if zxid == 0 {
            return time.to_string();
        }
        if (time - now_ms()).abs() > 3_600_000 {
            return format!("T(off the clock: {time})");
        }
        let known = *self.times.entry(zxid).or_insert(time);
        if known == time {
            "T".into()
        } else {
            format!("T(differs by {})", time - known)
        }
    }

    /// The symbols' numbers in the order of the zxids: two servers must agree on it.
    pub fn zxid_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.zxids.len()).collect();
        order.sort_by_key(|index| self.zxids[*index]);
        order
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the harness compares with wall time"
)]
fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

/// A byte string, readable.
pub fn printable(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(
        || "null".into(),
        |bytes| match String::from_utf8(joined_surrogates(bytes)) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("x{}", hex(bytes)),
        },
    )
}

/// Characters above U+FFFF as UTF-8 has them, where Java's encoder wrote two surrogates.
fn joined_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        if let [
            0xed,
            a @ 0xa0..=0xaf,
            b,
            0xed,
            c @ 0xb0..=0xbf,
            d,
            after @ ..,
        ] = rest
        {
            let high = (u32::from(*a & 0xf) << 6) | u32::from(*b & 0x3f);
            let low = (u32::from(*c & 0xf) << 6) | u32::from(*d & 0x3f);
            if let Some(character) = char::from_u32(0x1_0000 + (high << 10) + low) {
                joined.extend(character.to_string().bytes());
                rest = after;
                continue;
            }
        }
        joined.push(*first);
        rest = behind;
    }
    joined
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// The text of a watch event's body (behind its header).
pub fn event(symbols: &mut Symbols, zxid: i64, err: i32, body: &[u8]) -> String {
    let mut reader = Reader::new(body);
    let parsed = (|| -> Result<String> {
        let (kind, state) = (reader.i32()?, reader.i32()?);
        let path = printable(reader.buffer()?);
        ensure!(reader.rest().is_empty(), "bytes behind the event");
        Ok(format!("type {kind} state {state} {path}"))
    })();
    let what = parsed.unwrap_or_else(|error| format!("{error}: {}", hex(body)));
    format!("event {} err {err} {what}", symbols.zxid(zxid))
}

/// The text of a reply's body to a request with this opcode.
pub fn body(symbols: &mut Symbols, code: i32, err: i32, body: &[u8]) -> String {
    if err != 0 && code == 22 {
        // What the genuine server had read so far may follow; see `differences`.
        return String::new();
    }
    let mut reader = Reader::new(body);
    let parsed = if err == 0 {
        record(symbols, code, &mut reader)
    } else {
        Ok(String::new())
    };
    match parsed {
        Err(error) => format!("undecodable ({error}): {}", hex(body)),
        Ok(text) if reader.rest().is_empty() => text,
        Ok(text) => format!("{text} and more: {}", hex(reader.rest())),
    }
}

fn record(symbols: &mut Symbols, code: i32, r: &mut Reader<'_>) -> Result<String> {
    Ok(match code {
        1 | 9 => printable(r.buffer()?),
        15 | 19 | 21 => format!("{} {}", printable(r.buffer()?), stat(symbols, r)?),
        3 | 5 | 7 => stat(symbols, r)?,
        4 | 16 => format!("{} {}", printable(r.buffer()?), stat(symbols, r)?),
        6 => format!("{} {}", acl(r)?, stat(symbols, r)?),
        8 | 103 => strings(r)?,
        12 => format!("{} {}", strings(r)?, stat(symbols, r)?),
        14 | 22 => multi(symbols, r)?,
        102 => printable(r.buffer()?),
        104 | 106 => r.i32()?.to_string(),
        107 => {
            let mut infos = Vec::new();
            for _ in 0..r.count()?.unwrap_or(0) {
                infos.push(format!(
                    "{}:{}",
                    printable(r.buffer()?),
                    printable(r.buffer()?)
                ));
            }
            format!("{infos:?}")
        }
        _ => String::new(),
    })
}

fn strings(r: &mut Reader<'_>) -> Result<String> {
    let Some(count) = r.count()? else {
        return Ok("null".into());
    };
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(printable(r.buffer()?));
    }
    items.sort();
    Ok(format!("[{}]", items.join(" ")))
}

fn acl(r: &mut Reader<'_>) -> Result<String> {
    let Some(count) = r.count()? else {
        return Ok("null".into());
    };
    let mut entries: Vec<(i32, String, String)> = Vec::new();
    for _ in 0..count {
        entries.push((r.i32()?, printable(r.buffer()?), printable(r.buffer()?)));
    }
    let texts: Vec<String> = entries
        .iter()
        .map(|(p, s, i)| format!("{p:#x} {s}:{i}"))
        .collect();
    Ok(format!("acl [{}]", texts.join(", ")))
}

fn stat(symbols: &mut Symbols, r: &mut Reader<'_>) -> Result<String> {
    let (czxid, mzxid, ctime, mtime) = (r.i64()?, r.i64()?, r.i64()?, r.i64()?);
    let (version, cversion, aversion) = (r.i32()?, r.i32()?, r.i32()?);
    let (owner, length, children, pzxid) = (r.i64()?, r.i32()?, r.i32()?, r.i64()?);
    let (ctime, mtime) = (symbols.time(czxid, ctime), symbols.time(mzxid, mtime));
    Ok(format!(
        "stat(c {} m {} p {} ctime {ctime} mtime {mtime} v {version} cv {cversion} av {aversion} \
         owner {} len {length} kids {children})",
        symbols.zxid(czxid),
        symbols.zxid(mzxid),
        symbols.zxid(pzxid),
        symbols.session(owner),
    ))
}

fn multi(symbols: &mut Symbols, r: &mut Reader<'_>) -> Result<String> {
    let mut text = String::from("{");
    loop {
        let (kind, done, err) = (r.i32()?, r.u8()?, r.i32()?);
        write!(text, " {kind}/{done}/{err}")?;
        if done != 0 {
            break;
        }
        match kind {
            -1 => write!(text, " err {}", r.i32()?)?,
            1 => write!(text, " {}", printable(r.buffer()?))?,
            2 | 13 => {}
            code => write!(text, " {}", record(symbols, code, r)?)?,
        }
        text.push(';');
    }
    text.push_str(" }");
    Ok(text)
}

/// What counts of a four-letter word's answer.
pub fn word(symbols: &mut Symbols, word: &str, answer: &[u8]) -> String {
    let answer = String::from_utf8_lossy(answer);
    let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
    match word {
        "srvr" => {
            lines
                .iter_mut()
                .for_each(|line| *line = srvr_line(symbols, line));
        }
        "stat" => {
            // The client list holds connections that are just going.
            lines.retain(|line| !line.starts_with(' '));
            for line in &mut lines {
                *line = line.split(": ").next().unwrap_or_default().to_owned();
            }
        }
        "conf" => lines.retain(|line| {
            let of_a_member = line.starts_with("server.") || line.starts_with("serverId=");
            let differs = ["Size=", "ort=", "Dir="]
                .iter()
                .any(|part| line.contains(part));
            !differs && !of_a_member
        }),
        "envi" | "dirs" => {
            lines.retain(|line| !line.starts_with("oxkeeper."));
            for line in &mut lines {
                *line = line.split(['=', ' ']).next().unwrap_or_default().to_owned();
            }
        }
        "mntr" => {
            const SAME: [&str; 5] = [
                "zk_znode_count",
                "zk_ephemerals_count",
                "zk_watch_count",
                "zk_server_state",
                "zk_global_sessions",
            ];
            lines.retain(|line| SAME.iter().any(|key| line.split('\t').next() == Some(key)));
            lines.sort();
        }
        // The genuine server goes on counting connections whose watches have all fired.
        "wchs" => {
            for line in &mut lines {
                if let Some((_, paths)) = line.split_once(" connections ") {
                    *line = format!("N connections {paths}");
                }
            }
        }
        "wchc" => return watch_groups(symbols, without_empty_heads(&lines)),
        "wchp" => return watch_groups(symbols, lines),
        "dump" => {
            // The buckets hold times; what remains is who has which ephemerals.
            let from = lines
                .iter()
                .position(|line| line.starts_with("ephemeral nodes dump"));
            let to = lines
                .iter()
                .position(|line| line.starts_with("Connections dump"));
            lines = lines[from.unwrap_or(0)..to.unwrap_or(lines.len())].to_vec();
            lines = without_empty_heads(&lines);
            lines.retain(|line| !line.starts_with("Sessions with Ephemerals"));
            for line in &mut lines {
                if !line.starts_with('\t') {
                    *line = session_number(symbols, line);
                }
            }
            lines.sort();
        }
        _ => return format!("{answer:?}"),
    }
    format!("{lines:?}")
}

/// What counts of a line of `srvr`: the mode, the node count and the zxid.
fn srvr_line(symbols: &mut Symbols, line: &str) -> String {
    let (name, value) = line.split_once(": ").unwrap_or((line, ""));
    let zxid = value
        .strip_prefix("0x")
        .and_then(|v| i64::from_str_radix(v, 16).ok());
    match (name, zxid) {
        ("Zxid", Some(zxid)) => format!("Zxid: {}", symbols.zxid(zxid)),
        ("Mode" | "Node count" | "Outstanding", _) => line.to_owned(),
        _ => name.to_owned(),
    }
}

/// The lines without sessions that have nothing below them: the genuine server goes on listing
/// those whose watches have all fired, or whose ephemerals have all been deleted.
fn without_empty_heads(lines: &[String]) -> Vec<String> {
    let behind = lines.iter().skip(1).map(Some).chain([None]);
    lines
        .iter()
        .zip(behind)
        .filter(|(line, next)| {
            !line.starts_with("0x") || next.is_some_and(|next| next.starts_with('\t'))
        })
        .map(|(line, _)| line.clone())
        .collect()
}

/// Groups of a head line and indented lines, both in no order.
fn watch_groups(symbols: &mut Symbols, lines: Vec<String>) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix('\t'), groups.last_mut()) {
            (Some(item), Some((_, items))) => items.push(session_number(symbols, item)),
            _ => groups.push((session_number(symbols, &line), Vec::new())),
        }
    }
    for (_, items) in &mut groups {
        items.sort();
    }
    groups.sort();
    format!("{groups:?}")
}

/// `0x...` (with a colon behind it or not) as a session's symbol; anything else as it is.
fn session_number(symbols: &mut Symbols, text: &str) -> String {
    text.trim_end_matches(':')
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map_or_else(|| text.to_owned(), |id| symbols.session(id as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_of_java_are_the_character_they_stand_for() {
        assert_eq!(
            printable(Some(b"/\xed\xa0\xbd\xed\xb8\x80")),
            "\"/\u{1f600}\""
        );
    }

    #[test]
    fn symbols_follow_appearance_and_order_follows_numbers() {
        let mut symbols = Symbols::default();
        let texts = [9, 5, 9, 0, -1].map(|zxid| symbols.zxid(zxid));
        assert_eq!(texts, ["Z0", "Z1", "Z0", "0", "-1"]);
        assert_eq!(symbols.zxid_order(), [1, 0]);
    }

    #[test]
    fn what_is_left_over_is_shown() {
        let text = body(&mut Symbols::default(), 106, 0, &[0, 0, 0, 0, 7]);
        assert_eq!(text, "0 and more: 07");
        assert!(body(&mut Symbols::default(), 3, 0, &[1]).starts_with("undecodable"));
    }

    #[test]
    fn the_word_for_watches_groups_them() {
        let mut symbols = Symbols::default();
        symbols.session(0x10);
        let text = word(&mut symbols, "wchc", b"0x10\n\t/b\n\t/a\n");
        assert_eq!(text, r#"[("S0", ["/a", "/b"])]"#);
    }
}
