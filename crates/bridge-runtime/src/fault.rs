//! What can go wrong besides a refusal.

use bridge_core::StoreErrorKind;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The bridge refused it; nothing was changed.
    #[error(transparent)]
    Refused(E),
    /// Something failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A failure that is nobody's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The store failed while it was writing: the call may or may not have taken effect. Repeating it with its key,
    /// token or attempt is safe.
    #[error("it is unknown whether this took effect")]
    OutcomeUnknown,
    /// No space is left. Nothing was changed.
    #[error("there is no space left")]
    Full,
    /// The store cannot be used now. Nothing was changed.
    #[error("the store cannot be used now")]
    Unavailable,
    /// What was to be read is damaged; the log says where. Trying again does not help.
    #[error("some data is damaged")]
    Damaged,
    /// The bridge is stopping, or has stopped. Nothing was changed.
    #[error("the bridge is stopping")]
    ShuttingDown,
}

impl Fault {
    /// What a fault of the store means to a call that was not part of the failed commit.
    pub(crate) const fn of(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::Full => Self::Full,
            StoreErrorKind::Corrupt | StoreErrorKind::TooNew => Self::Damaged,
            _ => Self::Unavailable,
        }
    }
}

/// How a running bridge fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It takes everything.
    Ready,
    /// Its store has failed; it answers reads as far as it can and tries again each second.
    Faulted(Fault),
    /// It takes nothing new.
    ShuttingDown,
}
