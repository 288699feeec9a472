//! Each renderer against what Apache ZooKeeper 3.9.5 printed for the same figures.

mod ensemble;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jute::OpCode;

use super::super::config::{Conf, MetricsProvider};
use super::super::report::{ConnectionLine, Dump, Overview, SessionPart, Sessions};
use super::super::view::{Part, View};
use super::*;
use crate::connection::{ConnectionFigures, LastOp, ServerFigures};
use crate::state::{SessionId, Zxid};
use crate::storage::StorageStats;
use crate::watch::Summary;

const ONE: SessionId = SessionId(0x0100_004b_23f3_0000);
const OTHER: SessionId = SessionId(0x0100_004b_23f3_0001);

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

const STANDALONE: View = View {
    part: Part::Standalone,
    voters: None,
};

fn overview(view: View) -> Overview {
    Overview {
        view,
        figures: ServerFigures {
            received: 19,
            sent: 18,
            latency_min_ms: 2,
            latency_avg_ms: 15.3,
            latency_max_ms: 64,
            reply_bytes: [16, 16, 89],
        },
        connections: 3,
        outstanding: 0,
        zxid: Zxid(5),
        znodes: 8,
    }
}

fn figures(received: u64, sent: u64) -> ConnectionFigures {
    ConnectionFigures {
        established_ms: 1_795_265_009_870,
        received,
        sent,
        answered: 3,
        last_op: LastOp::Was(OpCode::EXISTS),
        last_cxid: 3,
        last_zxid: 5,
        last_latency_ms: 13,
        min_latency_ms: 0,
        max_latency_ms: 19,
        avg_latency_ms: 11,
    }
}

fn connections() -> Vec<ConnectionLine> {
    let session = SessionPart {
        id: OTHER,
        timeout_ms: 12_000,
        last_response_ms: 4_930_048,
    };
    let fresh = ConnectionFigures {
        answered: 0,
        last_op: LastOp::None,
        last_cxid: -1,
        last_zxid: -1,
        last_latency_ms: 0,
        max_latency_ms: 0,
        avg_latency_ms: 0,
        ..figures(0, 0)
    };
    let line = |port, figures, session| ConnectionLine {
        peer: peer(port),
        queued: 0,
        figures,
        reads: session_is_some(&session),
        session,
    };
    vec![
        line(59580, figures(1, 0), None),
        line(59500, figures(4, 4), Some(session)),
        line(
            59500,
            fresh,
            Some(SessionPart {
                last_response_ms: 0,
                ..session
            }),
        ),
    ]
}

fn session_is_some(session: &Option<SessionPart>) -> bool {
    session.is_some()
}

fn rendered(put: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    put(&mut out);
    out.replace(&server::version(), "<version>")
}

#[test]
fn stat_and_srvr() {
    let text = rendered(|out| {
        let connections = connections();
        server::put_overview(out, &overview(STANDALONE), Some(&connections[..2]));
    });
    let stat = "\
Zookeeper version: <version>
Clients:
 /127.0.0.1:59580[0](queued=0,recved=1,sent=0)
 /127.0.0.1:59500[1](queued=0,recved=4,sent=4)

Latency min/avg/max: 2/15.3/64
Received: 19
Sent: 18
Connections: 3
Outstanding: 0
Zxid: 0x5
Mode: standalone
Node count: 8
";
    assert_eq!(text, stat);
    let text = rendered(|out| server::put_overview(out, &overview(STANDALONE), None));
    assert!(text.starts_with("Zookeeper version: <version>\nLatency"));
}

#[test]
fn the_version_can_be_taken_apart() {
    let version = server::version();
    let (release, built) = version.split_once(", built on ").expect("two parts");
    let (release, commit) = release.split_once('-').expect("a commit");
    assert_eq!(release, "3.9.5");
    assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(built.len() == "2026-01-01 00:00 UTC".len() && built.ends_with(" UTC"));
}

#[test]
fn cons() {
    let text = rendered(|out| clients::put_connections(out, &connections()));
    let cons = " /127.0.0.1:59580[0](queued=0,recved=1,sent=0)\n \
/127.0.0.1:59500[1](queued=0,recved=4,sent=4,sid=0x100004b23f30001,lop=EXIS,est=1795265009870,to=12000,lcxid=0x3,lzxid=0x5,lresp=4930048,llat=13,minlat=0,avglat=11,maxlat=19)\n \
/127.0.0.1:59500[1](queued=0,recved=0,sent=0,sid=0x100004b23f30001,lop=NA,est=1795265009870,to=12000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n\n";
    assert_eq!(text, cons);
}

