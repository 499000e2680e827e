//! What is derived from deliveries, kept in step with them in one place.

use alloc::sync::Arc;

use super::{
    Batch, Shard, Step,
    lanes::{Lane, Placed},
    timer::Timer,
};
use crate::{
    address::Address,
    consumer::Consumer,
    delivery::{Delivery, Grant, State},
    id::{DeliveryId, Name},
    message::Priority,
    store::Row,
    time::Timestamp,
};

impl Shard {
    /// Changes a delivery and everything derived from it; the row is written with the step.
    ///
    /// # Panics
    /// If there is no live delivery `id`: a caller has just looked at it.
    pub(super) fn update(
        &mut self,
        id: DeliveryId,
        now: Timestamp,
        step: &mut Step,
        change: impl FnOnce(&mut Delivery),
    ) {
        self.change(id, change, |shard, delivery| shard.insert(delivery, now, step));
    }

    /// Changes a delivery in memory alone: the row is written when something else changes it.
    ///
    /// # Panics
    /// If there is no live delivery `id`: a caller has just looked at it.
    pub(super) fn hold(&mut self, id: DeliveryId, now: Timestamp, change: impl FnOnce(&mut Delivery)) {
        self.change(id, change, |shard, delivery| shard.index(&delivery, now));
    }

    /// Looks anew at where a delivery belongs.
    pub(super) fn reindex(&mut self, id: DeliveryId, now: Timestamp) {
        self.hold(id, now, |_| {});
    }

    fn change(
        &mut self,
        id: DeliveryId,
        change: impl FnOnce(&mut Delivery),
        put_back: impl FnOnce(&mut Self, Delivery),
    ) {
        let mut delivery = self.live(id);
        let held = delivery.state == State::Leased;
        let holder = delivery.grant.as_ref().filter(|_| held).map(|grant| grant.consumer.clone());
        let batch = delivery.grant.as_ref().map(|grant| grant.batch);
        let told = batch.and_then(|batch| self.batches.get(&batch)).map(|batch| batch.told);
        self.unindex(&delivery);
        change(&mut delivery);
        let is_held = delivery.state == State::Leased;
        put_back(self, delivery);
        if let Some(holder) = holder.filter(|_| !is_held) {
            self.regain_credit(&holder);
        }
        // A batch of one is gone in between; what became of its answers is not.
        if let (Some(batch), Some(told)) = (batch.and_then(|batch| self.batches.get_mut(&batch)), told) {
            batch.told = told;
        }
    }

    /// Adds a delivery; the row is written with the step.
    pub(super) fn insert(&mut self, mut delivery: Delivery, now: Timestamp, step: &mut Step) {
        if delivery.state.is_terminal() {
            delivery.retire_at = self.retire_at(&delivery, now);
        }
        let delivery = Arc::new(delivery);
        let is_leased = delivery.state == State::Leased;
        if delivery.state.is_terminal() {
            self.refresh(&delivery.mailbox, &lane(&delivery), now);
            self.cold.keep(Row::Delivery(Arc::clone(&delivery)));
        } else {
            self.index(&delivery, now);
        }
        if !(is_leased && fault!(GrantUnsaved)) {
            step.put(Row::Delivery(delivery));
        }
    }

    /// Takes a live delivery into all indexes.
    pub(super) fn index(&mut self, delivery: &Delivery, now: Timestamp) {
        let id = delivery.id;
        if let Some(at) = delivery.expires_at {
            self.timers.set(at, Timer::Expire(id));
        }
        self.pending += usize::from(delivery.state != State::Leased);
        match (delivery.state, &delivery.grant) {
            (State::Leased, Some(grant)) => self.index_lease(delivery, grant),
            (State::Pending { visible_at }, _) if delivery.place.is_none() => {
                self.timers.set(visible_at, Timer::Visible(id));
            }
            (State::Pending { visible_at }, _) if visible_at > now => self.timers.set_pause(visible_at, id),
            _ => {}
        }
        if let Some(inbox) = self.inboxes.get_mut(&delivery.mailbox) {
            if delivery.state == State::Leased {
                inbox.leased += 1;
            } else {
                inbox.pending += 1;
                inbox.pending_bytes += u64::from(delivery.size);
            }
        }
        let lane = lane(delivery);
        let slot = self.deliveries.insert(delivery);
        if let Some(inbox) = self.inboxes.get_mut(&delivery.mailbox) {
            match delivery.place {
                Some(place) => {
                    let placed = Placed { lane: lane.clone(), place, slot };
                    inbox.lanes.insert(placed, &self.deliveries, now);
                }
                None => {
                    inbox.scheduled.insert(slot);
                }
            }
        }
        self.refresh(&delivery.mailbox, &lane, now);
    }

