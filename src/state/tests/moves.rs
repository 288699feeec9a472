//! Sessions that move between servers while their writes are under way: random logs of several
//! origins, fed to several replicas and to a naive model of who owns what.

use std::collections::BTreeMap;

use jute::{Create, ErrorCode, Request, Text};
use proptest::collection::vec;
use proptest::prelude::*;

use super::generate::cases;
use super::world::{World, client, localhost, open_acl};
use crate::state::{
    Action, OpOutcome, Origin, Outcome, Proposal, Rules, ServerId, SessionId, SessionOwner, Txn,
};

const SERVERS: usize = 3;
const SESSIONS: i64 = 2;
const TIMEOUT_MS: i32 = 4000;

#[derive(Clone, Debug)]
enum Event {
    /// A client opens its session, or comes back to it, by a new connection of this server.
    Connect {
        server: usize,
        session: i64,
        knows_password: bool,
    },
    /// One of the connections that this server ever had of the session sends a write.
    Write {
        server: usize,
        session: i64,
        by: prop::sample::Index,
    },
    /// A client closes its session.
    Close { server: usize, session: i64 },
    /// The leader, as it is now or was a term ago, decides by what it sees now.
    Expire { session: i64, is_late: bool },
    /// This server's next proposals come into the log, behind some that came before.
    Send {
        server: usize,
        again: usize,
        count: usize,
    },
    /// An entry is applied.
    Apply,
    /// Another leader.
    Term,
    /// This server's process ends, and another begins.
    Restart { server: usize },
}

fn event() -> impl Strategy<Value = Event> {
    let server = || 0..SERVERS;
    let session = || 1..=SESSIONS;
    prop_oneof![
        3 => (server(), session(), prop::bool::weighted(0.9)).prop_map(
            |(server, session, knows_password)| Event::Connect {
                server,
                session,
                knows_password,
            }
        ),
        6 => (server(), session(), any::<prop::sample::Index>())
            .prop_map(|(server, session, by)| Event::Write { server, session, by }),
        1 => (server(), session()).prop_map(|(server, session)| Event::Close { server, session }),
        1 => (session(), any::<bool>())
            .prop_map(|(session, is_late)| Event::Expire { session, is_late }),
        6 => (server(), 0..3_usize, 1..5_usize)
            .prop_map(|(server, again, count)| Event::Send { server, again, count }),
        3 => Just(Event::Apply),
        1 => Just(Event::Term),
        1 => server().prop_map(|server| Event::Restart { server }),
    ]
}

/// One server as an origin: what it has proposed, and how much of that has been sent once.
#[derive(Default)]
struct Server {
    incarnation: u64,
    proposals: Vec<Proposal>,
    sent: usize,
    connections: Vec<(SessionId, u64)>,
    last_connection: u64,
}

/// What is expected of a log.
#[derive(Default)]
struct Model {
    owners: BTreeMap<SessionId, SessionOwner>,
    cursors: BTreeMap<ServerId, (u64, u64)>,
    last_zxid: i64,
}

/// What one proposal is to come to; names of what is created are left out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Came {
    Created,
    Opened,
    Attached,
    Closed,
    Refused(ErrorCode),
}

impl Came {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Op(OpOutcome::Created { .. }) => Self::Created,
            Outcome::SessionOpened => Self::Opened,
            Outcome::SessionAttached => Self::Attached,
            Outcome::SessionClosed => Self::Closed,
            Outcome::Refused(code) => Self::Refused(*code),
            other => panic!("{other:?}"),
        }
    }
}

impl Model {
    fn takes(&mut self, proposal: &Proposal) -> bool {
        let Origin {
            server,
            incarnation,
        } = proposal.origin;
        let (run, last) = self.cursors.get(&server).copied().unwrap_or_default();
        let next = if incarnation > run { 1 } else { last + 1 };
        let takes = incarnation >= run && proposal.sequence == next;
        if takes {
            self.cursors.insert(server, (incarnation, next));
        }
        takes
    }

