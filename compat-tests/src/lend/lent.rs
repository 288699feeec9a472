//! What a loan consists of: one server, or the members of an ensemble.

use anyhow::{Context, Result, bail};

use crate::ensemble::net::Wiring;
use crate::ensemble::{Ensemble, START_TIME_MAX, Setup};
use crate::server::{Kind, Options, Server};

/// How servers are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// SIGTERM, and their end awaited.
    Stop,
    /// kill -9.
    Kill,
}

/// One server, or several that make one.
#[derive(Debug)]
pub(super) enum Lent {
    /// A lone one, or somebody else's.
    One(Box<Server>),
    /// An ensemble.
    Many(Box<Ensemble>),
}

impl Lent {
    /// Starts so many and waits until all serve.
    ///
    /// # Errors
    /// They do not in time.
    pub(super) fn start(kind: Kind, members: usize, options: &Options) -> Result<Self> {
        if members == 1 {
            let server = Server::start(kind, options.clone())?;
            return Ok(Self::One(Box::new(server)));
        }
        let mut all = Options::default()
            .config("initLimit", "10")
            .config("syncLimit", "5");
        for (key, value) in &options.config {
            all = all.config(key, value);
        }
        all.properties.clone_from(&options.properties);
        let ensemble = Ensemble::start(&Setup {
            members,
            options: all,
            ..Setup::new(kind, Wiring::Loopback)
        })?;
        Ok(Self::Many(Box::new(ensemble)))
    }

    /// Starts those that do not run, with the data they have, and waits until all serve.
    ///
    /// # Errors
    /// They do not in time.
    pub(super) fn start_again(&mut self) -> Result<()> {
        match self {
            Self::One(server) => {
                if server.is_running() {
                    return Ok(());
                }
                server.restart()
            }
            Self::Many(ensemble) => {
                ensemble.heal()?;
                ensemble.wait_until_serving(START_TIME_MAX).map(drop)
            }
        }
    }

    /// Starts one member unless it runs, and does not wait: it may not serve before others run.
    ///
    /// # Errors
    /// There is none of this number, or its process cannot be started.
    pub(super) fn start_member(&mut self, number: usize) -> Result<String> {
        let member = self.index(number)?;
        match self {
            Self::One(_) => self.start_again()?,
            Self::Many(ensemble) => {
                if !ensemble.is_running(member) {
                    ensemble.kill9(member)?; // one that ended by itself is forgotten
                    ensemble.spawn(member)?;
                }
            }
        }
        Ok(self.addresses()[member].clone())
    }

    /// Ends all, or the one of this number.
    ///
    /// # Errors
    /// There is none of this number, or it does not end.
    pub(super) fn end(&mut self, number: Option<usize>, how: End) -> Result<()> {
        let only = number.map(|number| self.index(number)).transpose()?;
        match (self, how) {
            (Self::One(server), End::Stop) => server.stop().map(drop),
            (Self::One(server), End::Kill) => server.kill9(),
            (Self::Many(ensemble), how) => match (only, how) {
                (Some(member), End::Stop) => ensemble.stop(member),
                (Some(member), End::Kill) => ensemble.kill9(member),
                (None, End::Stop) => {
                    (0..ensemble.len()).try_for_each(|member| ensemble.stop(member))
                }
                (None, End::Kill) => ensemble.kill9_all(),
            },
        }
    }

    /// The number of the one that leads.
    ///
    /// # Errors
    /// Nobody does in time.
    pub(super) fn leader(&self) -> Result<usize> {
        match self {
            Self::One(_) => Ok(1),
            Self::Many(ensemble) => Ok(ensemble.wait_for_leader(START_TIME_MAX)? + 1),
        }
    }

    /// Where clients reach each, by number.
    pub(super) fn addresses(&self) -> Vec<String> {
        match self {
            Self::One(server) => vec![server.address().to_string()],
            Self::Many(ensemble) => {
                let addresses = ensemble.addresses();
                addresses.iter().map(ToString::to_string).collect()
            }
        }
    }

    /// Changes a line of zoo.cfg of all; takes effect with the next start.
    pub(super) fn set_config(&mut self, key: &str, value: &str) {
        match self {
            Self::One(server) => server.set_config(key, value),
            Self::Many(ensemble) => ensemble.set_config(key, value),
        }
    }

    /// Members are counted from 1 by those who borrow, as in their files.
    fn index(&self, number: usize) -> Result<usize> {
        let members = self.addresses().len();
        if !(1..=members).contains(&number) {
            bail!("there is no server {number} of {members}");
        }
        number.checked_sub(1).context("counted from 1")
    }
}
