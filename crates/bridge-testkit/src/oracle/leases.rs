//! Who holds what: told by the log, and by the answers where leases are held in memory alone.
//!
//! An answer and the log tell of one step each by itself. Leases are numbered as they are given: before the log tells of
//! one, or of the end of one, all that were given before it are taken from the answers.

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::{
    Answer, Backoff, Class, Consumer, DeadReason, Delivery, DeliveryId, Event, EventKind, Grant, Granted,
    Lease, Name, Priority, Row, RowKey, State, Timestamp,
};

use super::{Oracle, Violation, hold, log::delivery};
use crate::world::{Outcome, World};

/// Leases that stand in no row.
pub(crate) type Unrecorded = BTreeMap<DeliveryId, Held>;

/// A lease as it was granted.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) grant: Grant,
    pub(crate) attempt: u32,
}

/// In whose hands a delivery is.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) consumer: Consumer,
    /// The answer that granted it.
    answer: u64,
}

/// A lease that an answer of this step grants.
#[derive(Debug, Clone)]
pub(super) struct Upcoming {
    held: Held,
    delivery: DeliveryId,
    answer: u64,
}

impl Oracle {
    /// Collects the leases that the answers of a step grant and that no answer told of before.
    pub(super) fn collect_grants(&mut self, world: &World, outcome: &Outcome) {
        self.upcoming.clear();
        for (_, answer) in &outcome.answers {
            let Answer::Received(Ok(received)) = answer else { continue };
            let new = |granted: &&Granted| Some(granted.lease) > self.last_lease;
            let batch = received.granted.iter().filter(new).map(|granted| granted.lease).min();
            for granted in received.granted.iter().filter(new) {
                let grant = Grant {
                    lease: granted.lease,
                    consumer: granted.consumer.clone(),
                    batch: batch.unwrap_or(granted.lease),
                    attempt_id: Name::from_static("unknown"),
                    started: world.now(),
                    until: granted.until,
                    end: None,
                };
                let held = Held { grant, attempt: granted.attempt };
                let upcoming = Upcoming { held, delivery: granted.delivery, answer: received.answer };
                // A repetition in the same step tells it again, of what is still held.
                self.upcoming.entry(granted.lease).or_insert(upcoming);
            }
        }
        self.fresh = self.upcoming.keys().copied().collect();
        self.last_lease = self.upcoming.keys().next_back().copied().max(self.last_lease);
        self.presented = outcome
            .events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Presented { lease, .. } => Some(lease),
                _ => None,
            })
            .collect::<BTreeSet<_>>();
    }

    /// The log tells that a lease was given.
    pub(super) fn presented(
        &mut self,
        world: &World,
        delivery: &Delivery,
        lease: Lease,
        event: &Event,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        self.catch_up(world, outcome, |upcoming| upcoming.held.grant.lease < lease)?;
        let recorded = self.rules(world, outcome, &delivery.mailbox);
        let recorded = recorded.iter().any(|settings| settings.class != Class::Service);
        hold!("I10", recorded, "the log tells of {lease:?}, which is held in memory alone");
        let upcoming = self.upcoming.remove(&lease).filter(|upcoming| upcoming.delivery == delivery.id);
        let Some(upcoming) = upcoming else {
            hold!("I13", false, "{} is leased by {lease:?}, and nobody was told", delivery.id);
            return Ok(());
        };
        self.hand_over(world, delivery, &upcoming, event.at, outcome)
    }

    /// The log tells of the end of a lease: it was given before that.
    pub(super) fn was_given(
        &mut self,
        world: &World,
        id: DeliveryId,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let is_held = |oracle: &Self| oracle.seen.get(&id).is_some_and(|seen| seen.holder.is_some());
        if !is_held(self)
            && let Some(given) = self.upcoming.values().find(|upcoming| upcoming.delivery == id)
        {
            // With it everything that the same answer grants: all of that is in the same hands.
            let answer = given.answer;
            let of_it = self.upcoming.iter().filter(|(_, upcoming)| upcoming.answer == answer);
            let last = of_it.map(|(lease, _)| *lease).max();
            self.catch_up(world, outcome, |upcoming| Some(upcoming.held.grant.lease) <= last)?;
        }
        Ok(())
    }

    /// What is left of the leases that the answers of a step grant.
    pub(super) fn catch_up(
        &mut self,
        world: &World,
        outcome: &Outcome,
        until: impl Fn(&Upcoming) -> bool,
    ) -> Result<(), Violation> {
        while let Some((lease, upcoming)) = self.upcoming.first_key_value()
            && until(upcoming)
            && !self.presented.contains(lease)
        {
            let (lease, upcoming) = (*lease, upcoming.clone());
            self.upcoming.remove(&lease);
            let id = upcoming.delivery;
            let Some(delivery) = delivery(world.disk(), id) else {
                hold!("I13", false, "{id} was granted, and is nowhere");
                return Ok(());
            };
            let rules = self.rules(world, outcome, &delivery.mailbox);
            let silent = rules.iter().any(|settings| settings.class == Class::Service);
            hold!("I13", silent, "{id} was granted under {lease:?}, and the log does not say so");
            self.hand_over(world, delivery, &upcoming, world.now(), outcome)?;
            self.batches
                .entry(upcoming.held.grant.batch)
                .or_default()
                .insert(id, upcoming.held.grant.clone());
            self.unrecorded.insert(id, upcoming.held);
        }
        Ok(())
    }

    /// A delivery goes into somebody's hands.
    fn hand_over(
        &mut self,
        world: &World,
        delivery: &Delivery,
        upcoming: &Upcoming,
        at: Timestamp,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let id = delivery.id;
        let Grant { lease, consumer, until, .. } = &upcoming.held.grant;
        let holder = Holder { consumer: consumer.clone(), answer: upcoming.answer };
        if upcoming.held.attempt == 1 {
            self.in_turn(world, delivery, &holder, at, outcome)?;
        }
        let in_time = delivery.expires_at.is_none_or(|at_last| at_last > at);
        hold!("I5", in_time, "{id} was handed out after its time");
        self.is_open_to_all(world, delivery)?;
        let longest = at + self.policy.max_lease;
        hold!("I6", *until <= longest, "{id} is leased until {until:?}, longer than until {longest:?}");
        let credits = self.rules(world, outcome, &delivery.mailbox);
        let credit = credits.iter().map(|settings| self.policy.limits(settings).credit).max();
        let held = self.hands.get(consumer).map_or(0, BTreeSet::len);
        // What is critical comes on top of it.
        let may =
            delivery.priority == Priority::CRITICAL || credit.is_none_or(|credit| held < credit as usize);
        hold!("I7", may, "{} holds {held} of {credit:?}, and got {id}", consumer.name);
        let seen = self.seen.entry(id).or_default();
        hold!("I2", seen.holder.is_none(), "{id} was handed out twice at once");
        hold!("I4", !seen.over, "{id} was handed out after its end");
        hold!("I3", seen.newest < Some(*lease), "the leases of {id} do not rise");
        seen.newest = Some(*lease);
        seen.holder = Some(holder);
        self.hands.entry(consumer.clone()).or_default().insert(id);
        let evidence = self.evidence.entry(delivery.mailbox.clone()).or_default();
        *evidence = at.max(*evidence);
        let handed = self.handed.entry(delivery.mailbox.clone()).or_default();
        *handed += 1;
        if handed.is_multiple_of(8) {
            self.oldest.insert((id, *lease));
        }
        Ok(())
    }

    /// A delivery is handed out for the first time: what is ahead of it must be over, passed, or in the same hands.
    fn in_turn(
        &self,
        world: &World,
        delivery: &Delivery,
        holder: &Holder,
        at: Timestamp,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        // What has no key waits for nothing.
        if delivery.key.is_none() {
            return Ok(());
        }
        let rules = self.rules(world, outcome, &delivery.mailbox);
        let keeps = rules.iter().any(|settings| settings.class == Class::Agent);
        let skips = rules.iter().any(|settings| settings.backoff == Backoff::Skips);
        let is_over = |other: &Delivery| other.expires_at.is_some_and(|last| last <= at);
        let ahead = self.lanes.get(&super::log::lane(delivery)).into_iter().flatten();
        for (_, other) in ahead.take_while(|(place, _)| Some(**place) < delivery.place) {
            let same = self.seen.get(other).and_then(|seen| seen.holder.as_ref()).map(|ahead| {
                let keeps = keeps && holder.consumer.named && ahead.consumer == holder.consumer;
                keeps || ahead.answer == holder.answer
            });
            let free = same.unwrap_or_else(|| {
                self::delivery(world.disk(), *other).is_some_and(|other| {
                    // Of what is not pending any more the row tells what became of it later in this step.
                    let passed = match other.state {
                        State::Pending { visible_at } => visible_at > at,
                        _ => true,
                    };
                    // It may have been given another time after that.
                    let before = outcome.before(&RowKey::Delivery(other.id));
                    let was_over = matches!(before, Some(Row::Delivery(before)) if is_over(before));
                    is_over(other)
                        || was_over
                        || (skips && passed)
                        || other.seq <= self.floor(world, &other.mailbox)
                })
            });
            hold!("I5", free, "{} was handed out before {other}", delivery.id);
        }
        Ok(())
    }

    /// A lease is over. What it was, if it stood in no row.
    pub(super) fn let_go(&mut self, id: DeliveryId) -> Option<Held> {
        let seen = self.seen.entry(id).or_default();
        if let Some(holder) = seen.holder.take()
            && let Some(held) = self.hands.get_mut(&holder.consumer)
        {
            held.remove(&id);
        }
        let held = self.unrecorded.remove(&id)?;
        self.lapsed.push((id, held.grant.batch));
        Some(held)
    }

    /// What a closed conversation has left is given up without a word, and leaves its holders room for more.
    pub(super) fn let_go_of_closed(&mut self, world: &World, outcome: &Outcome) {
        for (key, _) in &outcome.replaced {
            let RowKey::Delivery(id) = key else { continue };
            let row = delivery(world.disk(), *id);
            if row.is_some_and(|row| row.state == State::Dead(DeadReason::SessionClosed)) {
                let holder = self.seen.get(id).and_then(|seen| seen.holder.as_ref());
                if let Some(held) = holder.and_then(|holder| self.hands.get_mut(&holder.consumer)) {
                    held.remove(id);
                }
            }
        }
    }

    /// Whose leases have ended in memory alone are members of their batches no more.
    pub(super) fn leave_batches(&mut self) {
        for (id, batch) in std::mem::take(&mut self.lapsed) {
            self.leave_batch(id, batch);
        }
    }

    pub(super) fn leave_batch(&mut self, id: DeliveryId, batch: Lease) {
        if let Some(members) = self.batches.get_mut(&batch) {
            members.remove(&id);
            if members.is_empty() {
                self.batches.remove(&batch);
            }
        }
    }

    /// The shard was loaded again: leases that stood in no row are forgotten, until a newer one is given.
    pub(super) fn forget_unrecorded(&mut self, world: &World) {
        for id in self.unrecorded.keys().copied().collect::<Vec<_>>() {
            self.let_go(id);
            let row = delivery(world.disk(), id);
            self.seen.entry(id).or_default().newest =
                row.and_then(|row| row.grant.as_ref()).map(|grant| grant.lease);
        }
        self.leave_batches();
    }
}
