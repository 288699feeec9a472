//! The table of docs/performance.md: a line per line of targets, several figures to a line.
//!
//! Ratios only: the genuine server's figure over ours (for a rate ours over theirs), the median of the
//! alternations, then the least and the greatest. Below, what a write costs on disk.

use std::fmt::Write as _;

use crate::measure::{CPU, MEMORY, P50, P99, RATE, SYNCS, TIME, WRITTEN};
use crate::table::{self, Pairs};

/// A line: what it says, the figures (scenario, figure), and what stands between them.
struct Line {
    what: &'static str,
    figures: &'static [(&'static str, &'static str)],
    between: &'static str,
}

const LINES: [Line; 13] = [
    Line {
        what: "server CPU per get, 64 x 16 / 64 x 1 / 1 x 1",
        figures: &[("get-64x16", CPU), ("get-64x1", CPU), ("get-1x1", CPU)],
        between: " / ",
    },
    Line {
        what: "server CPU per create, 64 x 16 / 64 x 1 / 1 x 1",
        figures: &[
            ("create-64x16", CPU),
            ("create-64x1", CPU),
            ("create-1x1", CPU),
        ],
        between: " / ",
    },
    Line {
        what: "server CPU, mixed 50/50 64 x 16; multi of 10, 16 x 4",
        figures: &[("mixed-64x16", CPU), ("multi-16x4", CPU)],
        between: "; ",
    },
    Line {
        what: "server CPU per watch event to 1,000 watchers, one-shot; persistent",
        figures: &[("watch-one-shot", CPU), ("watch-persistent", CPU)],
        between: "; ",
    },
    Line {
        what: "session opened and closed, CPU; idle session's ping, CPU",
        figures: &[("session", CPU), ("ping", CPU)],
        between: "; ",
    },
    Line {
        what: "throughput create 64 x 16; 64 x 1",
        figures: &[("create-64x16", RATE), ("create-64x1", RATE)],
        between: "; ",
    },
    Line {
        what: "throughput get 64 x 16; 64 x 1",
        figures: &[("get-64x16", RATE), ("get-64x1", RATE)],
        between: "; ",
    },
    Line {
        what: "p50 of a lone durable write; of a lone read",
        figures: &[("create-1x1", P50), ("get-1x1", P50)],
        between: "; ",
    },
    Line {
        what: "p99 at 5,000 requests/s open loop, 90 % reads",
        figures: &[("open-loop", P99)],
        between: "",
    },
    Line {
        what: "resident memory with 1 million znodes of 100 bytes, in use",
        figures: &[("big-tree", MEMORY)],
        between: "",
    },
    Line {
        what: "restart until the last of 1 million znodes reads",
        figures: &[("big-tree", TIME)],
        between: "",
    },
    Line {
        what: "memory of an idle session",
        figures: &[("idle-session", MEMORY)],
        between: "",
    },
    Line {
        what: "disk written per pipelined create",
        figures: &[("create-64x16", WRITTEN)],
        between: "",
    },
];

/// The table and what stands below it, in Markdown.
pub fn print(results: &[Pairs]) -> String {
    let mut text = String::from(
        "| what | reach | aim | ours, median | min..max |\n\
         |---|---|---|---|---|\n",
    );
    for line in &LINES {
        let cells = |cell: &dyn Fn(&str, &str) -> String| {
            let cells: Vec<String> = line
                .figures
                .iter()
                .map(|(scenario, figure)| cell(scenario, figure))
                .collect();
            cells.join(line.between)
        };
        let target = |of: fn((f64, f64)) -> f64| {
            cells(&|scenario, figure| {
                table::target(scenario, figure).map_or_else(dash, |both| of(both).to_string())
            })
        };
        let spread = |scenario: &str, figure: &str| {
            let pairs = results.iter().find(|pairs| pairs.scenario == scenario)?;
            table::spread(table::ratios(pairs, figure))
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            line.what,
            target(|(reach, _)| reach),
            target(|(_, aim)| aim),
            cells(&|scenario, figure| {
                spread(scenario, figure).map_or_else(dash, |(middle, ..)| short(middle))
            }),
            cells(&|scenario, figure| {
                spread(scenario, figure).map_or_else(dash, |(_, least, most)| {
                    format!("{}..{}", short(least), short(most))
                })
            }),
        )
        .expect("a String takes all");
    }
    text.push_str(
        "\nHow many times less ours takes (for throughput: how many times more it does); \
         100-byte values, fsync on in both, -Xmx4g",
    );
    text.push_str(&note(results));
    text + &costs(results)
}

