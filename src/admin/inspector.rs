//! Answers four-letter words.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Semaphore;

use super::config::Config;
use super::four_letter::{self, Word};
use super::report::Sources;
use crate::connection::{Connection, ConnectionId};

/// What `gtmk` answers before the first `stmk`. zk: ZooTrace.traceMask.
const TRACE_MASK: i64 = 306;
/// Words that copy parts of the server at the same time: each may hold some hundred megabytes.
const COPIES_MAX: usize = 2;

/// Answers questions about the server.
#[derive(Debug)]
pub struct Inspector {
    inner: Arc<Inner>,
    copies: Semaphore,
    /// A number that operators may set and read; nothing here is traced by it.
    trace_mask: AtomicI64,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) sources: Sources,
}

impl Inspector {
    /// Looks at `sources`.
    pub fn new(config: Config, sources: Sources) -> Self {
        Self {
            inner: Arc::new(Inner { config, sources }),
            copies: Semaphore::new(COPIES_MAX),
            trace_mask: AtomicI64::new(TRACE_MASK),
        }
    }

    pub(super) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    /// True if the first four bytes of a connection are a command word.
    pub fn knows(&self, word: [u8; 4]) -> bool {
        Word::parse(word).is_some()
    }

    /// The whole answer to a command word; `asking` is the connection that asks. `argument`: the
    /// eight bytes behind stmk, big endian, if they came.
    pub async fn command(
        &self,
        bytes: [u8; 4],
        argument: Option<i64>,
        asking: &Connection,
    ) -> String {
        let Some(word) = Word::parse(bytes) else {
            return String::new();
        };
        // zk: FourLetterCommands.cmd2String: so it is called there, and so a whitelist may name it.
        let name = if word == Word::TelnetClose {
            "telnet close".into()
        } else {
            String::from_utf8_lossy(&bytes)
        };
        if !self.inner.config.commands.allows(&name) {
            return format!("{name} is not executed because it is not in the whitelist.\n");
        }
        match word {
            Word::Gtmk => self.trace_mask.load(Ordering::Relaxed).to_string(),
            Word::Stmk => {
                // zk: NIOServerCnxn.checkFourLetterWord: it must have come together with the word.
                let Some(mask) = argument else {
                    return String::new();
                };
                self.trace_mask.store(mask, Ordering::Relaxed);
                mask.to_string()
            }
            // What takes microseconds is answered here, the rest on a thread that may block.
            Word::Ruok | Word::Isro | Word::Srvr | Word::Hash | Word::TelnetClose | Word::Srst => {
                four_letter::answer(word, &self.inner.sources, &self.inner.config, asking.id)
            }
            Word::Conf
            | Word::Cons
            | Word::Crst
            | Word::Dirs
            | Word::Dump
            | Word::Envi
            | Word::Mntr
            | Word::Stat
            | Word::Wchc
            | Word::Wchp
            | Word::Wchs => self.copy(word, asking.id).await,
        }
    }

    async fn copy(&self, word: Word, asking: ConnectionId) -> String {
        // The semaphore is never closed.
        let _one_of_few = self.copies.acquire().await.ok();
        let inner = Arc::clone(&self.inner);
        let answered = tokio::task::spawn_blocking(move || {
            four_letter::answer(word, &inner.sources, &inner.config, asking)
        });
        match answered.await {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%error, ?word, "command failed");
                String::new()
            }
        }
    }
}
