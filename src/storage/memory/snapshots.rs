//! Checkpoints of the tree in memory. On their way to another server they are files like others: long
//! enough to be cut in pieces, each with its checksum. What they stand for lies on a shelf of this
//! process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use parking_lot::Mutex;

use super::tree::{Contents, MemoryTree};
use crate::state::Store;
use crate::storage::snapshots::Content;
use crate::storage::{Checkpoint, ReceiveError, Receiving, SnapshotFile, Snapshots, StorageError};

/// The files of every checkpoint: the last one says which it is.
const FILES: [(&str, usize); 3] = [("000001.sst", 400_000), ("000002.sst", 90_000), (NAMES, 8)];
const NAMES: &str = "CURRENT";
/// Checkpoints that are remembered by what they are sent as: far more than are under way at once.
const SHELF_MAX: usize = 1024;

static NEXT: AtomicU64 = AtomicU64::new(1);
static SHELF: Mutex<BTreeMap<u64, Contents>> = Mutex::new(BTreeMap::new());

/// Checkpoints of a [`MemoryTree`]: each is what survives a crash from then on.
#[derive(Debug)]
pub struct MemorySnapshots {
    tree: Mutex<Arc<MemoryTree>>,
    newest: Mutex<Option<Checkpoint>>,
    inbox: Arc<Mutex<Inbox>>,
    is_smeared: AtomicBool,
}

#[derive(Debug, Default)]
struct Inbox {
    turn: u64,
    /// What is there of each file.
    there: BTreeMap<SnapshotFile, Vec<u8>>,
}

impl MemorySnapshots {
    /// None taken yet.
    pub fn new(tree: Arc<MemoryTree>) -> Self {
        Self {
            tree: Mutex::new(tree),
            newest: Mutex::new(None),
            inbox: Arc::default(),
            is_smeared: AtomicBool::new(false),
        }
    }

    /// The tree that is there now.
    pub fn tree(&self) -> Arc<MemoryTree> {
        Arc::clone(&self.tree.lock())
    }

    /// For tests of tests: from now on a checkpoint is not of one moment.
    pub fn smear(&self) {
        self.is_smeared.store(true, SeqCst);
    }
}

impl Snapshots for MemorySnapshots {
    fn take(&self) -> Result<Checkpoint, StorageError> {
        let tree = self.tree();
        let contents = tree.flush();
        let smeared = self.is_smeared.load(SeqCst).then_some(tree);
        let taken = checkpoint(contents, smeared);
        *self.newest.lock() = Some(taken.clone());
        Ok(taken)
    }

    fn newest(&self) -> Result<Option<Checkpoint>, StorageError> {
        Ok(self.newest.lock().clone())
    }

    fn receive(&self, files: Vec<SnapshotFile>) -> Result<Box<dyn Receiving>, ReceiveError> {
        let mut inbox = self.inbox.lock();
        inbox.turn += 1;
        inbox.there.retain(|file, _| files.contains(file));
        for file in &files {
            inbox.there.entry(file.clone()).or_default();
        }
        Ok(Box::new(Incoming {
            inbox: Arc::clone(&self.inbox),
            turn: inbox.turn,
            files,
        }))
    }

    fn install(&self, received: Checkpoint) -> Result<Arc<dyn Store>, StorageError> {
        let lost = |path: &PathBuf| StorageError::Lost {
            path: path.clone(),
            why: "it was not received".to_owned(),
        };
        let token = token(&received.content.files()?, |file| {
            received.content.read(file, 0, usize::MAX).ok()
        });
        let contents = token.and_then(|token| SHELF.lock().get(&token).cloned());
        let contents = contents.ok_or_else(|| lost(&received.dir))?;
        let tree = Arc::new(MemoryTree::install(contents));
        *self.tree.lock() = Arc::clone(&tree);
        *self.newest.lock() = None;
        Ok(tree)
    }
}

fn checkpoint(contents: Contents, smeared: Option<Arc<MemoryTree>>) -> Checkpoint {
    let meta = contents.meta.clone();
    let index = meta.applied.unwrap_or_default().index;
    Checkpoint {
        dir: PathBuf::from(format!("memory/{index:016x}")),
        meta,
        content: Arc::new(Taken {
            contents,
            smeared,
            token: Mutex::default(),
        }),
    }
}

/// What the names' file says.
fn token(files: &[SnapshotFile], read: impl FnOnce(&SnapshotFile) -> Option<Bytes>) -> Option<u64> {
    let names = files.iter().find(|file| file.name == NAMES)?;
    let bytes = read(names)?;
    Some(u64::from_be_bytes(*bytes.first_chunk::<8>()?))
}

