//! Lends servers to a test program in another language.
//!
//! `compat lend PROGRAM ARGUMENTS` runs the program with `SERVERS=HOST:PORT` in its environment. Each
//! connection to that address is one server of the program's own: one line asks, one line answers,
//! `ok`, `ok WORDS` or `no REASON`; when the connection ends, the server and its data are gone.
//!
//! | Line | What it does |
//! | --- | --- |
//! | `kind` | `oxkeeper`, `zookeeper` or `external` |
//! | `config KEY VALUE` | a line of zoo.cfg, before the next start |
//! | `property NAME VALUE` | a `-D` word, before the first start |
//! | `start` | starts it unless it runs, the second time with the data it has; answers HOST:PORT when it serves |
//! | `stop`, `kill` | SIGTERM, `kill -9`; answers when it has ended |
//! | `proxy` | answers HOST:PORT of a way to it that can be cut |
//! | `cut`, `mend` | closes the proxy's connections and turns new ones away; lets them in again |
//! | `members` | how many servers make one |
//!
//! With `MEMBERS=3` each loan is an ensemble of three. `start` answers once all serve, and the address is
//! that of the first, as behind `proxy`: what one client wrote another one reads. `stop` and `kill` end
//! all. Besides:
//!
//! | Line | What it does |
//! | --- | --- |
//! | `addresses` | those of all, with commas between them |
//! | `leader` | the number of the one that leads, from 1 |
//! | `start N`, `stop N`, `kill N` | this one; `start` does not wait until it serves |
//!
//! So every language has the same servers, crashes and cuts, and only its own client to write.

mod lent;
mod proxy;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::server::{Kind, Options};
use crate::suite::say;
use lent::{End, Lent};
use proxy::Proxy;

/// How often the program, and its loans behind it, are looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// How long servers may take to end once the program has.
const RETURN_TIME_MAX: Duration = Duration::from_secs(30);

/// What to run, and on which servers.
#[derive(Debug)]
pub struct Plan {
    /// Which server is lent.
    pub kind: Kind,
    /// How many make one; 1: a lone server.
    pub members: usize,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub time_max: Duration,
}

/// Runs the program; true when it ended with 0.
///
/// # Errors
/// It cannot be started. A program that takes too long is killed and counts as failed.
pub fn run(plan: &Plan) -> Result<bool> {
    let (program, arguments) = plan
        .command
        .split_first()
        .context("name a program to run")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the program")?;
    let address = listener.local_addr().context("listen for the program")?;
    let (kind, members) = (plan.kind, plan.members);
    ensure!(
        members == 1 || (members > 1 && !matches!(kind, Kind::External(_))),
        "{members} servers of {kind}: they must be started here"
    );
    let loans = Arc::new(AtomicUsize::new(0));
    let open = Arc::clone(&loans);
    thread::spawn(move || serve(&listener, kind, members, &open));
    let mut child = Command::new(program)
        .args(arguments)
        .env("SERVERS", address.to_string())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let succeeded = wait(&mut child, plan.time_max);
    // What the program had goes with its connections; this process must not end before.
    let deadline = Instant::now() + RETURN_TIME_MAX;
    while loans.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
    succeeded
}

fn wait(child: &mut Child, time_max: Duration) -> Result<bool> {
    let deadline = Instant::now() + time_max;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("wait for the program")? {
            return Ok(status.success());
        }
        thread::sleep(PAUSE);
    }
    child.kill().context("end the program")?;
    child.wait().context("wait for the program")?;
    say(format_args!(
        "FAIL the program did not end within {} s",
        time_max.as_secs()
    ));
    Ok(false)
}

