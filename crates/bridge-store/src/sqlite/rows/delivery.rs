use bridge_core::{
    Address, Delivery, DeliveryId, MessageId, Name, Priority, Receipts, Seq, State, Timestamp,
};

use super::{
    Table,
    detail::{self, Detail},
};
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

/// The deliveries that lie in no message's row.
pub(super) const TABLE: Table = Table {
    name: "delivery",
    key: &["id"],
    rest: &[
        "message",
        "mailbox",
        "sender",
        "type",
        "key",
        "priority",
        "seq",
        "size",
        "expires_at",
        "accepted",
        "redrive_of",
        "live",
        "state",
        "visible_at",
        "attempt",
        "failures",
        "detail",
        "retire_at",
    ],
    live: Some("delivery_live"),
};

pub(super) fn write(delivery: &Delivery, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let d = delivery;
    to.put(&d.id)?.put(&d.message)?.put(&d.mailbox)?.put(&d.from)?.put(&d.kind)?.put(&d.key)?;
    to.put(&d.priority)?.put(&d.seq)?.put(&d.size)?;
    to.put(&d.expires_at)?.put(&d.receipts.accepted)?.put(&d.redrive_of)?;
    write_changing(delivery, None, to)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Delivery, Fault> {
    let lasting = Lasting {
        id: row.take()?,
        message: row.take()?,
        mailbox: row.take()?,
        from: row.take()?,
        kind: row.take()?,
        key: row.take()?,
        priority: row.take()?,
        seq: row.take()?,
        size: row.take()?,
        expires_at: row.take()?,
        accepted: row.take()?,
        redrive_of: row.take()?,
    };
    let changing = read_changing(row, None)?;
    changing.map(|changing| lasting.with(changing)).ok_or_else(|| row.damaged("has no state"))
}

/// What never changes of a delivery.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) id: DeliveryId,
    pub(super) message: MessageId,
    pub(super) mailbox: Address,
    pub(super) from: Name,
    pub(super) kind: Name,
    pub(super) key: Option<Name>,
    pub(super) priority: Priority,
    pub(super) seq: Seq,
    pub(super) size: u32,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) accepted: Timestamp,
    pub(super) redrive_of: Option<DeliveryId>,
}

/// What changes of a delivery.
#[derive(Debug)]
pub(super) struct Changing {
    state: State,
    attempt: u32,
    failures: u32,
    detail: Detail,
    retire_at: Option<Timestamp>,
}

impl Lasting {
    pub(super) fn with(self, changing: Changing) -> Delivery {
        let Self { id, message, mailbox, from, kind, key, priority, seq, size, .. } = self;
        let Self { expires_at, accepted, redrive_of, .. } = self;
        let Changing { state, attempt, failures, detail, retire_at } = changing;
        Delivery {
            id,
            message,
            mailbox,
            from,
            kind,
            key,
            priority,
            seq,
            place: detail.place,
            size,
            bounce: detail.bounce,
            expires_at,
            state,
            attempt,
            failures,
            grant: detail.grant,
            attempts: detail.attempts,
            receipts: Receipts { accepted, ..detail.receipts },
            cancel_requested: detail.cancel_requested,
            reply: detail.reply,
            progress: detail.progress,
            last_error: detail.last_error,
            redrive_of,
            redriven_as: detail.redriven_as,
            retire_at,
            message_gone: detail.message_gone,
        }
    }
}

/// Binds what changes: `live`, `state`, `visible_at`, `attempt`, `failures`, `detail`, `retire_at`. The row
/// implies `place`.
pub(super) fn write_changing(
    delivery: &Delivery,
    place: Option<Seq>,
    to: &mut Bind<'_, '_>,
) -> Result<(), Fault> {
    let visible_at = match delivery.state {
        State::Pending { visible_at } => Some(visible_at),
        State::Leased | State::Done | State::Dead(_) | State::Cancelled => None,
    };
    to.put(&delivery.is_live())?.put(&delivery.state.as_str())?.put(&visible_at)?.put(&delivery.attempt)?;
    to.put(&delivery.failures)?.put(&detail::write(delivery, place))?.put_later(&delivery.retire_at).map(drop)
}

/// Takes what changes of a delivery; none where the columns are empty.
pub(super) fn read_changing(row: &mut Take<'_, '_>, place: Option<Seq>) -> Result<Option<Changing>, Fault> {
    let _live: Option<bool> = row.take()?;
    let word = row.text()?;
    let (visible_at, attempt, failures) = (row.take()?, row.take()?, row.take()?);
    let detail = detail::read(row.text()?, place);
    let retire_at = row.take_later()?;
    let Some(word) = word else { return Ok(None) };
    let detail = detail.map_err(|_| row.damaged("has a detail that makes no sense"))?;
    let state = match (word, visible_at, detail.reason) {
        ("pending", Some(visible_at), None) => State::Pending { visible_at },
        ("leased", None, None) => State::Leased,
        ("done", None, None) => State::Done,
        ("dead", None, Some(reason)) => State::Dead(reason),
        ("cancelled", None, None) => State::Cancelled,
        _ => return Err(row.damaged("has a state that makes no sense")),
    };
    match (attempt, failures) {
        (Some(attempt), Some(failures)) => Ok(Some(Changing { state, attempt, failures, detail, retire_at })),
        _ => Err(row.damaged("has half a delivery")),
    }
}
