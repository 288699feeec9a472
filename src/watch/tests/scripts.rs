//! Golden scripts: one behaviour per file of `scripts/`.
//!
//! `UPDATE_GOLDENFILES=1` writes them again. A line of a notice says the watcher, what happened,
//! where, and whose ACL filters it.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{Command, Context, Runner};

use super::*;

struct Script {
    table: WatchTable,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut next = || args.next_pos().ok_or("argument missing");
        let mut output = String::new();
        match command.name.as_str() {
            // add WATCHER PATH data|child|persistent|recursive
            "add" => {
                let watcher = WatcherId(next()?.parse()?);
                let path = next()?;
                let registration = match next()? {
                    "data" => Registration::Data,
                    "child" => Registration::Child,
                    "persistent" => Registration::Persistent,
                    "recursive" => Registration::PersistentRecursive,
                    other => return Err(format!("no registration {other}").into()),
                };
                self.table.add(path, watcher, registration);
            }
            // remove WATCHER PATH 1..5, contains WATCHER PATH 1..5
            name @ ("remove" | "contains") => {
                let watcher = WatcherId(next()?.parse()?);
                let path = next()?;
                let kind = RemoveKind::try_from(next()?.parse::<i32>()?)?;
                let found = match name {
                    "remove" => self.table.remove(path, watcher, kind),
                    _ => self.table.contains(path, watcher, kind),
                };
                writeln!(output, "{found}")?;
            }
            "drop" => self.table.drop_watcher(WatcherId(next()?.parse()?)),
            "create" => output = told(&mut self.table, &created(next()?)).join("\n"),
            "delete" => output = told(&mut self.table, &deleted(next()?)).join("\n"),
            "set" => output = told(&mut self.table, &data_changed(next()?)).join("\n"),
            "count" => writeln!(output, "{}", self.table.watch_count())?,
            "wchs" => {
                let Summary {
                    connections,
                    paths,
                    watches,
                } = self.table.summary();
                writeln!(
                    output,
                    "connections={connections} paths={paths} watches={watches}"
                )?;
            }
            "wchc" => {
                for (watcher, paths) in self.table.by_watcher() {
                    writeln!(output, "{} {}", watcher.0, paths.join(" "))?;
                }
            }
            "wchp" => {
                for (path, watchers) in self.table.by_path() {
                    let watchers: Vec<_> = watchers.iter().map(|id| id.0.to_string()).collect();
                    writeln!(output, "{path} {}", watchers.join(" "))?;
                }
            }
            name => return Err(format!("no command {name}").into()),
        }
        args.reject_next()?;
        Ok(output)
    }
}

#[test]
fn golden_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/watch/scripts");
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        goldenscript::run(
            &mut Script {
                table: WatchTable::new(),
            },
            &file,
        )
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
