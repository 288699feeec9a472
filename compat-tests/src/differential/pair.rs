//! Two servers in lockstep, and where they first differ.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::host::Host;
use super::side::{Counts, Seen, Side};
use super::step::{Op, Request, Step};
use crate::server::{Kind, Options};
use crate::suite::say;

/// A word whose answer depends on connections that are just going is asked again for so long: a
/// server learns of a dropped connection when its machine finds the time.
const WORD_TIME_MAX: Duration = Duration::from_secs(20);
const WORD_PAUSE: Duration = Duration::from_millis(25);

/// Where two servers first differed.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The number of the step; the sequence's length for what comes after it.
    pub step: usize,
    /// What was compared.
    pub what: String,
    /// What the server under test showed.
    pub subject: Vec<String>,
    /// What the reference showed.
    pub reference: Vec<String>,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "at step {}: {}", self.step, self.what)?;
        let count = self.subject.len().max(self.reference.len());
        let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
        for at in 0..count {
            let (subject, reference) = (line(&self.subject, at), line(&self.reference, at));
            if subject == reference {
                writeln!(f, "   both       {subject}")?;
            } else {
                writeln!(f, "   subject    {subject}")?;
                writeln!(f, "   reference  {reference}")?;
            }
        }
        Ok(())
    }
}

/// The server under test and the one that is right.
#[derive(Debug)]
pub struct Pair {
    subject: Side,
    reference: Side,
    sequences: usize,
    enforces_quota: bool,
    shows: bool,
}

type Nodes = Vec<(Vec<u8>, String)>;

