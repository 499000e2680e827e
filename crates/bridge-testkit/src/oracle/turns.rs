//! Whose turn it is, and when something must happen: told by the rows alone.

use std::collections::BTreeMap;

use bridge_core::{
    Address, Consumer, Delivery, DeliveryId, EventKind, Name, PresenceState, Priority, Receive, Row, RowKey,
    State, Task, TaskState, Timestamp,
};

use super::{Oracle, Violation, hold, log::delivery};
use crate::{
    disk::Disk,
    world::{Outcome, World},
};

impl Oracle {
    /// Whoever waits could be given nothing, and its wait has not been over for long.
    ///
    /// # Errors
    /// A violation of I7: a wake-up was lost.
    pub fn served<'a>(
        &self,
        world: &World,
        waiting: impl IntoIterator<Item = (&'a Receive, Timestamp)>,
    ) -> Result<(), Violation> {
        if is_behind(world) {
            return Ok(());
        }
        for (receive, until) in waiting {
            hold!("I7", until > world.now(), "{receive:?} waits longer than until {until:?}");
            let woken = world.next_timeout().is_some_and(|at| at <= until);
            hold!("I7", woken, "nobody will end the wait of {receive:?}");
            self.nothing_for(world, receive)?;
        }
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
        let held = self.hands.get(&receive.consumer).map_or(0, std::collections::BTreeSet::len);
        let has_credit = held < self.policy.agent.credit as usize;
        if !is_over(world.disk(), receive) {
            for mailbox in &receive.mailboxes {
                let mut turns = turns(world.disk(), mailbox, &receive.consumer, world.now());
                let is_critical = |id: &DeliveryId| {
                    delivery(world.disk(), *id).is_some_and(|given| given.priority == Priority::CRITICAL)
                };
                turns.retain(|id| has_credit || is_critical(id));
                hold!("I7", turns.is_empty(), "{receive:?} got nothing of {turns:?}");
            }
        }
        Ok(())
    }

    /// The only command of a step was handed what was most urgent, of keys in turn; and every eighth time what was oldest.
    ///
    /// # Errors
    /// A violation of I8.
    pub fn in_turn_of_all(
        &self,
        world: &World,
        receive: &Receive,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        // Several take turns.
        let [mailbox] = &receive.mailboxes[..] else { return Ok(()) };
        let mut keys: BTreeMap<(Priority, &Option<Name>), u32> = BTreeMap::new();
        let mut oldest = None;
        for event in &outcome.events {
            if let (EventKind::Presented { lease, .. }, Some(id)) = (&event.kind, event.delivery)
                && let Some(given) =
                    delivery(world.disk(), id).filter(|given| given.mailbox == *mailbox)
            {
                if self.oldest.contains(&(id, *lease)) {
                    oldest = given.place.max(oldest);
                } else {
                    *keys.entry((given.priority, &given.key)).or_default() += 1;
                }
            }
        }
        let least = keys.last_key_value().map(|((priority, _), _)| *priority);
        for id in turns(world.disk(), mailbox, &receive.consumer, world.now()) {
            let Some(left) = delivery(world.disk(), id) else { continue };
            let urgent = least.is_some_and(|least| left.priority < least);
            hold!("I8", !urgent, "{id} is more urgent than what {receive:?} was given");
            let older = oldest.is_some_and(|oldest| left.place < Some(oldest));
            hold!("I8", !older, "{id} is older than what {receive:?} was given as the oldest");
            let passed = !keys.contains_key(&(left.priority, &left.key));
            let twice = keys.iter().any(|((priority, _), times)| *priority == left.priority && *times > 1);
            hold!("I8", !(passed && twice), "the key of {id} had no turn, and others had two");
        }
        Ok(())
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
                Row::Mailbox(mailbox) if !is_open(world.disk(), &mailbox.address) => Some(now),
                Row::Mailbox(mailbox) if mailbox.presence.state != PresenceState::Away => {
                    Some(self.missed_at(world, &mailbox.address))
                }
                Row::Delivery(delivery) => due(world, delivery),
                _ => None,
            };
            if let Some(due) = due {
                let awake = next.is_some_and(|next| next <= due.max(now));
                hold!("I6", awake, "{:?} is due at {due:?}, and the shard sleeps until {next:?}", row.key());
            }
        }
        Ok(())
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

/// When something must happen to a delivery.
fn due(world: &World, delivery: &Delivery) -> Option<Timestamp> {
    let read_to = match world.disk().look(&RowKey::Mailbox(delivery.mailbox.clone())) {
        Some(Row::Mailbox(mailbox)) if !delivery.mailbox.is_work() => mailbox.read_to,
        _ => bridge_core::Seq::ZERO,
    };
    match delivery.state {
        State::Leased => delivery.grant.as_ref().map(|grant| world.lease_end(grant)),
        State::Pending { .. } if delivery.place.is_some_and(|place| place <= read_to) => Some(world.now()),
        State::Pending { visible_at } => {
            let hidden = delivery.place.is_none() || visible_at > world.now();
            let visible = hidden.then_some(visible_at);
            visible.into_iter().chain(delivery.expires_at).min()
        }
        _ => None,
    }
}

fn is_open(disk: &Disk, mailbox: &Address) -> bool {
    let session = mailbox.session().and_then(|session| disk.look(&RowKey::Session(session)));
    session.is_some_and(Row::is_live)
}

/// What `consumer` may be handed now.
pub(crate) fn turns(disk: &Disk, mailbox: &Address, consumer: &Consumer, now: Timestamp) -> Vec<DeliveryId> {
    if !is_open(disk, mailbox) {
        return Vec::new();
    }
    let mut lanes = BTreeMap::<_, BTreeMap<_, &Delivery>>::new();
    for delivery in disk.deliveries() {
        if let Some(place) = delivery.place.filter(|_| !delivery.state.is_terminal())
            && delivery.mailbox == *mailbox
        {
            lanes.entry((&delivery.key, delivery.priority)).or_default().insert(place, delivery);
        }
    }
    let mut turns = Vec::new();
    for lane in lanes.into_values() {
        for delivery in lane.into_values() {
            let holder = delivery.grant.as_ref().map(|grant| &grant.consumer);
            match delivery.state {
                State::Pending { .. } if delivery.expires_at.is_some_and(|at| at <= now) => {}
                State::Pending { visible_at } if visible_at <= now => turns.push(delivery.id),
                State::Leased if consumer.named && holder == Some(consumer) => {}
                _ => break,
            }
        }
    }
    turns
}
