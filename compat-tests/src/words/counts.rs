//! What is counted of each frame: a client does one thing after the other, and after each the numbers
//! of its connection (`cons`) and of the server (`mntr`) are written down.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Client, SESSION_MS};
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received, figure, request, word};
use crate::server::{Kind, Options, Server};
use crate::wire::Writer;

/// ZooKeeper counts a frame when the socket has taken it, and its bytes behind that: a client may have
/// it before.
const COUNTED_TIME_MAX: Duration = Duration::from_secs(2);
/// Numbers that have been the same so many times more will not change.
const STAYS: usize = 5;
const NODES: usize = 10;
/// Of the golden.
pub(super) const NAME: &str = "counts";

const SET_DATA: i32 = 5;
const GET_DATA: i32 = 4;
const SYNC: i32 = 9;
const PING: i32 = 11;
const AUTH: i32 = 100;
const SET_WATCHES: i32 = 101;
const SASL: i32 = 102;
const WHO_AM_I: i32 = 107;
const CLOSE: i32 = -11;
const NO_SUCH_OPCODE: i32 = 77;

/// What became of each step, as the golden has it.
///
/// # Errors
/// The server does not start, or does not answer.
pub(super) fn count(kind: Kind, golden: Option<String>) -> Result<Vec<(String, String)>> {
    if matches!(kind, Kind::External(_)) {
        return Ok(Vec::new());
    }
    let mut server = Server::start(kind, Options::default())?;
    let mut book = Book::open(server.address(), golden)?;
    dialogue(server.address(), &mut book)?;
    last_words(server.address(), &mut book)?;
    server.stop()?;
    Ok(vec![(NAME.to_owned(), book.text)])
}

fn dialogue(address: SocketAddr, book: &mut Book) -> Result<()> {
    let mut writer = Client::open(address)?;
    for node in 0..NODES {
        writer.create(&format!("/n{node}"), "x", 0)?;
    }
    let mut client = Counted::open(address)?;
    book.note("opened", Some(&client))?;
    for node in 0..NODES {
        client.ask(GET_DATA, &read(&format!("/n{node}"), true))?;
    }
    book.note("ten reads with watches", Some(&client))?;
    for node in 0..NODES {
        writer.ask(SET_DATA, &change(&format!("/n{node}")))?;
    }
    client.receive(NODES)?;
    book.note("ten events, ten writes of another", Some(&client))?;
    client.send(-8, SET_WATCHES, &missed());
    client.receive(NODES + 1)?;
    book.note("setWatches that missed ten", Some(&client))?;
    client.send(-2, PING, &Writer::new());
    client.receive(1)?;
    book.note("ping", Some(&client))?;
    client.send(-4, AUTH, &digest());
    client.receive(1)?;
    book.note("auth", Some(&client))?;
    let mut token = Writer::new();
    client.ask(SASL, token.buffer(Some(b"zz")))?;
    book.note("sasl", Some(&client))?;
    let mut path = Writer::new();
    client.ask(SYNC, path.buffer(Some(b"/n1")))?;
    book.note("sync", Some(&client))?;
    for (name, opcode, body) in [
        ("write", SET_DATA, change("/n1")),
        ("write that fails", SET_DATA, change("/none")),
        ("read that fails", GET_DATA, read("/none", false)),
        ("write without a body", SET_DATA, Writer::new()),
        ("read without a body", GET_DATA, Writer::new()),
        ("whoAmI", WHO_AM_I, Writer::new()),
    ] {
        client.ask(opcode, &body)?;
        book.note(name, Some(&client))?;
    }
    client.pipeline(&change("/n2"), &read("/n2", false))?;
    book.note("write with a read behind it", Some(&client))?;
    client.ask(CLOSE, &Writer::new())?;
    client.end()?;
    book.note("closeSession", None)
}

