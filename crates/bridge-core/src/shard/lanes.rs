//! The order in which a mailbox's deliveries go out: first in, first out within a lane, lanes in turn.
//!
//! A lane is a key at one priority: what is behind its head waits for the head. What has no key is in a loose lane, where
//! nothing waits for anything else. [`choice`](super::choice) picks from what is kept here.
//!
//! *Invariant:* what is said of a lane's next delivery is true of the deliveries as they were when the lane last changed.
//! Time alone changes it too: a pause that is over is told by its timer, and a message whose time is over is passed when
//! the choice comes to it. It is put aside then, so that many of them are not passed again and again.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::iter;

use super::{
    choice::Passed,
    deliveries::{Deliveries, Slot},
    interned::Number,
};
use crate::{consumer::Consumer, id::Name, log::Seq, message::Priority, time::Timestamp};

/// Deliveries that go out one after the other; without a key, in any order.
pub(super) type Lane = (Priority, Option<Name>);

/// How a mailbox's lanes behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether a named consumer may have the next delivery of a key while it holds those before it.
    pub(super) keeps: bool,
    /// Whether what is in back-off lets pass what is behind it.
    pub(super) skips: bool,
}

/// A delivery that has a place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) lane: Lane,
    pub(super) place: Seq,
    pub(super) slot: Slot,
}

/// The live deliveries of one mailbox that have a place.
#[derive(Debug)]
pub(super) struct Lanes {
    rules: Rules,
    pub(super) keyed: BTreeMap<(Priority, Name), Queue>,
    /// The first delivery of each lane with a key.
    firsts: BTreeSet<(Seq, Slot)>,
    pub(super) loose: BTreeMap<Priority, Loose>,
    pub(super) ready: Ready,
    /// Counts the turns that were given to lanes.
    pub(super) turn: u64,
    /// Deliveries that were handed out.
    pub(super) granted: u64,
}

/// A lane with a key.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: BTreeMap<Seq, Slot>,
    /// What is passed: it is in back-off, or was seen to be over or purged.
    aside: BTreeMap<Seq, Slot>,
    pub(super) next: Option<Next>,
}

/// The next delivery of a lane that somebody may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) place: Seq,
    pub(super) kind: Number,
    /// The only one who may have it.
    pub(super) keeper: Option<Consumer>,
    pub(super) turn: u64,
}

/// A lane without a key.
#[derive(Debug, Default)]
pub(super) struct Loose {
    line: BTreeMap<Seq, Slot>,
    /// What is in somebody's hands or in back-off, or was seen to be over.
    aside: BTreeMap<Seq, Slot>,
    /// The line by type of message, once somebody has asked for some types alone.
    kinds: Option<BTreeSet<(Number, Seq)>>,
    pub(super) turn: u64,
}

/// The lanes with a key that have something to hand out.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Those whose next delivery anybody may have.
    pub(super) free: Turns,
    /// The same by type of message, once somebody has asked for some types alone.
    pub(super) kinds: Option<BTreeMap<Number, Turns>>,
    /// Those whose next delivery is for the consumer that holds those before it.
    pub(super) kept: BTreeMap<Consumer, Turns>,
}

/// Lanes with something to hand out, the most urgent first. Where there were some once there is room for others.
#[derive(Debug, Default)]
pub(super) struct Turns(pub(super) Vec<(Priority, Keys)>);

/// Those of one priority, each in its turn and by the place of what is next in it.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) by_turn: BTreeSet<(u64, Name)>,
    pub(super) by_place: BTreeSet<(Seq, Name)>,
}

