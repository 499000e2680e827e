//! Who takes deliveries.

use crate::id::Name;

/// A taker of deliveries: whose credit, leases and attempts these are. It is no authority.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Consumer {
    /// Who the credential says it is.
    pub principal: Name,
    /// What it calls itself; for a caller without a name, the attempt it made.
    pub name: Name,
    /// Whether the name is the caller's own, so that it can be met again.
    pub named: bool,
}

impl Consumer {
    /// A consumer that keeps its name from call to call.
    pub const fn named(principal: Name, name: Name) -> Self {
        Self { principal, name, named: true }
    }

    /// Stands for a consumer whose lease was held in memory alone, by an earlier life of the shard.
    pub fn forgotten() -> Self {
        let name = Name::from_static("forgotten");
        Self { principal: name.clone(), name, named: false }
    }

    /// A consumer for the length of one attempt.
    pub const fn nameless(principal: Name, attempt: Name) -> Self {
        Self { principal, name: attempt, named: false }
    }
}
