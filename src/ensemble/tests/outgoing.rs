//! The scripts of `ensemble/origin/scripts`: each tells what becomes of the proposals of one origin in
//! one story of the ensemble.
//!
//! `UPDATE_GOLDENFILES=1` writes them again. A window holds three batches, a batch two proposals.
//!
//! ```text
//! submit COUNT [bytes=B]          proposals of this origin; prints those refused, and `wake`
//! leads TERM | leader SERVER TERM | leaderless
//! applied INDEX term=T [cursor=N] an entry was applied here, and where the origin's cursor is
//! replaced INDEX term=T [cursor=N] a snapshot was installed here, and where the origin's cursor is in it
//! answered ROUND at=INDEX | answered ROUND refused
//! broken SERVER                   the stream to it broke
//! turn                            all that is to be sent now
//! resume                          the pause is over
//! recall                          all clients have been sent away
//! close | report
//! ```

use std::error::Error;
use std::fmt::Write as _;

use golden::Words;
use goldenscript::{Command as Line, Context, Runner};

use super::super::origin::outgoing::{Answer, Command, Event, Outgoing, Parcel};
use super::*;
use crate::ensemble::SubmitError;
use crate::state::{Action, Batch, LogPosition, Origin, Proposal, Reading, Rules};

struct Story(Outgoing);

impl Story {
    fn new() -> Self {
        let origin = Origin {
            server: ServerId(1),
            incarnation: 9,
        };
        let config = Config {
            window_batches: 3,
            batch_ops_max: 2,
            queue_bytes_max: 400,
            ..alone()
        };
        Self(Outgoing::new(origin, &config, Rules::default(), None))
    }

    fn submit(&mut self, count: u64, bytes: usize) -> String {
        let body = vec![0; bytes];
        let mut out = String::new();
        for _ in 0..count {
            let action = ActionRef::Client {
                connection: 0,
                op: OpCode::SET_DATA,
                body: &body,
            };
            match self.0.submit(submission(0, action)) {
                Ok(taken) if taken.wakes => out.push_str("wake\n"),
                Ok(_) => {}
                Err(SubmitError::Full) => out.push_str("full\n"),
                Err(SubmitError::Closed) => out.push_str("closed\n"),
            }
        }
        out
    }

    fn turn(&mut self) -> String {
        let now = Reading {
            wall_ms: 77,
            steady_ms: 7,
        };
        let mut out = String::new();
        loop {
            let commands = self.0.step(Event::Turn(now));
            out.push_str(&text(&commands));
            let sends = |c: &Command| matches!(c, Command::Append(_) | Command::Forward(..));
            if !commands.iter().any(sends) {
                return out;
            }
        }
    }
}

fn text(commands: &[Command]) -> String {
    let mut out = String::new();
    for command in commands {
        match command {
            Command::Append(parcel) => writeln!(out, "append {}", parcel_text(parcel)).unwrap(),
            Command::Forward(server, parcel) => {
                writeln!(out, "forward to {server}: {}", parcel_text(parcel)).unwrap();
            }
            Command::Pause(time) => writeln!(out, "pause {}", time.as_millis()).unwrap(),
            Command::Wake => out.push_str("wake\n"),
            Command::Room => out.push_str("room\n"),
            Command::Disconnect => out.push_str("disconnect\n"),
            Command::End => out.push_str("end\n"),
        }
    }
    out
}

fn parcel_text(parcel: &Parcel) -> String {
    let batch = Batch::decode(parcel.bytes.clone()).unwrap();
    let first = batch.proposals.first().unwrap().sequence;
    let last = batch.proposals.last().unwrap().sequence;
    let stamp = match (parcel.is_stamped, batch.reading.wall_ms) {
        (true, 77) => "stamped",
        (false, _) => "to be stamped",
        (true, _) => "STAMP IS WRONG",
    };
    let does_nothing = |proposal: &Proposal| {
        proposal.session == SessionId::NONE && proposal.action == Action::CloseSession
    };
    let nothing = match batch.proposals.iter().filter(|it| does_nothing(it)).count() {
        0 => "",
        count if count == batch.proposals.len() => ", nothing",
        _ => ", A PART OF IT NOTHING",
    };
    let (term, round) = (parcel.term, parcel.round);
    format!("{first}..{last}{nothing} in term {term}, round {round}, {stamp}")
}

