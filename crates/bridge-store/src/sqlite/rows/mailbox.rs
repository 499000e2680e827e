use std::time::Duration;

use bridge_core::{Backoff, Made, Mailbox, MailboxSettings, Order, Paused, Presence};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "mailbox",
    key: &["address"],
    rest: &[
        "live",
        "class",
        "unordered",
        "skips",
        "max_pending",
        "max_pending_bytes",
        "lease_ms",
        "max_failures",
        "made_by_use",
        "created_at",
        "used_at",
        "paused_by",
        "paused_since",
        "floor",
        "read_to",
        "presence",
        "presence_consumer",
        "presence_since",
    ],
    live: None,
};

pub(super) fn write(mailbox: &Mailbox, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Mailbox { address, settings, made, created_at, used_at, paused, floor, read_to, presence } = mailbox;
    let MailboxSettings { class, order, backoff, max_pending, max_pending_bytes, lease, max_failures } =
        settings;
    let lease = lease.map(|lease| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    to.put(address)?.put(&live)?.put(class)?;
    to.put(&(*order == Order::Loose))?.put(&(*backoff == Backoff::Skips))?;
    to.put(max_pending)?.put(max_pending_bytes)?.put(&lease)?.put(max_failures)?;
    to.put(&(*made == Made::ByUse))?.put(created_at)?.put(used_at)?;
    to.put(&paused.as_ref().map(|paused| paused.by.clone()))?;
    to.put(&paused.as_ref().map(|paused| paused.since))?.put(floor)?.put(read_to)?;
    let Presence { state, consumer, since } = presence;
    to.put(state)?.put(consumer)?.put(since).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Mailbox, Fault> {
    let address = row.take()?;
    let _live: bool = row.take()?;
    let class = row.take()?;
    let (unordered, skips): (bool, bool) = (row.take()?, row.take()?);
    let (max_pending, max_pending_bytes) = (row.take()?, row.take()?);
    let lease: Option<u64> = row.take()?;
    let settings = MailboxSettings {
        class,
        order: if unordered { Order::Loose } else { Order::Keyed },
        backoff: if skips { Backoff::Skips } else { Backoff::Blocks },
        max_pending,
        max_pending_bytes,
        lease: lease.map(Duration::from_millis),
        max_failures: row.take()?,
    };
    let made = if row.take()? { Made::ByUse } else { Made::ByHand };
    let (created_at, used_at) = (row.take()?, row.take()?);
    let paused = match (row.take()?, row.take()?) {
        (Some(by), Some(since)) => Some(Paused { by, since }),
        (None, None) => None,
        _ => return Err(row.damaged("is half paused")),
    };
    let (floor, read_to) = (row.take()?, row.take()?);
    let presence = Presence { state: row.take()?, consumer: row.take()?, since: row.take()? };
    Ok(Mailbox { address, settings, made, created_at, used_at, paused, floor, read_to, presence })
}
