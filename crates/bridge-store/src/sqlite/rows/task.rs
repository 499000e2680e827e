use bridge_core::{Consumer, Task};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "task",
    key: &["id"],
    rest: &["live", "mailbox", "principal", "consumer", "named", "created_at", "expires_at", "state"],
    live: None,
};

pub(super) fn write(task: &Task, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Task { id, mailbox, consumer, created_at, expires_at, state } = task;
    to.put(id)?.put(&live)?.put(mailbox)?;
    to.put(&consumer.principal)?.put(&consumer.name)?.put(&consumer.named)?;
    to.put(created_at)?.put(expires_at)?.put(state).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Task, Fault> {
    let id = row.take()?;
    let _live: bool = row.take()?;
    Ok(Task {
        id,
        mailbox: row.take()?,
        consumer: Consumer { principal: row.take()?, name: row.take()?, named: row.take()? },
        created_at: row.take()?,
        expires_at: row.take()?,
        state: row.take()?,
    })
}
