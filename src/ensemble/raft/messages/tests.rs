//! The bytes of openraft's messages: golden, there and back, bent in every bit, and what is refused
//! because openraft would believe it.

use openraft::entry::RaftEntry as _;
use proptest::prelude::*;

use super::super::types::{EncodedBatch, Membership, Payload};
use super::*;

fn at(term: u64, index: u64) -> LogId {
    log_id(LogPosition { term, index })
}

/// The bytes of an append request, its entries behind its head.
fn append_bytes(request: AppendRequest) -> Bytes {
    let mut out = BytesMut::new();
    for payload in put_append_request(&mut out, request).expect("sound") {
        out.extend_from_slice(&payload);
    }
    out.freeze()
}

fn written(put: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out);
    out.freeze()
}

fn entry(term: u64, index: u64, payload: Payload) -> Entry {
    Entry::new(at(term, index), payload)
}

fn batch(bytes: &'static [u8]) -> Payload {
    Payload::Normal(EncodedBatch(Bytes::from_static(bytes)))
}

fn request() -> AppendRequest {
    let members = Membership::new_with_defaults(vec![[1, 2].into()], [3]);
    AppendRequest {
        vote: Vote::new_committed(6, 2),
        prev_log_id: Some(at(4, 10)),
        entries: vec![
            entry(4, 11, batch(b"\x01ab")),
            entry(6, 12, Payload::Blank),
            entry(6, 13, Payload::Membership(members)),
        ],
        leader_commit: Some(at(4, 9)),
    }
}

fn vote_request() -> VoteRequest {
    let mut request = VoteRequest::new(Vote::new(7, 3), Some(at(6, 20)));
    request.leadership_transfer = true;
    request
}

#[test]
fn golden() {
    let vote = written(|out| put_vote_request(out, &vote_request()));
    assert_eq!(
        format!("{vote:x}"),
        "000000000000000700000000000000030001000000000000000600000000000000\
         1401"
    );
    assert_eq!(take_vote_request(vote), Ok(vote_request()));

    let response = VoteResponse::new(Vote::new_committed(7, 3), None, true);
    let bytes = written(|out| put_vote_response(out, &response));
    assert_eq!(
        format!("{bytes:x}"),
        "00000000000000070000000000000003010001"
    );
    assert_eq!(take_vote_response(bytes), Ok(response));

    let append = append_bytes(request());
    assert_eq!(
        format!("{append:x}"),
        "00000000000000060000000000000002010100000000000000\
         04000000000000000a0100000000000000040000000000000009000000000000000b\
         00000003\
         000000000000000400000003000000000000000600000001\
         000000000000000600000035\
         01616280\
         81000000010000000200000000000000010000000000000002\
         00000003000000000000000100000000000000020000000000000003"
    );
    let read = take_append_request(append.clone()).expect("a request");
    assert_eq!(append_bytes(read), append);
}

#[test]
fn golden_answers() {
    let results: [(AppendResult, &str); 4] = [
        (Ok(None), "0000"),
        (Ok(Some(at(1, 2))), "000100000000000000010000000000000002"),
        (
            Err(StreamAppendError::Conflict(at(1, 2))),
            "0200000000000000010000000000000002",
        ),
        (
            Err(StreamAppendError::HigherVote(Vote::new(1, 2))),
            "030000000000000001000000000000000200",
        ),
    ];
    for (result, hex) in results {
        let bytes = written(|out| put_append_result(out, &result));
        assert_eq!(format!("{bytes:x}"), hex);
        assert_eq!(take_append_result(bytes), Ok(result));
    }
    let responses: [(AppendResponse, &str); 4] = [
        (AppendResponse::Success, "00"),
        (AppendResponse::PartialSuccess(None), "0100"),
        (AppendResponse::Conflict, "02"),
        (
            AppendResponse::HigherVote(Vote::new_committed(1, 2)),
            "030000000000000001000000000000000201",
        ),
    ];
    for (response, hex) in responses {
        let bytes = written(|out| put_append_response(out, &response));
        assert_eq!(format!("{bytes:x}"), hex);
        assert_eq!(take_append_response(bytes), Ok(response));
    }
}

