//! How a server ends: by a signal, in the middle of a step towards the disk, or with its disk.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::fault::{Disk, Tracer};
use crate::server::Server;

/// How long a point may be waited for; the load goes on meanwhile.
const POINT_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a server whose disk is full at some step may live on; at some steps it does.
const FULL_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a server may live on without its disk.
pub(super) const DISKLESS_TIME_MAX: Duration = Duration::from_secs(10);

/// The end of a server.
#[derive(Debug)]
pub enum Ending<'a> {
    /// kill -9.
    Kill,
    /// SIGTERM.
    Terminate,
    /// A blow at the `nth` arrival at a point.
    At(Point, usize, Blow),
    /// The power of the disk under its data fails; then the server has to end by itself.
    Power(&'a Disk),
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// kill -9.
    Kill,
    /// SIGTERM.
    Terminate,
    /// From then on the step finds the disk full.
    NoSpace,
}

impl Blow {
    /// All.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Terminate, Self::NoSpace];

    /// In strace's words.
    fn words(self, nth: usize) -> String {
        match self {
            Self::Kill => format!("signal=SIGKILL:when={nth}"),
            Self::Terminate => format!("signal=SIGTERM:when={nth}"),
            Self::NoSpace => format!("error=ENOSPC:when={nth}+"),
        }
    }
}

/// A step towards the disk, named by the system calls that make it. The process dies on entering
/// the call, so that the step before it is done and this one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A record is about to be written to the log.
    Append,
    /// What was written is about to be synced: the log, a table or a manifest.
    Sync,
    /// Synced and applied; an answer is about to leave.
    Answer,
    /// The tree's memory is about to be written to a table.
    Flush,
    /// A checkpoint is being linked together.
    Checkpoint,
    /// A file takes its final name: a checkpoint, a manifest, a segment of the log.
    Rename,
    /// What nobody needs any more is about to be removed.
    Purge,
}

impl Point {
    /// All, in the order in which a write meets them.
    pub const ALL: [Self; 7] = [
        Self::Append,
        Self::Sync,
        Self::Answer,
        Self::Flush,
        Self::Checkpoint,
        Self::Rename,
        Self::Purge,
    ];

    /// The system calls of the step, in strace's words.
    fn calls(self) -> &'static str {
        match self {
            Self::Append => "pwrite64,pwritev",
            Self::Sync => "fdatasync,fsync",
            Self::Answer => "sendto,sendmsg",
            Self::Flush => "fallocate,sync_file_range",
            Self::Checkpoint => "link,linkat",
            Self::Rename => "rename,renameat,renameat2",
            Self::Purge => "unlink,unlinkat",
        }
    }

    /// Whether a full disk is known at this step.
    pub fn writes(self) -> bool {
        self != Self::Answer
    }

    /// How often the step may be passed before the process dies: frequent steps more often.
    pub fn arrivals_max(self) -> usize {
        match self {
            Self::Append | Self::Sync | Self::Answer => 200,
            Self::Flush | Self::Checkpoint | Self::Purge => 8,
            Self::Rename => 3,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    /// For the report.
    pub how: String,
    /// The point was reached (true for all other endings).
    pub met: bool,
}

impl Ending<'_> {
    /// Ends the server.
    ///
    /// # Errors
    /// It cannot be traced, did not end, or went on without its disk.
    pub fn bring(&self, server: &mut Server) -> Result<Ended> {
        let mut met = true;
        let how = match self {
            Self::Kill => {
                server.kill9()?;
                "kill -9".to_owned()
            }
            Self::Terminate => {
                server.stop()?;
                "SIGTERM".to_owned()
            }
            Self::At(point, nth, Blow::NoSpace) => {
                let tracer = Tracer::inject(server, point.calls(), &Blow::NoSpace.words(*nth))?;
                let ended = ends_within(server, FULL_TIME_MAX);
                drop(tracer);
                server.kill9()?;
                let then = if ended { "" } else { ", kill -9" };
                format!("{point:?} {nth} on a full disk{then}")
            }
            Self::At(point, nth, blow) => {
                let said = server.log().len();
                let tracer = Tracer::inject(server, point.calls(), &blow.words(*nth))?;
                met = ends_within(server, POINT_TIME_MAX);
                drop(tracer);
                if !met && server.log().split_off(said).contains("stopping on SIGTERM") {
                    bail!("it does not end on SIGTERM at {point:?} {nth}");
                }
                server.kill9()?;
                let not = if met { "" } else { ", not met" };
                format!("{blow:?} at {point:?} {nth}{not}")
            }
            Self::Power(disk) => {
                disk.fail()?;
                if !ends_within(server, DISKLESS_TIME_MAX) {
                    bail!("the server goes on without its disk");
                }
                server.kill9()?;
                "power loss".to_owned()
            }
        };
        Ok(Ended { how, met })
    }
}

pub(super) fn ends_within(server: &mut Server, most: Duration) -> bool {
    let deadline = Instant::now() + most;
    while server.is_running() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
    true
}
