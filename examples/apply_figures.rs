//! Measures applying alone: what the tree costs per write, without network, log and Raft.
//!
//! `apply_figures DIR create|multi|set [WRITES] [PER_BATCH]`: WRITES creates below one parent, so
//! many in multis of ten, or so many setData on a thousand znodes. Run it below callgrind for
//! instruction counts that no other load of the machine disturbs.

#![expect(clippy::print_stdout, reason = "it is a tool")]

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use jute::{Acl, Create, Id, Multi, MultiOp, OpCode, SetData, Text, perms};
use oxkeeper::state::{
    Action, Batch, Identities, Identity, LogPosition, Origin, Proposal, Reading, Replica, Rules,
    ServerId, SessionId, Silence,
};
use oxkeeper::storage::{Config, open};

const ORIGIN: Origin = Origin {
    server: ServerId(1),
    incarnation: 1,
};
const SESSIONS: u64 = 64;
const PER_MULTI: u64 = 10;
const HOT: u64 = 1000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [dir, what] => run(Path::new(dir), what, 200_000, 256),
        [dir, what, writes] => run(Path::new(dir), what, writes.parse()?, 256),
        [dir, what, writes, batch] => run(Path::new(dir), what, writes.parse()?, batch.parse()?),
        _ => bail!("usage: apply_figures DIR create|multi|set [WRITES] [PER_BATCH]"),
    }
}

/// Makes batches and applies them.
struct Bench {
    replica: Replica,
    identities: Identities,
    sequence: u64,
    index: u64,
}

impl Bench {
    fn apply(&mut self, actions: impl Iterator<Item = Action>) -> Result<()> {
        let proposals = actions.map(|action| {
            self.sequence += 1;
            let session = SessionId(1 + (self.sequence % SESSIONS).cast_signed());
            Proposal {
                origin: ORIGIN,
                sequence: self.sequence,
                session,
                cxid: 7,
                identities: Arc::clone(&self.identities),
                action,
            }
        });
        let batch = Batch {
            reading: Reading {
                wall_ms: 1_700_000_000_000,
                steady_ms: 0,
            },
            rules: Rules::default(),
            proposals: proposals.collect(),
        };
        let bytes = batch.encode();
        self.index += 1;
        let position = LogPosition {
            term: 1,
            index: self.index,
        };
        let batch = Batch::decode(bytes)?;
        Ok(self.replica.apply(position, &batch, &Silence)?)
    }
}

fn run(dir: &Path, what: &str, writes: u64, per_batch: u64) -> Result<()> {
    let stores = open(&Config {
        data_dir: dir.to_owned(),
        log_dir: dir.to_owned(),
        ..Config::default()
    })?;
    let identity = Identity {
        scheme: Arc::from("ip"),
        id: Arc::from("127.0.0.1"),
    };
    let mut bench = Bench {
        replica: Replica::open(stores.tree(), Rules::default())?,
        identities: Arc::from([identity]),
        sequence: 0,
        index: 0,
    };
    bench.apply((0..SESSIONS).map(|_| Action::OpenSession {
        connection: 0,
        timeout_ms: 30_000,
        password: [0; 16],
    }))?;
    bench.apply(["/b", "/b/p1", "/b/hot"].into_iter().map(create))?;
    bench.apply((0..HOT).map(|index| create(&hot(index))))?;
    let before = cpu_ms()?;
    let mut done = 0;
    while done < writes {
        let count = per_batch.min(writes - done);
        let range = done..done + count;
        match what {
            "create" => bench.apply(range.map(|index| create(&format!("/b/p1/{index:08}"))))?,
            "set" => bench.apply(range.map(|index| set(&hot(index * 7919 % HOT))))?,
            "multi" => bench.apply(range.step_by(10).map(multi))?,
            _ => bail!("create, multi or set"),
        }
        done += count;
    }
    let took = cpu_ms()? - before;
    println!(
        "{what}: {:.2} us of CPU per write, {} MB resident, {} MB written",
        f64::from(u32::try_from(took)?) * 1000.0 / f64::from(u32::try_from(writes)?),
        resident()?,
        field("/proc/self/io", "write_bytes:")? >> 20,
    );
    Ok(())
}

fn hot(index: u64) -> String {
    format!("/b/hot/{index:04}")
}

fn record(path: &str) -> Create {
    let acl = Acl {
        perms: perms::ALL,
        id: Id {
            scheme: Some(Text::from("world")),
            id: Some(Text::from("anyone")),
        },
    };
    Create {
        path: Some(Text::from(path)),
        data: Some(Bytes::from_static(&[b'x'; 100])),
        acl: Some(vec![acl]),
        flags: 0,
    }
}

fn client(op: OpCode, encode: impl FnOnce(&mut BytesMut)) -> Action {
    let mut body = BytesMut::new();
    encode(&mut body);
    Action::Client {
        op,
        connection: 0,
        body: body.freeze(),
    }
}

fn create(path: &str) -> Action {
    client(OpCode::CREATE, |out| record(path).encode(out))
}

fn set(path: &str) -> Action {
    let set = SetData {
        path: Some(Text::from(path)),
        data: Some(Bytes::from_static(&[b'y'; 100])),
        version: -1,
    };
    client(OpCode::SET_DATA, |out| set.encode(out))
}

fn multi(first: u64) -> Action {
    let ops = (first..first + PER_MULTI)
        .map(|index| MultiOp::Create(record(&format!("/b/p1/{index:08}"))))
        .collect();
    client(OpCode::MULTI, |out| Multi { ops }.encode(out))
}

/// CPU time of this process, from the kernel's ticks of 10 ms.
fn cpu_ms() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit_once(')').context("the name's end")?.1;
    let times = behind.split_whitespace().skip(11).take(2);
    times
        .map(|ticks| Ok(ticks.parse::<u64>()? * 10))
        .sum::<Result<u64>>()
}

fn resident() -> Result<u64> {
    Ok(field("/proc/self/status", "VmRSS:")? >> 10)
}

fn field(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("a field")?.parse()?)
}
