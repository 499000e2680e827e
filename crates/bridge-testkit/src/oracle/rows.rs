//! What may become of a row in a step.

use bridge_core::{
    DeadReason, Delivery, DeliveryId, EventKind, GrantEnd, Name, OutcomeKind, Row, RowKey, Seq, Session,
    State, TaskState,
};

use super::{Oracle, Violation, hold, log};
use crate::world::{Outcome, World};

impl Oracle {
    /// Judges every row that a step has changed.
    pub(super) fn read_rows(&mut self, world: &World, outcome: &Outcome) -> Result<(), Violation> {
        self.readers.clear();
        self.leave_batches();
        for (key, before) in &outcome.replaced {
            match (before, world.disk().look(key)) {
                (Some(Row::Mailbox(before)), None) => self.mailbox_gone(world, before)?,
                (before, Some(Row::Delivery(after))) => {
                    if let Some(Row::Delivery(before)) = before {
                        grows(before, after)?;
                        moved(outcome, before, after)?;
                        self.put_down(before);
                        if before.receipts != after.receipts {
                            let evidence = self.evidence.entry(after.mailbox.clone()).or_default();
                            *evidence = world.now().max(*evidence);
                        }
                        if !before.state.is_terminal() && after.state.is_terminal() {
                            self.purged(outcome, world.disk(), after)?;
                        }
                    }
                    if after.state.is_terminal() {
                        self.let_go(after.id);
                        self.leave_batches();
                    }
                    self.judge(world, outcome, after)?;
                    let lost = matches!(after.state, State::Dead(_) | State::Cancelled);
                    let read =
                        lost && before.as_ref().is_some_and(Row::is_live) && was_read(world, outcome, after);
                    hold!("I4", !read, "{} was read, and is {:?}", after.id, after.state);
                    self.take_up(after);
                }
                (Some(Row::Session(before)), Some(Row::Session(after))) => {
                    counts(world, outcome, before, after)?;
                }
                (Some(Row::Mailbox(before)), Some(Row::Mailbox(after))) => {
                    let made_anew =
                        before.created_at != after.created_at || self.deleting.contains(&after.address);
                    if made_anew {
                        self.handed.remove(&after.address);
                        self.uncounted.insert(after.address.clone());
                    } else {
                        self.obeys(before, after)?;
                        hold!("I4", before.read_to <= after.read_to, "{} was read back", after.address);
                        hold!("I4", before.floor <= after.floor, "{} was filled again", after.address);
                    }
                }
                (Some(Row::Task(before)), Some(Row::Task(after))) => {
                    hold!("I4", before.state == TaskState::Waiting, "{before:?} has become {after:?}");
                }
                // It may have moved before it went.
                (Some(Row::Reader(before)), None) => {
                    self.readers.insert((before.session, before.name.clone()), before.place);
                }
                (before, Some(Row::Reader(after))) => {
                    let place = match before {
                        Some(Row::Reader(before)) => before.place,
                        _ => Seq::ZERO,
                    };
                    self.readers.insert((after.session, after.name.clone()), place);
                }
                _ => {}
            }
        }
        // Whether a row may go is seen when it is known what has become of the others.
        for (key, before) in &outcome.replaced {
            let is_mailbox = matches!(key, RowKey::Mailbox(_));
            if let Some(before) = before.as_ref().filter(|_| !is_mailbox && world.disk().look(key).is_none())
            {
                self.removed(world, outcome, before)?;
                self.retired.extend(match before {
                    Row::Message(message) => Some(message.id),
                    // Of a conversation that goes they go one after the other.
                    Row::Delivery(delivery) => Some(delivery.message),
                    _ => None,
                });
            }
        }
        for (batch, members) in &self.batches {
            let mut ends = members.values().map(|grant| world.lease_end(grant));
            let first = ends.next();
            hold!("I2", ends.all(|end| Some(end) == first), "{batch:?} has several ends: {members:?}");
        }
        Ok(())
    }

