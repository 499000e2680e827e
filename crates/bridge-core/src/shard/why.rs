//! Why a delivery does not move: the choice's own conditions, asked one after the other.

use super::{
    Shard,
    lanes::{Lane, Stand},
};
use crate::{
    command::DeliveryError,
    delivery::{Delivery, State},
    id::{DeliveryId, Name},
    mailbox::PresenceState,
    message::Priority,
    time::Timestamp,
    why::{Blocked, Head, Why},
};

impl Shard {
    pub(super) fn why(&self, id: DeliveryId, now: Timestamp) -> Result<Why, DeliveryError> {
        let delivery = self.find(id).ok_or(DeliveryError::Unknown(id))?;
        let (reason, until) = self.blocked(&delivery, now);
        Ok(Why { delivery: id, state: delivery.state, reason, until, redriven_as: delivery.redriven_as })
    }

    fn blocked(&self, delivery: &Delivery, now: Timestamp) -> (Blocked, Option<Timestamp>) {
        let live = self.inboxes.get(&delivery.mailbox).zip(self.deliveries.slot(delivery.id));
        let Some((inbox, (slot, _))) = live else { return (Blocked::Over, None) };
        let stand = self.deliveries.stand(slot, now);
        if let (Stand::Held(consumer), Some(grant)) = (&stand, &delivery.grant) {
            let (consumer, attempt) = ((*consumer).clone(), delivery.attempt);
            return (Blocked::Leased { consumer, attempt }, Some(grant.until));
        }
        if self.is_passed(delivery) {
            return (Blocked::Over, None);
        }
        let is_closed =
            delivery.mailbox.session().is_some_and(|session| !self.sessions.contains_key(&session));
        if is_closed || delivery.seq <= inbox.row.floor || matches!(stand, Stand::Over) {
            return (Blocked::Ending, Some(now));
        }
        let State::Pending { visible_at } = delivery.state else { return (Blocked::Over, None) };
        if delivery.place.is_none() {
            return (Blocked::Scheduled, Some(visible_at));
        }
        if !delivery.mailbox.is_work() {
            return (Blocked::Unread, delivery.expires_at);
        }
        if let Some(paused) = &inbox.row.paused {
            return (Blocked::Paused { by: paused.by.clone(), since: paused.since }, None);
        }
        if matches!(stand, Stand::Paused) {
            return (Blocked::Backoff { failures: delivery.failures }, Some(visible_at));
        }
        if let Some(head) = self.head_before(delivery, now).filter(|_| !fault!(HeadUntold)) {
            return self.behind(delivery, &head, now);
        }
        let waiting = inbox.waiting.calls();
        if waiting.is_empty() {
            let presence = &inbox.row.presence;
            return match presence.state {
                PresenceState::Away => (Blocked::NoConsumer { since: presence.since }, None),
                _ => (Blocked::Turn, None),
            };
        }
        let receives = waiting.iter().filter_map(|call| self.parked.get(call)).map(|parked| &parked.receive);
        let wants = |types: &[Name]| types.is_empty() || types.contains(&delivery.kind);
        let mut wanting = receives.filter(|receive| wants(&receive.types)).peekable();
        if wanting.peek().is_none() {
            return (Blocked::Filtered, None);
        }
        let credit = inbox.limits.credit as usize;
        let is_free = delivery.priority == Priority::CRITICAL
            || wanting.any(|receive| self.held_by(&receive.consumer) < credit);
        (if is_free { Blocked::Turn } else { Blocked::NoCredit }, None)
    }

    /// The first delivery that this one has to wait for.
    fn head_before(&self, delivery: &Delivery, now: Timestamp) -> Option<Delivery> {
        let inbox = self.inboxes.get(&delivery.mailbox)?;
        let lane: Lane = super::index::lane(delivery);
        let slot = inbox.lanes.head_before(&lane, delivery.place?, &self.deliveries, now)?;
        self.deliveries.get(self.deliveries.id(slot))
    }

    fn behind(&self, delivery: &Delivery, head: &Delivery, now: Timestamp) -> (Blocked, Option<Timestamp>) {
        let (reason, until) = match (head.state, &head.grant) {
            (State::Leased, Some(grant)) => {
                let (consumer, attempt) = (grant.consumer.clone(), head.attempt);
                (Head::Leased { consumer, attempt }, Some(grant.until))
            }
            (State::Pending { visible_at }, _) if visible_at > now => {
                (Head::Backoff { failures: head.failures }, Some(visible_at))
            }
            _ => (Head::Ready, None),
        };
        let key = delivery.key.clone().expect("only what has a key waits for another");
        (Blocked::Behind { key, head: head.id, reason }, until)
    }
}
