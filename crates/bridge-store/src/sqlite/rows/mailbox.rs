use bridge_core::{Mailbox, Presence};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "mailbox",
    key: &["address"],
    rest: &["live", "read_to", "presence", "presence_consumer", "presence_since"],
    live: None,
};

pub(super) fn write(mailbox: &Mailbox, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Mailbox { address, read_to, presence: Presence { state, consumer, since } } = mailbox;
    to.put(address)?.put(&live)?.put(read_to)?.put(state)?.put(consumer)?.put(since).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Mailbox, Fault> {
    let address = row.take()?;
    let _live: bool = row.take()?;
    Ok(Mailbox {
        address,
        read_to: row.take()?,
        presence: Presence { state: row.take()?, consumer: row.take()?, since: row.take()? },
    })
}
