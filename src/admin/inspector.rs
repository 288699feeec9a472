//! Answers four-letter words.

use std::sync::Arc;

use super::config::Config;
use crate::pipeline::Pipeline;
use crate::session::Connection;

/// Answers questions about the server.
#[derive(Debug)]
pub struct Inspector {
    config: Config,
    pipeline: Arc<Pipeline>,
}

impl Inspector {
    /// Looks at what `pipeline` holds.
    pub fn new(config: Config, pipeline: Arc<Pipeline>) -> Self {
        Self { config, pipeline }
    }

    /// True if the first four bytes of a connection are a command word.
    pub fn knows(&self, word: [u8; 4]) -> bool {
        matches!(&word, b"ruok" | b"srvr")
    }

    /// True if the word is followed by eight bytes (stmk).
    pub fn takes_argument(&self, word: [u8; 4]) -> bool {
        &word == b"stmk"
    }

    /// The whole answer to a command word; `asking` is the connection that asks.
    pub async fn command(&self, word: [u8; 4], _argument: Option<i64>, _asking: &Connection) -> String {
        let name = String::from_utf8_lossy(&word).into_owned();
        if !self.config.commands.allows(&name) {
            return format!("{name} is not executed because it is not in the whitelist.\n");
        }
        match &word {
            b"ruok" => "imok".to_owned(),
            _ => format!("Zxid: {}\nMode: standalone\n", self.pipeline.replica.read().last_zxid()),
        }
    }
}
