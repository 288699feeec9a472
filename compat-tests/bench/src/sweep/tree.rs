//! Many znodes of 100 bytes, a thousand to a directory, made by multis.

use std::time::{Duration, Instant};

use anyhow::Result;
use compat_tests::suite::say;

use crate::drive;
use crate::fleet::Fleet;
use crate::wire;

/// Numbers of znodes are multiples of this.
pub(super) const PER_DIRECTORY: usize = 1000;
const PER_MULTI: usize = 100;
const SESSIONS: usize = 8;
const DEPTH: usize = 4;
const PROGRESS: Duration = Duration::from_secs(10);

/// The path of a znode.
pub(super) fn path(number: usize) -> String {
    format!("/t/{:05}/{number:08}", number / PER_DIRECTORY)
}

/// Makes the root of the tree.
pub(super) fn plant(fleet: &mut Fleet) -> Result<()> {
    drive::fill(fleet, 1, ["/t".to_owned()].into_iter(), wire::create)?;
    fleet.drain()
}

/// Sessions to make it with.
pub(super) fn gardeners(address: std::net::SocketAddr) -> Result<Fleet> {
    Fleet::open(address, SESSIONS)
}

/// Makes the znodes from number `from` up to `to`, both multiples of [`PER_DIRECTORY`].
///
/// # Errors
/// The server fails, or the `deadline` has passed.
pub(super) fn grow(fleet: &mut Fleet, from: usize, to: usize, deadline: Instant) -> Result<()> {
    let directories = from / PER_DIRECTORY..to / PER_DIRECTORY;
    let parents = directories.map(|directory| format!("/t/{directory:05}"));
    drive::fill(fleet, DEPTH, parents, wire::create)?;
    let mut last = Instant::now();
    let multis = (to - from) / PER_MULTI;
    drive::send_all(fleet, DEPTH, multis, Some(deadline), |multi, xid, out| {
        let first = from + multi * PER_MULTI;
        if last.elapsed() > PROGRESS {
            last = Instant::now();
            say(format_args!("  at znode {first} of {to}"));
        }
        let paths: [String; PER_MULTI] = std::array::from_fn(|index| path(first + index));
        wire::multi_create(out, xid, paths.iter().map(String::as_str));
    })
}
