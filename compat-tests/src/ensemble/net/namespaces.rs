//! A host for each member: a network namespace with one interface, all on one bridge, where the
//! suite itself has an address, too.
//!
//! A way is cut by giving the sender a wrong hardware address for the receiver: its packets vanish
//! without a word, and those of the other direction arrive. A namespace lives as long as a process in
//! it, so everything is gone with the processes that this file starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Seat, Way};

/// How the names of bridges begin: then comes who made it.
const BRIDGE: &str = "oxb";
const CLIENT_PORT: u16 = 2181;
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;

/// Makes names unique when one process lays several networks.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The hosts and the bridge between them.
#[derive(Debug)]
pub struct Namespaces {
    bridge: String,
    /// Third byte of all addresses, which begin with 10.231.
    net: u8,
    /// A process that does nothing in each namespace.
    holders: Vec<Child>,
}

impl Namespaces {
    /// Why there can be none here, if so.
    pub fn why_not() -> Option<String> {
        let tried = Self::open(1);
        tried.err().map(|error| format!("{error:#}"))
    }

    /// Makes so many hosts.
    ///
    /// # Errors
    /// This user may not, or iproute2 or util-linux is missing.
    pub fn open(members: usize) -> Result<Self> {
        remove_stale()?;
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let pid = std::process::id();
        let id = (pid as usize * 7 + count) % 4096;
        let mut spaces = Self {
            bridge: format!("{BRIDGE}{pid:x}.{count}"),
            net: (id % 250) as u8,
            holders: Vec::new(),
        };
        let bridge = spaces.bridge.clone();
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        let own = format!("{}/24", spaces.address(253));
        run("ip", &["addr", "add", &own, "dev", &bridge])?;
        for member in 0..members {
            spaces.add_host(id, member)?;
        }
        for from in 0..members {
            for to in (0..members).filter(|to| *to != from) {
                spaces.set(from, to, Way::default())?;
            }
        }
        Ok(spaces)
    }

    fn add_host(&mut self, id: usize, member: usize) -> Result<()> {
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "-n", "sleep", "86400"])
            .stdin(Stdio::null())
            .spawn()
            .context("run setpriv and unshare (of util-linux)")?;
        let pid = holder.id().to_string();
        self.holders.push(holder);
        self.await_namespace(&pid)?;
        let (outer, inner) = (format!("oxo{id:x}.{member}"), format!("oxi{id:x}.{member}"));
        let link = ["link", "add", &outer, "type", "veth", "peer", "name"];
        run("ip", &[&link[..], &[&inner, "netns", &pid]].concat())?;
        run("ip", &["link", "set", &outer, "master", &self.bridge])?;
        run("ip", &["link", "set", &outer, "up"])?;
        let mac = mac(member, false);
        self.inside(member, &["link", "set", &inner, "name", "eth0"])?;
        self.inside(member, &["link", "set", "eth0", "address", &mac])?;
        let address = format!("{}/24", self.address(member));
        self.inside(member, &["addr", "add", &address, "dev", "eth0"])?;
        self.inside(member, &["link", "set", "eth0", "up"])?;
        self.inside(member, &["link", "set", "lo", "up"])
    }

    /// Waits until the holder has left our namespace.
    fn await_namespace(&self, pid: &str) -> Result<()> {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        let own = of("self").context("look at our namespace")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while of(pid).is_ok_and(|it| it == own) && Instant::now() < deadline {
            sleep(Duration::from_millis(2));
        }
        let other = of(pid).context("no network namespace could be made")?;
        ensure!(other != own, "no network namespace could be made");
        Ok(())
    }

    fn inside(&self, member: usize, words: &[&str]) -> Result<()> {
        let pid = self.holders[member].id().to_string();
        run("nsenter", &[&["-n", "-t", &pid, "ip"], words].concat())
    }

    fn address(&self, member: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, self.net, member as u8 + 1)
    }

    /// Where `member` listens: the same ports on each host.
    pub fn seat(&self, member: usize) -> Seat {
        let at = |port| SocketAddr::from((self.address(member), port));
        Seat {
            client: at(CLIENT_PORT),
            quorum: at(QUORUM_PORT),
            election: at(ELECTION_PORT),
        }
    }

    /// What runs a command on the host of `member`.
    pub fn under(&self, member: usize) -> Vec<String> {
        let pid = self.holders[member].id().to_string();
        ["nsenter", "-n", "-t", &pid].map(str::to_owned).to_vec()
    }

    /// Cuts or heals a way.
    ///
    /// # Errors
    /// Delay and loss are asked for: the kernels at hand have no netem.
    pub fn set(&self, from: usize, to: usize, way: Way) -> Result<()> {
        ensure!(
            way.delay.is_zero() && way.loss == 0,
            "namespaces cannot delay or lose"
        );
        let (mac, to) = (mac(to, way.cut), self.address(to).to_string());
        let words = ["neigh", "replace", &to, "lladdr", &mac, "dev", "eth0"];
        self.inside(from, &[&words[..], &["nud", "permanent"]].concat())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            drop(holder.kill());
            drop(holder.wait());
        }
        drop(run("ip", &["link", "del", &self.bridge]));
    }
}

/// Removes the bridges of runs that were killed.
fn remove_stale() -> Result<()> {
    let devices = std::fs::read_dir("/sys/class/net").context("list network devices")?;
    for device in devices.flatten() {
        let name = device.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(BRIDGE)
            .and_then(|rest| rest.split_once('.'));
        let owner = owner.and_then(|(pid, _)| u32::from_str_radix(pid, 16).ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else may just do the same.
            drop(run("ip", &["link", "del", &name]));
        }
    }
    Ok(())
}

/// A member's hardware address, or one that nobody has.
fn mac(member: usize, wrong: bool) -> String {
    let kind = if wrong { "de" } else { "01" };
    format!("02:00:00:{kind}:00:{:02x}", member + 1)
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a packet from one host comes to another.
    fn reaches(spaces: &Namespaces, from: usize, to: usize) -> bool {
        let pid = spaces.holders[from].id().to_string();
        let to = spaces.address(to).to_string();
        // Nobody listens: a refusal is an answer, silence is none.
        let words = ["-n", "-t", &pid, "timeout", "1", "bash", "-c"];
        let status = Command::new("nsenter")
            .args(words)
            .arg(format!("exec 3<>/dev/tcp/{to}/9"))
            .stderr(Stdio::null())
            .status()
            .expect("run nsenter");
        status.code() == Some(1)
    }

    #[test]
    fn a_way_is_cut_and_healed() {
        if let Some(why) = Namespaces::why_not() {
            crate::suite::say(format_args!("skipped, because: {why}"));
            return;
        }
        let spaces = Namespaces::open(3).expect("three hosts");
        assert!(reaches(&spaces, 0, 1) && reaches(&spaces, 1, 0) && reaches(&spaces, 0, 2));
        let cut = Way {
            cut: true,
            ..Way::default()
        };
        spaces.set(0, 1, cut).expect("cut");
        // A refusal needs both directions.
        assert!(!reaches(&spaces, 0, 1) && !reaches(&spaces, 1, 0) && reaches(&spaces, 0, 2));
        spaces.set(0, 1, Way::default()).expect("heal");
        assert!(reaches(&spaces, 0, 1));
    }
}
