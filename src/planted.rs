//! Defects that can be planted in the server, so that the tests show that they find them: a check that
//! nothing can fail proves nothing.
//!
//! Each is one question at the place that it breaks. In tests the answer belongs to the thread, which in
//! the simulation is the whole world. A server has defects only if it is built with the feature `planted`,
//! and then it refuses to start unless `OXKEEPER_PLANTED` names one of them, or says `none`. Without the
//! feature every answer is a constant, and nothing of this is left in the program.

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// A vote is said to be durable and is in memory only.
    VoteNotSaved,
    /// Entries are said to be durable before they are.
    SyncLeftOut,
    /// A proposal takes effect however often it comes, and in whatever order.
    CursorIgnored,
    /// The event of a change comes behind the reply that shows it.
    WatchOrderSwapped,
    /// What a session that expires owned stays.
    EphemeralKept,
    /// A session that a server does not know yet is said to be gone.
    AttachJudgedLocally,
    /// A session ends though it has been attached elsewhere since its end was proposed.
    ExpiryNotFenced,
}

pub use choice::check;
#[cfg(test)]
pub(crate) use choice::plant;

/// Whether it is planted.
#[inline]
pub(crate) fn has(defect: Defect) -> bool {
    choice::has(defect)
}

#[cfg(test)]
mod choice {
    use std::cell::Cell;

    use crate::planted::Defect;

    thread_local! {
        static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Planted in this thread until it is dropped.
    #[derive(Debug)]
    pub(crate) struct Planted(());

    /// Plants a defect in all that this thread runs.
    #[must_use]
    pub(crate) fn plant(defect: Defect) -> Planted {
        PLANTED.set(Some(defect));
        Planted(())
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    pub(super) fn has(defect: Defect) -> bool {
        PLANTED.get() == Some(defect)
    }

    /// What is planted.
    ///
    /// # Errors
    /// None in tests.
    pub fn check() -> Result<Option<Defect>, String> {
        Ok(PLANTED.get())
    }
}

#[cfg(all(feature = "planted", not(test)))]
mod choice {
    use std::sync::OnceLock;

    use crate::planted::Defect;

    const VARIABLE: &str = "OXKEEPER_PLANTED";
    const NAMES: [(&str, Option<Defect>); 8] = [
        ("none", None),
        ("vote-not-saved", Some(Defect::VoteNotSaved)),
        ("sync-left-out", Some(Defect::SyncLeftOut)),
        ("cursor-ignored", Some(Defect::CursorIgnored)),
        ("watch-order-swapped", Some(Defect::WatchOrderSwapped)),
        ("ephemeral-kept", Some(Defect::EphemeralKept)),
        ("attach-judged-locally", Some(Defect::AttachJudgedLocally)),
        ("expiry-not-fenced", Some(Defect::ExpiryNotFenced)),
    ];

    static PLANTED: OnceLock<Option<Defect>> = OnceLock::new();

    pub(super) fn has(defect: Defect) -> bool {
        PLANTED.get().copied().flatten() == Some(defect)
    }

    /// What is planted, by the environment. To be asked before anything is opened.
    ///
    /// # Errors
    /// Nothing is chosen, or what is unknown: such a program must not run.
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting of a server: this build is for tests of tests"
    )]
    pub fn check() -> Result<Option<Defect>, String> {
        let chosen = std::env::var(VARIABLE).unwrap_or_default();
        let known = NAMES.iter().find(|(name, _)| *name == chosen);
        let Some((_, defect)) = known else {
            let names = NAMES.map(|(name, _)| name).join(", ");
            return Err(format!(
                "this build can be broken on purpose and serves tests only: {VARIABLE} must be one of \
                 {names}"
            ));
        };
        Ok(*PLANTED.get_or_init(|| *defect))
    }
}

#[cfg(not(any(test, feature = "planted")))]
mod choice {
    use crate::planted::Defect;

    #[inline]
    pub(super) const fn has(_: Defect) -> bool {
        false
    }

    /// Nothing is planted.
    ///
    /// # Errors
    /// Only where something could be.
    pub const fn check() -> Result<Option<Defect>, String> {
        Ok(None)
    }
}
