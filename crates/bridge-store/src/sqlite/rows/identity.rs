use bridge_core::Identity;

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table =
    Table { name: "identity", key: &[], rest: &["live", "log", "token_key"], live: None };

pub(super) fn write(identity: &Identity, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Identity { log, token_key } = identity;
    to.put(&live)?.put(log)?.put(token_key).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Identity, Fault> {
    let _live: bool = row.take()?;
    Ok(Identity { log: row.take()?, token_key: row.take()? })
}
