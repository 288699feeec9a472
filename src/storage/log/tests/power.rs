//! Power failures: what was synced is kept, and of the rest what the disk likes. And syncs that
//! fail, after which the system calls clean what never reached the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::super::disk::Disk;
use super::*;

const SECTOR: usize = 512;

/// The files as the system shows them lie in a directory; here is what the disk has of them.
#[derive(Debug)]
pub(super) struct PowerDisk {
    inner: Mutex<Inner>,
    /// How many changes have been acknowledged, for [`Cut::acknowledged`].
    acknowledged: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    dir: PathBuf,
    /// By number; a file that is made anew gets a new one.
    files: Vec<Image>,
    numbers: HashMap<u64, usize>,
    /// Durable names.
    names: BTreeMap<OsString, usize>,
    /// What was done to names since, in order.
    renamed: Vec<Renamed>,
    /// Every sync of a segment fails, and none of one that is made ready.
    syncs_fail: bool,
    /// So many syncs pass until one fails.
    sync_fails_after: Option<usize>,
    /// Syncs of names fail.
    names_fail: bool,
    /// The next sync of names finds the system short of memory: see [`Inner::drop_pages`].
    drops_pages: bool,
    /// Steps after which the power fails.
    cut_at: BTreeSet<usize>,
    steps: usize,
    cuts: Vec<Cut>,
}

/// What the power left.
#[derive(Debug)]
struct Cut {
    acknowledged: usize,
    files: Vec<Image>,
    names: BTreeMap<OsString, usize>,
    renamed: Vec<Renamed>,
}

#[derive(Clone, Debug, Default)]
struct Image {
    shown: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that the next sync writes.
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Renamed {
    Came(OsString, usize),
    Moved(OsString, OsString),
    Went(OsString),
}

impl Image {
    fn keep(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.shown.len());
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.shown[from..to]);
    }
}

impl Renamed {
    fn apply(self, names: &mut BTreeMap<OsString, usize>) {
        match self {
            Self::Came(name, number) => drop(names.insert(name, number)),
            Self::Moved(from, to) => {
                if let Some(number) = names.remove(&from) {
                    names.insert(to, number);
                }
            }
            Self::Went(name) => drop(names.remove(&name)),
        }
    }
}

impl Inner {
    fn step(&mut self, acknowledged: &AtomicUsize) {
        self.steps += 1;
        if self.cut_at.contains(&self.steps) {
            let cut = self.cut(acknowledged);
            self.cuts.push(cut);
        }
    }

    fn cut(&self, acknowledged: &AtomicUsize) -> Cut {
        Cut {
            acknowledged: acknowledged.load(SeqCst),
            files: self.files.clone(),
            names: self.names.clone(),
            renamed: self.renamed.clone(),
        }
    }

    fn is_segment(&self, file: &File) -> bool {
        let node = file.metadata().unwrap().ino();
        fs::read_dir(&self.dir).unwrap().flatten().any(|entry| {
            let is_it = entry.metadata().is_ok_and(|found| found.ino() == node);
            is_it
                && entry
                    .path()
                    .extension()
                    .is_some_and(|ending| ending == "segment")
        })
    }

    fn number(&mut self, file: &File) -> usize {
        let node = file.metadata().unwrap().ino();
        let next = self.files.len();
        let number = *self.numbers.entry(node).or_insert(next);
        if number == next {
            self.files.push(Image::default());
        }
        number
    }

    /// Takes in what lies in the directory and is not known, with its name.
    fn look(&mut self) {
        for entry in fs::read_dir(&self.dir).unwrap() {
            let Ok(file) = File::open(entry.as_ref().unwrap().path()) else {
                continue;
            };
            let number = self.number(&file);
            self.names.insert(entry.unwrap().file_name(), number);
        }
    }

    /// The system forgets what it calls clean of the segments, and from now on shows what the disk
    /// has.
    fn drop_pages(&mut self) {
        for entry in fs::read_dir(&self.dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ext| ext != "segment") {
                continue;
            }
            let number = self.number(&File::open(&path).unwrap());
            let Image {
                shown,
                durable,
                dirty,
            } = &mut self.files[number];
            durable.resize(shown.len().max(durable.len()), 0);
            for (sector, bytes) in shown.chunks_mut(SECTOR).enumerate() {
                if !dirty.contains(&sector) {
                    let from = sector * SECTOR;
                    bytes.copy_from_slice(&durable[from..from + bytes.len()]);
                }
            }
            overwrite(&path, 0, shown);
        }
    }
}

