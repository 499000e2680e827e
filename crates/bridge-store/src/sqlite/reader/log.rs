//! The log: events that lie by themselves and those in the rows of their messages, in one order.

use bridge_core::{Event, LogPage, Scope, Seq, SessionId, ShardId};
use rusqlite::{Connection, OptionalExtension, Rows, params};

use crate::sqlite::{
    bind::Take,
    fault::Fault,
    rows::{
        self, EVENT, MessageRow, Shard, Span,
        message::{self, LASTING},
    },
};

pub(in crate::sqlite) fn read_log(
    connection: &Connection,
    id: ShardId,
    scope: Scope,
    after: Seq,
    limit: usize,
) -> Result<LogPage, Fault> {
    let Some(shard) = super::shard(connection, id)? else { return Ok(LogPage::default()) };
    let span = shard.span(id);
    let Shard { floor, head, .. } = shard;
    let (floor, wanted, index, condition) = match scope {
        Scope::All => (floor, None, "", "?1 IS NULL"),
        Scope::Session(session) => (
            begin(connection, &span, session, floor)?,
            Some(session.0.to_be_bytes()),
            "INDEXED BY message_by_session",
            "session = ?1",
        ),
    };
    let columns = EVENT.columns();
    let mut apart = connection.prepare_cached(&format!(
        "SELECT {columns} FROM event WHERE {condition} AND shard = ?2 AND seq > ?3 ORDER BY seq"
    ))?;
    let mut in_messages = connection.prepare_cached(&format!(
        "SELECT {LASTING} FROM message {index}
         WHERE {condition} AND logged = 1 AND seq > ?2 AND seq <= ?3 ORDER BY seq"
    ))?;
    // No row is beyond SQL's integers, so neither need a bound be.
    let bound = i64::try_from(after.0).unwrap_or(i64::MAX);
    let mut apart = apart.query(params![wanted, id.0, bound])?;
    let mut in_messages = in_messages.query(params![wanted, span.up_to(after), span.last()])?;

    let mut events = Vec::new();
    let (mut left, mut right) = (None, None);
    while events.len() < limit {
        if left.is_none() {
            left = next_apart(&mut apart)?;
        }
        if right.is_none() {
            right = next_in_messages(&mut in_messages)?;
        }
        let next = match (&left, &right) {
            (Some(one), Some(other)) if other.seq < one.seq => right.take(),
            (Some(_), _) => left.take(),
            (None, _) => right.take(),
        };
        let Some(event) = next else { break };
        events.push(event);
    }
    Ok(LogPage { events, floor, head })
}

/// Where the events of a session begin if that is before the floor of the log; else the floor.
fn begin(connection: &Connection, span: &Span, session: SessionId, floor: Seq) -> Result<Seq, Fault> {
    if floor == Seq::ZERO {
        return Ok(floor);
    }
    let session = session.0.to_be_bytes();
    let mut apart = connection.prepare_cached(
        "SELECT seq FROM event INDEXED BY event_by_session
         WHERE shard = ?1 AND session = ?2 AND seq <= ?3 ORDER BY seq LIMIT 1",
    )?;
    let bound = i64::try_from(floor.0).unwrap_or(i64::MAX);
    let apart = apart.query_row(params![span.shard.0, session, bound], |row| row.get(0)).optional()?;
    let mut in_messages = connection.prepare_cached(
        "SELECT seq FROM message INDEXED BY message_by_session
         WHERE session = ?1 AND logged = 1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT 1",
    )?;
    let bounds = params![session, span.before(), span.up_to(floor)];
    let in_messages = in_messages.query_row(bounds, |row| row.get(0)).optional()?;
    let first =
        [apart.map(i64::cast_unsigned).map(Seq), in_messages.map(Span::seq)].into_iter().flatten().min();
    Ok(first.map_or(floor, |first| Seq(first.0.saturating_sub(1))))
}

fn next_apart(found: &mut Rows<'_>) -> Result<Option<Event>, Fault> {
    found.next()?.map(rows::read_event).transpose()
}

fn next_in_messages(found: &mut Rows<'_>) -> Result<Option<Event>, Fault> {
    let Some(row) = found.next()? else { return Ok(None) };
    let row = &mut Take::new(message::TABLE, row);
    let event = MessageRow::read(row)?.event();
    event.map(Some).ok_or_else(|| row.damaged("is no whole event"))
}