#[test]
fn golden_transfers() {
    let transfer = TransferRequest::new(Vote::new_committed(1, 2), 3, None);
    let bytes = written(|out| put_transfer_request(out, &transfer));
    assert_eq!(
        format!("{bytes:x}"),
        "0000000000000001000000000000000201000000000000000300"
    );
    assert_eq!(take_transfer_request(bytes), Ok(transfer));
    let (expected, actual) = (Vote::new(1, 2), Vote::new(3, 4));
    let changed = Err(TransferLeaderError::VoteChanged { expected, actual });
    let (expected, actual) = (Some(at(1, 2)), None);
    let not_flushed = Err(TransferLeaderError::LogNotFlushed { expected, actual });
    let responses: [(TransferResponse, &str); 3] = [
        (Ok(()), "00"),
        (
            changed,
            "0100000000000000010000000000000002000000000000000003000000000000000400",
        ),
        (
            not_flushed,
            "020100000000000000010000000000000002\
                       00",
        ),
    ];
    for (response, hex) in responses {
        let bytes = written(|out| put_transfer_response(out, &response));
        assert_eq!(format!("{bytes:x}"), hex);
        assert_eq!(take_transfer_response(bytes), Ok(response));
    }
}

/// Each bit changed, each end cut off, a byte more: an error, or what is written as it came.
fn bend<T>(
    bytes: &Bytes,
    take: impl Fn(Bytes) -> Result<T, FormatError>,
    put: impl Fn(T) -> Bytes,
) {
    for bit in 0..bytes.len() * 8 {
        let mut bent = bytes.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        let bent = Bytes::from(bent);
        if let Ok(read) = take(bent.clone()) {
            assert_eq!(put(read), bent);
        }
    }
    for cut in 0..bytes.len() {
        assert!(take(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(take(Bytes::from(longer)).is_err());
}

#[test]
fn what_was_bent_on_the_way() {
    let put_request = |request| written(|out| put_vote_request(out, &request));
    bend(&put_request(vote_request()), take_vote_request, put_request);
    let put_response = |response| written(|out| put_vote_response(out, &response));
    let response = VoteResponse::new(Vote::new(7, 3), Some(at(2, 2)), false);
    bend(&put_response(response), take_vote_response, put_response);
    let put_result = |result| written(|out| put_append_result(out, &result));
    let conflict = Err(StreamAppendError::Conflict(at(1, 2)));
    for result in [Ok(Some(at(1, 2))), conflict] {
        bend(&put_result(result), take_append_result, put_result);
    }
    let put_transfer = |request| written(|out| put_transfer_request(out, &request));
    let transfer = TransferRequest::new(Vote::new_committed(1, 2), 3, Some(at(1, 2)));
    bend(&put_transfer(transfer), take_transfer_request, put_transfer);

    // The membership's own bytes may say the same in several ways: its bits are records.rs's matter.
    let mut request = request();
    request.entries.truncate(2);
    bend(&append_bytes(request), take_append_request, append_bytes);
}

#[test]
fn a_batch_is_neither_copied_to_be_sent_nor_when_it_came() {
    let batch = Bytes::from(vec![1; 5000]);
    let mut request = request();
    request.entries = vec![entry(6, 11, Payload::Normal(EncodedBatch(batch.clone())))];
    let mut head = BytesMut::new();
    let payloads = put_append_request(&mut head, request).expect("sound");
    assert_eq!(payloads.len(), 1);
    assert_eq!(payloads[0].as_ptr(), batch.as_ptr());

    let came = Bytes::from([&head[..], &batch[..]].concat());
    let within = came.as_ptr_range();
    let mut read = take_append_request(came).expect("a request");
    let Payload::Normal(EncodedBatch(batch)) = read.entries.remove(0).payload else {
        panic!("a batch was sent");
    };
    assert!(within.contains(&batch.as_ptr()));
}

fn refused(change: impl FnOnce(&mut AppendRequest)) -> FormatError {
    let mut request = request();
    change(&mut request);
    take_append_request(append_bytes(request)).expect_err("refused")
}

#[test]
fn what_no_leader_says() {
    let what = |error| {
        let FormatError::Invalid { what } = error else {
            panic!("{error}");
        };
        what
    };
    let voted = refused(|request| request.vote = Vote::new(6, 2));
    assert_eq!(what(voted), "a leader that nobody voted for");
    let gap = refused(|request| request.prev_log_id = Some(at(4, 9)));
    assert_eq!(what(gap), "entries that do not follow the one before");
    let beginning = refused(|request| request.prev_log_id = None);
    assert_eq!(what(beginning), "entries that do not follow the one before");
    for vote in [5, 0] {
        let ahead = refused(|request| request.vote = Vote::new_committed(vote, 2));
        assert_eq!(what(ahead), "an entry of a term that cannot be");
    }
    let back = refused(|request| request.prev_log_id = Some(at(5, 10)));
    assert_eq!(what(back), "an entry of a term that cannot be");
    let end = refused(|request| {
        request.entries.clear();
        request.prev_log_id = Some(at(4, u64::MAX));
    });
    assert_eq!(what(end), "a position near the end of numbers");
    let end = refused(|request| request.vote = Vote::new_committed(u64::MAX, 2));
    assert_eq!(what(end), "a number near the end of numbers");

    let mut head = BytesMut::new();
    let mut gap = request();
    gap.entries.remove(1);
    let gap = put_append_request(&mut head, gap).expect_err("refused");
    assert_eq!(what(gap), "entries with a gap");

    let leads = VoteRequest::new(Vote::new_committed(7, 3), None);
    let leads = take_vote_request(written(|out| put_vote_request(out, &leads)));
    assert_eq!(
        what(leads.expect_err("refused")),
        "a candidate that says that it leads"
    );
    let votes = TransferRequest::new(Vote::new(1, 2), 3, None);
    let votes = take_transfer_request(written(|out| put_transfer_request(out, &votes)));
    assert_eq!(
        what(votes.expect_err("refused")),
        "a leader that nobody voted for"
    );
}

#[test]
fn a_count_is_believed_as_far_as_there_are_bytes() {
    let mut request = request();
    request.entries.clear();
    let mut bytes = append_bytes(request).to_vec();
    let end = bytes.len();
    bytes[end - 4..].fill(0xff);
    let refused = take_append_request(Bytes::from(bytes));
    let count = u32::MAX;
    assert_eq!(refused.err(), Some(FormatError::Count { count, left: 0 }));
}

fn any_request() -> impl Strategy<Value = AppendRequest> {
    let sizes = proptest::collection::vec((0_u64..3, 1_usize..300), 0..20);
    let numbers = (
        1_u64..1_000,
        proptest::option::of(0_u64..1_000_000),
        any::<u64>(),
    );
    (sizes, numbers).prop_map(|(sizes, (term, previous, leader))| {
        let previous = previous.map(|index| at(term, index));
        let first = previous.map_or(0, |previous| previous.index + 1);
        let mut last = term;
        let entries = (first..).zip(sizes).map(|(index, (step, size))| {
            last += step;
            let payload = match size % 7 {
                0 => Payload::Blank,
                _ => Payload::Normal(EncodedBatch(vec![9; size].into())),
            };
            entry(last, index, payload)
        });
        let entries = entries.collect();
        AppendRequest {
            vote: Vote::new_committed(last, leader),
            prev_log_id: previous,
            entries,
            leader_commit: previous,
        }
    })
}

proptest! {
    #[test]
    fn there_and_back(request in any_request()) {
        let said = format!("{request:?}");
        let bytes = append_bytes(request);
        let read = take_append_request(bytes.clone()).expect("a request");
        prop_assert_eq!(format!("{read:?}"), said);
        prop_assert_eq!(append_bytes(read), bytes);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let bytes = Bytes::from(bytes);
        drop(take_vote_request(bytes.clone()));
        drop(take_vote_response(bytes.clone()));
        drop(take_append_request(bytes.clone()));
        drop(take_append_result(bytes.clone()));
        drop(take_append_response(bytes.clone()));
        drop(take_transfer_request(bytes.clone()));
        drop(take_transfer_response(bytes));
    }
}
