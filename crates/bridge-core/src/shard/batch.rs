//! Leases: given together by one receive, ended together when nobody uses them.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::time::Duration;

use super::{Shard, Step, Subject, inbox::Inbox, index::lane, timer::Timer};
use crate::{
    address::Address,
    command::LostAnswer,
    delivery::{Attempt, DeadReason, Delivery, Grant, GrantEnd, Lease, ReturnReason, State},
    event::EventKind,
    id::DeliveryId,
    mailbox::Limits,
    receive::{Granted, Receive},
    time::Timestamp,
};

/// What one receive was granted and nobody has settled yet.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) members: BTreeSet<DeliveryId>,
    pub(super) started: Timestamp,
    pub(super) until: Timestamp,
    /// What became of the answers that told of it.
    pub(super) told: Told,
}

/// What became of the answers that told of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// The first that counts: it granted the batch, or did so again, since who repeats an attempt has not heard the earlier
    /// ones; or it was the first one since a load, which does not know what became of the earlier ones.
    first: u64,
    /// The last of them.
    last: u64,
    /// How many of them are not known to be lost.
    arrived: u32,
    /// All of them are lost, and then the batch ends, unless another one tells of it before.
    lost_until: Option<Timestamp>,
}

impl Batch {
    pub(super) fn new(grant: &Grant) -> Self {
        // After a load some answer has told of it: whichever is lost first, that was the one.
        let told = Told { first: 0, last: 0, arrived: 1, lost_until: None };
        Self { members: BTreeSet::new(), started: grant.started, until: grant.until, told }
    }
}

/// How a delivery comes back.
pub(super) struct Return {
    pub(super) reason: ReturnReason,
    pub(super) end: GrantEnd,
    pub(super) charge: Charge,
    pub(super) error: Option<Arc<str>>,
}

/// What a return costs, and when the delivery can be handed out again.
pub(super) enum Charge {
    /// Nothing; after this pause.
    Free(Duration),
    /// One failure; after this pause, or the mailbox's back-off.
    Failure(Option<Duration>),
}

impl Shard {
    /// Gives leases on `chosen` to the consumer of `receive`.
    pub(super) fn grant(
        &mut self,
        receive: &Receive,
        chosen: &[DeliveryId],
        now: Timestamp,
        step: &mut Step,
    ) -> Vec<Granted> {
        let mailboxes = || receive.mailboxes.iter().filter_map(|mailbox| self.inboxes.get(mailbox));
        let own = mailboxes().map(|inbox| inbox.limits.lease).min().unwrap_or_default();
        let length = receive.lease.unwrap_or(own).min(self.policy.max_lease);
        let batch = Lease { epoch: self.epoch, number: self.last_lease + 1 };
        for id in chosen {
            self.last_lease += 1;
            let grant = Grant {
                lease: Lease { epoch: self.epoch, number: self.last_lease },
                consumer: receive.consumer.clone(),
                batch,
                attempt_id: receive.attempt_id.clone(),
                started: now,
                until: now + length,
                end: None,
            };
            let lease = |delivery: &mut Delivery| {
                delivery.state = State::Leased;
                delivery.attempt += 1;
                delivery.grant = Some(grant);
                delivery.progress = None;
                delivery.receipts.presented = Some(now);
                delivery.receipts.seen = None;
                delivery.receipts.progressed = None;
            };
            // What is cheap to do twice is not made durable: a crash means that it is handed out again.
            if !self.is_recorded(&self.live(*id).mailbox) && !fault!(LeaseTold) {
                self.hold(*id, now, lease);
                continue;
            }
            self.update(*id, now, step, lease);
            let delivery = self.live(*id);
            let kind = EventKind::Presented {
                lease: Lease { epoch: self.epoch, number: self.last_lease },
                attempt: delivery.attempt,
                consumer: receive.consumer.name.clone(),
                until: now + length,
            };
            self.tell(Subject::from(&delivery), kind, now, step);
        }
        self.granted(chosen.iter().copied())
    }

