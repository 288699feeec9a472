//! Sessions that come back on other connections, of this server and of others.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jute::{
    ConnectRequest, ConnectResponse, ErrorCode, GetData, OpCode, Reader, Reply, Request, Response,
    SetData, SetWatches,
};
use tokio::time::Instant;

use super::super::{Deliver, Requests, Settle, Step, settle};
use super::{Peer, put_frame, put_request, requests, requests_that_wait};
use crate::connection::End;
use crate::state::{
    Action, Batch, LogPosition, Origin, Outcome, Proposal, Reading, ServerId, SessionId, Sink as _,
    Txn, Zxid,
};

fn set(data: &'static [u8]) -> Request {
    Request::SetData(SetData {
        path: Some("/".into()),
        data: Some(data.into()),
        version: -1,
    })
}

fn get() -> Request {
    Request::GetData(GetData {
        path: Some("/".into()),
        watch: false,
    })
}

/// A session and what its client must know.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) session: SessionId,
    pub(super) password: [u8; 16],
}

impl Held {
    pub(super) fn of(requests: &Requests, peer: &Peer) -> Self {
        let session = peer.client.connection().session();
        let state = requests.replica.read();
        let password = state.session(session).unwrap().password;
        Self { session, password }
    }

    /// A new connection on which its client has asked for it.
    pub(super) fn come_back(self, requests: &Arc<Requests>, last_zxid_seen: i64) -> Peer {
        let mut peer = Peer::new(requests);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen,
            timeout_ms: 30_000,
            session_id: self.session.0,
            password: Some(self.password.to_vec().into()),
            read_only: Some(false),
        };
        let mut payload = BytesMut::new();
        request.encode(&mut payload);
        put_frame(&mut peer.client.inbox, &payload);
        peer
    }
}

pub(super) fn response(peer: &Peer) -> ConnectResponse {
    ConnectResponse::decode(&mut Reader::new(peer.frames[0].clone())).unwrap()
}

pub(super) fn end(peer: &Peer) -> End {
    peer.client.connection().outbox.look().end
}

/// Serves until the connection has been told its last words.
pub(super) async fn run_to_the_end(peer: &mut Peer) {
    while end(peer) == End::Open {
        match peer.client.advance() {
            Step::End | Step::Gone => break,
            Step::Idle | Step::Blocked => {
                if peer.client.connection().outbox.listen() {
                    peer.woken().await;
                }
            }
            waits => {
                let settled = settle(Arc::clone(&peer.client.requests), waits).await;
                assert!(!matches!(settled, Settle::Failed));
                peer.client.settled(settled);
            }
        }
    }
    peer.collect();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_comes_back_reads_what_it_wrote_and_its_old_connection_ends() {
    let requests = requests(0).await;
    let mut before = Peer::connect(&requests).await;
    let held = Held::of(&requests, &before);
    put_request(&mut before.client.inbox, 1, &set(b"written"));
    before.client.advance();
    // Its write is in the pipeline when it comes back, and what it asks next comes with the handshake.
    let mut after = held.come_back(&requests, 0);
    put_request(&mut after.client.inbox, 1, &get());
    after.run_until(2).await;
    let granted = response(&after);
    assert_eq!(SessionId(granted.session_id), held.session);
    assert_eq!(granted.timeout_ms, 30_000);
    let Reply::Answer { body, .. } = Reply::decode(after.frames[1].clone()).unwrap() else {
        panic!("an event");
    };
    let Response::GetData(got) = Response::decode(OpCode::GET_DATA, body).unwrap() else {
        panic!("no data");
    };
    assert_eq!(got.data.as_deref(), Some(b"written".as_slice()));
    assert_eq!(end(&before), End::Now);
    assert!(before.client.connection().is_fenced());
    let bound = requests.shared.connections.of_session(held.session);
    assert_eq!(bound.unwrap().id, after.client.connection().id);
    assert_eq!(requests.outstanding(), 0);
}

/// Nobody knows more than the only server: what it knows of a session needs no disk to be said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_server_answers_at_once_and_then_reads_what_was_written() {
    let requests = requests_that_wait(Duration::ZERO).await;
    let mut before = Peer::connect(&requests).await;
    let held = Held::of(&requests, &before);
    let mut after = held.come_back(&requests, 0);
    put_request(&mut after.client.inbox, 1, &get());
    put_request(&mut before.client.inbox, 1, &set(b"written"));
    {
        // While this is held nothing is applied.
        let _guard = requests.replica.read();
        before.client.advance();
        after.client.advance();
        after.collect();
        assert_eq!(SessionId(response(&after).session_id), held.session);
        assert_eq!(after.frames.len(), 1);
    }
    after.run_until(2).await;
    let Reply::Answer { body, .. } = Reply::decode(after.frames[1].clone()).unwrap() else {
        panic!("an event");
    };
    let Response::GetData(got) = Response::decode(OpCode::GET_DATA, body).unwrap() else {
        panic!("no data");
    };
    assert_eq!(got.data.as_deref(), Some(b"written".as_slice()));
    assert_eq!(end(&before), End::Now);
    let bound = requests.shared.connections.of_session(held.session);
    assert_eq!(bound.unwrap().id, after.client.connection().id);
    // It says no of none that it knows nothing of, before that has been applied.
    let unknown = Held {
        session: SessionId(held.session.0 + 1),
        ..held
    };
    let mut other = unknown.come_back(&requests, 0);
    run_to_the_end(&mut other).await;
    assert_eq!(response(&other).session_id, 0);
    assert_eq!(end(&after), End::Open);
}

