//! The four-letter words: one state, asked by every word, compared with what the genuine server
//! says (`scripts/words/WORD.golden`).
//!
//! What differs from run to run is written as a symbol: ports, session ids, zxids, times, sizes.
//! Lists that ZooKeeper prints in the order of a hash table are sorted. `envi` may have more lines than
//! the golden, never fewer; `mntr` one.

mod counts;
pub mod ensemble;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{self, Connection, REPLY_TIME_MAX, Received, request};
use crate::server::{Kind, Listens, Options, Server};
use crate::settings;
use crate::suite::Suite;
use crate::wire::Writer;

/// Longer than the run: no session may expire.
const SESSION_MS: i32 = 60_000;
const EPHEMERAL: i32 = 1;
/// Shorter than a connection may be silent: a word whose argument is missing is answered, too.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// The metrics that 3.9 does not have: servers before 3.6 had them, and monitors read them. The second
/// one is of leaders only.
const OF_OLD: [&str; 2] = ["zk_fsync_threshold_exceed_count", "zk_followers"];
/// Figures of `mntr` that both servers must agree on.
const EXACT: [&str; 14] = [
    "zk_server_state",
    "zk_ephemerals_count",
    "zk_num_alive_connections",
    "zk_outstanding_requests",
    "zk_znode_count",
    "zk_global_sessions",
    "zk_local_sessions",
    "zk_watch_count",
    "zk_approximate_data_size",
    "zk_quorum_size",
    "zk_learners",
    "zk_synced_followers",
    "zk_synced_observers",
    "zk_pending_syncs",
];

/// Asks every word; true when all answers are as they should be.
///
/// With `UPDATE=1` the answers become the goldens; only the genuine server may write them.
///
/// # Errors
/// A golden cannot be read, or no server starts.
pub fn run(kind: Kind) -> Result<bool> {
    let mut suite = Suite::open(format!("four-letter words on {kind}"));
    let mut answers = open_words(kind)?;
    answers.extend(listed_words(kind)?);
    answers.extend(ipv6_words(kind)?);
    let counted = fs::read_to_string(golden_dir("").join(format!("{}.golden", counts::NAME)));
    let counted = counted.ok().filter(|_| !settings::update_goldens());
    answers.extend(counts::count(kind, counted)?);
    compare(&mut suite, kind, "", answers)?;
    Ok(suite.close())
}

fn golden_dir(below: &str) -> PathBuf {
    settings::package_dir().join("scripts/words").join(below)
}

/// Compares answers, by their names, with the goldens in that directory; or makes them the goldens.
fn compare(
    suite: &mut Suite,
    kind: Kind,
    below: &str,
    answers: Vec<(String, String)>,
) -> Result<()> {
    let update = settings::update_goldens();
    ensure!(
        !update || kind == Kind::ZooKeeper,
        "only SERVER=zookeeper may write the goldens"
    );
    let dir = golden_dir(below);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for (name, text) in answers {
        let path = dir.join(format!("{name}.golden"));
        if update {
            fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
            suite.pass(format_args!("{name} (written)"));
            continue;
        }
        let golden = fs::read_to_string(&path)
            .with_context(|| format!("read {}: record it with UPDATE=1", path.display()))?;
        let mut wrong = missing("missing", &golden, &text);
        let is_mntr = name.ends_with("mntr");
        if is_mntr {
            let more = missing("too many", &text, &golden).into_iter();
            wrong.extend(more.filter(|line| !OF_OLD.iter().any(|name| line.contains(name))));
        }
        let by_line = is_mntr || name == "envi";
        if golden == text || (by_line && wrong.is_empty()) {
            suite.pass(&name);
        } else if by_line {
            suite.fail(&name, wrong.join("\n"));
        } else {
            suite.fail(&name, format_args!("golden:\n{golden}\nfound:\n{text}"));
        }
    }
    Ok(())
}

/// The lines of `all` that `text` does not have.
fn missing(what: &str, all: &str, text: &str) -> Vec<String> {
    let found: BTreeSet<&str> = text.lines().collect();
    let lines = all.lines().filter(|line| !found.contains(line));
    lines.map(|line| format!("{what}| {line}")).collect()
}

