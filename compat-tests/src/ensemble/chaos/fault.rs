//! What is done to an ensemble under load, and what shows that it really happened.

use std::fmt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::Ensemble;
use super::super::net::{Way, Wiring};
use crate::differential::random::Random;

/// How long a leader's successor may take to be found while the fault lasts.
const SUCCESSOR_TIME_MAX: Duration = Duration::from_secs(20);
/// A process that was killed stays away so long.
const AWAY: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(20);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a follower.
    KillFollower,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of all in one moment.
    KillAll,
    /// SIGTERM of each, one after the other, the next when all serve again.
    RollingRestart,
    /// SIGSTOP of the leader, longer than a session lives.
    FreezeLeader,
    /// SIGSTOP of a follower, longer than a session lives.
    FreezeFollower,
    /// The leader sees nobody and is seen by nobody.
    CutLeader,
    /// The same for a follower.
    CutFollower,
    /// What the leader says to one follower does not arrive; what the follower says does.
    CutFromLeader,
    /// The other way round.
    CutToLeader,
    /// Nobody sees anybody, for as long as three sessions live.
    CutAll,
    /// The leader and one follower do not see each other; the third sees both.
    Bridge,
    /// Everything between them takes longer, of each way by another time.
    Slow,
    /// Some of what they say comes only when it would have been sent again.
    Lossy,
    /// Every way is cut and healed again and again.
    Flapping,
    /// Connections between servers break again and again: what was said may have been heard or not.
    Breaking,
    /// The power of a follower fails.
    PowerFollower,
    /// The power of the leader fails.
    PowerLeader,
    /// The power of all fails in one moment.
    PowerAll,
    /// The same, and before that the log of a follower got nothing to its disk for a while, while its tree
    /// did: it comes back with a tree ahead of its log.
    PowerBehind,
}

impl Fault {
    /// All.
    pub const ALL: [Self; 20] = [
        Self::KillFollower,
        Self::KillLeader,
        Self::KillAll,
        Self::RollingRestart,
        Self::FreezeLeader,
        Self::FreezeFollower,
        Self::CutLeader,
        Self::CutFollower,
        Self::CutFromLeader,
        Self::CutToLeader,
        Self::CutAll,
        Self::Bridge,
        Self::Slow,
        Self::Lossy,
        Self::Flapping,
        Self::Breaking,
        Self::PowerFollower,
        Self::PowerLeader,
        Self::PowerAll,
        Self::PowerBehind,
    ];

    /// Whether it is about the disks, and needs some that can lose their power.
    pub fn needs_disks(self) -> bool {
        matches!(
            self,
            Self::PowerFollower | Self::PowerLeader | Self::PowerAll | Self::PowerBehind
        )
    }

    /// Whether it can be made on such a network.
    pub fn possible(self, wiring: Wiring) -> bool {
        match self {
            Self::KillFollower
            | Self::KillLeader
            | Self::KillAll
            | Self::RollingRestart
            | Self::FreezeLeader
            | Self::FreezeFollower
            | Self::PowerFollower
            | Self::PowerLeader
            | Self::PowerAll
            | Self::PowerBehind => true,
            Self::Slow | Self::Lossy | Self::Breaking => wiring == Wiring::Proxies,
            _ => wiring != Wiring::Loopback,
        }
    }

    /// Whether somebody else must come to lead while it lasts.
    fn makes_a_successor(self) -> bool {
        matches!(
            self,
            Self::KillLeader | Self::FreezeLeader | Self::CutLeader | Self::PowerLeader
        )
    }

    /// Whether clients must be served while it lasts.
    pub fn leaves_a_quorum(self) -> bool {
        !matches!(
            self,
            Self::KillAll | Self::CutAll | Self::PowerAll | Self::PowerBehind
        )
    }

    /// Whether every session whose client lives must live through it: its client can be heard by some
    /// server that the others hear, or nobody is there to end it.
    pub fn keeps_sessions(self) -> bool {
        !matches!(
            self,
            Self::CutFollower
                | Self::CutFromLeader
                | Self::CutToLeader
                | Self::Bridge
                | Self::Flapping
                | Self::Breaking
        )
    }

