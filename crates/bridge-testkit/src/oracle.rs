//! What must hold whatever happens: a judge that knows nothing of the shard but its log, its rows and what was confirmed.

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::{
    Delivery, DeliveryId, Event, EventKind, IdempotencyScope, Lease, MessageId, Row, RowKey, Seq, State,
};

use crate::disk::Disk;

/// Remembers what was promised, and says so when a promise is broken.
///
/// The invariants are named as in the documentation of the semantics.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Messages that were confirmed to their sender.
    confirmed: BTreeSet<MessageId>,
    /// What each idempotency key was answered with.
    keys: BTreeMap<IdempotencyScope, MessageId>,
    /// What the log has said so far.
    log: Vec<Event>,
    seen: BTreeMap<DeliveryId, Seen>,
    terminal: BTreeMap<DeliveryId, State>,
}

/// What the log has said of a delivery.
#[derive(Debug, Default)]
struct Seen {
    newest: Option<Lease>,
    leased: bool,
    over: bool,
    answers: u32,
}

/// A broken promise.
#[derive(Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
}

/// Ends the check with a violation unless the condition holds.
macro_rules! hold {
    ($invariant:literal, $condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(Violation { invariant: $invariant, what: format!($($what)*) });
        }
    };
}

impl Oracle {
    /// A publish was confirmed: first result or repetition.
    ///
    /// # Errors
    /// A violation of I1 or I9.
    pub fn published(
        &mut self,
        disk: &Disk,
        message: MessageId,
        scope: Option<IdempotencyScope>,
    ) -> Result<(), Violation> {
        self.confirmed.insert(message);
        if let Some(scope) = scope {
            let first = *self.keys.entry(scope).or_insert(message);
            hold!("I9", first == message, "a key gave {first}, then {message}");
        }
        self.kept(disk, message)
    }

    /// A lease was handed to a consumer.
    ///
    /// # Errors
    /// A violation of I13: it is not durable, or not the newest.
    pub fn granted(&self, delivery: DeliveryId, lease: Lease) -> Result<(), Violation> {
        let newest = self.seen.get(&delivery).and_then(|seen| seen.newest);
        hold!(
            "I13",
            newest == Some(lease),
            "{delivery} was granted under {lease:?}, the log says {newest:?}"
        );
        Ok(())
    }

    /// The newest lease of a delivery, as far as the log has told.
    pub fn newest(&self, delivery: DeliveryId) -> Option<Lease> {
        self.seen.get(&delivery).and_then(|seen| seen.newest)
    }

    /// A settlement was accepted that was not a repetition; `newest` was the newest lease before it.
    ///
    /// # Errors
    /// A violation of I3: a newer lease was given before.
    pub fn settled(
        &self,
        delivery: DeliveryId,
        lease: Lease,
        newest: Option<Lease>,
    ) -> Result<(), Violation> {
        hold!(
            "I3",
            newest == Some(lease),
            "{delivery} was settled under {lease:?}, the newest is {newest:?}"
        );
        Ok(())
    }

    /// A step became durable.
    ///
    /// # Errors
    /// A violation of I1, I2, I4, I6, I10 or I11.
    pub fn committed(&mut self, disk: &Disk, max_failures: u32) -> Result<(), Violation> {
        let log = disk.log();
        hold!("I10", log.len() >= self.log.len(), "the log has become shorter");
        let (before, new) = log.split_at(self.log.len());
        hold!("I10", before.last() == self.log.last(), "the log tells its past anew");
        for event in new {
            let next = self.log.last().map_or(Seq::ZERO, |event| event.seq).next();
            hold!("I10", event.seq == next, "after {next:?} comes {:?}", event.seq);
            self.follow(event)?;
            if let EventKind::Presented { attempt: 1, .. } = event.kind {
                in_turn(disk, event)?;
            }
            self.log.push(event.clone());
        }
        for delivery in disk.deliveries() {
            self.check(delivery, max_failures)?;
        }
        Ok(())
    }

