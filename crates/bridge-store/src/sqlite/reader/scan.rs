//! The indexes for observers.

use bridge_core::{Index, Row, Seq, SessionId, ShardId, Timestamp};
use rusqlite::{Connection, ToSql};

use super::{deliveries, live::live};
use crate::{
    page,
    sqlite::{
        fault::{Fault, if_sound},
        rows::Kind,
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
        select(connection, kind, condition, &all, |found| page::fill(found))
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
        Index::Sessions { before: Some(session) } => select(
            Kind::Session,
            "(created_at, id) < (SELECT created_at, id FROM session WHERE shard = ?1 AND id = ?3)
             ORDER BY created_at DESC, id DESC",
            &[&session.0.to_be_bytes()],
        ),
        Index::Messages { session, before } => {
            let span = shard.span(id);
            let end = match before {
                Some(Seq(0)) => return Ok(Vec::new()),
                Some(Seq(before)) => span.up_to(Seq(before - 1)),
                None => span.last(),
            };
            select(
                Kind::Message,
                "session = ?3 AND seq > ?4 AND seq <= ?5 AND verified IS NOT NULL ORDER BY seq DESC",
                &[&session.0.to_be_bytes(), &span.before(), &end],
            )
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

/// Those rows of the shard `?1`, at most `?2`, that `take` takes.
fn select(
    connection: &Connection,
    kind: Kind,
    condition: &str,
    values: &[&dyn ToSql],
    take: impl FnOnce(&mut dyn Iterator<Item = Result<Row, Fault>>) -> Result<Vec<Row>, Fault>,
) -> Result<Vec<Row>, Fault> {
    let (table, columns) = kind.source();
    // Else the planner may walk the whole table, for its rows are in the wanted order.
    let index = if kind == Kind::Message { "INDEXED BY message_by_session" } else { "" };
    let sql = format!("SELECT {columns} FROM {table} {index} WHERE shard = ?1 AND {condition} LIMIT ?2");
    let mut select = connection.prepare_cached(&sql)?;
    let mut found = select.query(values)?;
    take(&mut std::iter::from_fn(|| match found.next() {
        Ok(row) => row.map(|row| kind.read(row)),
        Err(error) => Some(Err(error.into())),
    }))
}
