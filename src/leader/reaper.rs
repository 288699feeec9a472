//! Deletes containers that have lost their last child, and TTL nodes whose time is over.
//!
//! zk: ContainerManager. protocol.md 6.5: every interval, at most so many deletions a minute,
//! spread evenly. The index of candidates is read from views, piece by piece in the order of paths, so
//! that neither memory nor anybody else notices how many there are; each proposal is judged again. How
//! much time has passed is what the state's timeline says, carried on by this server's clocks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use crate::clock::Clock;
use crate::ensemble::{Ensemble, Role, Submission, SubmitError};
use crate::state::{
    ActionRef, Identities, Reading, Replica, SessionId, StoreError, View, Znode, is_due,
};

/// Candidates that are looked at in one view.
const PIECE_PATHS_MAX: usize = 4096;
/// Bytes of the paths that are due with which it ends, too.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Looks for candidates every interval until `stop`.
///
/// # Errors
/// The storage failed: end the process.
pub async fn reap(
    ensemble: Arc<Ensemble>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    config: Config,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut rounds = interval(Duration::from_millis(
        config.container_check_interval_ms.max(1),
    ));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval comes at once; ZooKeeper's first check comes after one.
    rounds.tick().await;
    let mut lead = Lead::of(&ensemble, None, &*clock);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = rounds.tick() => {}
        }
        lead = Lead::of(&ensemble, lead, &*clock);
        let Some(lead) = lead else {
            continue;
        };
        let round = async {
            let mut next = Some(Round::default());
            while let Some(round) = next {
                let began = Instant::now();
                let piece = round.piece(&replica, lead, read(&*clock), config).await?;
                let took = began.elapsed();
                propose(&ensemble, lead, &piece.due, config).await?;
                next = piece.rest;
                if next.is_some() {
                    // Others have the processor and the disk at least half of the time.
                    sleep(took).await;
                }
            }
            Ok(())
        };
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = round => ended,
        };
        match ended {
            Ok(()) => {}
            Err(Stop::Closed) => return Ok(()),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
}

/// Why a round does not come to its end.
enum Stop {
    /// The server stops.
    Closed,
    /// The storage failed: end the process.
    Failed(StoreError),
}

/// Proposes that these go, at the pace that is set.
async fn propose(
    ensemble: &Ensemble,
    lead: Lead,
    paths: &[Arc<str>],
    config: Config,
) -> Result<(), Stop> {
    let nobody: Identities = Arc::from([]);
    let pause = Duration::from_secs(60) / config.container_max_per_minute.max(1);
    for path in paths {
        let submitted = ensemble.submit(Submission {
            session: SessionId::NONE,
            cxid: 0,
            identities: &nobody,
            action: ActionRef::Reap {
                term: lead.term,
                path,
                unused_ms: config.container_never_used_ms,
            },
        });
        match submitted {
            Ok(_sequence) => {}
            // The next round finds it again. There may never be room, if the disk is stuck.
            Err(SubmitError::Full) => ensemble.room().await,
            Err(SubmitError::Closed) => return Err(Stop::Closed),
        }
        sleep(pause).await;
    }
    Ok(())
}

/// The term that this server leads, and what its clocks said when that was first seen: time that
/// passes in it is counted from there until its first batch has been applied.
#[derive(Clone, Copy, Debug)]
struct Lead {
    term: u64,
    since: Reading,
}

impl Lead {
    /// `before`: what was seen last.
    fn of(ensemble: &Ensemble, before: Option<Self>, clock: &dyn Clock) -> Option<Self> {
        let Role::Leader { term } = ensemble.role() else {
            return None;
        };
        let is_new = before.is_none_or(|before| before.term != term);
        let fresh = is_new.then(|| Self {
            term,
            since: read(clock),
        });
        fresh.or(before)
    }
}

fn read(clock: &dyn Clock) -> Reading {
    Reading {
        wall_ms: clock.wall_ms(),
        steady_ms: clock.steady_ms(),
    }
}

/// A round over all candidates, as far as it has come.
#[derive(Debug, Default)]
struct Round {
    /// The last one that was looked at.
    after: Option<Arc<str>>,
    /// Some were due.
    has_found: bool,
    /// One that will be due when the state has seen time pass.
    waits: Option<Arc<str>>,
}

/// A part of a round.
#[derive(Debug, Default)]
struct Piece {
    /// Those in it that are due, in order.
    due: Vec<Arc<str>>,
    /// What is left of the round.
    rest: Option<Round>,
}

