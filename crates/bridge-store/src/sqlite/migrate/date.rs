//! From version 3 to 4: what has ended before is looked at once, and the shard decides then what becomes of it. What is damaged
//! is left as it is, and nothing looks at it.

use std::sync::Arc;

use bridge_core::{Address, Delivery, Row, ShardId, Timestamp};
use rusqlite::{Connection, params};

use crate::sqlite::{
    bind::Take,
    fault::{Fault, if_sound},
    rows::{
        self, Kind, MessageRow, SHARD, Span,
        message::{self, CHANGING, LASTING},
    },
    writer::Messages,
};

/// Deliveries that are written together.
const PAGE: u32 = 1_000;

pub(super) fn date(connection: &Connection) -> Result<(), Fault> {
    let mut writer = Messages::new(connection)?;
    for (id, span) in spans(connection)? {
        let mut last = span.before();
        while let Some(end) = date_in_messages(connection, &span, last, &mut writer)? {
            last = end;
        }
        for delivery in apart(connection, id)? {
            put(&span, delivery, &mut writer)?;
        }
    }
    Ok(())
}

fn spans(connection: &Connection) -> Result<Vec<(ShardId, Span)>, Fault> {
    let mut find = connection.prepare(&format!("SELECT {} FROM shard", SHARD.columns()))?;
    let mut found = find.query([])?;
    let mut spans = Vec::new();
    while let Some(row) = found.next()? {
        let id = Take::new(SHARD.name, row).shard()?;
        spans.push((id, rows::read_shard(row)?.span(id)));
    }
    Ok(spans)
}

/// Writes those behind `last` that lie with their messages; the last one it has written.
fn date_in_messages(
    connection: &Connection,
    span: &Span,
    last: i64,
    writer: &mut Messages<'_>,
) -> Result<Option<i64>, Fault> {
    let mut find = connection.prepare_cached(&format!(
        "SELECT {LASTING}, {CHANGING} FROM message
         WHERE seq > ? AND seq <= ? AND live = 0 AND session IS NULL ORDER BY seq LIMIT ?"
    ))?;
    let mut found = find.query(params![last, span.last(), PAGE])?;
    let (mut page, mut end) = (Vec::new(), None);
    while let Some(row) = found.next()? {
        end = Some(row.get("seq")?);
        page.extend(if_sound(in_message(row))?.flatten());
    }
    page.into_iter().try_for_each(|delivery| put(span, delivery, writer))?;
    Ok(end)
}

fn in_message(row: &rusqlite::Row<'_>) -> Result<Option<Delivery>, Fault> {
    let row = &mut Take::new(message::TABLE, row);
    let lasting = MessageRow::read(row)?;
    let message_gone = lasting.verified.is_none();
    Ok(lasting.read_delivery(row)?.map(|delivery| Delivery { message_gone, ..delivery }))
}

/// Those that lie by themselves; there are few.
fn apart(connection: &Connection, shard: ShardId) -> Result<Vec<Delivery>, Fault> {
    let (table, columns) = Kind::Delivery.source();
    let mut find = connection.prepare(&format!(
        "SELECT {columns} FROM {table} WHERE shard = ? AND live = 0 AND mailbox NOT LIKE 'session:%'"
    ))?;
    let mut found = find.query([shard.0])?;
    let mut deliveries = Vec::new();
    while let Some(row) = found.next()? {
        if let Some(Row::Delivery(delivery)) = if_sound(Kind::Delivery.read(row))? {
            deliveries.push(Arc::unwrap_or_clone(delivery));
        }
    }
    Ok(deliveries)
}

/// Lets a delivery be looked at at once, unless another one was made from it, or its conversation keeps it.
fn put(span: &Span, delivery: Delivery, writer: &mut Messages<'_>) -> Result<(), Fault> {
    if delivery.redriven_as.is_some() || matches!(delivery.mailbox, Address::Session(..)) {
        return Ok(());
    }
    let dated = Delivery { retire_at: Some(Timestamp::default()), ..delivery };
    writer.put_delivery(span, &dated)
}
