//! Judging a token, and what its holder says with it.

use alloc::{sync::Arc, vec, vec::Vec};
use core::{iter, time::Duration};

use super::{
    Shard, Step, Subject,
    batch::{Charge, Return},
    publish::{Author, Route},
};
use crate::{
    address::Address,
    consumer::Consumer,
    delivery::{DeadReason, Delivery, Grant, GrantEnd, Lease, OutcomeKind, ReturnReason, State},
    event::EventKind,
    id::{DeliveryId, MessageId, Name},
    policy::LateAck,
    publish::{Publish, Published, Routed},
    settle::{NotCovered, Outcome, Proof, Reply, Settle, SettleError, Settled},
    store::{Row, RowKey},
    time::Timestamp,
};

impl Settle {
    /// Everything it wants to settle.
    pub(super) fn proofs(&self) -> impl Iterator<Item = &Proof> {
        let covers = match &self.outcome {
            Outcome::Answer { covers, .. } => covers.as_slice(),
            _ => &[],
        };
        iter::once(&self.proof).chain(covers)
    }
}

/// What a token is worth.
enum Worth {
    /// Its lease lasts, or an ack or answer may still come: go on.
    Good(DeliveryId),
    /// The same was said with it before.
    Repeated(DeliveryId),
}

impl Shard {
    pub(super) fn name_proof(&self, proof: &Proof, keys: &mut Vec<RowKey>) {
        let proven = match proof {
            Proof::Lease(delivery, _) => {
                keys.push(RowKey::Delivery(*delivery));
                Some(*delivery)
            }
            Proof::Message(message, _) => {
                self.name_chain(*message, keys);
                self.chain(*message).last().map(|delivery| delivery.id)
            }
        };
        // The answer is told again as it was told first: where it went, or its place if it went to nobody.
        let ended = proven.filter(|id| !self.deliveries.contains(*id)).map(RowKey::Delivery);
        if let Some(Row::Delivery(ended)) = ended.and_then(|key| self.cold.get(&key))
            && let Some(reply) = ended.reply
        {
            let sent = DeliveryId::of(reply, 0);
            if self.knows(&RowKey::Delivery(sent)) && self.find(sent).is_none() {
                keys.push(RowKey::Message(reply));
            }
            keys.push(RowKey::Delivery(sent));
        }
    }