    /// Makes it, lets it last for `time` where it lasts, and says what was done. The ensemble is not
    /// healed.
    ///
    /// # Errors
    /// It could not be made, did not happen, or nobody came to lead who should have.
    pub fn make(
        self,
        ensemble: &mut Ensemble,
        random: &mut Random,
        time: Duration,
    ) -> Result<String> {
        let leader = ensemble.wait_for_leader(SUCCESSOR_TIME_MAX)?;
        let followers: Vec<usize> = (0..ensemble.len()).filter(|it| *it != leader).collect();
        let follower = *random.pick(&followers);
        let all: Vec<usize> = (0..ensemble.len()).collect();
        let begin = Instant::now();
        match self {
            Self::KillFollower => ensemble.kill9(follower)?,
            Self::KillLeader => ensemble.kill9(leader)?,
            Self::KillAll => ensemble.kill9_all()?,
            Self::RollingRestart => return rolling_restart(ensemble),
            Self::FreezeLeader => freeze(ensemble, leader)?,
            Self::FreezeFollower => freeze(ensemble, follower)?,
            Self::CutLeader => isolate(ensemble, leader)?,
            Self::CutFollower => isolate(ensemble, follower)?,
            Self::CutFromLeader => ensemble.set_way(leader, follower, CUT)?,
            Self::CutToLeader => ensemble.set_way(follower, leader, CUT)?,
            Self::CutAll => each_way(ensemble, || CUT)?,
            Self::Bridge => {
                ensemble.set_way(follower, leader, CUT)?;
                ensemble.set_way(leader, follower, CUT)?;
            }
            Self::Slow => each_way(ensemble, || Way {
                delay: Duration::from_millis(5 + random.below(120) as u64),
                ..Way::default()
            })?,
            Self::Lossy => each_way(ensemble, || Way {
                loss: 2 + random.below(15),
                ..Way::default()
            })?,
            Self::Flapping => return flap(ensemble, random, time),
            Self::Breaking => return break_often(ensemble, random, time),
            Self::PowerFollower => ensemble.power_off(&[follower])?,
            Self::PowerLeader => ensemble.power_off(&[leader])?,
            Self::PowerAll => ensemble.power_off(&all)?,
            Self::PowerBehind => return fall_behind(ensemble, follower),
        }
        let mut told = format!("{self}, leader {}", leader + 1);
        if self.makes_a_successor() {
            let successor = successor(ensemble, leader)?;
            told += &format!(", then {} after {:.1?}", successor + 1, begin.elapsed());
        }
        let lasts = match self {
            Self::KillFollower | Self::KillLeader | Self::PowerFollower | Self::PowerLeader => AWAY,
            Self::KillAll | Self::PowerAll => Duration::ZERO,
            Self::CutAll => 2 * time,
            _ => time,
        };
        sleep(lasts.saturating_sub(begin.elapsed()));
        Ok(told)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillFollower => "kill a follower",
            Self::KillLeader => "kill the leader",
            Self::KillAll => "kill all",
            Self::RollingRestart => "rolling restart",
            Self::FreezeLeader => "freeze the leader",
            Self::FreezeFollower => "freeze a follower",
            Self::CutLeader => "cut off the leader",
            Self::CutFollower => "cut off a follower",
            Self::CutFromLeader => "cut one way from the leader",
            Self::CutToLeader => "cut one way to the leader",
            Self::CutAll => "cut every way",
            Self::Bridge => "bridge",
            Self::Slow => "delay",
            Self::Lossy => "loss",
            Self::Flapping => "flapping ways",
            Self::Breaking => "breaking connections",
            Self::PowerFollower => "power loss of a follower",
            Self::PowerLeader => "power loss of the leader",
            Self::PowerAll => "power loss of all",
            Self::PowerBehind => "power loss with a tree ahead of its log",
        })
    }
}

const CUT: Way = Way {
    cut: true,
    delay: Duration::ZERO,
    loss: 0,
};

fn isolate(ensemble: &Ensemble, member: usize) -> Result<()> {
    for other in (0..ensemble.len()).filter(|it| *it != member) {
        ensemble.set_way(member, other, CUT)?;
        ensemble.set_way(other, member, CUT)?;
    }
    Ok(())
}

fn each_way(ensemble: &Ensemble, mut way: impl FnMut() -> Way) -> Result<()> {
    for from in 0..ensemble.len() {
        for to in (0..ensemble.len()).filter(|it| *it != from) {
            ensemble.set_way(from, to, way())?;
        }
    }
    Ok(())
}

/// Stops a process and looks whether it stands.
fn freeze(ensemble: &mut Ensemble, member: usize) -> Result<()> {
    let pid = ensemble.server(member).pid().context("it does not run")?;
    ensemble.freeze(member)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let state = stat.rsplit(')').next().map_or("", str::trim_start);
        if state.starts_with('T') {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "it does not stand still");
        sleep(PAUSE);
    }
}

