//! Whoever has got through the handshake and then sends anything but what is meant; and those who
//! never get through it.

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::super::frame::{Kind, begin, finish};
use super::super::handshake;
use super::*;
use crate::state::SessionId;

/// Server 2 as it connects to server 1.
async fn raw(network: &MemoryNetwork, lane: Lane) -> Box<dyn Stream> {
    let at = "10.0.0.1:2888".parse().expect("an address");
    let mut stream = network.host(2).connect(at).await.expect("connects");
    let here = Hello {
        from: 2,
        to: 2,
        server: id(2),
        wanted: id(1),
        incarnation: 200,
        lane: lane as u8,
        identity: Identity::default(),
    };
    let met = handshake::dial(&mut *stream, None, here).await;
    assert_eq!(met.expect("met").version, 2);
    stream
}

/// Why server 1 ends a connection on which such bytes come, and after what time.
async fn ended(lane: Lane, bytes: &[u8]) -> (String, Duration) {
    let network = MemoryNetwork::default();
    let (one, member) = open(&network, 1, config(1, 2)).await;
    let mut stream = raw(&network, lane).await;
    let began = Instant::now();
    stream.write_all(bytes).await.expect("room");
    let mut closed = member.closed.subscribe();
    let is_ended = soon(closed.wait_for(|closed| !closed.is_empty())).await;
    let (server, of, why) = is_ended.expect("lives")[0].clone();
    assert_eq!((server, of), (id(2), lane));
    let took = began.elapsed();
    // The other side hears no more than pings, and the end.
    let mut heard = Vec::new();
    soon(stream.read_to_end(&mut heard)).await.expect("the end");
    assert!(
        heard.chunks(5).all(|ping| ping == [0, 0, 0, 1, 0]),
        "{heard:?}"
    );
    assert!(one.states()[0].inbound.is_empty());
    assert_eq!(*member.asked.borrow(), 0);
    assert!(member.appended.lock().is_empty() && member.taken.lock().is_empty());
    (why, took)
}

fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut head = begin(kind, body.len());
    head.put_slice(body);
    finish(head, 0, usize::MAX).expect("short").to_vec()
}

fn append(stream: u64, request: AppendRequest) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u64(stream);
    for payload in messages::put_append_request(&mut body, request).expect("sound") {
        body.put_slice(&payload);
    }
    frame(Kind::Append, &body)
}