    /// What is told of leased deliveries, in the order they were handed out.
    pub(super) fn granted(&self, ids: impl IntoIterator<Item = DeliveryId>) -> Vec<Granted> {
        let mut granted: Vec<_> = ids
            .into_iter()
            .filter_map(|id| self.deliveries.get(id))
            .filter_map(|mut delivery| Some((delivery.grant.take()?, delivery)))
            .map(|(grant, delivery)| Granted {
                delivery: delivery.id,
                message: delivery.message,
                lease: grant.lease,
                attempt: delivery.attempt,
                until: grant.until,
                cancel_requested: delivery.cancel_requested,
                expires_at: delivery.expires_at,
                consumer: grant.consumer,
            })
            .collect();
        granted.sort_unstable_by_key(|granted| granted.lease);
        granted
    }

    /// An answer tells of leases that it grants, and of those that its consumer holds besides. Gives its number.
    pub(super) fn told_in_answer(&mut self, granted: &[Granted], held: &[Granted]) -> u64 {
        self.answers += 1;
        let answer = self.answers;
        for granted in granted {
            if let Some(batch) = self.batch_with(granted.delivery) {
                batch.told = Told { first: answer, last: answer, arrived: 1, lost_until: None };
            }
        }
        for held in held {
            if let Some(batch) = self.batch_with(held.delivery).filter(|batch| batch.told.last < answer) {
                let Told { first, arrived, .. } = batch.told;
                let first = if first == 0 { answer } else { first };
                batch.told = Told { first, last: answer, arrived: arrived + 1, lost_until: None };
            }
        }
        answer
    }

    fn batch_with(&mut self, id: DeliveryId) -> Option<&mut Batch> {
        let grant = self.deliveries.get(id)?.grant?;
        self.batches.get_mut(&grant.batch)
    }

    /// The time of a batch is over: of each lane the first member is charged, the others come back as they were.
    pub(super) fn end_batch(&mut self, batch: Lease, now: Timestamp, step: &mut Step) {
        let Some(members) =
            self.batches.get(&batch).filter(|batch| batch.until <= now).map(|batch| batch.members.clone())
        else {
            return;
        };
        let mut charged = BTreeSet::new();
        for delivery in self.in_order(&members) {
            let charge = if charged.insert((delivery.mailbox.clone(), lane(&delivery))) {
                Charge::Failure(None)
            } else {
                Charge::Free(Duration::ZERO)
            };
            let how = Return { reason: ReturnReason::Timeout, end: GrantEnd::Lapsed, charge, error: None };
            self.give_back(delivery.id, how, now, step);
        }
    }

    fn in_order(&self, ids: &BTreeSet<DeliveryId>) -> Vec<Delivery> {
        let mut deliveries: Vec<_> = ids.iter().filter_map(|id| self.deliveries.get(*id)).collect();
        deliveries.sort_by_key(|delivery| delivery.place);
        deliveries
    }

    /// An answer, or a part of it, did not arrive. Where the attempt can be repeated, that gets some time.
    pub(super) fn answer_lost(&mut self, lost: &LostAnswer, now: Timestamp, step: &mut Step) {
        let mut batches = BTreeSet::new();
        let mut members = BTreeSet::new();
        for (id, lease) in &lost.leases {
            let grant = self.deliveries.get(*id).and_then(|delivery| delivery.grant);
            let Some(grant) = grant.filter(|grant| grant.lease == *lease && grant.end.is_none()) else {
                continue;
            };
            batches.insert(grant.batch);
            // If a later answer told of it, it does not matter that it had no room in this one.
            if self.batches.get(&grant.batch).is_some_and(|batch| batch.told.last <= lost.answer) {
                members.insert(*id);
            }
        }
        if !lost.repeatable {
            self.end_lost(&members, now, step);
            return;
        }
        let until = now + self.policy.lost_answer_grace;
        for lease in batches {
            let Some(batch) = self.batches.get_mut(&lease) else { continue };
            if lost.answer >= batch.told.first {
                batch.told.arrived = batch.told.arrived.saturating_sub(1);
            }
            if batch.told.arrived == 0 {
                batch.told.lost_until = Some(until);
                self.timers.set(until, Timer::AnswerLost(lease));
            }
        }
    }