/// What ends a connection, and what no session does.
fn last_words(address: SocketAddr, book: &mut Book) -> Result<()> {
    let mut refused = Counted::open(address)?;
    book.note("opened, to be refused", Some(&refused))?;
    let mut unknown = Writer::new();
    refused.send(-4, AUTH, unknown.i32(0).buffer(Some(b"no")).buffer(None));
    refused.end()?;
    book.note("auth that is refused", None)?;

    let mut astray = Counted::open(address)?;
    book.note("opened, to go astray", Some(&astray))?;
    astray.send(1, NO_SUCH_OPCODE, &Writer::new());
    astray.end()?;
    book.note("no such opcode", None)?;

    let mut first = Connection::open(address, REPLY_TIME_MAX)?;
    let (session, password) = first.new_session(SESSION_MS)?;
    let hello = Hello {
        session,
        password: Some(password),
        ..Hello::new(SESSION_MS)
    };
    let mut second = Connection::open(address, REPLY_TIME_MAX)?;
    ensure!(second.take_up(&hello)?, "the session is not taken up");
    first.read_to_end()?;
    let renewed = Counted::of(second, session);
    book.note("opened and renewed", Some(&renewed))?;

    let mut third = Connection::open(address, REPLY_TIME_MAX)?;
    let stranger = Hello {
        session: session ^ 0xffff,
        ..hello
    };
    ensure!(!third.take_up(&stranger)?, "there is no such session");
    third.read_to_end()?;
    book.note("renewed what is no session", Some(&renewed))?;

    for command in ["ruok", "srvr", "crst"] {
        word(address, command.as_bytes(), REPLY_TIME_MAX)?;
        book.note(command, Some(&renewed))?;
    }
    Ok(())
}

/// A client whose connection is looked at.
struct Counted {
    client: Client,
}

impl Counted {
    fn open(address: SocketAddr) -> Result<Self> {
        let client = Client::open(address)?;
        Ok(Self { client })
    }

    fn of(connection: Connection, session: i64) -> Self {
        let client = Client {
            connection,
            session,
            xid: 0,
        };
        Self { client }
    }

    fn send(&mut self, xid: i32, opcode: i32, body: &Writer) {
        let frame = request(xid, opcode, &body.clone().finish());
        self.client.connection.send(&frame);
    }

    fn receive(&mut self, frames: usize) -> Result<()> {
        for _ in 0..frames {
            let received = self.client.connection.receive()?;
            ensure!(matches!(received, Received::Frame(_)), "{received:?}");
        }
        Ok(())
    }

    fn ask(&mut self, opcode: i32, body: &Writer) -> Result<()> {
        self.client.ask(opcode, body).map(drop)
    }

    /// A write and a read at once.
    fn pipeline(&mut self, write: &Writer, read: &Writer) -> Result<()> {
        let mut bytes = Vec::new();
        for (opcode, body) in [(SET_DATA, write), (GET_DATA, read)] {
            self.client.xid += 1;
            let body = body.clone().finish();
            bytes.extend(request(self.client.xid, opcode, &body));
        }
        self.client.connection.send(&bytes);
        self.receive(2)
    }

    /// Its connection has been closed.
    fn end(&mut self) -> Result<()> {
        self.client.connection.read_to_end().map(drop)
    }
}

fn read(path: &str, watch: bool) -> Writer {
    let mut body = Writer::new();
    body.buffer(Some(path.as_bytes())).bool(watch);
    body
}

fn change(path: &str) -> Writer {
    let mut body = Writer::new();
    body.buffer(Some(path.as_bytes()))
        .buffer(Some(b"y"))
        .i32(-1);
    body
}

/// Data watches on all nodes, as of a zxid before they were changed.
fn missed() -> Writer {
    let mut body = Writer::new();
    body.i64(1).i32(NODES as i32);
    for node in 0..NODES {
        body.buffer(Some(format!("/n{node}").as_bytes()));
    }
    body.i32(0).i32(0);
    body
}

fn digest() -> Writer {
    let mut body = Writer::new();
    body.i32(0).buffer(Some(b"digest")).buffer(Some(b"a:b"));
    body
}

/// Numbers of the whole server.
#[derive(Clone, Copy, Default)]
struct Totals {
    received: i64,
    sent: i64,
    watch_bytes: i64,
    response_bytes: i64,
    /// Last, smallest, largest.
    sizes: [i64; 3],
}

/// Words asked since the numbers before.
#[derive(Clone, Copy, Default)]
struct Asked {
    words: i64,
    /// Of their answers.
    packets: i64,
}

/// Keeps what has been read off a server, and writes down by how much it grew.
struct Book {
    address: SocketAddr,
    golden: Option<String>,
    text: String,
    before: Totals,
    zxid: String,
}

impl Book {
    fn open(address: SocketAddr, golden: Option<String>) -> Result<Self> {
        let mut book = Self {
            address,
            golden,
            text: String::new(),
            before: Totals::default(),
            zxid: String::new(),
        };
        book.calibrate()?;
        Ok(book)
    }

