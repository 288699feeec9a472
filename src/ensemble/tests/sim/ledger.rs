//! What must hold, checked with each txn: one history, of which every server applies all, in order.
//!
//! The first server that applies a txn writes it into the history; the others, and those that apply it
//! again after a crash, must find there what they apply. So nothing that was ever acknowledged can be
//! lost, come twice, or come out otherwise elsewhere without being seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::{Cursor, Origin, Outcome, Replica, ServerId, SessionId, Sink, State, Txn, Zxid};

/// What all servers together have done.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    now_ms: u64,
    trace: String,
    history: Vec<Record>,
    /// Of the history, what somebody has been told of.
    acknowledged: usize,
    wrong: Vec<String>,
    leaders: BTreeMap<u64, u64>,
    /// The last proposal of each server that has taken effect.
    cursors: BTreeMap<ServerId, (u64, u64)>,
    /// Up to where proposals of a run of a server may be missing, since they were taken back.
    recalled: BTreeMap<(ServerId, u64), u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Record {
    origin: Origin,
    sequence: u64,
    zxid: Zxid,
    /// Of all that it did.
    digest: u64,
}

/// Wrong things that are kept: the first says most.
const WRONG_MAX: usize = 20;

impl Ledger {
    pub(super) fn tick(&self, now_ms: u64) {
        self.0.lock().now_ms = now_ms;
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, what: impl std::fmt::Display) {
        let mut inside = self.0.lock();
        let now_ms = inside.now_ms;
        writeln!(inside.trace, "{now_ms} {what}").unwrap();
    }

    /// Something is not as it must be.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) {
        let mut inside = self.0.lock();
        inside.wrong(what);
    }

    pub(super) fn is_wrong(&self) -> bool {
        !self.0.lock().wrong.is_empty()
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        self.0.lock().wrong.clone()
    }

    pub(super) fn trace(&self) -> String {
        self.0.lock().trace.clone()
    }

    /// How many txns there have been.
    pub(super) fn len(&self) -> usize {
        self.0.lock().history.len()
    }

    /// How many of them somebody has been told of, or of one behind them.
    pub(super) fn acknowledged(&self) -> usize {
        self.0.lock().acknowledged
    }

    /// How many terms have had a leader.
    pub(super) fn terms(&self) -> usize {
        self.0.lock().leaders.len()
    }

    /// `origin` has sent its clients away: what they asked for up to `last` may take effect or not, but
    /// nothing behind the first that does not.
    pub(super) fn recalled(&self, origin: Origin, last: u64) {
        let mut inside = self.0.lock();
        let now_ms = inside.now_ms;
        let server = origin.server;
        writeln!(inside.trace, "{now_ms} {server} recalls to {last}").unwrap();
        let run = (server, origin.incarnation);
        inside.recalled.insert(run, last);
    }

    /// `server` leads `term`: nobody else may.
    pub(super) fn leads(&self, server: u64, term: u64) {
        let mut inside = self.0.lock();
        let first = *inside.leaders.entry(term).or_insert(server);
        if first != server {
            inside.wrong(format!("term {term} is led by {first} and by {server}"));
        }
    }

    /// How far a tree has come that was not come by txn by txn.
    fn place(&self, state: &State) -> usize {
        let holds = |record: &&Record| {
            let Cursor {
                incarnation,
                sequence,
                ..
            } = state.cursor(record.origin.server);
            (record.origin.incarnation, record.sequence) <= (incarnation, sequence)
        };
        let mut inside = self.0.lock();
        let held = inside.history.iter().filter(holds).count();
        let first = inside.history.iter().take_while(holds).count();
        if held != first {
            inside.wrong(format!(
                "a tree holds {held} txns, of which {first} are the first"
            ));
        }
        first
    }

    fn applied(&self, server: u64, place: usize, txn: &Txn, is_own: bool) {
        let record = Record {
            origin: txn.origin,
            sequence: txn.sequence,
            zxid: txn.zxid,
            digest: digest(txn),
        };
        let inside = &mut *self.0.lock();
        match inside.history.get(place) {
            Some(before) if *before != record => {
                let what = format!("{server} applies {record:?} at {place}, others {before:?}");
                inside.wrong(what);
            }
            Some(_) => {}
            None => inside.begin(record, txn, place),
        }
        if is_own {
            inside.acknowledged = inside.acknowledged.max(place + 1);
        }
    }
}

