//! What the environment says: the one place of the suites that reads it.
#![allow(
    clippy::disallowed_methods,
    reason = "this module is the suites' one reader"
)]

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::server::Kind;

/// Which server the suites talk to: `SERVER` = `oxkeeper` (default), `zookeeper` or HOST:PORT.
///
/// # Errors
/// The word is neither a server nor an address that resolves.
pub fn server_kind() -> Result<Kind> {
    parse_kind(&env::var("SERVER").unwrap_or_default())
}

/// The kind of server that `word` names.
///
/// # Errors
/// As [`server_kind`].
pub fn parse_kind(word: &str) -> Result<Kind> {
    match word {
        "" | "oxkeeper" => Ok(Kind::Oxkeeper),
        "zookeeper" => Ok(Kind::ZooKeeper),
        address => {
            let found: Option<SocketAddr> = address
                .to_socket_addrs()
                .with_context(|| format!("SERVER={address}: oxkeeper, zookeeper or HOST:PORT"))?
                .next();
            found
                .map(Kind::External)
                .with_context(|| format!("no address behind {address}"))
        }
    }
}

/// True when the goldens are to be written anew: `UPDATE=1`.
pub fn update_goldens() -> bool {
    env::var("UPDATE").is_ok_and(|value| value == "1")
}

/// Where our server runs its tasks, if that is to be another place than by default: `PLACEMENT`.
pub fn placement() -> Option<String> {
    env::var("PLACEMENT").ok()
}

/// How many servers make one that is lent: `MEMBERS`, or 1.
///
/// # Errors
/// `MEMBERS` is no number.
pub fn members() -> Result<usize> {
    match env::var("MEMBERS") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("MEMBERS={text}: a number")),
        Err(_) => Ok(1),
    }
}

/// Where a distribution of Apache ZooKeeper is unpacked: `ZOOKEEPER_HOME`.
///
/// # Errors
/// It is not set.
pub fn zookeeper_home() -> Result<PathBuf> {
    let home = env::var_os("ZOOKEEPER_HOME");
    home.map(PathBuf::from)
        .context("ZOOKEEPER_HOME is not set: an unpacked distribution of Apache ZooKeeper")
}

/// The seed of the random suites: `SEED`, or `otherwise`.
///
/// # Errors
/// `SEED` is no number.
pub fn seed(otherwise: u64) -> Result<u64> {
    match env::var("SEED") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("SEED={text}: a number")),
        Err(_) => Ok(otherwise),
    }
}

/// Our server's binary, from `OXKEEPER_BIN`.
///
/// # Errors
/// It is not set, or no file.
pub fn oxkeeper_binary() -> Result<PathBuf> {
    let path = env::var("OXKEEPER_BIN").context(
        "OXKEEPER_BIN is not set: the path of our server's binary (make build prints it)",
    )?;
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "OXKEEPER_BIN={}: no such file",
        path.display()
    );
    Ok(path)
}

/// The directory of this package, where scripts and tools are.
pub fn package_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The class path of the genuine server and CLI; resolves the jars if they are not there yet.
///
/// # Errors
/// `tools/fetch-jars` failed; it has said why.
pub fn class_path() -> Result<String> {
    let tools = package_dir().join("tools");
    let output = Command::new(tools.join("fetch-jars"))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run tools/fetch-jars")?;
    if !output.status.success() {
        bail!("tools/fetch-jars failed: {}", output.status);
    }
    let dir = String::from_utf8(output.stdout).context("read what fetch-jars printed")?;
    Ok(format!("{}/*:{}", dir.trim(), tools.display()))
}

/// Where servers under test keep their data: `COMPAT_TMP`, or the system's temporary directory.
pub fn data_root() -> PathBuf {
    env::var_os("COMPAT_TMP").map_or_else(env::temp_dir, |dir| Path::new(&dir).to_path_buf())
}