/// A server that answers every word.
fn open_words(kind: Kind) -> Result<Vec<(String, String)>> {
    let mut server = Server::start(kind, Options::default())?;
    let address = server.address();
    let (one, other) = (Client::open(address)?, Client::open(address)?);
    let symbols = Symbols {
        one: one.session,
        other: other.session,
        port: address.port(),
    };
    let (one, other) = furnish(one, other)?;
    let mut answers = Vec::new();
    let mut ask = |name: &str, bytes: &[u8]| -> Result<()> {
        let text = client::word(address, bytes, ANSWER_TIME_MAX)?;
        answers.push((name.to_owned(), symbols.normalise(name, &text)));
        Ok(())
    };
    for word in [
        "ruok", "isro", "gtmk", "hash", "wchs", "wchc", "wchp", "dump",
    ] {
        ask(word, word.as_bytes())?;
    }
    ask(
        "stmk",
        &[b"stmk".as_slice(), &300_i64.to_be_bytes()].concat(),
    )?;
    for (name, bytes) in [
        ("stmk-without-argument", b"stmk".as_slice()),
        ("stmk-with-line-feed", b"stmk\n"),
        ("stmk-with-half-an-argument", b"stmk\0\0\0\0"),
    ] {
        ask(name, bytes)?;
    }
    ask("gtmk-after-stmk", b"gtmk")?;
    ask(
        "stmk-back",
        &[b"stmk".as_slice(), &306_i64.to_be_bytes()].concat(),
    )?;
    ask("telnet-close", &[0xff, 0xf4, 0xff, 0xfd])?;
    ask("upper-case", b"RUOK")?;
    ask("unknown", b"lead")?;
    ask("with-line-feed", b"ruok\r\n")?;
    for word in ["cons", "crst"] {
        ask(word, word.as_bytes())?;
    }
    ask("cons-after-crst", b"cons")?;
    for word in ["srst", "srvr", "stat", "mntr", "conf", "dirs", "envi"] {
        ask(word, word.as_bytes())?;
    }
    drop((one, other));
    server.stop()?;
    Ok(answers)
}

/// What names peers, asked by peers of IPv6.
fn ipv6_words(kind: Kind) -> Result<Vec<(String, String)>> {
    if matches!(kind, Kind::External(_)) {
        return Ok(Vec::new());
    }
    let mut server = Server::start(kind, Options::default().listens(Listens::Loopback6))?;
    let address = server.address();
    let (one, other) = (Client::open(address)?, Client::open(address)?);
    let symbols = Symbols {
        one: one.session,
        other: other.session,
        port: address.port(),
    };
    let mut answers = Vec::new();
    // How often it was asked whether it serves depends on how long it took to.
    client::word(address, b"srst", REPLY_TIME_MAX)?;
    for word in ["cons", "stat", "dump"] {
        let text = client::word(address, word.as_bytes(), REPLY_TIME_MAX)?;
        answers.push((format!("{word}-ipv6"), symbols.normalise(word, &text)));
    }
    drop((one, other));
    server.stop()?;
    Ok(answers)
}

/// A server that answers some words only.
fn listed_words(kind: Kind) -> Result<Vec<(String, String)>> {
    if matches!(kind, Kind::External(_)) {
        return Ok(Vec::new());
    }
    let options = Options::default().config("4lw.commands.whitelist", "wchs, isro,nosuch");
    let mut server = Server::start(kind, options)?;
    let mut text = String::new();
    for word in [
        b"ruok".as_slice(),
        b"wchs",
        b"isro",
        b"gtmk",
        b"stmk\0\0\0\0\0\0\0\0",
        b"lead",
        b"mntr",
        b"srvr",
        &[0xff, 0xf4, 0xff, 0xfd],
    ] {
        let answer = client::word(server.address(), word, REPLY_TIME_MAX)?;
        let first = answer.lines().next().unwrap_or_default();
        let first = first.split(": ").next().unwrap_or_default();
        let word = word[..4].escape_ascii();
        text += &format!("{word}> {first}\n");
    }
    server.stop()?;
    Ok(vec![("whitelist".to_owned(), text)])
}

/// One session that sends a request at a time.
struct Client {
    connection: Connection,
    session: i64,
    xid: i32,
}