impl Runner for Story {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &Context) -> Result<String, Box<dyn Error>> {
        let words = Words::of(line);
        let at = |index| -> Result<u64, Box<dyn Error>> {
            Ok(words.at(index).ok_or("a number is missing")?.parse()?)
        };
        let key = |name| words.key(name).map(str::parse::<u64>).transpose();
        let event = match line.name.as_str() {
            "submit" => {
                let bytes = key("bytes")?.unwrap_or(10);
                return Ok(self.submit(at(0)?, usize::try_from(bytes)?));
            }
            "turn" => return Ok(self.turn()),
            "report" => {
                let report = self.0.report();
                let (waiting, flight) = (report.waiting_bytes > 0, report.flight_batches);
                let resent = report.resent;
                return Ok(format!(
                    "waiting {waiting}, in flight {flight}, resent {resent}\n"
                ));
            }
            "leads" => Event::Leads { term: at(0)? },
            "leader" => Event::LeaderAt {
                server: ServerId(at(0)?),
                term: at(1)?,
            },
            "leaderless" => Event::Leaderless,
            "broken" => Event::Broken {
                server: ServerId(at(0)?),
            },
            "answered" => Event::Answered {
                round: at(0)?,
                answer: match (key("at")?, words.at(1)) {
                    (Some(index), None) => Answer::At(index),
                    (None, Some("refused")) => Answer::Refused,
                    _ => return Err("at=INDEX or refused".into()),
                },
            },
            "applied" | "replaced" => {
                let (index, term) = (at(0)?, key("term")?.ok_or("term=")?);
                let (position, cursor) = (LogPosition { index, term }, key("cursor")?);
                if line.name == "applied" {
                    Event::Applied { position, cursor }
                } else {
                    Event::Replaced { position, cursor }
                }
            }
            "resume" => Event::Resume,
            "recall" => Event::Recalled,
            "close" => Event::Closed,
            other => return Err(format!("{other} is no command").into()),
        };
        Ok(text(&self.0.step(event)))
    }
}

#[test]
fn outgoing_tells_its_stories() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ensemble/origin/scripts");
    let mut stories = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        goldenscript::run(&mut Story::new(), &path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stories += 1;
    }
    assert!(stories >= 12, "{stories} stories");
}

#[test]
fn it_says_for_how_long_nothing_gets_on() {
    use std::time::Duration;
    use tokio::time::Instant;

    use super::super::origin::proposals::Proposals;
    const PAUSE: Duration = Duration::from_millis(2);
    const AT: fn(u64) -> LogPosition = |index| LogPosition { term: 5, index };
    let proposals = Proposals::new(Story::new().0, Arc::new(Ticks(AtomicI64::new(1))));
    let submit = |count| {
        for _ in 0..count {
            let submission = submission(0, ActionRef::CloseSession);
            proposals.submit(submission).unwrap();
        }
    };
    let sent = || std::iter::from_fn(|| proposals.turn()).count();
    proposals.leader(Some((ServerId(1), 5)), ServerId(1));
    proposals.applied(AT(1), None);
    let wait = || {
        let stuck = proposals.stuck_for();
        while proposals.stuck_for() < stuck + PAUSE {
            std::thread::yield_now();
        }
    };
    assert_eq!(
        proposals.stuck_for(),
        Duration::ZERO,
        "nothing is under way"
    );
    submit(1);
    assert_eq!(sent(), 1);
    wait();
    submit(2);
    assert_eq!(sent(), 1);
    wait();
    assert!(proposals.stuck_for() >= 2 * PAUSE);
    let since = Instant::now();
    proposals.applied(AT(2), Some(1));
    let stuck = proposals.stuck_for();
    assert!(
        stuck <= since.elapsed(),
        "the second one is under way, but one got on"
    );
    proposals.applied(AT(3), Some(3));
    assert_eq!(proposals.stuck_for(), Duration::ZERO);
}
