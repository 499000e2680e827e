//! What the log tells, event by event.

use std::collections::BTreeSet;

use bridge_core::{
    Class, DeadReason, Delivery, DeliveryId, Event, EventKind, Grant, Lease, PresenceState, ReturnReason,
    Row, RowKey, Seq, SessionId,
};

use super::{Lane, Oracle, Violation, hold};
use crate::{
    disk::Disk,
    world::{Outcome, World},
};

impl Oracle {
    /// Follows what a step has added to the log.
    pub(super) fn read_log(&mut self, world: &World, outcome: &Outcome) -> Result<(), Violation> {
        let log = world.disk().log();
        // What this step has trimmed is not among them any more.
        let told = self.told - outcome.trimmed.len();
        let before = told.checked_sub(1).and_then(|last| log.get(last));
        let trimmed = self.last.as_ref().is_some_and(|last| outcome.trimmed.contains(last));
        hold!("I10", trimmed || told == 0 || before == self.last.as_ref(), "the log tells its past anew");
        for event in log.get(told..).unwrap_or_default() {
            let next = self.last.as_ref().map_or(Seq::ZERO, |event| event.seq).next();
            hold!("I10", event.seq == next, "after {next:?} comes {:?}", event.seq);
            self.follow(world, event, outcome)?;
            self.last = Some(event.clone());
            self.told += 1;
        }
        Ok(())
    }

    fn follow(&mut self, world: &World, event: &Event, outcome: &Outcome) -> Result<(), Violation> {
        if let Some(delivery) = event.delivery.and_then(|id| delivery(world.disk(), id)) {
            let evidence = self.evidence.entry(delivery.mailbox.clone()).or_default();
            *evidence = event.at.max(*evidence);
        }
        self.may_be_told(world, event, outcome)?;
        match (&event.kind, event.session, event.delivery) {
            (EventKind::PresenceChanged { presence, .. }, Some(session), _) => {
                let there = presence.state != PresenceState::Away;
                let was = self.present.insert(session, there).unwrap_or(false);
                hold!("I10", was != there, "who is {:?} in {session} is told twice", presence.state);
            }
            (EventKind::SessionOpened { .. }, Some(session), _) => {
                self.present.insert(session, false);
            }
            // What is left is given up without a word, what was handed out in this very step too.
            (EventKind::SessionClosed { .. }, Some(session), _) => {
                self.leave(session);
                self.let_go_of_closed(world, outcome);
            }
            (EventKind::MessageDeleted, _, Some(delivery)) => self.deleted(world, outcome, delivery)?,
            (_, _, Some(delivery)) => self.follow_delivery(world, delivery, event, outcome)?,
            _ => {}
        }
        Ok(())
    }

