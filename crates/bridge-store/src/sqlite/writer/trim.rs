//! Removing events: those that lie by themselves, and those in the rows of their messages, which go when nothing else is in them.

use bridge_core::{Scope, Seq};
use rusqlite::{Connection, params};

use crate::sqlite::{
    bind::{Bind, Take},
    fault::{Fault, if_sound},
    rows::{
        MessageRow, Span,
        message::{self, LASTING},
    },
};

/// Removes the events of `scope` behind `after` and up to `up_to`: of [`Scope::All`] those of no session.
pub(super) fn trim(
    connection: &Connection,
    span: &Span,
    scope: Scope,
    after: Seq,
    up_to: Seq,
) -> Result<(), Fault> {
    // The indexes are named, for the planner may prefer to walk through everything up to that place.
    let (session, [by_event, by_message], of_it) = match scope {
        Scope::All => (None, ["", "NOT INDEXED"], "?1 IS NULL AND session IS NULL"),
        Scope::Session(session) => (
            Some(session.0.to_be_bytes()),
            ["INDEXED BY event_by_session", "INDEXED BY message_by_session"],
            "session = ?1",
        ),
    };
    let mut events = connection.prepare_cached(&format!(
        "DELETE FROM event {by_event} WHERE {of_it} AND shard = ?2 AND seq > ?3 AND seq <= ?4"
    ))?;
    let bound = |seq: Seq| i64::try_from(seq.0).unwrap_or(i64::MAX);
    events.execute(params![session, span.shard.0, bound(after), bound(up_to)])?;

    let rows = params![session, span.up_to(after), span.up_to(up_to)];
    let inside = format!("{of_it} AND logged = 1 AND seq > ?2 AND seq <= ?3");
    connection
        .prepare_cached(&format!(
            "DELETE FROM message {by_message} WHERE {inside} AND verified IS NULL AND state IS NULL"
        ))?
        .execute(rows)?;
    let mut find =
        connection.prepare_cached(&format!("SELECT seq FROM message {by_message} WHERE {inside}"))?;
    let left = find.query_map(rows, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    left.into_iter().try_for_each(|rowid| forget_event(connection, rowid))
}

/// Takes the event out of a row that holds something else too. Nobody reads it any more, so a damaged row can stay.
fn forget_event(connection: &Connection, rowid: i64) -> Result<(), Fault> {
    let mut get = connection.prepare_cached(&format!("SELECT {LASTING} FROM message WHERE seq = ?"))?;
    let mut found = get.query([rowid])?;
    let Some(row) = found.next()? else { return Ok(()) };
    let read = MessageRow::read(&mut Take::new(message::TABLE, row));
    let Some(row) = if_sound(read)? else { return Ok(()) };
    let places = vec!["?"; LASTING.split(',').count()].join(", ");
    let sql = format!("UPDATE message SET ({LASTING}) = ({places}) WHERE seq = ?");
    let mut update = connection.prepare_cached(&sql)?;
    let mut update = Bind::new(&mut update);
    row.without_event().write_lasting(&mut update)?;
    update.put(&rowid)?;
    update.run().map(drop)
}
