//! A mailbox in memory: what waits in which order, and who waits for it.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{
    command::CallId,
    consumer::Consumer,
    delivery::{Delivery, State},
    id::{DeliveryId, Name},
    log::Seq,
    mailbox::Mailbox,
    message::Priority,
    receive::Receive,
    time::Timestamp,
};

/// One mailbox.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) row: Mailbox,
    /// Visible or once visible deliveries, first in, first out within a lane.
    pub(super) lanes: BTreeMap<Lane, BTreeMap<Seq, DeliveryId>>,
    /// Deliveries that have no place yet.
    pub(super) scheduled: BTreeSet<DeliveryId>,
    /// Deliveries that wait, scheduled ones and those in back-off included.
    pub(super) pending: u32,
    pub(super) pending_bytes: u64,
    pub(super) leased: u32,
    /// Receives that wait, the longest first.
    pub(super) waiting: VecDeque<Parked>,
    /// How often in a row each consumer was told that nothing is there.
    pub(super) quiet: BTreeMap<Name, u32>,
    /// When its taker should be back.
    pub(super) present_until: Timestamp,
}

/// Deliveries that go out one after the other.
pub(super) type Lane = (Priority, Name);

/// A receive that waits.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) call: CallId,
    pub(super) receive: Receive,
    pub(super) until: Timestamp,
}

/// Why nothing could be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// Nothing waits.
    Empty,
    /// What waits is in back-off, or behind something that is.
    Blocked,
}

impl Inbox {
    pub(super) fn new(row: Mailbox) -> Self {
        Self {
            row,
            lanes: BTreeMap::new(),
            scheduled: BTreeSet::new(),
            pending: 0,
            pending_bytes: 0,
            leased: 0,
            waiting: VecDeque::new(),
            quiet: BTreeMap::new(),
            present_until: Timestamp::default(),
        }
    }

    /// The deliveries to hand out next to `consumer`: at most `max`, of at most `max_bytes` in all but one in any case.
    ///
    /// A delivery's turn has come when everything before it in its lane is in the hands of the same named consumer.
    pub(super) fn choose(
        &self,
        deliveries: &BTreeMap<DeliveryId, Delivery>,
        consumer: &Consumer,
        (max, max_bytes): (usize, u64),
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>, Nothing> {
        let mut chosen: Vec<DeliveryId> = Vec::new();
        let mut bytes = 0;
        for id in self.turns(deliveries, consumer, now) {
            bytes += u64::from(deliveries[&id].size);
            if chosen.len() == max || (!chosen.is_empty() && bytes > max_bytes) {
                break;
            }
            chosen.push(id);
        }
        match (chosen.is_empty(), self.pending) {
            (false, _) => Ok(chosen),
            (true, 0) => Err(Nothing::Empty),
            (true, _) => Err(Nothing::Blocked),
        }
    }

    /// What `consumer` may be handed, lane by lane, the lane with the oldest head first.
    fn turns<'a>(
        &'a self,
        deliveries: &'a BTreeMap<DeliveryId, Delivery>,
        consumer: &'a Consumer,
        now: Timestamp,
    ) -> impl Iterator<Item = DeliveryId> + 'a {
        let mut lanes: Vec<_> = self.lanes.iter().collect();
        lanes.sort_unstable_by_key(|((priority, _), lane)| {
            (*priority, lane.first_key_value().map(|(place, _)| *place))
        });
        lanes.into_iter().flat_map(move |(_, lane)| {
            lane.values()
                .map(|id| (&deliveries[id], *id))
                .map(move |(delivery, id)| match delivery.state {
                    State::Pending { .. } if delivery.expires_at.is_some_and(|at| at <= now) => Turn::Passed,
                    State::Pending { visible_at } if visible_at <= now => Turn::Ready(id),
                    State::Leased if holds(consumer, delivery) => Turn::Passed,
                    _ => Turn::Blocked,
                })
                .take_while(|turn| !matches!(turn, Turn::Blocked))
                .filter_map(|turn| match turn {
                    Turn::Ready(id) => Some(id),
                    Turn::Passed | Turn::Blocked => None,
                })
        })
    }
}

/// What a delivery means for those behind it.
enum Turn {
    /// It can be handed out.
    Ready(DeliveryId),
    /// The receiver holds it, or its time is over: the next one may go.
    Passed,
    /// Nothing behind it may go.
    Blocked,
}

/// Whether `consumer` holds the key of this leased delivery, and may have what comes after it.
fn holds(consumer: &Consumer, delivery: &Delivery) -> bool {
    consumer.named && delivery.grant.as_ref().is_some_and(|grant| grant.consumer == *consumer)
}