impl PowerDisk {
    /// With what lies in `dir`, all of it durable.
    pub(super) fn on(dir: &Path) -> Arc<Self> {
        let mut inner = Inner {
            dir: dir.to_owned(),
            ..Inner::default()
        };
        inner.look();
        for (name, number) in &inner.names {
            let bytes = fs::read(dir.join(name)).unwrap();
            inner.files[*number].shown.clone_from(&bytes);
            inner.files[*number].durable = bytes;
        }
        Arc::new(Self {
            inner: Mutex::new(inner),
            acknowledged: AtomicUsize::new(0),
        })
    }

    pub(super) fn open(self: &Arc<Self>) -> Result<SegmentLog, StorageError> {
        self.open_with(&config())
    }

    pub(super) fn open_with(self: &Arc<Self>, config: &Config) -> Result<SegmentLog, StorageError> {
        let place = Place {
            dir: self.inner.lock().dir.clone(),
            store: STORE,
            tree: PathBuf::from("tree"),
            disk: Arc::clone(self) as Arc<dyn Disk>,
        };
        SegmentLog::open_at(&place, config)
    }

    /// The power fails now, and nothing is kept that was not synced.
    pub(super) fn cut(&self) -> TempDir {
        let cut = self.inner.lock().cut(&self.acknowledged);
        cut.disk(&mut |_| 0)
    }

