//! What a client may have taken in that is not served.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute::{GetData, Request, SetData};
use tokio::time::Instant;

use super::super::Step;
use super::{Peer, put_request, requests};

/// Longer than the inbox may be.
const MUCH: usize = 300 * 1024;

fn get(path: &str) -> Request {
    Request::GetData(GetData {
        path: Some(path.into()),
        watch: false,
    })
}

fn set_much() -> Request {
    Request::SetData(SetData {
        path: Some("/".into()),
        data: Some(Bytes::from(vec![7; MUCH])),
        version: -1,
    })
}

/// I8: it is not read from without end, whatever keeps what has come from being served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_replies_is_not_read_from_for_ever() {
    let requests = requests(0).await;
    let mut peer = Peer::connect(&requests).await;
    put_request(peer.client.inbox(), 1, &set_much());
    peer.run_until(1).await;
    peer.mailbox.1.store(true, Relaxed);
    put_request(peer.client.inbox(), 2, &get("/"));
    put_request(peer.client.inbox(), 3, &get("/"));
    while !matches!(peer.client.advance(), Step::Clogged) {
        peer.client.connection().outbox.flush();
    }
    let mut taken = 0;
    while peer.client.takes_bytes(true) && taken < 10 * MUCH {
        let before = peer.client.inbox().len();
        put_request(peer.client.inbox(), 4, &get("/none"));
        taken += peer.client.inbox().len() - before;
        assert!(matches!(peer.client.advance(), Step::Clogged));
    }
    assert!(taken < 5 * MUCH, "{taken}");
    assert!(!peer.client.takes_bytes(false));
}

/// A part of a frame is read on: nothing else lets it be served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_longer_than_the_bound_is_read_to_its_end() {
    let requests = requests(0).await;
    let mut peer = Peer::connect(&requests).await;
    let mut bytes = BytesMut::new();
    put_request(&mut bytes, 1, &set_much());
    while !bytes.is_empty() {
        assert!(peer.client.takes_bytes(false), "{} bytes left", bytes.len());
        let piece = bytes.split_to(bytes.len().min(10_000));
        peer.client.inbox().extend_from_slice(&piece);
        assert!(matches!(peer.client.advance(), Step::Idle));
    }
    peer.run_until(1).await;
}

/// Each request keeps the session alive when its last byte comes, whatever has been served before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_heard_when_it_is_whole() {
    let requests = requests(0).await;
    let clocks = &requests.shared.sessions;
    let mut peer = Peer::connect(&requests).await;
    let touch = peer.client.connection().touch().expect("a session");
    let mark = Instant::now() + Duration::from_secs(3600);
    clocks.touch_at(&touch, mark);
    let marked_ms = touch.heard_ms();
    let mut bytes = BytesMut::new();
    put_request(&mut bytes, 1, &get("/"));
    for round in 0..50 {
        let whole = round % 3;
        let mut all = bytes.repeat(whole + 1);
        let end = all.split_off(all.len() - 1);
        for (part, is_heard) in [(&all, whole > 0), (&end, true)] {
            clocks.touch_at(&touch, mark);
            peer.client.inbox().extend_from_slice(part);
            peer.client.received();
            let was_heard = touch.heard_ms() != marked_ms;
            assert_eq!(was_heard, is_heard, "round {round}");
            if round % 2 == 0 {
                peer.step().await;
            }
        }
    }
    peer.run_until(99).await;
}