    /// ZooKeeper sends what its buffer of 8192 characters holds, and at last the rest.
    fn calibrate(&mut self) -> Result<()> {
        let (first, _) = self.totals()?;
        let (second, asked) = self.totals()?;
        self.before = second;
        let counted = second.sent - first.sent;
        let said = if counted == asked.packets {
            "one for each 8192 bytes".to_owned()
        } else {
            format!("{counted} for mntr and srvr, not {}", asked.packets)
        };
        self.text += &format!("packets of words: {said}\n");
        Ok(())
    }

    /// The numbers now, and the words that were asked for them. Packets by `srvr`, which is one: `mntr`
    /// is sent piece by piece while it is made.
    fn totals(&self) -> Result<(Totals, Asked)> {
        let mntr = word(self.address, b"mntr", REPLY_TIME_MAX)?;
        let srvr = word(self.address, b"srvr", REPLY_TIME_MAX)?;
        let read = |name: &str| -> Result<i64> {
            figure(&mntr, name).with_context(|| format!("no {name} in mntr"))
        };
        let packets = |name: &str| -> Result<i64> {
            let mut lines = srvr.lines().filter_map(|line| line.strip_prefix(name));
            let found = lines.find_map(|value| value.trim().parse().ok());
            found.with_context(|| format!("no {name} in srvr"))
        };
        let totals = Totals {
            received: packets("Received:")?,
            sent: packets("Sent:")?,
            watch_bytes: read("zk_watch_bytes")?,
            response_bytes: read("zk_response_bytes")?,
            sizes: [
                read("zk_last_client_response_size")?,
                read("zk_min_client_response_size")?,
                read("zk_max_client_response_size")?,
            ],
        };
        let asked = Asked {
            words: 2,
            packets: mntr.len().div_ceil(8192) as i64 + 1,
        };
        Ok((totals, asked))
    }

    /// Writes down what came of a step: once it is as the golden has it, or at the end of the time
    /// for that; for a new golden, once it stays.
    fn note(&mut self, step: &str, client: Option<&Counted>) -> Result<()> {
        let deadline = Instant::now() + COUNTED_TIME_MAX;
        let mut asked = Asked::default();
        let mut found = String::new();
        let mut stays = 0;
        loop {
            let mut line = None;
            if let Some(client) = client {
                line = Some(self.connection(client.client.session)?);
                asked.words += 1;
                asked.packets += 1;
            }
            let (now, more) = self.totals()?;
            asked.words += more.words;
            asked.packets += more.packets;
            let text = self.render(step, asked, now, line.as_deref());
            stays = if text == found { stays + 1 } else { 0 };
            found = text;
            let is_over = match &self.golden {
                Some(golden) => golden.contains(&found),
                None => stays >= STAYS,
            };
            if is_over || Instant::now() > deadline {
                self.text += &found;
                self.before = now;
                if let Some(line) = line {
                    field(&line, "lzxid").clone_into(&mut self.zxid);
                }
                return Ok(());
            }
        }
    }

    fn render(&self, step: &str, asked: Asked, now: Totals, line: Option<&str>) -> String {
        let before = self.before;
        let mut text = format!(
            "{step}\n  server: received {}, sent {}, watch_bytes {}, response_bytes {}, sizes {:?}\n",
            now.received - before.received - asked.words,
            now.sent - before.sent - asked.packets,
            now.watch_bytes - before.watch_bytes,
            now.response_bytes - before.response_bytes,
            now.sizes,
        );
        let Some(line) = line else { return text };
        text += "  connection:";
        for name in ["recved", "sent", "lop", "lcxid"] {
            text += &format!(" {name}={}", field(line, name));
        }
        let zxid = match field(line, "lzxid") {
            none @ ("0x0" | "0xffffffffffffffff") => none,
            zxid if zxid == self.zxid => "as before",
            _ => "another",
        };
        text + &format!(" lzxid={zxid}\n")
    }

    /// The line of a session in `cons`.
    fn connection(&self, session: i64) -> Result<String> {
        let cons = word(self.address, b"cons", REPLY_TIME_MAX)?;
        let named = format!(",sid=0x{session:x},");
        let found = cons.lines().find(|line| line.contains(&named));
        found
            .map(ToOwned::to_owned)
            .with_context(|| format!("{named} is not in cons:\n{cons}"))
    }
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let fields = line.split_once('(').map_or("", |(_, rest)| rest);
    let mut named = fields.split(',').filter_map(|field| field.split_once('='));
    let found = named.find(|(key, _)| *key == name);
    found.map_or("-", |(_, value)| value)
}
