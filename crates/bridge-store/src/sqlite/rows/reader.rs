use bridge_core::Reader;

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table =
    Table { name: "reader", key: &["session", "name"], rest: &["live", "place"], live: Some("reader_live") };

pub(super) fn write(reader: &Reader, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Reader { session, name, place } = reader;
    to.put(session)?.put(name)?.put(&live)?.put(place).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Reader, Fault> {
    let (session, name) = (row.take()?, row.take()?);
    let _live: bool = row.take()?;
    Ok(Reader { session, name, place: row.take()? })
}
