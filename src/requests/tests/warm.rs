//! Requests whose answers are not in memory: each gets on with every load, needs few of them, and
//! asks for no more than may be said.

use std::sync::Arc;

use bytes::Bytes;
use jute::{
    Acl, Create, ErrorCode, Exists, GetAcl, GetAllChildrenNumber, GetChildren, GetChildren2,
    GetData, GetEphemerals, Id, MultiRead, MultiReadOp, Reply, Request, SetData, SetWatches, perms,
};

use super::super::{Settle, Step, settle};
use super::forgetful::Forgetful;
use super::{Peer, REPLY_BYTES_MAX, put_request, requests, requests_over};
use crate::storage::memory::MemoryTree;

const ZNODES: usize = 300;

fn create(path: &str, bytes: usize) -> Request {
    let anyone = Acl {
        perms: perms::ALL,
        id: Id {
            scheme: Some("world".into()),
            id: Some("anyone".into()),
        },
    };
    Request::Create(Create {
        path: Some(path.into()),
        data: Some(Bytes::from(vec![7; bytes])),
        acl: Some(vec![anyone]),
        flags: 0,
    })
}

fn get(path: &str) -> GetData {
    let (path, watch) = (Some(path.into()), false);
    GetData { path, watch }
}

fn list(path: &str) -> GetChildren {
    let (path, watch) = (Some(path.into()), false);
    GetChildren { path, watch }
}

fn path(index: usize) -> String {
    format!("/p/{index}")
}

/// A client, and the children of `/p`, each with so many bytes.
async fn grown(peer: &mut Peer, bytes: usize) {
    put_request(&mut peer.client.inbox, 1, &create("/p", 0));
    for index in 0..ZNODES {
        put_request(&mut peer.client.inbox, 1, &create(&path(index), bytes));
    }
    peer.run_until(ZNODES + 1).await;
    peer.frames.clear();
}

/// Serves one request; how often something was loaded for it.
async fn ask(peer: &mut Peer, request: &Request) -> (usize, ErrorCode, Bytes) {
    put_request(&mut peer.client.inbox, 1, request);
    let mut loads = 0;
    loop {
        let step = peer.client.advance();
        peer.collect();
        match step {
            Step::Idle => break,
            Step::Blocked if peer.client.connection().outbox.listen() => peer.woken().await,
            Step::Blocked => {}
            Step::More => {}
            waits => {
                loads += usize::from(matches!(waits, Step::Warm(_)));
                let settled = settle(Arc::clone(&peer.client.requests), waits).await;
                peer.client.settled(settled);
            }
        }
    }
    let answers = peer.decoded().into_iter().filter_map(|reply| match reply {
        Reply::Answer { header, body } => Some((loads, header.err, body)),
        Reply::Event { .. } => None,
    });
    let answer = answers.last().expect("an answer");
    peer.frames.clear();
    answer
}

