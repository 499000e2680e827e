use bridge_core::Handshake;

use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

/// The one table that knows no shards.
pub(in crate::sqlite) const TABLE: &str = "handshake";

pub(in crate::sqlite) fn write(handshake: &Handshake, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Handshake { id, principal, saved_at, data } = handshake;
    to.put(id)?.put(principal)?.put(saved_at)?.put(data).map(drop)
}

pub(in crate::sqlite) fn read(row: &rusqlite::Row<'_>) -> Result<Handshake, Fault> {
    let row = &mut Take::new(TABLE, row);
    let handshake =
        Handshake { id: row.take()?, principal: row.take()?, saved_at: row.take()?, data: row.take()? };
    row.check()?;
    Ok(handshake)
}
