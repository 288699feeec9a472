//! Checks the house rules by reading the source tree: which room may use which, where the big
//! crates are named, that every file begins with prose, and how long files are.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from left to right: each may use only rooms to its right.
const ROOMS: [&str; 16] = [
    "main",
    "server",
    "config",
    "net",
    "admin",
    "leader",
    "requests",
    "connection",
    "session",
    "auth",
    "ensemble",
    "storage",
    "watch",
    "state",
    "jute",
    "clock",
];

/// Crates that must stay in their rooms.
const CONFINED: [(&str, &[&str]); 4] = [
    ("openraft::", &["ensemble"]),
    ("rocksdb::", &["storage"]),
    ("tokio::net", &["net", "io"]),
    ("nom::", &["jute", "config"]),
];

/// Longest file in lines, tests not counted.
const LINES_MAX: usize = 600;

struct Source {
    room: String,
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("source directory") {
            let path = entry.expect("source entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let inside = path.strip_prefix(&root).expect("under src");
                let first = inside.components().next().expect("a name");
                let room = first.as_os_str().to_string_lossy().replace(".rs", "");
                let text = fs::read_to_string(&path).expect("source file");
                found.push(Source { room, path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn is_test(source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    path.contains("/tests/") || path.ends_with("tests.rs") || source.room == "tidy"
}

/// The part of a file in front of its tests.
fn code(source: &Source) -> &str {
    match source.text.find("\n#[cfg(test)]\nmod tests {") {
        Some(end) => source.text.get(..end).expect("found there"),
        None => &source.text,
    }
}

fn place(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

#[test]
fn rooms_use_only_rooms_to_their_right() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        let Some(here) = place(&source.room) else {
            continue;
        };
        for (at, _) in code(source).match_indices("crate::") {
            let rest = &source.text[at + "crate::".len()..];
            let used: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if place(&used).is_some_and(|there| there < here) {
                wrong.push(format!("{}: uses {used}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn big_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        for (name, rooms) in CONFINED {
            let named = code(source)
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(name));
            if named && !rooms.contains(&source.room.as_str()) {
                wrong.push(format!("{}: names {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_begins_with_prose() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") {
            wrong.push(source.path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_are_not_too_long() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        let lines = code(source).lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a comment may cite, the page it means, and what a line of that page begins with.
const CITED: [(&str, &str, &str); 3] = [
    ("DESIGN ", "docs/design.md", "#"),
    ("protocol.md ", "docs/protocol.md", "#"),
    ("STYLE I", "docs/style.md", "- I"),
];

/// The numbers that `text` gives behind `word`, such as 4.3.
fn numbers_behind<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(word).filter_map(move |(at, _)| {
        let rest = text.get(at + word.len()..)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('.');
        (!number.is_empty()).then_some(number)
    })
}

/// Sections and invariants that comments cite are in the pages.
#[test]
fn every_section_that_is_cited_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for (word, page, begins) in CITED {
        let text = fs::read_to_string(root.join(page)).expect("a page");
        let lines = text.lines().filter(|line| line.starts_with(begins));
        let there: Vec<&str> = lines
            .map(|line| line.trim_start_matches(['#', '-', ' ', 'I']))
            .filter_map(|line| line.split([' ', ':']).next())
            .map(|number| number.trim_end_matches('.'))
            .collect();
        for source in sources().iter().filter(|source| source.room != "tidy") {
            let comments = source.text.lines();
            for number in comments
                .filter(|line| line.trim_start().starts_with("//"))
                .flat_map(|line| numbers_behind(line, word))
                .filter(|number| !there.contains(number))
            {
                wrong.push(format!("{}: {word}{number}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The names of files in back quotes that `text` gives, such as `tidy.rs` or `src/io/mod.rs`.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.ends_with(".rs") && !name.contains(char::is_whitespace))
}

/// Whoever follows a reference from a comment or a page arrives.
#[test]
fn every_file_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources();
    let is_there = |name: &str| {
        let within = Path::new("src").join(name);
        root.join(name).is_file()
            || sources.iter().any(|source| source.path.ends_with(&within))
            || sources.iter().any(|source| source.path.ends_with(name))
    };
    let mut wrong = Vec::new();
    for source in &sources {
        let comments = source
            .text
            .lines()
            .filter(|line| line.trim_start().starts_with("//"));
        for name in comments
            .flat_map(named_files)
            .filter(|name| !is_there(name))
        {
            wrong.push(format!("{}: {name}", source.path.display()));
        }
    }
    let pages = [
        "ARCHITECTURE.md",
        "README.md",
        "CONTRIBUTING.md",
        "docs/performance.md",
    ];
    for page in pages {
        let text = fs::read_to_string(root.join(page)).expect("a page");
        for name in named_files(&text).filter(|name| !is_there(name)) {
            wrong.push(format!("{page}: {name}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
