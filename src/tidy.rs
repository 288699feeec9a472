//! Checks the house rules by reading the source tree: which room may use which, where the big
//! crates are named, that every file begins with prose, how long files are, that references arrive,
//! and that each invariant is described, named where it is kept, and named by a test.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from left to right: each may use only rooms to its right.
const ROOMS: [&str; 15] = [
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
];

/// What all but [`PURE`] may use, from left to right: each may use only those to its right.
const LEAVES: [&str; 6] = ["io", "telemetry", "metrics", "system", "clock", PLANTED];

/// Defects that tests plant: a constant in the server that ships.
const PLANTED: &str = "planted";

/// Rooms that know no clock, socket or metric.
const PURE: [&str; 3] = ["watch", "state", "jute"];

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

/// The same without its comments.
fn statements(source: &Source) -> String {
    let lines = code(source).lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Whether a part of the house may use another one. Within a room nothing is checked here.
fn may_use(here: &str, used: &str) -> bool {
    let place = |list: &[&str], name: &str| list.iter().position(|known| *known == name);
    let (room, leaf) = (place(&ROOMS, here), place(&LEAVES, here));
    match (place(&ROOMS, used), place(&LEAVES, used)) {
        (Some(there), _) => leaf.is_none() && room.is_none_or(|here| here <= there),
        // What tests plant is open to all, also to rooms that know nothing of the world.
        (_, Some(_)) if used == PLANTED => true,
        (_, Some(there)) => !PURE.contains(&here) && leaf.is_none_or(|here| here <= there),
        // Something that a room has at its door is used from within only.
        (None, None) => room.is_none() && leaf.is_none(),
    }
}

/// What is used behind each `crate::` of `text`, also where some are named together in braces.
fn used_parts(text: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text.get(..end.unwrap_or(text.len()))
            .unwrap_or_default()
            .to_owned()
    };
    let mut used = Vec::new();
    for (at, path) in text.match_indices("crate::") {
        let rest = text.get(at + path.len()..).unwrap_or_default();
        let Some(group) = rest.strip_prefix('{') else {
            used.push(name(rest));
            continue;
        };
        used.push(name(group));
        let mut depth = 0_usize;
        for (at, mark) in group.match_indices(['{', '}', ',']) {
            match mark {
                "{" => depth += 1,
                "}" if depth == 0 => break,
                "}" => depth -= 1,
                _ if depth > 0 => {}
                _ => used.push(name(group.get(at + 1..).unwrap_or_default())),
            }
        }
    }
    used.retain(|name| !name.is_empty());
    used
}

#[test]
fn imports_are_read_in_every_form() {
    let text = "use crate::state::{Store, Txn};\nuse crate::{\n    clock,\n    io::{SocketWriter, \
                tcp::{self}}, storage,\n};\nlet x = crate::metrics::told();";
    let expected = ["state", "clock", "io", "storage", "metrics"];
    assert_eq!(used_parts(text), expected);
    assert!(may_use("net", "state") && !may_use("state", "net"));
    assert!(may_use("net", "clock") && !may_use("state", "clock"));
    assert!(!may_use("clock", "state") && !may_use("clock", "io") && may_use("io", "metrics"));
    assert!(!may_use("net", "something"));
}

/// How many `super` a file may say at most: more lead out of its room, past its place in the order.
fn supers_max(source: &Source) -> usize {
    let path = source.path.to_string_lossy().replace('\\', "/");
    let inside = path
        .rsplit_once("/src/")
        .map_or(&*path, |(_, inside)| inside);
    let parts = inside.split('/').count();
    // The module of `mod.rs` is its directory.
    let depth = if inside.ends_with("/mod.rs") {
        parts - 1
    } else {
        parts
    };
    depth - 1
}

#[test]
fn rooms_use_only_rooms_to_their_right() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        let statements = statements(source);
        for used in used_parts(&statements) {
            if !may_use(&source.room, &used) {
                wrong.push(format!("{}: uses {used}", source.path.display()));
            }
        }
        let too_many = "super::".repeat(supers_max(source) + 1);
        if statements.contains(&too_many) {
            wrong.push(format!(
                "{}: leaves its room by super",
                source.path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn big_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        for (name, rooms) in CONFINED {
            let named = statements(source).contains(name);
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
const CITED: [(&str, &str, &str); 4] = [
    ("formats.md ", "docs/formats.md", "#"),
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
        "docs/formats.md",
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

/// How many invariants the house has.
const INVARIANTS: usize = 10;

/// Whether `text` says `name` as a word of its own.
fn says(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|it| it.chars().next_back());
        let behind = text.get(at + name.len()..).and_then(|it| it.chars().next());
        let is_apart = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        is_apart(before) && is_apart(behind)
    })
}

/// The comments of `text`.
fn comments(text: &str) -> String {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Each invariant is described in both pages, said where the code keeps it, and said by a test that
/// would fail without it.
#[test]
fn every_invariant_is_described_kept_and_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut kept, mut tested) = (String::new(), String::new());
    for source in &sources() {
        if is_test(source) {
            tested += &comments(&source.text);
        } else {
            kept += &comments(code(source));
            tested += &comments(source.text.get(code(source).len()..).unwrap_or_default());
        }
    }
    let mut wrong = Vec::new();
    for name in (1..=INVARIANTS).map(|number| format!("I{number}")) {
        for page in ["ARCHITECTURE.md", "docs/style.md"] {
            let text = fs::read_to_string(root.join(page)).expect("a page");
            let begins = format!("- {name}");
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(&begins));
            if !lines.any(|rest| rest.starts_with([' ', '.'])) {
                wrong.push(format!("{name} is not described in {page}"));
            }
        }
        if !says(&kept, &name) {
            wrong.push(format!("{name} is not said where it is kept"));
        }
        if !says(&tested, &name) {
            wrong.push(format!("{name} is not said by a test"));
        }
    }
    let next = format!("I{}", INVARIANTS + 1);
    if says(&kept, &next) {
        wrong.push(format!("{next} is new: describe and count it"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// I2: nobody judges and makes txns but apply, and the first znodes, which are the same everywhere.
#[test]
fn only_apply_judges() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        let statements = statements(source);
        let ends_with = |path: &str| source.path.ends_with(path);
        let may_judge = ends_with("state/apply.rs");
        let may_make = may_judge || ends_with("state/judge/genesis.rs");
        for (made, may) in [("Judge {", may_judge), ("Txn {", may_make)] {
            // Not where it is declared or given methods.
            let is_made = statements.lines().any(|line| {
                let is_item = ["struct ", "impl", "fn "]
                    .iter()
                    .any(|word| line.contains(word));
                says(line, made.trim_end_matches(" {")) && line.contains(made) && !is_item
            });
            if is_made && !may {
                wrong.push(format!("{}: makes a {made}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// I7: whether there is one server or several is known to the settings, to what is reported, and to
/// the root that hands it from the one to the other.
#[test]
fn standalone_is_a_word_of_settings_and_reports() {
    let knows = ["main", "server", "config", "admin"];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(source)) {
        let says_it = statements(source).to_lowercase().contains("standalone");
        if says_it && !knows.contains(&source.room.as_str()) {
            wrong.push(source.path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whoever changes a format is reminded of its page.
#[test]
fn the_page_of_formats_is_of_the_newest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/formats.md")).expect("a page");
    let format = crate::storage::Format::NEWEST.number();
    let batch = crate::state::BatchBuilder::default().finish().freeze();
    let batch = batch.first().expect("its version");
    let says = format!("describes format {format} and batches of version {batch}.");
    assert!(text.contains(&says), "docs/formats.md does not say: {says}");
}
