//! How deliveries stand, as memory has it: leases that are not recorded among it.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use super::{Shard, Step, Subject};
use crate::{
    address::Address,
    command::DeliveryError,
    delivery::{Delivery, State},
    event::EventKind,
    id::{DeliveryId, MessageId},
    log::Seq,
    time::Timestamp,
};

impl Shard {
    pub(super) fn inspect_delivery(&self, id: DeliveryId) -> Result<Box<Delivery>, DeliveryError> {
        self.find(id).map(Box::new).ok_or(DeliveryError::Unknown(id))
    }

    /// Those of these deliveries that are live, in the order they are named.
    pub(super) fn inspect_live(&self, ids: &[DeliveryId]) -> Vec<Delivery> {
        ids.iter().filter_map(|id| self.deliveries.get(*id)).collect()
    }

    /// Leased deliveries, newest first: those made before `before`, at most `limit`.
    pub(super) fn leased(
        &self,
        mailbox: Option<&Address>,
        before: Option<Seq>,
        limit: usize,
    ) -> Vec<Delivery> {
        let held = self.held.values().flatten().filter_map(|id| Some((self.deliveries.seq(*id)?, *id)));
        let mut leased: Vec<_> = held
            .filter(|(seq, _)| before.is_none_or(|before| *seq < before))
            .filter(|(_, id)| mailbox.is_none_or(|mailbox| self.deliveries.is_of(*id, mailbox)))
            .collect();
        leased.sort_unstable_by(|a, b| b.cmp(a));
        leased.iter().take(limit).filter_map(|(_, id)| self.deliveries.get(*id)).collect()
    }

    /// Gives the live delivery of a message so much time from now on.
    pub(super) fn set_ttl(
        &mut self,
        message: MessageId,
        ttl: Duration,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Timestamp, DeliveryError> {
        let first = DeliveryId::of(message, 0);
        let delivery = self.chain(message).last().ok_or(DeliveryError::Unknown(first))?;
        if delivery.state.is_terminal() || self.is_passed(&delivery) {
            return Err(DeliveryError::WrongState { state: delivery.state });
        }
        // It counts from when the recipient can see it.
        let begin = match delivery.state {
            State::Pending { visible_at } if delivery.place.is_none() => visible_at,
            _ => now,
        };
        let expires_at = begin + ttl;
        self.update(delivery.id, now, step, |delivery| delivery.expires_at = Some(expires_at));
        self.tell(Subject::from(&delivery), EventKind::TtlChanged { expires_at }, now, step);
        Ok(expires_at)
    }
}
