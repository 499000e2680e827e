//! The order in which a mailbox's deliveries go out: first in, first out within a lane, lanes in turn.
//!
//! *Invariant:* what is said of a lane's next delivery is true of the deliveries as they were when the lane last changed.
//! Time alone changes it too: a pause that is over is told by its timer, and a message whose time is over is passed when
//! the choice comes to it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    consumer::Consumer,
    delivery::{Delivery, State},
    id::{DeliveryId, Name},
    log::Seq,
    message::Priority,
    time::Timestamp,
};

/// Deliveries that go out one after the other.
pub(super) type Lane = (Priority, Name);

/// Every so often the oldest delivery goes out, however little urgent it is.
const OLDEST_EVERY: u64 = 8;

/// The live deliveries of one mailbox that have a place.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Lane, Queue>,
    ready: Ready,
    /// Counts the turns that were given to lanes.
    turn: u64,
    /// Deliveries that were handed out.
    granted: u64,
}

/// One lane.
#[derive(Debug, Default)]
struct Queue {
    places: BTreeMap<Seq, DeliveryId>,
    next: Option<Next>,
}

/// The next delivery of a lane that somebody may have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Next {
    place: Seq,
    /// The only one who may have it.
    keeper: Option<Consumer>,
    turn: u64,
}

/// The lanes with something to hand out.
#[derive(Debug, Default)]
struct Ready {
    /// Those whose next delivery anybody may have.
    free: Turns,
    /// Those whose next delivery is for the consumer that holds those before it.
    kept: BTreeMap<Consumer, Turns>,
}

impl Ready {
    fn insert(&mut self, lane: &Lane, next: &Next) {
        let turns = match &next.keeper {
            None => &mut self.free,
            Some(keeper) => self.kept.entry(keeper.clone()).or_default(),
        };
        turns.insert(lane, next);
    }

    fn remove(&mut self, lane: &Lane, next: &Next) {
        let Some(keeper) = &next.keeper else { return self.free.remove(lane, next) };
        if let Some(kept) = self.kept.get_mut(keeper) {
            kept.remove(lane, next);
            if kept.is_empty() {
                self.kept.remove(keeper);
            }
        }
    }
}

/// Lanes with something to hand out, each in its turn and by the place of what is next in it.
#[derive(Debug, Default)]
struct Turns {
    by_turn: BTreeSet<(Priority, u64, Name)>,
    by_place: BTreeSet<(Seq, Lane)>,
}

impl Turns {
    fn insert(&mut self, (priority, key): &Lane, next: &Next) {
        self.by_turn.insert((*priority, next.turn, key.clone()));
        self.by_place.insert((next.place, (*priority, key.clone())));
    }

    fn remove(&mut self, (priority, key): &Lane, next: &Next) {
        self.by_turn.remove(&(*priority, next.turn, key.clone()));
        self.by_place.remove(&(next.place, (*priority, key.clone())));
    }

    fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }
}

/// A lane that the choice can go on with: when its turn is, and from which place on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    lane: Lane,
    turn: u64,
    place: Seq,
}

impl Lanes {
    /// Takes in a delivery.
    pub(super) fn insert(&mut self, lane: &Lane, place: Seq, id: DeliveryId) {
        self.lanes.entry(lane.clone()).or_default().places.insert(place, id);
    }

    /// Lets go of a delivery.
    pub(super) fn remove(&mut self, lane: &Lane, place: Seq) {
        if let Some(queue) = self.lanes.get_mut(lane) {
            queue.places.remove(&place);
        }
    }

    /// Looks again at what is next in a lane. One in which that has not changed keeps its turn.
    pub(super) fn refresh(
        &mut self,
        lane: &Lane,
        deliveries: &BTreeMap<DeliveryId, Delivery>,
        now: Timestamp,
    ) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        let next = queue.next(deliveries, now);
        let before = queue.next.as_ref().map(|before| (before.place, before.keeper.as_ref()));
        if next != before {
            if let Some(before) = queue.next.take() {
                self.ready.remove(lane, &before);
            }
            if let Some((place, keeper)) = next {
                self.turn += 1;
                let next = Next { place, keeper: keeper.cloned(), turn: self.turn };
                self.ready.insert(lane, &next);
                queue.next = Some(next);
            }
        }
        if queue.places.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// Whether anybody may have something.
    pub(super) fn is_free(&self) -> bool {
        !self.ready.free.is_empty()
    }

    /// Those who may have something that nobody else may have.
    pub(super) fn keepers(&self) -> impl Iterator<Item = &Consumer> {
        self.ready.kept.keys()
    }

    /// Every delivery, lane by lane.
    pub(super) fn ids(&self) -> impl Iterator<Item = &DeliveryId> {
        self.lanes.values().flat_map(|queue| queue.places.values())
    }

    /// Those whose place is not behind `last`, lane by lane.
    pub(super) fn up_to(&self, last: Seq) -> impl Iterator<Item = DeliveryId> {
        self.lanes.values().flat_map(move |queue| queue.places.range(..=last)).map(|(_, id)| *id)
    }

