//! Defects of the rules by which members come and go, planted where no disk could have them: for the thread
//! of a test, on which all of a simulation runs.

use std::cell::Cell;

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Defect {
    /// A leader follows its own files, whatever the others' say.
    OneListIsEnough,
    /// A new disk does not wait for those that do not answer.
    AbsentCountsAsNew,
}

thread_local! {
    static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// Whether it is planted.
pub(in crate::ensemble) fn has(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}

/// Plants it, or takes it away.
pub(in crate::ensemble) fn plant(defect: Option<Defect>) {
    PLANTED.set(defect);
}