impl Round {
    /// Looks at the next candidates, off the worker.
    async fn piece(
        mut self,
        replica: &Arc<Replica>,
        lead: Lead,
        now: Reading,
        config: Config,
    ) -> Result<Piece, Stop> {
        let Lead { term, since } = lead;
        let (view, extended, timeline, is_anchored) = {
            let state = replica.read();
            let last = &state.meta().timeline;
            let next = state.last_zxid().next(term);
            let timeline = last.at(term, since, next).at(term, now, next);
            let is_anchored = last.anchor.is_some_and(|anchor| anchor.term == term);
            let extended = state.rules().extended();
            (state.view(), extended, timeline, is_anchored)
        };
        let unused_ms = config.container_never_used_ms;
        let scan = move || {
            let is_due = |znode: &Znode| {
                let kind = znode.owner.kind(extended);
                is_due(znode, kind, &timeline, unused_ms)
            };
            self.scan(view.as_ref(), is_due, is_anchored)
        };
        match tokio::task::spawn_blocking(scan).await {
            Ok(scanned) => scanned.map_err(Stop::Failed),
            // The runtime is going down.
            Err(_cancelled) => Ok(Piece::default()),
        }
    }

    fn scan(
        &mut self,
        view: &dyn View,
        is_due: impl Fn(&Znode) -> bool,
        is_anchored: bool,
    ) -> Result<Piece, StoreError> {
        let mut due: Vec<Arc<str>> = Vec::new();
        let (mut paths, mut bytes) = (0, 0);
        let mut last: Option<Arc<str>> = None;
        view.reapable(self.after.as_deref(), &mut |path, znode| {
            paths += 1;
            if is_due(znode) {
                bytes += path.len();
                due.push(Arc::from(path));
            } else if !is_anchored && self.waits.is_none() && znode.children == 0 {
                self.waits = Some(Arc::from(path));
            }
            let goes_on = paths < PIECE_PATHS_MAX && bytes < PIECE_BYTES_MAX;
            if !goes_on {
                last = Some(Arc::from(path));
            }
            goes_on
        })?;
        self.has_found |= !due.is_empty();
        self.after = last;
        if self.after.is_some() {
            let rest = Some(std::mem::take(self));
            return Ok(Piece { due, rest });
        }
        // A server that nobody writes to has no batch by which the state could see time pass, and
        // after a start with a clock that was set back none would ever be due. One proposal makes
        // one: it is refused, without a txn, but its reading is what is counted from.
        if !self.has_found {
            due.extend(self.waits.take());
        }
        Ok(Piece { due, rest: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many containers, in order.
    struct Containers(usize);

    fn path(index: usize) -> String {
        format!("/c{index:07}")
    }

    impl View for Containers {
        fn walk(&self, _: &str, _: &mut dyn FnMut(&str, &Znode) -> bool) -> Result<(), StoreError> {
            panic!("it walks through no tree")
        }

        fn reapable(
            &self,
            after: Option<&str>,
            visit: &mut dyn FnMut(&str, &Znode) -> bool,
        ) -> Result<(), StoreError> {
            let from = after.map_or(0, |after| after[2..].parse::<usize>().unwrap() + 1);
            for index in from..self.0 {
                let node = Znode {
                    version: i32::try_from(index).unwrap(),
                    ..Znode::default()
                };
                if !visit(&path(index), &node) {
                    break;
                }
            }
            Ok(())
        }
    }

    /// All pieces of a round in which every so manieth is due.
    fn pieces(count: usize, due_every: i32, is_anchored: bool) -> Vec<Vec<Arc<str>>> {
        let is_due = |node: &Znode| due_every > 0 && node.version % due_every == 0;
        let mut round = Some(Round::default());
        let mut pieces = Vec::new();
        while let Some(mut next) = round {
            let piece = next.scan(&Containers(count), is_due, is_anchored).unwrap();
            pieces.push(piece.due);
            round = piece.rest;
        }
        pieces
    }

    /// I8: however many there are, few are held at once, in order, and none is left out.
    #[test]
    fn a_round_comes_in_pieces() {
        let count = 3 * PIECE_PATHS_MAX;
        for (count, expected) in [(count - 1, 3), (count, 4), (count + 1, 4), (0, 1), (1, 1)] {
            let pieces = pieces(count, 3, false);
            assert_eq!(pieces.len(), expected, "{count}");
            assert!(pieces.iter().all(|due| due.len() <= PIECE_PATHS_MAX));
            let all: Vec<_> = pieces.iter().flatten().map(|path| &**path).collect();
            let due: Vec<_> = (0..count).step_by(3).map(path).collect();
            assert_eq!(all, due, "{count}");
        }
    }

    /// Only if none was due in the whole round, and only if the state has not seen time pass.
    #[test]
    fn one_that_waits_is_asked_for_at_the_end_of_a_round() {
        let count = 2 * PIECE_PATHS_MAX + 1;
        let none = [Vec::new(), Vec::new()];
        let first = Arc::<str>::from(path(0));
        let cases = [(0, false, vec![first]), (0, true, vec![])];
        for (due_every, is_anchored, last) in cases {
            let pieces = pieces(count, due_every, is_anchored);
            assert_eq!((&pieces[..2], &pieces[2]), (&none[..], &last));
        }
        let rare = i32::try_from(count).unwrap();
        assert_eq!(pieces(count, rare, false).concat(), [Arc::from(path(0))]);
    }
}
