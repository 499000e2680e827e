//! Whose turn it is, and when something must happen: told by the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::{
    Address, CallId, Delivery, DeliveryId, Granted, Lease, Made, Name, PresenceState, Priority, Receive, Row,
    RowKey, State, Task, TaskState, Timestamp,
};

use super::{
    Oracle, Violation, hold,
    log::delivery,
    stands::{View, is_open},
};
use crate::{disk::Disk, world::World};

/// What is known of a receive that waits for more than is there.
#[derive(Debug)]
pub(super) struct Lingers {
    /// Since when something is there for it.
    since: Timestamp,
    /// What is there.
    offer: Vec<DeliveryId>,
    /// How much its consumer holds.
    held: usize,
    /// With how much it would be content, if that can be told.
    enough: Option<usize>,
}

impl Lingers {
    /// Whether something of what was there is there.
    fn is_there(&self, offer: &[DeliveryId]) -> bool {
        offer.iter().any(|offered| self.offer.contains(offered))
    }
}

impl Oracle {
    /// Whoever waits could be given nothing, and its wait has not been over for long.
    ///
    /// # Errors
    /// A violation of I7: a wake-up was lost.
    pub fn served<'a>(
        &mut self,
        world: &World,
        waiting: impl IntoIterator<Item = (CallId, &'a Receive, Timestamp)>,
    ) -> Result<(), Violation> {
        if is_behind(world) {
            return Ok(());
        }
        let mut lingers = BTreeMap::new();
        for (call, receive, until) in waiting {
            let offer = self.offer(world, receive);
            let end = if offer.is_empty() || receive.linger.is_zero() {
                self.nothing_for(world, receive)?;
                until
            } else {
                let held = self.hands.get(&receive.consumer).map_or(0, BTreeSet::len);
                let before = self.lingers.get(&call).filter(|before| before.is_there(&offer));
                let enough = self.enough(world, receive);
                // Other limits of one mailbox change what is enough, and wake nobody for what lies in another.
                if let (Some(before), Some(enough)) =
                    (before.filter(|before| before.enough == enough), enough)
                    && (held, before.held) == (0, 0)
                    && before.offer.len() < offer.len()
                {
                    hold!("I7", offer.len() < enough, "{receive:?} waits for more than {offer:?}");
                }
                let since = before.map_or(world.now(), |before| before.since);
                lingers.insert(call, Lingers { since, offer, held, enough });
                since
            };
            // It may be waiting for more until then, though others have taken what it has waited with.
            let end = end.min(until) + receive.linger;
            hold!("I7", end > world.now(), "{receive:?} waits longer than until {end:?}");
            let woken = world.next_timeout().is_some_and(|at| at <= end);
            hold!("I7", woken, "nobody will end the wait of {receive:?}");
        }
        self.lingers = lingers;
        Ok(())
    }

    /// Nothing is there that the receiver may have.
    ///
    /// # Errors
    /// A violation of I7.
    pub fn nothing_for(&self, world: &World, receive: &Receive) -> Result<(), Violation> {
        if is_behind(world) {
            return Ok(());
        }
        let offer = self.offer(world, receive);
        hold!("I7", offer.is_empty(), "{receive:?} got nothing of {offer:?}");
        Ok(())
    }

    /// Who waits for more is given so much at once. One mailbox with less credit may have less to give than it has: then nothing is
    /// known.
    fn enough(&self, world: &World, receive: &Receive) -> Option<usize> {
        let credits: Vec<_> =
            receive.mailboxes.iter().filter_map(|mailbox| self.credit(world, mailbox)).collect();
        let most = credits.iter().max().map_or(1, |credit| credit / 2).max(1);
        let enough = most.min(receive.max as usize);
        credits.iter().all(|credit| *credit >= enough).then_some(enough)
    }

    fn credit(&self, world: &World, mailbox: &Address) -> Option<usize> {
        let mailbox = world.disk().mailbox(mailbox)?;
        Some(self.policy.limits(&mailbox.settings).credit as usize)
    }

