//! The golden scripts over a socket: each on a server of its own.
//!
//! The language and the printing are those of the crate `golden`, which the server's unit tests use
//! on the state alone. `UPDATE=1 SERVER=zookeeper` writes the scripts anew; nothing else may.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use golden::{Backend, Seen, Settings};
use jute::{Exists, OpCode, Reply, Request, Text};

use crate::client::{Connection, Hello, Received, request, session_count};
use crate::server::{Kind, Options, Server};
use crate::settings;
use crate::suite::{Suite, say};
use crate::wire::Reader;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// The timeout with which a session is taken up to expire; the shortest that is granted.
const EXPIRY_MS: i32 = 400;
const PING_XID: i32 = -2;
const NO_NODE: i32 = -101;

/// Runs the scripts whose name contains `only`; true when all print what they say.
///
/// # Errors
/// The scripts cannot be read or written.
pub fn run(kind: Kind, only: &str) -> Result<bool> {
    let mut suite = Suite::open(format!("golden scripts on {kind}"));
    if matches!(kind, Kind::External(_)) {
        say("skip: each script needs a server that it may configure");
        return Ok(true);
    }
    let update = settings::update_goldens();
    ensure!(
        !update || kind == Kind::ZooKeeper,
        "the genuine server writes the goldens: SERVER=zookeeper"
    );
    for path in scripts()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.contains(only) {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        let mut sockets = Sockets {
            kind,
            server: None,
            clients: HashMap::new(),
            control: None,
        };
        match golden::play(&mut sockets, &text) {
            Ok(played) if played == text => suite.pass(&name),
            Ok(played) if update => {
                fs::write(&path, played).with_context(|| format!("write {name}"))?;
                suite.pass(format_args!("{name}, written"));
            }
            Ok(played) => suite.fail(&name, difference(&text, &played)),
            Err(error) => suite.fail(&name, format_args!("{error:#}")),
        }
    }
    Ok(suite.close())
}