/// Whatever an old connection of this server had proposed behind the handshake is refused there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_connection_proposes_behind_the_new_one_does_not_take_effect() {
    let requests = requests(0).await;
    let mut before = Peer::connect(&requests).await;
    let held = Held::of(&requests, &before);
    let mut after = held.come_back(&requests, 0);
    after.client.advance();
    put_request(&mut before.client.inbox, 1, &set(b"late"));
    before.client.advance();
    put_request(&mut after.client.inbox, 1, &set(b"new"));
    put_request(&mut after.client.inbox, 2, &get());
    after.run_until(3).await;
    let Reply::Answer { body, .. } = Reply::decode(after.frames[2].clone()).unwrap() else {
        panic!("an event");
    };
    let Response::GetData(got) = Response::decode(OpCode::GET_DATA, body).unwrap() else {
        panic!("no data");
    };
    // "late" took a zxid if it was proposed at all, but never effect.
    assert_eq!(
        (got.data.as_deref(), got.stat.version),
        (Some(b"new".as_slice()), 1)
    );
    before.collect();
    assert_eq!((before.replies(), end(&before)), (0, End::Now));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_away_by_who_does_not_know_the_password() {
    let requests = requests(0).await;
    let mut owner = Peer::connect(&requests).await;
    let held = Held::of(&requests, &owner);
    let unknown = SessionId(held.session.0 + 1);
    for wrong in [
        Held {
            password: [0; 16],
            ..held
        },
        Held {
            session: unknown,
            ..held
        },
    ] {
        let mut other = wrong.come_back(&requests, 0);
        run_to_the_end(&mut other).await;
        let refused = response(&other);
        assert_eq!((refused.session_id, refused.timeout_ms), (0, 0));
    }
    assert_eq!(end(&owner), End::Open);
    put_request(&mut owner.client.inbox, 1, &set(b"still there"));
    owner.run_until(1).await;
}