    /// Ends a batch of which no answer has told that arrived.
    pub(super) fn end_lost_batch(&mut self, batch: Lease, now: Timestamp, step: &mut Step) {
        let lost = |batch: &&Batch| batch.told.lost_until.is_some_and(|until| until <= now);
        if let Some(members) = self.batches.get(&batch).filter(lost).map(|batch| batch.members.clone()) {
            self.end_lost(&members, now, step);
        }
    }

    /// Ends leases that nobody was told of: what its consumer has used shows that it was.
    fn end_lost(&mut self, members: &BTreeSet<DeliveryId>, now: Timestamp, step: &mut Step) {
        for delivery in self.in_order(members) {
            if delivery.receipts.seen.is_none() {
                let how = Return {
                    reason: ReturnReason::AnswerLost,
                    end: GrantEnd::Lapsed,
                    charge: Charge::Free(Duration::ZERO),
                    error: None,
                };
                self.give_back(delivery.id, how, now, step);
            }
        }
    }

    /// Ends a lease without settling its delivery: back into the mailbox, unless that was its last chance.
    pub(super) fn give_back(&mut self, id: DeliveryId, how: Return, now: Timestamp, step: &mut Step) {
        let delivery = self.live(id);
        let Return { reason, end, charge, error } = how;
        let cancelled = delivery.cancel_requested || self.is_purged(&delivery);
        let (failures, pause) = match charge {
            Charge::Failure(pause) if !cancelled => {
                let failures = delivery.failures + u32::from(!fault!(FreeFailures));
                let retry = self.limits(&delivery.mailbox).retry;
                (failures, pause.unwrap_or_else(|| self.rng.jitter(retry.pause(failures))))
            }
            Charge::Failure(_) => (delivery.failures, Duration::ZERO),
            Charge::Free(pause) => (delivery.failures, pause),
        };
        let visible_at = now + pause.min(self.policy.max_delay);
        let limits = self.limits(&delivery.mailbox);
        let last = if failures > delivery.failures && failures >= limits.max_failures {
            Some(DeadReason::MaxFailures)
        } else if delivery.expires_at.is_some_and(|at| at <= now) {
            Some(DeadReason::Expired)
        } else if reason == ReturnReason::Release && delivery.attempt >= self.policy.max_attempts {
            Some(DeadReason::TooManyReleases)
        } else {
            None
        };
        let kept = self.policy.kept_attempts;
        self.update(id, now, step, |delivery| {
            remember(delivery, reason, error.clone(), kept, now);
            delivery.state = State::Pending { visible_at };
            delivery.failures = failures;
            delivery.last_error = error.clone().or(delivery.last_error.take());
            delivery.progress = None;
            if let Some(grant) = &mut delivery.grant {
                grant.end = Some(end);
            }
        });
        match last {
            _ if cancelled => self.withdraw(id, now, step),
            Some(reason) => self.give_up(id, reason, now, step),
            None => {
                let kind = EventKind::Returned { reason, failures, visible_at, error };
                self.tell(Subject::from(&self.live(id)), kind, now, step);
            }
        }
    }

    /// The limits of a mailbox.
    pub(super) fn limits(&self, mailbox: &Address) -> Limits {
        self.inboxes.get(mailbox).map_or(self.policy.agent, |inbox| inbox.limits)
    }

    /// Whether a mailbox's leases are made durable, and told in the log.
    pub(super) fn is_recorded(&self, mailbox: &Address) -> bool {
        self.inboxes.get(mailbox).is_none_or(Inbox::records_leases)
    }
}

/// Notes how the newest attempt ended; of those before it only so many are kept.
fn remember(
    delivery: &mut Delivery,
    reason: ReturnReason,
    error: Option<Arc<str>>,
    kept: usize,
    now: Timestamp,
) {
    let Some(grant) = &delivery.grant else { return };
    delivery.attempts.push(Attempt {
        number: delivery.attempt,
        lease: grant.lease,
        consumer: grant.consumer.name.clone(),
        started: grant.started,
        ended: now,
        reason,
        error,
    });
    let beyond = delivery.attempts.len().saturating_sub(kept);
    delivery.attempts.drain(..beyond);
}
