//! The indexes for observers.

use std::{iter, sync::Arc};

use bridge_core::{Delivery, DeliveryId, Index, Message, Row, RowKey, Seq, SessionId, ShardId, Timestamp};
use rusqlite::{Connection, ToSql, params};

use super::{deliveries, find_apart, live::live};
use crate::{
    page,
    sqlite::{
        bind::Take,
        fault::{Fault, if_sound},
        rows::{
            Kind, MessageRow,
            message::{self, CHANGING, Known, LASTING, PAYLOAD},
        },
    },
};

pub(in crate::sqlite) fn scan(
    connection: &Connection,
    id: ShardId,
    index: &Index,
    limit: usize,
) -> Result<Vec<Row>, Fault> {
    if let Index::Live { after } = index {
        return live(connection, id, after.as_ref(), limit);
    }
    let Some(shard) = super::shard(connection, id)? else { return Ok(Vec::new()) };
    let rows = limit;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let select = |kind, condition, values: &[&dyn ToSql]| {
        let all: Vec<_> = [&id.0 as &dyn ToSql, &limit].into_iter().chain(values.iter().copied()).collect();
        select(connection, kind, condition, &all, |found| found.collect())
    };
    // Whoever looks for what is to be removed goes on behind what is damaged.
    let select_sound = |kind, condition, values: &[&dyn ToSql]| {
        let all: Vec<_> = [&id.0 as &dyn ToSql, &-1].into_iter().chain(values.iter().copied()).collect();
        self::select(connection, kind, condition, &all, |found| {
            found.filter_map(|row| if_sound(row).transpose()).take(rows).collect()
        })
    };
    match index {
        Index::Sessions { before: None } => {
            select(Kind::Session, "TRUE ORDER BY created_at DESC, id DESC", &[])
        }
        Index::Sessions { before: Some((began, session)) } => select(
            Kind::Session,
            "(created_at, id) < (?3, ?4) ORDER BY created_at DESC, id DESC",
            &[&millis(*began), &session.0.to_be_bytes()],
        ),
        Index::Messages { session, before } => {
            let span = shard.span(id);
            let end = match before {
                Some(Seq(0)) => return Ok(Vec::new()),
                Some(Seq(before)) => span.up_to(Seq(before - 1)),
                None => span.last(),
            };
            messages(connection, id, params![session.0.to_be_bytes(), span.before(), end, limit])
        }
        Index::Deliveries { state, mailbox, from, to, first } => {
            let wanted =
                deliveries::Wanted { state: *state, mailbox: mailbox.as_ref(), first: *first, limit };
            deliveries::scan(connection, &shard.span(id), &wanted, *from, *to)
        }
        Index::Retiring { after, until } => {
            deliveries::retiring(connection, &shard.span(id), *after, *until, rows)
        }
        Index::ClosedSessions { after, until } => {
            let (at, session) = after.map_or((-1, SessionId::DEFAULT), |(at, id)| (millis(at), id));
            select_sound(
                Kind::Session,
                "(closed_at, id) > (?3, ?4) AND closed_at <= ?5 ORDER BY closed_at, id",
                &[&at, &session.0.to_be_bytes(), &millis(*until)],
            )
        }
        Index::Readers { session } => {
            select(Kind::Reader, "session = ?3 ORDER BY name", &[&session.0.to_be_bytes()])
        }
        Index::IdempotencyBefore(time) => select_sound(
            Kind::Idempotency,
            "expires_at < ?3 ORDER BY expires_at, sender, recipient, key",
            &[&millis(*time)],
        ),
        _ => Err(Fault::Unknown("this index")),
    }
}

const fn millis(at: Timestamp) -> i64 {
    at.as_millis().cast_signed()
}

fn messages_sql() -> String {
    // Without the name of the index the planner may walk the whole table, for its rows are in the wanted order.
    format!(
        "SELECT {LASTING}, {PAYLOAD}, {CHANGING} FROM message INDEXED BY message_by_session
         WHERE session = ?1 AND seq > ?2 AND seq <= ?3 AND verified IS NOT NULL ORDER BY seq DESC LIMIT ?4"
    )
}

/// Messages of the session `?1` behind the place `?2` and up to the place `?3`, at most `?4`.
fn messages(connection: &Connection, id: ShardId, values: &[&dyn ToSql]) -> Result<Vec<Row>, Fault> {
    let mut select = connection.prepare_cached(&messages_sql())?;
    let mut found = select.query(values)?;
    let mut known = Known::of_page();
    page::fill(iter::from_fn(|| match found.next() {
        Ok(row) => row.map(|row| message(connection, id, row, &mut known)),
        Err(error) => Some(Err(error.into())),
    }))
}

/// A message and its first delivery, which nearly always lies in the same row.
fn message(
    connection: &Connection,
    id: ShardId,
    row: &rusqlite::Row<'_>,
    known: &mut Known,
) -> Result<(Arc<Message>, Option<Arc<Delivery>>), Fault> {
    let row = &mut Take::new(message::TABLE, row);
    let lasting = MessageRow::read(row)?;
    let message = Arc::new(lasting.read_message(row, known)?);
    if let Some(delivery) = lasting.read_delivery_of(&message, row)? {
        return Ok((message, Some(Arc::new(delivery))));
    }
    match find_apart(connection, id, &RowKey::Delivery(DeliveryId::of(lasting.id, 0)))? {
        Some(Row::Delivery(delivery)) => Ok((message, Some(delivery))),
        _ => Ok((message, None)),
    }
}

/// Those rows of the shard `?1`, at most `?2`, that `take` takes.
fn select(
    connection: &Connection,
    kind: Kind,
    condition: &str,
    values: &[&dyn ToSql],
    take: impl FnOnce(&mut dyn Iterator<Item = Result<Row, Fault>>) -> Result<Vec<Row>, Fault>,
) -> Result<Vec<Row>, Fault> {
    let (table, columns) = kind.source();
    let sql = format!("SELECT {columns} FROM {table} WHERE shard = ?1 AND {condition} LIMIT ?2");
    let mut select = connection.prepare_cached(&sql)?;
    let mut found = select.query(values)?;
    take(&mut iter::from_fn(|| match found.next() {
        Ok(row) => row.map(|row| kind.read(row)),
        Err(error) => Some(Err(error.into())),
    }))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::sqlite::{Settings, schema};

    #[test]
    fn a_page_is_not_planned_anew_for_each_conversation() {
        let directory = tempfile::tempdir().unwrap();
        let file = schema::database(directory.path());
        let _writer = schema::open_writer(&file, &Settings::default()).unwrap();
        let reader = schema::open_reader(&file).unwrap();
        for session in 1..=3_u128 {
            let values = params![session.to_be_bytes(), 0, i64::MAX, 10];
            assert_eq!(messages(&reader, ShardId(0), values).unwrap(), []);
        }
        let select = reader.prepare_cached(&messages_sql()).unwrap();
        assert_eq!(select.get_status(StatementStatus::Run), 3);
        assert_eq!(select.get_status(StatementStatus::RePrepare), 0);
    }
}
