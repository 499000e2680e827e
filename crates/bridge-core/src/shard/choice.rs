//! Which deliveries go out next: the most urgent first, keys in turn, every eighth the oldest.

use alloc::collections::BTreeMap;

use super::{
    deliveries::{Deliveries, Slot},
    interned::Number,
    lanes::{Lane, Lanes},
};
use crate::{consumer::Consumer, id::Name, log::Seq, message::Priority, time::Timestamp};

/// Every so often the oldest delivery goes out, however little urgent it is.
const OLDEST_EVERY: u64 = 8;

/// What one receiver may have of a mailbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Who may have what is behind that which it holds, if somebody may.
    pub(super) keeper: Option<&'a Consumer>,
    /// Only these types of messages.
    pub(super) filter: Option<&'a [Number]>,
    /// Only what has its place behind this one.
    pub(super) floor: Seq,
    pub(super) now: Timestamp,
}

/// A choice that goes on: what it has picked is not to be picked again, and counts when it is [`kept`](Lanes::keep).
#[derive(Debug)]
pub(super) struct Choice<'a> {
    lanes: &'a Lanes,
    deliveries: &'a Deliveries,
    wish: Wish<'a>,
    /// Lanes that were looked into: how to go on with them, if there is more for this receiver.
    open: BTreeMap<Lane, Option<Candidate>>,
    made: Made,
}

/// What was chosen so far, for the turns of those who choose next.
#[derive(Debug, Clone)]
pub(super) struct Made {
    turn: u64,
    granted: u64,
    /// Turns that lanes without a key have had.
    loose: BTreeMap<Priority, u64>,
}

/// A delivery that can go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) slot: Slot,
    pub(super) place: Seq,
    /// Whether it goes out for being the oldest.
    pub(super) oldest: bool,
    lane: Lane,
    turn: u64,
}

/// A lane that the choice can go on with: when its turn is, and from which place on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    lane: Lane,
    turn: u64,
    place: Seq,
}

impl Lanes {
    pub(super) fn choose<'a>(&'a self, deliveries: &'a Deliveries, wish: Wish<'a>) -> Choice<'a> {
        let made = Made { turn: self.turn, granted: self.granted, loose: BTreeMap::new() };
        Choice { lanes: self, deliveries, wish, open: BTreeMap::new(), made }
    }

    /// What was chosen is handed out.
    pub(super) fn keep(&mut self, made: Made) {
        self.turn = made.turn;
        self.granted = made.granted;
        for (priority, turn) in made.loose {
            if let Some(loose) = self.loose.get_mut(&priority) {
                loose.turn = turn;
            }
        }
    }
}

impl Choice<'_> {
    pub(super) fn made(self) -> Made {
        self.made
    }

    /// The delivery whose turn it is, of those that are at least this urgent.
    pub(super) fn next(&mut self, least: Priority) -> Option<Pick> {
        let oldest = (self.made.granted + 1).is_multiple_of(OLDEST_EVERY) && !fault!(OldestForgotten);
        loop {
            let next = self.candidate(oldest, least)?;
            let Some((place, slot)) = self.look_into(&next) else {
                self.open.insert(next.lane, None);
                continue;
            };
            if oldest && place > next.place {
                // What came first there is over, and another lane may have something older.
                self.open.insert(next.lane.clone(), Some(Candidate { place, ..next }));
                continue;
            }
            return Some(Pick { slot, place, oldest, lane: next.lane, turn: next.turn });
        }
    }

    /// The pick goes out: its lane has had its turn.
    pub(super) fn take(&mut self, pick: &Pick) {
        self.made.granted += 1;
        self.made.turn += 1;
        let turn = if fault!(GreedyKey) { pick.turn } else { self.made.turn };
        if pick.lane.1.is_none() {
            self.made.loose.insert(pick.lane.0, turn);
        }
        let more = Candidate { lane: pick.lane.clone(), turn, place: pick.place.next() };
        self.open.insert(pick.lane.clone(), Some(more));
    }

    /// The first delivery of a lane that this receiver may have.
    fn look_into(&self, candidate: &Candidate) -> Option<(Seq, Slot)> {
        let Wish { keeper, filter, floor, now } = self.wish;
        let (priority, key) = &candidate.lane;
        let Some(key) = key else {
            let from = candidate.place.max(floor.next());
            return self.lanes.loose.get(priority)?.first_from(from, filter, self.deliveries, now);
        };
        let queue = self.lanes.keyed.get(&(*priority, key.clone()))?;
        let first = queue.first_from(candidate.place, floor, keeper, self.deliveries, now);
        first.filter(|(_, slot)| filter.is_none_or(|filter| filter.contains(&self.deliveries.kind(*slot))))
    }

    /// The lane whose turn it is: of the most urgent the one that had none for the longest time, or the one with the oldest
    /// delivery.
    fn candidate(&self, oldest: bool, least: Priority) -> Option<Candidate> {
        let free = match (self.wish.filter, &self.lanes.ready.kinds) {
            (Some(filter), Some(kinds)) => filter.iter().filter_map(|kind| kinds.get(kind)).collect(),
            _ => alloc::vec![&self.lanes.ready.free],
        };
        let kept = self.wish.keeper.and_then(|keeper| self.lanes.ready.kept.get(keeper));
        let keyed = free.into_iter().chain(kept).filter_map(|turns| {
            let is_new = |(priority, key): &(Priority, &Name)| {
                #[cfg(test)]
                self.deliveries.looked();
                self.open.is_empty() || !self.open.contains_key(&(*priority, Some((*key).clone())))
            };
            // What is not urgent enough is not even looked at: there may be very much of it.
            let urgent = turns.by_turn.iter().take_while(|(priority, ..)| *priority <= least);
            let mut urgent = urgent.map(|(priority, _, key)| (*priority, key)).filter(is_new);
            let (priority, key) = if !oldest {
                urgent.next()
            } else if least < Priority::BULK {
                let place = |(priority, key): &(Priority, &Name)| {
                    self.lanes.keyed[&(*priority, (*key).clone())].next.as_ref().map(|next| next.place)
                };
                urgent.min_by_key(place)
            } else {
                turns.by_place.iter().map(|(_, (priority, key))| (*priority, key)).find(is_new)
            }?;
            let next = self.lanes.keyed[&(priority, key.clone())].next.as_ref()?;
            Some(Candidate { turn: next.turn, place: next.place, lane: (priority, Some(key.clone())) })
        });
        let loose = self.lanes.loose.iter().filter_map(|(priority, loose)| {
            let lane = (*priority, None);
            if *priority > least || self.open.contains_key(&lane) {
                return None;
            }
            let from = self.wish.floor.next();
            let (place, _) = loose.first_from(from, self.wish.filter, self.deliveries, self.wish.now)?;
            Some(Candidate { turn: loose.turn, place, lane })
        });
        let open = self.open.values().flatten().filter(|candidate| candidate.lane.0 <= least).cloned();
        let all = keyed.chain(loose).chain(open);
        if fault!(UrgencyIgnored) {
            all.min_by_key(|candidate| candidate.turn)
        } else if oldest {
            all.min_by_key(|candidate| candidate.place)
        } else {
            all.min_by(|a, b| (a.lane.0, a.turn).cmp(&(b.lane.0, b.turn)))
        }
    }
}