    fn judge(&mut self, world: &World, outcome: &Outcome, delivery: &Delivery) -> Result<(), Violation> {
        let Delivery { id, attempt, failures, .. } = *delivery;
        hold!("I6", failures <= attempt, "{id} failed {failures} times of {attempt}");
        let is_new = !self.terminal.contains_key(&id);
        if delivery.state.is_terminal() {
            self.ended.entry(id).or_insert(world.now());
            let first = *self.terminal.entry(id).or_insert(delivery.state);
            hold!("I4", first == delivery.state, "{id} was {first:?} and is {:?}", delivery.state);
        } else {
            hold!("I4", !self.terminal.contains_key(&id), "{id} came back from its end");
        }
        self.is_kept(world, delivery)?;
        let end = delivery.grant.as_ref().map(|grant| grant.end);
        let leased = delivery.state == State::Leased;
        hold!("I2", !leased || end == Some(None), "{id} is leased and {end:?}");
        match delivery.state {
            State::Done if is_new => self.done(world, outcome, delivery)?,
            State::Dead(reason) if is_new => self.dead(reason, delivery, world, outcome)?,
            State::Leased => self.bounded(world, delivery)?,
            State::Pending { visible_at } => {
                let latest = delivery.place.is_none() || visible_at <= world.now() + self.policy.max_delay;
                hold!("I6", latest, "{id} is not visible before {visible_at:?}");
                hold!("I2", end != Some(None), "{id} waits under a lease");
            }
            State::Done | State::Dead(_) | State::Cancelled => {}
        }
        Ok(())
    }

    fn done(&self, world: &World, outcome: &Outcome, delivery: &Delivery) -> Result<(), Violation> {
        let id = delivery.id;
        let receipts = &delivery.receipts;
        if let Some(reply) = delivery.reply {
            let kept = world.disk().look(&RowKey::Message(reply)).is_some();
            // One that went to nobody goes with the first of what it answers.
            let kept = kept || self.reply_has_gone(world, outcome, reply);
            hold!("I11", kept, "the answer {reply} to {id} is nowhere");
            let queued = log::delivery(world.disk(), DeliveryId::of(reply, 0)).is_some();
            let queued = queued || !self.has_way_back(world, outcome, delivery);
            hold!("I11", queued, "the answer {reply} to {id} goes to nobody");
        }
        hold!("I1", delivery.place.is_some(), "{id} was settled before it was visible");
        let said = receipts.settled.is_some() || receipts.read.is_some();
        hold!("I4", said, "{id} is done, and nobody has settled or read it");
        let answered = receipts.answered.is_some();
        hold!("I11", answered == delivery.reply.is_some(), "{id} is answered by {:?}", delivery.reply);
        Ok(())
    }

    /// Whether a sender has a mailbox that its answer goes to, or can have one.
    fn has_way_back(&self, world: &World, outcome: &Outcome, delivery: &Delivery) -> bool {
        if delivery.mailbox.session().is_some() {
            return true;
        }
        let is_known = delivery.from.as_str() != Name::NOBODY;
        let Some(origin) = delivery.mailbox.origin(&delivery.from).filter(|_| is_known) else { return false };
        world.disk().mailbox(&origin).is_some()
            && !self.deleting.contains(&origin)
            && outcome.replaced.iter().all(|(key, _)| *key != RowKey::Mailbox(origin.clone()))
    }

    fn dead(
        &self,
        reason: DeadReason,
        delivery: &Delivery,
        world: &World,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let now = world.now();
        let rules = self.rules(world, outcome, &delivery.mailbox);
        let least = rules.iter().map(|settings| self.policy.limits(settings).max_failures).min();
        let rejected = delivery.grant.as_ref().and_then(|grant| grant.end).is_some_and(
            |end| matches!(end, GrantEnd::Spent { outcome, .. } if outcome == OutcomeKind::Reject),
        );
        let right = match reason {
            DeadReason::MaxFailures => Some(delivery.failures) >= least,
            DeadReason::Rejected => rejected,
            DeadReason::Expired => delivery.expires_at.is_some_and(|at| at <= now),
            DeadReason::TooManyReleases => delivery.attempt >= self.policy.max_attempts,
            _ => true,
        };
        hold!("I6", right, "{} is dead of {} without reason", delivery.id, reason.as_str());
        let id = delivery.id;
        hold!("I6", delivery.receipts.dead.is_some(), "nobody knows when {id} died");
        Ok(())
    }

    /// A lease has an end, and not a late one.
    fn bounded(&self, world: &World, delivery: &Delivery) -> Result<(), Violation> {
        let Some(grant) = &delivery.grant else { return Ok(()) };
        let longest = grant.started + self.policy.max_lease;
        let loaded = world.loaded_at() + self.policy.reload_lease;
        hold!("I6", grant.until <= longest.max(loaded), "{} is leased until {:?}", delivery.id, grant.until);
        Ok(())
    }