impl Inside {
    fn wrong(&mut self, what: impl std::fmt::Display) {
        if self.wrong.len() < WRONG_MAX {
            let now_ms = self.now_ms;
            writeln!(self.trace, "{now_ms} WRONG {what}").unwrap();
            self.wrong.push(format!("at {now_ms} ms: {what}"));
        }
    }

    /// The first that applies a txn.
    fn begin(&mut self, record: Record, txn: &Txn, place: usize) {
        let Origin {
            server,
            incarnation,
        } = record.origin;
        let now = (incarnation, record.sequence);
        let before = self.cursors.insert(server, now).unwrap_or((0, 0));
        let next = if now.0 > before.0 { 1 } else { before.1 + 1 };
        let recalled = self.recalled.get(&(server, incarnation)).copied();
        let follows =
            now.0 >= before.0 && (now.1 == next || (now.1 > next && recalled == Some(now.1 - 1)));
        if !follows {
            self.wrong(format!(
                "{now:?} of {server:?} took effect behind {before:?}"
            ));
        }
        let attaches = matches!(txn.outcome, Outcome::SessionAttached | Outcome::Refused(_));
        let last = self.history.last().map(|last| last.zxid);
        if last.is_some_and(|last| last > record.zxid || (last == record.zxid && !attaches)) {
            self.wrong(format!("{:?} came behind {last:?}", record.zxid));
        }
        let now_ms = self.now_ms;
        let (zxid, sequence) = (record.zxid, record.sequence);
        writeln!(
            self.trace,
            "{now_ms} txn {place} {zxid:?} of {server:?} {sequence}"
        )
        .unwrap();
        self.history.push(record);
    }
}

/// A number that says whether two txns are the same: FNV-1a.
fn digest(txn: &Txn) -> u64 {
    hash(&format!("{txn:?}"))
}

pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What a client's proposal has come to.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) sequence: u64,
    pub(super) session: SessionId,
    pub(super) outcome: Outcome,
}

/// The sink of one run of a server.
#[derive(Debug)]
pub(super) struct Witness {
    server: u64,
    origin: Origin,
    ledger: Arc<Ledger>,
    place: Mutex<usize>,
    told: Mutex<Vec<Told>>,
    replaced: Mutex<bool>,
}

impl Witness {
    pub(super) fn new(origin: Origin, ledger: &Arc<Ledger>, replica: &Replica) -> Arc<Self> {
        Arc::new(Self {
            server: origin.server.0,
            origin,
            place: Mutex::new(ledger.place(&replica.read())),
            ledger: Arc::clone(ledger),
            told: Mutex::default(),
            replaced: Mutex::default(),
        })
    }

    /// How much of the history this server has applied.
    pub(super) fn place(&self) -> usize {
        *self.place.lock()
    }

    /// Whether its state has been replaced since it was last asked: its clients have been sent away.
    pub(super) fn was_replaced(&self) -> bool {
        std::mem::take(&mut *self.replaced.lock())
    }

    /// What its clients are told and have not been yet.
    pub(super) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock())
    }
}

impl Sink for Witness {
    fn applied(&self, _: &State, txn: &Txn) {
        let is_own = txn.origin == self.origin;
        let mut place = self.place.lock();
        self.ledger.applied(self.server, *place, txn, is_own);
        *place += 1;
        if is_own {
            self.told.lock().push(Told {
                sequence: txn.sequence,
                session: txn.session,
                outcome: txn.outcome.clone(),
            });
        }
    }

    /// Of what the snapshot covers nobody here is told.
    fn replaced(&self, state: &State) {
        let server = self.server;
        let place = self.ledger.place(state);
        let before = std::mem::replace(&mut *self.place.lock(), place);
        self.ledger
            .note(format!("s{server} goes on at {place} by a snapshot"));
        if place < before {
            self.ledger
                .wrong(format!("s{server} goes back to {place} from {before}"));
        }
        *self.replaced.lock() = true;
    }

    fn slice_done(&self) {}
}
