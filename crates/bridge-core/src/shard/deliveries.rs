//! The live deliveries, held small: a million of them may wait.
//!
//! What each one needs while it waits stands in a slot of its own; what only some have - a lease, receipts, words - lies
//! apart. Keys and mailboxes that many share are held once.
//!
//! *Invariant:* what [`get`](Deliveries::get) gives is what was put in, whole: nothing that is live is to be removed at some time.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};

use super::{
    interned::{Interned, Number},
    lanes::Stand,
};
use crate::{
    address::Address,
    delivery::{Attempt, Delivery, Grant, Receipts, State},
    id::{DeliveryId, MessageId, Name},
    log::Seq,
    message::Priority,
    time::Timestamp,
};

/// Where a live delivery is held, for as long as it lives.
pub(super) type Slot = u32;

/// Slots that are made at once, so that holding many never moves those that are there.
const CHUNK: usize = 4_096;

/// All live deliveries of a shard.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    chunks: Vec<Vec<Held>>,
    free: Vec<Slot>,
    by_id: BTreeMap<DeliveryId, Slot>,
    /// Keys, senders and types.
    names: Interned<Name>,
    mailboxes: Interned<Address>,
    /// How often something was looked at to see whether it can go out.
    #[cfg(test)]
    pub(super) looks: core::cell::Cell<usize>,
}

/// One delivery. Times of zero and numbers that are missing cost nothing extra.
#[derive(Debug)]
struct Held {
    id: DeliveryId,
    seq: Seq,
    /// Zero while it has none.
    place: Seq,
    accepted: Timestamp,
    /// Of one that is pending.
    visible_at: Timestamp,
    expires_at: Timestamp,
    mailbox: Number,
    from: Number,
    kind: Number,
    key: Option<Number>,
    size: u32,
    attempt: u32,
    failures: u32,
    priority: Priority,
    leased: bool,
    bounce: bool,
    cancel_requested: bool,
    rest: Option<Box<Rest>>,
}

/// What a delivery has that was not just accepted.
#[derive(Debug, PartialEq, Eq, Default)]
struct Rest {
    /// The message, if it is not one whose first delivery this is.
    message: Option<MessageId>,
    grant: Option<Grant>,
    attempts: Vec<Attempt>,
    receipts: Receipts,
    reply: Option<MessageId>,
    progress: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    redrive_of: Option<DeliveryId>,
    redriven_as: Option<DeliveryId>,
}

/// Stands for a message that never expires.
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

impl Deliveries {
    pub(super) fn contains(&self, id: DeliveryId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The delivery as it was put in.
    pub(super) fn get(&self, id: DeliveryId) -> Option<Delivery> {
        self.by_id.get(&id).map(|slot| self.whole(self.held(*slot)))
    }

    /// All of them, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = Delivery> + '_ {
        self.by_id.values().map(|slot| self.whole(self.held(*slot)))
    }

    /// Takes in a live delivery, and tells where it is held.
    pub(super) fn insert(&mut self, delivery: &Delivery) -> Slot {
        let id = delivery.id;
        let held = self.small(delivery);
        let slot = self.free.pop().unwrap_or_else(|| self.new_slot());
        let (chunk, at) = split(slot);
        let chunk = &mut self.chunks[chunk];
        if at == chunk.len() {
            chunk.push(held);
        } else {
            chunk[at] = held;
        }
        self.by_id.insert(id, slot);
        slot
    }

    /// Notes that the consumer has read what it was given. Nothing is found by that, so it stays where it is.
    pub(super) fn see(&mut self, id: DeliveryId, now: Timestamp) {
        let Some((chunk, at)) = self.by_id.get(&id).copied().map(split) else { return };
        let rest = self.chunks[chunk][at].rest.get_or_insert_default();
        rest.receipts.seen = Some(now);
    }

