//! A whole server in this process, asked as operators ask it.

mod lone;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Commands, MetricsProvider};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::server::{Server, ServerError};

struct Running {
    server: Server,
    _dir: tempfile::TempDir,
}

fn settings(dir: &tempfile::TempDir, commands: &str) -> Settings {
    let local = "127.0.0.1:0".parse().expect("an address");
    let mut settings = Settings::default();
    settings.net.client_addr = Some(local);
    settings.storage.data_dir = dir.path().to_owned();
    settings.storage.log_dir = dir.path().to_owned();
    settings.admin.commands = Commands::parse(commands);
    settings.admin.metrics_provider = MetricsProvider::Prometheus {
        addr: local,
        export_process: true,
    };
    settings
}

async fn start(commands: &str) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(&dir, commands);
    let server = Server::start(settings, Arc::new(SystemClock))
        .await
        .expect("starts");
    Running { server, _dir: dir }
}

impl Running {
    /// Sends the pieces one after the other and reads to the end.
    async fn ask(&self, pieces: &[&[u8]]) -> String {
        let addr = self.server.client_addr().expect("a client port");
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        stream.set_nodelay(true).expect("a TCP socket");
        for piece in pieces {
            stream.write_all(piece).await.expect("sends");
            tokio::task::yield_now().await;
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("reads");
        text
    }

    async fn get(&self, request: &str) -> (String, String) {
        self.http(format!(
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    async fn post(&self, header: &str, body: &str) -> (String, String) {
        let length = body.len();
        let head = format!("POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}");
        self.http(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"))
            .await
    }

    async fn http(&self, request: String) -> (String, String) {
        let addr = self.server.metrics_addr().expect("a metrics port");
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("reads");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

/// Telegraf's `^zk_(\w[\w.\-]*)\s+([\w.\-]+)`.
fn telegraf_takes(line: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let more = |c: char| word(c) || c == '.' || c == '-';
    let Some(rest) = line.strip_prefix("zk_") else {
        return false;
    };
    let name: String = rest.chars().take_while(|c| more(*c)).collect();
    let behind = &rest[name.len()..];
    let value = behind.trim_start();
    name.starts_with(word) && value.len() < behind.len() && value.starts_with(more)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_answers_and_splits_do_not_matter() {
    let running = start("*").await;
    for (pieces, answer) in [
        (&[b"ruok".as_slice()][..], "imok"),
        (&[b"r", b"uo", b"k"], "imok"),
        (&[b"ruok\r\n"], "imok"),
        (&[b"isro"], "rw"),
        (&[b"gtmk"], "306"),
        (&[b"stmk\0\0\0\0\0\0\x01\x2c"], "300"),
        (&[b"stmk"], ""),
        (&[b"stmk\n"], ""),
        (&[b"stmk\0\0\0\0\0\0\x01"], ""),
        (&[b"gtmk"], "300"),
        (&[b"hash"], ""),
        (&[&[0xff, 0xf4, 0xff, 0xfd]], ""),
        (&[b"crst"], "Connection stats reset.\n"),
        (&[b"srst"], "Server stats reset.\n"),
        (
            &[b"wchs"],
            "0 connections watching 0 paths\nTotal watches:0\n",
        ),
        (&[b"wchc"], "\n"),
        (&[b"wchp"], "\n"),
        (&[b"lead"], ""),
        (&[b"RUOK"], ""),
    ] {
        assert_eq!(running.ask(pieces).await, answer, "{pieces:?}");
    }
    assert!(
        running
            .ask(&[b"srvr"])
            .await
            .ends_with("Mode: standalone\nNode count: 5\n")
    );
    let port = running.server.client_addr().expect("a client port").port();
    assert!(
        running
            .ask(&[b"dump"])
            .await
            .starts_with("SessionTracker dump:\nSession Sets (0)/(0):\n")
    );
    assert!(running.ask(&[b"cons"]).await.starts_with(" /127.0.0.1:"));
    assert!(
        running
            .ask(&[b"stat"])
            .await
            .contains("\nClients:\n /127.0.0.1:")
    );
    assert!(
        running
            .ask(&[b"envi"])
            .await
            .starts_with("Environment:\nzookeeper.version=3.9.")
    );
    assert!(running.ask(&[b"dirs"]).await.starts_with("datadir_size: "));
    let conf = running.ask(&[b"conf"]).await;
    assert!(
        conf.starts_with(&format!("clientPort={port}\n")) || conf.starts_with("clientPort=-1\n")
    );
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telegraf_takes_every_line_of_mntr() {
    let running = start("mntr").await;
    let text = running.ask(&[b"mntr\n"]).await;
    assert!(text.lines().count() > 300, "{text}");
    for line in text.lines() {
        assert!(telegraf_takes(line), "{line}");
        assert_eq!(line.split('\t').count(), 2, "{line}");
    }
    assert!(!telegraf_takes("zk_x{a=\"b\"}\t1") && !telegraf_takes("zk_x\t"));
    running.server.stop().await;
}

/// What exporters make of one unknown line, or of one value that is no number, nobody can scrape.
#[tokio::test(flavor = "multi_thread")]
async fn mntr_says_nothing_that_zookeeper_would_not() {
    // Of servers before 3.6, and in the manual.
    const OF_OLD: &str = "zk_fsync_threshold_exceed_count";
    let genuine = include_str!("../../../compat-tests/scripts/words/mntr.golden");
    let names: BTreeSet<&str> = genuine.lines().filter_map(key).collect();
    let running = start("mntr").await;
    let text = running.ask(&[b"mntr"]).await;
    for line in text.lines() {
        let (name, value) = line.split_once('\t').unwrap();
        assert!(names.contains(name) || name == OF_OLD, "{line}");
        let is_text = matches!(name, "zk_version" | "zk_server_state");
        assert!(
            is_text || value.parse::<f64>().is_ok_and(f64::is_finite),
            "{line}"
        );
    }
    running.server.stop().await;
}

fn key(line: &str) -> Option<&str> {
    line.split_once('\t').map(|(key, _)| key)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_situation_has_all_its_parts() {
    let running = start("").await;
    let text = running.server.situation().await;
    for part in [
        "what the server is at:\n",
        "\n  workers: ",
        "\n  ensemble's thread: ",
        "\n  process: ",
        " threads:\n    ",
        "\n  ensemble: leader",
        "\n  proposals: 0 bytes wait",
        "\n  connections: 0 of ",
        "\n  sessions: 0; watches: 0\n",
        "\n  state: zxid 0x0, 3 znodes, ",
        "\n  disk: tree ",
        "\n  syncs: ",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    running.server.stop().await;
}

/// A part that hangs with a lock is left out, and the others are told.
#[tokio::test(flavor = "multi_thread")]
async fn the_situation_is_told_while_somebody_holds_a_lock() {
    let running = start("").await;
    let held = running.server.requests().hold_watches();
    let situation = running.server.situation();
    let text =
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(situation));
    drop(held);
    assert!(
        text.contains("\n  connections: not to be had within 2s"),
        "{text}"
    );
    assert!(
        text.contains("\n  process: ") && text.contains("\n  disk: tree "),
        "{text}"
    );
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_words_of_the_whitelist_are_answered() {
    let running = start("").await;
    assert_eq!(
        running.ask(&[b"ruok"]).await,
        "ruok is not executed because it is not in the whitelist.\n"
    );
    assert!(
        running
            .ask(&[b"srvr"])
            .await
            .starts_with("Zookeeper version: ")
    );
    assert_eq!(
        running.ask(&[&[0xff, 0xf4, 0xff, 0xfd]]).await,
        "telnet close is not executed because it is not in the whitelist.\n"
    );
    running.server.stop().await;
    let running = start("nosuch, ruok ,isro").await;
    assert_eq!(running.ask(&[b"ruok"]).await, "imok");
    assert_eq!(running.ask(&[b"isro"]).await, "rw");
    assert_eq!(
        running.ask(&[b"stmk", &7_i64.to_be_bytes()]).await,
        "stmk is not executed because it is not in the whitelist.\n"
    );
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_at_one_path() {
    let running = start("").await;
    let (head, body) = running.get("GET /metrics").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(
        body.contains("\nznode_count 5.0\n") && body.contains("\nprocess_open_fds "),
        "{body}"
    );
    let (_, body) = running.get("GET /metrics?name%5B%5D=znode_count").await;
    assert_eq!(body.lines().count(), 3, "{body}");
    for (request, status) in [
        ("GET /", "404"),
        ("GET /metrics/", "404"),
        ("HEAD /metrics", "200"),
        ("POST /metrics", "200"),
        ("POST /", "404"),
        ("OPTIONS /metrics", "200"),
        ("OPTIONS /", "200"),
        ("PUT /metrics", "405"),
        ("TRACE /metrics", "405"),
    ] {
        let (head, _) = running.get(request).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}: {head}"
        );
    }
    let (head, body) = running.get("OPTIONS /metrics").await;
    assert!(head.contains("allow: get, head, post, options"), "{head}");
    assert_eq!(body, "");
    let (_, body) = running.get("POST /metrics?name[]=znode_count").await;
    assert_eq!(body.lines().count(), 3, "{body}");
    let form = "name%5B%5D=znode_count&name[]=watch_count";
    let type_ = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
    let (head, body) = running.post(type_, form).await;
    assert!(
        head.starts_with("http/1.1 200") && body.lines().count() == 6,
        "{body}"
    );
    let (_, body) = running.post("Content-Type: text/plain", form).await;
    assert!(body.lines().count() > 300, "{body}");
    let (head, _) = running.post(type_, &"x".repeat(20_000)).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    let taken = running.server.metrics_addr().expect("a metrics port");
    let dir = tempfile::tempdir().expect("a directory");
    let mut settings = settings(&dir, "");
    settings.admin.metrics_provider = MetricsProvider::Prometheus {
        addr: taken,
        export_process: false,
    };
    let refused = Server::start(settings, Arc::new(SystemClock)).await;
    assert!(matches!(refused, Err(ServerError::Metrics(_))));
    running.server.stop().await;
}