    fn follow_delivery(
        &mut self,
        world: &World,
        id: DeliveryId,
        event: &Event,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let Some(delivery) = delivery(world.disk(), id) else {
            hold!("I1", false, "the log tells of {id}, which is nowhere");
            return Ok(());
        };
        match &event.kind {
            EventKind::Accepted { .. } if delivery.place == Some(event.seq) => {
                self.queue_up(delivery, event.seq);
            }
            EventKind::Visible => {
                let due = delivery.place == Some(event.seq);
                hold!("I1", due, "{id} became visible at {} and is at {:?}", event.seq, delivery.place);
                self.queue_up(delivery, event.seq);
            }
            EventKind::Redriven { successor } => {
                if let Some(successor) = self::delivery(world.disk(), *successor) {
                    self.queue_up(successor, event.seq);
                }
            }
            EventKind::Presented { lease, .. } => self.presented(world, delivery, *lease, event, outcome)?,
            EventKind::Returned { reason, failures, .. } => {
                self.was_given(world, id, outcome)?;
                let under = self.let_go(id);
                let seen = self.seen.entry(id).or_default();
                let charged = failures.checked_sub(seen.failures);
                let right = match reason {
                    ReturnReason::Nack => charged == Some(1),
                    ReturnReason::Timeout => charged.is_some_and(|charged| charged <= 1),
                    _ => charged == Some(0),
                };
                hold!("I6", right, "{id} has {failures} failures after {seen:?} and {}", reason.as_str());
                seen.failures = *failures;
                let newest = seen.newest;
                if charged == Some(1) {
                    let most = self.most_failures(world, outcome, delivery);
                    hold!("I6", *failures < most, "{id} came back after {failures} failures of {most}");
                }
                match reason {
                    ReturnReason::Timeout => {
                        let end = under.map(|held| held.grant.until);
                        hold!("I6", end <= Some(event.at), "the lease of {id} ended before {end:?}");
                        timed_out(world, id, event, outcome)?;
                        let first = self.is_first(world, delivery);
                        hold!(
                            "I6",
                            first == (charged == Some(1)),
                            "{id} is charged {charged:?} in its batch"
                        );
                    }
                    ReturnReason::AnswerLost => self.was_lost(id, newest)?,
                    _ => {}
                }
            }
            EventKind::Answered { .. }
            | EventKind::Settled
            | EventKind::Dead { .. }
            | EventKind::Cancelled
            | EventKind::Read => {
                self.was_given(world, id, outcome)?;
                self.let_go(id);
                let answers = u32::from(matches!(event.kind, EventKind::Answered { .. }));
                self.lanes.entry(lane(delivery)).or_default().retain(|_, other| *other != id);
                let holds = delivery.grant.as_ref().is_some_and(|grant| grant.end.is_none());
                let expired = matches!(event.kind, EventKind::Dead { reason: DeadReason::Expired, .. });
                hold!("I6", !(expired && holds), "{id} expired in its holder's hands");
                let seen = self.seen.entry(id).or_default();
                hold!("I4", !seen.over, "{id} ended twice: {}", event.kind.name());
                seen.over = true;
                seen.answers += answers;
                hold!("I11", seen.answers <= 1, "{id} has {} answers", seen.answers);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether nothing of its lane was ahead of a delivery in its batch, as the batch was before the step.
    fn is_first(&self, world: &World, delivery: &Delivery) -> bool {
        let batch = self.batches.values().find(|members| members.contains_key(&delivery.id));
        // Who came back in another way had left the batch before it ended.
        let left = |mate: &Delivery, grant: &Grant| {
            let last = mate.attempts.last().filter(|last| last.lease == grant.lease);
            last.is_some_and(|last| last.reason != ReturnReason::Timeout)
        };
        let mates = batch
            .into_iter()
            .flatten()
            .filter_map(|(id, grant)| self::delivery(world.disk(), *id).filter(|mate| !left(mate, grant)));
        let mut ahead = mates.filter(|mate| lane(mate) == lane(delivery) && mate.place < delivery.place);
        ahead.next().is_none()
    }

    /// A lease ended because its answer was lost: then every one that told of it was, with it or another of its batch.
    fn was_lost(&self, id: DeliveryId, lease: Option<Lease>) -> Result<(), Violation> {
        let told = lease.and_then(|lease| self.told_in.get(&(id, lease))).into_iter().flatten();
        let batch = self.batches.values().find(|members| members.contains_key(&id));
        let mates = batch.into_iter().flatten().map(|(id, grant)| (*id, grant.lease));
        let lost: BTreeSet<_> = mates.filter_map(|lease| self.lost.get(&lease)).flatten().collect();
        let arrived: Vec<_> = told.filter(|answer| !lost.contains(answer)).collect();
        hold!("I3", arrived.is_empty(), "{arrived:?} told of {lease:?} of {id}, and only {lost:?} were lost");
        Ok(())
    }

    fn queue_up(&mut self, delivery: &Delivery, place: Seq) {
        self.lanes.entry(lane(delivery)).or_default().insert(place, delivery.id);
    }

    fn leave(&mut self, closed: SessionId) {
        self.lanes.retain(|(mailbox, ..), _| mailbox.session() != Some(closed));
        self.handed.retain(|mailbox, _| mailbox.session() != Some(closed));
    }

    /// Of leases that are held in memory alone the log tells nothing but their end.
    fn may_be_told(&self, world: &World, event: &Event, outcome: &Outcome) -> Result<(), Violation> {
        let mailbox = match &event.kind {
            EventKind::PresenceChanged { mailbox, .. } => Some(mailbox),
            EventKind::Seen | EventKind::Progressed { .. } => {
                event.delivery.and_then(|id| delivery(world.disk(), id)).map(|delivery| &delivery.mailbox)
            }
            _ => None,
        };
        if let Some(mailbox) = mailbox {
            let rules = self.rules(world, outcome, mailbox);
            let told = rules.iter().any(|settings| settings.class != Class::Service);
            hold!("I10", told, "the log tells {} of {mailbox}, which leases in silence", event.kind.name());
        }
        Ok(())
    }

    /// How often a delivery may have come back charged.
    pub(super) fn most_failures(&self, world: &World, outcome: &Outcome, delivery: &Delivery) -> u32 {
        let rules = self.rules(world, outcome, &delivery.mailbox);
        rules.iter().map(|settings| self.policy.limits(settings).max_failures).max().unwrap_or(u32::MAX)
    }
}

/// A lease ended by itself: its time was over.
fn timed_out(world: &World, id: DeliveryId, event: &Event, outcome: &Outcome) -> Result<(), Violation> {
    let before = outcome.replaced.iter().find(|(key, _)| *key == RowKey::Delivery(id));
    if let Some((_, Some(Row::Delivery(before)))) = before
        && let Some(grant) = before.grant.as_ref().filter(|grant| grant.end.is_none())
    {
        let end = world.lease_end(grant);
        hold!("I6", end <= event.at, "the lease of {id} ended before {end:?}");
    }
    Ok(())
}

pub(super) fn delivery(disk: &Disk, id: DeliveryId) -> Option<&Delivery> {
    match disk.look(&RowKey::Delivery(id)) {
        Some(Row::Delivery(delivery)) => Some(delivery),
        _ => None,
    }
}

pub(super) fn lane(delivery: &Delivery) -> Lane {
    (delivery.mailbox.clone(), delivery.key.clone(), delivery.priority)
}