/// An entry of another server of the ensemble, behind all that this one has applied.
fn apply_elsewhere(
    requests: &Requests,
    session: SessionId,
    first: u64,
    actions: Vec<Action>,
) -> Zxid {
    let origin = Origin {
        server: ServerId(2),
        incarnation: 1,
    };
    let deliver = Deliver::over(Arc::clone(&requests.shared));
    let proposals = actions.into_iter().zip(first..);
    let proposals = proposals.map(|(action, sequence)| Proposal {
        origin,
        sequence,
        session,
        cxid: 0,
        identities: Arc::from([]),
        action,
    });
    let batch = Batch {
        reading: Reading::default(),
        rules: *requests.replica.read().rules(),
        proposals: proposals.collect(),
    };
    let applied = requests.replica.read().applied().unwrap();
    let position = LogPosition {
        index: applied.index + 1,
        ..applied
    };
    requests.replica.apply(position, &batch, &deliver).unwrap();
    requests.replica.read().last_zxid()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_gone_to_another_server_has_no_connection_here() {
    let requests = requests(0).await;
    let peer = Peer::connect(&requests).await;
    let held = Held::of(&requests, &peer);
    let before = requests.replica.read().last_zxid();
    let attach = Action::Attach {
        connection: peer.client.connection().id.0,
        timeout_ms: 12_000,
        password: held.password,
    };
    let after = apply_elsewhere(&requests, held.session, 1, vec![attach]);
    assert_eq!(before, after);
    assert_eq!(end(&peer), End::Now);
    assert!(peer.client.connection().is_fenced());
    assert!(
        requests
            .shared
            .connections
            .of_session(held.session)
            .is_none()
    );
    let clock = requests.shared.sessions.of(held.session).unwrap();
    assert_eq!(clock.timeout_ms(), 12_000);
    // When its connection is gone, it is not the session's any more that it takes with it.
    requests.leave(peer.client.connection());
    assert!(requests.replica.read().session(held.session).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_seen_more_waits_until_it_has_been_applied_here() {
    let requests = requests(0).await;
    let peer = Peer::connect(&requests).await;
    let held = Held::of(&requests, &peer);
    let seen = requests.replica.read().last_zxid().0 + 2;
    let mut ahead = held.come_back(&requests, seen);
    let Step::Behind { zxid, until } = ahead.client.advance() else {
        panic!("it does not wait");
    };
    assert_eq!(zxid, Zxid(seen));
    let wait = || Box::pin(settle(Arc::clone(&requests), Step::Behind { zxid, until }));
    let (mut waits, mut gives_up) = (wait(), wait());
    assert!(futures::poll!(&mut waits).is_pending());
    assert!(futures::poll!(&mut gives_up).is_pending());
    drop(gives_up);
    // Refusals are txns, too, and one of them is not enough.
    let refused = || Action::CloseSession;
    apply_elsewhere(&requests, SessionId(5), 1, vec![refused()]);
    assert!(futures::poll!(&mut waits).is_pending());
    apply_elsewhere(&requests, SessionId(5), 2, vec![refused()]);
    assert!(futures::poll!(&mut waits).is_ready());
    assert!(!requests.shared.lag.waits());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_let_in_as_soon_as_that_is_so() {
    let requests = requests(0).await;
    let mut writer = Peer::connect(&requests).await;
    let peer = Peer::connect(&requests).await;
    let held = Held::of(&requests, &peer);
    let seen = requests.replica.read().last_zxid().0 + 1;
    let mut ahead = held.come_back(&requests, seen);
    let step = ahead.client.advance();
    assert!(matches!(step, Step::Behind { .. }));
    let waits = settle(Arc::clone(&requests), step);
    put_request(&mut writer.client.inbox, 1, &set(b"seen"));
    let (settled, ()) = tokio::join!(waits, writer.run_until(1));
    assert!(matches!(settled, Settle::Again));
    ahead.client.settled(settled);
    ahead.run_until(1).await;
    assert_eq!(SessionId(response(&ahead).session_id), held.session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_wait_for_ever() {
    for catch_up_time in [Duration::from_millis(50), Duration::ZERO] {
        let requests = requests_that_wait(catch_up_time).await;
        let peer = Peer::connect(&requests).await;
        let held = Held::of(&requests, &peer);
        let mut ahead = held.come_back(&requests, i64::MAX);
        let started = Instant::now();
        run_to_the_end(&mut ahead).await;
        assert!(started.elapsed() >= catch_up_time);
        assert!(ahead.frames.is_empty(), "closed without a word");
    }
}

/// Ten thousand clients come back at once, a proposal each: the last one has the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_clients_that_come_back_is_answered() {
    const CLIENTS: usize = 10_000;
    let requests = requests(0).await;
    let peer = Peer::connect(&requests).await;
    let held = Held::of(&requests, &peer);
    let proposals = requests.ensemble.report().queue.proposals;
    let mut peers: Vec<Peer> = (0..CLIENTS).map(|_| held.come_back(&requests, 0)).collect();
    for peer in &mut peers {
        peer.client.advance();
    }
    let last = peers.last_mut().unwrap();
    last.run_until(1).await;
    assert_eq!(SessionId(response(last).session_id), held.session);
    let proposals = requests.ensemble.report().queue.proposals - proposals;
    assert_eq!(proposals, CLIENTS as u64);
    let bound = requests.shared.connections.of_session(held.session);
    assert_eq!(bound.unwrap().id, peers[CLIENTS - 1].client.connection().id);
}

/// zk: FinalRequestProcessor, SessionMovedException.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_a_session_that_has_moved_ends_its_connection_without_a_word() {
    let requests = requests(0).await;
    let mut peer = Peer::connect(&requests).await;
    let session = peer.client.connection().session();
    put_request(&mut peer.client.inbox, 7, &set(b"late"));
    let state = requests.replica.read();
    peer.client.advance();
    let moved = Txn {
        origin: requests.shared.origin,
        sequence: requests.ensemble.report().queue.proposals,
        session,
        cxid: 7,
        zxid: state.last_zxid(),
        time_ms: 0,
        outcome: Outcome::Refused(ErrorCode::SESSION_MOVED),
        changes: Vec::new(),
        events: Vec::new(),
    };
    Deliver::over(Arc::clone(&requests.shared)).applied(&state, &moved);
    drop(state);
    assert_eq!(end(&peer), End::Now);
    peer.collect();
    assert!(peer.frames.is_empty());
    assert_eq!(requests.outstanding(), 0);
}

/// Watches are the connection's: a client that comes back sets them again, and learns what it missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_missed_on_its_way_it_learns_as_it_sets_its_watches() {
    let requests = requests(0).await;
    let mut writer = Peer::connect(&requests).await;
    let before = Peer::connect(&requests).await;
    let held = Held::of(&requests, &before);
    let seen = requests.replica.read().last_zxid().0;
    put_request(&mut writer.client.inbox, 1, &set(b"missed"));
    writer.run_until(1).await;
    let mut after = held.come_back(&requests, seen);
    let watch = |relative_zxid| {
        Request::SetWatches(SetWatches {
            relative_zxid,
            data_watches: Some(vec![Some("/".into())]),
            exist_watches: Some(Vec::new()),
            child_watches: Some(Vec::new()),
        })
    };
    put_request(&mut after.client.inbox, -8, &watch(seen));
    after.run_until(2).await;
    assert_eq!(after.frames.len(), 3, "granted, an event, done");
    assert!(matches!(
        Reply::decode(after.frames[1].clone()),
        Ok(Reply::Event { .. })
    ));
    // Nothing is missed twice, and what comes next is told.
    let seen = requests.replica.read().last_zxid().0;
    put_request(&mut after.client.inbox, -8, &watch(seen));
    after.run_until(3).await;
    put_request(&mut writer.client.inbox, 2, &set(b"told"));
    writer.run_until(2).await;
    while after.frames.len() < 5 {
        if after.step().await && after.frames.len() < 5 {
            after.woken().await;
        }
    }
    assert!(matches!(
        Reply::decode(after.frames[4].clone()),
        Ok(Reply::Event { .. })
    ));
}
