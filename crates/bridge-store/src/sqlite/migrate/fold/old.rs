//! Messages and deliveries as they lay up to version 2.

use bridge_core::{
    Address, Consumer, Delivery, Grant, GrantEnd, Headers, Lease, Made, Mailbox, Message, Name, OutcomeKind,
    Presence, Receipts, Seq, ShardId, State, Timestamp,
};
use rusqlite::Row;

use crate::sqlite::{bind::Take, columns::headers_of, fault::Fault};

/// The columns of a delivery.
pub(super) const DELIVERY: &str = "shard, id, live, message, mailbox, key, priority, place, size, bounce, expires_at, state, \
    visible_at, dead_reason, attempt, failures, lease_epoch, lease_number, lease_principal, \
    lease_consumer, lease_named, lease_batch_epoch, lease_batch_number, lease_attempt_id, \
    lease_started, lease_until, lease_end, lease_reply, lease_fingerprint, accepted, \
    presented, seen, progressed, answered, settled, read, dead, cancel_requested, reply, \
    progress, last_error, redrive_of, redriven_as, crc";

/// The columns of a message.
pub(super) const MESSAGE: &str = "shard, id, live, seq, sender, verified, recipient, type, priority, session, key, \
    reply_to, correlation_id, created_at, deliver_at, expires_at, headers, payload, crc";

/// The word for a lease that nobody used in time.
const LAPSED: &str = "lapsed";

/// Reads [`MESSAGE`].
pub(super) fn read_message(row: &Row<'_>) -> Result<(ShardId, Message), Fault> {
    let row = &mut Take::new("message", row);
    let (shard, id) = (row.take()?, row.take()?);
    let _live: bool = row.take()?;
    let message = Message {
        id,
        seq: row.take()?,
        from: row.take()?,
        verified: row.take()?,
        to: row.take()?,
        kind: row.take()?,
        priority: row.take()?,
        session: row.take()?,
        key: row.take()?,
        reply_to: row.take()?,
        correlation_id: row.take()?,
        created_at: row.take()?,
        deliver_at: row.take()?,
        expires_at: row.take()?,
        headers: read_headers(row)?,
        deliveries: 1,
        payload: row.take()?,
    };
    row.check()?;
    Ok((shard, message))
}

fn read_headers(row: &mut Take<'_, '_>) -> Result<Headers, Fault> {
    let text = row.text()?.and_then(headers_of);
    text.ok_or_else(|| row.damaged("has headers that make no sense"))
}

/// Reads [`DELIVERY`]. Who sent it, as what and where in the log its message tells.
pub(super) fn read_delivery(row: &Row<'_>) -> Result<(ShardId, Delivery), Fault> {
    let row = &mut Take::new("delivery", row);
    let (shard, id) = (row.take()?, row.take()?);
    let _live: bool = row.take()?;
    let delivery = Delivery {
        id,
        message: row.take()?,
        mailbox: row.take()?,
        from: Name::from_static(Name::NOBODY),
        kind: Name::from_static("message"),
        key: row.take()?,
        priority: row.take()?,
        seq: Seq::ZERO,
        place: row.take()?,
        size: row.take()?,
        bounce: row.take()?,
        expires_at: row.take()?,
        state: read_state(row)?,
        attempt: row.take()?,
        failures: row.take()?,
        grant: read_grant(row)?,
        attempts: Vec::new(),
        receipts: Receipts {
            accepted: row.take()?,
            presented: row.take()?,
            seen: row.take()?,
            progressed: row.take()?,
            answered: row.take()?,
            settled: row.take()?,
            read: row.take()?,
            dead: row.take()?,
        },
        cancel_requested: row.take()?,
        reply: row.take()?,
        progress: row.take()?,
        last_error: row.take()?,
        redrive_of: row.take()?,
        redriven_as: row.take()?,
        retire_at: None,
        message_gone: false,
    };
    row.check()?;
    Ok((shard, delivery))
}

/// The columns of a mailbox.
pub(super) const MAILBOX: &str =
    "shard, address, live, read_to, presence, presence_consumer, presence_since, crc";

/// Reads [`MAILBOX`]: all of them were of conversations.
pub(super) fn read_mailbox(row: &Row<'_>) -> Result<(ShardId, Mailbox), Fault> {
    let row = &mut Take::new("mailbox", row);
    let (shard, address): (ShardId, Address) = (row.take()?, row.take()?);
    let _live: bool = row.take()?;
    let read_to = row.take()?;
    let presence = Presence { state: row.take()?, consumer: row.take()?, since: row.take()? };
    row.check()?;
    let mailbox = Mailbox {
        settings: address.default_settings(),
        address,
        made: Made::ByHand,
        created_at: presence.since,
        used_at: presence.since,
        paused: None,
        floor: Seq::ZERO,
        read_to,
        presence,
    };
    Ok((shard, mailbox))
}

/// The columns of an event.
pub(super) const EVENT: &str = "shard, seq, at, kind, session, message, delivery, deliveries, lease_epoch, lease_number, \
    attempt, consumer, until, progress, reply, return_reason, failures, visible_at, error, \
    dead_reason, successor, title, unsettled, presence, presence_since, crc";

fn read_state(row: &mut Take<'_, '_>) -> Result<State, Fault> {
    let (word, visible_at, reason): (String, Option<Timestamp>, _) = (row.take()?, row.take()?, row.take()?);
    Ok(match (word.as_str(), visible_at, reason) {
        ("pending", Some(visible_at), None) => State::Pending { visible_at },
        ("leased", None, None) => State::Leased,
        ("done", None, None) => State::Done,
        ("dead", None, Some(reason)) => State::Dead(reason),
        ("cancelled", None, None) => State::Cancelled,
        _ => return Err(row.damaged("has a state that makes no sense")),
    })
}

fn read_grant(row: &mut Take<'_, '_>) -> Result<Option<Grant>, Fault> {
    let (epoch, number): (Option<u64>, Option<u64>) = (row.take()?, row.take()?);
    let (principal, name): (Option<Name>, Option<Name>) = (row.take()?, row.take()?);
    let named: Option<bool> = row.take()?;
    let (batch_epoch, batch_number): (Option<u64>, Option<u64>) = (row.take()?, row.take()?);
    let attempt_id: Option<Name> = row.take()?;
    let (started, until): (Option<Timestamp>, Option<Timestamp>) = (row.take()?, row.take()?);
    let end = read_end(row)?;
    let grant = || {
        Some(Grant {
            lease: Lease { epoch: epoch?, number: number? },
            consumer: Consumer { principal: principal?, name: name?, named: named? },
            batch: Lease { epoch: batch_epoch?, number: batch_number? },
            attempt_id: attempt_id?,
            started: started?,
            until: until?,
            end,
        })
    };
    match epoch {
        None => Ok(None),
        Some(_) => grant().map(Some).ok_or_else(|| row.damaged("has half a lease")),
    }
}

fn read_end(row: &mut Take<'_, '_>) -> Result<Option<GrantEnd>, Fault> {
    let (word, reply, fingerprint): (Option<String>, _, _) = (row.take()?, row.take()?, row.take()?);
    Ok(match word.as_deref() {
        None => None,
        Some(LAPSED) => Some(GrantEnd::Lapsed),
        Some(word) => {
            let outcome = OutcomeKind::ALL.into_iter().find(|it| it.as_str() == word);
            let outcome = outcome.ok_or_else(|| row.damaged("has a lease with an unknown end"))?;
            Some(GrantEnd::Spent { outcome, reply, fingerprint })
        }
    })
}