    fn put_down(&mut self, before: &Delivery) {
        if let Some(grant) = &before.grant {
            self.leave_batch(before.id, grant.batch);
        }
    }

    fn take_up(&mut self, after: &Delivery) {
        if let (State::Leased, Some(grant)) = (after.state, &after.grant) {
            self.batches.entry(grant.batch).or_default().insert(after.id, grant.clone());
            // Something else about it was written, and its lease with it.
            if self.unrecorded.get(&after.id).is_some_and(|held| held.grant.lease == grant.lease) {
                self.unrecorded.remove(&after.id);
            }
        }
    }
}

/// What a delivery is never changes, what is counted never shrinks, and what is over stays as it is.
fn grows(before: &Delivery, after: &Delivery) -> Result<(), Violation> {
    let id = before.id;
    let being = |of: &Delivery| {
        (of.message, of.mailbox.clone(), of.key.clone(), of.kind.clone(), of.priority, of.size, of.redrive_of)
    };
    hold!("I1", being(before) == being(after), "{before:?} has become {after:?}");
    hold!("I1", before.place.is_none() || before.place == after.place, "{id} has lost its place");
    let counted = before.attempt <= after.attempt && before.failures <= after.failures;
    hold!("I6", counted, "{before:?} has become {after:?}");
    let lease = |of: &Delivery| of.grant.as_ref().map(|grant| grant.lease);
    hold!("I3", lease(before) <= lease(after), "{id} went back to an older lease");
    let last = |of: &Delivery| of.attempts.last().map_or(0, |attempt| attempt.number);
    hold!("I6", last(before) <= last(after) && last(after) <= after.attempt, "{id} forgot an attempt");
    let given_back = before.state == State::Leased && matches!(after.state, State::Pending { .. });
    hold!("I6", !given_back || last(after) >= before.attempt, "{id} came back without a word");
    if before.state.is_terminal() {
        let unmoved = Delivery {
            redriven_as: before.redriven_as,
            retire_at: before.retire_at,
            message_gone: before.message_gone,
            ..after.clone()
        };
        let redriven = before.redriven_as.is_none() || before.redriven_as == after.redriven_as;
        hold!("I4", unmoved == *before && redriven, "{before:?} has become {after:?}");
    }
    Ok(())
}

/// The time to live is another one when the log tells so, and then it is that one.
fn moved(outcome: &Outcome, before: &Delivery, after: &Delivery) -> Result<(), Violation> {
    let told = outcome.events.iter().rev().filter(|event| event.delivery == Some(after.id));
    let told = told.filter_map(|event| match event.kind {
        EventKind::TtlChanged { expires_at } => Some(expires_at),
        _ => None,
    });
    let expected = told.map(Some).next().unwrap_or(before.expires_at);
    hold!("I6", after.expires_at == expected, "{after:?} was to expire at {expected:?}");
    Ok(())
}

/// Whether a reader's cursor had passed a delivery before this step.
fn was_read(world: &World, outcome: &Outcome, delivery: &Delivery) -> bool {
    let key = RowKey::Mailbox(delivery.mailbox.clone());
    let before = match outcome.replaced.iter().find(|(changed, _)| *changed == key) {
        Some((_, before)) => before.as_ref(),
        None => world.disk().look(&key),
    };
    match before {
        Some(Row::Mailbox(mailbox)) if !delivery.mailbox.is_work() => {
            delivery.place.is_some_and(|place| place <= mailbox.read_to)
        }
        _ => false,
    }
}

/// Every question of a conversation is counted, and nothing else.
fn counts(world: &World, outcome: &Outcome, before: &Session, after: &Session) -> Result<(), Violation> {
    let id = after.id;
    let of_it = outcome.events.iter().filter(|event| event.session == Some(id));
    let mut asked = 0;
    for event in of_it {
        match event.kind {
            // From then on it is another life of it.
            EventKind::SessionOpened { .. } => return Ok(()),
            EventKind::Accepted { .. } => {
                let delivery = event.delivery.and_then(|id| log::delivery(world.disk(), id));
                asked += u64::from(delivery.is_some_and(|asked| asked.mailbox.is_work() && !asked.bounce));
            }
            _ => {}
        }
    }
    let (before, after) = (before.questions, after.questions);
    hold!("I1", after == before + asked, "{id} had {before} questions, got {asked}, has {after}");
    Ok(())
}
