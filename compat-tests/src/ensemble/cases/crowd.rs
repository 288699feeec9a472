//! Sessions that do nothing but live: each has an ephemeral, pings, and comes back elsewhere when its
//! server sends it away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::proof::client::Client;
use super::super::proof::history::{End, Op, Outcome};

/// How long a server may take to answer one of them when nothing is wrong.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// Some sessions.
pub(super) struct Crowd {
    ending: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Client>>,
}

fn path(client: usize) -> String {
    format!("/crowd-{client}")
}

impl Crowd {
    /// Opens so many, on all servers in turn. `first`: the number of the first, which no other has.
    pub(super) fn open(
        addresses: &[SocketAddr],
        first: usize,
        count: usize,
        timeout: Duration,
    ) -> Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for id in first..first + count {
            let mut client = Client::new(id, addresses.to_vec(), Instant::now(), timeout);
            let create = Op::Create {
                path: path(id),
                data: format!("of client {id}"),
                flags: 1,
            };
            let (_, created) = client.ask(&create, ANSWER_TIME_MAX).context("no answer")?;
            ensure!(matches!(created, Outcome::Created(..)), "{created:?}");
            let ending = Arc::clone(&ending);
            clients.push(std::thread::spawn(move || {
                while !ending.load(Ordering::SeqCst) {
                    client.connect();
                    client.turn();
                }
                client
            }));
        }
        Ok(Self { ending, clients })
    }

    /// They look whether they still have what they own; how often they connected.
    ///
    /// # Errors
    /// A session has been ended, or an ephemeral is gone.
    pub(super) fn end(self) -> Result<usize> {
        self.ending.store(true, Ordering::SeqCst);
        let (mut connected, mut wrong) = (0, Vec::new());
        for client in self.clients {
            let mut client = client.join().expect("a client does not panic");
            let id = client.id;
            let exists = Op::Exists {
                path: path(id),
                watch: false,
            };
            let answer = client.ask(&exists, ANSWER_TIME_MAX);
            let is_there = matches!(&answer, Some((_, Outcome::Stat(stat))) if Some(stat.owner) == client.session());
            let sessions = &client.record.sessions;
            let expired = sessions
                .iter()
                .filter(|it| matches!(it.end, End::Expired { .. }));
            if expired.count() > 0 || !is_there {
                wrong.push(format!(
                    "client {id}: {sessions:x?}, its ephemeral: {answer:x?}"
                ));
            }
            connected += client.record.tapes.len();
            client.ask(&Op::Close, ANSWER_TIME_MAX);
        }
        ensure!(
            wrong.is_empty(),
            "sessions were lost:\n{}",
            wrong.join("\n")
        );
        Ok(connected)
    }
}
