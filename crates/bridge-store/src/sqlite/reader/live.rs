//! The live rows: kind after kind, those of a kind by their keys, and deliveries first by the places of their messages.

use std::sync::Arc;

use bridge_core::{Ownership, Row, RowKey, ShardId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
    rows::{
        self, Kind, MessageRow, Span,
        message::{self, CHANGING, LASTING},
    },
};

/// Rows of one page of a load.
const PAGE: usize = 1_000;

pub(in crate::sqlite) fn load(
    connection: &Connection,
    owner: &Ownership,
    after: Option<&RowKey>,
) -> Result<Vec<Row>, Fault> {
    super::shard(connection, owner.shard)?.unwrap_or_default().of(owner)?;
    live(connection, owner.shard, after, PAGE)
}

/// At most `limit` live rows behind the one that ended the page before.
pub(super) fn live(
    connection: &Connection,
    id: ShardId,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    let Some(shard) = super::shard(connection, id)? else { return Ok(Vec::new()) };
    let span = shard.span(id);
    let begun = after.map(Kind::of).transpose()?;
    let mut page = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| begun.is_none_or(|begun| begun <= *kind)) {
        let mut after = after.filter(|_| begun == Some(kind));
        if kind == Kind::Delivery {
            let rowid = after.map(|key| place(connection, id, key)).transpose()?.flatten();
            // Those that lie by themselves come behind all others.
            if after.is_none() || rowid.is_some() {
                in_messages(connection, rowid.unwrap_or(span.before()), &span, limit, &mut page)?;
                after = None;
            }
        }
        of_kind(connection, kind, id, after, limit, &mut page)?;
    }
    Ok(page)
}

/// Where the row of a delivery lies among the messages, if it lies there.
fn place(connection: &Connection, shard: ShardId, key: &RowKey) -> Result<Option<i64>, Fault> {
    let RowKey::Delivery(id) = key else { return Ok(None) };
    let id = id.0.to_be_bytes();
    let find = |sql| -> Result<Option<i64>, Fault> {
        let mut find = connection.prepare_cached(sql)?;
        Ok(find.query_row(params![shard.0, id], |row| row.get(0)).optional()?)
    };
    let apart = find("SELECT 1 FROM delivery WHERE shard = ? AND id = ?")?;
    if apart.is_some() {
        return Ok(None);
    }
    // It may be gone from there since, but its message tells the place.
    find("SELECT seq FROM message WHERE shard = ? AND id = ?")?.map(Some).ok_or(Fault::Moved)
}

/// Live deliveries in the rows of their messages.
pub(in crate::sqlite) fn in_messages_sql() -> String {
    format!(
        "SELECT {LASTING}, {CHANGING} FROM message INDEXED BY message_live
         WHERE live = 1 AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    )
}

fn in_messages(
    connection: &Connection,
    after: i64,
    span: &Span,
    limit: usize,
    page: &mut Vec<Row>,
) -> Result<(), Fault> {
    let mut load = connection.prepare_cached(&in_messages_sql())?;
    let mut query = Bind::new(&mut load);
    query.put(&after)?.put(&span.last())?.put(&((limit - page.len()) as u64))?;
    let mut found = query.query();
    while let Some(row) = found.next()? {
        let row = &mut Take::new(message::TABLE, row);
        let lasting = MessageRow::read(row)?;
        let delivery =
            lasting.read_delivery(row)?.ok_or_else(|| row.damaged("is marked as what it is not"))?;
        page.push(Row::Delivery(Arc::new(delivery)));
    }
    Ok(())
}

/// Live rows that have a table of their own.
fn of_kind(
    connection: &Connection,
    kind: Kind,
    shard: ShardId,
    after: Option<&RowKey>,
    limit: usize,
    page: &mut Vec<Row>,
) -> Result<(), Fault> {
    let Some(table) = kind.table() else { return Ok(()) };
    let left = limit - page.len();
    // Behind the only row of its kind there is none.
    if left == 0 || (after.is_some() && table.key.is_empty()) {
        return Ok(());
    }
    let sql = if after.is_some() { table.load_after() } else { table.load() };
    let mut load = connection.prepare_cached(&sql)?;
    let mut query = Bind::new(&mut load);
    match after {
        Some(key) => rows::write_key(shard, key, &mut query)?,
        None => query.put(&shard).map(drop)?,
    }
    query.put(&(left as u64))?;
    let mut found = query.query();
    while let Some(row) = found.next()? {
        page.push(kind.read(row)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Settings, schema};

    #[test]
    fn a_load_does_not_look_through_rows_that_are_not_live() {
        let directory = tempfile::tempdir().unwrap();
        let connection =
            schema::open_writer(&schema::database(directory.path()), &Settings::default()).unwrap();
        let tables = Kind::ALL.into_iter().filter_map(Kind::table);
        let loads = tables.filter_map(|table| Some((table.live?, [table.load(), table.load_after()])));
        let in_messages = ("message_live", [in_messages_sql(), in_messages_sql()]);
        for (index, load) in loads.chain([in_messages]).flat_map(|(index, loads)| loads.map(|it| (index, it)))
        {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {load}")).unwrap();
            let steps = explain.raw_query().mapped(|row| row.get::<_, String>("detail"));
            let plan: String = steps.map(Result::unwrap).collect();
            assert!(plan.contains(index), "{load}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{load}: {plan}");
        }
    }
}
