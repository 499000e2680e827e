//! Withdrawing a delivery, and giving a dead one another life.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use super::{Shard, Step, Subject};
use crate::{
    command::{Cancelled, DeliveryError},
    delivery::{Delivery, Receipts, State},
    event::EventKind,
    id::DeliveryId,
    store::Row,
    time::Timestamp,
};

impl Shard {
    /// Withdraws a delivery that waits; of one that is leased its holder is told, and may still settle it.
    pub(super) fn cancel(
        &mut self,
        id: DeliveryId,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Cancelled, DeliveryError> {
        if self.deliveries.get(id).is_some_and(|delivery| self.is_passed(&delivery)) {
            self.settle_read(id, now, step);
        }
        let state = self.find(id).ok_or(DeliveryError::Unknown(id))?.state;
        match state {
            State::Pending { .. } => self.withdraw(id, now, step),
            State::Leased => self.update(id, now, step, |delivery| delivery.cancel_requested = true),
            State::Cancelled => {}
            State::Done | State::Dead(_) => return Err(DeliveryError::WrongState { state }),
        }
        let requested = state == State::Leased;
        Ok(Cancelled { state: if requested { state } else { State::Cancelled }, requested })
    }

    /// Makes a new delivery of a dead or cancelled one. Asking again gives the first result.
    pub(super) fn redrive(
        &mut self,
        id: DeliveryId,
        ttl: Option<Duration>,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<DeliveryId, DeliveryError> {
        let mut old = self.judge_redrive(id)?;
        if let Some(successor) = old.redriven_as {
            return Ok(successor);
        }
        self.use_mailbox(&old.mailbox, now, step).expect("it was judged that it can be used");
        let successor = if fault!(Revive) { id } else { id.redriven() };
        let place = self.tell(Subject::from(&old), EventKind::Redriven { successor }, now, step);
        let new = Delivery {
            id: successor,
            seq: place,
            place: Some(place),
            expires_at: ttl.map(|ttl| now + ttl),
            state: State::Pending { visible_at: now },
            attempt: 0,
            failures: 0,
            grant: None,
            attempts: Vec::new(),
            receipts: Receipts { accepted: now, ..Receipts::default() },
            cancel_requested: false,
            reply: None,
            progress: None,
            last_error: None,
            redrive_of: Some(id).filter(|id| *id != successor),
            redriven_as: None,
            retire_at: None,
            message_gone: false,
            ..old.clone()
        };
        old.redriven_as = Some(successor);
        // From now on its successor decides how long it is kept.
        if !fault!(RedrivenGoes) {
            old.retire_at = None;
        }
        self.cold.keep(Row::Delivery(Arc::new(old.clone())));
        step.put(Row::Delivery(Arc::new(old)));
        self.insert(new, now, step);
        Ok(successor)
    }

    /// The delivery that may be redriven, or was: then it names its successor.
    pub(super) fn judge_redrive(&self, id: DeliveryId) -> Result<Delivery, DeliveryError> {
        let old = self.find(id).ok_or(DeliveryError::Unknown(id))?;
        if old.redriven_as.is_some() {
            return Ok(old);
        }
        if !matches!(old.state, State::Dead(_) | State::Cancelled) {
            return Err(DeliveryError::WrongState { state: old.state });
        }
        if old.message_gone {
            return Err(DeliveryError::MessageGone(id));
        }
        if let Some(session) = old.mailbox.session().filter(|session| !self.sessions.contains_key(session)) {
            return Err(DeliveryError::SessionClosed(session));
        }
        if self.check_use(&old.mailbox).is_err() {
            return Err(DeliveryError::UnknownMailbox(old.mailbox));
        }
        Ok(old)
    }
}
