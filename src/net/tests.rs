//! A whole server in this process, with connections that move between its threads.

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

use crate::clock::SystemClock;
use crate::config::Settings;
use crate::server::Server;
use crate::session::Connection;

/// More turns than it takes to move.
const ENOUGH: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(dir: &tempfile::TempDir) -> Server {
    let mut settings = Settings::default();
    settings.net.client_addr = Some("127.0.0.1:0".parse().expect("an address"));
    settings.storage.data_dir = dir.path().to_owned();
    settings.storage.log_dir = dir.path().to_owned();
    let clock = Arc::new(SystemClock);
    Server::start(settings, clock).await.expect("starts")
}

/// A client, and the server's side of its connection.
struct Peer {
    stream: TcpStream,
    connection: Arc<Connection>,
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
        let mut payload = BytesMut::new();
        let request = ConnectRequest {
            timeout_ms: 30_000,
            password: Some(vec![0; 16].into()),
            protocol_version: 0,
            last_zxid_seen: 0,
            session_id: 0,
            read_only: Some(false),
        };
        request.encode(&mut payload);
        stream.write_all(&framed(&payload)).await.expect("sends");
        read_frame(&mut stream).await;
        let local = stream.local_addr().expect("a socket");
        let all = server.pipeline().shared.registry.all();
        let connection = all.into_iter().find(|one| one.peer == local);
        Self {
            stream,
            connection: connection.expect("a connection"),
            xid: 0,
        }
    }

    /// Sends them at once.
    async fn send(&mut self, requests: &[Request]) {
        let mut bytes = Vec::new();
        for request in requests {
            self.xid += 1;
            let mut payload = BytesMut::new();
            let (xid, op) = (self.xid, request.op());
            RequestHeader { xid, op }.encode(&mut payload);
            request.encode_body(&mut payload);
            bytes.extend(framed(&payload));
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

    async fn is_near_in_time(&self, near: bool) {
        let moved = async {
            while self.connection.is_near() != near {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, moved).await.expect("it moves");
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_come_to_the_thread_and_readers_leave_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    assert!(peer.connection.is_near(), "a new one is there");
    peer.repeat(create("/a"), 1).await;
    for _ in 0..3 {
        peer.repeat(get("/a", false), ENOUGH).await;
        peer.is_near_in_time(false).await;
        peer.repeat(set("/a", "x"), ENOUGH).await;
        peer.is_near_in_time(true).await;
    }
    drop(peer);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_both_stays_where_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    peer.repeat(create("/a"), 1).await;
    peer.repeat(get("/a", false), ENOUGH).await;
    peer.is_near_in_time(false).await;
    for _ in 0..ENOUGH {
        peer.repeat(set("/a", "x"), 1).await;
        peer.repeat(get("/a", false), 1).await;
    }
    assert!(!peer.connection.is_near());
    drop(peer);
    server.stop().await;
}

/// Requests of every shape of pipeline are under way while it moves forth and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_overtaken_on_the_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    peer.repeat(create("/a"), 1).await;
    let mut moves = 0;
    let mut was_near = peer.connection.is_near();
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
        moves +=
            usize::from(std::mem::replace(&mut was_near, peer.connection.is_near()) != was_near);
    }
    assert!(moves >= 6, "{moves}");
    drop(peer);
    server.stop().await;
}

/// At no moment is its inbox empty: behind each request comes the first half of the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_never_through_leaves_the_thread_as_well() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    peer.repeat(create("/a"), 1).await;
    let mut payload = BytesMut::new();
    let request = get("/a", false);
    let (xid, op) = (77, request.op());
    RequestHeader { xid, op }.encode(&mut payload);
    request.encode_body(&mut payload);
    let frame = framed(&payload);
    let (first, second) = frame.split_at(frame.len() / 2);
    peer.stream.write_all(first).await.expect("sends");
    for _ in 0..ENOUGH {
        let next = [second, first].concat();
        peer.stream.write_all(&next).await.expect("sends");
        let reply = peer.next().await;
        assert_eq!((reply.xid, reply.error), (xid, ErrorCode::OK));
    }
    peer.is_near_in_time(false).await;
    peer.stream.write_all(second).await.expect("sends");
    assert_eq!(peer.next().await.xid, xid);
    drop(peer);
    server.stop().await;
}

/// The watcher moves while others change what it watches: every event comes, and before the reply
/// that shows the change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_go_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut watcher = Peer::connect(&server).await;
    let mut writer = Peer::connect(&server).await;
    watcher.repeat(create("/watched"), 1).await;
    watcher.repeat(create("/own"), 1).await;
    let mut sides = [0, 0];
    for round in 0..200 {
        watcher.repeat(get("/watched", true), 1).await;
        // Four reads, or ten writes, so that it is on one side and on the other.
        if (round / 20) % 2 == 0 {
            watcher.repeat(get("/own", false), 3).await;
        } else {
            watcher.repeat(set("/own", "x"), 9).await;
        }
        sides[usize::from(watcher.connection.is_near())] += 1;
        writer.repeat(set("/watched", "new"), 1).await;
        let event = watcher.next().await;
        assert_eq!(event.xid, reply::EVENT_XID, "round {round}");
    }
    assert!(sides.iter().all(|side| *side > 10), "{sides:?}");
    drop((watcher, writer));
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
async fn an_end_is_heard_on_both_sides() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut near = Peer::connect(&server).await;
    let mut far = Peer::connect(&server).await;
    near.repeat(create("/a"), 1).await;
    far.repeat(get("/a", false), ENOUGH).await;
    far.is_near_in_time(false).await;
    server.stop().await;
    for peer in [&mut near, &mut far] {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, peer.stream.read_to_end(&mut rest)).await;
        end.expect("an end in time").expect("no reset");
        assert_eq!(rest, b"");
    }
}
