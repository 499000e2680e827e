use std::sync::Arc;

use bridge_core::{
    Address, DeadReason, DeliveryId, Event, EventKind, Lease, MessageId, Name, Presence, PresenceState,
    ReturnReason, Seq, SessionId, ShardId, Side, Timestamp,
};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    fault::Fault,
};

pub(in crate::sqlite) const TABLE: Table = Table {
    name: "event",
    key: &["seq"],
    rest: &[
        "at",
        "kind",
        "session",
        "message",
        "delivery",
        "deliveries",
        "lease_epoch",
        "lease_number",
        "attempt",
        "consumer",
        "until",
        "progress",
        "reply",
        "return_reason",
        "failures",
        "visible_at",
        "error",
        "dead_reason",
        "successor",
        "title",
        "unsettled",
        "presence",
        "presence_since",
        "mailbox",
        "floor",
    ],
    live: None,
};

/// What the kinds of events tell, each in a column of its own. A kind fills those it needs.
#[derive(Default)]
struct Detail {
    deliveries: Option<u32>,
    lease_epoch: Option<u64>,
    lease_number: Option<u64>,
    attempt: Option<u32>,
    consumer: Option<Name>,
    until: Option<Timestamp>,
    progress: Option<Arc<str>>,
    reply: Option<MessageId>,
    return_reason: Option<ReturnReason>,
    failures: Option<u32>,
    visible_at: Option<Timestamp>,
    error: Option<Arc<str>>,
    dead_reason: Option<DeadReason>,
    successor: Option<DeliveryId>,
    title: Option<Arc<str>>,
    unsettled: Option<u32>,
    presence: Option<PresenceState>,
    presence_since: Option<Timestamp>,
    mailbox: Option<Address>,
    floor: Option<Seq>,
}

pub(in crate::sqlite) fn write(shard: ShardId, event: &Event, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let Event { seq, at, session, message, delivery, kind } = event;
    to.put(&shard)?.put(seq)?.put(at)?.put(&kind.name())?.put(session)?.put(message)?.put(delivery)?;
    let d = Detail::of(kind, *session)?;
    to.put(&d.deliveries)?.put(&d.lease_epoch)?.put(&d.lease_number)?.put(&d.attempt)?.put(&d.consumer)?;
    to.put(&d.until)?.put(&d.progress)?.put(&d.reply)?.put(&d.return_reason)?.put(&d.failures)?;
    to.put(&d.visible_at)?.put(&d.error)?.put(&d.dead_reason)?.put(&d.successor)?.put(&d.title)?;
    to.put(&d.unsettled)?.put(&d.presence)?.put(&d.presence_since)?.put(&d.mailbox)?.put(&d.floor).map(drop)
}

pub(in crate::sqlite) fn read(row: &rusqlite::Row<'_>) -> Result<Event, Fault> {
    read_columns(row, Columns::All)
}

/// Reads an event as it lay up to version 2.
pub(in crate::sqlite) fn read_old(row: &rusqlite::Row<'_>) -> Result<Event, Fault> {
    read_columns(row, Columns::UpToVersion2)
}

/// Which columns a row has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    All,
    /// Neither `mailbox` nor `floor`.
    UpToVersion2,
}

fn read_columns(row: &rusqlite::Row<'_>, columns: Columns) -> Result<Event, Fault> {
    let row = &mut Take::new(TABLE.name, row);
    row.shard()?;
    let (seq, at, name): (_, _, String) = (row.take()?, row.take()?, row.take()?);
    let (session, message, delivery) = (row.take()?, row.take()?, row.take()?);
    let detail = Detail {
        deliveries: row.take()?,
        lease_epoch: row.take()?,
        lease_number: row.take()?,
        attempt: row.take()?,
        consumer: row.take()?,
        until: row.take()?,
        progress: row.take()?,
        reply: row.take()?,
        return_reason: row.take()?,
        failures: row.take()?,
        visible_at: row.take()?,
        error: row.take()?,
        dead_reason: row.take()?,
        successor: row.take()?,
        title: row.take()?,
        unsettled: row.take()?,
        presence: row.take()?,
        presence_since: row.take()?,
        ..Detail::default()
    };
    let detail = match columns {
        Columns::All => Detail { mailbox: row.take()?, floor: row.take()?, ..detail },
        Columns::UpToVersion2 => detail,
    };
    row.check()?;
    let kind = detail
        .kind(&name, session)
        .ok_or_else(|| row.damaged(&format!("is no whole event of kind {name}")))?;
    Ok(Event { seq, at, session, message, delivery, kind })
}

/// The mailbox whose events need not name it: its session does.
const fn agent(session: SessionId) -> Address {
    Address::Session(session, Side::Agent)
}

