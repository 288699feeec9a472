//! Limits: those that an operator sets, how many clients may ask for sessions and how much may be
//! in flight, and what becomes of the rest; and those of the system around the process.
//!
//! - `families`: addresses of IPv6, and who counts as whom;
//! - `output`: nobody reads what the server has to say;
//! - `system`: descriptors and threads run out.

mod families;
mod output;
mod system;

use std::net::TcpListener;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Connection, Hello, REPLY_TIME_MAX};
use crate::hostile::pipe::{Pipe, read, set};
use crate::server::{Kind, Options, Server};
use crate::suite::Suite;

/// A case, on a server of its own.
type Case = fn(Kind) -> Result<()>;

const SESSION_MS: i32 = 30_000;
const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
/// The bucket fills completely in this time.
const FILL: Duration = Duration::from_secs(3);

/// Runs all cases; true when all passed.
///
/// # Errors
/// No server starts.
pub fn run(kind: Kind) -> Result<bool> {
    let mut suite = Suite::open(format!("limits on {kind}"));
    let mut threads = system::Threads::start(kind)?;
    let mut cases: Vec<(&str, Case)> = vec![
        ("more in flight than the server wants", |kind| {
            crowd(kind, "10")
        }),
        ("a limit of 0: one each", |kind| crowd(kind, "0")),
        ("a limit below 0: one each", |kind| crowd(kind, "-1")),
        ("a bucket of connections", bucket),
        ("weights of connections", weights),
    ];
    if !matches!(kind, Kind::External(_)) {
        cases.extend(families::CASES);
        cases.extend(output::CASES);
    }
    if kind == Kind::Oxkeeper {
        cases.extend(output::OURS);
        cases.extend(system::OURS);
    }
    for (name, case) in cases {
        match case(kind) {
            Ok(()) => suite.pass(name),
            Err(error) => suite.fail(name, format_args!("{error:#}")),
        }
    }
    if let Some(threads) = &mut threads {
        match threads.run_out() {
            Ok(()) => suite.pass("no more threads"),
            Err(error) => suite.fail("no more threads", format_args!("{error:#}")),
        }
    }
    Ok(suite.close())
}

/// Clients with far more in flight than `globalOutstandingLimit`: slowed down, and all answered.
fn crowd(kind: Kind, limit: &str) -> Result<()> {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 30;
    const IN_FLIGHT: usize = 16;
    let options = Options::default().config("globalOutstandingLimit", limit);
    let server = Server::start(kind, options)?;
    let crowd = |client: usize| -> Result<()> {
        let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
        let path = format!("/crowd-{client}");
        pipe.create(&path, b"", 0)?;
        for _ in 0..ROUNDS {
            let asks: Vec<_> = (0..IN_FLIGHT)
                .map(|index| match index % 3 {
                    0 => (3, read(&path, false)),
                    _ => (5, set(&path, b"value", -1)),
                })
                .collect();
            let errors = pipe.ask(&asks)?;
            ensure!(errors == [0; IN_FLIGHT], "client {client}: {errors:?}");
        }
        pipe.close()
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let crowd = &crowd;
                scope.spawn(move || crowd(client))
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client's thread does not panic"))
    })
}

/// A server whose bucket takes [`FILL`] from empty to full, and is full.
fn throttled(kind: Kind, tokens: &str, weighted: &str) -> Result<Server> {
    let options = Options::default()
        .config("connection_throttle_tokens", tokens)
        .config("connection_throttle_fill_count", tokens)
        .config(
            "connection_throttle_fill_time",
            &FILL.as_millis().to_string(),
        )
        .config("connection_throttle_weight_enabled", weighted);
    let server = Server::start(kind, options)?;
    refill();
    Ok(server)
}

fn refill() {
    sleep(FILL + Duration::from_millis(200));
}

/// A client that asked: its connection, its session and password; `None` if it was turned away.
type Admitted = Option<(Connection, i64, Vec<u8>)>;

fn ask(server: &Server, session: i64, password: &[u8]) -> Result<Admitted> {
    let mut connection = Connection::open(server.address(), REPLY_TIME_MAX)?;
    let hello = Hello {
        session,
        password: Some(password.to_vec()),
        ..Hello::new(SESSION_MS)
    };
    let Some(welcome) = connection.handshake(&hello)? else {
        return Ok(None);
    };
    ensure!(welcome.session != 0, "an answer without a session");
    Ok(Some((connection, welcome.session, welcome.password)))
}

fn open(server: &Server) -> Result<Admitted> {
    ask(server, 0, &[0; 16])
}

fn bucket(kind: Kind) -> Result<()> {
    let server = throttled(kind, "5", "false")?;
    for round in 0..2 {
        let mut admitted = Vec::new();
        for _ in 0..8 {
            admitted.push(open(&server)?.is_some());
        }
        let expected = [true, true, true, true, true, false, false, false];
        ensure!(admitted == expected, "round {round}: {admitted:?}");
        refill();
    }
    Ok(())
}

/// Six tokens: three for a new session, two for a renewal.
fn weights(kind: Kind) -> Result<()> {
    let server = throttled(kind, "2", "true")?;
    let Some((connection, session, password)) = open(&server)? else {
        anyhow::bail!("a full bucket admitted nobody");
    };
    drop(connection);
    ensure!(
        ask(&server, session, &password)?.is_some(),
        "three tokens are enough for a renewal"
    );
    ensure!(
        open(&server)?.is_none(),
        "one token is too little for a new session"
    );
    ensure!(
        ask(&server, session, &password)?.is_none(),
        "one token is too little for a renewal"
    );
    refill();
    ensure!(
        ask(&server, session, &password)?.is_some(),
        "a session outlives its client's being turned away"
    );
    Ok(())
}

/// Asks again until there is an answer, for [`REPLY_TIME_MAX`] at most.
fn until<T>(mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let began = Instant::now();
    loop {
        let answer = ask()?;
        if answer.is_some() || began.elapsed() > REPLY_TIME_MAX {
            return Ok(answer);
        }
        sleep(Duration::from_millis(10));
    }
}

/// The same options with Prometheus' metrics at a port that was free.
fn with_metrics(options: Options) -> Result<(Options, u16)> {
    let free = TcpListener::bind(("127.0.0.1", 0)).context("look for a free port")?;
    let port = free.local_addr().context("look for a free port")?.port();
    let options = options
        .config("metricsProvider.className", PROMETHEUS)
        .config("metricsProvider.httpHost", "127.0.0.1")
        .config("metricsProvider.httpPort", &port.to_string());
    Ok((options, port))
}

/// The page of metrics there.
fn metrics(port: u16) -> Result<String> {
    let mut connection = Connection::open(([127, 0, 0, 1], port).into(), REPLY_TIME_MAX)?;
    connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    Ok(String::from_utf8_lossy(&connection.read_to_end()?).into_owned())
}
