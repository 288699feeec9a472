//! Throughput over sessions: getData and create, 16 requests in flight each.

use std::time::Duration;

use anyhow::{Context, Result};
use compat_tests::suite::say;

use super::{Point, Request, Series};
use crate::contestant::Contestant;
use crate::measure::{Measure, RATE};
use crate::scenario::{self, Scale};

/// The sweep's name.
pub const NAME: &str = "sweep-sessions";
/// What a curve of reads is called.
pub const GET: &str = "get";
/// What a curve of writes is called.
pub const CREATE: &str = "create";

const SESSIONS: [usize; 7] = [1, 3, 10, 30, 100, 300, 1000];
const DEPTH: usize = 16;
const WARM_UP: Duration = Duration::from_secs(10);
type Run = fn(&mut Contestant, &Scale, usize, usize) -> Result<Measure>;
const OPERATIONS: [(&str, Run); 2] = [(GET, scenario::get), (CREATE, scenario::create)];

/// Runs it: both servers side by side, taking turns at each point.
///
/// # Errors
/// A server fails.
pub fn run(request: &Request) -> Result<Vec<Series>> {
    let sessions = &SESSIONS[..if request.quick { 5 } else { SESSIONS.len() }];
    let seconds = request
        .seconds
        .unwrap_or(if request.quick { 0.4 } else { 3.0 });
    let scale = Scale {
        time: Duration::from_secs_f64(seconds),
        ..Scale::default()
    };
    let mut contestants = Vec::new();
    for &kind in &request.kinds {
        let mut contestant = Contestant::start(kind)?;
        say(format_args!("{NAME}: {kind} is warming up"));
        contestant.warm_up(WARM_UP.min(scale.time * 4))?;
        contestants.push(contestant);
    }
    let mut all = Vec::new();
    for (what, operation) in OPERATIONS {
        let mut curves: Vec<Series> = request
            .kinds
            .iter()
            .map(|&kind| Series::new(kind, what))
            .collect();
        for &count in sessions {
            let mut measures = vec![Vec::new(); contestants.len()];
            for round in 0..request.rounds {
                for turn in 0..contestants.len() {
                    let turn = (turn + round) % contestants.len();
                    let at = &mut contestants[turn];
                    let measure = operation(at, &scale, count, DEPTH)
                        .with_context(|| format!("{what}, {count} sessions, {}", at.kind()))?;
                    say(format_args!(
                        "{NAME}: {what:<6} {count:>4} sessions, {:<9} {:>8.0}/s",
                        at.kind(),
                        measure.figure(RATE).unwrap_or(0.0)
                    ));
                    measures[turn].push(measure);
                }
            }
            for (curve, measures) in curves.iter_mut().zip(measures) {
                curve.points.push(Point {
                    at: count as f64,
                    measures,
                });
            }
        }
        all.extend(curves);
    }
    Ok(all)
}