/// I10: memory knows nothing that is not pinned, and everything is answered all the same, the same as
/// when it knows all; what was pinned for it is let go of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_gets_on_whatever_memory_forgets() {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::new(Forgetful::new(Arc::clone(&tree), 1));
    let mut forgetful = Peer::connect(&requests_over(tree, Arc::clone(&store)).await).await;
    let mut mindful = Peer::connect(&requests(0).await).await;
    grown(&mut forgetful, 10).await;
    grown(&mut mindful, 10).await;
    let at = |path: &str| Some(path.into());
    let watch = false;
    let items = (0..ZNODES).map(|index| MultiReadOp::GetData(get(&path(index))));
    let lists = ["/p", "/", "/p/3", "/none"].map(|path| MultiReadOp::GetChildren(list(path)));
    let all = MultiRead {
        ops: items.chain(lists).collect(),
    };
    let mut table = vec![(2, Request::MultiRead(all))];
    for (loads, path) in [(1, "/p"), (1, ""), (1, "/p/7"), (1, "/none"), (0, "none")] {
        let lists = 1 + usize::from(matches!(path, "/p" | ""));
        table.extend([
            (
                loads,
                Request::Exists(Exists {
                    path: at(path),
                    watch,
                }),
            ),
            (loads, Request::GetData(get(path))),
            (loads, Request::GetAcl(GetAcl { path: at(path) })),
            (loads * lists, Request::GetChildren(list(path))),
            (
                loads * lists,
                Request::GetChildren2(GetChildren2 {
                    path: at(path),
                    watch,
                }),
            ),
            (
                loads,
                Request::GetAllChildrenNumber(GetAllChildrenNumber { path: at(path) }),
            ),
        ]);
    }
    table.push((0, Request::GetEphemerals(GetEphemerals { prefix: None })));
    for (loads, request) in table {
        let (needed, err, body) = ask(&mut forgetful, &request).await;
        let (none, expected_err, expected) = ask(&mut mindful, &request).await;
        assert_eq!((needed, none), (loads, 0), "{request:?}");
        assert_eq!(err, expected_err, "{request:?}");
        // Times differ, and no other byte.
        assert_eq!(body.len(), expected.len(), "{request:?}");
        assert!(store.is_unpinned(), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catching_up_loads_in_large_parts() {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::new(Forgetful::new(Arc::clone(&tree), 1));
    let mut peer = Peer::connect(&requests_over(tree, Arc::clone(&store)).await).await;
    grown(&mut peer, 10).await;
    let paths = |count: usize| Some((0..count).map(|n| Some(path(n).into())).collect());
    let set = Request::SetWatches(SetWatches {
        relative_zxid: i64::MAX,
        data_watches: paths(9000),
        exist_watches: Some(vec![Some("/p/1".into()), Some("".into())]),
        child_watches: paths(1000),
    });
    put_request(&mut peer.client.inbox, 1, &set);
    let (loads, err, _) = ask(&mut peer, &Request::WhoAmI).await;
    // 10,002 paths, 4,096 at a time.
    assert_eq!((loads, err), (3, ErrorCode::OK));
    assert!(store.is_unpinned());
}

/// Serves until the connection ends; how many replies came before.
async fn until_end(peer: &mut Peer) -> usize {
    loop {
        let step = peer.client.advance();
        let bytes = peer.client.connection().outbox.look().bytes;
        assert!(bytes < 64 * 1024, "{bytes}");
        peer.collect();
        match step {
            Step::End => return peer.replies(),
            Step::Idle | Step::Gone | Step::Clogged => panic!("{step:?}"),
            Step::Blocked if peer.client.connection().outbox.listen() => peer.woken().await,
            Step::Blocked => {}
            Step::More => {}
            waits => {
                let settled = settle(Arc::clone(&peer.client.requests), waits).await;
                assert!(!matches!(settled, Settle::Failed));
                peer.client.settled(settled);
            }
        }
    }
}

/// I8: no part of it is made, what was asked before is answered, and nothing behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_would_be_too_large_ends_the_connection() {
    for forgets_every in [0, 1] {
        let requests = requests(forgets_every).await;
        let mut peer = Peer::connect(&requests).await;
        grown(&mut peer, 10_000).await;
        let read_all = |times: usize| {
            let items = (0..ZNODES * times).map(|index| get(&path(index % ZNODES)));
            let ops = items.map(MultiReadOp::GetData).collect();
            Request::MultiRead(MultiRead { ops })
        };
        let set = Request::SetData(SetData {
            path: Some("/p".into()),
            data: None,
            version: -1,
        });
        for sent in [
            [get("/p"), get("/")].map(Request::GetData),
            [set, Request::WhoAmI],
        ] {
            let mut peer = Peer::connect(&requests).await;
            for request in sent.iter().chain([&read_all(1), &Request::WhoAmI]) {
                put_request(&mut peer.client.inbox, 1, request);
            }
            const { assert!(ZNODES * 10_000 > REPLY_BYTES_MAX) };
            assert_eq!(until_end(&mut peer).await, 2);
        }
    }
}
