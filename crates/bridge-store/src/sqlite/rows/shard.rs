use bridge_core::{NodeId, Ownership, Seq, ShardId, Timestamp};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(in crate::sqlite) const TABLE: Table = Table {
    name: "shard",
    key: &[],
    rest: &["epoch", "node", "owned_until", "floor", "head", "slot"],
    live: None,
};

/// Who owns a shard, and where its log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sqlite) struct Shard {
    pub(in crate::sqlite) epoch: u64,
    pub(in crate::sqlite) node: Option<NodeId>,
    pub(in crate::sqlite) owned_until: Option<Timestamp>,
    pub(in crate::sqlite) floor: Seq,
    pub(in crate::sqlite) head: Seq,
    /// Which range of places is its own.
    pub(in crate::sqlite) slot: u64,
}

/// Where the messages of a shard lie: a row's number is its place in the shard's log, plus as many for each slot. So the log
/// of the first shard of a directory, and there is hardly ever another, has its own numbers in the table, small ones;
/// and in any shard a row is found by its place without an index. There is room for 32,768 shards, and in each for a
/// log of nine thousand years at a thousand events a second.
#[derive(Debug, Clone, Copy)]
pub(in crate::sqlite) struct Span {
    pub(in crate::sqlite) shard: ShardId,
    slot: u64,
}

impl Span {
    /// Places of one slot.
    const PLACES: u64 = 1 << 48;

    /// The number of the row at a place.
    pub(in crate::sqlite) fn rowid(&self, seq: Seq) -> Result<i64, Fault> {
        let rowid = self.slot.checked_mul(Self::PLACES).and_then(|first| first.checked_add(seq.0));
        rowid
            .filter(|_| seq.0 < Self::PLACES)
            .and_then(|rowid| rowid.try_into().ok())
            .ok_or(Fault::TooLarge(seq.0))
    }

    /// The place of the row with a number.
    pub(in crate::sqlite) fn seq(rowid: i64) -> Seq {
        Seq(rowid.cast_unsigned() % Self::PLACES)
    }

    /// The number of the last row up to a place, wherever that is.
    pub(in crate::sqlite) fn up_to(&self, seq: Seq) -> i64 {
        self.rowid(Seq(seq.0.min(Self::PLACES - 1))).unwrap_or(i64::MAX)
    }

    /// The number before that of the first row.
    pub(in crate::sqlite) fn before(&self) -> i64 {
        self.up_to(Seq::ZERO) - 1
    }

    /// The number of the last row that there can be.
    pub(in crate::sqlite) fn last(&self) -> i64 {
        self.up_to(Seq(u64::MAX))
    }
}

impl Shard {
    /// Where the messages of this shard lie, whose id is `shard`.
    pub(in crate::sqlite) fn span(&self, shard: ShardId) -> Span {
        Span { shard, slot: self.slot }
    }

    /// The shard, if `owner` still owns it.
    pub(in crate::sqlite) fn of(self, owner: &Ownership) -> Result<Self, Fault> {
        let newest = self.epoch;
        if newest == owner.epoch { Ok(self) } else { Err(Fault::Fenced { owner: owner.clone(), newest }) }
    }
}

pub(in crate::sqlite) fn write(shard: &Shard, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Shard { epoch, node, owned_until, floor, head, slot } = shard;
    to.put(epoch)?.put(node)?.put(owned_until)?.put(floor)?.put(head)?.put(slot).map(drop)
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
        slot: row.take()?,
    };
    row.check()?;
    Ok(shard)
}
