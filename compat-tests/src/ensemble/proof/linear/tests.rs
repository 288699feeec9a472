//! Histories of one register, right and wrong, as lines: `FROM-TO WHAT`, where TO may be missing.
//!
//! `w PAYLOAD VERSION`: written, made this version (`?`: not told); `c EXPECTED PAYLOAD VERSION`: the
//! same with an expected version; `f EXPECTED`: refused; `r PAYLOAD VERSION`: read.

use super::*;

fn span(line: &str) -> Span {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (from, to) = words[0].split_once('-').expect("FROM-TO");
    let number = |word: &str| word.parse().expect("a number");
    let made = |word: &str| (word != "?").then(|| number(word));
    let action = match words[1..] {
        ["w", data, version] => Action::Write {
            parts: vec![(data.into(), ANY)],
            made: made(version),
        },
        ["c", expected, data, version] => Action::Write {
            parts: vec![(data.into(), number(expected))],
            made: made(version),
        },
        ["f", expected] => Action::Refused {
            expected: number(expected),
        },
        ["r", data, version] => Action::Read {
            data: data.into(),
            version: number(version),
        },
        _ => panic!("{line}"),
    };
    Span {
        from: from.parse().expect("a time"),
        to: (!to.is_empty()).then(|| to.parse().expect("a time")),
        action,
    }
}

fn judged(lines: &[&str]) -> Result<(), String> {
    let spans: Vec<Span> = lines.iter().map(|line| span(line)).collect();
    linearizable(&spans, "first")
}

#[track_caller]
fn right(lines: &[&str]) {
    assert_eq!(judged(lines), Ok(()));
}

#[track_caller]
fn wrong(lines: &[&str], at: &str) {
    let why = judged(lines).expect_err("it is not linearizable");
    assert!(why.contains(at), "{why}");
}

#[test]
fn what_some_order_explains_is_right() {
    right(&[]);
    right(&["0-1 r first 0"]);
    right(&[
        "0-1 w a 1",
        "2-3 r a 1",
        "4-5 c 1 b 2",
        "6-7 r b 2",
        "8-9 f 1",
    ]);
    // Concurrent: either order will do.
    right(&["0-9 w a 1", "1-2 r first 0", "3-4 r a 1"]);
    right(&["0-9 w a 2", "0-9 w b 1", "0-9 r b 1", "0-9 r first 0"]);
    // A read that begins before a write's return may be older than it.
    right(&["0-5 w a 1", "4-9 r first 0"]);
    right(&["0-9 f 1", "1-2 w a 1", "3-4 w b 2"]);
}

#[test]
fn calls_that_nobody_was_told_of_may_be_done_late_or_never() {
    right(&["0- w a ?", "1-2 r first 0", "3-4 r a 1"]);
    right(&["0- w a ?", "1-2 r first 0", "9-10 w b 1"]);
    right(&[
        "0- w a ?",
        "1-2 w b 1",
        "3-4 r b 1",
        "5-6 r a 2",
        "7-8 w c 3",
    ]);
    right(&["0- w a ?", "0- w b ?", "0- w c ?", "1-2 w d 3", "3-4 r d 3"]);
    right(&["0- c 1 a ?", "1-2 w b 1", "3-4 w c 3"]);
}

#[test]
fn stale_reads_are_found() {
    wrong(&["0-1 w a 1", "2-3 r first 0"], "first");
    wrong(&["0-1 w a 1", "2-3 w b 2", "4-5 r a 1"], "Read");
    // Once somebody has seen it, everybody does.
    wrong(&["0-20 w a 1", "1-2 r a 1", "3-4 r first 0"], "first");
    wrong(&["0- w a ?", "1-2 r a 1", "3-4 r first 0"], "first");
}

#[test]
fn lost_and_doubled_writes_are_found() {
    wrong(&["0-1 w a 1", "2-3 w b 1"], "Write");
    wrong(&["0-1 c 0 a 1", "2-3 c 0 b 1"], "Write");
    wrong(&["0-1 w a 1", "2-3 w b 3"], "Write");
    wrong(&["0-1 w a 1", "2-3 r a 2"], "Read");
    // One open call explains one version.
    wrong(&["0- w a ?", "1-2 w b 1", "3-4 w c 4"], "Write");
    wrong(&["0- w a ?", "1-2 r a 1", "3-4 w b 2", "5-6 r a 3"], "Read");
}

#[test]
fn writes_from_the_future_and_of_nobody_are_found() {
    wrong(&["0-1 r a 1", "2-3 w a 1"], "Read");
    wrong(&["0-1 r a 1"], "Read");
    wrong(&["0-1 r a 0"], "Read");
    wrong(&["0-1 w a 1", "2-3 r b 1"], "Read");
}

#[test]
fn refusals_without_reason_are_found() {
    wrong(&["0-1 f 0"], "Refused");
    wrong(&["0-1 w a 1", "2-3 f 1"], "Refused");
    wrong(&["0-1 w a 1", "2-3 c 0 b 2"], "Write");
}

#[test]
fn many_open_calls_do_not_make_the_search_large() {
    let mut lines: Vec<String> = (0..200).map(|it| format!("0- w open{it} ?")).collect();
    for it in 0..100 {
        let (from, version) = (10 + 10 * it, 2 * (it + 1));
        lines.push(format!("{from}-{} w told{it} {version}", from + 5));
        lines.push(format!("{}-{} r told{it} {version}", from + 6, from + 7));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    right(&lines);
}
