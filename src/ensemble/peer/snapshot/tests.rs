//! The frames of a snapshot: what was written is read, and nothing else.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::ensemble::raft::types::log_id;
use crate::state::LogPosition;

fn file(name: &str, bytes: u64) -> SnapshotFile {
    SnapshotFile {
        name: name.to_owned(),
        bytes,
        crc: 7,
    }
}

fn offer(term: u64, at_term: u64, files: Vec<SnapshotFile>) -> Offer {
    let at = log_id(LogPosition {
        term: at_term,
        index: 99,
    });
    Offer {
        vote: Vote::new_committed(term, 2),
        at,
        files,
    }
}

fn bytes_of(offer: &Offer) -> Bytes {
    let mut out = BytesMut::new();
    offer.put(&mut out).unwrap();
    out.freeze()
}

#[test]
fn an_offer_is_read_as_it_was_written_and_no_shorter_or_longer() {
    let offer = offer(
        5,
        5,
        vec![file("CURRENT", 16), file("000012.sst", u64::MAX)],
    );
    let bytes = bytes_of(&offer);
    assert_eq!(Offer::take(bytes.clone()), Ok(offer));
    for end in 0..bytes.len() {
        Offer::take(bytes.slice(..end)).unwrap_err();
    }
    let longer = [&bytes[..], &[0]].concat();
    Offer::take(longer.into()).unwrap_err();
}

#[test]
fn an_offer_that_no_leader_makes_is_refused() {
    let good = || vec![file("a", 1)];
    Offer::take(bytes_of(&offer(5, 5, good()))).unwrap();
    Offer::take(bytes_of(&offer(5, 6, good()))).unwrap_err();
    let mut uncommitted = offer(5, 5, good());
    uncommitted.vote.committed = false;
    Offer::take(bytes_of(&uncommitted)).unwrap_err();
    for name in [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "/etc/passwd",
        "a\0",
        ".hidden",
        "\u{e4}",
    ] {
        let wrong = offer(5, 5, vec![file(name, 1)]);
        Offer::take(bytes_of(&wrong)).unwrap_err();
    }
    let mut long = BytesMut::new();
    let name = "a".repeat(256);
    offer(5, 5, vec![file(&name, 1)])
        .put(&mut long)
        .unwrap_err();
}

#[test]
fn what_is_there_of_a_snapshot_is_part_of_what_was_offered() {
    let offered = [file("a", 10), file("b", 20)];
    let taken = |has: &[u64]| {
        let mut out = BytesMut::new();
        put_wanted(&mut out, has).unwrap();
        take_wanted(out.freeze(), &offered)
    };
    assert_eq!(taken(&[10, 0]), Ok(vec![10, 0]));
    for wrong in [&[11, 0][..], &[10], &[10, 20, 0], &[]] {
        taken(wrong).unwrap_err();
    }
}

#[test]
fn an_answer_is_a_vote_or_a_reason() {
    let vote = Vote::new_committed(3, 1);
    for answer in [Ok(SnapshotResponse::new(vote)), Err(Refusal::Damaged)] {
        let mut out = BytesMut::new();
        put_answer(&mut out, &answer);
        assert_eq!(take_answer(out.freeze()), Ok(answer));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        drop(Offer::take(bytes.clone()));
        drop(take_wanted(bytes.clone(), &[file("a", 3)]));
        drop(take_chunk(bytes.clone()));
        drop(take_answer(bytes));
    }
}