impl Lanes {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            keyed: BTreeMap::new(),
            firsts: BTreeSet::new(),
            loose: BTreeMap::new(),
            ready: Ready::default(),
            turn: 0,
            granted: 0,
        }
    }

    /// Makes them behave by other rules from now on. What is in back-off or leased is to be put in anew.
    pub(super) const fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes in a delivery.
    pub(super) fn insert(&mut self, placed: Placed, deliveries: &Deliveries, now: Timestamp) {
        let Placed { lane: (priority, key), place, slot } = placed;
        match key {
            Some(key) => {
                let queue = self.keyed.entry((priority, key)).or_default();
                let aside = self.rules.skips && matches!(deliveries.stand(slot, now), Stand::Paused);
                let first = queue.first();
                if aside { &mut queue.aside } else { &mut queue.line }.insert(place, slot);
                set_first(&mut self.firsts, first, queue.first());
            }
            None => {
                let turn = self.turn + 1;
                let loose = self.loose.entry(priority).or_insert_with(|| Loose { turn, ..Loose::default() });
                self.turn = turn.max(loose.turn);
                loose.insert(place, slot, deliveries, now);
            }
        }
    }

    /// Lets go of a delivery.
    pub(super) fn remove(&mut self, (priority, key): &Lane, place: Seq, kind: Number) {
        match key {
            Some(key) => {
                if let Some(queue) = self.keyed.get_mut(&(*priority, key.clone())) {
                    let first = queue.first();
                    queue.line.remove(&place);
                    queue.aside.remove(&place);
                    set_first(&mut self.firsts, first, queue.first());
                }
            }
            None => {
                if let Some(loose) = self.loose.get_mut(priority) {
                    loose.remove(place, kind);
                    if loose.is_empty() {
                        self.loose.remove(priority);
                    }
                }
            }
        }
    }

    /// Puts aside what a choice has passed.
    pub(super) fn put_aside(&mut self, mut passed: Vec<Passed>, deliveries: &Deliveries, now: Timestamp) {
        for ((priority, key), place) in &passed {
            match key {
                Some(key) => {
                    if let Some(queue) = self.keyed.get_mut(&(*priority, key.clone())) {
                        queue.put_aside(*place);
                    }
                }
                None => {
                    if let Some(loose) = self.loose.get_mut(priority) {
                        loose.put_aside(*place, deliveries);
                    }
                }
            }
        }
        passed.dedup_by(|(lane, _), (before, _)| lane == before);
        for (lane, _) in &passed {
            self.refresh(lane, deliveries, now);
        }
    }

    /// Looks again at what is next in a lane. One in which that has not changed keeps its turn.
    pub(super) fn refresh(&mut self, (priority, key): &Lane, deliveries: &Deliveries, now: Timestamp) {
        let Some(key) = key else {
            if let Some(loose) = self.loose.get_mut(priority) {
                loose.pass(deliveries, now);
            }
            return;
        };
        let lane = (*priority, key.clone());
        let Some(queue) = self.keyed.get_mut(&lane) else { return };
        let next = queue.find_next(self.rules, deliveries, now);
        let next = next.map(|(place, slot, keeper)| (place, deliveries.kind(slot), keeper));
        let before = queue.next.as_ref().map(|next| (next.place, next.kind, next.keeper.as_ref()));
        let is_same = before.map(|(place, _, keeper)| (place, keeper))
            == next.map(|(place, _, keeper)| (place, keeper));
        if next != before && !(is_same && fault!(TypeForgotten)) {
            let before = queue.next.take();
            if let Some(before) = &before {
                self.ready.remove(&lane, before);
            }
            if let Some((place, kind, keeper)) = next {
                // What stands for its type changes with other things of it.
                let turn = before.filter(|_| is_same).map_or(self.turn + 1, |before| before.turn);
                self.turn = turn.max(self.turn);
                let next = Next { place, kind, keeper: keeper.cloned(), turn };
                self.ready.insert(&lane, &next);
                queue.next = Some(next);
            }
        }
        if queue.line.is_empty() && queue.aside.is_empty() {
            self.keyed.remove(&lane);
        }
    }

    /// Whether anybody may have something.
    pub(super) fn is_free(&self) -> bool {
        !self.ready.free.is_empty() || self.loose.values().any(|loose| !loose.line.is_empty())
    }

    /// Whether anybody may have something of a type, as far as what is here is sorted by type.
    pub(super) fn may_have(&self, kind: &Name, deliveries: &Deliveries) -> bool {
        let Some(kind) = deliveries.number_of(kind) else { return false };
        let of_kind = |kinds: &BTreeSet<(Number, Seq)>| {
            kinds.range((kind, Seq::ZERO)..=(kind, Seq::MAX)).next().is_some()
        };
        self.ready.kinds.as_ref().is_none_or(|kinds| kinds.contains_key(&kind))
            || self.loose.values().any(|loose| loose.kinds.as_ref().map_or(!loose.line.is_empty(), of_kind))
    }

    /// Those who may have something that nobody else may have.
    pub(super) fn keepers(&self) -> impl Iterator<Item = &Consumer> {
        self.ready.kept.keys()
    }

    /// Every delivery, lane by lane.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.up_to(Seq::MAX)
    }

    /// The one whose place is the first of all.
    pub(super) fn oldest(&self) -> Option<Slot> {
        let loose = self.loose.values().filter_map(|loose| first_of(&loose.line, &loose.aside));
        self.firsts.first().copied().into_iter().chain(loose).min().map(|(_, slot)| slot)
    }

    /// Those whose place is not behind `last`, lane by lane and in order within each.
    pub(super) fn up_to(&self, last: Seq) -> impl Iterator<Item = Slot> {
        let keyed = self.keyed.values().map(|queue| (&queue.line, &queue.aside));
        let loose = self.loose.values().map(|loose| (&loose.line, &loose.aside));
        keyed.chain(loose).flat_map(move |(line, aside)| in_order(line, aside, last))
    }

    /// The first delivery that what is at `place` of a lane has to wait for.
    pub(super) fn head_before(
        &self,
        (priority, key): &Lane,
        place: Seq,
        deliveries: &Deliveries,
        now: Timestamp,
    ) -> Option<Slot> {
        let queue = self.keyed.get(&(*priority, key.clone()?))?;
        let mut before = queue.line.range(..place).map(|(_, slot)| *slot);
        before.find(|slot| !matches!(deliveries.stand(*slot, now), Stand::Over))
    }

    /// Sorts what is here by type of message too: somebody asks for some types alone.
    pub(super) fn sort_by_kind(&mut self, deliveries: &Deliveries) {
        if self.ready.kinds.is_none() {
            let mut kinds: BTreeMap<Number, Turns> = BTreeMap::new();
            for (lane, queue) in &self.keyed {
                if let Some(next) = queue.next.as_ref().filter(|next| next.keeper.is_none()) {
                    kinds.entry(next.kind).or_default().insert(lane, next);
                }
            }
            self.ready.kinds = Some(kinds);
        }
        for loose in self.loose.values_mut().filter(|loose| loose.kinds.is_none()) {
            let line = loose.line.iter();
            loose.kinds = Some(line.map(|(place, slot)| (deliveries.kind(*slot), *place)).collect());
        }
    }
}

