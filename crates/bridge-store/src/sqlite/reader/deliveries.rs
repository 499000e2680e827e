//! Deliveries by their state, wherever they lie: in the rows of their messages or by themselves.

use bridge_core::{Address, Delivery, First, Row, Seq, StateKind};
use rusqlite::{Connection, params};

use crate::sqlite::{
    bind::Take,
    fault::Fault,
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
    Ok(found.into_iter().map(|delivery| Row::Delivery(Box::new(delivery))).collect())
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
    let mut found = select.query(params![from, to, wanted.state.as_str(), mailbox, wanted.limit])?;
    let mut deliveries = Vec::new();
    while let Some(row) = found.next()? {
        let row = &mut Take::new(message::TABLE, row);
        let lasting = MessageRow::read(row)?;
        deliveries.extend(lasting.read_delivery(row)?);
    }
    Ok(deliveries)
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
    let mut found = select.query(values)?;
    let mut deliveries = Vec::new();
    while let Some(row) = found.next()? {
        if let Row::Delivery(delivery) = Kind::Delivery.read(row)? {
            deliveries.push(*delivery);
        }
    }
    Ok(deliveries)
}