    /// What a receiver may have now.
    fn offer(&self, world: &World, receive: &Receive) -> Vec<DeliveryId> {
        if is_over(world.disk(), receive) {
            return Vec::new();
        }
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        let held = self.hands.get(&receive.consumer).map_or(0, BTreeSet::len);
        let mut offer = Vec::new();
        let mailboxes: BTreeSet<_> = receive.mailboxes.iter().collect();
        for mailbox in mailboxes {
            let has_credit = self.credit(world, mailbox).is_some_and(|credit| held < credit);
            let mut turns = view.turns(mailbox, receive, world.now());
            turns.retain(|id| has_credit || is_critical(world, *id));
            offer.extend(turns);
        }
        offer
    }

    /// The only command of a step was handed what was most urgent, of keys in turn; and every eighth time what was oldest.
    /// Several mailboxes take turns.
    ///
    /// # Errors
    /// A violation of I8.
    pub fn in_turn_of_all(
        &self,
        world: &World,
        receive: &Receive,
        granted: &[Granted],
    ) -> Result<(), Violation> {
        let new = granted.iter().filter(|granted| self.fresh.contains(&granted.lease));
        let new: Vec<_> = new
            .filter_map(|granted| Some((granted.lease, delivery(world.disk(), granted.delivery)?)))
            .collect();
        let mut given: BTreeMap<&Address, u32> =
            receive.mailboxes.iter().map(|mailbox| (mailbox, 0)).collect();
        for (_, delivery) in &new {
            *given.entry(&delivery.mailbox).or_default() += 1;
        }
        let most = given.values().max().copied().unwrap_or(0);
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        let held = self.hands.get(&receive.consumer).map_or(0, BTreeSet::len);
        for (mailbox, given) in given {
            let has_credit = self.credit(world, mailbox).is_some_and(|credit| held < credit);
            let mut left = view.turns(mailbox, receive, world.now());
            left.retain(|id| !self.came_free(world, *id, granted));
            let fair = given + 1 >= most || left.is_empty() || !has_credit;
            hold!("I8", fair, "{mailbox} had {given} turns, and others {most}: {left:?} is left");
            let of_it = new.iter().filter(|(_, delivery)| delivery.mailbox == *mailbox);
            self.in_turn_of_one(world, receive, &of_it.copied().collect::<Vec<_>>(), &left)?;
        }
        Ok(())
    }

    /// Whether what is ahead of a delivery in its lane went to other receives in this step: that may have been after the choice.
    fn came_free(&self, world: &World, left: DeliveryId, granted: &[Granted]) -> bool {
        let Some(left) = delivery(world.disk(), left) else { return false };
        let lane = self.lanes.get(&super::log::lane(left)).into_iter().flatten();
        let ahead = lane.take_while(|(place, _)| Some(**place) < left.place);
        let mut newest = ahead.filter_map(|(_, id)| self.seen.get(id)?.newest);
        newest.any(|lease| self.fresh.contains(&lease) && granted.iter().all(|mine| mine.lease != lease))
    }

    fn in_turn_of_one(
        &self,
        world: &World,
        receive: &Receive,
        given: &[(Lease, &Delivery)],
        left: &[DeliveryId],
    ) -> Result<(), Violation> {
        let mut served: BTreeMap<(Priority, &Option<Name>), u32> = BTreeMap::new();
        // What each key had got when it was its turn for the last time. As the oldest its delivery goes out at any time, and then
        // it has had a turn too.
        let mut keys = BTreeMap::new();
        let mut oldest = None;
        for (lease, given) in given {
            if self.uncounted.contains(&given.mailbox) {
                return Ok(());
            }
            let key = (given.priority, &given.key);
            let times = served.entry(key).or_default();
            *times += 1;
            if self.oldest.contains(&(given.id, *lease)) {
                oldest = given.place.max(oldest);
            } else {
                keys.insert(key, *times);
            }
        }
        let least = keys.last_key_value().map(|((priority, _), _)| *priority);
        for id in left {
            let Some(left) = delivery(world.disk(), *id) else { continue };
            let urgent = least.is_some_and(|least| left.priority < least);
            hold!("I8", !urgent, "{id} is more urgent than what {receive:?} was given");
            let older = oldest.is_some_and(|oldest| left.place < Some(oldest));
            let may = self.has_credit_for(world, receive, left);
            hold!("I8", !older || !may, "{id} is older than what {receive:?} was given as the oldest");
            let passed = !served.contains_key(&(left.priority, &left.key));
            let twice = keys.iter().any(|((priority, _), times)| *priority == left.priority && *times > 1);
            hold!("I8", !(passed && twice), "the key of {id} had no turn, and others had two");
        }
        Ok(())
    }

