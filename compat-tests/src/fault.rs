//! Faults from outside the process, so that the server under test is the one that ships: a tracer
//! that fails or kills at a system call, a small file system, a disk whose power fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::server::Server;

/// strace, attached to a server; detached when dropped.
#[derive(Debug)]
pub struct Tracer {
    strace: Child,
}

impl Tracer {
    /// Why nothing can be traced here, if so.
    pub fn why_not() -> Option<String> {
        run("strace", &["-qq", "-o", "/dev/null"], Path::new("true"))
            .err()
            .map(|error| format!("{error:#}"))
    }

    /// Attaches with an `inject` expression of strace for these system calls, as
    /// `inject("fdatasync,fsync", "error=EIO")`; returns once the server is traced.
    ///
    /// # Errors
    /// strace is missing or may not trace here, or the server does not run.
    pub fn inject(server: &Server, calls: &str, what: &str) -> Result<Self> {
        let pid = server.pid().context("the server does not run")?;
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null"])
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{what}")])
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .context("run strace")?;
        let tracer = Self { strace };
        // Traced once the kernel says so; ended already, if the call came at once.
        let deadline = Instant::now() + Duration::from_secs(20);
        let word = format!("TracerPid:\t{}", tracer.strace.id());
        while Instant::now() < deadline {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
                return Ok(tracer);
            };
            if status.contains(&word) || status.contains("State:\tZ") {
                return Ok(tracer);
            }
            sleep(Duration::from_millis(5));
        }
        bail!("strace may not trace here")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.strace.kill());
        drop(self.strace.wait());
    }
}

/// A file system in memory over a directory; unmounted when dropped.
#[derive(Debug)]
pub struct Small {
    dir: PathBuf,
}

impl Small {
    /// Mounts one of `size` (as `40m`) over `dir`.
    ///
    /// # Errors
    /// It may not be mounted here.
    pub fn mount(dir: &Path, size: &str) -> Result<Self> {
        let size = format!("size={size}");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], dir)?;
        Ok(Self { dir: dir.into() })
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// It is not mounted any more.
    pub fn resize(&self, size: &str) -> Result<()> {
        run("mount", &["-o", &format!("remount,size={size}")], &self.dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the server may still be ending.
        drop(Command::new("umount").arg("-l").arg(&self.dir).status());
    }
}

/// An ext4 file system in a file, over a directory, whose power can fail: what the kernel had not
/// written by then is lost, the journal's tail included.
///
/// What ext4 had written counts as kept: the file behind it plays a disk that keeps what it has
/// acknowledged, and a write cache that a disk loses in spite of a flush is not modelled.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    dir: PathBuf,
    /// Of the mount.
    options: &'static str,
}

/// Size of the file system.
const DISK_BYTES: u64 = 1 << 30;

impl Disk {
    /// Makes one in the file `image` and mounts it over `dir`, which keeps nothing of what it held.
    ///
    /// # Errors
    /// No loop device can be had, or one of mkfs.ext4, mount, python3 is missing.
    pub fn mount(image: &Path, dir: &Path) -> Result<Self> {
        Self::mount_with(image, dir, "loop")
    }

    /// Why there can be none here, if so.
    pub fn why_not() -> Option<String> {
        let tried = || -> Result<()> {
            let dir = tempfile::tempdir().context("make a directory")?;
            let over = dir.path().join("over");
            fs::create_dir(&over).context("make a directory")?;
            Self::mount(&dir.path().join("image"), &over).map(drop)
        };
        tried().err().map(|error| format!("{error:#}"))
    }

    fn mount_with(image: &Path, dir: &Path, options: &'static str) -> Result<Self> {
        let file = fs::File::create(image).context("make the disk's file")?;
        file.set_len(DISK_BYTES).context("make the disk's file")?;
        run("mkfs.ext4", &["-q", "-F"], image)?;
        let disk = Self {
            image: image.into(),
            dir: dir.into(),
            options,
        };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&self) -> Result<()> {
        let image = self.image.display().to_string();
        run("mount", &["-o", self.options, &image], &self.dir)
    }

    /// The power fails: from now on every access is an error, and what only memory held is gone.
    ///
    /// # Errors
    /// The file system does not know how.
    pub fn fail(&self) -> Result<()> {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
        let script = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        run("python3", &["-c", script], &self.dir)
    }

    /// The power is back: the file system is mounted anew from what the disk has.
    ///
    /// # Errors
    /// A process still holds a file on it, or it is damaged.
    pub fn come_back(&self) -> Result<()> {
        run("umount", &[], &self.dir)?;
        self.attach()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.dir).status());
        drop(fs::remove_file(&self.image));
    }
}

/// A [`Disk`] whose file lies in memory, where it can be left without room: then whatever is written
/// over zeros fails, for real. The kernel tells it once, calls the pages clean, and goes on to show
/// them.
#[derive(Debug)]
pub struct Failing {
    disk: Disk,
    memory: Small,
}

/// Enough for a server with little data.
const FAILING_BYTES: &str = "700m";

impl Failing {
    /// Mounts one over `dir`; its file lies in `memory`, which is made.
    ///
    /// # Errors
    /// As [`Disk::mount`].
    pub fn mount(memory: &Path, dir: &Path) -> Result<Self> {
        fs::create_dir_all(memory).context("make a directory")?;
        let memory = Small::mount(memory, FAILING_BYTES)?;
        let image = memory.dir.join("image");
        // The journal would fail, too, if it was written meanwhile: not for five minutes.
        let disk = Disk::mount_with(&image, dir, "loop,commit=300")?;
        let failing = Self { disk, memory };
        failing.split_writes()?;
        Ok(failing)
    }

    /// Makes each page a request of its own: the kernel takes one that is written in part for one
    /// that succeeded.
    fn split_writes(&self) -> Result<()> {
        let found = Command::new("findmnt")
            .args(["-n", "-o", "SOURCE"])
            .arg(&self.disk.dir)
            .output()
            .context("run findmnt")?;
        let device = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let name = device.strip_prefix("/dev/").context("no loop device")?;
        let setting = format!("/sys/block/{name}/queue/max_sectors_kb");
        fs::write(&setting, "4").with_context(|| format!("write {setting}"))
    }

    /// From now on writes over zeros fail. Nothing may be written at this moment.
    ///
    /// # Errors
    /// The system does not know how.
    pub fn starve(&self) -> Result<()> {
        run("sync", &["-f"], &self.disk.dir)?;
        run("fsfreeze", &["-f"], &self.disk.dir)?;
        let dug = run("fallocate", &["--dig-holes"], &self.disk.image);
        run("fsfreeze", &["-u"], &self.disk.dir)?;
        dug?;
        let metadata = fs::metadata(&self.disk.image).context("measure the disk's file")?;
        let used = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        self.memory.resize(&used.to_string())
    }

    /// From now on writes succeed again.
    ///
    /// # Errors
    /// It is not mounted any more.
    pub fn feed(&self) -> Result<()> {
        self.memory.resize(FAILING_BYTES)
    }

    /// The disk, whose power can fail, too.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

fn run(program: &str, words: &[&str], last: &Path) -> Result<()> {
    let output = Command::new(program)
        .args(words)
        .arg(last)
        .output()
        .with_context(|| format!("run {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