    fn follow(&mut self, event: &Event) -> Result<(), Violation> {
        let Some(id) = event.delivery else { return Ok(()) };
        let seen = self.seen.entry(id).or_default();
        match &event.kind {
            EventKind::Presented { lease, .. } => {
                hold!("I2", !seen.leased, "{id} was handed out twice at once");
                hold!("I4", !seen.over, "{id} was handed out after its end");
                hold!("I3", seen.newest < Some(*lease), "the leases of {id} do not rise");
                seen.newest = Some(*lease);
                seen.leased = true;
            }
            EventKind::Returned { .. } => seen.leased = false,
            EventKind::Answered { .. }
            | EventKind::Settled
            | EventKind::Dead { .. }
            | EventKind::Cancelled
            | EventKind::Read => {
                hold!("I4", !seen.over, "{id} ended twice: {}", event.kind.name());
                seen.over = true;
                seen.leased = false;
                seen.answers += u32::from(matches!(event.kind, EventKind::Answered { .. }));
                hold!("I11", seen.answers <= 1, "{id} has {} answers", seen.answers);
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self, delivery: &Delivery, max_failures: u32) -> Result<(), Violation> {
        let id = delivery.id;
        hold!("I6", delivery.failures <= max_failures, "{id} failed {} times", delivery.failures);
        if delivery.state.is_terminal() {
            let first = *self.terminal.entry(id).or_insert(delivery.state);
            hold!("I4", first == delivery.state, "{id} was {first:?} and is {:?}", delivery.state);
        } else {
            hold!("I4", !self.terminal.contains_key(&id), "{id} came back from its end");
        }
        let settled = matches!(delivery.state, State::Done) && delivery.receipts.read.is_none();
        hold!("I1", !settled || delivery.place.is_some(), "{id} was settled before it was visible");
        let leased = delivery.state == State::Leased;
        hold!("I2", !leased || delivery.grant.is_some(), "{id} is leased to nobody");
        Ok(())
    }

    fn kept(&self, disk: &Disk, message: MessageId) -> Result<(), Violation> {
        let key = RowKey::Delivery(DeliveryId::of(message, 0));
        hold!("I1", disk.get(&key).is_some(), "{message} was confirmed and has no delivery");
        let content = disk.get(&RowKey::Message(message));
        hold!("I1", matches!(content, Some(Row::Message(_))), "{message} was confirmed and has no content");
        Ok(())
    }

    /// Everything was given time and willing consumers: all deliveries must have come to an end.
    ///
    /// # Errors
    /// A violation of I1 or I6.
    pub fn at_the_end(&self, disk: &Disk) -> Result<(), Violation> {
        for message in &self.confirmed {
            self.kept(disk, *message)?;
        }
        for delivery in disk.deliveries() {
            hold!("I6", delivery.state.is_terminal(), "{} never ended: {:?}", delivery.id, delivery.state);
        }
        Ok(())
    }

    /// Memory holds what a load of the disk would give.
    ///
    /// # Errors
    /// A violation of I15.
    pub fn same(&self, disk: &Disk, memory: impl Iterator<Item = Row>) -> Result<(), Violation> {
        let mut rows: BTreeMap<RowKey, Row> = disk.live().map(|row| (row.key(), row)).collect();
        for row in memory {
            let key = row.key();
            let stored = rows.remove(&key);
            hold!("I15", stored.is_some(), "{key:?} is in memory only");
            hold!(
                "I15",
                stored.clone().map(timeless) == Some(timeless(row.clone())),
                "{key:?} is {stored:?} on disk and {row:?} in memory"
            );
        }
        hold!("I15", rows.is_empty(), "{:?} are on disk only", rows.keys());
        Ok(())
    }
}

/// A delivery was handed out for the first time: what is ahead of it must be over, or in the same hands.
fn in_turn(disk: &Disk, event: &Event) -> Result<(), Violation> {
    let id = event.delivery.unwrap_or(DeliveryId(0));
    let Some(Row::Delivery(delivery)) = disk.get(&RowKey::Delivery(id)) else { return Ok(()) };
    let Some(grant) = delivery.grant.as_ref().filter(|_| delivery.state == State::Leased) else {
        return Ok(());
    };
    let lane = |of: &Delivery| (of.mailbox.clone(), of.key.clone(), of.priority);
    let ahead = disk.deliveries().filter(|other| {
        lane(other) == lane(&delivery) && other.place < delivery.place && other.place.is_some()
    });
    for other in ahead {
        let over = other.state.is_terminal() || other.expires_at.is_some_and(|at| at <= event.at);
        let same_hands = other.state == State::Leased
            && other.grant.as_ref().is_some_and(|ahead| {
                ahead.batch == grant.batch || (ahead.consumer == grant.consumer && grant.consumer.named)
            });
        hold!("I5", over || same_hands, "{id} was handed out before {}", other.id);
    }
    Ok(())
}

/// A row without the end of its lease, which a load prolongs.
fn timeless(mut row: Row) -> Row {
    if let Row::Delivery(delivery) = &mut row
        && let Some(grant) = &mut delivery.grant
    {
        grant.until = grant.started;
    }
    row
}