impl Client {
    fn open(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        let (session, _password) = connection.new_session(SESSION_MS)?;
        Ok(Self {
            connection,
            session,
            xid: 0,
        })
    }

    /// The whole reply.
    fn ask(&mut self, opcode: i32, body: &Writer) -> Result<Vec<u8>> {
        self.xid += 1;
        let frame = request(self.xid, opcode, &body.clone().finish());
        self.connection.send(&frame);
        match self.connection.receive()? {
            Received::Frame(reply) => Ok(reply),
            answer => bail!("no answer: {answer:?}"),
        }
    }

    fn create(&mut self, path: &str, data: &str, flags: i32) -> Result<()> {
        let mut body = Writer::new();
        body.buffer(Some(path.as_bytes()))
            .buffer(Some(data.as_bytes()));
        body.i32(1)
            .i32(31)
            .buffer(Some(b"world"))
            .buffer(Some(b"anyone"));
        self.ask(1, body.i32(flags)).map(drop)
    }

    /// exists (3), getData (4) or getChildren (8), with a watch.
    fn watch(&mut self, opcode: i32, path: &str) -> Result<()> {
        let mut body = Writer::new();
        let body = body.buffer(Some(path.as_bytes())).bool(true);
        self.ask(opcode, body).map(drop)
    }
}

/// Two sessions with ephemerals and watches; returned so that they stay.
fn furnish(mut one: Client, mut other: Client) -> Result<(Client, Client)> {
    one.create("/a", "x", 0)?;
    one.create("/a/e", "1", EPHEMERAL)?;
    other.create("/b", "2", EPHEMERAL)?;
    one.watch(3, "/a")?;
    one.watch(4, "/b")?;
    other.watch(3, "/a")?;
    other.watch(3, "/none")?;
    one.watch(8, "/a")?;
    // What is measured is measured after the reply has been sent.
    std::thread::sleep(Duration::from_millis(100));
    Ok((one, other))
}

/// What stands for what in the goldens.
struct Symbols {
    one: i64,
    other: i64,
    port: u16,
}

impl Symbols {
    fn normalise(&self, name: &str, text: &str) -> String {
        let mut text = text
            .replace(&format!("0x{:x}", self.one), "<one>")
            .replace(&format!("0x{:x}", self.other), "<other>");
        text = text
            .lines()
            .map(|line| self.line(line) + "\n")
            .collect::<String>()
            + if text.ends_with('\n') {
                ""
            } else {
                "<no line feed>\n"
            };
        match name {
            "cons" | "cons-after-crst" | "stat" => sorted(&text, |line| line.starts_with(" /")),
            "dump" => dumped(&text),
            "wchc" | "wchp" => grouped(&text),
            "mntr" => monitored(&text),
            "envi" => keys(&text),
            _ => text,
        }
    }

    fn line(&self, line: &str) -> String {
        let mut line = line.to_owned();
        let peers = ["/127.0.0.1:", "/[0:0:0:0:0:0:0:1]:"];
        for peer in peers {
            let Some(at) = line.find(peer) else { continue };
            let from = at + peer.len();
            let digits = line[from..].bytes().take_while(u8::is_ascii_digit).count();
            line.replace_range(from..from + digits, "<port>");
        }
        for field in ["est=", "lresp=", "llat=", "minlat=", "avglat=", "maxlat="] {
            line = number_behind(&line, field);
        }
        for field in ["lzxid=0x", "Zxid: 0x"] {
            line = hex_behind(&line, field);
        }
        for field in [
            "dataDirSize=",
            "dataLogSize=",
            "datadir_size: ",
            "logdir_size: ",
        ] {
            line = number_behind(&line, field);
        }
        if let Some(built) = line.find(", built on ") {
            line.truncate(built);
            if let Some(dash) = line.rfind('-') {
                line.truncate(dash);
            }
            line += "-<commit>, built on <date>";
        }
        if line.starts_with("Latency min/avg/max: ") {
            line = "Latency min/avg/max: <n>/<mean>/<n>".to_owned();
        }
        for key in ["dataDir=", "dataLogDir="] {
            if line.starts_with(key) && line.ends_with("/version-2") {
                line = format!("{key}<dir>/version-2");
            }
        }
        line.replace(&format!("clientPort={}", self.port), "clientPort=<port>")
    }
}