fn scripts() -> Result<Vec<PathBuf>> {
    let dir = settings::package_dir().join("scripts/golden");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        paths.push(entry.context("read an entry of the scripts")?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The lines that differ.
fn difference(wanted: &str, played: &str) -> String {
    let (wanted, played): (Vec<_>, Vec<_>) = (wanted.lines().collect(), played.lines().collect());
    let count = wanted.len().max(played.len());
    let line = |lines: &[&str], at: usize| lines.get(at).map_or("", |line| *line).to_owned();
    let mut text = String::new();
    for at in 0..count {
        let (wanted, played) = (line(&wanted, at), line(&played, at));
        if wanted != played {
            text += &format!("line {}\n  golden  {wanted}\n  played  {played}\n", at + 1);
        }
    }
    text
}

#[derive(Debug, Default)]
struct Client {
    connection: Option<Connection>,
    session: i64,
    password: Vec<u8>,
    xid: i32,
}

/// Clients of one server.
struct Sockets {
    kind: Kind,
    server: Option<Server>,
    clients: HashMap<String, Client>,
    /// Looks whether what is to be reaped is still there.
    control: Option<Connection>,
}

impl Sockets {
    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("no server runs")
    }

    fn client(&mut self, name: &str) -> Result<&mut Client> {
        self.clients
            .get_mut(name)
            .with_context(|| format!("{name} has never been open"))
    }

    /// A connection on which the session is taken up again; `None` if it is gone.
    fn take_up(&mut self, name: &str, timeout_ms: i32) -> Result<Option<Connection>> {
        let address = self.server()?.address();
        let client = self.client(name)?;
        let mut connection = Connection::open(address, ANSWER_TIME_MAX)?;
        let hello = Hello {
            session: client.session,
            password: Some(client.password.clone()),
            ..Hello::new(timeout_ms)
        };
        Ok(connection.take_up(&hello)?.then_some(connection))
    }
}

impl Client {
    /// Reads up to and including the answer with this xid, which is left out if it is a pong.
    fn until(&mut self, xid: i32) -> Result<Vec<Seen>> {
        let connection = self.connection.as_mut().context("not connected")?;
        let mut seen = Vec::new();
        loop {
            let frame = match connection.receive()? {
                Received::Frame(frame) => Bytes::from(frame),
                other => bail!("no answer but {other:?}"),
            };
            match Reply::decode(frame)? {
                Reply::Event { header, event } => seen.push(Seen::Event {
                    zxid: header.zxid,
                    event,
                }),
                Reply::Answer { header, body } => {
                    ensure!(header.xid == xid, "answer {} to {xid}", header.xid);
                    if xid != PING_XID {
                        seen.push(Seen::Answer {
                            zxid: header.zxid,
                            err: header.err,
                            body,
                        });
                    }
                    return Ok(seen);
                }
            }
        }
    }
}

impl Backend for Sockets {
    fn start(&mut self, settings: &Settings) -> Result<()> {
        let word = |on: bool| if on { "yes" } else { "no" };
        let quota = if settings.enforce_quota {
            "true"
        } else {
            "false"
        };
        let options = Options::default()
            .config("tickTime", "200")
            .config("minSessionTimeout", &EXPIRY_MS.to_string())
            .config("enforceQuota", quota)
            .config("skipACL", word(settings.skip_acl))
            .property("znode.container.checkIntervalMs", "300");
        let server = Server::start(self.kind, options)?;
        let mut control = Connection::open(server.address(), ANSWER_TIME_MAX)?;
        control.new_session(600_000)?;
        self.control = Some(control);
        self.server = Some(server);
        Ok(())
    }

    fn open(&mut self, client: &str, timeout_ms: i32) -> Result<i64> {
        let mut connection = Connection::open(self.server()?.address(), ANSWER_TIME_MAX)?;
        let (session, password) = connection.new_session(timeout_ms)?;
        let fresh = Client {
            connection: Some(connection),
            session,
            password,
            xid: 0,
        };
        self.clients.insert(client.to_owned(), fresh);
        Ok(session)
    }

    fn resume(&mut self, client: &str) -> Result<bool> {
        let connection = self.take_up(client, 300_000)?;
        let there = connection.is_some();
        self.client(client)?.connection = connection;
        Ok(there)
    }

    fn drop_connection(&mut self, client: &str) -> Result<()> {
        self.client(client)?.connection = None;
        Ok(())
    }

    fn expire(&mut self, client: &str) -> Result<()> {
        let address = self.server()?.address();
        let sessions = session_count(address, ANSWER_TIME_MAX)?;
        self.client(client)?.connection = None;
        ensure!(
            self.take_up(client, EXPIRY_MS)?.is_some(),
            "it has expired already"
        );
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        while session_count(address, ANSWER_TIME_MAX)? >= sessions {
            ensure!(Instant::now() < deadline, "it does not expire");
            sleep(PAUSE);
        }
        Ok(())
    }

    fn reap(&mut self, path: &str) -> Result<()> {
        let mut body = BytesMut::new();
        let path = Some(Text::from(path));
        let watch = false;
        Request::Exists(Exists { path, watch }).encode_body(&mut body);
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        let control = self.control.as_mut().context("no server runs")?;
        loop {
            control.send(&request(1, OpCode::EXISTS.0, &body));
            let Received::Frame(frame) = control.receive()? else {
                bail!("no answer whether it is there")
            };
            let mut reader = Reader::new(&frame);
            reader.take(12)?;
            if reader.i32()? == NO_NODE {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it is not reaped");
            sleep(PAUSE);
        }
    }

    fn ask(&mut self, client: &str, op: OpCode, body: Bytes) -> Result<Vec<Seen>> {
        let client = self.client(client)?;
        client.xid += 1;
        let xid = client.xid;
        let connection = client.connection.as_mut().context("not connected")?;
        connection.send(&request(xid, op.0, &body));
        let seen = client.until(xid)?;
        if op == OpCode::CLOSE_SESSION {
            client.connection = None;
        }
        Ok(seen)
    }

    fn settle(&mut self, client: &str) -> Result<Vec<Seen>> {
        let client = self.client(client)?;
        let connection = client.connection.as_mut().context("not connected")?;
        connection.send(&request(PING_XID, OpCode::PING.0, &[]));
        client.until(PING_XID)
    }
}
