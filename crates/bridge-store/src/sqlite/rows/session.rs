use bridge_core::Session;

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "session",
    key: &["id"],
    rest: &["live", "title", "owner", "created_at", "last_activity", "questions", "closed_at"],
    live: Some("session_live"),
};

pub(super) fn write(session: &Session, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Session { id, title, owner, created_at, last_activity, questions, closed_at } = session;
    to.put(id)?.put(&live)?;
    to.put(title)?.put(owner)?.put(created_at)?.put(last_activity)?.put(questions)?.put(closed_at).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Session, Fault> {
    let id = row.take()?;
    let _live: bool = row.take()?;
    Ok(Session {
        id,
        title: row.take()?,
        owner: row.take()?,
        created_at: row.take()?,
        last_activity: row.take()?,
        questions: row.take()?,
        closed_at: row.take()?,
    })
}
