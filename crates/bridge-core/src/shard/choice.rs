//! Which deliveries go out next: the most urgent first, keys in turn, every eighth the oldest.

use alloc::{
    collections::{BTreeMap, BTreeSet, btree_set},
    vec::Vec,
};
use core::iter::Peekable;

use super::{
    deliveries::{Deliveries, Slot},
    interned::Number,
    lanes::{Keys, Lane, Lanes},
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

/// A choice that goes on where it stopped: what it has picked is not to be picked again, and counts when it is
/// [`kept`](Lanes::keep).
#[derive(Debug)]
pub(super) struct Choice<'a> {
    lanes: &'a Lanes,
    deliveries: &'a Deliveries,
    wish: Wish<'a>,
    /// What there is to choose from, the most urgent first.
    levels: Vec<Level<'a>>,
    /// The level of the last pick, and how to go on in its lane.
    picked: Option<(usize, Candidate<'a>)>,
    made: Made,
}

/// What was chosen so far, for the turns of those who choose next.
#[derive(Debug, Clone)]
pub(super) struct Made {
    turn: u64,
    granted: u64,
    /// Turns that lanes without a key have had.
    loose: BTreeMap<Priority, u64>,
    /// What was passed on the way.
    pub(super) passed: Vec<Passed>,
}

/// A delivery that was seen to be over, or purged: nobody is to look at it again.
pub(super) type Passed = (Lane, Seq);

/// Lanes of one priority. Those without a key, those that anybody may have, and those that only this receiver may have, are apart.
#[derive(Debug)]
struct Level<'a> {
    priority: Priority,
    /// Lanes with a key, as far as they were not gone through.
    ahead: Option<Ahead<'a>>,
    /// Those of them that were looked into.
    seen: BTreeSet<&'a Name>,
    /// Lanes that were looked into and may have more for this receiver, by turn.
    by_turn: BTreeSet<Candidate<'a>>,
    /// The same by place.
    by_place: BTreeSet<(Seq, Candidate<'a>)>,
}

/// Keys that are ahead of the choice, in either order.
#[derive(Debug)]
struct Ahead<'a> {
    by_turn: Peekable<btree_set::Iter<'a, (u64, Name)>>,
    by_place: Peekable<btree_set::Iter<'a, (Seq, Name)>>,
}

/// A lane that the choice can go on with: when its turn is, and from which place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate<'a> {
    turn: u64,
    place: Seq,
    key: Option<&'a Name>,
}

impl Lanes {
    pub(super) fn choose<'a>(&'a self, deliveries: &'a Deliveries, wish: Wish<'a>) -> Choice<'a> {
        let made =
            Made { turn: self.turn, granted: self.granted, loose: BTreeMap::new(), passed: Vec::new() };
        let mut choice = Choice { lanes: self, deliveries, wish, levels: Vec::new(), picked: None, made };
        choice.begin();
        choice
    }

    /// What was chosen is handed out.
    pub(super) fn keep(&mut self, made: Made) {
        self.turn = self.turn.max(made.turn);
        self.granted = made.granted;
        for (priority, turn) in made.loose {
            if let Some(loose) = self.loose.get_mut(&priority) {
                loose.turn = turn;
            }
        }
    }
}

impl<'a> Choice<'a> {
    /// Finds the lanes that this receiver may have something of.
    fn begin(&mut self) {
        let ready = &self.lanes.ready;
        let kept = self.wish.keeper.and_then(|keeper| ready.kept.get(keeper));
        let (wanted, free) = match (self.wish.filter, &ready.kinds) {
            (Some(filter), Some(kinds)) => (Some((filter, kinds)), None),
            _ => (None, Some(&ready.free)),
        };
        let wanted =
            wanted.into_iter().flat_map(|(filter, kinds)| filter.iter().filter_map(|kind| kinds.get(kind)));
        for (priority, keys) in wanted.chain(free).chain(kept).flat_map(|turns| &turns.0) {
            if !keys.by_turn.is_empty() {
                self.levels.push(Level::new(*priority, Some(Ahead::of(keys))));
            }
        }
        for (priority, loose) in &self.lanes.loose {
            let from = Candidate { turn: loose.turn, place: self.wish.floor.next(), key: None };
            if let Some((place, _)) = self.look_into(*priority, from) {
                let mut level = Level::new(*priority, None);
                level.open(Candidate { place, ..from });
                self.levels.push(level);
            }
        }
        self.levels.sort_unstable_by_key(|level| level.priority);
    }

    /// What was chosen, and what was passed on the way.
    pub(super) fn end(self) -> Made {
        self.made
    }

