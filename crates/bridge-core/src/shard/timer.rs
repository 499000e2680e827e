//! What happens by itself, and when.

use alloc::collections::BTreeSet;

use super::{Shard, Step};
use crate::{
    address::Address,
    command::CallId,
    delivery::Lease,
    id::{DeliveryId, SessionId, TaskId},
    time::Timestamp,
};

/// Something that becomes due. Whether it still holds is checked when it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A batch of leases ends.
    LeaseEnd(Lease),
    /// The answers that told of a batch were lost, and nobody has repeated the attempt.
    AnswerLost(Lease),
    /// A scheduled message is due.
    Visible(DeliveryId),
    /// A message has had its time.
    Expire(DeliveryId),
    /// A parked receive has waited long enough.
    Wait(CallId),
    /// A waiting receive that has found something has waited long enough for more.
    Linger(CallId),
    /// A mailbox that its use has made has not been used for long.
    Unused(Address),
    /// What a purge takes away goes, a step at a time.
    PurgeOn(Address),
    /// The taker of a mailbox should have been back.
    Away(Address),
    /// A conversation has been quiet for its whole time.
    SessionEnd(SessionId),
    /// What was read of a mailbox is settled, a step at a time.
    ReadOn(Address),
    /// What a closed conversation left is given up, a step at a time.
    CloseOn(SessionId),
    /// A task has had its time.
    Task(TaskId),
}

/// Timers in the order they become due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
    /// The ends of back-offs. They have an order of their own, for they come before everything else that is due.
    pauses: BTreeSet<(Timestamp, DeliveryId)>,
}

impl Timers {
    pub(super) fn first(&self) -> Option<Timestamp> {
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter().chain(self.pauses.first().map(|(at, _)| *at)).min()
    }

    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(super) fn clear(&mut self, at: Timestamp, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.pop_first().map(|(_, timer)| timer)
    }

    pub(super) fn set_pause(&mut self, until: Timestamp, delivery: DeliveryId) {
        self.pauses.insert((until, delivery));
    }

    pub(super) fn clear_pause(&mut self, until: Timestamp, delivery: DeliveryId) {
        self.pauses.remove(&(until, delivery));
    }

    /// What is in back-off.
    pub(super) fn pauses(&self) -> impl Iterator<Item = DeliveryId> {
        self.pauses.iter().map(|(_, delivery)| *delivery)
    }

    pub(super) fn pop_pause(&mut self, now: Timestamp) -> Option<DeliveryId> {
        self.pauses.first().filter(|(until, _)| *until <= now)?;
        self.pauses.pop_first().map(|(_, delivery)| delivery)
    }
}

impl Shard {
    pub(super) fn fire(&mut self, timer: Timer, now: Timestamp, step: &mut Step) {
        match timer {
            Timer::LeaseEnd(batch) => self.end_batch(batch, now, step),
            Timer::AnswerLost(batch) => self.end_lost_batch(batch, now, step),
            Timer::Visible(delivery) => self.become_visible(delivery, now, step),
            Timer::Expire(delivery) => self.expire(delivery, now, step),
            Timer::Wait(call) => self.end_wait(call, now, step),
            Timer::Linger(call) => self.end_linger(call, now, step),
            Timer::Unused(mailbox) => self.end_unused(&mailbox, now, step),
            Timer::PurgeOn(mailbox) => self.purge_on(&mailbox, now, step),
            Timer::Away(mailbox) => self.miss(&mailbox, now, step),
            Timer::SessionEnd(session) => self.end_session(session, now, step),
            Timer::ReadOn(mailbox) => self.read_on(&mailbox, now, step),
            Timer::CloseOn(session) => self.close_on(session, now, step),
            Timer::Task(task) => self.end_task(task, step),
        }
    }
}