impl Detail {
    fn of(kind: &EventKind, session: Option<SessionId>) -> Result<Self, Fault> {
        let none = Self::default();
        Ok(match kind.clone() {
            EventKind::Accepted { deliveries } => Self { deliveries: Some(deliveries), ..none },
            EventKind::Presented { lease, attempt, consumer, until } => Self {
                lease_epoch: Some(lease.epoch),
                lease_number: Some(lease.number),
                attempt: Some(attempt),
                consumer: Some(consumer),
                until: Some(until),
                ..none
            },
            EventKind::Progressed { text, until } => Self { progress: text, until: Some(until), ..none },
            EventKind::Answered { reply } => Self { reply: Some(reply), ..none },
            EventKind::Returned { reason, failures, visible_at, error } => Self {
                return_reason: Some(reason),
                failures: Some(failures),
                visible_at: Some(visible_at),
                error,
                ..none
            },
            EventKind::Dead { reason, error } => Self { dead_reason: Some(reason), error, ..none },
            EventKind::Redriven { successor } => Self { successor: Some(successor), ..none },
            EventKind::SessionOpened { title } | EventKind::SessionRenamed { title } => {
                Self { title, ..none }
            }
            EventKind::SessionClosed { unsettled } => Self { unsettled: Some(unsettled), ..none },
            EventKind::PresenceChanged { mailbox, presence: Presence { state, consumer, since } } => Self {
                presence: Some(state),
                consumer,
                presence_since: Some(since),
                mailbox: Some(mailbox).filter(|mailbox| session.map(agent).as_ref() != Some(mailbox)),
                ..none
            },
            EventKind::MailboxPurged { mailbox, floor } => {
                Self { mailbox: Some(mailbox), floor: Some(floor), ..none }
            }
            EventKind::MailboxPaused { mailbox, by } => {
                Self { mailbox: Some(mailbox), consumer: Some(by), ..none }
            }
            EventKind::MailboxResumed { mailbox } => Self { mailbox: Some(mailbox), ..none },
            EventKind::TtlChanged { expires_at } => Self { until: Some(expires_at), ..none },
            EventKind::Visible
            | EventKind::Seen
            | EventKind::Settled
            | EventKind::Cancelled
            | EventKind::Read
            | EventKind::MessageDeleted => none,
            _ => return Err(Fault::Unknown("this kind of event")),
        })
    }

    /// The event of this name, if its columns are filled.
    fn kind(self, name: &str, session: Option<SessionId>) -> Option<EventKind> {
        Some(match name {
            "message.accepted" => EventKind::Accepted { deliveries: self.deliveries? },
            "message.visible" => EventKind::Visible,
            "delivery.presented" => EventKind::Presented {
                lease: Lease { epoch: self.lease_epoch?, number: self.lease_number? },
                attempt: self.attempt?,
                consumer: self.consumer?,
                until: self.until?,
            },
            "delivery.seen" => EventKind::Seen,
            "delivery.progressed" => EventKind::Progressed { text: self.progress, until: self.until? },
            "delivery.answered" => EventKind::Answered { reply: self.reply? },
            "delivery.settled" => EventKind::Settled,
            "delivery.returned" => EventKind::Returned {
                reason: self.return_reason?,
                failures: self.failures?,
                visible_at: self.visible_at?,
                error: self.error,
            },
            "delivery.dead" => EventKind::Dead { reason: self.dead_reason?, error: self.error },
            "delivery.cancelled" => EventKind::Cancelled,
            "delivery.read" => EventKind::Read,
            "delivery.redriven" => EventKind::Redriven { successor: self.successor? },
            "message.deleted" => EventKind::MessageDeleted,
            "session.opened" => EventKind::SessionOpened { title: self.title },
            "session.renamed" => EventKind::SessionRenamed { title: self.title },
            "session.closed" => EventKind::SessionClosed { unsettled: self.unsettled? },
            "mailbox.purged" => EventKind::MailboxPurged { mailbox: self.mailbox?, floor: self.floor? },
            "mailbox.paused" => EventKind::MailboxPaused { mailbox: self.mailbox?, by: self.consumer? },
            "mailbox.resumed" => EventKind::MailboxResumed { mailbox: self.mailbox? },
            "message.ttl_changed" => EventKind::TtlChanged { expires_at: self.until? },
            "presence.changed" => EventKind::PresenceChanged {
                mailbox: self.mailbox.or_else(|| session.map(agent))?,
                presence: Presence {
                    state: self.presence?,
                    consumer: self.consumer,
                    since: self.presence_since?,
                },
            },
            _ => return None,
        })
    }
}