fn number_behind(line: &str, field: &str) -> String {
    replaced(line, field, |byte| byte.is_ascii_digit(), "<n>")
}

/// Zxids differ; "none yet" does not.
fn hex_behind(line: &str, field: &str) -> String {
    if line.contains("0xffffffffffffffff") {
        return line.to_owned();
    }
    replaced(line, field, |byte| byte.is_ascii_hexdigit(), "<zxid>")
}

fn replaced(line: &str, field: &str, belongs: impl Fn(u8) -> bool, symbol: &str) -> String {
    let Some(at) = line.find(field) else {
        return line.to_owned();
    };
    let from = at + field.len();
    let length = line[from..]
        .bytes()
        .take_while(|byte| belongs(*byte))
        .count();
    format!("{}{symbol}{}", &line[..from], &line[from + length..])
}

/// The lines that are `chosen`, sorted where the first of them stands.
fn sorted(text: &str, chosen: impl Fn(&str) -> bool) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| chosen(line)).collect();
    lines.sort_unstable();
    let mut next = lines.into_iter();
    let put = text.lines().map(|line| {
        if chosen(line) {
            next.next().unwrap_or_default()
        } else {
            line
        }
    });
    put.map(|line| format!("{line}\n")).collect()
}

/// Each head with its indented lines, both sorted.
fn grouped(text: &str) -> String {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut rest = String::new();
    let mut head = "";
    for line in text.lines() {
        if line.starts_with('\t') {
            groups.entry(head).or_default().insert(line);
        } else if line.is_empty() {
            rest += "\n";
        } else {
            head = line;
            groups.entry(head).or_default();
        }
    }
    let groups = groups.into_iter().map(|(head, lines)| {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("{head}\n{lines}")
    });
    groups.collect::<String>() + &rest
}

/// Buckets depend on the clock: their heads go, what is in them is sorted within its section.
fn dumped(text: &str) -> String {
    let mut out = String::new();
    let mut section: Vec<String> = Vec::new();
    let flush = |out: &mut String, section: &mut Vec<String>| {
        section.sort_unstable();
        *out += &section
            .drain(..)
            .map(|line| line + "\n")
            .collect::<String>();
    };
    let mut owner = String::new();
    for line in text.lines() {
        if line.contains(" expire at ") {
            let date = line.split(" expire at ").nth(1).unwrap_or_default();
            let fields: Vec<usize> = date.split(' ').map(str::len).collect();
            if fields != [3, 3, 2, 8, 3, 5] {
                section.push(format!("not Java's date: {line}"));
            }
        } else if line.starts_with('\t') {
            section.push(format!("{owner}{line}"));
        } else if line.starts_with('<') {
            owner = line.to_owned();
        } else {
            flush(&mut out, &mut section);
            owner.clear();
            let line = match line.split_once("Sets (") {
                Some((kind, counts)) => {
                    let all = counts.split_once(")/").map_or("", |(_, all)| all);
                    format!("{kind}Sets (<n>)/{all}")
                }
                None => line.to_owned(),
            };
            out += &(line + "\n");
        }
    }
    flush(&mut out, &mut section);
    out
}

/// Names and what kind of value they have; the values that must be equal.
fn monitored(text: &str) -> String {
    let mut lines = BTreeSet::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once('\t') else {
            lines.insert(format!("no tab: {line}"));
            continue;
        };
        // zk-differs: summaries by namespace have no members here.
        if name.ends_with("_per_namespace") {
            continue;
        }
        let kind = if EXACT.contains(&name) || name == "zk_version" {
            value.to_owned()
        } else if value.parse::<i64>().is_ok() {
            "<whole>".to_owned()
        } else if value.parse::<f64>().is_ok() {
            "<broken>".to_owned()
        } else {
            format!("no number: {value}")
        };
        lines.insert(format!("{name}\t{kind}"));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn keys(text: &str) -> String {
    let keys = text
        .lines()
        .map(|line| line.split('=').next().unwrap_or_default());
    keys.map(|key| format!("{key}\n")).collect()
}
