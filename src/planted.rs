//! Faults planted on purpose, to show that the tests catch them. They exist in debug builds with the cargo feature `planted-faults`
//! only; the environment variable `HOLDFAST_PLANTED_FAULT` names the one that is alive. `tests/faults.sh` goes through all of them.
//!
//! A fault is one line at its seam, `planted!(Fault => what to do instead)`. Without the feature that line is nothing.

/// Does something else at this place while the fault is alive.
#[cfg(feature = "planted-faults")]
macro_rules! planted {
    ($fault:ident => $instead:expr) => {
        if $crate::planted::is_alive($crate::planted::Fault::$fault) {
            $instead
        }
    };
}

/// Nothing: this build has no faults.
#[cfg(not(feature = "planted-faults"))]
macro_rules! planted {
    ($fault:ident => $instead:expr) => {};
}

#[cfg(feature = "planted-faults")]
pub use alive::{Fault, is_alive, wall};

#[cfg(feature = "planted-faults")]
mod alive {
    use crate::{clock::SystemClock, domain::time::Timestamp};
    use std::sync::OnceLock;

    /// What is wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// Callers are answered before their group is written.
        AnswerBeforeSync,
        /// The device is never told to sync the log.
        SkipDeviceSync,
        /// The keys in the log are passed over when it is replayed.
        ForgetKeys,
        /// A variant counts one unit more than it has.
        OffByOneStock,
        /// A hold ends a second before its deadline.
        ExpireEarly,
        /// A hold whose deadline has passed can still be sold.
        ConfirmAfterExpiry,
        /// A checkout that is refused keeps its first line.
        NonAtomicCheckout,
        /// What cites a record that is on its way is answered before it.
        ReorderedAnswers,
        /// A replay judges by the wall clock instead of the logged moment.
        ReplayReadsClock,
        /// Everybody is admitted.
        UnboundedQueue,
        /// A log that is damaged in its middle is taken to end there.
        SilentCut,
        /// The records of a list that is taken over as one go to the log one by one.
        TornList,
    }

    impl Fault {
        const ALL: [Self; 12] = [
            Self::AnswerBeforeSync,
            Self::SkipDeviceSync,
            Self::ForgetKeys,
            Self::OffByOneStock,
            Self::ExpireEarly,
            Self::ConfirmAfterExpiry,
            Self::NonAtomicCheckout,
            Self::ReorderedAnswers,
            Self::ReplayReadsClock,
            Self::UnboundedQueue,
            Self::SilentCut,
            Self::TornList,
        ];
    }

    /// Whether this is the fault that the environment names.
    ///
    /// # Panics
    /// When it names none of them: a misspelt fault would look like one that nobody catches.
    pub fn is_alive(fault: Fault) -> bool {
        static ALIVE: OnceLock<Option<Fault>> = OnceLock::new();
        let alive = ALIVE.get_or_init(|| {
            let name = std::env::var("HOLDFAST_PLANTED_FAULT").ok()?;
            let named = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
            Some(named.unwrap_or_else(|| panic!("there is no planted fault {name:?}")))
        });
        *alive == Some(fault)
    }

    /// The wall clock, for the fault that reads it.
    pub fn wall() -> Timestamp {
        let accepted = SystemClock::start(None, true);
        accepted.expect("without a log there is no gap to it").now()
    }
}
