//! The table: a row per target, with the ratio of the two servers' figures.

use std::fmt::Write as _;

use crate::measure::{CPU, MEMORY, Measure, P50, P99, RATE, TIME, WRITTEN};

/// Both servers' figures of one scenario, an entry per alternation.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Pairs {
    /// The scenario.
    pub scenario: String,
    /// Ours.
    pub oxkeeper: Vec<Measure>,
    /// The genuine one's.
    pub zookeeper: Vec<Measure>,
    /// Whether they are of a `--quick` run.
    #[serde(default)]
    pub quick: bool,
}

/// A target: which figure of which scenario, and the ratios wanted.
#[derive(Clone, Copy, Debug)]
struct Row {
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    reach: f64,
    aim: f64,
}

const fn row(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    reach: f64,
    aim: f64,
) -> Row {
    Row {
        what,
        scenario,
        figure,
        reach,
        aim,
    }
}

/// In the order in which they are printed.
const ROWS: [Row; 24] = [
    row("CPU per get, 64 x 16", "get-64x16", CPU, 8.0, 15.0),
    row("CPU per get, 64 x 1", "get-64x1", CPU, 4.0, 6.0),
    row("CPU per get, 1 x 1", "get-1x1", CPU, 6.0, 10.0),
    row("CPU per create, 64 x 16", "create-64x16", CPU, 5.0, 8.0),
    row("CPU per create, 64 x 1", "create-64x1", CPU, 3.0, 4.0),
    row("CPU per create, 1 x 1", "create-1x1", CPU, 1.8, 2.5),
    row("CPU, mixed 50/50, 64 x 16", "mixed-64x16", CPU, 5.0, 8.0),
    row("CPU, multi of 10, 16 x 4", "multi-16x4", CPU, 5.0, 8.0),
    row("CPU per event, one-shot", "watch-one-shot", CPU, 3.0, 4.5),
    row(
        "CPU per event, persistent",
        "watch-persistent",
        CPU,
        3.0,
        5.0,
    ),
    row("CPU, session open + close", "session", CPU, 3.0, 4.5),
    row("CPU, idle session's ping", "ping", CPU, 5.0, 10.0),
    row("creates/s, 64 x 16", "create-64x16", RATE, 4.0, 7.0),
    row("creates/s, 64 x 1", "create-64x1", RATE, 1.8, 2.5),
    row("gets/s, 64 x 16", "get-64x16", RATE, 8.0, 12.0),
    row("gets/s, 64 x 1", "get-64x1", RATE, 2.0, 2.8),
    row("p50, lone durable write", "create-1x1", P50, 1.4, 1.8),
    row("p50, lone read", "get-1x1", P50, 5.0, 10.0),
    row("p99, open loop 5,000/s", "open-loop", P99, 4.0, 7.0),
    row("memory, big tree in use", "big-tree", MEMORY, 7.0, 9.0),
    row("restart to last znode", "big-tree", TIME, 6.0, 10.0),
    row("memory, idle session", "idle-session", MEMORY, 4.0, 8.0),
    row(
        "disk per create, 64 x 16",
        "create-64x16",
        WRITTEN,
        2.0,
        2.5,
    ),
    row("disk per create, 1 x 1", "create-1x1", WRITTEN, 0.0, 0.0),
];

/// Middle, least and greatest of some numbers; `None` when there are none.
pub(crate) fn spread(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    let (first, last) = (*values.first()?, *values.last()?);
    let high = values[values.len() / 2];
    let low = values[(values.len() - 1) / 2];
    Some((f64::midpoint(low, high), first, last))
}

/// A figure of each round.
pub(crate) fn values(measures: &[Measure], figure: &str) -> Vec<f64> {
    measures
        .iter()
        .filter_map(|measure| measure.figure(figure))
        .collect()
}

