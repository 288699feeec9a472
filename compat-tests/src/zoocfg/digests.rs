//! `DigestAuthenticationProvider.digestAlg`: for each algorithm of Java the id that a password
//! becomes, and which znodes it opens of those that were made under the algorithms before, with the
//! same data all the time.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::client::{Connection, REPLY_TIME_MAX, Received, request};
use crate::server::{Kind, Options, Server};
use crate::settings;
use crate::suite::Suite;
use crate::wire::{Reader, Writer};

const KEY: &str = "DigestAuthenticationProvider.digestAlg";
/// The last one is the first again: what it made opens again.
const ALGORITHMS: [&str; 15] = [
    "SHA1",
    "MD2",
    "MD5",
    "SHA-224",
    "SHA-256",
    "SHA-384",
    "SHA-512",
    "SHA-512/224",
    "SHA-512/256",
    "SHA3-224",
    "SHA3-256",
    "SHA3-384",
    "SHA3-512",
    "sha256",
    "OID.1.3.14.3.2.26",
];
const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const GET_ACL: i32 = 6;
const ADD_AUTH: i32 = 100;

/// Compares with `scripts/zoocfg/digests.golden`; `UPDATE=1` on the genuine server records it.
///
/// # Errors
/// The server does not start, or answers otherwise than ZooKeeper could.
pub(super) fn run(kind: Kind, suite: &mut Suite) -> Result<()> {
    let path = settings::package_dir().join("scripts/zoocfg/digests.golden");
    let mut server = Server::start(kind, Options::default().config(KEY, ALGORITHMS[0]))?;
    let mut text = String::new();
    for (number, algorithm) in ALGORITHMS.iter().enumerate() {
        if number > 0 {
            server.set_config(KEY, algorithm);
            server.restart()?;
        }
        text += &format!("{algorithm}: {}\n", under(&server, number)?);
    }
    server.stop()?;
    if settings::update_goldens() {
        ensure!(
            kind == Kind::ZooKeeper,
            "only the genuine server may record"
        );
        fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    let golden = fs::read_to_string(&path)
        .with_context(|| format!("read {}: record it with UPDATE=1", path.display()))?;
    if golden == text {
        suite.pass("the algorithms of digestAlg");
    } else {
        suite.fail(
            "the algorithms of digestAlg",
            format_args!("golden:\n{golden}\nfound:\n{text}"),
        );
    }
    Ok(())
}

/// Makes the znode of this number, and says its id and which znodes can be read.
fn under(server: &Server, number: usize) -> Result<String> {
    let mut connection = Connection::open(server.address(), REPLY_TIME_MAX)?;
    connection.new_session(30_000)?;
    let mut auth = Writer::new();
    auth.i32(0).buffer(Some(b"digest")).buffer(Some(b"u:p"));
    ask(&mut connection, -4, ADD_AUTH, auth)?;
    let mut create = Writer::new();
    let path = format!("/made-{number}");
    create
        .buffer(Some(path.as_bytes()))
        .buffer(Some(b""))
        .i32(1);
    create
        .i32(31)
        .buffer(Some(b"auth"))
        .buffer(Some(b""))
        .i32(0);
    let (error, _) = ask(&mut connection, 1, CREATE, create)?;
    ensure!(error == 0, "create: {error}");
    let mut acl = Writer::new();
    acl.buffer(Some(path.as_bytes()));
    let (error, body) = ask(&mut connection, 2, GET_ACL, acl)?;
    ensure!(error == 0, "getACL: {error}");
    let mut reader = Reader::new(&body);
    let (_count, _perms) = (reader.i32()?, reader.i32()?);
    let _scheme = reader.buffer()?;
    let id = String::from_utf8_lossy(reader.buffer()?.unwrap_or_default()).into_owned();
    let mut opened = Vec::new();
    for (other, algorithm) in ALGORITHMS.iter().enumerate().take(number + 1) {
        let mut read = Writer::new();
        let path = format!("/made-{other}");
        read.buffer(Some(path.as_bytes())).bool(false);
        match ask(&mut connection, 3, GET_DATA, read)?.0 {
            0 => opened.push(*algorithm),
            -102 => {}
            error => ensure!(false, "getData of {path}: {error}"),
        }
    }
    connection.close_session()?;
    Ok(format!("{id} opens {}", opened.join(", ")))
}

/// The error code and the body of the answer.
fn ask(connection: &mut Connection, xid: i32, opcode: i32, body: Writer) -> Result<(i32, Vec<u8>)> {
    connection.send(&request(xid, opcode, &body.finish()));
    let Received::Frame(frame) = connection.receive()? else {
        anyhow::bail!("no answer to {opcode}");
    };
    let mut reader = Reader::new(&frame);
    let (_xid, _zxid) = (reader.i32()?, reader.i64()?);
    Ok((reader.i32()?, frame[16..].to_vec()))
}
