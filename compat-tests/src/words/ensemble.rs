//! The same words asked of the members of an ensemble: of its leader, of a follower, and of the last
//! one that is left, which looks for the others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Client, EPHEMERAL, Symbols, compare};
use crate::client::{REPLY_TIME_MAX, figure, word};
use crate::ensemble::net::Wiring;
use crate::ensemble::{Ensemble, Setup};
use crate::server::Kind;
use crate::suite::Suite;
use crate::wire::Writer;

/// Below the directory of the other goldens.
const DIR: &str = "members";
const LEADER_TIME_MAX: Duration = Duration::from_secs(30);
const WORDS: [&str; 9] = [
    "ruok", "isro", "srvr", "stat", "conf", "cons", "dump", "wchs", "mntr",
];
const UNSERVED: [&str; 15] = [
    "ruok", "isro", "srvr", "stat", "conf", "cons", "crst", "srst", "dirs", "dump", "wchs", "wchc",
    "wchp", "hash", "mntr",
];
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// Asks every word of every kind of member; true when all answers are as they should be.
///
/// With `UPDATE=1` the answers become the goldens; only the genuine ensemble may write them.
///
/// # Errors
/// A golden cannot be read, or no ensemble starts.
pub fn run(kind: Kind) -> Result<bool> {
    let mut suite = Suite::open(format!("four-letter words of an ensemble on {kind}"));
    compare(&mut suite, kind, DIR, answers(kind)?)?;
    Ok(suite.close())
}

fn answers(kind: Kind) -> Result<Vec<(String, String)>> {
    let mut ensemble = Ensemble::start(&Setup::new(kind, Wiring::Loopback))?;
    let leader = ensemble.wait_for_leader(LEADER_TIME_MAX)?;
    let (follower, third) = match leader {
        0 => (1, 2),
        1 => (0, 2),
        _ => (0, 1),
    };
    let mut one = Client::open(ensemble.address(leader))?;
    let mut other = Client::open(ensemble.address(follower))?;
    for (client, member) in [(&one, leader), (&other, follower)] {
        let server = client.session >> 56;
        ensure!(
            usize::try_from(server) == Ok(member + 1),
            "the session {:#x} of server {}",
            client.session,
            member + 1
        );
    }
    one.create("/a", "x", 0)?;
    one.create("/a/e", "1", EPHEMERAL)?;
    other.create("/b", "2", EPHEMERAL)?;
    other.watch(3, "/a")?;
    let mut answers = Vec::new();
    for (role, member, client) in [
        ("leader", leader, &mut one),
        ("follower", follower, &mut other),
    ] {
        let text = config(client)?;
        answers.push((format!("{role}-config"), placed(&text, member)));
    }
    for (role, member) in [("leader", leader), ("follower", follower)] {
        let address = ensemble.address(member);
        let symbols = Symbols {
            one: one.session,
            other: other.session,
            port: address.port(),
        };
        answers.push((format!("{role}-counts"), counts(address)?));
        // What was asked until they served is not counted.
        word(address, b"srst", REPLY_TIME_MAX)?;
        for name in WORDS {
            let text = word(address, name.as_bytes(), REPLY_TIME_MAX)?;
            let text = symbols.normalise(name, &placed(&text, member));
            answers.push((format!("{role}-{name}"), of_no_member(&text)));
        }
    }
    ensemble.kill9(leader)?;
    ensemble.kill9(third)?;
    answers.push(("looking".to_owned(), looking(&ensemble, follower)?));
    Ok(answers)
}

/// Which of the counters of what was written have counted.
fn counts(address: SocketAddr) -> Result<String> {
    let text = word(address, b"mntr", REPLY_TIME_MAX)?;
    let mut out = String::new();
    for name in [
        "zk_proposal_count",
        "zk_commit_count",
        "zk_learner_proposal_received_count",
        "zk_learner_commit_received_count",
        "zk_cnt_quorum_ack_latency",
        "zk_cnt_propagation_latency",
        "zk_last_proposal_size",
        "zk_min_proposal_size",
        "zk_max_proposal_size",
    ] {
        let value: i64 = match figure(&text, name) {
            Some(value) => value,
            // Of the leader only.
            None if name.ends_with("_proposal_size") => continue,
            None => bail!("no {name}"),
        };
        let some = if value > 0 { "some" } else { "none" };
        out += &format!("{name}\t{some}\n");
    }
    Ok(out)
}

/// The text of `/zookeeper/config`, which Curator's EnsembleTracker reads.
fn config(client: &mut Client) -> Result<String> {
    let mut body = Writer::new();
    body.buffer(Some(b"/zookeeper/config")).bool(false);
    let reply = client.ask(4, &body)?;
    // Behind the header of the reply: the length of the data, and the data.
    let length = reply.get(16..20).context("no length")?;
    let length = u32::from_be_bytes(length.try_into()?);
    let end = 20 + usize::try_from(length)?;
    let stat = reply.get(end..).context("no stat")?;
    let number = |at: usize| stat.get(at..at + 8).map(<[u8]>::to_vec);
    let [zero, unset] = [0_i64, -1].map(i64::to_be_bytes);
    ensure!(number(0).as_deref() == Some(&zero), "czxid");
    ensure!(number(8).as_deref() == Some(&zero), "mzxid");
    ensure!(
        stat.get(32..36) == unset.get(..4),
        "its version is that of nobody's write"
    );
    Ok(String::from_utf8(reply[20..end].to_vec())?)
}

/// Ports differ from run to run, and who leads does, too.
fn placed(text: &str, member: usize) -> String {
    let own = format!("serverId={}", member + 1);
    let line = |line: &str| {
        if line == own {
            return "serverId=<own>".to_owned();
        }
        for key in ["electionPort=", "quorumPort="] {
            if line.strip_prefix(key).is_some_and(is_number) {
                return format!("{key}<port>");
            }
        }
        match line.split(':').collect::<Vec<_>>().as_slice() {
            [server, quorum, election, rest @ ..]
                if server.starts_with("server.") && is_number(quorum) && is_number(election) =>
            {
                let rest: String = rest.iter().map(|part| format!(":{part}")).collect();
                format!("{server}:<port>:<port>{rest}")
            }
            _ => line.to_owned(),
        }
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    lines.join("\n") + end
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Without the summaries that a leader keeps of each member: there are none here.
fn of_no_member(text: &str) -> String {
    let is_of_one = |line: &&str| {
        let name = line.split('\t').next().unwrap_or_default();
        name.starts_with("zk_") && name.split('_').any(is_number)
    };
    let lines = text.lines().filter(|line| !is_of_one(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What a member answers that has lost its leader.
fn looking(ensemble: &Ensemble, member: usize) -> Result<String> {
    let address = ensemble.address(member);
    let deadline = Instant::now() + LEADER_TIME_MAX;
    while !word(address, b"srvr", REPLY_TIME_MAX)?.starts_with(NOT_SERVING) {
        if Instant::now() > deadline {
            bail!("it serves without a leader\n{}", ensemble.logs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut text = String::new();
    for name in UNSERVED {
        let answer = word(address, name.as_bytes(), REPLY_TIME_MAX)?;
        text += &format!("{name}: {}\n", answer.escape_debug());
    }
    Ok(text)
}
