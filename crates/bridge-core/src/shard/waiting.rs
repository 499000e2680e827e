//! Receives that wait, in the order they came.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{command::CallId, consumer::Consumer, id::Name, receive::Receive, time::Timestamp};

/// A receive that waits.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) receive: Receive,
    pub(super) until: Timestamp,
    /// Its place in the line of each of its mailboxes.
    pub(super) ticket: Ticket,
    /// Something is there: until when it waits for more.
    pub(super) lingers_until: Option<Timestamp>,
}

/// A place in the line. The lowest has waited longest.
pub(super) type Ticket = u64;

/// Those who wait for one mailbox.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    line: BTreeMap<Ticket, CallId>,
    /// Those who take any type of message.
    any: BTreeSet<Ticket>,
    /// Those who take some types alone, under each of them.
    types: BTreeMap<Name, BTreeSet<Ticket>>,
    consumers: BTreeMap<Consumer, BTreeSet<Ticket>>,
    attempts: BTreeMap<(Consumer, Name), CallId>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn insert(&mut self, call: CallId, parked: &Parked) {
        self.line.insert(parked.ticket, call);
        if parked.receive.types.is_empty() {
            self.any.insert(parked.ticket);
        }
        for kind in &parked.receive.types {
            self.types.entry(kind.clone()).or_default().insert(parked.ticket);
        }
        self.attempts.insert(attempt(&parked.receive), call);
        self.consumers.entry(parked.receive.consumer.clone()).or_default().insert(parked.ticket);
    }

    pub(super) fn remove(&mut self, parked: &Parked) {
        let call = self.line.remove(&parked.ticket);
        self.any.remove(&parked.ticket);
        for kind in &parked.receive.types {
            remove_from(&mut self.types, kind, parked.ticket);
        }
        let attempt = attempt(&parked.receive);
        if call.is_some() && self.attempts.get(&attempt) == call.as_ref() {
            self.attempts.remove(&attempt);
        }
        remove_from(&mut self.consumers, &parked.receive.consumer, parked.ticket);
    }

    /// The call of the attempt that this one repeats.
    pub(super) fn same_attempt(&self, receive: &Receive) -> Option<CallId> {
        self.attempts.get(&attempt(receive)).copied()
    }

    /// Who has waited longest, of those behind `ticket` who take something of what `is_there`.
    pub(super) fn after(&self, ticket: Ticket, is_there: impl Fn(&Name) -> bool) -> Option<(Ticket, CallId)> {
        let wanted = self.types.iter().filter(|(kind, _)| is_there(kind)).map(|(_, tickets)| tickets);
        let next =
            wanted.chain([&self.any]).filter_map(|tickets| tickets.range(ticket + 1..).next()).min()?;
        Some((*next, *self.line.get(next)?))
    }

    /// The calls of one consumer.
    pub(super) fn of(&self, consumer: &Consumer) -> impl Iterator<Item = CallId> + '_ {
        let tickets = self.consumers.get(consumer).into_iter().flatten();
        tickets.filter_map(|ticket| self.line.get(ticket)).copied()
    }

    pub(super) fn calls(&self) -> Vec<CallId> {
        self.line.values().copied().collect()
    }
}

fn remove_from<K: Ord>(all: &mut BTreeMap<K, BTreeSet<Ticket>>, of: &K, ticket: Ticket) {
    if let Some(tickets) = all.get_mut(of) {
        tickets.remove(&ticket);
        if tickets.is_empty() {
            all.remove(of);
        }
    }
}

fn attempt(receive: &Receive) -> (Consumer, Name) {
    (receive.consumer.clone(), receive.attempt_id.clone())
}