    /// Lets go of a delivery.
    pub(super) fn remove(&mut self, id: DeliveryId) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        let (chunk, at) = split(slot);
        let held = &mut self.chunks[chunk][at];
        held.rest = None;
        self.mailboxes.release(held.mailbox);
        for name in [Some(held.from), Some(held.kind), held.key].into_iter().flatten() {
            self.names.release(name);
        }
        self.free.push(slot);
    }

    /// Where a delivery is held, and what stands for its type.
    pub(super) fn slot(&self, id: DeliveryId) -> Option<(Slot, Number)> {
        self.by_id.get(&id).map(|slot| (*slot, self.held(*slot).kind))
    }

    /// Whether a delivery is in this mailbox.
    pub(super) fn is_of(&self, id: DeliveryId, mailbox: &Address) -> bool {
        self.by_id.get(&id).is_some_and(|slot| self.mailboxes.get(self.held(*slot).mailbox) == mailbox)
    }

    /// The id of what is held in a slot.
    pub(super) fn id(&self, slot: Slot) -> DeliveryId {
        self.held(slot).id
    }

    /// When a delivery was made: its place in the log.
    pub(super) fn seq(&self, id: DeliveryId) -> Option<Seq> {
        self.by_id.get(&id).map(|slot| self.held(*slot).seq)
    }

    /// Bytes of payload of what is held in a slot.
    pub(super) fn size(&self, slot: Slot) -> u32 {
        self.held(slot).size
    }

    /// When what is held in a slot was accepted.
    pub(super) fn accepted(&self, slot: Slot) -> Timestamp {
        self.held(slot).accepted
    }

    /// Whether a purge up to `floor` withdraws what is held in a slot, and has not asked for it back yet.
    pub(super) fn is_below(&self, slot: Slot, floor: Seq) -> bool {
        let held = self.held(slot);
        held.seq <= floor && !(held.leased && held.cancel_requested)
    }

    /// Stands for the type of the message that is held in a slot.
    pub(super) fn kind(&self, slot: Slot) -> Number {
        self.held(slot).kind
    }

    /// Stands for a type of message, if there is a live one.
    pub(super) fn number_of(&self, kind: &Name) -> Option<Number> {
        self.names.number(kind)
    }

    /// What the delivery in a slot means for those behind it.
    pub(super) fn stand(&self, slot: Slot, now: Timestamp) -> Stand<'_> {
        #[cfg(test)]
        self.looked();
        let held = self.held(slot);
        if held.leased && !fault!(GrantTwice) {
            let grant = held.rest.as_ref().and_then(|rest| rest.grant.as_ref());
            grant.map_or(Stand::Paused, |grant| Stand::Held(&grant.consumer))
        } else if held.leased || (held.visible_at <= now && held.expires_at > now) {
            Stand::Ready
        } else if held.expires_at <= now || fault!(JumpQueue) {
            Stand::Over
        } else {
            Stand::Paused
        }
    }

    #[cfg(test)]
    pub(super) fn looked(&self) {
        self.looks.set(self.looks.get() + 1);
    }

    fn held(&self, slot: Slot) -> &Held {
        let (chunk, at) = split(slot);
        &self.chunks[chunk][at]
    }

    fn new_slot(&mut self) -> Slot {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last().map_or(0, Vec::len);
        Slot::try_from(full + last).expect("what may wait is bounded far below this")
    }

    fn small(&mut self, delivery: &Delivery) -> Held {
        let (visible_at, leased) = match delivery.state {
            State::Pending { visible_at } => (visible_at, false),
            _ => (Timestamp::default(), true),
        };
        let accepted = delivery.receipts.accepted;
        let first = DeliveryId::of(delivery.message, 0) == delivery.id;
        let rest = Rest {
            message: (!first).then_some(delivery.message),
            grant: delivery.grant.clone(),
            attempts: delivery.attempts.clone(),
            receipts: Receipts { accepted: Timestamp::default(), ..delivery.receipts },
            reply: delivery.reply,
            progress: delivery.progress.clone(),
            last_error: delivery.last_error.clone(),
            redrive_of: delivery.redrive_of,
            redriven_as: delivery.redriven_as,
        };
        Held {
            id: delivery.id,
            seq: delivery.seq,
            place: delivery.place.unwrap_or(Seq::ZERO),
            accepted,
            visible_at,
            expires_at: delivery.expires_at.unwrap_or(NEVER),
            mailbox: self.mailboxes.intern(&delivery.mailbox),
            from: self.names.intern(&delivery.from),
            kind: self.names.intern(&delivery.kind),
            key: delivery.key.as_ref().map(|key| self.names.intern(key)),
            size: delivery.size,
            attempt: delivery.attempt,
            failures: delivery.failures,
            priority: delivery.priority,
            leased,
            bounce: delivery.bounce,
            cancel_requested: delivery.cancel_requested,
            rest: (rest != Rest::default()).then(|| Box::new(rest)),
        }
    }

    fn whole(&self, held: &Held) -> Delivery {
        let none = Rest::default();
        let rest = held.rest.as_deref().unwrap_or(&none);
        Delivery {
            id: held.id,
            message: rest.message.unwrap_or(MessageId(held.id.0)),
            mailbox: self.mailboxes.get(held.mailbox).clone(),
            from: self.names.get(held.from).clone(),
            kind: self.names.get(held.kind).clone(),
            key: held.key.map(|key| self.names.get(key).clone()),
            priority: held.priority,
            seq: held.seq,
            place: Some(held.place).filter(|place| *place != Seq::ZERO),
            size: held.size,
            bounce: held.bounce,
            expires_at: Some(held.expires_at).filter(|at| *at != NEVER),
            state: if held.leased { State::Leased } else { State::Pending { visible_at: held.visible_at } },
            attempt: held.attempt,
            failures: held.failures,
            grant: rest.grant.clone(),
            attempts: rest.attempts.clone(),
            receipts: Receipts { accepted: held.accepted, ..rest.receipts },
            cancel_requested: held.cancel_requested,
            reply: rest.reply,
            progress: rest.progress.clone(),
            last_error: rest.last_error.clone(),
            redrive_of: rest.redrive_of,
            redriven_as: rest.redriven_as,
            retire_at: None,
            message_gone: false,
        }
    }
}

const fn split(slot: Slot) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_held_in_about_a_hundred_bytes() {
        assert!(size_of::<Held>() <= 96, "{}", size_of::<Held>());
    }
}
