//! A session is opened on one server, and its client comes to another one that has not heard of it yet.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::Ensemble;
use super::super::net::{Way, Wiring};
use super::{Change, setup};
use crate::client::{Connection, Hello, REPLY_TIME_MAX};

const SESSION_MS: i32 = 6_000;
const ROUNDS: usize = 8;
/// By so much later than the others one hears what was done.
const DELAYS_MS: [u64; 3] = [40, 150, 350];
/// A server may send a client away, which comes again.
const AGAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// See the head of the file.
///
/// # Errors
/// It is told that its session is gone.
pub fn renewed_behind(change: &Change<'_>) -> Result<String> {
    let ensemble = Ensemble::start(&change(setup(Wiring::Proxies)))?;
    let leader = ensemble.wait_for_leader(AGAIN_TIME_MAX)?;
    let behind = (leader + 1) % ensemble.len();
    let (mut renewed, mut sent_away, mut waited) = (0, 0, Duration::ZERO);
    for delay_ms in DELAYS_MS {
        let late = Way {
            delay: Duration::from_millis(delay_ms),
            ..Way::default()
        };
        for from in (0..ensemble.len()).filter(|it| *it != behind) {
            ensemble.set_way(from, behind, late)?;
        }
        for round in 0..ROUNDS {
            let on = (behind + 1 + round % 2) % ensemble.len();
            let mut first = Connection::open(ensemble.address(on), REPLY_TIME_MAX)?;
            let (session, password) = first.new_session(SESSION_MS)?;
            let hello = Hello {
                session,
                password: Some(password),
                ..Hello::new(SESSION_MS)
            };
            let begin = Instant::now();
            let mut again = loop {
                let mut second = Connection::open(ensemble.address(behind), REPLY_TIME_MAX)?;
                match second.handshake(&hello)? {
                    Some(welcome) => {
                        ensure!(
                            welcome.session == session,
                            "told that session {session:#x}, which lives, has expired"
                        );
                        break second;
                    }
                    None => sent_away += 1,
                }
                ensure!(begin.elapsed() < AGAIN_TIME_MAX, "it is never taken");
                sleep(Duration::from_millis(50));
            };
            waited = waited.max(begin.elapsed());
            renewed += 1;
            again.close_session()?;
        }
    }
    // What there never was is refused there, too.
    let unknown = Hello {
        session: 0x1234_5678,
        ..Hello::new(SESSION_MS)
    };
    let mut stranger = Connection::open(ensemble.address(behind), REPLY_TIME_MAX)?;
    let welcome = stranger.handshake(&unknown)?.context("no answer")?;
    ensure!(
        welcome.session == 0,
        "a session that nobody opened is granted"
    );
    Ok(format!(
        "{renewed} renewed, {sent_away} sent away first, at most {waited:.1?}"
    ))
}