impl Pair {
    /// Starts both, each of so many members.
    ///
    /// # Errors
    /// One does not serve.
    pub fn start(
        subject: Kind,
        reference: Kind,
        members: usize,
        options: &Options,
    ) -> Result<Self> {
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| Host::start(reference, members, options));
            let one = Host::start(subject, members, options);
            (one, other.join())
        });
        let two = two.map_err(|_| anyhow::anyhow!("the reference's start panicked"))?;
        Ok(Self {
            subject: Side::new(one.context("start the server under test")?)?,
            reference: Side::new(two.context("start the reference")?)?,
            sequences: 0,
            enforces_quota: options
                .config
                .iter()
                .any(|(k, v)| k == "enforceQuota" && v == "true"),
            shows: false,
        })
    }

    /// Runs a sequence on both and cleans up behind it.
    ///
    /// # Errors
    /// A server is beyond repair: it crashed, or cannot be cleaned. Start a new pair then; with
    /// what was seen so far in the message.
    pub fn run(&mut self, steps: &[Step]) -> Result<Option<Divergence>> {
        self.sequences += 1;
        let root = format!("/d{}", self.sequences);
        self.subject.open_sequence(&root)?;
        self.reference.open_sequence(&root)?;
        let mut found = None;
        for (at, step) in steps.iter().enumerate() {
            found = self
                .step(step)
                .with_context(|| format!("step {at}: {step:?}"))?
                .map(|divergence| Divergence {
                    step: at,
                    ..divergence
                });
            if found.is_some() {
                break;
            }
        }
        if found.is_none() {
            found = self.end().context("at the end of the sequence")?;
            if let Some(divergence) = &mut found {
                divergence.step = steps.len();
            }
        }
        self.clean()?;
        Ok(found)
    }

    /// From now on prints what is done and what both answer.
    pub fn show(&mut self) {
        self.shows = true;
    }

    /// From now on compares no zxids of replies that are no change: a genuine reaper may use up one
    /// more when its next round comes before the deletes of the last one are applied.
    pub fn hide_zxids(&mut self) {
        self.subject.hides_zxids = true;
        self.reference.hides_zxids = true;
    }

    /// The last lines of both logs.
    pub fn logs(&self) -> String {
        format!(
            "log of the subject:\n{}\nlog of the reference:\n{}",
            self.subject.host.log_tail(),
            self.reference.host.log_tail()
        )
    }

    /// What the server under test answered so far.
    pub fn counts(&self) -> &Counts {
        self.subject.counts()
    }

    fn step(&mut self, step: &Step) -> Result<Option<Divergence>> {
        if let Step::Restart { crash } = step {
            return self.restart(*crash);
        }
        let started = Instant::now();
        loop {
            let (subject, reference) = self.once(step)?;
            if subject == reference {
                self.say(&format!("{step:?}"), &subject);
                break;
            }
            if matches!(step, Step::Word(_)) && started.elapsed() < WORD_TIME_MAX {
                sleep(WORD_PAUSE);
                continue;
            }
            return Ok(Some(differs(
                format!("{step:?}"),
                subject.lines,
                reference.lines,
            )));
        }
        self.subject.begin_barrier();
        self.reference.begin_barrier();
        let subject = self
            .subject
            .finish_barrier(step)
            .context("the subject's barrier")?;
        let reference = self
            .reference
            .finish_barrier(step)
            .context("the reference's barrier")?;
        if subject != reference {
            let what = format!("what others saw of {step:?}");
            return Ok(Some(differs(what, subject.lines, reference.lines)));
        }
        self.say("  then", &subject);
        Ok(None)
    }

    fn say(&self, what: &str, seen: &Seen) {
        if self.shows {
            say(format_args!("{what}"));
            seen.lines
                .iter()
                .for_each(|line| say(format_args!("    {line}")));
        }
    }

    fn once(&mut self, step: &Step) -> Result<(Seen, Seen)> {
        self.subject.begin(step).context("the subject")?;
        self.reference.begin(step).context("the reference")?;
        let subject = self.subject.finish(step).context("the subject")?;
        let reference = self.reference.finish(step).context("the reference")?;
        Ok((subject, reference))
    }

    /// Both go down and come back: the trees are the same as before, and as each other's.
    fn restart(&mut self, crash: bool) -> Result<Option<Divergence>> {
        let before = self.subject.walk()?;
        if let Some(divergence) = compare(
            "the tree before a restart",
            &before,
            &self.reference.walk()?,
        ) {
            return Ok(Some(divergence));
        }
        // Each restart changes the mode, so that quotas are tried with and without enforcement.
        self.enforces_quota = !self.enforces_quota;
        let enforces = self.enforces_quota.to_string();
        let again = |side: &mut Side| -> Result<Nodes> {
            side.drop_connections();
            side.host.set_config("enforceQuota", &enforces);
            side.host.restart(crash)?;
            side.connect_control()?;
            side.walk()
        };
        let (subject, reference) = std::thread::scope(|scope| {
            let other = scope.spawn(|| again(&mut self.reference));
            (again(&mut self.subject), other.join())
        });
        let subject = subject.context("restart the subject")?;
        let reference = reference
            .map_err(|_| anyhow::anyhow!("the reference's restart panicked"))?
            .context("restart the reference")?;
        Ok(compare(
            "the subject's tree after a restart and before it",
            &subject,
            &before,
        )
        .or_else(|| compare("the tree after a restart", &subject, &reference)))
    }

    /// Closes all connections, in lockstep, then compares the trees.
    fn end(&mut self) -> Result<Option<Divergence>> {
        let nodes = self.subject.walk()?;
        if let Some(divergence) = compare("the tree", &nodes, &self.reference.walk()?) {
            return Ok(Some(divergence));
        }
        for slot in self.subject.open_slots() {
            let close = Request {
                xid: None,
                op: Op::Bare { code: -11 },
            };
            if let Some(divergence) = self.step(&Step::Burst {
                slot,
                requests: vec![close],
            })? {
                return Ok(Some(divergence));
            }
        }
        let (subject, reference) = (self.subject.zxid_order(), self.reference.zxid_order());
        if subject != reference {
            let text = |order| vec![format!("{order:?}")];
            return Ok(Some(differs(
                "the order of zxids".into(),
                text(subject),
                text(reference),
            )));
        }
        Ok(None)
    }

    fn clean(&mut self) -> Result<()> {
        for side in [&mut self.subject, &mut self.reference] {
            let kind = side.host.kind();
            side.close_sessions()
                .with_context(|| format!("close the sessions at {kind}"))?;
            let nodes = side.walk()?;
            side.clean(&nodes)?;
        }
        Ok(())
    }

    /// True when both trees, cleaned, say the same: what follows on this pair can be compared.
    ///
    /// # Errors
    /// A server does not answer.
    pub fn is_level(&mut self) -> Result<bool> {
        self.subject.open_sequence("/level")?;
        self.reference.open_sequence("/level")?;
        let (subject, reference) = (self.subject.walk()?, self.reference.walk()?);
        self.clean()?;
        ensure!(!subject.is_empty(), "no root");
        Ok(subject == reference)
    }
}

fn differs(what: String, subject: Vec<String>, reference: Vec<String>) -> Divergence {
    Divergence {
        step: 0,
        what,
        subject,
        reference,
    }
}

fn compare(what: &str, subject: &Nodes, reference: &Nodes) -> Option<Divergence> {
    let texts = |nodes: &Nodes| {
        nodes
            .iter()
            .map(|(_, text)| text.clone())
            .collect::<Vec<_>>()
    };
    (subject != reference).then(|| differs(what.into(), texts(subject), texts(reference)))
}