impl Queue {
    /// The first delivery that somebody may have, and who alone if those before it are in one pair of hands. What is over on
    /// the way there is put aside.
    fn find_next<'a>(
        &mut self,
        rules: Rules,
        deliveries: &'a Deliveries,
        now: Timestamp,
    ) -> Option<(Seq, Slot, Option<&'a Consumer>)> {
        let mut keeper = None;
        let mut over = Vec::new();
        let mut line = self.line.iter();
        let next = loop {
            let Some((place, slot)) = line.next() else { break None };
            match deliveries.stand(*slot, now) {
                Stand::Ready => break Some((*place, *slot, keeper)),
                Stand::Over => over.push(*place),
                Stand::Held(holder)
                    if rules.keeps
                        && holder.named
                        && (keeper.is_none_or(|keeper| keeper == holder) || fault!(KeptForOthers)) =>
                {
                    keeper = Some(holder);
                }
                Stand::Paused | Stand::Held(_) => break None,
            }
        };
        for place in over {
            self.put_aside(place);
        }
        next
    }

    fn first(&self) -> Option<(Seq, Slot)> {
        first_of(&self.line, &self.aside)
    }

    fn put_aside(&mut self, place: Seq) {
        self.aside.extend(self.line.remove_entry(&place));
    }

    /// The first delivery from `place` on and behind `floor`, if one may have it who may have everything before; `pass` is
    /// told what is over on the way. What waits up to the floor is about to be withdrawn, and as good as over.
    pub(super) fn first_from(
        &self,
        place: Seq,
        floor: Seq,
        keeper: Option<&Consumer>,
        deliveries: &Deliveries,
        now: Timestamp,
        mut pass: impl FnMut(Seq),
    ) -> Option<(Seq, Slot)> {
        for (place, slot) in self.line.range(place..) {
            match deliveries.stand(*slot, now) {
                Stand::Ready | Stand::Paused if *place <= floor => pass(*place),
                Stand::Ready => return Some((*place, *slot)),
                Stand::Over => pass(*place),
                Stand::Held(holder) if keeper == Some(holder) => {}
                Stand::Paused | Stand::Held(_) => return None,
            }
        }
        None
    }
}

impl Loose {
    fn insert(&mut self, place: Seq, slot: Slot, deliveries: &Deliveries, now: Timestamp) {
        match deliveries.stand(slot, now) {
            Stand::Held(_) if fault!(LooseTwice) => {
                self.line.insert(place, slot);
            }
            Stand::Ready | Stand::Over => {
                self.line.insert(place, slot);
                if let Some(kinds) = &mut self.kinds {
                    kinds.insert((deliveries.kind(slot), place));
                }
            }
            Stand::Held(_) | Stand::Paused => {
                self.aside.insert(place, slot);
            }
        }
    }

    fn remove(&mut self, place: Seq, kind: Number) {
        self.line.remove(&place);
        self.aside.remove(&place);
        if let Some(kinds) = &mut self.kinds {
            kinds.remove(&(kind, place));
        }
    }

    fn is_empty(&self) -> bool {
        self.line.is_empty() && self.aside.is_empty()
    }

    /// Puts aside what is over before the first that is not.
    fn pass(&mut self, deliveries: &Deliveries, now: Timestamp) {
        while let Some((place, slot)) = self.line.first_key_value()
            && matches!(deliveries.stand(*slot, now), Stand::Over)
        {
            self.put_aside(*place, deliveries);
        }
    }