    /// The delivery whose turn it is, of those that are at least this urgent.
    pub(super) fn next(&mut self, least: Priority) -> Option<Slot> {
        let oldest = (self.made.granted + 1).is_multiple_of(OLDEST_EVERY) && !fault!(OldestForgotten);
        if let Some((level, more)) = self.picked.take() {
            self.levels[level].open(more);
        }
        loop {
            let (level, next) = self.candidate(oldest, least)?;
            self.levels[level].close(next);
            let Some((place, slot)) = self.look_into(self.levels[level].priority, next) else {
                self.levels[level].seen.extend(next.key);
                continue;
            };
            let found = Candidate { place, ..next };
            if oldest && place > next.place {
                // What came first there is over, and another lane may have something older.
                self.levels[level].open(found);
                continue;
            }
            self.picked = Some((level, found));
            return Some(slot);
        }
    }

    /// The last pick goes out: its lane has had its turn.
    pub(super) fn take(&mut self) {
        let Some((level, picked)) = &mut self.picked else { return };
        self.made.granted += 1;
        self.made.turn += 1;
        let turnless = fault!(OldestTurnless) && self.made.granted.is_multiple_of(OLDEST_EVERY);
        if !fault!(GreedyKey) && !turnless {
            picked.turn = self.made.turn;
        }
        if picked.key.is_none() {
            self.made.loose.insert(self.levels[*level].priority, picked.turn);
        }
        picked.place = picked.place.next();
    }

    /// The first delivery of a lane that this receiver may have.
    fn look_into(&mut self, priority: Priority, candidate: Candidate<'_>) -> Option<(Seq, Slot)> {
        let Wish { keeper, filter, floor, now } = self.wish;
        let pass = |place| self.made.passed.push(((priority, candidate.key.cloned()), place));
        let Some(key) = candidate.key else {
            let loose = self.lanes.loose.get(&priority)?;
            return loose.first_from(candidate.place, filter, self.deliveries, now, pass);
        };
        let queue = self.lanes.keyed.get(&(priority, key.clone()))?;
        let first = queue.first_from(candidate.place, floor, keeper, self.deliveries, now, pass);
        first.filter(|(_, slot)| filter.is_none_or(|filter| filter.contains(&self.deliveries.kind(*slot))))
    }

    /// The lane whose turn it is: of the most urgent the one that had none for the longest time, or the one with the oldest
    /// delivery.
    fn candidate(&mut self, oldest: bool, mut least: Priority) -> Option<(usize, Candidate<'a>)> {
        #[cfg(test)]
        self.deliveries.looked();
        let lanes = self.lanes;
        let mut found: Option<(usize, Candidate<'a>)> = None;
        for (at, level) in self.levels.iter_mut().enumerate() {
            // What is not urgent enough is not even looked at: there may be very much of it.
            if level.priority > least {
                break;
            }
            let Some(first) = level.first(oldest, lanes) else { continue };
            if !oldest && !fault!(UrgencyIgnored) {
                least = level.priority;
            }
            let is_before =
                |other: &Candidate<'_>| if oldest { first.place < other.place } else { first < *other };
            if found.as_ref().is_none_or(|(_, other)| is_before(other)) {
                found = Some((at, first));
            }
        }
        found
    }
}

impl<'a> Level<'a> {
    const fn new(priority: Priority, ahead: Option<Ahead<'a>>) -> Self {
        Self { priority, ahead, seen: BTreeSet::new(), by_turn: BTreeSet::new(), by_place: BTreeSet::new() }
    }

    /// There may be more in a lane from this place on.
    fn open(&mut self, candidate: Candidate<'a>) {
        self.seen.extend(candidate.key);
        self.by_turn.insert(candidate);
        self.by_place.insert((candidate.place, candidate));
    }

    /// A lane is looked into.
    fn close(&mut self, candidate: Candidate<'a>) {
        self.by_turn.remove(&candidate);
        self.by_place.remove(&(candidate.place, candidate));
    }

    /// The lane whose turn it is here, or the one with the oldest delivery.
    fn first(&mut self, oldest: bool, lanes: &Lanes) -> Option<Candidate<'a>> {
        let key = self.ahead.as_mut().and_then(|ahead| ahead.first(oldest, &self.seen));
        let fresh = key.and_then(|key| {
            let next = lanes.keyed.get(&(self.priority, key.clone()))?.next.as_ref()?;
            Some(Candidate { turn: next.turn, place: next.place, key: Some(key) })
        });
        if oldest {
            let open = self.by_place.first().map(|(_, candidate)| *candidate);
            fresh.into_iter().chain(open).min_by_key(|candidate| candidate.place)
        } else {
            fresh.into_iter().chain(self.by_turn.first().copied()).min()
        }
    }
}

impl<'a> Ahead<'a> {
    fn of(keys: &'a Keys) -> Self {
        Self { by_turn: keys.by_turn.iter().peekable(), by_place: keys.by_place.iter().peekable() }
    }

    /// The next key that was not looked into.
    fn first(&mut self, oldest: bool, seen: &BTreeSet<&Name>) -> Option<&'a Name> {
        if oldest {
            while self.by_place.next_if(|(_, key)| seen.contains(key)).is_some() {}
            self.by_place.peek().map(|(_, key)| key)
        } else {
            while self.by_turn.next_if(|(_, key)| seen.contains(key)).is_some() {}
            self.by_turn.peek().map(|(_, key)| key)
        }
    }
}
