//! Deliveries by their state, wherever they lie: in the rows of their messages or by themselves.

use std::sync::Arc;

use bridge_core::{Address, Delivery, First, Row, Seq, StateKind, Timestamp};
use rusqlite::{Connection, Rows, params};

use crate::sqlite::{
    bind::Take,
    fault::{Fault, if_sound},
    rows::{
        Kind, MessageRow, Span,
        message::{self, CHANGING, LASTING},
    },
};

/// Which deliveries are looked for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) state: StateKind,
    pub(super) mailbox: Option<&'a Address>,
    pub(super) first: First,
    pub(super) limit: i64,
}

/// Those that were made from `from` on and before `to`.
pub(super) fn scan(
    connection: &Connection,
    span: &Span,
    wanted: &Wanted<'_>,
    from: Seq,
    to: Seq,
) -> Result<Vec<Row>, Fault> {
    if to <= from {
        return Ok(Vec::new());
    }
    let mut found = in_messages(connection, span, wanted, from, to)?;
    found.append(&mut apart(connection, span, wanted, from, to)?);
    found.sort_by_key(|delivery| delivery.seq);
    if wanted.first == First::Newest {
        found.reverse();
    }
    found.truncate(usize::try_from(wanted.limit).unwrap_or(usize::MAX));
    Ok(found.into_iter().map(|delivery| Row::Delivery(Arc::new(delivery))).collect())
}

/// Those that are to be looked at up to a time, soonest first, but for damaged ones.
pub(super) fn retiring(
    connection: &Connection,
    span: &Span,
    after: Option<(Timestamp, Seq)>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    let millis = |at: Timestamp| i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let until = millis(until);
    let (at, place) = after.map_or((-1, Seq::ZERO), |(at, seq)| (millis(at), seq));
    let mut in_messages = connection.prepare_cached(&format!(
        "SELECT {LASTING}, {CHANGING} FROM message INDEXED BY message_retiring
         WHERE (retire_at, seq) > (?1, ?2) AND retire_at <= ?3 AND seq > ?4 AND seq <= ?5
         ORDER BY retire_at, seq"
    ))?;
    let values = params![at, span.up_to(place), until, span.before(), span.last()];
    let mut found = sound(in_messages.query(values)?, limit, in_message)?;
    let (table, columns) = Kind::Delivery.source();
    let mut apart = connection.prepare_cached(&format!(
        "SELECT {columns} FROM {table} INDEXED BY delivery_retiring
         WHERE shard = ?1 AND (retire_at, seq) > (?2, ?3) AND retire_at <= ?4 ORDER BY retire_at, seq"
    ))?;
    let place = i64::try_from(place.0).unwrap_or(i64::MAX);
    found.append(&mut sound(apart.query(params![span.shard.0, at, place, until])?, limit, by_itself)?);
    found.sort_by_key(|delivery| (delivery.retire_at, delivery.seq));
    found.truncate(limit);
    Ok(found.into_iter().map(|delivery| Row::Delivery(Arc::new(delivery))).collect())
}

const fn order(first: First) -> &'static str {
    match first {
        First::Oldest => "ASC",
        First::Newest => "DESC",
    }
}

fn in_messages(
    connection: &Connection,
    span: &Span,
    wanted: &Wanted<'_>,
    from: Seq,
    to: Seq,
) -> Result<Vec<Delivery>, Fault> {
    // The word of what is rare stands in the query, for its index to be used.
    let (index, state) = match wanted.state {
        StateKind::Dead => ("INDEXED BY message_dead", "state = 'dead' AND ?3 IS NOT NULL"),
        _ => ("NOT INDEXED", "state = ?3"),
    };
    let sql = format!(
        "SELECT {LASTING}, {CHANGING} FROM message {index}
         WHERE seq >= ?1 AND seq < ?2 AND {state} AND (?4 IS NULL OR recipient = ?4)
         ORDER BY seq {} LIMIT ?5",
        order(wanted.first)
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mailbox = wanted.mailbox.map(ToString::to_string);
    let (from, to) = (span.up_to(from), span.up_to(to));
    all(select.query(params![from, to, wanted.state.as_str(), mailbox, wanted.limit])?, in_message)
}

fn apart(
    connection: &Connection,
    span: &Span,
    wanted: &Wanted<'_>,
    from: Seq,
    to: Seq,
) -> Result<Vec<Delivery>, Fault> {
    let (table, columns) = Kind::Delivery.source();
    let sql = format!(
        "SELECT {columns} FROM {table} INDEXED BY delivery_by_seq
         WHERE shard = ?1 AND seq >= ?2 AND seq < ?3 AND state = ?4 AND (?5 IS NULL OR mailbox = ?5)
         ORDER BY seq {} LIMIT ?6",
        order(wanted.first)
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mailbox = wanted.mailbox.map(ToString::to_string);
    let signed = |seq: Seq| i64::try_from(seq.0).unwrap_or(i64::MAX);
    let values =
        params![span.shard.0, signed(from), signed(to), wanted.state.as_str(), mailbox, wanted.limit];
    all(select.query(values)?, by_itself)
}

type Read = fn(&rusqlite::Row<'_>) -> Result<Option<Delivery>, Fault>;

fn all(mut found: Rows<'_>, read: Read) -> Result<Vec<Delivery>, Fault> {
    let mut deliveries = Vec::new();
    while let Some(row) = found.next()? {
        deliveries.extend(read(row)?);
    }
    Ok(deliveries)
}

/// The first of them that are not damaged.
fn sound(mut found: Rows<'_>, limit: usize, read: Read) -> Result<Vec<Delivery>, Fault> {
    let mut deliveries = Vec::new();
    while deliveries.len() < limit
        && let Some(row) = found.next()?
    {
        deliveries.extend(if_sound(read(row))?.flatten());
    }
    Ok(deliveries)
}

fn in_message(row: &rusqlite::Row<'_>) -> Result<Option<Delivery>, Fault> {
    let row = &mut Take::new(message::TABLE, row);
    MessageRow::read(row)?.read_delivery(row)
}

fn by_itself(row: &rusqlite::Row<'_>) -> Result<Option<Delivery>, Fault> {
    match Kind::Delivery.read(row)? {
        Row::Delivery(delivery) => Ok(Some(Arc::unwrap_or_clone(delivery))),
        _ => Ok(None),
    }
}