fn dash() -> String {
    "-".to_owned()
}

fn short(ratio: f64) -> String {
    if ratio >= 9.995 {
        format!("{ratio:.1}")
    } else {
        format!("{ratio:.2}")
    }
}

/// What the ratios come from.
fn note(results: &[Pairs]) -> String {
    let least = results
        .iter()
        .map(|pairs| pairs.oxkeeper.len().min(pairs.zookeeper.len()))
        .min();
    let mut text = format!(", {} alternations.\n", least.unwrap_or(0));
    if results.iter().any(|pairs| pairs.quick) {
        text.push_str("These are figures of a --quick run: not to be quoted.\n");
    }
    text
}

/// Bytes and syncs of a write, and what they are ratios of.
fn costs(results: &[Pairs]) -> String {
    let mut text = String::from(
        "\n| per operation | bytes written: ours | ZooKeeper's | syncs: ours | ZooKeeper's |\n\
         |---|---|---|---|---|\n",
    );
    for (what, scenario) in [
        ("create, 64 x 16", "create-64x16"),
        ("create, 64 x 1", "create-64x1"),
        ("create, 1 x 1", "create-1x1"),
        ("50/50 setData and getData, 64 x 16", "mixed-64x16"),
        ("multi of 10 creates, 16 x 4", "multi-16x4"),
    ] {
        let Some(pairs) = results.iter().find(|pairs| pairs.scenario == scenario) else {
            continue;
        };
        let middle = |measures, figure, digits| {
            table::spread(table::values(measures, figure))
                .map_or_else(dash, |(middle, ..)| format!("{middle:.digits$}"))
        };
        writeln!(
            text,
            "| {what} | {} | {} | {} | {} |",
            middle(&pairs.oxkeeper, WRITTEN, 0),
            middle(&pairs.zookeeper, WRITTEN, 0),
            middle(&pairs.oxkeeper, SYNCS, 4),
            middle(&pairs.zookeeper, SYNCS, 4),
        )
        .expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measure;

    #[test]
    fn every_target_stands_in_one_line() {
        for (scenario, figure) in table::targets() {
            let lines = LINES
                .iter()
                .filter(|line| line.figures.contains(&(scenario, figure)));
            assert_eq!(lines.count(), 1, "{scenario} {figure}");
        }
    }

    #[test]
    fn a_line_holds_the_medians_of_all_its_figures() {
        let pairs = |scenario: &str, theirs: f64| {
            let measures = |values: [f64; 3]| {
                let measure = |value| {
                    let mut measure = Measure::default();
                    measure.set(CPU, value);
                    measure
                };
                values.map(measure).to_vec()
            };
            Pairs {
                scenario: scenario.to_owned(),
                oxkeeper: measures([1.0, 1.0, 2.0]),
                zookeeper: measures([theirs; 3]),
                quick: false,
            }
        };
        let text = print(&[pairs("get-64x16", 20.0), pairs("get-1x1", 6.0)]);
        let line = "| server CPU per get, 64 x 16 / 64 x 1 / 1 x 1 | 8 / 4 / 6 | 15 / 6 / 10 \
                    | 20.0 / - / 6.00 | 10.0..20.0 / - / 3.00..6.00 |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("3 alternations.\n"), "{text}");
    }
}
