//! A client's session, attached where a connection hands requests over.

use std::collections::{BTreeSet, VecDeque};

use bytes::BytesMut;
use jute::{Delete, ErrorCode, OpCode, SetData};

use super::super::{client, create_with, submission};
use super::dice::Dice;
use super::ledger::{Ledger, Told};
use super::server::Server;
use crate::ensemble::Submission;
use crate::state::{ActionRef, OpOutcome, Outcome, SessionId};

/// Requests that a session has on their way, at most.
const IN_FLIGHT_MAX: usize = 8;
const PASSWORD: [u8; 16] = [7; 16];
const TIMEOUT_MS: i32 = 10_000;

/// A session and where it is attached.
pub(super) struct Client {
    id: i64,
    /// The session: another one, if the first was never known to be open.
    attempt: i64,
    is_open: bool,
    place: Option<Place>,
    connection: u64,
    in_flight: VecDeque<(u64, Request)>,
    /// What it asked of servers that it left before they had taken its session over: server, run and
    /// sequence. It comes into the log when it comes, and then they have the session.
    loose: BTreeSet<(u64, u64, u64)>,
    /// That has been seen since the session was last to be taken over.
    is_stolen: bool,
    /// Znodes that it knows to be there.
    pub(super) created: BTreeSet<String>,
    count: u64,
}

#[derive(Clone, Copy)]
struct Place {
    server: u64,
    run: u64,
    attached: bool,
}

#[derive(Clone, Debug)]
enum Request {
    Open,
    Attach,
    Create(String),
    Set,
    Delete,
}

impl Client {
    pub(super) fn new(id: i64) -> Self {
        Self {
            id,
            attempt: 0,
            is_open: false,
            place: None,
            connection: 0,
            in_flight: VecDeque::new(),
            loose: BTreeSet::new(),
            is_stolen: false,
            created: BTreeSet::new(),
            count: 0,
        }
    }

    fn session(&self) -> SessionId {
        SessionId(self.id * 1_000 + self.attempt)
    }

    /// Where it is attached.
    pub(super) fn server(&self) -> Option<u64> {
        self.place.map(|place| place.server)
    }

    /// Whether it waits for nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Its connection broke: what was under way may have happened or not.
    pub(super) fn leave(&mut self) {
        if let Some(place) = self.place.take().filter(|place| !place.attached) {
            let asked = self.in_flight.iter();
            self.loose
                .extend(asked.map(|(sequence, _)| (place.server, place.run, *sequence)));
        }
        self.in_flight.clear();
    }

    /// A server has sent its clients away and taken back what is behind `last`: none of it ever takes
    /// effect.
    pub(super) fn recalled(&mut self, server: u64, run: u64, last: u64) {
        if self
            .place
            .is_some_and(|place| (place.server, place.run) == (server, run))
        {
            self.leave();
        }
        let is_possible =
            |loose: &(u64, u64, u64)| (loose.0, loose.1) != (server, run) || loose.2 <= last;
        self.loose.retain(is_possible);
    }

    /// It comes to a server that serves.
    fn arrive(&mut self, server: &Server) {
        let (Some(run), Some(ensemble)) = (&server.run, server.ensemble()) else {
            return;
        };
        // Whatever has been applied anywhere comes before this in the log.
        self.is_stolen = false;
        self.connection += 1;
        let (connection, timeout_ms, password) = (self.connection, TIMEOUT_MS, &PASSWORD);
        let (action, request) = if self.is_open {
            let attach = ActionRef::Attach {
                connection,
                timeout_ms,
                password,
            };
            (attach, Request::Attach)
        } else {
            self.attempt += 1;
            let open = ActionRef::OpenSession {
                connection,
                timeout_ms,
                password,
            };
            (open, Request::Open)
        };
        let wanted = Submission {
            session: self.session(),
            ..submission(0, action)
        };
        if let Ok(sequence) = ensemble.submit(wanted) {
            self.in_flight.push_back((sequence, request));
            self.place = Some(Place {
                server: server.id,
                run: run.number,
                attached: false,
            });
        }
    }

