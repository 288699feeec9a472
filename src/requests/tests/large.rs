//! Replies that are not small: all of them together hold no more than the longest may have, in order,
//! and nobody else waits for them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use jute::{GetData, MultiRead, MultiReadOp, Request, SetData};

use super::super::{Config, Requests, Settle, Step, settle};
use super::forgetful::Forgetful;
use super::{CATCH_UP_TIME, Peer, put_request, requests_made};
use crate::storage::memory::MemoryTree;

const MIB: usize = 1 << 20;
/// What all of them may hold.
const ALL: usize = 8 * MIB;
/// The data of the root.
const DATA: usize = 1_000_000;

fn get() -> GetData {
    let (path, watch) = (Some("/".into()), false);
    GetData { path, watch }
}

/// A reply of so many times the data of the root.
fn times(times: usize) -> Request {
    let ops = (0..times).map(|_| MultiReadOp::GetData(get())).collect();
    Request::MultiRead(MultiRead { ops })
}

/// A server whose memory forgets as in [`super::requests`].
async fn server(forgets_every: u64) -> Arc<Requests> {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::new(Forgetful::new(Arc::clone(&tree), forgets_every));
    let config = Config {
        reply_bytes_max: ALL,
        ..Config::default()
    };
    let requests = requests_made(tree, store, CATCH_UP_TIME, config).await;
    let set = Request::SetData(SetData {
        path: Some("/".into()),
        data: Some(Bytes::from(vec![7; DATA])),
        version: -1,
    });
    let mut peer = Peer::connect(&requests).await;
    put_request(peer.client.inbox(), 1, &set);
    peer.run_until(1).await;
    requests
}

type Settling = Pin<Box<dyn Future<Output = Settle> + Send>>;

/// Serves what came until there must be room for a large reply, or all has been answered.
async fn serve(peer: &mut Peer) -> Option<Settling> {
    loop {
        let step = peer.client.advance();
        let has_sent = peer.client.connection().outbox.flush();
        match step {
            Step::Idle => return None,
            Step::Clogged if !has_sent => return None,
            Step::More | Step::Clogged => {}
            waits @ Step::Large { .. } => {
                return Some(Box::pin(settle(Arc::clone(&peer.client.requests), waits)));
            }
            waits @ Step::Warm(_) => {
                let settled = settle(Arc::clone(&peer.client.requests), waits).await;
                peer.client.settled(settled);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn is_ready(settling: &mut Settling) -> Option<Settle> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match settling.as_mut().poll(&mut cx) {
        Poll::Ready(settled) => Some(settled),
        Poll::Pending => None,
    }
}

/// Asks for a reply of so many times the data, and gets on as far as there is room.
async fn ask(requests: &Arc<Requests>, items: usize, is_full: bool) -> (Peer, Option<Settling>) {
    let mut peer = Peer::connect(requests).await;
    peer.mailbox.1.store(is_full, Relaxed);
    put_request(peer.client.inbox(), 1, &times(items));
    let settling = go_on(&mut peer, None).await;
    (peer, settling)
}

async fn go_on(peer: &mut Peer, settling: Option<Settling>) -> Option<Settling> {
    let mut settling = match settling {
        Some(settling) => Some(settling),
        None => serve(peer).await,
    };
    while let Some(mut waits) = settling.take() {
        let Some(settled) = is_ready(&mut waits) else {
            return Some(waits);
        };
        peer.client.settled(settled);
        settling = serve(peer).await;
    }
    None
}

/// I8, I10: for memory that knows all, and for one that knows nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_replies_wait_for_each_other_and_small_ones_for_nobody() {
    for forgets_every in [0, 1] {
        let requests = server(forgets_every).await;
        let budget = &requests.budget;
        assert_eq!(budget.free(), ALL);
        let (mut unread, waits) = ask(&requests, 4, true).await;
        assert!(waits.is_none(), "nobody else holds anything");
        let held = ALL - budget.free();
        assert!(
            held > 4 * DATA && held < 5 * DATA,
            "no more than it needs: {held}"
        );
        // Both in vain, and the second would need less than there is.
        let (mut second, waits) = ask(&requests, 4, false).await;
        let waits = waits.expect("it would be too much");
        let (mut small, done) = ask(&requests, 1, false).await;
        assert!(done.is_none(), "it waits for nobody");
        small.run_until(1).await;
        let waits = go_on(&mut second, Some(waits)).await;
        assert!(waits.is_some() && second.replies() == 0);

        unread.mailbox.1.store(false, Relaxed);
        unread.client.connection().outbox.unclog();
        unread.collect();
        assert_eq!(unread.replies(), 1);
        assert!(unread.frames[0].len() > 4 * DATA);
        assert!(go_on(&mut second, waits).await.is_none());
        second.run_until(1).await;
        assert_eq!(second.frames[0].len(), unread.frames[0].len());
        assert_eq!(budget.free(), ALL, "all is given back");
    }
}

/// What is allowed to one is there for one, whatever others hold; what is not is refused as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_reply_gets_through_and_a_longer_one_does_not() {
    for forgets_every in [0, 1] {
        let requests = server(forgets_every).await;
        let (mut peer, waits) = ask(&requests, 8, false).await;
        assert!(waits.is_none());
        peer.run_until(1).await;
        assert!(peer.frames[0].len() > 8 * DATA);
        put_request(peer.client.inbox(), 2, &times(9));
        loop {
            match peer.client.advance() {
                Step::End => break,
                Step::Idle | Step::Gone => panic!("not refused"),
                Step::More | Step::Clogged => {}
                waits => {
                    let settled = settle(Arc::clone(&requests), waits).await;
                    peer.client.settled(settled);
                }
            }
        }
        drop(peer);
        assert_eq!(requests.budget.free(), ALL);
    }
}

/// A client that goes while it waits, or while it holds something, leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_leaves_its_room() {
    let requests = server(0).await;
    let (unread, _) = ask(&requests, 6, true).await;
    let (gone, waits) = ask(&requests, 6, false).await;
    let (mut last, its_waits) = ask(&requests, 6, false).await;
    assert!(waits.is_some() && its_waits.is_some());
    drop((gone, waits));
    unread.client.connection().outbox.close();
    assert!(go_on(&mut last, its_waits).await.is_none());
    last.run_until(1).await;
    assert_eq!(requests.budget.free(), ALL);
}
