use bridge_core::{IdempotencyRecord, IdempotencyScope};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "idempotency",
    key: &["sender", "recipient", "key"],
    rest: &["live", "fingerprint", "message", "seq", "expires_at"],
    live: Some("idempotency_live"),
};

pub(super) fn write(record: &IdempotencyRecord, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let IdempotencyRecord { scope, fingerprint, message, seq, expires_at } = record;
    to.put(&scope.from)?.put(&scope.to)?.put(&scope.key)?.put(&live)?;
    to.put(fingerprint)?.put(message)?.put(seq)?.put(expires_at).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<IdempotencyRecord, Fault> {
    let scope = IdempotencyScope { from: row.take()?, to: row.take()?, key: row.take()? };
    let _live: bool = row.take()?;
    Ok(IdempotencyRecord {
        scope,
        fingerprint: row.take()?,
        message: row.take()?,
        seq: row.take()?,
        expires_at: row.take()?,
    })
}
