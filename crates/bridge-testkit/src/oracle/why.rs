//! Why a delivery does not move: each reason is so by the rows, and no other comes before it.

use bridge_core::{
    Blocked, Delivery, Head, Mailbox, PresenceState, Priority, Receive, State, Timestamp, Why,
};

use super::{
    Oracle, Violation, hold,
    log::delivery,
    stands::{View, is_open},
};
use crate::world::World;

impl Oracle {
    /// The only command of a step asked why a delivery does not move; these receives wait.
    ///
    /// # Errors
    /// A violation of I15: what is said is not so.
    pub fn reason<'a>(
        &self,
        world: &World,
        why: &Why,
        waiting: impl Iterator<Item = &'a Receive>,
    ) -> Result<(), Violation> {
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        let Some(row) = delivery(world.disk(), why.delivery) else {
            hold!("I15", false, "{why:?} is told of what is nowhere");
            return Ok(());
        };
        let lease = view.lease(row);
        let state = if lease.is_some() { State::Leased } else { row.state };
        hold!("I15", why.state == state, "{why:?} is {row:?} on disk");
        hold!("I15", why.redriven_as == row.redriven_as, "{why:?} is {row:?} on disk");
        let expected = match world.disk().mailbox(&row.mailbox) {
            Some(mailbox) => self.expected(world, mailbox, row, &waiting.collect::<Vec<_>>()),
            None => (Blocked::Over, None),
        };
        let told = (why.reason.clone(), why.until);
        hold!("I15", told == expected, "{why:?}, and its rows say {expected:?}");
        Ok(())
    }

    fn expected(
        &self,
        world: &World,
        mailbox: &Mailbox,
        row: &Delivery,
        waiting: &[&Receive],
    ) -> (Blocked, Option<Timestamp>) {
        let now = world.now();
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        if let Some(grant) = view.lease(row) {
            let (consumer, attempt) = (grant.consumer.clone(), self.attempt(row));
            return (Blocked::Leased { consumer, attempt }, Some(world.lease_end(grant)));
        }
        let State::Pending { visible_at } = row.state else { return (Blocked::Over, None) };
        let is_read = |place| !row.mailbox.is_work() && place <= mailbox.read_to;
        if row.place.is_some_and(is_read) {
            return (Blocked::Over, None);
        }
        let is_purged = row.seq <= mailbox.floor;
        if is_purged || !is_open(world.disk(), mailbox) || row.expires_at.is_some_and(|at| at <= now) {
            return (Blocked::Ending, Some(now));
        }
        if row.place.is_none() {
            return (Blocked::Scheduled, Some(visible_at));
        }
        if !row.mailbox.is_work() {
            return (Blocked::Unread, row.expires_at);
        }
        if let Some(paused) = &mailbox.paused {
            return (Blocked::Paused { by: paused.by.clone(), since: paused.since }, None);
        }
        if visible_at > now {
            return (Blocked::Backoff { failures: row.failures }, Some(visible_at));
        }
        if let Some(behind) = self.behind(world, mailbox, row) {
            return behind;
        }
        if waiting.is_empty() {
            let presence = &mailbox.presence;
            let reason = match presence.state {
                PresenceState::Away => Blocked::NoConsumer { since: presence.since },
                _ => Blocked::Turn,
            };
            return (reason, None);
        }
        let credit = self.policy.limits(&mailbox.settings).credit as usize;
        let wants = |receive: &&&Receive| receive.types.is_empty() || receive.types.contains(&row.kind);
        let may = |receive: &&Receive| {
            let held = self.hands.get(&receive.consumer).map_or(0, std::collections::BTreeSet::len);
            row.priority == Priority::CRITICAL || held < credit
        };
        if !waiting.iter().any(|receive| wants(&receive)) {
            (Blocked::Filtered, None)
        } else if waiting.iter().filter(wants).any(may) {
            (Blocked::Turn, None)
        } else {
            (Blocked::NoCredit, None)
        }
    }

    /// The first of its key and priority that it waits for.
    fn behind(
        &self,
        world: &World,
        mailbox: &Mailbox,
        row: &Delivery,
    ) -> Option<(Blocked, Option<Timestamp>)> {
        let now = world.now();
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        let key = row.key.clone()?;
        let lanes = view.lanes(&mailbox.address);
        let lane = lanes.get(&(row.key.as_ref(), row.priority))?;
        let ahead = lane.values().take_while(|ahead| ahead.place < row.place);
        let head = ahead
            .copied()
            .find(|ahead| view.lease(ahead).is_some() || !view.is_passed(mailbox, ahead, now))?;
        let (reason, until) = match (view.lease(head), head.state) {
            (Some(grant), _) => {
                let (consumer, attempt) = (grant.consumer.clone(), self.attempt(head));
                (Head::Leased { consumer, attempt }, Some(world.lease_end(grant)))
            }
            (None, State::Pending { visible_at }) if visible_at > now => {
                (Head::Backoff { failures: head.failures }, Some(visible_at))
            }
            _ => (Head::Ready, None),
        };
        Some((Blocked::Behind { key, head: head.id, reason }, until))
    }

    fn attempt(&self, row: &Delivery) -> u32 {
        self.unrecorded.get(&row.id).map_or(row.attempt, |held| held.attempt)
    }
}
