//! A raw, blocking client: frames in, frames out, nothing decided.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::wire::{Reader, Writer};

/// How long a reply may take before the run gives up on it.
pub const REPLY_TIME_MAX: Duration = Duration::from_secs(15);

/// The longest frame that any suite asks for.
const FRAME_BYTES_MAX: i32 = 256 << 20;

/// What came: a frame's payload, or the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// One frame without its length.
    Frame(Vec<u8>),
    /// The server closed the connection.
    Eof,
    /// Nothing came in time.
    Silence,
}

/// What a ConnectRequest says.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The highest zxid seen.
    pub last_zxid: i64,
    /// The session timeout asked for, in ms.
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session: i64,
    /// The session's password.
    pub password: Option<Vec<u8>>,
    /// The optional last byte.
    pub read_only: Option<bool>,
}

impl Hello {
    /// Asks for a new session.
    pub fn new(timeout_ms: i32) -> Self {
        Self {
            last_zxid: 0,
            timeout_ms,
            session: 0,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        }
    }

    /// The frame, with its length.
    pub fn frame(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .i32(0)
            .i64(self.last_zxid)
            .i32(self.timeout_ms)
            .i64(self.session);
        writer.buffer(self.password.as_deref());
        if let Some(read_only) = self.read_only {
            writer.bool(read_only);
        }
        writer.frame()
    }
}

/// What a ConnectResponse says.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The session timeout granted, in ms; 0 if the session is refused.
    pub timeout_ms: i32,
    /// 0 if it is refused.
    pub session: i64,
    /// The session's password.
    pub password: Vec<u8>,
}

/// One TCP connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Connection {
    /// Connects; sends nothing.
    ///
    /// # Errors
    /// Nobody listens, or not within `timeout`, which also bounds each later read.
    pub fn open(address: SocketAddr, timeout: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        stream
            .set_read_timeout(Some(timeout))
            .context("set a read timeout")?;
        stream
            .set_write_timeout(Some(timeout))
            .context("set a write timeout")?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Changes how long a read may wait.
    ///
    /// # Errors
    /// `timeout` is zero.
    pub fn set_patience(&mut self, timeout: Duration) -> Result<()> {
        self.stream
            .set_read_timeout(Some(timeout))
            .context("set a read timeout")
    }

    /// Another handle of the same connection, to send on while this one receives.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone().context("clone a socket")?,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Sends bytes as they are. A connection that the other side has closed is no error here: the
    /// next read tells.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// The next frame.
    ///
    /// # Errors
    /// The socket failed in a way other than a close or a timeout.
    pub fn receive(&mut self) -> Result<Received> {
        loop {
            let pending = &self.buffer[self.start..];
            if pending.len() >= 4 {
                let len = i32::from_be_bytes(pending[..4].try_into()?);
                ensure!(
                    (0..=FRAME_BYTES_MAX).contains(&len),
                    "the server sent a frame of length {len}"
                );
                let len = len as usize;
                if pending.len() >= 4 + len {
                    let frame = pending[4..4 + len].to_vec();
                    self.start += 4 + len;
                    return Ok(Received::Frame(frame));
                }
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Received::Eof),
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(Received::Silence),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Ok(Received::Eof),
                    _ => return Err(error).context("read from the server"),
                },
            }
        }
    }

    /// Everything until the server closes, not as frames.
    ///
    /// # Errors
    /// The server neither sent nor closed in time.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut bytes = self.buffer.split_off(self.start);
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(bytes),
            Err(error) => Err(error).context("read to the end"),
        }
    }

    /// Opens a session and returns its id and password.
    ///
    /// # Errors
    /// The server closed, was silent, or refused.
    pub fn new_session(&mut self, timeout_ms: i32) -> Result<(i64, Vec<u8>)> {
        let welcome = self.handshake(&Hello::new(timeout_ms))?;
        let welcome = welcome.context("no answer to the handshake")?;
        ensure!(welcome.session != 0, "the server refused a new session");
        Ok((welcome.session, welcome.password))
    }

    /// Takes a session up again that was opened on another connection; false: it is no longer there.
    ///
    /// # Errors
    /// The server closed, was silent, or named another session.
    pub fn take_up(&mut self, hello: &Hello) -> Result<bool> {
        let welcome = self.handshake(hello)?;
        let welcome = welcome.context("no answer to the handshake")?;
        let refused = welcome.session == 0 && welcome.timeout_ms == 0;
        ensure!(
            refused || welcome.session == hello.session,
            "asked for session {:#x}, got {:#x}",
            hello.session,
            welcome.session
        );
        Ok(!refused)
    }

    /// Asks for a session, new or old; `None`: the server closed without a word.
    ///
    /// # Errors
    /// The server was silent, or the answer is cut off.
    pub fn handshake(&mut self, hello: &Hello) -> Result<Option<Welcome>> {
        self.send(&hello.frame());
        let frame = match self.receive()? {
            Received::Frame(frame) => frame,
            Received::Eof => return Ok(None),
            Received::Silence => bail!("silence instead of an answer to the handshake"),
        };
        let mut reader = Reader::new(&frame);
        let _protocol = reader.i32()?;
        Ok(Some(Welcome {
            timeout_ms: reader.i32()?,
            session: reader.i64()?,
            password: reader.buffer()?.unwrap_or_default().to_vec(),
        }))
    }

    /// Closes the session and waits for the answer.
    ///
    /// # Errors
    /// No answer came.
    pub fn close_session(&mut self) -> Result<()> {
        self.send(&request(1, -11, &[]));
        match self.receive()? {
            Received::Frame(_) => Ok(()),
            other => bail!("no answer to closeSession: {other:?}"),
        }
    }
}

/// The answer to a four-letter word; empty if the server does not know it.
///
/// # Errors
/// Nobody listens, or the answer does not end within `timeout`.
pub fn word(address: SocketAddr, word: &[u8], timeout: Duration) -> Result<String> {
    let mut connection = Connection::open(address, timeout)?;
    connection.send(word);
    let answer = connection.read_to_end()?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A figure in an answer to `mntr`, by its whole name; `None`: it is not there, or no number.
pub fn figure<T: FromStr>(mntr: &str, name: &str) -> Option<T> {
    let lines = mntr.lines().filter_map(|line| line.split_once('\t'));
    let mut found = lines.filter(|(key, _)| *key == name);
    found.find_map(|(_, value)| value.trim().parse().ok())
}

/// How many sessions the server counts: each until its end is applied.
///
/// # Errors
/// As [`word`], or `mntr` does not say.
pub fn session_count(address: SocketAddr, timeout: Duration) -> Result<usize> {
    let mntr = word(address, b"mntr", timeout)?;
    figure(&mntr, "zk_global_sessions").context("mntr does not count sessions")
}

/// One request frame.
pub fn request(xid: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i32(xid).i32(opcode).raw(body);
    writer.frame()
}
