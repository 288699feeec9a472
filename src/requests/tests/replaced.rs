//! The state is replaced by a snapshot: whoever was connected is sent away and told nothing more, also
//! not of what was in flight; the sessions begin again.

use std::sync::Arc;

use jute::OpCode;
use tokio::time::Instant;

use super::super::Deliver;
use super::super::audience::Audience;
use super::super::pending::{Awaits, Pending};
use super::{Peer, requests};
use crate::connection::End;
use crate::session::SessionClocks;
use crate::state::{Sink as _, Txn, Zxid};

/// Deliver of this process beside the one that has delivered: with the same connections, and
/// whatever is told to wait.
fn deliver(of: &super::Requests) -> Deliver {
    Deliver::over(Arc::new(Audience::new(
        Arc::clone(&of.shared.connections),
        Arc::new(SessionClocks::new(3000)),
        of.shared.origin,
        false,
    )))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_covers_is_never_answered_and_all_clients_are_sent_away() {
    let requests = requests(0).await;
    let writer = Peer::connect(&requests).await;
    let idle = Peer::connect(&requests).await;
    let deliver = deliver(&requests);
    let connection = Arc::clone(writer.client.connection());
    let state = requests.replica.read();
    let covered = state.cursor(requests.shared.origin.server).sequence;
    assert!(covered > 0, "the sessions were opened");
    for sequence in [covered, covered + 1] {
        deliver.shared.pending.lock().push(Pending {
            sequence,
            connection: Arc::clone(&connection),
            awaits: Awaits::Reply {
                xid: 7,
                op: OpCode::CREATE,
            },
            since: Instant::now(),
            reads: Vec::new(),
        });
    }
    let before = writer.mailbox.0.lock().len();
    deliver.replaced(&state);
    for peer in [&writer, &idle] {
        let connection = peer.client.connection();
        assert_eq!(connection.outbox.look().end, End::Now);
        assert!(connection.is_fenced(), "nothing more is proposed for it");
    }
    assert_eq!(
        deliver.shared.pending.lock().len(),
        1,
        "not in the snapshot"
    );
    // The other one is applied, and has nobody who is told.
    let txn = Txn {
        origin: requests.shared.origin,
        sequence: covered + 1,
        session: connection.session(),
        cxid: 7,
        zxid: Zxid(99),
        time_ms: 0,
        outcome: crate::state::Outcome::Done,
        changes: Vec::new(),
        events: Vec::new(),
    };
    deliver.applied(&state, &txn);
    deliver.slice_done();
    connection.outbox.flush();
    assert_eq!(deliver.shared.pending.lock().len(), 0);
    assert_eq!(writer.mailbox.0.lock().len(), before, "nobody is answered");
    for peer in [&writer, &idle] {
        let session = peer.client.connection().session();
        assert!(deliver.shared.sessions.of(session).is_some(), "it lives on");
    }
}