fn serve(listener: &TcpListener, kind: Kind, members: usize, loans: &Arc<AtomicUsize>) {
    for stream in listener.incoming().flatten() {
        loans.fetch_add(1, Ordering::SeqCst);
        let loans = Arc::clone(loans);
        thread::spawn(move || {
            // The program went away: so does its server.
            drop(Loan::new(kind, members).answer_all(&stream));
            loans.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One server in a program's hands.
#[derive(Debug)]
struct Loan {
    kind: Kind,
    members: usize,
    options: Options,
    lent: Option<Lent>,
    proxy: Option<Proxy>,
}

impl Loan {
    fn new(kind: Kind, members: usize) -> Self {
        Self {
            kind,
            members,
            options: Options::default(),
            lent: None,
            proxy: None,
        }
    }

    fn answer_all(&mut self, stream: &TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let mut out = stream;
        while let Some(line) = lines.next().transpose().context("read a line")? {
            let answer = match self.answer(&line) {
                Ok(words) if words.is_empty() => "ok".to_owned(),
                Ok(words) => format!("ok {words}"),
                Err(error) => {
                    let why = format!("{error:#}");
                    say(format_args!("compat lend: {line}: {why}"));
                    format!("no {}", why.replace('\n', " | "))
                }
            };
            out.write_all(format!("{answer}\n").as_bytes())
                .context("answer")?;
        }
        Ok(())
    }

    fn answer(&mut self, line: &str) -> Result<String> {
        let mut words = line.splitn(3, ' ');
        let verb = words.next().unwrap_or_default();
        let (name, value) = (words.next(), words.next());
        match (verb, name, value) {
            ("kind", None, None) => Ok(match self.kind {
                Kind::External(_) => "external".into(),
                kind => kind.to_string(),
            }),
            ("config", Some(key), Some(value)) => {
                self.options = std::mem::take(&mut self.options).config(key, value);
                if let Some(lent) = &mut self.lent {
                    lent.set_config(key, value);
                }
                Ok(String::new())
            }
            ("property", Some(name), Some(value)) => {
                self.options = std::mem::take(&mut self.options).property(name, value);
                Ok(String::new())
            }
            ("members", None, None) => Ok(self.members.to_string()),
            ("addresses", None, None) => {
                let lent = self.lent.as_ref().context("it was not started")?;
                Ok(lent.addresses().join(","))
            }
            ("leader", None, None) => Ok(self.own()?.leader()?.to_string()),
            ("start", None, None) => self.start(),
            ("start", Some(number), None) => {
                let number = parse(number)?;
                self.own()?.start_member(number)
            }
            ("stop" | "kill", number, None) => {
                let how = if verb == "stop" { End::Stop } else { End::Kill };
                let number = number.map(parse).transpose()?;
                self.own()?.end(number, how)?;
                Ok(String::new())
            }
            ("proxy", None, None) => self.proxy(),
            ("cut" | "mend", None, None) => {
                let proxy = self.proxy.as_ref().context("there is no proxy to cut")?;
                proxy.set_open(verb == "mend");
                Ok(String::new())
            }
            _ => bail!("no such request"),
        }
    }

    fn start(&mut self) -> Result<String> {
        if let Some(lent) = &mut self.lent {
            lent.start_again()?;
            return Ok(lent.addresses().swap_remove(0));
        }
        let lent = Lent::start(self.kind, self.members, &self.options)?;
        Ok(self.lent.insert(lent).addresses().swap_remove(0))
    }

    /// What was lent, when it may be stopped.
    fn own(&mut self) -> Result<&mut Lent> {
        if matches!(self.kind, Kind::External(_)) {
            bail!("a server that somebody else started is not stopped");
        }
        self.lent.as_mut().context("it was not started")
    }

    fn proxy(&mut self) -> Result<String> {
        let lent = self.lent.as_ref().context("it was not started")?;
        let proxy = match self.proxy.take() {
            Some(proxy) => proxy,
            None => Proxy::open(lent.addresses()[0].parse().context("an address")?)?,
        };
        Ok(self.proxy.insert(proxy).address().to_string())
    }
}

fn parse(number: &str) -> Result<usize> {
    number.parse().ok().context("no such request")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(loan: &mut Loan, line: &str) -> String {
        format!("{:#}", loan.answer(line).expect_err(line))
    }

    #[test]
    fn a_foreign_server_is_lent_but_never_stopped() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let mut loan = Loan::new(Kind::External(address), 1);
        assert_eq!(loan.answer("kind").expect("kind"), "external");
        let why = "a server that somebody else started is not stopped";
        assert_eq!(refused(&mut loan, "stop"), why);
        assert_eq!(refused(&mut loan, "kill"), why);
    }

    #[test]
    fn an_ensemble_of_foreign_servers_cannot_be_lent() {
        let foreign = Plan {
            kind: Kind::External("127.0.0.1:1".parse().expect("an address")),
            members: 3,
            command: vec!["true".to_owned()],
            time_max: Duration::from_secs(60),
        };
        assert!(run(&foreign).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let mut loan = Loan::new(Kind::Oxkeeper, 1);
        assert_eq!(loan.answer("kind").expect("kind"), "oxkeeper");
        assert_eq!(loan.answer("config tickTime 500").expect("config"), "");
        for line in [
            "",
            "starts",
            "config",
            "config tickTime",
            "start now",
            "kill all",
        ] {
            assert_eq!(refused(&mut loan, line), "no such request", "{line}");
        }
        assert_eq!(refused(&mut loan, "kill"), "it was not started");
        for line in ["kill 1", "start 1", "addresses", "leader"] {
            assert_eq!(refused(&mut loan, line), "it was not started", "{line}");
        }
        assert_eq!(loan.answer("members").expect("members"), "1");
        assert_eq!(refused(&mut loan, "cut"), "there is no proxy to cut");
    }

    #[test]
    fn the_programs_end_is_the_answer() {
        let plan = |words: &[&str], seconds| Plan {
            kind: Kind::Oxkeeper,
            members: 1,
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            time_max: Duration::from_secs(seconds),
        };
        assert!(run(&plan(&["true"], 60)).expect("true"));
        assert!(!run(&plan(&["false"], 60)).expect("false"));
        assert!(!run(&plan(&["sleep", "60"], 0)).expect("sleep"));
        assert!(run(&plan(&["/no/such/program"], 60)).is_err());
        assert!(run(&plan(&[], 60)).is_err());
    }
}
