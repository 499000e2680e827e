//! Refusals that every store makes in the same words.

use bridge_core::{Ownership, Seq, ShardId, StoreError, StoreErrorKind};

pub(crate) fn fault(kind: StoreErrorKind, operation: &'static str, message: String) -> StoreError {
    StoreError { kind, operation, message, source: None }
}

/// For an epoch that is not, or no longer, the newest.
pub(crate) fn fenced(operation: &'static str, owner: &Ownership, newest: u64) -> StoreError {
    let Ownership { shard: ShardId(shard), epoch, .. } = owner;
    fault(
        StoreErrorKind::Fenced,
        operation,
        format!("shard {shard} is in epoch {newest}, this owner's is {epoch}"),
    )
}

/// For an event whose place in the log another one has.
pub(crate) fn taken(operation: &'static str, seq: Seq) -> StoreError {
    fault(StoreErrorKind::Corrupt, operation, format!("the log has another event at {seq}"))
}