#[test]
fn dump() {
    let at = 1_795_265_023_000;
    let mut dump = Dump {
        sessions: Sessions::Expiring(vec![(at, vec![OTHER, ONE])]),
        ephemerals: vec![
            (ONE, vec![Arc::from("/a/e")]),
            (OTHER, vec![Arc::from("/b")]),
        ],
        connections: vec![(
            at + 6000,
            vec![(peer(59500), OTHER), (peer(59536), SessionId::NONE)],
        )],
    };
    let text = rendered(|out| clients::put_dump(out, &dump));
    let expected = "\
SessionTracker dump:
Session Sets (1)/(2):
2 expire at Sat Nov 21 12:43:43 UTC 2026:
\t0x100004b23f30001
\t0x100004b23f30000
ephemeral nodes dump:
Sessions with Ephemerals (2):
0x100004b23f30000:
\t/a/e
0x100004b23f30001:
\t/b
Connections dump:
Connections Sets (1)/(2):
2 expire at Sat Nov 21 12:43:49 UTC 2026:
\tip: /127.0.0.1:59500 sessionId: 0x100004b23f30001
\tip: /127.0.0.1:59536 sessionId: 0x0
";
    assert_eq!(text, expected);
    dump.sessions = Sessions::Known(vec![(ONE, 10_000)]);
    let text = rendered(|out| clients::put_dump(out, &dump));
    let expected =
        "SessionTracker dump:\nGlobal Sessions(1):\n0x100004b23f30000\t10000ms\nephemeral";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn watches_by_session_and_by_path() {
    let pair = |path: &str, session| (Arc::from(path), session);
    let all = vec![
        pair("/none", OTHER),
        pair("/a", OTHER),
        pair("/b", ONE),
        pair("/a", ONE),
    ];
    let by_session = rendered(|out| watches::put_by_session(out, all.clone()));
    assert_eq!(
        by_session,
        "0x100004b23f30000\n\t/a\n\t/b\n0x100004b23f30001\n\t/a\n\t/none\n\n"
    );
    let by_path = rendered(|out| watches::put_by_path(out, all));
    assert_eq!(
        by_path,
        "/a\n\t0x100004b23f30000\n\t0x100004b23f30001\n/b\n\t0x100004b23f30000\n/none\n\t0x100004b23f30001\n\n"
    );
    let summary = Summary {
        connections: 2,
        paths: 3,
        watches: 4,
    };
    let text = rendered(|out| watches::put_summary(out, summary));
    assert_eq!(text, "2 connections watching 3 paths\nTotal watches:4\n");
    assert_eq!(rendered(|out| watches::put_by_path(out, Vec::new())), "\n");
}

#[test]
fn conf_and_dirs() {
    let storage = StorageStats {
        data_dir_bytes: 67_109_358,
        log_dir_bytes: 358,
        ..StorageStats::default()
    };
    let conf = Conf {
        client_port: Some(0),
        data_dir: PathBuf::from("/data"),
        log_dir: PathBuf::from("/log"),
        tick_ms: 2000,
        connections_per_ip_max: 60,
        timeout_ms_min: 4000,
        timeout_ms_max: 40_000,
        listen_backlog: None,
        ..Conf::default()
    };
    let text = rendered(|out| server::put_conf(out, &conf, Some(52_991), &storage));
    let expected = "\
clientPort=52991
secureClientPort=-1
dataDir=/data/version-2
dataDirSize=67109358
dataLogDir=/log/version-2
dataLogSize=358
tickTime=2000
maxClientCnxns=60
minSessionTimeout=4000
maxSessionTimeout=40000
clientPortListenBacklog=-1
serverId=0
";
    assert_eq!(text, expected);
    let text = rendered(|out| server::put_dirs(out, &storage));
    assert_eq!(text, "datadir_size: 67109358\nlogdir_size: 358\n");
}

#[test]
fn envi_keeps_the_order_of_its_keys() {
    let text = rendered(server::put_environment);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Environment:"));
    let keys: Vec<&str> = lines
        .map(|line| line.split_once('=').expect("key=value").0)
        .collect();
    let genuine = "zookeeper.version host.name java.version java.vendor java.home java.class.path \
java.library.path java.io.tmpdir java.compiler os.name os.arch os.version user.name user.home \
user.dir os.memory.free os.memory.max os.memory.total";
    let genuine: Vec<&str> = genuine.split(' ').collect();
    assert_eq!(keys[..genuine.len()], genuine[..]);
    assert!(
        text.lines().all(|line| !line.ends_with('=')),
        "no empty values"
    );
}

#[test]
fn mntr_has_zookeepers_lines() {
    let figures = Figures {
        view: STANDALONE,
        sets: Vec::new(),
        values: vec![
            ("znode_count", Number::Whole(8)),
            ("avg_latency", Number::Broken(15.3)),
        ],
    };
    let text = rendered(|out| monitor::put(out, &figures, MetricsProvider::Default));
    let head = "zk_version\t<version>\nzk_server_state\tstandalone\nzk_";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("\nzk_avg_latency\t15.3\n") && text.contains("\nzk_znode_count\t8\n"));
    for word in ["avg", "min", "max", "cnt", "sum"] {
        assert!(text.contains(&format!("\nzk_{word}_fsynctime\t")), "{word}");
    }
    for word in ["p50", "p95", "p99", "p999"] {
        assert!(
            text.contains(&format!("\nzk_{word}_readlatency\t")),
            "{word}"
        );
        assert!(
            !text.contains(&format!("\nzk_{word}_fsynctime\t")),
            "{word}"
        );
    }
    assert!(
        !text.contains("zk_synced_followers"),
        "absent unless this server leads"
    );
    let text = rendered(|out| monitor::put(out, &figures, MetricsProvider::Null));
    assert_eq!(text.lines().count(), 4, "{text}");
}