/// Who leads beside the one that cannot.
fn successor(ensemble: &Ensemble, old: usize) -> Result<usize> {
    let deadline = Instant::now() + SUCCESSOR_TIME_MAX;
    while Instant::now() < deadline {
        let leads =
            |it: &usize| *it != old && ensemble.mode(*it) == Some(super::super::Mode::Leader);
        if let Some(leader) = (0..ensemble.len()).find(leads) {
            return Ok(leader);
        }
        sleep(PAUSE);
    }
    bail!("nobody leads after {SUCCESSOR_TIME_MAX:?}, though two see each other")
}

fn rolling_restart(ensemble: &mut Ensemble) -> Result<String> {
    let mut took = Vec::new();
    // The leader last, as an operator would; whoever leads then.
    for _ in 0..ensemble.len() {
        let leader = ensemble.wait_for_leader(SUCCESSOR_TIME_MAX)?;
        let next = (leader + 1 + took.len()) % ensemble.len();
        ensemble.stop(next)?;
        ensemble.spawn(next)?;
        took.push(ensemble.wait_until_serving(super::super::START_TIME_MAX)?);
    }
    Ok(format!("rolling restart, all served after {took:.1?}"))
}

/// With a pause in which they are made again and used.
fn break_often(ensemble: &Ensemble, random: &mut Random, time: Duration) -> Result<String> {
    let begin = Instant::now();
    let mut broken = 0;
    while begin.elapsed() < time {
        let from = random.below(ensemble.len());
        let to = (from + 1 + random.below(ensemble.len() - 1)) % ensemble.len();
        ensemble.break_off(from, to)?;
        broken += 1;
        sleep(Duration::from_millis(20 + random.below(80) as u64));
    }
    Ok(format!("connections were broken {broken} times"))
}

/// What a server says that starts so.
const AHEAD: &str = "the tree is ahead of its log";

/// How often it is tried, and how long each time.
const BEHIND_TRIES: usize = 4;
const HANGS_MAX: Duration = Duration::from_millis(900);

/// The member's log waits for its disk while a checkpoint takes its tree there; then the power of all fails,
/// and all start again.
fn fall_behind(ensemble: &mut Ensemble, member: usize) -> Result<String> {
    let rules = ensemble.dir(member)?.join(super::RULES);
    let all: Vec<usize> = (0..ensemble.len()).collect();
    for attempt in 1..=BEHIND_TRIES {
        let before = count(&ensemble.server(member).log(), AHEAD);
        while !flushed_ahead(ensemble, member, &rules)? {
            std::fs::remove_file(&rules).context("remove a rule")?;
            // It hears its leader again, and applies what it has missed.
            sleep(HANGS_MAX);
        }
        ensemble.power_off(&all)?;
        std::fs::remove_file(&rules).context("remove a rule")?;
        ensemble.heal()?;
        ensemble.wait_until_serving(super::super::START_TIME_MAX)?;
        if count(&ensemble.server(member).log(), AHEAD) > before {
            return Ok(format!(
                "server {} came back with a tree ahead of its log, at attempt {attempt}",
                member + 1
            ));
        }
    }
    bail!("its log was never behind its tree")
}

/// From now on its log hangs; whether a checkpoint was taken a while after that.
fn flushed_ahead(ensemble: &Ensemble, member: usize, rules: &Path) -> Result<bool> {
    let met = rules.with_extension("met");
    let lines = || std::fs::read_to_string(&met).map_or(0, |met| met.lines().count());
    let before = lines();
    std::fs::write(rules, "sync hang .segment").context("write a rule")?;
    let begin = Instant::now();
    while lines() == before {
        ensure!(begin.elapsed() < SUCCESSOR_TIME_MAX, "nothing is synced");
        sleep(PAUSE / 4);
    }
    let begin = Instant::now();
    sleep(PAUSE);
    let taken = count(&ensemble.server(member).log(), "checkpoint taken");
    while begin.elapsed() < HANGS_MAX {
        if count(&ensemble.server(member).log(), "checkpoint taken") > taken {
            return Ok(true);
        }
        sleep(PAUSE / 2);
    }
    Ok(false)
}

fn count(log: &str, what: &str) -> usize {
    log.matches(what).count()
}

fn flap(ensemble: &Ensemble, random: &mut Random, time: Duration) -> Result<String> {
    let begin = Instant::now();
    let mut cuts = 0;
    while begin.elapsed() < time {
        let from = random.below(ensemble.len());
        let to = (from + 1 + random.below(ensemble.len() - 1)) % ensemble.len();
        ensemble.set_way(from, to, CUT)?;
        cuts += 1;
        sleep(Duration::from_millis(20 + random.below(300) as u64));
        if random.chance(60) {
            each_way(ensemble, Way::default)?;
            sleep(Duration::from_millis(random.below(200) as u64));
        }
    }
    Ok(format!("{} ways cut for moments", cuts))
}