    /// Whether a receiver may still have a delivery, whatever it was given now.
    fn has_credit_for(&self, world: &World, receive: &Receive, left: &Delivery) -> bool {
        let held = self.hands.get(&receive.consumer).map_or(0, BTreeSet::len);
        left.priority == Priority::CRITICAL
            || self.credit(world, &left.mailbox).is_some_and(|credit| held < credit)
    }

    /// The shard will be awake when something is due.
    ///
    /// # Errors
    /// A violation of I6.
    pub fn wakes(&self, world: &World) -> Result<(), Violation> {
        let now = world.now();
        let next = world.next_timeout();
        for row in world.disk().rows().filter(|row| row.is_live()) {
            let due = match row {
                Row::Session(session) => Some(session.last_activity + self.policy.session_ttl),
                Row::Task(task) => Some(task.expires_at),
                Row::Mailbox(mailbox) if !is_open(world.disk(), mailbox) => Some(now),
                Row::Mailbox(mailbox) => {
                    let there = mailbox.presence.state != PresenceState::Away;
                    let missed = there.then(|| self.missed_at(world, &mailbox.address));
                    let unused = mailbox.used_at + self.policy.mailbox_ttl;
                    let unused = Some(unused).filter(|_| mailbox.made == Made::ByUse);
                    missed.into_iter().chain(unused).min()
                }
                Row::Delivery(delivery) => self.due(world, delivery),
                _ => None,
            };
            if let Some(due) = due {
                let awake = next.is_some_and(|next| next <= due.max(now));
                hold!("I6", awake, "{:?} is due at {due:?}, and the shard sleeps until {next:?}", row.key());
            }
        }
        Ok(())
    }

    /// When something must happen to a delivery.
    fn due(&self, world: &World, delivery: &Delivery) -> Option<Timestamp> {
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        if let Some(grant) = view.lease(delivery) {
            return Some(world.lease_end(grant));
        }
        let State::Pending { visible_at } = delivery.state else { return None };
        let mailbox = world.disk().mailbox(&delivery.mailbox);
        let is_over = mailbox.is_some_and(|mailbox| {
            let is_read =
                !delivery.mailbox.is_work() && delivery.place.is_some_and(|place| place <= mailbox.read_to);
            is_read || delivery.seq <= mailbox.floor
        });
        if is_over {
            return Some(world.now());
        }
        let hidden = delivery.place.is_none() || visible_at > world.now();
        let visible = hidden.then_some(visible_at);
        visible.into_iter().chain(delivery.expires_at).min()
    }

    /// When the taker of a mailbox is missed at the latest: it may be told to pause, is then given some time, and some more
    /// while it held something at the last look.
    fn missed_at(&self, world: &World, mailbox: &Address) -> Timestamp {
        let mut held = self.batches.values().flat_map(BTreeMap::keys);
        let works = held.any(|id| delivery(world.disk(), *id).is_some_and(|held| held.mailbox == *mailbox));
        let seen = self.evidence.get(mailbox).copied().unwrap_or_default().max(world.loaded_at());
        let seen = if works { world.now() } else { seen };
        seen + self.policy.poll_max + self.policy.presence_grace * 2
    }
}

/// Whether more was due than one step takes: then the shard goes on at once, and gives what there is when it has done so.
pub(crate) fn is_behind(world: &World) -> bool {
    world.next_timeout().is_some_and(|at| at <= world.now())
}

/// Whether a receive is made for a task that is over: then it gets nothing new.
fn is_over(disk: &Disk, receive: &Receive) -> bool {
    let task = receive.attempt_id.as_str().parse().ok().and_then(|id| disk.look(&RowKey::Task(id)));
    let over = |task: &Task| receive.mailboxes == [task.mailbox.clone()] && task.state != TaskState::Waiting;
    matches!(task, Some(Row::Task(task)) if over(task))
}

fn is_critical(world: &World, id: DeliveryId) -> bool {
    delivery(world.disk(), id).is_some_and(|given| given.priority == Priority::CRITICAL)
}
