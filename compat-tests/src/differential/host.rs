//! What a side talks to: a lone server, or one follower of an ensemble.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::differences::never_sent_to_members;
use super::step::Step;
use crate::ensemble::net::Wiring;
use crate::ensemble::{Ensemble, Mode, START_TIME_MAX, Setup};
use crate::server::{Kind, Options, Server};

/// What members show of their own files, differently once somebody has written it.
///
/// zk-differs: see `state::local_config` of the server; `compat ensemble-words` compares what it shows.
pub const CONFIG: &str = "/zookeeper/config";

/// How often an ensemble is started anew after a restart, until the member that is talked to follows.
const ELECTIONS_MAX: usize = 20;

/// Where the requests of a side go.
#[derive(Debug)]
pub enum Host {
    /// One server.
    Lone(Box<Server>),
    /// A follower of an ensemble, whose other members only take part.
    Follower {
        /// All of them.
        ensemble: Box<Ensemble>,
        /// The one that is talked to, counted from 0.
        member: usize,
    },
}

impl Host {
    /// Starts one server, or so many that make one.
    ///
    /// # Errors
    /// They do not serve in time.
    pub fn start(kind: Kind, members: usize, options: &Options) -> Result<Self> {
        if members == 1 {
            return Ok(Self::Lone(Box::new(Server::start(kind, options.clone())?)));
        }
        let mut all = Options::default()
            .config("initLimit", "20")
            .config("syncLimit", "10");
        for (key, value) in &options.config {
            all = all.config(key, value);
        }
        all.properties.clone_from(&options.properties);
        let ensemble = Ensemble::start(&Setup {
            members,
            options: all,
            ..Setup::new(kind, Wiring::Loopback)
        })?;
        let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
        Ok(Self::Follower {
            member: (leader + 1) % members,
            ensemble: Box::new(ensemble),
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Lone(server) => server.address(),
            Self::Follower { ensemble, member } => ensemble.address(*member),
        }
    }

    /// True for an ensemble.
    pub fn has_members(&self) -> bool {
        matches!(self, Self::Follower { .. })
    }

    /// Which server it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Lone(server) => server.kind(),
            Self::Follower { ensemble, .. } => ensemble.kind(),
        }
    }

    /// The last lines of the log, of all logs.
    pub fn log_tail(&self) -> String {
        match self {
            Self::Lone(server) => server.log_tail(),
            Self::Follower { ensemble, .. } => ensemble.logs(),
        }
    }

    /// Changes a line of zoo.cfg of all; takes effect with the next start.
    pub fn set_config(&mut self, key: &str, value: &str) {
        match self {
            Self::Lone(server) => server.set_config(key, value),
            Self::Follower { ensemble, .. } => ensemble.set_config(key, value),
        }
    }

    /// All go down, by kill -9 or SIGTERM, and come back; the same one follows again.
    ///
    /// # Errors
    /// They do not end, or do not serve in time.
    pub fn restart(&mut self, crash: bool) -> Result<()> {
        match self {
            Self::Lone(server) => {
                if crash {
                    server.kill9()?;
                }
                server.restart()
            }
            Self::Follower { ensemble, member } => {
                if crash {
                    ensemble.kill9_all()?;
                } else {
                    // From the one that is talked to: it follows to its end.
                    let others = (0..ensemble.len()).filter(|other| other != member);
                    let order: Vec<usize> = [*member].into_iter().chain(others).collect();
                    order.iter().try_for_each(|it| ensemble.stop(*it))?;
                }
                ensemble.heal()?;
                ensemble.wait_until_serving(START_TIME_MAX)?;
                follow(ensemble, *member)
            }
        }
    }
}

/// The steps as members can be asked them alike: without the requests that name [`CONFIG`], and without
/// what `differences` says that members are not sent.
pub fn for_members(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        match step {
            Step::Connect { then: requests, .. }
            | Step::Burst { requests, .. }
            | Step::Reap { requests, .. } => {
                requests.retain(|request| {
                    let names_config = format!("{request:?}").contains(CONFIG);
                    !names_config && !never_sent_to_members(&request.op)
                });
            }
            _ => {}
        }
    }
    steps
}

/// Sees to it that this member follows: restarts it while it leads, so that another takes over.
fn follow(ensemble: &mut Ensemble, member: usize) -> Result<()> {
    for _ in 0..ELECTIONS_MAX {
        if ensemble.mode(member) == Some(Mode::Follower) {
            return Ok(());
        }
        ensemble.stop(member)?;
        // The others elect one of them before it is back.
        let mut others = (0..ensemble.len()).filter(|other| *other != member);
        let other = others.next().context("an ensemble of one")?;
        let deadline = std::time::Instant::now() + START_TIME_MAX;
        while ensemble.mode(other).is_none() {
            ensure!(std::time::Instant::now() < deadline, "no new leader");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        ensemble.spawn(member)?;
        ensemble.wait_until_serving(START_TIME_MAX)?;
    }
    anyhow::bail!("server {} leads again and again", member + 1)
}

#[cfg(test)]
mod tests {
    use super::super::step::{Damage, Op, Request};
    use super::*;

    fn asked(ops: Vec<Op>) -> Vec<Step> {
        let request = |op| Request { xid: None, op };
        vec![Step::Burst {
            slot: 0,
            requests: ops.into_iter().map(request).collect(),
        }]
    }

    #[test]
    fn members_are_asked_neither_for_their_configuration_nor_what_stops_a_genuine_ensemble() {
        let read = |path: &str| Op::Read {
            code: 4,
            path: path.into(),
            watch: false,
        };
        let broken = |op: Op| Op::Broken {
            op: Box::new(op),
            damage: Damage::Cut(3),
        };
        let write = || Op::SetData {
            path: "~/a".into(),
            data: None,
            version: -1,
        };
        let kept = || {
            vec![
                read("~/a"),
                write(),
                broken(read("~/a")),
                Op::Bare { code: 11 },
            ]
        };
        let left_out = vec![read(CONFIG), broken(write()), Op::Bare { code: 1 }];
        let both = kept().into_iter().chain(left_out).collect();
        let left = format!("{:?}", for_members(asked(both)));
        assert_eq!(left, format!("{:?}", asked(kept())));
    }
}
