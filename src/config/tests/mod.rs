//! The configuration as an operator meets it: whole files, command lines and environments in, values,
//! errors and warnings out.

mod every_key;
mod members;
mod mistakes;
mod safety;
mod sources;
mod values;

use std::fs;

use tempfile::TempDir;

use super::*;

/// A directory with a zoo.cfg, and what surrounds it.
pub(super) struct World {
    pub(super) dir: TempDir,
    words: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl World {
    /// `{dir}` in `text` stands for the directory.
    pub(super) fn new(text: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let world = World {
            dir,
            words: vec!["{dir}/zoo.cfg".to_owned()],
            env: Vec::new(),
        };
        world.file("zoo.cfg", text)
    }

    pub(super) fn file(self, name: &str, text: &str) -> World {
        fs::write(self.dir.path().join(name), self.fill(text)).unwrap();
        self
    }

    pub(super) fn word(mut self, word: &str) -> World {
        self.words.push(word.to_owned());
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: &str) -> World {
        self.env.push((name, value.to_owned()));
        self
    }

    pub(super) fn fill(&self, text: &str) -> String {
        text.replace("{dir}", &self.dir.path().display().to_string())
    }

    pub(super) fn load(&self) -> Result<Loaded, Rejection> {
        let args: Vec<OsString> = self
            .words
            .iter()
            .map(|word| OsString::from(self.fill(word)))
            .collect();
        let env = |name: &str| {
            self.env
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| value.clone())
        };
        load(args.into_iter(), &env)
    }

    pub(super) fn run(&self) -> (Settings, Vec<String>) {
        let loaded = self.load().unwrap_or_else(|failure| panic!("{failure}"));
        let Action::Run(settings) = loaded.action else {
            panic!("{:?}", loaded.action)
        };
        (
            *settings,
            self.relative(loaded.warnings.iter().map(ToString::to_string)),
        )
    }

    pub(super) fn fail(&self) -> Vec<String> {
        match self.load() {
            Err(Rejection::Invalid { errors, .. }) => {
                self.relative(errors.iter().map(ToString::to_string))
            }
            other => panic!("{other:?}"),
        }
    }

    fn relative(&self, lines: impl Iterator<Item = String>) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        lines.map(|line| line.replace(&dir, "")).collect()
    }
}

const BASE: &str = "dataDir={dir}\nclientPort=2181\n";

/// The settings and warnings of a good file with these lines added to [`BASE`].
fn good(lines: &str) -> (Settings, Vec<String>) {
    World::new(&format!("{BASE}{lines}")).run()
}

/// The errors of a bad one; its first added line is 3.
fn bad(lines: &str) -> Vec<String> {
    World::new(&format!("{BASE}{lines}")).fail()
}

/// The settings of [`BASE`] alone, with the directories of `other`.
fn rebased(other: &Settings) -> Settings {
    let mut settings = good("").0;
    settings
        .storage
        .data_dir
        .clone_from(&other.storage.data_dir);
    settings.storage.log_dir.clone_from(&other.storage.log_dir);
    settings
        .admin
        .conf
        .data_dir
        .clone_from(&other.admin.conf.data_dir);
    settings
        .admin
        .conf
        .log_dir
        .clone_from(&other.admin.conf.log_dir);
    settings
}
