//! How deliveries stand: by their rows, and by the leases that stand in no row.

use std::collections::BTreeMap;

use bridge_core::{
    Address, Backoff, Class, Delivery, DeliveryId, Grant, Mailbox, Name, Priority, Receive, Row, RowKey, Seq,
    State, Timestamp,
};

use super::leases::Unrecorded;
use crate::disk::Disk;

/// Rows, with the leases that are held in memory alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) unrecorded: &'a Unrecorded,
}

/// The deliveries of a mailbox that have a place, in order within each key and priority.
pub(super) type Lanes<'a> = BTreeMap<(Option<&'a Name>, Priority), BTreeMap<Seq, &'a Delivery>>;

impl<'a> View<'a> {
    /// The lease that a delivery is under.
    pub(crate) fn lease(&self, delivery: &'a Delivery) -> Option<&'a Grant> {
        let held = self.unrecorded.get(&delivery.id).map(|held| &held.grant);
        held.or_else(|| delivery.grant.as_ref().filter(|_| delivery.state == State::Leased))
    }

    pub(super) fn lanes(&self, mailbox: &Address) -> Lanes<'a> {
        let mut lanes = Lanes::new();
        for delivery in self.disk.unsettled(mailbox) {
            if let Some(place) = delivery.place {
                lanes.entry((delivery.key.as_ref(), delivery.priority)).or_default().insert(place, delivery);
            }
        }
        lanes
    }

    /// What a receive may be handed of a mailbox now, were its credit without end.
    pub(crate) fn turns(&self, mailbox: &Address, receive: &Receive, now: Timestamp) -> Vec<DeliveryId> {
        let row = self.disk.mailbox(mailbox).filter(|row| row.paused.is_none() && is_open(self.disk, row));
        let Some(row) = row else { return Vec::new() };
        let mut turns = Vec::new();
        for ((key, _), lane) in self.lanes(mailbox) {
            for delivery in lane.into_values() {
                match self.way(row, delivery, receive, now) {
                    Way::Clear => turns.push(delivery.id),
                    Way::Passed => {}
                    Way::Blocked if key.is_none() => {}
                    Way::Blocked => break,
                }
            }
        }
        turns
    }

    fn way(&self, row: &Mailbox, delivery: &'a Delivery, receive: &Receive, now: Timestamp) -> Way {
        let keeps = row.settings.class == Class::Agent && receive.consumer.named;
        if let Some(lease) = self.lease(delivery) {
            let same = keeps && lease.consumer == receive.consumer;
            return if same { Way::Passed } else { Way::Blocked };
        }
        if self.is_passed(row, delivery, now) {
            Way::Passed
        } else if matches!(delivery.state, State::Pending { visible_at } if visible_at > now) {
            Way::Blocked
        } else if receive.types.is_empty() || receive.types.contains(&delivery.kind) {
            Way::Clear
        } else {
            Way::Blocked
        }
    }

    /// Whether a delivery that waits lets pass what is behind it.
    pub(super) fn is_passed(&self, row: &Mailbox, delivery: &Delivery, now: Timestamp) -> bool {
        let pauses = matches!(delivery.state, State::Pending { visible_at } if visible_at > now);
        delivery.seq <= row.floor
            || delivery.expires_at.is_some_and(|at| at <= now)
            || (pauses && row.settings.backoff == Backoff::Skips)
    }
}

/// What a delivery means for a receiver, and for what is behind it in its key.
enum Way {
    /// The receiver may have it.
    Clear,
    /// It is not for the receiver, and does not stand in the way.
    Passed,
    /// It stands in the way.
    Blocked,
}

/// Whether a mailbox is not one of a conversation that has ended.
pub(super) fn is_open(disk: &Disk, mailbox: &Mailbox) -> bool {
    let session = mailbox.address.session().map(|session| disk.look(&RowKey::Session(session)));
    session.is_none_or(|session| session.is_some_and(Row::is_live))
}
