//! Receives that wait for a mailbox, in the order they came.

use alloc::collections::BTreeMap;

use crate::{command::CallId, consumer::Consumer, id::Name, receive::Receive, time::Timestamp};

/// A receive that waits.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) call: CallId,
    pub(super) receive: Receive,
    pub(super) until: Timestamp,
}

/// A place in the line. The lowest has waited longest.
pub(super) type Ticket = u64;

/// Those who wait for one mailbox.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    line: BTreeMap<Ticket, Parked>,
    attempts: BTreeMap<(Consumer, Name), Ticket>,
    last: Ticket,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Takes in a receive: behind all others, or in a place that was left.
    pub(super) fn insert(&mut self, parked: Parked, place: Option<Ticket>) -> Ticket {
        let ticket = place.unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        self.attempts.insert(attempt(&parked.receive), ticket);
        self.line.insert(ticket, parked);
        ticket
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Parked> {
        let parked = self.line.remove(&ticket)?;
        self.attempts.remove(&attempt(&parked.receive));
        Some(parked)
    }

    /// The place of the attempt that this one repeats.
    pub(super) fn same_attempt(&self, receive: &Receive) -> Option<Ticket> {
        self.attempts.get(&attempt(receive)).copied()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Parked> {
        self.line.get(&ticket)
    }

    /// Who has waited longest, of those behind `ticket`.
    pub(super) fn after(&self, ticket: Ticket) -> Option<(Ticket, &Parked)> {
        self.line.range(ticket + 1..).next().map(|(ticket, parked)| (*ticket, parked))
    }

    /// The places of one consumer.
    pub(super) fn of<'a>(&'a self, consumer: &'a Consumer) -> impl Iterator<Item = Ticket> + 'a {
        let first = (consumer.clone(), Name::from_static(" "));
        self.attempts
            .range(first..)
            .take_while(move |((other, _), _)| other == consumer)
            .map(|(_, ticket)| *ticket)
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = CallId> + '_ {
        self.line.values().map(|parked| parked.call)
    }
}

fn attempt(receive: &Receive) -> (Consumer, Name) {
    (receive.consumer.clone(), receive.attempt_id.clone())
}
