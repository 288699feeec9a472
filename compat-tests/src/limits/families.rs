//! Addresses of both families: where the server listens, who is who for ACLs and for the limit of
//! connections per address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::Case;
use crate::client::{Connection, REPLY_TIME_MAX, Received, request, word};
use crate::hostile::pipe::{Pipe, read};
use crate::server::{Kind, Listens, Options, Server};
use crate::wire::{Reader, Writer};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// IPv4 within IPv6.
const MAPPED: IpAddr = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
const SESSION_MS: i32 = 30_000;
const NO_AUTH: i32 = -102;

pub(super) const CASES: [(&str, Case); 4] = [
    ("every address of both families", everywhere),
    ("one address of one family", one_address),
    ("connections per address of either family", per_address),
    ("the ip scheme in both families", ip_scheme),
];

fn at(server: &Server, ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, server.address().port())
}

fn answers(server: &Server, ip: IpAddr) -> bool {
    word(at(server, ip), b"ruok", REPLY_TIME_MAX).is_ok_and(|answer| answer == "imok")
}

/// Without clientPortAddress, and with either family's word for all.
fn everywhere(kind: Kind) -> Result<()> {
    for listens in [
        Listens::Everywhere,
        Listens::At("0.0.0.0"),
        Listens::At("[::]"),
    ] {
        let mut server = Server::start(kind, Options::default().listens(listens))?;
        for ip in [V4, V6, MAPPED] {
            ensure!(answers(&server, ip), "{listens:?}: no answer at {ip}");
        }
        server.stop()?;
    }
    Ok(())
}

fn one_address(kind: Kind) -> Result<()> {
    for (listens, there, elsewhere) in [(Listens::Loopback6, V6, V4), (Listens::Loopback, V4, V6)] {
        let mut server = Server::start(kind, Options::default().listens(listens))?;
        ensure!(answers(&server, there), "no answer at {there}");
        ensure!(!answers(&server, elsewhere), "an answer at {elsewhere}");
        let conf = word(server.address(), b"conf", REPLY_TIME_MAX)?;
        let port = format!("clientPort={}\n", server.address().port());
        ensure!(conf.starts_with(&port), "{conf}");
        server.stop()?;
    }
    Ok(())
}

/// Two from each address; IPv4 within IPv6 is IPv4.
fn per_address(kind: Kind) -> Result<()> {
    let options = Options::default().config("maxClientCnxns", "2");
    let mut server = Server::start(kind, options.listens(Listens::Everywhere))?;
    let open = |ip| -> Result<Option<Connection>> {
        let mut connection = Connection::open(at(&server, ip), REPLY_TIME_MAX)?;
        let welcome = connection.handshake(&crate::client::Hello::new(SESSION_MS))?;
        Ok(welcome.map(|_| connection))
    };
    let mut held = Vec::new();
    for ip in [V6, V4, V6, MAPPED] {
        held.push(open(ip)?.with_context(|| format!("turned away from {ip}"))?);
    }
    for ip in [V6, V4, MAPPED] {
        ensure!(open(ip)?.is_none(), "a third one from {ip}");
    }
    // Of each family one leaves, and one comes.
    held.drain(..2);
    for ip in [V6, MAPPED] {
        let came = crate::limits::until(|| open(ip))?;
        held.push(came.with_context(|| format!("no room at {ip}"))?);
    }
    drop(held);
    server.stop()?;
    Ok(())
}

/// A znode for one address each, and who may read it.
fn ip_scheme(kind: Kind) -> Result<()> {
    let mut server = Server::start(kind, Options::default().listens(Listens::Everywhere))?;
    let mut pipes = Vec::new();
    for ip in [V4, V6, MAPPED] {
        pipes.push((ip, Pipe::open(at(&server, ip), SESSION_MS)?));
    }
    let (_, writer) = &mut pipes[0];
    let networks = [
        ("127.0.0.1", [true, false, true]),
        ("127.0.0.0/8", [true, false, true]),
        ("0:0:0:0:0:0:0:1", [false, true, false]),
        ("::1", [false, true, false]),
        ("::/64", [false, true, false]),
        ("fe80::/10", [false, false, false]),
    ];
    for (index, (network, _)) in networks.iter().enumerate() {
        let errors = writer.ask(&[(1, create_for(&format!("/{index}"), network))])?;
        ensure!(errors == [0], "{network}: {errors:?}");
    }
    let errors = writer.ask(&[(1, create_for("/mapped", "::ffff:127.0.0.1"))])?;
    ensure!(errors == [-114], "a dotted tail: {errors:?}");
    for (index, (network, readers)) in networks.iter().enumerate() {
        for ((ip, pipe), may_read) in pipes.iter_mut().zip(readers) {
            let errors = pipe.ask(&[(4, read(&format!("/{index}"), false))])?;
            let expected = if *may_read { 0 } else { NO_AUTH };
            ensure!(errors == [expected], "{network} for {ip}: {errors:?}");
        }
    }
    for ((ip, pipe), id) in pipes
        .iter_mut()
        .zip(["127.0.0.1", "0:0:0:0:0:0:0:1", "127.0.0.1"])
    {
        let found = who_am_i(pipe)?;
        let expected = [("ip".to_owned(), id.to_owned())];
        ensure!(found == expected, "{ip} is {found:?}");
    }
    drop(pipes);
    server.stop()?;
    Ok(())
}

/// Body of a create whose ACL lets one network do all.
fn create_for(path: &str, network: &str) -> Vec<u8> {
    let mut w = Writer::new();
    w.buffer(Some(path.as_bytes())).buffer(Some(b"x"));
    w.i32(1).i32(31).buffer(Some(b"ip"));
    w.buffer(Some(network.as_bytes())).i32(0);
    w.finish()
}

fn who_am_i(pipe: &mut Pipe) -> Result<Vec<(String, String)>> {
    pipe.connection.send(&request(1, 107, &[]));
    let Received::Frame(frame) = pipe.connection.receive()? else {
        anyhow::bail!("no answer to whoAmI");
    };
    let mut r = Reader::new(&frame[16..]);
    let count = r.i32()?;
    let mut text = || -> Result<String> {
        let bytes = r.buffer()?.context("a null text")?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    };
    (0..count).map(|_| Ok((text()?, text()?))).collect()
}
