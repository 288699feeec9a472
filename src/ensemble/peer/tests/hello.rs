//! Who belongs together: every refusal, with both sides named; and a dialogue that cannot be bent.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::handshake::{self, HandshakeError};
use super::super::hello::Mismatch;
use super::*;
use crate::state::ClusterId;

fn cluster(fill: u8) -> Option<ClusterId> {
    Some(ClusterId([fill; 16]))
}

fn identity(cluster: Option<ClusterId>, members: u64) -> Identity {
    Identity { cluster, members }
}

/// Two servers with such identities: what the first one sees.
async fn meet(one: Identity, two: Identity) -> LinkState {
    let network = MemoryNetwork::default();
    let (_two, _) = open_as(&network, 2, config(2, 2), two).await;
    let (one, _) = open_as(&network, 1, config(1, 2), one).await;
    until(&one, id(2), |phase| *phase != Phase::Connecting).await
}

#[tokio::test(start_paused = true)]
async fn servers_of_different_ensembles() {
    let state = meet(identity(cluster(0xaa), 1), identity(cluster(0xbb), 1)).await;
    assert!(is_down(Down::Rejected)(&state.phase));
    let said = said(&state);
    for part in [
        "different ensembles",
        &"aa".repeat(16),
        &"bb".repeat(16),
        "here server 1 (incarnation 100",
        "there server 2 (incarnation 200",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_server_may_join_any_ensemble() {
    for (one, two) in [
        (cluster(1), None),
        (None, cluster(1)),
        (None, None),
        (cluster(1), cluster(1)),
    ] {
        let state = meet(identity(one, 7), identity(two, 7)).await;
        assert!(is_up(&state.phase), "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn different_members_matter_at_the_beginning_only() {
    let state = meet(identity(None, 7), identity(None, 8)).await;
    let said = said(&state);
    assert!(
        said.contains("server lines name different members"),
        "{said}"
    );
    assert!(said.contains("members 0000000000000007"), "{said}");
    assert!(said.contains("members 0000000000000008"), "{said}");
    let state = meet(identity(cluster(1), 7), identity(None, 8)).await;
    assert!(is_up(&state.phase), "{state:?}");
    let state = meet(identity(cluster(1), 7), identity(cluster(1), 8)).await;
    assert!(is_up(&state.phase), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_leads_to_oneself() {
    let network = MemoryNetwork::default();
    let mut wrong = config(1, 2);
    wrong.addresses.insert(id(2), vec![address(1)]);
    let (one, _) = open(&network, 1, wrong).await;
    let state = until(&one, id(2), is_down(Down::Rejected)).await;
    let said = said(&state);
    assert!(said.contains("leads to this one itself"), "{said}");
    assert!(said.contains("s1:2888"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_leads_to_another_server() {
    let network = MemoryNetwork::default();
    let (_three, _) = open(&network, 3, config(3, 3)).await;
    let mut wrong = config(1, 3);
    wrong.addresses.insert(id(2), vec![address(3)]);
    let (one, _) = open(&network, 1, wrong).await;
    let state = until(&one, id(2), is_down(Down::Rejected)).await;
    let said = said(&state);
    assert!(said.contains("that of another server"), "{said}");
    assert!(said.contains("there server 3"), "{said}");
    until(&one, id(3), is_up).await;
}

#[tokio::test(start_paused = true)]
async fn somebody_who_is_no_member() {
    let network = MemoryNetwork::default();
    let (one, _) = open(&network, 1, config(1, 2)).await;
    let (stranger, _) = open(&network, 9, {
        let mut stranger = config(9, 0);
        stranger.addresses.insert(id(1), vec![address(1)]);
        stranger
    })
    .await;
    let state = until(&stranger, id(1), is_down(Down::Rejected)).await;
    assert!(said(&state).contains("not a member"), "{state:?}");
    assert!(one.states()[0].inbound.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_process_with_the_same_id() {
    let network = MemoryNetwork::default();
    let (one, _) = open(&network, 1, config(1, 2)).await;
    let (first, _) = open(&network, 2, config(2, 2)).await;
    until(&first, id(1), is_up).await;
    let double = PeerConfig {
        incarnation: 222,
        listen: vec![address(7)],
        ..config(2, 2)
    };
    let (double, _) = open(&network, 7, double).await;
    let state = until(&double, id(1), is_down(Down::Rejected)).await;
    let text = said(&state);
    assert!(text.contains("same id"), "{text}");
    assert!(text.contains("the other with incarnation 200"), "{text}");
    assert!(text.contains("here server 2 (incarnation 222"), "{text}");
    // The one that was there first is not disturbed; when it is gone the other one may come.
    until(&first, id(1), is_up).await;
    first.stop().await;
    until(&double, id(1), is_up).await;
    drop(one);
}

/// Its own id at another server's address.
#[tokio::test(start_paused = true)]
async fn a_process_with_my_own_id() {
    let network = MemoryNetwork::default();
    let double = PeerConfig {
        incarnation: 111,
        listen: vec![address(2)],
        ..config(1, 2)
    };
    let (_double, _) = open(&network, 2, double).await;
    let (one, _) = open(&network, 1, config(1, 2)).await;
    let state = until(&one, id(2), is_down(Down::Rejected)).await;
    let said = said(&state);
    for part in ["same id", "(incarnation 100", "(incarnation 111"] {
        assert!(said.contains(part), "{said}");
    }
}

async fn meet_with(one: Option<&[u8]>, two: Option<&[u8]>) -> (LinkState, Arc<Member>) {
    let network = MemoryNetwork::default();
    let with = |number, secret: Option<&[u8]>| PeerConfig {
        secret: secret.map(|bytes| Secret::new(bytes).expect("long enough")),
        ..config(number, 2)
    };
    let (_two, member) = open(&network, 2, with(2, two)).await;
    let (one, _) = open(&network, 1, with(1, one)).await;
    let state = until(&one, id(2), |phase| *phase != Phase::Connecting).await;
    let asked = one.call(id(2), Ask::Probe).await;
    assert_eq!(asked.is_ok(), is_up(&state.phase));
    (state, member)
}

#[tokio::test(start_paused = true)]
async fn secrets() {
    let (mine, yours) = (b"0123456789abcdef", b"0123456789abcdeg");
    let (state, _) = meet_with(Some(mine), Some(mine)).await;
    assert!(is_up(&state.phase), "{state:?}");
    for (one, two, expected) in [
        (Some(&mine[..]), Some(&yours[..]), "the secrets differ"),
        (Some(mine), None, "configured here and not at the other"),
        (
            None,
            Some(mine),
            "configured at the other side and not here",
        ),
    ] {
        let (state, member) = meet_with(one, two).await;
        assert!(is_down(Down::Rejected)(&state.phase), "{state:?}");
        assert!(said(&state).contains(expected), "{state:?}");
        assert_eq!(*member.asked.borrow(), 0);
    }
}

fn hello(server: u8, wanted: u8) -> Hello {
    Hello {
        from: 1,
        to: 1,
        server: id(server),
        wanted: id(wanted),
        incarnation: u64::from(server) * 100,
        lane: Lane::Control as u8,
        identity: Identity::default(),
    }
}

#[test]
fn the_highest_version_that_both_know() {
    let speaks = |from, to| Hello {
        from,
        to,
        ..hello(1, 2)
    };
    let judge = |(from, to), there: Hello| {
        let there = Hello {
            server: id(2),
            wanted: id(1),
            incarnation: 5,
            ..there
        };
        speaks(from, to).judge(&there)
    };
    assert_eq!(judge((1, 1), speaks(1, 1)), Ok(1));
    assert_eq!(judge((1, 3), speaks(2, 7)), Ok(3));
    assert_eq!(judge((2, 9), speaks(1, 4)), Ok(4));
    assert_eq!(judge((1, 2), speaks(3, 4)), Err(Mismatch::Version));
    assert_eq!(judge((3, 4), speaks(1, 2)), Err(Mismatch::Version));
}

/// The acceptor's side of a handshake, against a dialer that says `there`.
async fn accepted(
    there: Hello,
    judge: impl FnOnce(&Hello) -> (Hello, Result<(), Mismatch>),
) -> (
    Result<handshake::Met, HandshakeError>,
    Result<(Hello, ()), HandshakeError>,
) {
    let (mut near, mut far) = tokio::io::duplex(4096);
    tokio::join!(
        handshake::dial(&mut near, None, there),
        handshake::accept(&mut far, None, judge),
    )
}

#[tokio::test]
async fn no_version_in_common() {
    let there = Hello {
        from: 2,
        to: 3,
        ..hello(1, 2)
    };
    let judge = |there: &Hello| {
        let here = hello(2, 1);
        (here, here.judge(there).map(|_| ()))
    };
    let (dialed, accepted) = accepted(there, judge).await;
    let dialed = dialed.expect_err("refused").to_string();
    let accepted = accepted.expect_err("refused").to_string();
    for said in [&dialed, &accepted] {
        assert!(said.contains("no protocol version"), "{said}");
        assert!(said.contains("protocol 2 to 3"), "{said}");
        assert!(said.contains("protocol 1 to 1"), "{said}");
    }
}

#[tokio::test]
async fn a_lane_that_is_not_known_and_a_reason_that_is_not() {
    for (why, expected) in [
        (Mismatch::Lane, "what the connection is for is not known"),
        (Mismatch::Stopping, "stopping"),
        (Mismatch::Newer(77), "reason 77, of a newer version"),
    ] {
        let (dialed, _) = accepted(hello(1, 2), |_| (hello(2, 1), Err(why))).await;
        let said = dialed.expect_err("refused").to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn what_does_not_speak_the_protocol() {
    for (bytes, expected) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            "does not speak the protocol",
        ),
        (b"OXKP\x02", "handshake 2"),
        (b"OXKP\x01\x09", "ended during the handshake"),
    ] {
        let (mut near, mut far) = tokio::io::duplex(4096);
        near.write_all(bytes).await.expect("room");
        near.shutdown().await.expect("open");
        let accepted = handshake::accept(&mut far, None, |_| (hello(2, 1), Ok(())));
        let said = accepted.await.expect_err("refused").to_string();
        assert!(said.contains(expected), "{said}");
    }
}

/// Whoever has no secret is not read: what it says of itself may be anything.
#[tokio::test]
async fn a_hello_without_proof_is_not_read() {
    let secret = Secret::new(b"what all members know").expect("long enough");
    let (mut near, mut far) = tokio::io::duplex(4096);
    let mut bytes = b"OXKP\x01\x01".to_vec();
    bytes.extend([7; 32]);
    bytes.extend([0, 40]);
    bytes.extend([9; 40]);
    near.write_all(&bytes).await.expect("room");
    let accepted = handshake::accept(&mut far, Some(&secret), |_| -> (Hello, Result<(), _>) {
        panic!("it was read")
    });
    let accepted = accepted.await;
    assert!(matches!(accepted, Err(HandshakeError::WrongSecret)));
    drop(far);
    let mut said = Vec::new();
    near.read_to_end(&mut said).await.expect("the end");
    // An opening, and that the secret is wrong: nothing by which it could be guessed.
    assert_eq!(said.len(), 38 + 3);
    assert_eq!(said[38..], [0, 1, 1]);
}

/// Passes bytes on from one side to the other, one of them with a bit changed.
async fn relay(bent: usize) -> (bool, bool) {
    let secret = Secret::new(b"what all members know").expect("long enough");
    let (mut dialer, near) = tokio::io::duplex(4096);
    let (mut acceptor, far) = tokio::io::duplex(4096);
    let (mut from_dialer, mut to_dialer) = tokio::io::split(near);
    let (mut from_acceptor, mut to_acceptor) = tokio::io::split(far);
    let secrets = (secret.clone(), secret);
    let met = async move {
        let dial = async {
            let met = handshake::dial(&mut dialer, Some(&secrets.0), hello(1, 2));
            let met = in_time(met).await;
            drop(dialer);
            met
        };
        let judge = |there: &Hello| {
            let here = hello(2, 1);
            (here, here.judge(there).map(|_| ()))
        };
        let accept = async {
            let met = handshake::accept(&mut acceptor, Some(&secrets.1), judge);
            let met = in_time(met).await;
            drop(acceptor);
            met
        };
        tokio::join!(dial, accept)
    };
    let forth = async {
        let mut at = 0;
        while let Ok(byte) = from_dialer.read_u8().await {
            let byte = if at == bent / 8 {
                byte ^ (1 << (bent % 8))
            } else {
                byte
            };
            at += 1;
            if to_acceptor.write_u8(byte).await.is_err() {
                break;
            }
        }
        let _gone = to_acceptor.shutdown().await;
    };
    let back = async {
        let mut at = 0;
        while let Ok(byte) = from_acceptor.read_u8().await {
            let bent = bent.wrapping_sub(LENGTH * 8);
            let byte = if at == bent / 8 {
                byte ^ (1 << (bent % 8))
            } else {
                byte
            };
            at += 1;
            if to_dialer.write_u8(byte).await.is_err() {
                break;
            }
        }
        let _gone = to_dialer.shutdown().await;
    };
    let ((dialed, accepted), (), ()) = soon(async { tokio::join!(met, forth, back) }).await;
    (dialed, accepted)
}

/// Whether a handshake comes to a good end in the time that it is given: with a length that is wrong
/// each side waits for the other.
async fn in_time<T, E>(handshake: impl Future<Output = Result<T, E>>) -> bool {
    let limit = Duration::from_secs(1);
    tokio::time::timeout(limit, handshake)
        .await
        .is_ok_and(|met| met.is_ok())
}

/// Bytes in each direction: an opening, a length, a proof, a hello; back with two verdicts more.
const LENGTH: usize = 38 + 2 + 32 + 38;

/// Who stands between may break the handshake, and nothing else: no bit can be changed.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_was_bent_in_one_bit() {
    assert_eq!(relay(usize::MAX).await, (true, true));
    for bit in 0..(2 * LENGTH + 2) * 8 {
        let (dialed, accepted) = relay(bit).await;
        assert!(!dialed, "bit {bit}");
        // The acceptor has seen its proof when only its own answer is bent on the way back.
        assert_eq!(accepted, bit / 8 >= LENGTH + 38, "bit {bit}");
    }
}

#[test]
fn golden() {
    let mut out = BytesMut::new();
    Hello {
        from: 1,
        to: 2,
        server: ServerId(0x0102),
        wanted: ServerId(3),
        incarnation: 0x0199_aabb_ccdd_eeff,
        lane: 2,
        identity: identity(cluster(0x5c), 0x1122_3344_5566_7788),
    }
    .put(&mut out);
    assert_eq!(
        format!("{out:x}"),
        "000100020000000000000102000000000000000\
         30199aabbccddeeff021122334455667788015c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c"
    );
    let mut with_more = out.clone();
    with_more.extend_from_slice(b"what newer servers say");
    let mut with_more = with_more.freeze();
    let read = Hello::take(&mut with_more).expect("a hello");
    let mut again = BytesMut::new();
    read.put(&mut again);
    assert_eq!(again, out);
    for cut in 0..out.len() {
        assert!(Hello::take(&mut Bytes::copy_from_slice(&out[..cut])).is_err());
    }
    for (why, hex) in [
        (Mismatch::Version, "010000000000000000"),
        (Mismatch::Oneself, "020000000000000000"),
        (Mismatch::Doubled(258), "030000000000000102"),
        (Mismatch::WrongServer, "040000000000000000"),
        (Mismatch::Stranger, "050000000000000000"),
        (Mismatch::Cluster, "060000000000000000"),
        (Mismatch::Members, "070000000000000000"),
        (Mismatch::Lane, "080000000000000000"),
        (Mismatch::Stopping, "090000000000000000"),
        (Mismatch::Newer(99), "630000000000000000"),
    ] {
        let mut out = BytesMut::new();
        why.put(&mut out);
        assert_eq!(format!("{out:x}"), hex);
        assert_eq!(Mismatch::take(&mut out.freeze()), Ok(why));
    }
}