/// How many times better ours is, per alternation: for a rate ours over theirs, for a cost theirs
/// over ours.
pub(crate) fn ratios(pairs: &Pairs, figure: &str) -> Vec<f64> {
    values(&pairs.oxkeeper, figure)
        .into_iter()
        .zip(values(&pairs.zookeeper, figure))
        .filter(|(ours, theirs)| *ours > 0.0 && *theirs > 0.0)
        .map(|(ours, theirs)| {
            if figure == RATE {
                ours / theirs
            } else {
                theirs / ours
            }
        })
        .collect()
}

/// What is to be reached, and what aimed at; `None` where nothing is.
pub(crate) fn target(scenario: &str, figure: &str) -> Option<(f64, f64)> {
    ROWS.iter()
        .find(|row| row.scenario == scenario && row.figure == figure && row.reach > 0.0)
        .map(|row| (row.reach, row.aim))
}

/// Scenario and figure of every target.
#[cfg(test)]
pub(crate) fn targets() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.iter()
        .filter(|row| row.reach > 0.0)
        .map(|row| (row.scenario, row.figure))
}

/// The whole table as text (also valid Markdown).
pub fn print(results: &[Pairs]) -> String {
    let mut text = String::from(
        "| what                       |   oxkeeper |  zookeeper | times better (min to max) | reach |  aim |   |\n\
         |----------------------------|-----------:|-----------:|--------------------------:|------:|-----:|---|\n",
    );
    for row in ROWS {
        let Some(pairs) = results.iter().find(|pairs| pairs.scenario == row.scenario) else {
            continue;
        };
        let middle = |measures| {
            spread(values(measures, row.figure))
                .map_or_else(|| "-".to_owned(), |(middle, ..)| human(middle, row.figure))
        };
        let (ratio, verdict) = match spread(ratios(pairs, row.figure)) {
            Some((middle, least, most)) => (
                format!("{middle:.2} ({least:.2} to {most:.2})"),
                match middle {
                    _ if row.reach == 0.0 => " ",
                    good if good >= row.aim => "+",
                    good if good >= row.reach => "=",
                    _ => "-",
                },
            ),
            None => ("-".to_owned(), " "),
        };
        let target = |value: f64| {
            if value == 0.0 {
                String::new()
            } else {
                value.to_string()
            }
        };
        writeln!(
            text,
            "| {:<26} | {:>10} | {:>10} | {ratio:>25} | {:>5} | {:>4} | {verdict} |",
            row.what,
            middle(&pairs.oxkeeper),
            middle(&pairs.zookeeper),
            target(row.reach),
            target(row.aim),
        )
        .expect("a String takes all");
    }
    text.push_str("\n+ aim met, = target reached, - missed. 100-byte values; fsync on in both.\n");
    text
}

fn human(value: f64, figure: &str) -> String {
    match figure {
        RATE => format!("{value:.0}/s"),
        MEMORY if value >= 1e6 => format!("{:.0} MB", value / 1e6),
        MEMORY | WRITTEN => format!("{value:.0} B"),
        TIME => format!("{value:.0} ms"),
        _ => format!("{value:.2} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn measures(figure: &str, values: &[f64]) -> Vec<Measure> {
        values
            .iter()
            .map(|value| {
                let mut measure = Measure::default();
                measure.set(figure, *value);
                measure
            })
            .collect()
    }

    #[test]
    fn better_is_above_one_for_costs_and_for_rates() {
        let pairs = |figure| Pairs {
            scenario: String::new(),
            oxkeeper: measures(figure, &[2.0, 4.0]),
            zookeeper: measures(figure, &[8.0, 8.0]),
            quick: false,
        };
        assert_eq!(ratios(&pairs(CPU), CPU), [4.0, 2.0]);
        assert_eq!(ratios(&pairs(RATE), RATE), [0.25, 0.5]);
    }

    #[test]
    fn spread_is_middle_least_greatest() {
        assert_eq!(spread(vec![]), None);
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(vec![4.0, 1.0]), Some((2.5, 1.0, 4.0)));
    }

    #[test]
    fn every_row_has_its_scenario() {
        for row in ROWS {
            assert!(
                SCENARIOS
                    .iter()
                    .any(|scenario| scenario.name == row.scenario),
                "{}",
                row.what
            );
        }
    }
}
