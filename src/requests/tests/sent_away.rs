//! All clients are sent away, with what they have asked for on its way.

use jute::{GetData, OpCode, Reply, Request, Response, SetData};

use super::super::Step;
use super::moves::{Held, end};
use super::{Peer, put_request, requests};
use crate::connection::End;

fn set(data: &str) -> Request {
    Request::SetData(SetData {
        path: Some("/".into()),
        data: Some(data.to_owned().into_bytes().into()),
        version: -1,
    })
}

fn get() -> Request {
    Request::GetData(GetData {
        path: Some("/".into()),
        watch: false,
    })
}

/// What the read among its replies found, and the xids of all of them.
fn found(peer: &Peer) -> (String, Vec<i32>) {
    let (mut data, mut xids) = (String::new(), Vec::new());
    for reply in peer.decoded() {
        let Reply::Answer { header, body } = reply else {
            panic!("an event");
        };
        xids.push(header.xid);
        if let Ok(Response::GetData(got)) = Response::decode(OpCode::GET_DATA, body) {
            data = String::from_utf8(got.data.unwrap_or_default().to_vec()).unwrap();
        }
    }
    (data, xids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_takes_effect_behind_what_does_not_and_who_comes_next_is_told_what_is_its_own() {
    let requests = requests(0).await;
    for round in 0..20 {
        let mut writer = Peer::connect(&requests).await;
        let mut idle = Peer::connect(&requests).await;
        let held = Held::of(&requests, &idle);
        let mut waiting = held.come_back(&requests, 0);
        {
            // While this is held nothing is applied.
            let _guard = requests.replica.read();
            for xid in 0..=round {
                put_request(
                    &mut writer.client.inbox,
                    xid,
                    &set(&format!("{round}.{xid}")),
                );
                put_request(&mut writer.client.inbox, 100 + xid, &get());
                writer.client.advance();
            }
            assert!(matches!(
                waiting.client.advance(),
                Step::Idle | Step::Blocked
            ));
            assert!(requests.outstanding() > 1);
            let clocks = &requests.shared.sessions;
            let clock = clocks.of(held.session).unwrap();
            let heard_ms = clock.heard_ms();
            while clocks.now_ms() <= heard_ms {
                std::thread::yield_now();
            }
            requests.send_away();
            assert_eq!(requests.outstanding(), 0);
            // Had its end been proposed, nobody would propose it again.
            assert!(clock.heard_ms() > heard_ms);
            put_request(&mut writer.client.inbox, 99, &set("behind it"));
            put_request(&mut idle.client.inbox, 99, &set("of another"));
            for peer in [&mut writer, &mut idle, &mut waiting] {
                assert!(matches!(peer.client.advance(), Step::Gone));
                assert_eq!(end(peer), End::Now);
                assert!(peer.client.connection().is_fenced());
                assert_eq!(peer.client.connection().reads_waiting(), 0);
            }
        }
        // The same session, and another one, with numbers that are given again.
        let mut back = held.come_back(&requests, 0);
        let mut other = Peer::connect(&requests).await;
        back.run_until(1).await;
        back.frames.clear();
        put_request(&mut back.client.inbox, 7, &get());
        put_request(&mut other.client.inbox, 8, &set("other"));
        put_request(&mut other.client.inbox, 9, &get());
        back.run_until(1).await;
        other.run_until(2).await;
        let (data, xids) = found(&back);
        assert_eq!(xids, [7]);
        // As much as had been sent to the log; the last of it, or nothing.
        let mine = format!("{round}.");
        assert!(
            data.starts_with(&mine) || data == "other" || data.is_empty(),
            "{data}"
        );
        let (data, xids) = found(&other);
        assert_eq!((data.as_str(), xids.as_slice()), ("other", &[8, 9][..]));
        assert_eq!(requests.outstanding(), 0);
        for peer in [writer, idle, waiting, back, other] {
            requests.leave(peer.client.connection());
        }
    }
}
