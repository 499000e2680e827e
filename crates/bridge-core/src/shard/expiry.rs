//! Messages whose time comes, and messages whose time is over.

use alloc::format;

use super::{
    Shard, Step, Subject,
    inbox::Inbox,
    publish::{Author, Route},
};
use crate::{
    delivery::{DeadReason, Delivery, State},
    event::EventKind,
    id::{DeliveryId, MessageId, Name},
    mailbox::Backoff,
    publish::Publish,
    time::Timestamp,
};

impl Shard {
    /// Puts what has been in back-off for long enough in line again. That changes no row, so it is done at once: nothing is passed
    /// any more, whatever else is due.
    pub(super) fn end_pauses(&mut self, now: Timestamp) {
        while let Some(id) = self.timers.pop_pause(now) {
            let skips = |inbox: &Inbox| inbox.row.settings.backoff == Backoff::Skips;
            let passed = |delivery: &Delivery| self.inboxes.get(&delivery.mailbox).is_some_and(skips);
            if fault!(PassedForGood) && self.deliveries.get(id).as_ref().is_some_and(passed) {
                continue;
            }
            self.reindex(id, now);
        }
    }

    /// A scheduled message takes its place now.
    pub(super) fn become_visible(&mut self, id: DeliveryId, now: Timestamp, step: &mut Step) {
        let Some(delivery) = self.deliveries.get(id) else { return };
        if self.is_purged(&delivery) {
            return self.withdraw(id, now, step);
        }
        // What a closed conversation leaves is given up in a moment, without a word.
        if delivery.mailbox.session().is_some_and(|session| !self.sessions.contains_key(&session)) {
            return;
        }
        let place = self.tell(Subject::from(&delivery), EventKind::Visible, now, step);
        self.update(id, now, step, |delivery| delivery.place = Some(place));
    }

    /// A message has had its time. While it is leased its holder may still settle it.
    pub(super) fn expire(&mut self, id: DeliveryId, now: Timestamp, step: &mut Step) {
        match self.deliveries.get(id) {
            Some(delivery) if self.is_passed(&delivery) => self.settle_read(id, now, step),
            Some(delivery) if delivery.state != State::Leased && self.is_purged(&delivery) => {
                self.withdraw(id, now, step);
            }
            Some(Delivery { state: State::Pending { .. }, .. }) => {
                self.give_up(id, DeadReason::Expired, now, step);
            }
            Some(_) if fault!(HeldExpires) => self.give_up(id, DeadReason::Expired, now, step),
            _ => {}
        }
    }

    /// Gives up a delivery and tells its sender.
    pub(super) fn give_up(&mut self, id: DeliveryId, reason: DeadReason, now: Timestamp, step: &mut Step) {
        let delivery = self.live(id);
        self.kill(id, reason, now, step);
        let kind = EventKind::Dead { reason, error: delivery.last_error.clone() };
        self.tell(Subject::from(&delivery), kind, now, step);
        self.bounce(&delivery, reason, now, step);
    }

    /// Ends a delivery in state dead, without a word.
    pub(super) fn kill(&mut self, id: DeliveryId, reason: DeadReason, now: Timestamp, step: &mut Step) {
        self.update(id, now, step, |delivery| {
            delivery.state = State::Dead(reason);
            delivery.receipts.dead = Some(now);
        });
    }

    /// Withdraws a delivery.
    pub(super) fn withdraw(&mut self, id: DeliveryId, now: Timestamp, step: &mut Step) {
        let subject = Subject::from(&self.live(id));
        self.update(id, now, step, |delivery| {
            delivery.state = State::Cancelled;
            delivery.receipts.dead = Some(now);
        });
        self.tell(subject, EventKind::Cancelled, now, step);
    }

    /// Tells the sender of a dead delivery, in its mailbox: best effort, and never about a bounce.
    fn bounce(&mut self, delivery: &Delivery, reason: DeadReason, now: Timestamp, step: &mut Step) {
        let Some(to) = delivery.mailbox.origin(&delivery.from) else { return };
        if delivery.bounce || !self.inboxes.contains_key(&to) || self.room(&to).is_err() {
            return;
        }
        let id = MessageId::bounce_of(delivery.id);
        let payload = format!(
            r#"{{"message_id":"{}","delivery_id":"{}","reason":"{}"}}"#,
            delivery.message,
            delivery.id,
            reason.as_str()
        );
        let bounce = Publish {
            verified: true,
            kind: Name::from_static("bounce"),
            reply_to: Some(delivery.message),
            ttl: Some(self.policy.bounce_ttl),
            ..Publish::new(id, Name::from_static("bridge"), to, payload)
        };
        self.accept(Author::Bridge, bounce, Route::Mailbox, now, step);
    }
}
