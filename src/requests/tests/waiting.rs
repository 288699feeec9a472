//! What waits behind a write: in which state it is answered, and when not at all.

use std::sync::Arc;

use jute::{ErrorCode, GetData, OpCode, Reply, Request, Response, SetData};
use tokio::time::Instant;

use super::super::behind::WAITING_MAX;
use super::super::pending::Waiting;
use super::super::{Deliver, Step};
use super::{Peer, put_request, requests};
use crate::state::Pins;
use crate::watch::{RemoveKind, WatcherId};

fn get(path: &str, watch: bool) -> Request {
    Request::GetData(GetData {
        path: Some(path.into()),
        watch,
    })
}

fn set(path: &str, data: &'static [u8]) -> Request {
    Request::SetData(SetData {
        path: Some(path.into()),
        data: Some(data.into()),
        version: -1,
    })
}

/// I4: events, then the reply, then the reads up to the session's next write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_between_own_writes_see_exactly_the_write_before_them() {
    let requests = requests(0).await;
    let mut peer = Peer::connect(&requests).await;
    let mut xid = 0;
    for data in [b"one".as_slice(), b"two", b"three"] {
        for request in [set("/", data), get("/", false), get("/", false)] {
            xid += 1;
            put_request(&mut peer.client.inbox, xid, &request);
        }
    }
    // All of it is taken in at once: nothing waits for a round of the log.
    assert!(matches!(peer.client.advance(), Step::Idle));
    assert!(peer.client.inbox.is_empty() && peer.client.is_starved());
    peer.run_until(9).await;
    let mut seen = Vec::new();
    for (reply, expected) in peer.decoded().into_iter().zip(1..) {
        let Reply::Answer { header, body } = reply else {
            panic!("an event");
        };
        assert_eq!((header.xid, header.err), (expected, ErrorCode::OK));
        if expected % 3 != 1 {
            let Response::GetData(got) = Response::decode(OpCode::GET_DATA, body).unwrap() else {
                panic!("no data");
            };
            seen.push(got.data.unwrap());
        }
    }
    let expected = ["one", "one", "two", "two", "three", "three"].map(str::as_bytes);
    assert_eq!(seen, expected);
    assert_eq!(requests.outstanding(), 0);
    assert_eq!(peer.client.connection().reads_waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_bound_waits_behind_a_write() {
    const READS: i32 = 500;
    let requests = requests(0).await;
    let mut peer = Peer::connect(&requests).await;
    put_request(&mut peer.client.inbox, 0, &set("/", b"data"));
    for xid in 1..=READS {
        put_request(&mut peer.client.inbox, xid, &get("/", false));
    }
    // `Peer::step` compares with the bound each time.
    peer.run_until(READS as usize + 1).await;
    assert!(WAITING_MAX < READS as usize);
    for (reply, xid) in peer.decoded().into_iter().zip(0..) {
        assert!(matches!(reply, Reply::Answer { header, .. } if header.xid == xid));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_connection_that_left_asked_leaves_no_watch() {
    let requests = requests(0).await;
    let peer = Peer::connect(&requests).await;
    let connection = Arc::clone(peer.client.connection());
    let deliver = Deliver::over(Arc::clone(&requests.shared));
    let reads = [Waiting {
        xid: 1,
        op: OpCode::GET_DATA,
        request: get("/", true),
        pins: Pins::default(),
        since: Instant::now(),
    }];
    let answer = || {
        let state = requests.replica.read();
        deliver.answer_waiting(&state, &connection, &reads, Instant::now());
        let watcher = WatcherId(connection.id.0);
        let mut watches = requests.shared.watches.lock();
        let is_watched = watches.remove("/", watcher, RemoveKind::Data);
        connection.outbox.flush();
        (is_watched, !peer.mailbox.0.lock().split().is_empty())
    };
    assert_eq!(answer(), (true, true));
    requests.leave(&connection);
    assert_eq!(answer(), (false, false));
}