fn vote_of(server: u8) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u64(1);
    Request::Vote(vote_request(server, 5))
        .put(&mut body)
        .expect("short");
    frame(Kind::Call, &body)
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_ends_the_connection_at_once() {
    let mut gap = append_request(2, 5, 3, &[10, 10]);
    gap.prev_log_id = Some(at(5, 4));
    let another_leader = append_request(3, 5, 3, &[10]);
    for (lane, bytes, expected) in [
        (
            Lane::Control,
            vec![0xff, 0xff, 0xff, 0xff, 1],
            "a frame of 4294967295 bytes, 16777216 are allowed",
        ),
        (
            Lane::Replication,
            vec![1, 0, 0, 1, 3],
            "a frame of 16777217 bytes, 16777216 are allowed",
        ),
        (Lane::Control, vec![0, 0, 0, 0, 1], "a malformed message"),
        (Lane::Control, frame(Kind::Call, &[]), "a malformed message"),
        (
            Lane::Control,
            frame(Kind::Call, &[0; 8]),
            "a malformed message",
        ),
        (Lane::Control, vec![0, 0, 0, 1, 99], "a frame of kind 99"),
        (Lane::Control, frame(Kind::Append, &[]), "a frame of kind 3"),
        (Lane::Control, frame(Kind::Answer, &[]), "a frame of kind 2"),
        (Lane::Forward, frame(Kind::Call, &[]), "a frame of kind 1"),
        (
            Lane::Forward,
            frame(Kind::Forward, &[0; 15]),
            "a malformed message",
        ),
        (Lane::Control, vote_of(3), "a malformed message"),
        (
            Lane::Replication,
            append(1, another_leader),
            "a malformed message",
        ),
        (Lane::Replication, append(1, gap), "a malformed message"),
        (
            Lane::Replication,
            frame(Kind::Append, &[1; 40]),
            "a malformed message",
        ),
    ] {
        let (why, took) = ended(lane, &bytes).await;
        assert_eq!(why, expected, "{bytes:?}");
        assert!(took < Duration::from_millis(2), "{took:?}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stalls_in_the_middle_of_a_frame_is_given_up() {
    let stalls = &frame(Kind::Call, &[0; 900])[..70];
    let (why, took) = ended(Lane::Control, stalls).await;
    assert_eq!(why, "nothing was heard for 1.5s");
    assert!(took >= Duration::from_millis(1_490), "{took:?}");
    assert!(took <= Duration::from_millis(1_510), "{took:?}");
    let (why, _) = ended(Lane::Replication, &stalls[..3]).await;
    assert_eq!(why, "nothing was heard for 1.5s");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_in_the_middle_of_a_frame() {
    let network = MemoryNetwork::default();
    let (_one, member) = open(&network, 1, config(1, 2)).await;
    let mut stream = raw(&network, Lane::Forward).await;
    stream.write_all(&[0, 0, 1, 0, 5, 7]).await.expect("room");
    drop(stream);
    let mut closed = member.closed.subscribe();
    let ended = soon(closed.wait_for(|closed| !closed.is_empty())).await;
    let why = ended.expect("lives")[0].2.clone();
    assert_eq!(
        why,
        "the other side closed the connection in the middle of a frame"
    );
}

#[tokio::test(start_paused = true)]
async fn streams_of_appends_do_not_go_back() {
    let network = MemoryNetwork::default();
    let (_one, member) = open(&network, 1, config(1, 2)).await;
    let mut stream = raw(&network, Lane::Replication).await;
    for number in [4, 4, 7, 6] {
        let request = append(number, append_request(2, 5, 3, &[10]));
        stream.write_all(&request).await.expect("room");
    }
    let mut closed = member.closed.subscribe();
    let ended = soon(closed.wait_for(|closed| !closed.is_empty())).await;
    assert_eq!(ended.expect("lives")[0].2, "an answer out of order");
}

/// A question of a newer server is no error: it is told that nobody knows it, and goes on.
#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_known() {
    let network = MemoryNetwork::default();
    let (_one, member) = open(&network, 1, config(1, 2)).await;
    let mut stream = raw(&network, Lane::Control).await;
    let mut body = BytesMut::new();
    body.put_u64(77);
    body.put_slice(b"\xc8whatever it may be");
    stream
        .write_all(&frame(Kind::Call, &body))
        .await
        .expect("room");
    let mut answer = [0; 14];
    soon(stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(answer, [0, 0, 0, 10, 2, 0, 0, 0, 0, 0, 0, 0, 77, 2]);
    stream.write_all(&vote_of(2)).await.expect("room");
    let mut answer = [0; 14];
    soon(stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(answer[5..], [0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(*member.asked.borrow(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_do_not_say_who_they_are_keep_nobody_out() {
    let network = MemoryNetwork::default();
    let (_one, _) = open(&network, 1, config(1, 2)).await;
    let at = "10.0.0.1:2888".parse().expect("an address");
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(network.host(9).connect(at).await.expect("connects"));
    }
    let (two, _) = open(&network, 2, config(2, 2)).await;
    until(&two, id(1), is_up).await;
    // The oldest had to go at once, the others in their time.
    let began = Instant::now();
    let mut ended = Vec::new();
    for stream in &mut silent {
        let mut heard = Vec::new();
        soon(stream.read_to_end(&mut heard)).await.expect("the end");
        assert!(heard.is_empty());
        ended.push(began.elapsed());
    }
    assert!(ended[130] < Duration::from_millis(2), "{:?}", ended[130]);
    assert!(ended[199] > Duration::from_millis(400), "{:?}", ended[199]);
    assert!(ended[199] < Duration::from_millis(510), "{:?}", ended[199]);
}

fn forwarded(batch: &[u8]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u64(5);
    body.put_u64(1);
    body.put_slice(batch);
    frame(Kind::Forward, &body)
}

fn touches() -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u64(1);
    let sessions = vec![(SessionId(1), 30_000), (SessionId(2), 4_000)];
    let ask = Request::Ask(Ask::Touches { sessions });
    ask.put(&mut body).expect("short");
    frame(Kind::Call, &body)
}

/// Each bit of what is sent, changed: whatever is made of it, the connection comes to an end that is
/// told, as it would not if its task had died.
#[tokio::test(start_paused = true)]
async fn no_bit_that_was_changed_ends_more_than_its_connection() {
    let network = MemoryNetwork::default();
    let (_one, member) = open(&network, 1, config(1, 2)).await;
    let mut closed = member.closed.subscribe();
    let mut ended = 0;
    for (lane, bytes) in [
        (Lane::Control, vote_of(2)),
        (Lane::Control, touches()),
        (
            Lane::Replication,
            append(1, append_request(2, 5, 3, &[10, 3])),
        ),
        (Lane::Forward, forwarded(b"a batch")),
    ] {
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let mut stream = raw(&network, lane).await;
            stream.write_all(&bent).await.expect("room");
            stream.shutdown().await.expect("open");
            ended += 1;
            let is_ended = closed.wait_for(|closed| closed.len() == ended);
            assert!(soon(is_ended).await.is_ok(), "{lane} {bit}");
        }
    }
    let (two, _) = open(&network, 2, config(2, 2)).await;
    until(&two, id(1), is_up).await;
    assert!(two.call(id(1), Ask::Probe).await.is_ok());
}
