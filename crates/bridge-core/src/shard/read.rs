//! Read mailboxes: what a reader's cursor has passed is done.

use alloc::vec::Vec;

use super::{Shard, Step, Subject, timer::Timer};
use crate::{
    address::{Address, Side},
    delivery::{Delivery, State},
    event::EventKind,
    id::{DeliveryId, SessionId},
    log::Seq,
    reader::{Advance, Reader},
    session::SessionError,
    store::{Row, RowKey},
    time::Timestamp,
};

impl Shard {
    /// Notes how far the person of a conversation has read: one row. The deliveries behind the cursor are settled in its wake.
    pub(super) fn read(
        &mut self,
        session: SessionId,
        up_to: Seq,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Seq, SessionError> {
        let head = self.head;
        let mailbox = &Address::Session(session, Side::User);
        let Some(inbox) = self.inboxes.get_mut(mailbox) else {
            return match self.find_session(session) {
                Some(_) => Err(SessionError::Closed(session)),
                None => Err(SessionError::Unknown(session)),
            };
        };
        let up_to = up_to.min(head);
        if up_to > inbox.row.read_to {
            inbox.row.read_to = up_to;
            step.put(Row::Mailbox(inbox.row.clone()));
            self.read_on(mailbox, now, step);
        }
        Ok(self.inboxes[mailbox].row.read_to)
    }

    /// Settles some of what lies behind the cursor, and comes back for the rest.
    pub(super) fn read_on(&mut self, mailbox: &Address, now: Timestamp, step: &mut Step) {
        let Some(inbox) = self.inboxes.get(mailbox).filter(|_| !mailbox.is_work()) else { return };
        let read_to = inbox.row.read_to;
        // A row and an event each.
        let chunk = (self.policy.max_rows / 2).max(1);
        let passed: Vec<DeliveryId> =
            inbox.lanes.up_to(read_to).take(chunk).map(|slot| self.deliveries.id(slot)).collect();
        for id in &passed {
            self.settle_read(*id, now, step);
        }
        if passed.len() == chunk {
            self.timers.set(now, Timer::ReadOn(mailbox.clone()));
        }
    }

    /// Whether a delivery lies behind its reader's cursor: then it is done, though its row may not say so yet.
    pub(super) fn is_passed(&self, delivery: &Delivery) -> bool {
        let inbox = self.inboxes.get(&delivery.mailbox).filter(|_| !delivery.mailbox.is_work());
        inbox.is_some_and(|inbox| delivery.place.is_some_and(|place| place <= inbox.row.read_to))
    }

    pub(super) fn settle_read(&mut self, id: DeliveryId, now: Timestamp, step: &mut Step) {
        let subject = Subject::from(&self.live(id));
        self.update(id, now, step, |delivery| {
            delivery.state = State::Done;
            delivery.receipts.read = Some(now);
        });
        self.tell(subject, EventKind::Read, now, step);
    }

    /// Moves a reader's own cursor, if it still stands where the caller believes.
    pub(super) fn advance(
        &mut self,
        advance: Advance,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Seq, SessionError> {
        let Advance { session, reader, from, to } = advance;
        let closed = self.find_session(session).ok_or(SessionError::Unknown(session))?.closed_at;
        // What readers have left of it is being removed.
        if closed.is_some_and(|at| at + self.policy.closed_session_ttl <= now) {
            return Err(SessionError::Closed(session));
        }
        let place = match self.cold.get(&RowKey::Reader(session, reader.clone())) {
            Some(Row::Reader(reader)) => reader.place,
            _ => Seq::ZERO,
        };
        if place != from || from == to {
            return Ok(place);
        }
        let row = Row::Reader(Reader { session, name: reader, place: to });
        self.cold.keep(row.clone());
        step.put(row);
        Ok(to)
    }
}