    /// Looks again at what is next in a lane; somebody may wait for it.
    pub(super) fn refresh(&mut self, mailbox: &Address, lane: &Lane, now: Timestamp) {
        if let Some(inbox) = self.inboxes.get_mut(mailbox).filter(|_| mailbox.is_work()) {
            inbox.lanes.refresh(lane, &self.deliveries, now);
            if !inbox.waiting.is_empty() && !fault!(LostWake) {
                self.dirty.insert(mailbox.clone());
            }
        }
    }

    fn unindex(&mut self, delivery: &Delivery) {
        let id = delivery.id;
        if let Some(at) = delivery.expires_at {
            self.timers.clear(at, Timer::Expire(id));
        }
        self.pending -= usize::from(delivery.state != State::Leased);
        match (delivery.state, &delivery.grant) {
            (State::Leased, Some(grant)) => self.unindex_lease(delivery, grant),
            (State::Pending { visible_at }, _) if delivery.place.is_none() => {
                self.timers.clear(visible_at, Timer::Visible(id));
            }
            (State::Pending { visible_at }, _) => self.timers.clear_pause(visible_at, id),
            _ => {}
        }
        if let Some(inbox) = self.inboxes.get_mut(&delivery.mailbox) {
            if delivery.state == State::Leased {
                inbox.leased -= 1;
            } else {
                inbox.pending -= 1;
                inbox.pending_bytes -= if fault!(CountDrifts) { 0 } else { u64::from(delivery.size) };
            }
        }
        self.unplace(delivery);
    }

    fn unplace(&mut self, delivery: &Delivery) {
        let Some((slot, kind)) = self.deliveries.slot(delivery.id) else { return };
        if let Some(inbox) = self.inboxes.get_mut(&delivery.mailbox) {
            inbox.scheduled.remove(&slot);
            if let Some(place) = delivery.place {
                inbox.lanes.remove(&lane(delivery), place, kind);
            }
        }
        self.deliveries.remove(delivery.id);
    }

    fn index_lease(&mut self, delivery: &Delivery, grant: &Grant) {
        let batch = self.batches.entry(grant.batch).or_insert_with(|| Batch::new(grant));
        batch.members.insert(delivery.id);
        self.timers.clear(batch.until, Timer::LeaseEnd(grant.batch));
        batch.until = grant.until;
        self.timers.set(grant.until, Timer::LeaseEnd(grant.batch));
        let attempt = (grant.consumer.clone(), delivery.mailbox.clone(), grant.attempt_id.clone());
        self.attempts.insert(attempt, grant.batch);
        self.held.entry(grant.consumer.clone()).or_default().insert(delivery.id);
    }

    fn unindex_lease(&mut self, delivery: &Delivery, grant: &Grant) {
        if let Some(batch) = self.batches.get_mut(&grant.batch) {
            batch.members.remove(&delivery.id);
            let of_mailbox = |id: &DeliveryId| self.deliveries.is_of(*id, &delivery.mailbox);
            // A receive that asked several mailboxes is found by those it still holds something of.
            if !batch.members.iter().any(of_mailbox) {
                let attempt = (grant.consumer.clone(), delivery.mailbox.clone(), grant.attempt_id.clone());
                // Another of the same name, that asked others beside this one, may be found here by now.
                if self.attempts.get(&attempt) == Some(&grant.batch) {
                    self.attempts.remove(&attempt);
                }
            }
            if batch.members.is_empty() {
                self.timers.clear(batch.until, Timer::LeaseEnd(grant.batch));
                self.batches.remove(&grant.batch);
            }
        }
        if let Some(held) = self.held.get_mut(&grant.consumer) {
            held.remove(&delivery.id);
            if held.is_empty() {
                self.held.remove(&grant.consumer);
            }
        }
    }

    /// A consumer holds one delivery less: it may now take something wherever it waits, if it could not for want of credit.
    fn regain_credit(&mut self, consumer: &Consumer) {
        let held = self.held_by(consumer);
        for call in self.waits.get(consumer).into_iter().flatten() {
            let mailboxes = self.parked.get(call).map(|parked| &parked.receive.mailboxes[..]);
            for mailbox in mailboxes.unwrap_or_default() {
                if self.inboxes.get(mailbox).is_some_and(|inbox| held + 1 == inbox.limits.credit as usize) {
                    self.dirty.insert(mailbox.clone());
                }
            }
        }
    }
}

/// Where a delivery queues up. A read mailbox has one lane: its reader passes everything in order.
pub(super) fn lane(delivery: &Delivery) -> Lane {
    if delivery.mailbox.is_work() {
        (delivery.priority, delivery.key.clone())
    } else {
        (Priority::NORMAL, Some(Name::from_static("read")))
    }
}
