//! What is removed when nobody needs it any more: messages and deliveries that have ended, closed conversations, old events.
//!
//! Whoever looks for what is due may be wrong, or late: everything is judged here once more, by the rows as they are now.

use alloc::{sync::Arc, vec::Vec};
use core::iter;

use super::{Shard, Step, Subject};
use crate::{
    delivery::Delivery,
    event::EventKind,
    id::{DeliveryId, MessageId, SessionId},
    log::{Scope, Seq},
    retention::{RetireSession, SessionPart},
    store::{Row, RowKey},
    time::Timestamp,
};

/// Changes that removing a message comes to: itself, an answer to it that went to nobody, its delivery, an event.
const ROWS: usize = 4;

impl Shard {
    /// When a delivery that ends now is to be looked at.
    pub(super) fn retire_at(&self, delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
        if delivery.mailbox.session().is_some() || delivery.redriven_as.is_some() {
            return None;
        }
        let kept = self.policy.kept(delivery)?;
        Some(now + if fault!(KeptOn) { kept * 2 + self.policy.settled } else { kept })
    }

    /// Keeps what one answer has ended for the longest of their times: an answer that goes to nobody has no time of its own, and
    /// goes with the first of them.
    pub(super) fn keep_together(&mut self, answered: &[DeliveryId], step: &mut Step) {
        let ended: Vec<Delivery> = answered.iter().filter_map(|id| self.find(*id)).collect();
        let never = ended.iter().any(|delivery| delivery.retire_at.is_none());
        let longest = ended.iter().filter_map(|delivery| delivery.retire_at).max().filter(|_| !never);
        for mut delivery in ended {
            if delivery.retire_at != longest {
                delivery.retire_at = longest;
                self.rewrite(delivery, step);
            }
        }
    }

    /// The rows that tell whether a delivery can go, and those that go with it.
    pub(super) fn name_retired(&self, id: DeliveryId, keys: &mut Vec<RowKey>) {
        keys.push(RowKey::Delivery(id));
        for delivery in self.chain_back(id) {
            keys.extend(delivery.redrive_of.map(RowKey::Delivery));
            keys.extend(delivery.reply.map(|reply| RowKey::Delivery(DeliveryId::of(reply, 0))));
        }
    }

    /// A delivery, and those it was made from.
    fn chain_back(&self, newest: DeliveryId) -> impl Iterator<Item = Delivery> {
        iter::successors(self.find(newest), |delivery| delivery.redrive_of.and_then(|id| self.find(id)))
    }

    /// Removes what is due of these deliveries; gives the number of changes.
    pub(super) fn retire(&mut self, ids: &[DeliveryId], now: Timestamp, step: &mut Step) -> usize {
        let before = step.changes.len();
        let full = before + self.policy.max_rows;
        for id in ids {
            if step.changes.len() > before && step.changes.len() + ROWS > full {
                break;
            }
            self.retire_one(*id, full, now, step);
        }
        step.changes.len() - before
    }

    fn retire_one(&mut self, id: DeliveryId, full: usize, now: Timestamp, step: &mut Step) {
        let Some(mut delivery) = self.find(id) else { return };
        let superseded = delivery.redriven_as.is_some() && !fault!(RedrivenGoes);
        let Some(at) = delivery.retire_at.filter(|at| *at <= now && !delivery.is_live() && !superseded)
        else {
            return;
        };
        let mut last = at;
        if !delivery.message_gone {
            // The rule may be another one by now.
            let until = self.policy.removal(&delivery);
            if until.is_none_or(|until| until > now) {
                delivery.retire_at = until;
                return self.rewrite(delivery, step);
            }
            last = delivery.ended_at().unwrap_or(at) + self.policy.settled;
            self.remove_message(&delivery, now, step);
            delivery.message_gone = true;
            delivery.retire_at = Some(last);
            self.rewrite(delivery, step);
        }
        if last > now {
            return;
        }
        // The newest goes last: it is what the others are found by.
        let mut chain: Vec<DeliveryId> = self.chain_back(id).map(|delivery| delivery.id).collect();
        while let Some(id) = chain.pop().filter(|_| step.changes.len() < full) {
            self.remove(RowKey::Delivery(id), step);
        }
    }