/// The content of a file: of no meaning, and another one in each checkpoint, but for the names.
fn content(token: u64, name: &str) -> Bytes {
    if name == NAMES {
        return Bytes::copy_from_slice(&token.to_be_bytes());
    }
    let bytes = FILES.iter().find(|(other, _)| *other == name);
    let bytes = bytes.map_or(0, |(_, bytes)| *bytes);
    let seed = token.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let piece: Vec<u8> = name.bytes().chain(seed).collect();
    let whole = piece.repeat(bytes / piece.len() + 1);
    Bytes::from(whole).slice(..bytes)
}

/// A checkpoint that was taken here.
#[derive(Debug)]
struct Taken {
    contents: Contents,
    smeared: Option<Arc<MemoryTree>>,
    token: Mutex<Option<u64>>,
}

impl Taken {
    /// Under which number it lies on the shelf.
    fn token(&self) -> u64 {
        *self.token.lock().get_or_insert_with(|| {
            let token = NEXT.fetch_add(1, SeqCst);
            let mut contents = self.contents.clone();
            if let Some(tree) = &self.smeared {
                tree.smear(&mut contents);
            }
            let mut shelf = SHELF.lock();
            shelf.insert(token, contents);
            if shelf.len() > SHELF_MAX {
                shelf.pop_first();
            }
            token
        })
    }
}

impl Content for Taken {
    fn files(&self) -> Result<Arc<[SnapshotFile]>, StorageError> {
        let token = self.token();
        let file = |(name, _): &(&str, usize)| {
            let content = content(token, name);
            SnapshotFile {
                name: (*name).to_owned(),
                bytes: content.len() as u64,
                crc: crc32fast::hash(&content),
            }
        };
        Ok(FILES.iter().map(file).collect())
    }

    fn read(
        &self,
        file: &SnapshotFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, StorageError> {
        let content = content(self.token(), &file.name);
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let to = from.saturating_add(bytes_max).min(content.len());
        Ok(content.slice(from..to))
    }
}

/// A checkpoint that is being received.
#[derive(Debug)]
struct Incoming {
    inbox: Arc<Mutex<Inbox>>,
    turn: u64,
    files: Vec<SnapshotFile>,
}

impl Receiving for Incoming {
    fn has(&self) -> Vec<u64> {
        let inbox = self.inbox.lock();
        let there = |file| inbox.there.get(file).map_or(0, |bytes| bytes.len() as u64);
        self.files.iter().map(there).collect()
    }

    fn write(&mut self, number: usize, offset: u64, bytes: &[u8]) -> Result<(), ReceiveError> {
        let mut inbox = self.inbox.lock();
        if inbox.turn != self.turn {
            return Err(ReceiveError::Superseded);
        }
        let file = self.files.get(number);
        let there = file.and_then(|file| Some((file, inbox.there.get_mut(file)?)));
        let Some((file, there)) = there else {
            return Err(ReceiveError::Senseless(
                "bytes of a file that was not offered",
            ));
        };
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != there.len() as u64 || end > file.bytes || bytes.is_empty() {
            return Err(ReceiveError::Senseless(
                "bytes that do not follow those before",
            ));
        }
        there.extend_from_slice(bytes);
        if end == file.bytes && crc32fast::hash(there) != file.crc {
            there.clear();
            let file = file.name.clone();
            return Err(ReceiveError::Damaged { file });
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Checkpoint, ReceiveError> {
        let mut inbox = self.inbox.lock();
        if inbox.turn != self.turn {
            return Err(ReceiveError::Superseded);
        }
        let there = std::mem::take(&mut inbox.there);
        let is_whole = |file: &SnapshotFile| {
            let bytes = there.get(file);
            bytes.is_some_and(|bytes| bytes.len() as u64 == file.bytes)
        };
        if !self.files.iter().all(is_whole) {
            return Err(ReceiveError::Senseless(
                "the end before everything had come",
            ));
        }
        let token = token(&self.files, |file| {
            there.get(file).cloned().map(Bytes::from)
        });
        let contents = token.and_then(|token| SHELF.lock().get(&token).cloned());
        let Some(contents) = contents else {
            let file = NAMES.to_owned();
            return Err(ReceiveError::Damaged { file });
        };
        let meta = contents.meta.clone();
        Ok(Checkpoint {
            dir: PathBuf::from("memory/received"),
            meta,
            content: Arc::new(Received {
                files: self.files.clone().into(),
                bytes: there,
            }),
        })
    }
}

/// A checkpoint that was received.
#[derive(Debug)]
struct Received {
    files: Arc<[SnapshotFile]>,
    bytes: BTreeMap<SnapshotFile, Vec<u8>>,
}

impl Content for Received {
    fn files(&self) -> Result<Arc<[SnapshotFile]>, StorageError> {
        Ok(Arc::clone(&self.files))
    }

    fn read(&self, file: &SnapshotFile, _: u64, _: usize) -> Result<Bytes, StorageError> {
        let bytes = self.bytes.get(file).cloned().unwrap_or_default();
        Ok(Bytes::from(bytes))
    }
}
