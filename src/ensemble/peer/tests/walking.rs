//! Two servers on real sockets exchange one of everything.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};

use super::*;

fn pair_config(number: u8, secret: Option<&Secret>) -> PeerConfig {
    PeerConfig {
        secret: secret.cloned(),
        ..config(number, 2)
    }
}

async fn exchange(secret: Option<&Secret>) {
    let network = Loopback::default();
    let (one, _member) = network.open(1, pair_config(1, secret)).await;
    let (two, member) = network.open(2, pair_config(2, secret)).await;
    let other = id(2);
    let Phase::Up(hello) = until(&one, other, is_up).await.phase else {
        panic!("it is up");
    };
    assert_eq!((hello.server, hello.incarnation), (other, 200));
    until(&two, id(1), is_up).await;

    let within = Duration::from_secs(20);
    let vote = one.vote(other, vote_request(1, 5), within).await;
    assert!(vote.expect("a vote").vote_granted);
    let vote = one.pre_vote(other, vote_request(1, 5), within).await;
    assert!(!vote.expect("an answer").vote_granted);
    let heartbeat = append_request(1, 5, 3, &[]);
    let beat = one.heartbeat(other, heartbeat, within).await;
    assert_eq!(
        beat.expect("an answer"),
        AppendResponse::PartialSuccess(Some(at(5, 3)))
    );
    let transfer = TransferRequest::new(Vote::new_committed(5, 1), 2, Some(at(5, 3)));
    let transferred = one.transfer_leader(other, transfer, within).await;
    assert_eq!(transferred.expect("an answer"), Ok(()));
    let told = one.call_within(other, Ask::ReadIndex, within).await;
    let index = LogPosition { term: 3, index: 9 };
    assert_eq!(told, Ok(Told::ReadIndex { at: Some(index) }));

    let sizes = [1, 100, 70_000, 3 << 20];
    let requests = vec![
        append_request(1, 5, 3, &sizes),
        append_request(1, 5, 7, &[9]),
    ];
    let mut lane = one.replication(other);
    let answers = lane.stream(stream::iter(requests.clone()));
    let answers: Vec<_> = soon(answers.map(|answer| answer.expect("an answer")).collect()).await;
    assert_eq!(answers, [Ok(Some(at(5, 7))), Ok(Some(at(5, 8)))]);
    let appended = member.appended.lock().clone();
    for (sent, came) in requests.iter().zip(&appended) {
        assert_eq!(format!("{sent:?}"), format!("{came:?}"));
        assert!(sent.entries == came.entries);
    }

    let (mut sender, mut answers) = one.forward(other).await.expect("connects");
    for (number, batch) in [&b"one"[..], b"two"].into_iter().enumerate() {
        let number = u64::try_from(number).expect("small");
        let sent = sender.send(5, number, Bytes::from_static(batch)).await;
        sent.expect("sent");
        let (answered, outcome) = soon(answers.next()).await.expect("an answer");
        let at = LogPosition {
            term: 5,
            index: number + 1,
        };
        assert_eq!((answered, outcome), (number, Forwarded::Accepted { at }));
    }
    assert_eq!(
        *member.taken.lock(),
        [(5, b"one"[..].into()), (5, b"two"[..].into())]
    );
    let lanes = &two.states()[0].inbound;
    assert_eq!(lanes, &[Lane::Control, Lane::Replication, Lane::Forward]);
    one.stop().await;
    until(&two, id(1), is_down(Down::Refused)).await;
}

#[tokio::test]
async fn one_of_everything() {
    exchange(None).await;
}

#[tokio::test]
async fn one_of_everything_with_a_secret() {
    exchange(Secret::new(b"what all members know").as_ref()).await;
}
