//! A voter alone that is an ensemble (`standaloneEnabled=false`): what it says of itself, from its file
//! to the wire, beside what a genuine one said.

use std::ffi::OsString;

use bytes::{Buf, Bytes, BytesMut};
use jute::{ConnectRequest, GetData, GetDataResponse, Reader, Request, RequestHeader, Text};

use super::*;
use crate::config::{self, Action};

const GENUINE: &str = include_str!("../../../compat-tests/scripts/words/ensemble/lone-mntr.golden");
/// Of servers before 3.6; monitors still read them.
const OF_OLD: [&str; 2] = ["zk_fsync_threshold_exceed_count", "zk_followers"];

async fn start_seven() -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\ninitLimit=10\nsyncLimit=5\n\
         standaloneEnabled=false\nserver.7=127.0.0.1:0:38887\n4lw.commands.whitelist=*\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort=0\n",
        dir.path().display()
    );
    let path = dir.path().join("zoo.cfg");
    std::fs::write(&path, text).expect("writes");
    std::fs::write(dir.path().join("myid"), "7\n").expect("writes");
    let words = std::iter::once(OsString::from(path));
    let loaded = config::load(words, &|_| None).expect("a good file");
    let Action::Run(settings) = loaded.action else {
        panic!("{loaded:?}");
    };
    let server = Server::start(*settings, Arc::new(SystemClock)).await;
    Running {
        server: server.expect("starts"),
        _dir: dir,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_leader_of_nobody() {
    let running = start_seven().await;
    let srvr = running.ask(&[b"srvr"]).await;
    let end = "\nMode: leader\nNode count: 5\nProposal sizes last/min/max: -1/-1/-1\n";
    assert!(srvr.ends_with(end), "{srvr}");
    let conf = running.ask(&[b"conf"]).await;
    let end = "\nserverId=7\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=38887\n\
               quorumPort=0\npeerType=0\nmembership: \n\
               server.7=127.0.0.1:0:38887:participant\nversion=0";
    assert!(conf.ends_with(end), "{conf}");
    let dump = running.ask(&[b"dump"]).await;
    assert!(
        dump.starts_with("SessionTracker dump:\nSession Sets (0)/(0):\n"),
        "{dump}"
    );
    assert_eq!(running.ask(&[b"isro"]).await, "rw");
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mntr_has_all_that_a_lone_leader_says_and_nothing_else() {
    let running = start_seven().await;
    let text = running.ask(&[b"mntr"]).await;
    let names: BTreeSet<&str> = text.lines().filter_map(key).collect();
    let genuine: BTreeSet<&str> = GENUINE.lines().filter_map(key).chain(OF_OLD).collect();
    assert_eq!(names, genuine);
    assert!(text.lines().all(telegraf_takes), "{text}");
    for line in [
        "zk_server_state\tleader",
        "zk_peer_state\tleading - broadcast",
        "zk_quorum_size\t1",
        "zk_synced_followers\t0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
        assert!(GENUINE.lines().any(|found| found == line), "{line}");
    }
    let (_, page) = running.get("GET /metrics").await;
    for line in ["quorum_size 1.0", "learners 0.0", "last_proposal_size -1.0"] {
        assert!(page.lines().any(|found| found == line), "{line}");
    }
    assert!(page.contains("mode=\"leader\"}"), "{page}");
    running.server.stop().await;
}

/// The session's id and what `/zookeeper/config` holds.
#[tokio::test(flavor = "multi_thread")]
async fn clients_see_its_number_and_its_line() {
    let running = start_seven().await;
    let addr = running.server.client_addr().expect("a client port");
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let mut hello = BytesMut::new();
    let request = ConnectRequest {
        timeout_ms: 30_000,
        password: Some(vec![0; 16].into()),
        protocol_version: 0,
        last_zxid_seen: 0,
        session_id: 0,
        read_only: Some(false),
    };
    request.encode(&mut hello);
    let mut answer = exchange(&mut stream, &hello).await;
    answer.advance(8);
    assert_eq!(answer.get_i64() >> 56, 7);
    let get = Request::GetData(GetData {
        path: Some(Text::from("/zookeeper/config")),
        watch: true,
    });
    let mut payload = BytesMut::new();
    let (xid, op) = (1, get.op());
    RequestHeader { xid, op }.encode(&mut payload);
    get.encode_body(&mut payload);
    let mut answer = exchange(&mut stream, &payload).await;
    answer.advance(16);
    let found = GetDataResponse::decode(&mut Reader::new(answer)).expect("a response");
    let text = "server.7=127.0.0.1:0:38887:participant\nversion=0";
    assert_eq!(found.data.as_deref(), Some(text.as_bytes()));
    let stat = found.stat;
    assert_eq!(
        (stat.version, stat.mzxid, stat.czxid, stat.ctime),
        (-1, 0, 0, 0)
    );
    assert_eq!(usize::try_from(stat.data_length), Ok(text.len()));
    assert!(stat.mtime > 0);
    let mntr = running.ask(&[b"mntr"]).await;
    // zk: a fresh tree of five znodes is 44 bytes, and the text counts.
    let bytes = format!("zk_approximate_data_size\t{}", 44 + text.len());
    assert!(mntr.lines().any(|line| line == bytes), "{mntr}");
    running.server.stop().await;
}

/// Sends one frame and reads one.
async fn exchange(stream: &mut TcpStream, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).expect("short");
    stream.write_u32(length).await.expect("sends");
    stream.write_all(payload).await.expect("sends");
    let length = stream.read_u32().await.expect("a length");
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.expect("a frame");
    Bytes::from(frame)
}
