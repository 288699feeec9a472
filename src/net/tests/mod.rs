//! A whole server in this process, with clients over real sockets and over ones that take bytes as
//! they please.

mod patience;
mod patterns;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use jute::{
    Acl, ConnectRequest, Create, ErrorCode, GetData, GetDataResponse, Id, Reader, Request,
    RequestHeader, SetData, perms, reply,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Config;
use super::connection::Task;
use super::limits::Limits;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::io::{SocketReader, SocketWriter};
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(dir: &tempfile::TempDir) -> Server {
    let mut settings = Settings::default();
    settings.net.client_addr = Some("127.0.0.1:0".parse().expect("an address"));
    settings.storage.data_dir = dir.path().to_owned();
    settings.storage.log_dir = dir.path().to_owned();
    let clock = Arc::new(SystemClock);
    Server::start(settings, clock).await.expect("starts")
}

/// A client.
struct Peer {
    stream: TcpStream,
    xid: i32,
}

/// A reply or an event: its header's xid and error, and what is behind the header.
struct Frame {
    xid: i32,
    error: ErrorCode,
    body: Bytes,
}

impl Peer {
    async fn connect(server: &Server) -> Self {
        let addr = server.client_addr().expect("a client port");
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        stream.write_all(&hello()).await.expect("sends");
        read_frame(&mut stream).await;
        Self { stream, xid: 0 }
    }

    /// Sends them at once.
    async fn send(&mut self, requests: &[Request]) {
        let mut bytes = Vec::new();
        for asked in requests {
            self.xid += 1;
            bytes.extend(request(self.xid, asked));
        }
        self.stream.write_all(&bytes).await.expect("sends");
    }

    async fn next(&mut self) -> Frame {
        let mut frame = read_frame(&mut self.stream).await;
        let xid = frame.get_i32();
        let _zxid = frame.get_i64();
        Frame {
            xid,
            error: ErrorCode(frame.get_i32()),
            body: frame,
        }
    }

    /// Sends one and awaits its reply, `times` times.
    async fn repeat(&mut self, request: Request, times: usize) {
        for _ in 0..times {
            self.send(std::slice::from_ref(&request)).await;
            let reply = self.next().await;
            assert_eq!((reply.xid, reply.error), (self.xid, ErrorCode::OK));
        }
    }
}

/// A socket's.
type Halves = (Box<dyn SocketReader>, Box<dyn SocketWriter>);

/// A connection of the server by a socket of the test's.
fn serve(server: &Server, halves: Halves) {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let config = Config::default();
    let limits = Arc::new(Limits::new(&config, u64::MAX));
    let permit = limits.enter(ip).expect("a place");
    let (front, peer) = (Arc::clone(server.front()), SocketAddr::new(ip, 1));
    tokio::spawn(Task::new(front, &config, halves, peer, permit));
}

/// What asks for a new session.
fn hello() -> Vec<u8> {
    hello_for(30_000)
}

/// The same with this timeout.
fn hello_for(timeout_ms: i32) -> Vec<u8> {
    let mut payload = BytesMut::new();
    let request = ConnectRequest {
        timeout_ms,
        password: Some(vec![0; 16].into()),
        protocol_version: 0,
        last_zxid_seen: 0,
        session_id: 0,
        read_only: Some(false),
    };
    request.encode(&mut payload);
    framed(&payload)
}

/// A request as it is sent.
fn request(xid: i32, request: &Request) -> Vec<u8> {
    let mut payload = BytesMut::new();
    let op = request.op();
    RequestHeader { xid, op }.encode(&mut payload);
    request.encode_body(&mut payload);
    framed(&payload)
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    [&length.to_be_bytes(), payload].concat()
}

async fn read_frame(stream: &mut TcpStream) -> Bytes {
    let read = async {
        let length = stream.read_u32().await.expect("a length");
        let mut frame = vec![0; length.try_into().expect("short")];
        stream.read_exact(&mut frame).await.expect("a frame");
        Bytes::from(frame)
    };
    timeout(PATIENCE, read).await.expect("a frame in time")
}

fn create(path: &str) -> Request {
    let anyone = Id {
        scheme: Some("world".into()),
        id: Some("anyone".into()),
    };
    Request::Create(Create {
        path: Some(path.into()),
        data: Some(Bytes::new()),
        acl: Some(vec![Acl {
            perms: perms::ALL,
            id: anyone,
        }]),
        flags: 0,
    })
}

fn set(path: &str, data: impl Into<Bytes>) -> Request {
    Request::SetData(SetData {
        path: Some(path.into()),
        data: Some(data.into()),
        version: -1,
    })
}

fn get(path: &str, watch: bool) -> Request {
    Request::GetData(GetData {
        path: Some(path.into()),
        watch,
    })
}

/// Requests of every shape of pipeline: alone and behind each other, reads behind writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_overtaken() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    peer.repeat(create("/a"), 1).await;
    for round in 0..600_usize {
        let writes = (round / 30).is_multiple_of(2);
        let depth = 1 + round % 3;
        let value = format!("value {round}");
        let mut requests = vec![get("/a", false); depth];
        if writes {
            requests.insert(0, set("/a", value.clone()));
        }
        let first = peer.xid + 1;
        peer.send(&requests).await;
        for (xid, request) in (first..).zip(&requests) {
            let reply = peer.next().await;
            assert_eq!((reply.xid, reply.error), (xid, ErrorCode::OK));
            if writes && matches!(request, Request::GetData(_)) {
                let read = GetDataResponse::decode(&mut Reader::new(reply.body)).expect("a znode");
                assert_eq!(read.data.as_deref(), Some(value.as_bytes()));
            }
        }
    }
    drop(peer);
    server.stop().await;
}

/// A client that sends many reads and nothing behind them, and is slow to take the replies: more of them
/// than fit into the sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_come_is_served_when_the_socket_takes_bytes_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    peer.repeat(create("/a"), 1).await;
    peer.repeat(set("/a", vec![7; 20_000]), 1).await;
    for _ in 0..3 {
        let first = peer.xid + 1;
        peer.send(&vec![get("/a", false); 1000]).await;
        sleep(Duration::from_millis(100)).await;
        for xid in first..first + 1000 {
            assert_eq!(peer.next().await.xid, xid);
        }
    }
    drop(peer);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_comes_before_the_reply_that_shows_the_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut watcher = Peer::connect(&server).await;
    let mut writer = Peer::connect(&server).await;
    watcher.repeat(create("/watched"), 1).await;
    for round in 0..200 {
        watcher.repeat(get("/watched", true), 1).await;
        writer.repeat(set("/watched", "new"), 1).await;
        let event = watcher.next().await;
        assert_eq!(event.xid, reply::EVENT_XID, "round {round}");
    }
    drop((watcher, writer));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_heard_by_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut writer = Peer::connect(&server).await;
    let mut reader = Peer::connect(&server).await;
    writer.repeat(create("/a"), 1).await;
    reader.repeat(get("/a", false), 1).await;
    server.stop().await;
    for peer in [&mut writer, &mut reader] {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, peer.stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok() && rest.is_empty());
    }
}