    /// The deliveries to hand out next to `consumer`: at most `max`, of at most `max_bytes` in all but one in any case.
    /// They count as handed out.
    pub(super) fn choose(
        &mut self,
        deliveries: &BTreeMap<DeliveryId, Delivery>,
        consumer: &Consumer,
        (max, max_bytes): (usize, u64),
        now: Timestamp,
    ) -> Vec<DeliveryId> {
        let mut chosen = Vec::new();
        let mut bytes = 0;
        // Lanes that were looked into: how to go on with them, if there is more for this receiver.
        let mut open: BTreeMap<Lane, Option<Candidate>> = BTreeMap::new();
        while chosen.len() < max {
            let oldest = (self.granted + 1).is_multiple_of(OLDEST_EVERY) && !fault!(OldestForgotten);
            let Some(next) = self.candidate(consumer, &open, oldest) else { break };
            let queue = &self.lanes[&next.lane];
            let Some((place, id)) = queue.first_for(deliveries, consumer, next.place, now) else {
                open.insert(next.lane, None);
                continue;
            };
            if oldest && place > next.place {
                // What came first there is over, and another lane may have something older.
                open.insert(next.lane.clone(), Some(Candidate { place, ..next }));
                continue;
            }
            bytes += u64::from(deliveries[&id].size);
            if !chosen.is_empty() && bytes > max_bytes {
                break;
            }
            chosen.push(id);
            self.granted += 1;
            self.turn += 1;
            let turn = if fault!(GreedyKey) { next.turn } else { self.turn };
            let more = Candidate { lane: next.lane.clone(), turn, place: place.next() };
            open.insert(next.lane, Some(more));
        }
        chosen
    }

    /// The lane whose turn it is: of the most urgent the one that had none for the longest time, or the one with the oldest
    /// delivery.
    fn candidate(
        &self,
        consumer: &Consumer,
        open: &BTreeMap<Lane, Option<Candidate>>,
        oldest: bool,
    ) -> Option<Candidate> {
        let indexed = [Some(&self.ready.free), self.ready.kept.get(consumer)].into_iter().flatten();
        let fresh = indexed.filter_map(|turns| {
            let lane = if oldest {
                turns.by_place.iter().map(|(_, lane)| lane).find(|lane| !open.contains_key(*lane)).cloned()
            } else {
                let mut lanes = turns.by_turn.iter().map(|(priority, _, key)| (*priority, key.clone()));
                lanes.find(|lane| !open.contains_key(lane))
            }?;
            let next = self.lanes[&lane].next.as_ref()?;
            Some(Candidate { turn: next.turn, place: next.place, lane })
        });
        let all = fresh.chain(open.values().flatten().cloned());
        if fault!(UrgencyIgnored) {
            all.min_by_key(|candidate| candidate.turn)
        } else if oldest {
            all.min_by_key(|candidate| candidate.place)
        } else {
            all.min_by(|a, b| (a.lane.0, a.turn).cmp(&(b.lane.0, b.turn)))
        }
    }
}

impl Queue {
    /// The first delivery that somebody may have, and who alone if those before it are in one pair of hands.
    fn next<'a>(
        &self,
        deliveries: &'a BTreeMap<DeliveryId, Delivery>,
        now: Timestamp,
    ) -> Option<(Seq, Option<&'a Consumer>)> {
        let mut keeper = None;
        for (place, id) in &self.places {
            let delivery = &deliveries[id];
            match stand(delivery, now) {
                Stand::Ready => return Some((*place, keeper)),
                Stand::Over => {}
                Stand::Held(holder)
                    if holder.named
                        && (keeper.is_none_or(|keeper| keeper == holder) || fault!(KeptForOthers)) =>
                {
                    keeper = Some(holder);
                }
                Stand::Paused | Stand::Held(_) => return None,
            }
        }
        None
    }

    /// The first delivery from `place` on, if `consumer` may have it who may have everything before.
    fn first_for(
        &self,
        deliveries: &BTreeMap<DeliveryId, Delivery>,
        consumer: &Consumer,
        place: Seq,
        now: Timestamp,
    ) -> Option<(Seq, DeliveryId)> {
        for (place, id) in self.places.range(place..) {
            match stand(&deliveries[id], now) {
                Stand::Ready => return Some((*place, *id)),
                Stand::Over => {}
                Stand::Held(holder) if consumer.named && holder == consumer => {}
                Stand::Paused | Stand::Held(_) => return None,
            }
        }
        None
    }
}

/// What a delivery means for those behind it.
enum Stand<'a> {
    /// It can be handed out.
    Ready,
    /// Its time is over: it is passed.
    Over,
    /// It waits, and they with it.
    Paused,
    /// Somebody has it, and may have what comes after it.
    Held(&'a Consumer),
}

fn stand(delivery: &Delivery, now: Timestamp) -> Stand<'_> {
    match (delivery.state, &delivery.grant) {
        (State::Leased, _) if fault!(GrantTwice) => Stand::Ready,
        (State::Leased, Some(grant)) => Stand::Held(&grant.consumer),
        (State::Pending { .. }, _) if delivery.expires_at.is_some_and(|at| at <= now) => Stand::Over,
        (State::Pending { visible_at }, _) if visible_at <= now => Stand::Ready,
        _ if fault!(JumpQueue) => Stand::Over,
        _ => Stand::Paused,
    }
}
