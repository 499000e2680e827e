use bridge_core::{NodeId, Ownership, Seq, Timestamp};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(in crate::sqlite) const TABLE: Table =
    Table { name: "shard", key: &[], rest: &["epoch", "node", "owned_until", "floor", "head"], live: None };

/// Who owns a shard, and where its log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sqlite) struct Shard {
    pub(in crate::sqlite) epoch: u64,
    pub(in crate::sqlite) node: Option<NodeId>,
    pub(in crate::sqlite) owned_until: Option<Timestamp>,
    pub(in crate::sqlite) floor: Seq,
    pub(in crate::sqlite) head: Seq,
}

impl Shard {
    /// The shard, if `owner` still owns it.
    pub(in crate::sqlite) fn of(self, owner: &Ownership) -> Result<Self, Fault> {
        let newest = self.epoch;
        if newest == owner.epoch { Ok(self) } else { Err(Fault::Fenced { owner: owner.clone(), newest }) }
    }
}

pub(in crate::sqlite) fn write(shard: &Shard, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Shard { epoch, node, owned_until, floor, head } = shard;
    to.put(epoch)?.put(node)?.put(owned_until)?.put(floor)?.put(head).map(drop)
}

pub(in crate::sqlite) fn read(row: &rusqlite::Row<'_>) -> Result<Shard, Fault> {
    let row = &mut Take::new(TABLE.name, row);
    row.shard()?;
    let shard = Shard {
        epoch: row.take()?,
        node: row.take()?,
        owned_until: row.take()?,
        floor: row.take()?,
        head: row.take()?,
    };
    row.check()?;
    Ok(shard)
}