    pub(super) fn settle(
        &mut self,
        settle: Settle,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Settled, SettleError> {
        let most = self.policy.max_words;
        if let Some((field, _)) = settle.outcome.words().filter(|(_, words)| words.len() > most) {
            return Err(SettleError::TooLong { field, most });
        }
        let fingerprint = match &settle.outcome {
            Outcome::Answer { reply, .. } => Some(reply.fingerprint),
            _ => None,
        };
        let id = match self.judge(&settle.proof, settle.outcome.kind(), fingerprint, now)? {
            Worth::Good(id) => id,
            Worth::Repeated(id) => return Ok(self.repeated(id, &settle.outcome, now)),
        };
        if let Outcome::Answer { .. } = settle.outcome
            && let Some(session) = self.live(id).mailbox.session()
            && !self.sessions.contains_key(&session)
        {
            return Err(SettleError::SessionClosed);
        }
        self.recall(&settle.proof, now);
        self.see(id, now, step);
        let Delivery { message, cancel_requested, .. } = self.live(id);
        let mut settled = Settled {
            delivery: id,
            message,
            state: State::Leased,
            until: None,
            already_done: false,
            reply: None,
            published: None,
            not_covered: Vec::new(),
            cancel_requested,
        };
        match settle.outcome {
            Outcome::Ack => self.finish(id, OutcomeKind::Ack, None, now, step),
            Outcome::Answer { reply, covers } => self.answer(&mut settled, reply, &covers, now, step),
            Outcome::Extend { by, progress } => self.extend(id, by, progress, now, step),
            Outcome::Release { delay } => {
                self.hand_back(id, OutcomeKind::Release, Charge::Free(delay), None, now, step);
            }
            Outcome::Nack { delay, error } => {
                self.hand_back(id, OutcomeKind::Nack, Charge::Failure(delay), error, now, step);
            }
            Outcome::Reject { reason } => self.reject(id, reason, now, step),
        }
        if let Some(delivery) = self.find(id) {
            settled.state = delivery.state;
            settled.until =
                delivery.grant.as_ref().filter(|grant| grant.end.is_none()).map(|grant| grant.until);
        }
        Ok(settled)
    }

    /// Judges a proof, in the order that the semantics lay down.
    fn judge(
        &self,
        proof: &Proof,
        outcome: OutcomeKind,
        fingerprint: Option<[u8; 32]>,
        now: Timestamp,
    ) -> Result<Worth, SettleError> {
        let (delivery, lease) = self.proven(proof)?;
        let newest = delivery.grant.as_ref().filter(|grant| grant.lease >= lease || fault!(StaleToken));
        if newest.is_some_and(|grant| grant.lease > lease) && !fault!(StaleToken) {
            return Err(SettleError::LeaseLost { state: delivery.state });
        }
        // A lease of an earlier life that no row tells of was held in memory alone.
        if newest.is_none() && (lease.epoch >= self.epoch || fault!(ForgottenRefused)) {
            return Err(SettleError::UnknownToken);
        }
        let end = newest.and_then(|grant| grant.end);
        if let Some(GrantEnd::Spent { outcome: said, reply, fingerprint: given }) = end {
            return if (said == outcome && given == fingerprint) || fault!(SecondWord) {
                Ok(Worth::Repeated(delivery.id))
            } else {
                Err(SettleError::AlreadySettled { outcome: said, reply })
            };
        }
        // When very many leases end at once, this one's end may still be to come in a later step.
        let lasts = newest.is_some_and(|grant| grant.until > now);
        let current = delivery.state == State::Leased && lasts;
        let late = !delivery.state.is_terminal()
            && self.policy.late_ack == LateAck::Accept
            && matches!(outcome, OutcomeKind::Ack | OutcomeKind::Answer);
        if current || late {
            return Ok(Worth::Good(delivery.id));
        }
        let state = match delivery.state {
            State::Leased => State::Pending { visible_at: now },
            state => state,
        };
        Err(SettleError::LeaseLost { state })
    }

    /// Judges the proof of a delivery that the answer to another is to cover: it must go to the same sender.
    fn judge_cover(
        &self,
        proof: &Proof,
        answered: &Delivery,
        fingerprint: [u8; 32],
        now: Timestamp,
    ) -> Result<Worth, SettleError> {
        let worth = self.judge(proof, OutcomeKind::Answer, Some(fingerprint), now)?;
        let (Worth::Good(id) | Worth::Repeated(id)) = worth;
        let goes_to = |delivery: &Delivery| delivery.mailbox.origin(&delivery.from);
        let is_there = self.find(id).is_some_and(|covered| {
            covered.mailbox == answered.mailbox && goes_to(&covered) == goes_to(answered)
        });
        if is_there || fault!(CoverAnywhere) { Ok(worth) } else { Err(SettleError::OtherMailbox) }
    }

    /// The delivery a proof speaks of, its newest grant, and the lease that is claimed.
    fn proven(&self, proof: &Proof) -> Result<(Delivery, Lease), SettleError> {
        match proof {
            Proof::Lease(id, lease) => {
                let delivery = self.find(*id).ok_or(SettleError::UnknownToken)?;
                Ok((delivery, *lease))
            }
            Proof::Message(message, consumer) => {
                let delivery = self.chain(*message).last().ok_or(SettleError::UnknownToken)?;
                let grant = delivery.grant.as_ref().ok_or(SettleError::HandleNeeded)?;
                let holder = consumer.named && grant.consumer == *consumer;
                let only = delivery.attempt == 1 && !grant.consumer.named;
                let lease = grant.lease;
                if holder || only { Ok((delivery, lease)) } else { Err(SettleError::HandleNeeded) }
            }
        }
    }

    /// A lease of an earlier life that was held in memory alone has proven itself: it is the newest that is known.
    fn recall(&mut self, proof: &Proof, now: Timestamp) {
        let Proof::Lease(id, lease) = *proof else { return };
        let newest = self.deliveries.get(id).and_then(|delivery| delivery.grant);
        if newest.is_some_and(|grant| grant.lease >= lease) {
            return;
        }
        let forgotten = Grant {
            lease,
            consumer: Consumer::forgotten(),
            batch: lease,
            attempt_id: Name::from_static("forgotten"),
            started: now,
            until: now,
            end: Some(GrantEnd::Lapsed),
        };
        self.hold(id, now, |delivery| {
            delivery.attempt += 1;
            delivery.grant = Some(forgotten);
        });
    }

    /// What the first call was told, as far as it still matters.
    fn repeated(&self, id: DeliveryId, outcome: &Outcome, now: Timestamp) -> Settled {
        let delivery = self.find(id).expect("it has just been judged");
        let not_covered = match outcome {
            Outcome::Answer { reply, covers } => covers
                .iter()
                .enumerate()
                .filter_map(|(position, proof)| {
                    let error = match self.judge_cover(proof, &delivery, reply.fingerprint, now) {
                        Ok(Worth::Repeated(covered)) => self.uncovered(covered, delivery.reply)?,
                        Ok(Worth::Good(covered)) => {
                            SettleError::LeaseLost { state: self.live(covered).state }
                        }
                        Err(error) => error,
                    };
                    Some(NotCovered { position, error })
                })
                .collect(),
            _ => Vec::new(),
        };
        Settled {
            delivery: id,
            message: delivery.message,
            state: delivery.state,
            until: None,
            already_done: true,
            reply: delivery.reply,
            published: delivery.reply.and_then(|reply| self.published_before(reply)),
            not_covered,
            cancel_requested: delivery.cancel_requested,
        }
    }

    /// Notes the evidence that the consumer has read what it was given.
    fn see(&mut self, id: DeliveryId, now: Timestamp, step: &mut Step) {
        let delivery = self.live(id);
        let mailbox = delivery.mailbox.clone();
        let subject = Subject::from(&delivery);
        if delivery.receipts.seen.is_none() {
            if self.is_recorded(&mailbox) {
                self.tell(subject, EventKind::Seen, now, step);
            }
            // What the settlement itself changes writes the row.
            self.deliveries.see(id, now);
        }
        self.show_up(&mailbox, now);
        if let Some(session) = subject.session {
            self.touch(session, now, step);
        }
    }

    /// Ends a delivery well.
    fn finish(
        &mut self,
        id: DeliveryId,
        outcome: OutcomeKind,
        reply: Option<(MessageId, [u8; 32])>,
        now: Timestamp,
        step: &mut Step,
    ) {
        let subject = Subject::from(&self.live(id));
        self.update(id, now, step, |delivery| {
            delivery.state = State::Done;
            delivery.reply = reply.map(|(reply, _)| reply).filter(|_| !fault!(AnswerUnlinked));
            delivery.receipts.settled = Some(now);
            delivery.receipts.answered = reply.map(|_| now);
            spend(delivery, outcome, reply);
        });
        let kind = reply.map_or(EventKind::Settled, |(reply, _)| EventKind::Answered { reply });
        self.tell(subject, kind, now, step);
    }

    fn answer(
        &mut self,
        settled: &mut Settled,
        reply: Reply,
        covers: &[Proof],
        now: Timestamp,
        step: &mut Step,
    ) {
        let delivery = self.live(settled.delivery);
        let holder = delivery.grant.as_ref().map(|grant| &grant.consumer).filter(|holder| holder.named);
        let holder = holder.map(|holder| holder.name.clone());
        let (to, route) = self.way_back(&delivery, now, step);
        let to_nobody = matches!(route, Route::Nowhere);
        let from = reply.from.or(holder).unwrap_or_else(|| Name::from_static("agent"));
        let publish = Publish {
            verified: reply.verified,
            kind: reply.kind,
            reply_to: Some(delivery.message),
            headers: reply.headers,
            ..Publish::new(reply.id, from, to, reply.payload)
        };
        let answer = (reply.id, reply.fingerprint);
        settled.reply = Some(reply.id);
        settled.published = Some(self.accept(Author::Sender, publish, route, now, step));
        self.finish(settled.delivery, OutcomeKind::Answer, Some(answer), now, step);
        let mut answered = vec![settled.delivery];
        for (position, proof) in covers.iter().enumerate() {
            match self.judge_cover(proof, &delivery, reply.fingerprint, now) {
                Ok(Worth::Good(id)) => {
                    self.recall(proof, now);
                    self.see(id, now, step);
                    self.finish(id, OutcomeKind::Answer, Some(answer), now, step);
                    answered.push(id);
                }
                Ok(Worth::Repeated(id))
                    if self.find(id).is_some_and(|covered| covered.reply == Some(reply.id)) => {}
                Ok(Worth::Repeated(id)) => {
                    let earlier = self.find(id).and_then(|covered| covered.reply);
                    let error = SettleError::AlreadySettled { outcome: OutcomeKind::Answer, reply: earlier };
                    settled.not_covered.push(NotCovered { position, error });
                }
                Err(error) => settled.not_covered.push(NotCovered { position, error }),
            }
        }
        if to_nobody && !fault!(AnswerAlone) {
            self.keep_together(&answered, step);
        }
        if to_nobody && fault!(AnswerUnsaved) {
            step.delete(RowKey::Message(answer.0));
        }
    }

    /// Where the answer to a delivery goes: to its sender's mailbox, if it has or can have one.
    fn way_back(&mut self, delivery: &Delivery, now: Timestamp, step: &mut Step) -> (Address, Route) {
        let nobody = Name::from_static(Name::NOBODY);
        let to = delivery.mailbox.origin(&delivery.from);
        let is_known = delivery.mailbox.session().is_some() || delivery.from != nobody;
        match to.filter(|to| is_known && self.use_mailbox(to, now, step).is_ok()) {
            Some(to) => (to, Route::Mailbox),
            None => (delivery.mailbox.origin(&nobody).expect("nobody is a name"), Route::Nowhere),
        }
    }

    /// Why a delivery that has an answer is not covered by this one; nothing if this is its answer.
    fn uncovered(&self, id: DeliveryId, reply: Option<MessageId>) -> Option<SettleError> {
        let earlier = self.find(id).and_then(|covered| covered.reply);
        let another = SettleError::AlreadySettled { outcome: OutcomeKind::Answer, reply: earlier };
        (earlier != reply).then_some(another)
    }

    /// Prolongs the whole batch that the delivery was granted with.
    fn extend(
        &mut self,
        id: DeliveryId,
        by: Option<Duration>,
        progress: Option<Arc<str>>,
        now: Timestamp,
        step: &mut Step,
    ) {
        let Delivery { mailbox, grant, .. } = self.live(id);
        let grant = grant.expect("a current lease has a grant");
        let batch = &self.batches[&grant.batch];
        let latest = batch.started + self.policy.max_lease;
        let until = batch.until.max(latest.min(now + by.unwrap_or(self.limits(&mailbox).lease)));
        for member in batch.members.clone() {
            self.update(member, now, step, |delivery| {
                if let Some(grant) = &mut delivery.grant {
                    grant.until = until;
                }
                if member == id {
                    delivery.receipts.progressed = Some(now);
                    delivery.progress = progress.clone().or(delivery.progress.take());
                }
            });
        }
        if self.is_recorded(&mailbox) {
            let kind = EventKind::Progressed { text: progress, until };
            self.tell(Subject::from(&self.live(id)), kind, now, step);
        }
    }

    fn hand_back(
        &mut self,
        id: DeliveryId,
        outcome: OutcomeKind,
        charge: Charge,
        error: Option<Arc<str>>,
        now: Timestamp,
        step: &mut Step,
    ) {
        let reason = match outcome {
            OutcomeKind::Nack => ReturnReason::Nack,
            _ => ReturnReason::Release,
        };
        let end = GrantEnd::Spent { outcome, reply: None, fingerprint: None };
        self.give_back(id, Return { reason, end, charge, error }, now, step);
    }

    fn reject(&mut self, id: DeliveryId, reason: Option<Arc<str>>, now: Timestamp, step: &mut Step) {
        let delivery = self.live(id);
        let cancelled = delivery.cancel_requested || self.is_purged(&delivery);
        self.update(id, now, step, |delivery| {
            delivery.last_error = reason.or(delivery.last_error.take());
            spend(delivery, OutcomeKind::Reject, None);
        });
        if cancelled {
            self.withdraw(id, now, step);
        } else {
            self.give_up(id, DeadReason::Rejected, now, step);
        }
    }

    /// What came of an answer that was given before, unless its rows have been removed.
    fn published_before(&self, reply: MessageId) -> Option<Published> {
        let sent = self.find(DeliveryId::of(reply, 0));
        let seq = match (&sent, self.cold.get(&RowKey::Message(reply))) {
            (Some(sent), _) => sent.seq,
            (None, Some(Row::Message(message))) => message.seq,
            _ => return None,
        };
        Some(Published {
            message: reply,
            seq,
            duplicate: true,
            presence: sent.as_ref().and_then(|sent| self.presence(&sent.mailbox)),
            delivery_count: u32::from(sent.is_some()),
            deliveries: sent
                .map(|sent| Routed { delivery: sent.id, mailbox: sent.mailbox })
                .into_iter()
                .collect(),
            depth: 0,
        })
    }
}

fn spend(delivery: &mut Delivery, outcome: OutcomeKind, reply: Option<(MessageId, [u8; 32])>) {
    if let Some(grant) = &mut delivery.grant {
        grant.end = Some(GrantEnd::Spent {
            outcome,
            reply: reply.map(|(id, _)| id),
            fingerprint: reply.map(|(_, fingerprint)| fingerprint),
        });
    }
}