    /// As often as a sync fails meanwhile: only a start that had none may show anything.
    fn open_at_last(self: &Arc<Self>) -> SegmentLog {
        loop {
            match self.open() {
                Ok(log) => return log,
                Err(StorageError::Io { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Those of segments, whoever asks: the thread that makes others ready syncs too.
    pub(super) fn fail_syncs(&self, fail: bool) {
        self.inner.lock().syncs_fail = fail;
    }

    /// During the next start, between the first look at the log and what follows.
    pub(super) fn drop_pages_at_start(&self) {
        self.inner.lock().drops_pages = true;
    }

    fn fail_sync_after(&self, count: usize) {
        self.inner.lock().sync_fails_after = Some(count);
    }
}

impl Cut {
    /// What is found later; `below` chooses what is kept of what was not synced.
    fn disk(mut self, below: &mut dyn FnMut(u64) -> u64) -> TempDir {
        let kept = usize::try_from(below(self.renamed.len() as u64 + 1)).unwrap();
        for renamed in self.renamed.drain(..kept) {
            renamed.apply(&mut self.names);
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, number) in self.names {
            let image = &mut self.files[number];
            for sector in std::mem::take(&mut image.dirty) {
                if below(2) == 1 {
                    image.keep(sector);
                }
            }
            fs::write(dir.path().join(name), &image.durable).unwrap();
        }
        dir
    }
}

impl Disk for PowerDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut inner = self.inner.lock();
        inner.step(&self.acknowledged);
        let file = RealDisk.create(path)?;
        let number = inner.files.len();
        inner.files.push(Image::default());
        inner.numbers.insert(file.metadata()?.ino(), number);
        let name = path.file_name().unwrap().to_owned();
        inner.renamed.push(Renamed::Came(name, number));
        Ok(file)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        RealDisk.write(file, bytes, offset)?;
        let number = inner.number(file);
        let image = &mut inner.files[number];
        let from = usize::try_from(offset).unwrap();
        let to = from + bytes.len();
        if image.shown.len() < to {
            image.shown.resize(to, 0);
        }
        image.shown[from..to].copy_from_slice(bytes);
        image.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        inner.step(&self.acknowledged);
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(&self.acknowledged);
        let number = inner.number(file);
        let sectors = std::mem::take(&mut inner.files[number].dirty);
        if inner.syncs_fail && inner.is_segment(file) {
            return Err(io::Error::from_raw_os_error(5));
        }
        match &mut inner.sync_fails_after {
            Some(0) => {
                inner.sync_fails_after = None;
                return Err(io::Error::from_raw_os_error(5));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        for sector in sectors {
            inner.files[number].keep(sector);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(&self.acknowledged);
        RealDisk.rename(from, to)?;
        let name = |path: &Path| path.file_name().unwrap().to_owned();
        inner.renamed.push(Renamed::Moved(name(from), name(to)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(&self.acknowledged);
        RealDisk.remove(path)?;
        let name = path.file_name().unwrap().to_owned();
        inner.renamed.push(Renamed::Went(name));
        Ok(())
    }

    fn sync_names(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.step(&self.acknowledged);
        if inner.names_fail {
            return Err(io::Error::from_raw_os_error(5));
        }
        if std::mem::take(&mut inner.drops_pages) {
            inner.drop_pages();
        }
        for renamed in std::mem::take(&mut inner.renamed) {
            renamed.apply(&mut inner.names);
        }
        inner.look();
        Ok(())
    }
}

#[test]
fn a_frame_whose_sync_failed_is_written_again_before_it_is_trusted() {
    for bytes in [10, 3000, 20_000, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let disk = PowerDisk::on(dir.path());
        let log = disk.open().unwrap();
        append(&log, vec![entry(1, 0, 100)]);
        // One of 300,000 bytes goes into a segment of its own.
        disk.fail_syncs(true);
        let refused = wait(|done| log.append(vec![entry(1, 1, bytes)], done));
        assert!(refused.is_err());
        drop(log);
        disk.fail_syncs(false);
        // The process starts again; the system still has the pages, and calls them clean.
        let log = disk.open().unwrap();
        assert_eq!(log.ends().last, Some(at(1, 1)), "{bytes} bytes");
        append(&log, vec![entry(1, 2, 100)]);
        drop(log);
        let found = open(disk.cut().path());
        let expected = [entry(1, 0, 100), entry(1, 1, bytes), entry(1, 2, 100)];
        assert_eq!(all(&found), expected, "{bytes} bytes");
    }
}

/// What is served after a start is durable, even if nothing is written any more.
#[test]
fn what_a_start_has_shown_outlives_the_power() {
    let dir = tempfile::tempdir().unwrap();
    let disk = PowerDisk::on(dir.path());
    let log = disk.open().unwrap();
    append(&log, vec![entry(1, 0, 100)]);
    disk.fail_sync_after(0);
    wait(|done| log.append(vec![entry(1, 1, 9000)], done)).unwrap_err();
    drop(log);
    // As often as it fails: only then it may be believed.
    for _ in 0..3 {
        disk.fail_sync_after(0);
        disk.open().unwrap_err();
    }
    drop(disk.open().unwrap());
    assert_eq!(open(disk.cut().path()).ends().last, Some(at(1, 1)));
}

/// A crash between the renaming of a purged segment and the sync of the directory: until then
/// nothing of it may be overwritten.
#[test]
fn a_purged_segment_is_not_overwritten_before_its_new_name_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let disk = PowerDisk::on(dir.path());
    let log = disk.open().unwrap();
    for index in 0..40 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    disk.inner.lock().names_fail = true;
    log.purge(at(1, 35)).unwrap();
    // The filler has retired them when the directory has been synced, in vain.
    drop(log);
    let found = open(disk.cut().path());
    assert_eq!(found.ends().last, Some(at(1, 39)));
    // The next start must make the names durable before it uses the files again.
    disk.open().unwrap_err();
    disk.inner.lock().names_fail = false;
    let log = disk.open().unwrap();
    for index in 40..60 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    drop(log);
    assert_eq!(open(disk.cut().path()).ends().last, Some(at(1, 59)));
}

/// A segment that was made ready, by a process that was killed before it had synced its name.
#[test]
fn a_segment_made_ready_is_used_only_when_its_name_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let disk = PowerDisk::on(dir.path());
    let log = disk.open().unwrap();
    append(&log, vec![entry(1, 0, 100)]);
    disk.inner.lock().names_fail = true;
    for index in 1..40 {
        if wait(|done| log.append(vec![entry(1, index, 30_000)], done)).is_err() {
            break;
        }
    }
    drop(log);
    // It lies there, but what would be written to it could vanish with its name.
    disk.open().unwrap_err();
    disk.inner.lock().names_fail = false;
    let log = disk.open().unwrap();
    let next = log.ends().next();
    for index in next..next + 20 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    let shown = all(&log);
    drop(log);
    assert_eq!(all(&open(disk.cut().path())), shown);
}

/// A state of the log, and what may have been added to it when the power failed.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    ends: LogEnds,
    vote: Option<Bytes>,
    entries: Vec<LogEntry>,
}

impl Known {
    fn of(log: &dyn Log) -> Self {
        Self {
            ends: log.ends(),
            vote: log.vote().unwrap(),
            entries: all(log),
        }
    }
}

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |bound| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    }
}

/// One random change; the entries that it appends. `Err`: its sync failed.
fn change(
    log: &SegmentLog,
    term: &mut u64,
    below: &mut dyn FnMut(u64) -> u64,
) -> (Vec<LogEntry>, Result<(), StorageError>) {
    let ends = log.ends();
    let (first, next) = (ends.purged.map_or(0, |it| it.index + 1), ends.next());
    let position = |index: u64| log.entries(index..index + 1, 0).unwrap()[0].position;
    match below(10) {
        0 if next > first => {
            *term += 1;
            let keep = first + below(next - first);
            (vec![], log.truncate_after(Some(position(keep))))
        }
        1 | 2 if next > first => {
            let upto = position(first + below(next - first));
            (vec![], log.purge(upto))
        }
        3 => {
            let vote = Bytes::from(term.to_string());
            (vec![], wait(|done| log.save_vote(vote, done)))
        }
        _ => {
            let bytes = usize::try_from(1 + below(60_000)).unwrap();
            let entries: Vec<_> = (next..=next + below(4))
                .map(|index| entry(*term, index, bytes))
                .collect();
            let appended = wait(|done| log.append(entries.clone(), done));
            (entries, appended)
        }
    }
}

/// Random changes, syncs that fail, processes that die, and the power at any step of all that.
#[test]
fn the_power_may_fail_at_any_step() {
    for seed in 0..8 {
        let mut below = random(seed + 1);
        let dir = tempfile::tempdir().unwrap();
        let disk = PowerDisk::on(dir.path());
        let mut step = || usize::try_from(1 + below(700)).unwrap();
        disk.inner.lock().cut_at = (0..20).map(|_| step()).collect();
        let mut log = disk.open().unwrap();
        let mut term = 1;
        let mut known = vec![Known::of(&log)];
        let mut added = Vec::new();
        for _ in 0..120 {
            if below(15) == 0 {
                drop(log);
                log = disk.open_at_last();
            }
            if below(15) == 0 {
                disk.fail_sync_after(usize::try_from(below(4)).unwrap());
            }
            let (entries, done) = change(&log, &mut term, &mut below);
            if done.is_err() {
                drop(log);
                log = disk.open_at_last();
            }
            added.push(entries);
            known.push(Known::of(&log));
            disk.acknowledged.store(known.len() - 1, SeqCst);
        }
        drop(log);
        let cuts = std::mem::take(&mut disk.inner.lock().cuts);
        assert!(
            cuts.len() > 8,
            "seed {seed}: {} steps",
            disk.inner.lock().steps
        );
        for cut in cuts {
            check(cut, &known, &added, &mut below, seed);
        }
    }
}

/// All that was acknowledged is there, at most the next change besides; and the log goes on.
fn check(
    cut: Cut,
    known: &[Known],
    added: &[Vec<LogEntry>],
    below: &mut dyn FnMut(u64) -> u64,
    seed: u64,
) {
    let acknowledged = cut.acknowledged;
    let before = &known[acknowledged];
    let left = cut.disk(below);
    let disk = PowerDisk::on(left.path());
    let log = disk
        .open()
        .unwrap_or_else(|error| panic!("seed {seed}, {acknowledged} acknowledged: {error}"));
    let found = Known::of(&log);
    let in_flight = added.get(acknowledged).map_or(&[][..], Vec::as_slice);
    let is_next = known.get(acknowledged + 1) == Some(&found);
    let is_part = found.vote == before.vote
        && (0..=in_flight.len()).any(|count| {
            let all = [&before.entries[..], &in_flight[..count]].concat();
            all == found.entries && found.ends.purged == before.ends.purged
        });
    assert!(
        is_next || is_part,
        "seed {seed}, {acknowledged} acknowledged: {:?} instead of {:?}",
        found.ends,
        before.ends
    );
    let next = found.ends.next();
    append(&log, vec![entry(99, next, 5000)]);
    drop(log);
    let found = open(disk.cut().path());
    assert_eq!(found.ends().last, Some(at(99, next)), "seed {seed}");
}
