//! The four-letter words, byte for byte as ZooKeeper answers them.
//!
//! ```text
//!   net ─▶ Word::parse ─▶ whitelist ─▶ answer ─┬─ server   srvr stat conf dirs envi
//!                                               ├─ clients  cons dump
//!                                               ├─ watches  wchs wchc wchp
//!                                               └─ monitor  mntr
//! ```
//!
//! zk: org.apache.zookeeper.server.command. Each file renders types of `report`; none reads the
//! server itself.

mod clients;
mod monitor;
mod server;
#[cfg(test)]
mod tests;
mod watches;

pub(super) use monitor::{Figures, Number};
pub(super) use server::VERSION;

use std::fmt::Write as _;

use super::config::{Config, MetricsProvider};
use super::report::Sources;
use crate::connection::ConnectionId;
use crate::metrics;

/// ZooKeeper's answer of a server that knows no leader.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";
/// Largest answer of `wchc` and `wchp`, about: what is behind it is left out.
const WATCHES_BYTES_MAX: usize = 256 << 20;

/// A command word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    /// What telnet sends when its user gives up.
    TelnetClose,
    Wchc,
    Wchp,
    Wchs,
}

impl Word {
    /// The first four bytes of a connection; `None` if they are the length of a frame.
    ///
    /// zk: FourLetterCommands: upper case is no word.
    pub(super) fn parse(bytes: [u8; 4]) -> Option<Self> {
        Some(match &bytes {
            b"conf" => Word::Conf,
            b"cons" => Word::Cons,
            b"crst" => Word::Crst,
            b"dirs" => Word::Dirs,
            b"dump" => Word::Dump,
            b"envi" => Word::Envi,
            b"gtmk" => Word::Gtmk,
            b"hash" => Word::Hash,
            b"isro" => Word::Isro,
            b"mntr" => Word::Mntr,
            b"ruok" => Word::Ruok,
            b"srst" => Word::Srst,
            b"srvr" => Word::Srvr,
            b"stat" => Word::Stat,
            b"stmk" => Word::Stmk,
            [0xff, 0xf4, 0xff, 0xfd] => Word::TelnetClose,
            b"wchc" => Word::Wchc,
            b"wchp" => Word::Wchp,
            b"wchs" => Word::Wchs,
            _ => return None,
        })
    }
}

/// The whole answer to a word that reads the server. Blocks for as long as the copying takes.
pub(super) fn answer(
    word: Word,
    sources: &Sources,
    config: &Config,
    asking: ConnectionId,
) -> String {
    let view = sources.view();
    let mut out = String::new();
    if !view.serves() {
        put_unserved(word, &mut out);
        return out;
    }
    match word {
        Word::Ruok => out.push_str("imok"),
        Word::Isro => out.push_str("rw"),
        Word::Srvr => server::put_overview(&mut out, &sources.overview(&view), None),
        Word::Stat => {
            let connections = sources.connections(asking);
            server::put_overview(&mut out, &sources.overview(&view), Some(&connections));
        }
        Word::Conf => {
            let port = sources.client_addr.map(|addr| addr.port());
            let mut conf = config.conf.clone();
            if let (Some(known), Some(members)) = (&mut conf.ensemble, sources.members()) {
                known.membership = members;
            }
            server::put_conf(&mut out, &conf, port, &sources.storage());
        }
        Word::Dirs => server::put_dirs(&mut out, &sources.storage()),
        Word::Envi => server::put_environment(&mut out),
        Word::Cons => clients::put_connections(&mut out, &sources.connections(asking)),
        Word::Dump => clients::put_dump(&mut out, &sources.dump(&view)),
        Word::Crst => {
            sources.reset_connections();
            out.push_str("Connection stats reset.\n");
        }
        Word::Srst => {
            sources.connections.stats().reset();
            sources.ensemble.reset_figures();
            // zk: PrometheusMetricsProvider.resetAllValues does nothing: counters there only grow.
            if config.metrics_provider == MetricsProvider::Default {
                metrics::reset();
            }
            out.push_str("Server stats reset.\n");
        }
        Word::Wchs => watches::put_summary(&mut out, sources.watch_summary()),
        Word::Wchc => watches::put_by_session(&mut out, sources.watches(WATCHES_BYTES_MAX)),
        Word::Wchp => watches::put_by_path(&mut out, sources.watches(WATCHES_BYTES_MAX)),
        Word::Mntr => monitor::put(
            &mut out,
            &Figures::read(sources, view),
            config.metrics_provider,
        ),
        // zk-differs: the tree keeps no digests, so there is no history of them to show. This is
        // also ZooKeeper's answer before zxid 128.
        Word::Hash => {}
        Word::TelnetClose => {}
        // Answered by the inspector, which has the mask.
        Word::Gtmk | Word::Stmk => {}
    }
    out
}

/// What a server answers that does not serve.
///
/// zk: each command's isZKServerRunning; the process lives, so some of them do not ask.
fn put_unserved(word: Word, out: &mut String) {
    match word {
        Word::Ruok => out.push_str("imok"),
        Word::Isro => out.push_str("null"),
        Word::Envi => server::put_environment(out),
        // Answered by the inspector, which has the mask.
        Word::TelnetClose | Word::Gtmk | Word::Stmk => {}
        Word::Hash => out.push_str(NOT_SERVING.trim_end()),
        Word::Conf
        | Word::Cons
        | Word::Crst
        | Word::Dirs
        | Word::Dump
        | Word::Mntr
        | Word::Srst
        | Word::Srvr
        | Word::Stat
        | Word::Wchc
        | Word::Wchp
        | Word::Wchs => out.push_str(NOT_SERVING),
    }
}

/// Appends a line to a `String`, which cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    if out.write_fmt(text).is_ok() {
        out.push('\n');
    }
}