    /// Its outcome and zxid; `None`: no txn.
    fn judge(&mut self, proposal: &Proposal, term: u64) -> Option<(Came, i64)> {
        if !self.takes(proposal) {
            return None;
        }
        let (session, origin) = (proposal.session, proposal.origin);
        let known = self.owners.get(&session).copied();
        let came = match &proposal.action {
            Action::OpenSession { .. } if known.is_some() => {
                Came::Refused(ErrorCode::SESSION_EXPIRED)
            }
            Action::OpenSession { connection, .. } => {
                let connection = *connection;
                let owner = SessionOwner { origin, connection };
                self.owners.insert(session, owner);
                Came::Opened
            }
            Action::Attach {
                connection,
                password,
                ..
            } => {
                if known.is_none() || *password != [7; 16] {
                    return Some((Came::Refused(ErrorCode::SESSION_EXPIRED), self.last_zxid));
                }
                let connection = *connection;
                let owner = SessionOwner { origin, connection };
                self.owners.insert(session, owner);
                return Some((Came::Attached, self.last_zxid));
            }
            Action::Client { connection, .. } => {
                let connection = *connection;
                match known {
                    None => Came::Refused(ErrorCode::SESSION_EXPIRED),
                    Some(owner) if owner == SessionOwner { origin, connection } => Came::Created,
                    Some(_) => Came::Refused(ErrorCode::SESSION_MOVED),
                }
            }
            Action::CloseSession => match self.owners.remove(&session) {
                Some(_) => Came::Closed,
                None => Came::Refused(ErrorCode::SESSION_EXPIRED),
            },
            Action::ExpireSession { term: by, owner } => {
                if *by != term || known != Some(*owner) {
                    return None;
                }
                self.owners.remove(&session);
                Came::Closed
            }
            Action::Reap { .. }
            | Action::Found { .. }
            | Action::LineUp { .. }
            | Action::Settle { .. } => panic!("never proposed here"),
        };
        self.last_zxid = (self.last_zxid + 1).max(i64::try_from(term).unwrap() << 32 | 1);
        Some((came, self.last_zxid))
    }
}

struct Cluster {
    servers: [Server; SERVERS],
    /// One that judges all at once, one by one, and one that starts anew behind each entry.
    replicas: Vec<World>,
    model: Model,
    entry: Vec<Proposal>,
    term: u64,
}

impl Cluster {
    fn new() -> Self {
        let mut replicas: Vec<World> = (0..3).map(|_| World::new(Rules::default())).collect();
        replicas[1].slice = 1;
        replicas[2].slice = 2;
        Self {
            servers: std::array::from_fn(|_| Server {
                incarnation: 1,
                ..Server::default()
            }),
            replicas,
            model: Model::default(),
            entry: Vec::new(),
            term: 1,
        }
    }

    fn propose(&mut self, server: usize, session: SessionId, action: Action) {
        let at = &mut self.servers[server];
        let sequence = at.proposals.len() as u64 + 1;
        at.proposals.push(Proposal {
            origin: Origin {
                server: ServerId(server as u64 + 1),
                incarnation: at.incarnation,
            },
            sequence,
            session,
            cxid: 0,
            identities: localhost(),
            action,
        });
    }

    fn connect(&mut self, server: usize, session: SessionId, knows_password: bool) {
        let is_open = self.replicas[0].replica.read().session(session).is_some();
        let at = &mut self.servers[server];
        at.last_connection += 1;
        let (connection, timeout_ms) = (at.last_connection, TIMEOUT_MS);
        at.connections.push((session, connection));
        let password = if knows_password { [7; 16] } else { [8; 16] };
        let action = if is_open {
            Action::Attach {
                connection,
                timeout_ms,
                password,
            }
        } else {
            Action::OpenSession {
                connection,
                timeout_ms,
                password: [7; 16],
            }
        };
        self.propose(server, session, action);
    }

