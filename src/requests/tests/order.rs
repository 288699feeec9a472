//! Random pipelines of several clients at the same time, compared with the serial reference.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::{
    Acl, Create, Delete, Exists, GetAllChildrenNumber, GetChildren, GetChildren2, GetData,
    GetEphemerals, Id, Multi, MultiOp, MultiRead, MultiReadOp, Request, SetData, Sync, perms,
};
use tokio::sync::Barrier;

use super::model::{self, Transcript};
use super::{Peer, put_request, requests};

const PATHS: [&str; 7] = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1", "/b/x/1"];
const CLIENTS: u64 = 4;
const REQUESTS: usize = 150;

/// A small, repeatable source of choices.
struct Choice(u64);

impl Choice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound as u64).unwrap()
    }

    fn path(&mut self) -> Option<jute::Text> {
        Some(PATHS[self.below(PATHS.len())].into())
    }

    fn watch(&mut self) -> bool {
        self.below(3) == 0
    }

    fn data(&mut self) -> Option<Bytes> {
        // Now and then more than what a read may find that is left to delivery.
        let length = if self.below(25) == 0 {
            20_000
        } else {
            self.below(40)
        };
        Some(Bytes::from(vec![
            b'a' + u8::try_from(self.below(26))
                .unwrap();
            length
        ]))
    }

    fn create(&mut self) -> Create {
        let anyone = Acl {
            perms: perms::ALL,
            id: Id {
                scheme: Some("world".into()),
                id: Some("anyone".into()),
            },
        };
        Create {
            path: self.path(),
            data: self.data(),
            acl: Some(vec![anyone]),
            flags: 0,
        }
    }

    fn delete(&mut self) -> Delete {
        let (path, version) = (self.path(), -1);
        Delete { path, version }
    }

    fn set(&mut self) -> SetData {
        SetData {
            path: self.path(),
            data: self.data(),
            version: if self.below(4) == 0 { 1 } else { -1 },
        }
    }

    fn get(&mut self) -> GetData {
        let (path, watch) = (self.path(), self.watch());
        GetData { path, watch }
    }

    fn request(&mut self) -> Request {
        match self.below(32) {
            0..6 => Request::Create(self.create()),
            6..9 => Request::Delete(self.delete()),
            9..14 => Request::SetData(self.set()),
            14..16 => Request::Multi(Multi {
                ops: vec![
                    MultiOp::SetData(self.set()),
                    MultiOp::Create(self.create()),
                    MultiOp::Delete(self.delete()),
                ],
            }),
            16..21 => Request::GetData(self.get()),
            21..24 => {
                let (path, watch) = (self.path(), self.watch());
                Request::Exists(Exists { path, watch })
            }
            24..27 => {
                let (path, watch) = (self.path(), self.watch());
                Request::GetChildren2(GetChildren2 { path, watch })
            }
            27 => Request::MultiRead(MultiRead {
                ops: vec![
                    MultiReadOp::GetData(self.get()),
                    MultiReadOp::GetChildren(GetChildren {
                        path: self.path(),
                        watch: false,
                    }),
                    MultiReadOp::GetData(self.get()),
                ],
            }),
            28 => Request::Ping,
            29 => Request::WhoAmI,
            30 => Request::GetEphemerals(GetEphemerals { prefix: None }),
            _ if self.below(2) == 0 => Request::Sync(Sync { path: self.path() }),
            _ => Request::GetAllChildrenNumber(GetAllChildrenNumber {
                path: Some("/".into()),
            }),
        }
    }
}

/// Sends all requests, in pieces that end anywhere, and serves until all have been answered.
async fn converse(mut peer: Peer, mut choice: Choice, all_done: Arc<Barrier>) -> Transcript {
    let sent: Vec<Request> = (0..REQUESTS).map(|_| choice.request()).collect();
    let mut bytes = BytesMut::new();
    for (request, xid) in sent.iter().zip(1..) {
        put_request(&mut bytes, xid, request);
    }
    while peer.replies() < REQUESTS {
        let waits = peer.step().await;
        if choice.below(3) > 0 && !bytes.is_empty() {
            let piece = 1 + choice.below(2000);
            let piece = bytes.split_to(piece.min(bytes.len()));
            peer.client.inbox.extend_from_slice(&piece);
        } else if waits && bytes.is_empty() && peer.replies() < REQUESTS {
            peer.woken().await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    all_done.wait().await;
    // Events of what the others have written since.
    peer.step().await;
    assert_eq!(peer.client.connection().reads_waiting(), 0);
    Transcript {
        received: peer.decoded(),
        sent,
    }
}

async fn run(seed: u64, forgets_every: u64) {
    let requests = requests(forgets_every).await;
    let all_done = Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap()));
    let mut tasks = Vec::new();
    for client in 1..=CLIENTS {
        let peer = Peer::connect(&requests).await;
        let mut choice = Choice(seed * 1000 + client);
        choice.below(2);
        tasks.push(tokio::spawn(converse(peer, choice, Arc::clone(&all_done))));
    }
    let mut transcripts = Vec::new();
    for task in tasks {
        transcripts.push(task.await.unwrap());
    }
    assert_eq!(requests.outstanding(), 0);
    model::check(&transcripts);
    requests.ensemble.stop().await;
}

/// I3, I4: replies in order, watches and reads at their places between the txns.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn pipelines_of_several_clients_match_the_serial_reference() {
    for seed in 1..=30 {
        run(seed, 0).await;
    }
}

/// The same while memory forgets, at 1 all that is not pinned: reads that do not wait for delivery, and
/// such as do, of what may be gone when their turn comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn pipelines_match_the_serial_reference_when_memory_forgets() {
    for forgets_every in [1, 2, 5, 17] {
        for seed in 1..=8 {
            run(seed, forgets_every).await;
        }
    }
}
