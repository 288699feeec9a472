//! `wchs`, `wchc`, `wchp`: who watches what, in ZooKeeper's data table only.
//!
//! zk: WatchCommand, WatchManager.dumpWatches. zk-differs: everything is sorted.

use std::sync::Arc;

use super::super::report::Watches;
use super::line;
use crate::state::SessionId;
use crate::watch::Summary;

/// `wchs`.
pub(super) fn put_summary(out: &mut String, summary: Summary) {
    line(
        out,
        format_args!(
            "{} connections watching {} paths",
            summary.connections, summary.paths
        ),
    );
    // zk: WatchCommand ends with another line feed, behind a text without one.
    line(out, format_args!("Total watches:{}", summary.watches));
}

/// `wchc`: each session, and below it the paths it watches.
pub(super) fn put_by_session(out: &mut String, mut watches: Watches) {
    watches.sort_unstable_by(|(a_path, a), (b_path, b)| (a, a_path).cmp(&(b, b_path)));
    let mut last: Option<SessionId> = None;
    for (path, session) in &watches {
        if last != Some(*session) {
            line(out, format_args!("{session}"));
            last = Some(*session);
        }
        line(out, format_args!("\t{path}"));
    }
    out.push('\n');
}

/// `wchp`: each path, and below it the sessions that watch it.
pub(super) fn put_by_path(out: &mut String, mut watches: Watches) {
    watches.sort_unstable();
    let mut last: Option<&Arc<str>> = None;
    for (path, session) in &watches {
        if last != Some(path) {
            line(out, format_args!("{path}"));
            last = Some(path);
        }
        line(out, format_args!("\t{session}"));
    }
    out.push('\n');
}