    fn write(&mut self, server: usize, session: SessionId, by: prop::sample::Index) {
        let all = self.servers[server].connections.iter();
        let own: Vec<u64> = all
            .filter(|(whose, _)| *whose == session)
            .map(|(_, connection)| *connection)
            .collect();
        if own.is_empty() {
            return;
        }
        let mut write = client(&Request::Create(Create {
            path: Some(Text::from("/e-")),
            data: None,
            acl: open_acl(),
            flags: 3,
        }));
        if let Action::Client { connection, .. } = &mut write {
            *connection = own[by.index(own.len())];
        }
        self.propose(server, session, write);
    }

    fn expire(&mut self, session: SessionId, is_late: bool) {
        let owner = match self.replicas[0].replica.read().session(session) {
            Some(record) => record.owner,
            None => return,
        };
        let term = self.term - u64::from(is_late);
        let leader = usize::try_from(self.term).unwrap() % SERVERS;
        self.propose(leader, session, Action::ExpireSession { term, owner });
    }

    fn send(&mut self, server: usize, again: usize, count: usize) {
        let at = &mut self.servers[server];
        let end = (at.sent + count).min(at.proposals.len());
        let from = at.sent.saturating_sub(again);
        self.entry.extend_from_slice(&at.proposals[from..end]);
        at.sent = end;
    }

    fn apply(&mut self) {
        let entry = std::mem::take(&mut self.entry);
        if entry.is_empty() {
            return;
        }
        let judged = entry
            .iter()
            .filter_map(|proposal| self.model.judge(proposal, self.term));
        let expected: Vec<_> = judged.collect();
        let mut first: Option<Vec<Txn>> = None;
        for world in &mut self.replicas {
            world.position.term = self.term;
            let txns = world.apply(entry.clone());
            let found: Vec<_> = txns
                .iter()
                .map(|txn| (Came::of(&txn.outcome), txn.zxid.0))
                .collect();
            assert_eq!(found, expected);
            assert_eq!(first.get_or_insert_with(|| txns.clone()), &txns);
        }
        let anew = self.replicas.pop().expect("three").restarted();
        self.replicas.push(anew);
        for world in &self.replicas {
            let state = world.replica.read();
            let owners = state.sessions().map(|(id, record)| (id, record.owner));
            assert_eq!(owners.collect::<BTreeMap<_, _>>(), self.model.owners);
            for (session, _) in state.owners() {
                assert!(self.model.owners.contains_key(&session));
            }
            assert_eq!(world.disk(), self.replicas[0].disk());
        }
    }

    fn run(&mut self, event: &Event) {
        match event {
            Event::Connect {
                server,
                session,
                knows_password,
            } => self.connect(*server, SessionId(*session), *knows_password),
            Event::Write {
                server,
                session,
                by,
            } => self.write(*server, SessionId(*session), *by),
            Event::Close { server, session } => {
                self.propose(*server, SessionId(*session), Action::CloseSession);
            }
            Event::Expire { session, is_late } => self.expire(SessionId(*session), *is_late),
            Event::Send {
                server,
                again,
                count,
            } => self.send(*server, *again, *count),
            Event::Apply => self.apply(),
            Event::Term => {
                self.apply();
                self.term += 1;
            }
            Event::Restart { server } => {
                let at = &mut self.servers[*server];
                *at = Server {
                    incarnation: at.incarnation + 1,
                    ..Server::default()
                };
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever is sent again, comes late, or was decided under another leader.
    #[test]
    fn a_session_takes_what_its_owner_sends_and_nothing_else(events in vec(event(), 1..120)) {
        let mut cluster = Cluster::new();
        for event in &events {
            cluster.run(event);
        }
        for server in 0..SERVERS {
            cluster.send(server, usize::MAX, usize::MAX / 2);
        }
        cluster.apply();
    }
}