    /// Removes the message of a delivery, and its answer if that went to nobody.
    fn remove_message(&mut self, delivery: &Delivery, now: Timestamp, step: &mut Step) {
        self.remove(RowKey::Message(delivery.message), step);
        if let Some(reply) = delivery.reply.filter(|reply| self.find(DeliveryId::of(*reply, 0)).is_none())
            && !fault!(AnswerLeft)
        {
            self.remove(RowKey::Message(reply), step);
        }
        let settings = self.inboxes.get(&delivery.mailbox).map(|inbox| inbox.row.settings);
        let settings = settings.unwrap_or_else(|| delivery.mailbox.default_settings());
        if settings.class.records_leases() {
            self.tell(Subject::from(delivery), EventKind::MessageDeleted, now, step);
        }
    }

    /// Writes a delivery that has ended.
    fn rewrite(&mut self, delivery: Delivery, step: &mut Step) {
        let row = Row::Delivery(Arc::new(delivery));
        self.cold.keep(row.clone());
        step.put(row);
    }

    /// Removes a row that memory needs no more.
    fn remove(&mut self, key: RowKey, step: &mut Step) {
        self.cold.insert(key.clone(), None);
        step.delete(key);
    }

    /// The rows that tell whether some of a conversation can go, and those that go with it.
    pub(super) fn name_session_part(&self, retire: &RetireSession, keys: &mut Vec<RowKey>) {
        keys.push(RowKey::Session(retire.session));
        if let SessionPart::Messages(messages) = &retire.part {
            messages.iter().for_each(|message| self.name_chain(*message, keys));
        }
    }

    /// Removes some of a conversation that was closed long ago; gives the number of changes.
    pub(super) fn retire_session(&mut self, retire: RetireSession, now: Timestamp, step: &mut Step) -> usize {
        let RetireSession { session, closed_at, part } = retire;
        if !self.is_over(session, closed_at, now) {
            return 0;
        }
        let before = step.changes.len();
        let full = before + self.policy.max_rows;
        match part {
            SessionPart::Messages(messages) => {
                for message in messages {
                    self.remove_with_deliveries(session, message, full, step);
                }
            }
            SessionPart::Readers(names) => {
                for name in names.into_iter().take(self.policy.max_rows) {
                    self.remove(RowKey::Reader(session, name), step);
                }
            }
            // Whoever reads the log, or the session, must miss nothing that it does not know to be trimmed.
            SessionPart::Events(up_to) if up_to <= self.floor || fault!(SessionTrimmed) => {
                step.trim(Scope::Session(session), up_to);
            }
            SessionPart::Events(_) => {}
            SessionPart::Itself => self.remove(RowKey::Session(session), step),
        }
        step.changes.len() - before
    }

    /// Whether a conversation has been closed for so long that it goes.
    fn is_over(&self, id: SessionId, closed_at: Timestamp, now: Timestamp) -> bool {
        let closed = self.find_session(id).and_then(|session| session.closed_at);
        let old = closed_at + self.policy.closed_session_ttl <= now;
        closed == Some(closed_at) && old && !self.is_closing(id)
    }

    /// Removes a message and its deliveries, as far as there is room. The message goes last: it is what is looked for.
    fn remove_with_deliveries(
        &mut self,
        session: SessionId,
        message: MessageId,
        full: usize,
        step: &mut Step,
    ) {
        if self.chain(message).any(|delivery| delivery.mailbox.session() != Some(session)) {
            return;
        }
        let chain: Vec<DeliveryId> = self.chain(message).map(|delivery| delivery.id).collect();
        let deliveries = chain.into_iter().rev().map(RowKey::Delivery);
        for key in deliveries.chain([RowKey::Message(message)]) {
            if step.changes.len() >= full {
                return;
            }
            self.remove(key, step);
        }
    }

    /// Removes the beginning of the log if the last event of it, which happened at `at`, is old enough. Events are in the order
    /// of their times. The last one stays: the clock of the next life goes on from it.
    pub(super) fn trim_log(&mut self, up_to: Seq, at: Timestamp, now: Timestamp, step: &mut Step) -> usize {
        let old = at + self.policy.log <= now;
        if !old || up_to <= self.floor || up_to >= self.head {
            return 0;
        }
        self.floor = up_to;
        step.trim(Scope::All, up_to);
        1
    }
}