    fn put_aside(&mut self, place: Seq, deliveries: &Deliveries) {
        let Some(slot) = self.line.remove(&place) else { return };
        if let Some(kinds) = &mut self.kinds {
            kinds.remove(&(deliveries.kind(slot), place));
        }
        self.aside.insert(place, slot);
    }

    /// The first delivery from `place` on, of any type or of one of these; `pass` is told what is over on the way.
    pub(super) fn first_from(
        &self,
        mut place: Seq,
        filter: Option<&[Number]>,
        deliveries: &Deliveries,
        now: Timestamp,
        mut pass: impl FnMut(Seq),
    ) -> Option<(Seq, Slot)> {
        loop {
            let first = match (filter, &self.kinds) {
                (None, _) | (_, None) => *self.line.range(place..).next()?.0,
                (Some(filter), Some(kinds)) => filter
                    .iter()
                    .filter_map(|kind| kinds.range((*kind, place)..=(*kind, Seq::MAX)).next())
                    .map(|(_, place)| *place)
                    .min()?,
            };
            let slot = self.line[&first];
            match deliveries.stand(slot, now) {
                Stand::Ready => return Some((first, slot)),
                _ if fault!(LooseTwice) => return Some((first, slot)),
                _ => pass(first),
            }
            place = first.next();
        }
    }
}

impl Ready {
    fn insert(&mut self, lane: &(Priority, Name), next: &Next) {
        if let Some(keeper) = &next.keeper {
            return self.kept.entry(keeper.clone()).or_default().insert(lane, next);
        }
        self.free.insert(lane, next);
        if let Some(kinds) = &mut self.kinds {
            kinds.entry(next.kind).or_default().insert(lane, next);
        }
    }

    fn remove(&mut self, lane: &(Priority, Name), next: &Next) {
        if let Some(keeper) = &next.keeper {
            return remove_from(&mut self.kept, keeper, lane, next);
        }
        self.free.remove(lane, next);
        if let Some(kinds) = &mut self.kinds {
            remove_from(kinds, &next.kind, lane, next);
        }
    }
}

fn remove_from<K: Ord>(all: &mut BTreeMap<K, Turns>, of: &K, lane: &(Priority, Name), next: &Next) {
    if let Some(turns) = all.get_mut(of) {
        turns.remove(lane, next);
        if turns.is_empty() {
            all.remove(of);
        }
    }
}

impl Turns {
    fn insert(&mut self, (priority, key): &(Priority, Name), next: &Next) {
        let at = self.find(*priority).unwrap_or_else(|at| {
            self.0.insert(at, (*priority, Keys::default()));
            at
        });
        let (_, keys) = &mut self.0[at];
        keys.by_turn.insert((next.turn, key.clone()));
        keys.by_place.insert((next.place, key.clone()));
    }

    fn remove(&mut self, (priority, key): &(Priority, Name), next: &Next) {
        let Ok(at) = self.find(*priority) else { return };
        let (_, keys) = &mut self.0[at];
        keys.by_turn.remove(&(next.turn, key.clone()));
        keys.by_place.remove(&(next.place, key.clone()));
    }

    fn find(&self, priority: Priority) -> Result<usize, usize> {
        self.0.binary_search_by_key(&priority, |(priority, _)| *priority)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, keys)| keys.by_turn.is_empty())
    }
}

/// Another delivery may be the first of a lane.
fn set_first(firsts: &mut BTreeSet<(Seq, Slot)>, before: Option<(Seq, Slot)>, after: Option<(Seq, Slot)>) {
    if before != after {
        if let Some(before) = before {
            firsts.remove(&before);
        }
        firsts.extend(after);
    }
}

/// The first that a lane holds, in line or aside.
fn first_of(line: &BTreeMap<Seq, Slot>, aside: &BTreeMap<Seq, Slot>) -> Option<(Seq, Slot)> {
    let firsts = [line.first_key_value(), aside.first_key_value()];
    firsts.into_iter().flatten().min().map(|(place, slot)| (*place, *slot))
}

/// What a lane holds up to `last`, in line or aside.
fn in_order<'a>(
    line: &'a BTreeMap<Seq, Slot>,
    aside: &'a BTreeMap<Seq, Slot>,
    last: Seq,
) -> impl Iterator<Item = Slot> + 'a {
    let mut line = line.range(..=last).peekable();
    let mut aside = aside.range(..=last).peekable();
    iter::from_fn(move || match (line.peek(), aside.peek()) {
        (Some(first), Some(other)) if other < first => aside.next(),
        (None, _) => aside.next(),
        _ => line.next(),
    })
    .map(|(_, slot)| *slot)
}

/// What a delivery means for those behind it.
pub(super) enum Stand<'a> {
    /// It can be handed out.
    Ready,
    /// Its time is over: it is passed.
    Over,
    /// It waits, and they with it.
    Paused,
    /// Somebody has it, and may have what comes after it.
    Held(&'a Consumer),
}