    /// One step: it looks where it is, and may ask for something if `asks`.
    pub(super) fn step(&mut self, servers: &[Server], dice: &mut Dice, asks: bool) {
        let Some(place) = self.place else {
            let serving: Vec<usize> = (0..servers.len())
                .filter(|at| servers[*at].serves())
                .collect();
            if let Some(at) = dice.pick(&serving)
                && dice.once_in(20)
                && asks
            {
                self.arrive(&servers[at]);
            }
            return;
        };
        let server = servers.iter().find(|server| server.id == place.server);
        let is_there = server.is_some_and(|server| {
            let is_same = server
                .run
                .as_ref()
                .is_some_and(|run| run.number == place.run);
            is_same && server.ensemble().is_some_and(|ensemble| ensemble.admits())
        });
        if !is_there || (asks && dice.once_in(1_500)) {
            self.leave();
            return;
        }
        if let Some(server) = server
            && asks
            && place.attached
            && self.in_flight.len() < IN_FLIGHT_MAX
            && dice.once_in(30)
        {
            self.ask(server, dice);
        }
    }

    fn ask(&mut self, server: &Server, dice: &mut Dice) {
        let Some(ensemble) = server.ensemble() else {
            return;
        };
        self.count += 1;
        let known: Vec<&String> = self.created.iter().collect();
        let some = dice.pick(&known).cloned();
        let (op, body, request) = match (dice.below(10), &some) {
            (0, Some(path)) => (OpCode::DELETE, delete(path), Request::Delete),
            (1..=3, Some(path)) => (OpCode::SET_DATA, set(path, self.count), Request::Set),
            (kind, _) => {
                let path = format!("/{}-{}", self.id, self.count);
                let body = create_with(&path, i32::from(kind == 9));
                (OpCode::CREATE, body, Request::Create(path))
            }
        };
        let ActionRef::Client { op, body, .. } = client(op, &body) else {
            return;
        };
        let wanted = Submission {
            session: self.session(),
            ..submission(
                i32::try_from(self.count).unwrap(),
                ActionRef::Client {
                    op,
                    body,
                    connection: self.connection,
                },
            )
        };
        if let Ok(sequence) = ensemble.submit(wanted) {
            if let (Request::Delete, Some(path)) = (&request, some) {
                // Whether it is there is not known until the answer, which may never come.
                self.created.remove(&path);
            }
            self.in_flight.push_back((sequence, request));
        }
    }

    /// What it is told by the server where it is.
    pub(super) fn told(&mut self, server: u64, run: u64, told: &Told, ledger: &Ledger) {
        if self.loose.remove(&(server, run, told.sequence)) {
            self.is_stolen = true;
        }
        let is_here = |place: &Place| place.server == server && place.run == run;
        if told.session != self.session() || !self.place.as_ref().is_some_and(is_here) {
            return;
        }
        let Some(at) = self.in_flight.iter().position(|one| one.0 == told.sequence) else {
            // From before it left this server and came back.
            return;
        };
        let (outcome, session) = (&told.outcome, told.session.0);
        if at > 0 {
            let first = &self.in_flight[0];
            ledger.wrong(format!("{session:x} is told {outcome:?} before {first:?}"));
        }
        let Some((_, request)) = self.in_flight.remove(at) else {
            return;
        };
        let is_right = match (&request, outcome) {
            (Request::Open, Outcome::SessionOpened)
            | (Request::Attach, Outcome::SessionAttached) => {
                self.is_open = true;
                if let Some(place) = &mut self.place {
                    place.attached = true;
                }
                true
            }
            (Request::Create(path), Outcome::Op(OpOutcome::Created { path: created })) => {
                self.created.insert(path.clone());
                **created == **path
            }
            (Request::Set, Outcome::Op(OpOutcome::Stat(_)))
            | (Request::Delete, Outcome::Op(OpOutcome::Deleted)) => true,
            (_, Outcome::Refused(ErrorCode::SESSION_MOVED)) => {
                let is_right = self.is_stolen || !self.loose.is_empty();
                // Its connection is closed.
                self.leave();
                is_right
            }
            _ => false,
        };
        if !is_right {
            ledger.wrong(format!(
                "{session} asked {request:?} and is told {outcome:?}"
            ));
        }
    }
}

fn set(path: &str, value: u64) -> BytesMut {
    let mut body = BytesMut::new();
    let set = SetData {
        path: Some(path.into()),
        data: Some(value.to_be_bytes().to_vec().into()),
        version: -1,
    };
    set.encode(&mut body);
    body
}

fn delete(path: &str) -> BytesMut {
    let mut body = BytesMut::new();
    let delete = Delete {
        path: Some(path.into()),
        version: -1,
    };
    delete.encode(&mut body);
    body
}
