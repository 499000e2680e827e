use bridge_core::{
    Consumer, Delivery, Grant, GrantEnd, Lease, Name, OutcomeKind, Receipts, State, Timestamp,
};

use super::Table;
use crate::sqlite::{
    bind::{Bind, Take},
    columns::Column,
    fault::Fault,
};

pub(super) const TABLE: Table = Table {
    name: "delivery",
    key: &["id"],
    rest: &[
        "live",
        "message",
        "mailbox",
        "key",
        "priority",
        "place",
        "size",
        "bounce",
        "expires_at",
        "state",
        "visible_at",
        "dead_reason",
        "attempt",
        "failures",
        "lease_epoch",
        "lease_number",
        "lease_principal",
        "lease_consumer",
        "lease_named",
        "lease_batch_epoch",
        "lease_batch_number",
        "lease_attempt_id",
        "lease_started",
        "lease_until",
        "lease_end",
        "lease_reply",
        "lease_fingerprint",
        "accepted",
        "presented",
        "seen",
        "progressed",
        "answered",
        "settled",
        "read",
        "dead",
        "cancel_requested",
        "reply",
        "progress",
        "last_error",
        "redrive_of",
        "redriven_as",
    ],
    live: Some("delivery_live"),
};

/// The word for a lease that nobody used in time.
const LAPSED: &str = "lapsed";

pub(super) fn write(delivery: &Delivery, live: bool, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let d = delivery;
    to.put(&d.id)?.put(&live)?.put(&d.message)?.put(&d.mailbox)?.put(&d.key)?.put(&d.priority)?;
    to.put(&d.place)?.put(&d.size)?.put(&d.bounce)?.put(&d.expires_at)?;
    write_state(d.state, to)?;
    to.put(&d.attempt)?.put(&d.failures)?;
    write_grant(d.grant.as_ref(), to)?;
    let Receipts { accepted, presented, seen, progressed, answered, settled, read, dead } = &d.receipts;
    to.put(accepted)?.put(presented)?.put(seen)?.put(progressed)?;
    to.put(answered)?.put(settled)?.put(read)?.put(dead)?;
    to.put(&d.cancel_requested)?.put(&d.reply)?.put(&d.progress)?.put(&d.last_error)?;
    to.put(&d.redrive_of)?.put(&d.redriven_as).map(drop)
}

pub(super) fn read(row: &mut Take<'_, '_>) -> Result<Delivery, Fault> {
    let id = row.take()?;
    let _live: bool = row.take()?;
    Ok(Delivery {
        id,
        message: row.take()?,
        mailbox: row.take()?,
        key: row.take()?,
        priority: row.take()?,
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
    })
}

fn write_state(state: State, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    let (visible_at, reason) = match state {
        State::Pending { visible_at } => (Some(visible_at), None),
        State::Dead(reason) => (None, Some(reason)),
        State::Leased | State::Done | State::Cancelled => (None, None),
    };
    to.put(&state.as_str())?.put(&visible_at)?.put(&reason).map(drop)
}

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

/// A lease's columns: all empty where there was no lease.
fn write_grant(grant: Option<&Grant>, to: &mut Bind<'_, '_>) -> Result<(), Fault> {
    fn column<C: Column>(grant: Option<&Grant>, of: fn(&Grant) -> C) -> Option<C> {
        grant.map(of)
    }
    to.put(&column(grant, |it| it.lease.epoch))?.put(&column(grant, |it| it.lease.number))?;
    to.put(&column(grant, |it| it.consumer.principal.clone()))?;
    to.put(&column(grant, |it| it.consumer.name.clone()))?;
    to.put(&column(grant, |it| it.consumer.named))?;
    to.put(&column(grant, |it| it.batch.epoch))?.put(&column(grant, |it| it.batch.number))?;
    to.put(&column(grant, |it| it.attempt_id.clone()))?;
    to.put(&column(grant, |it| it.started))?.put(&column(grant, |it| it.until))?;
    let (end, reply, fingerprint) = match grant.and_then(|it| it.end.as_ref()) {
        None => (None, None, None),
        Some(GrantEnd::Lapsed) => (Some(LAPSED), None, None),
        Some(GrantEnd::Spent { outcome, reply, fingerprint }) => {
            (Some(outcome.as_str()), *reply, *fingerprint)
        }
    };
    to.put(&end)?.put(&reply)?.put(&fingerprint).map(drop)
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
