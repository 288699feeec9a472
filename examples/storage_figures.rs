//! Measures the stores alone: a synced append, and a million znodes in little memory.
//!
//! `storage_figures sync DIR`, `storage_figures fill DIR [ZNODES]`, `storage_figures reopen DIR`.

#![expect(clippy::print_stdout, reason = "it is a tool")]

use std::path::Path;
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use oxkeeper::state::{
    Change, LogPosition, Meta, Missing, Origin, Outcome, Peek, SessionId, Store, Txn, Znode, Zxid,
};
use oxkeeper::storage::{Config, Log, LogEntry, StorageError, Stores, open};
use tokio::time::Instant;

const BATCH: u64 = 100;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sync", dir] => sync(Path::new(dir)),
        ["fill", dir] => fill(Path::new(dir), 1_000_000),
        ["fill", dir, znodes] => fill(Path::new(dir), znodes.parse()?),
        ["reopen", dir] => reopen(Path::new(dir)),
        _ => bail!("usage: storage_figures sync|fill|reopen DIR [ZNODES]"),
    }
}

fn config(dir: &Path) -> Config {
    Config {
        data_dir: dir.to_owned(),
        log_dir: dir.to_owned(),
        memory_bytes: 64 << 20,
        log_bytes_before_flush: 16 << 20,
        ..Config::default()
    }
}

fn append(log: &dyn Log, index: u64, payload: Vec<u8>) -> Result<()> {
    let (tell, told) = mpsc::sync_channel::<Result<(), StorageError>>(1);
    let position = LogPosition { term: 1, index };
    let entry = LogEntry {
        position,
        payload: Bytes::from(payload),
    };
    let durable = move |result| drop(tell.send(result));
    log.append(vec![entry], Box::new(durable));
    Ok(told.recv()??)
}

fn sync(dir: &Path) -> Result<()> {
    let stores = open(&config(dir))?;
    let mut took = Vec::new();
    let next = stores.log.ends().last.map_or(0, |last| last.index + 1);
    for index in next..next + 2000 {
        let began = Instant::now();
        append(&*stores.log, index, vec![7; 200])?;
        took.push(began.elapsed().as_micros());
    }
    took.sort_unstable();
    let at = |percent: usize| {
        took.get(took.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "synced append of 200 bytes: p50 {} us, p99 {} us",
        at(50),
        at(99)
    );
    Ok(())
}

fn txn(zxid: u64, changes: Vec<Change>) -> Txn {
    Txn {
        origin: Origin::default(),
        sequence: 0,
        session: SessionId::NONE,
        cxid: 0,
        zxid: Zxid(zxid.cast_signed()),
        time_ms: 0,
        outcome: Outcome::Done,
        changes,
        events: Vec::new(),
    }
}

fn path(index: u64) -> Arc<str> {
    format!("/load/{:03}/node-{index:08}", index % 1000).into()
}

fn change(path: Arc<str>, children: u32, listed: bool) -> Change {
    let data: Arc<[u8]> = (0..100_usize)
        .map(|at| {
            path.as_bytes()
                .get(at % path.len())
                .copied()
                .unwrap_or_default()
        })
        .collect();
    let after = Some(Arc::new(Znode {
        children,
        data: Some(data),
        ..Znode::default()
    }));
    Change::Znode {
        path,
        after,
        listed,
    }
}

fn fill(dir: &Path, znodes: u64) -> Result<()> {
    let stores = open(&config(dir))?;
    let began = Instant::now();
    let mut index = 0;
    let mut flushed = 0;
    apply(
        &stores,
        index,
        (0..1000).map(|n| change(format!("/load/{n:03}").into(), 1, true)),
    )?;
    let roots = ["/", "/load"].map(|path| change(path.into(), 1, true));
    index += 1;
    apply(&stores, index, roots.into_iter())?;
    for batch in 0..znodes / BATCH {
        index += 1;
        let nodes = batch * BATCH..(batch + 1) * BATCH;
        // As the state does: look whether it is there, then create it.
        for node in nodes.clone() {
            if stores.tree().load(&path(node))?.is_some() {
                bail!("{} exists", path(node));
            }
        }
        apply(
            &stores,
            index,
            nodes.map(|node| change(path(node), 0, true)),
        )?;
        if stores.log.appended_bytes() > flushed + (16 << 20) {
            flushed = stores.log.appended_bytes();
            let began = Instant::now();
            let taken = stores.snapshots.take()?;
            let position = taken.meta.applied.context("applied")?;
            stores.log.purge(position)?;
            let took = began.elapsed();
            println!(
                "{index:>6} entries, checkpoint and purge {took:?}, {} MB resident",
                resident()
            );
        }
    }
    println!(
        "{znodes} znodes in {:?}, {} MB resident",
        began.elapsed(),
        resident()
    );
    read_all(&*stores.tree(), znodes)?;
    println!("{:#?}", stores.stats());
    drop(stores);
    println!("{} MB written to the disk", written());
    Ok(())
}

fn apply(stores: &Stores, index: u64, changes: impl Iterator<Item = Change>) -> Result<()> {
    append(&*stores.log, index, vec![1; 15_000])?;
    let txn = txn(index, changes.collect());
    let tree = stores.tree();
    let mut entry = tree.entry();
    entry.install(&txn);
    entry.stage(&[txn])?;
    let applied = Some(LogPosition { term: 1, index });
    entry.persist(&Meta {
        applied,
        ..Meta::default()
    })?;
    Ok(())
}

fn read_all(tree: &dyn Store, znodes: u64) -> Result<()> {
    let began = Instant::now();
    let mut node = 1_u64;
    for _ in 0..200_000 {
        node = node.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let path = path((node >> 33) % znodes);
        if tree.peek(&path) == Peek::NotInMemory {
            tree.warm(&[Missing::Znode(Arc::clone(&path))], usize::MAX)?;
        }
    }
    println!(
        "200000 random reads in {:?}, {} MB resident",
        began.elapsed(),
        resident()
    );
    let began = Instant::now();
    let hot = path(1);
    for _ in 0..1_000_000 {
        if tree.peek(&hot) == Peek::NotInMemory {
            tree.warm(&[Missing::Znode(Arc::clone(&hot))], usize::MAX)?;
        }
    }
    println!(
        "one hot read: {} ns",
        began.elapsed().as_nanos() / 1_000_000
    );
    let began = Instant::now();
    let mut count = 0;
    tree.view().walk("/", &mut |_, _| {
        count += 1;
        true
    })?;
    println!(
        "walk of {count} in {:?}, {} MB resident",
        began.elapsed(),
        resident()
    );
    Ok(())
}

fn reopen(dir: &Path) -> Result<()> {
    let began = Instant::now();
    let stores = open(&config(dir))?;
    let opened = began.elapsed();
    let restored = stores.tree().restore()?;
    let applied = restored.meta.applied.context("applied")?;
    let log = stores
        .log
        .entries(applied.index + 1..u64::MAX, usize::MAX)?;
    println!(
        "open {opened:?}, {} entries to replay, {} MB resident",
        log.len(),
        resident()
    );
    let found = stores.tree().load(&path(999_999))?.is_some();
    println!("last znode is there: {found}, after {:?}", began.elapsed());
    Ok(())
}

/// Bytes that this process has had written to the disk, in MB.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|line| line.trim().parse::<u64>().ok())
        .unwrap_or_default()
        >> 20
}

/// Resident memory of this process in MB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
