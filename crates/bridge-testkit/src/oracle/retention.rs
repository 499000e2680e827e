//! What may be removed, and when: rows, and events of the log.

use std::time::Duration;

use bridge_core::{
    Address, Answer, Class, Command, Delivery, DeliveryId, Message, MessageId, Row, RowKey, Scope, SessionId,
    State, Timestamp,
};

use super::{Oracle, Violation, hold, log};
use crate::world::{Outcome, World};

impl Oracle {
    /// A row may go when nothing needs it any more.
    pub(super) fn removed(&self, world: &World, outcome: &Outcome, row: &Row) -> Result<(), Violation> {
        let free = match row {
            Row::Idempotency(record) => record.expires_at <= world.now(),
            Row::Task(task) => task.expires_at <= world.now(),
            Row::Message(message) => self.message_may_go(world, outcome, message),
            Row::Delivery(delivery) => self.delivery_may_go(world, outcome, delivery),
            Row::Reader(reader) => self.is_over(world, outcome, reader.session),
            Row::Session(session) => {
                let of_it = |row: &Row| match row {
                    Row::Message(message) => message.session == Some(session.id),
                    Row::Delivery(delivery) => delivery.mailbox.session() == Some(session.id),
                    _ => false,
                };
                let scope = Scope::Session(session.id);
                self.is_over(world, outcome, session.id)
                    && !world.disk().rows().any(of_it)
                    && !world.disk().log().iter().any(|event| scope.contains(event))
            }
            _ => false,
        };
        hold!("I12", free, "{row:?} was removed");
        Ok(())
    }

    fn message_may_go(&self, world: &World, outcome: &Outcome, message: &Message) -> bool {
        if let Some(session) = message.session {
            return self.is_over(world, outcome, session);
        }
        match self.newest_of(world, outcome, DeliveryId::of(message.id, 0)) {
            Some(newest) => self.has_passed(world, &newest),
            None => self.reply_may_go(world, outcome, message.id),
        }
    }

    /// An answer that went to nobody goes when nothing that it answers is kept.
    fn reply_may_go(&self, world: &World, outcome: &Outcome, reply: MessageId) -> bool {
        let mut answered = self.answered_by(world, outcome, reply).peekable();
        answered.peek().is_some() && answered.all(|answered| self.has_passed(world, &answered))
    }

    /// Whether an answer may have gone, and something that it answers is gone with it.
    pub(super) fn reply_has_gone(&self, world: &World, outcome: &Outcome, reply: MessageId) -> bool {
        let is_gone = |answered: &Delivery| {
            answered.message_gone || world.disk().look(&RowKey::Delivery(answered.id)).is_none()
        };
        self.reply_may_go(world, outcome, reply)
            && self.answered_by(world, outcome, reply).any(|answered| is_gone(&answered))
    }

    /// The deliveries that an answer has ended, as they are or as they were before the step.
    fn answered_by<'a>(
        &self,
        world: &'a World,
        outcome: &'a Outcome,
        reply: MessageId,
    ) -> impl Iterator<Item = Delivery> + 'a {
        let removed = outcome.replaced.iter().filter(|(key, _)| world.disk().look(key).is_none());
        let removed = removed.filter_map(|(_, before)| match before {
            Some(Row::Delivery(before)) => Some(&**before),
            _ => None,
        });
        let answered = world.disk().deliveries().chain(removed);
        answered.filter(move |delivery| delivery.reply == Some(reply)).cloned()
    }

    fn delivery_may_go(&self, world: &World, outcome: &Outcome, gone: &Delivery) -> bool {
        if let Some(session) = gone.mailbox.session() {
            return self.is_over(world, outcome, session);
        }
        let Some(newest) = self.newest_of(world, outcome, gone.id) else { return false };
        let settled = self.ended(&newest).is_some_and(|at| at + self.policy.settled <= world.now());
        // Whether the message could go was judged when it went; the clock may stand before that by now.
        settled && world.disk().look(&RowKey::Message(gone.message)).is_none()
    }

    /// The last delivery that redrives have made of this one, as it is or as it was before the step.
    fn newest_of(&self, world: &World, outcome: &Outcome, id: DeliveryId) -> Option<Delivery> {
        let find = |id| {
            let row = log::delivery(world.disk(), id).cloned();
            row.or_else(|| match outcome.before(&RowKey::Delivery(id)) {
                Some(Row::Delivery(before)) => Some((**before).clone()),
                _ => None,
            })
        };
        std::iter::successors(find(id), |delivery| delivery.redriven_as.and_then(find)).last()
    }

    /// How long the message of a delivery that has ended is kept, if not for ever.
    fn kept_for(&self, delivery: &Delivery) -> Option<Duration> {
        let kept = self.policy.retentions.of(&delivery.kind).retention.time()?;
        Some(match delivery.state {
            State::Dead(_) => kept.max(self.policy.dead_letters),
            _ => kept,
        })
    }

    /// When something of a delivery that has ended goes at the latest.
    fn removal(&self, world: &World, delivery: &Delivery) -> Option<Timestamp> {
        let ended = self.ended(delivery).unwrap_or(world.now());
        if delivery.message_gone {
            return Some(ended + self.kept_for(delivery)?.max(self.policy.settled));
        }
        let with_it = self.with_it(world, delivery).filter_map(|with| self.kept_for(with));
        self.kept_for(delivery).into_iter().chain(with_it).max().map(|kept| ended + kept)
    }

    /// Whether a delivery has ended so long ago that its message goes.
    fn has_passed(&self, world: &World, delivery: &Delivery) -> bool {
        let Some(kept) = self.kept_for(delivery) else { return false };
        // What is not known to have ended has ended in this step.
        let ended = self.ended(delivery).unwrap_or(world.now());
        delivery.state.is_terminal() && ended + kept <= world.now()
    }

    fn ended(&self, delivery: &Delivery) -> Option<Timestamp> {
        self.ended.get(&delivery.id).copied()
    }

    /// Whether a conversation was closed so long ago that it goes, before the step or in it.
    pub(super) fn is_over(&self, world: &World, outcome: &Outcome, id: SessionId) -> bool {
        let key = RowKey::Session(id);
        let row = outcome.before(&key).or_else(|| world.disk().look(&key));
        let Some(Row::Session(session)) = row else { return false };
        let ttl = self.policy.closed_session_ttl;
        session.closed_at.is_some_and(|at| at + ttl <= world.now())
    }

    /// The deliveries that share an answer with this one that goes to nobody.
    fn with_it<'a>(&self, world: &'a World, delivery: &'a Delivery) -> impl Iterator<Item = &'a Delivery> {
        let disk = world.disk();
        let to_nobody = delivery.reply.filter(|reply| {
            let message = disk.look(&RowKey::Message(*reply)).is_some();
            message && log::delivery(disk, DeliveryId::of(*reply, 0)).is_none()
        });
        to_nobody
            .into_iter()
            .flat_map(|reply| disk.deliveries().filter(move |with| with.reply == Some(reply)))
    }

    /// What is live has its message, and what has ended is removed some time, unless something else keeps it.
    pub(super) fn is_kept(&self, world: &World, delivery: &Delivery) -> Result<(), Violation> {
        let id = delivery.id;
        let stays = match delivery.mailbox {
            Address::Session(..) => true,
            _ => {
                let is_kept = |kind| self.policy.retentions.of(kind).retention.time().is_none();
                let forever =
                    is_kept(&delivery.kind) || self.with_it(world, delivery).any(|with| is_kept(&with.kind));
                delivery.is_live() || delivery.redriven_as.is_some() || (forever && !delivery.message_gone)
            }
        };
        hold!("I12", stays == delivery.retire_at.is_none(), "{delivery:?} goes at the wrong time");
        if let Some(at) = delivery.retire_at {
            let latest = self.removal(world, delivery);
            hold!(
                "I12",
                Some(at) <= latest,
                "{delivery:?} is kept until {at:?}, and not needed after {latest:?}"
            );
        }
        let left = delivery.reply.filter(|reply| {
            let disk = world.disk();
            let is_there = disk.look(&RowKey::Message(*reply)).is_some();
            delivery.message_gone && is_there && log::delivery(disk, DeliveryId::of(*reply, 0)).is_none()
        });
        hold!("I12", left.is_none(), "{left:?} went to nobody, and is left of {id}");
        let content = world.disk().look(&RowKey::Message(delivery.message)).is_some();
        hold!("I12", content || !delivery.is_live(), "{id} is live, and its message was removed");
        let same = delivery.mailbox.session().is_some()
            || delivery.redriven_as.is_some()
            || content != delivery.message_gone;
        hold!("I12", same, "{delivery:?} is wrong about its message");
        Ok(())
    }

    /// Events go when they are old: those of no conversation from the beginning of the log, those of a conversation with it.
    pub(super) fn read_trimmed(&mut self, world: &World, outcome: &Outcome) -> Result<(), Violation> {
        let floor = world.disk().floor();
        hold!("I10", floor >= self.floor, "the log's floor went back from {} to {floor}", self.floor);
        self.floor = floor;
        for event in &outcome.trimmed {
            let seq = event.seq;
            hold!("I10", seq <= floor, "event {seq} is gone, and the log's floor is {floor}");
            let free = match event.session {
                Some(session) => self.is_over(world, outcome, session),
                None => event.at + self.policy.log <= world.now() && seq < world.disk().head(),
            };
            hold!("I10", free, "{event:?} was trimmed at {:?}", world.now());
        }
        self.told -= outcome.trimmed.len();
        Ok(())
    }

    /// The only command of a step wanted something removed: if nothing was, nothing was due.
    ///
    /// # Errors
    /// A violation of I6.
    pub fn retired(&self, world: &World, command: &Command, answer: &Answer) -> Result<(), Violation> {
        if let (Command::Retire(ids), Answer::Retired(0)) = (command, answer) {
            let due = ids
                .iter()
                .filter_map(|id| log::delivery(world.disk(), *id))
                .find(|delivery| delivery.retire_at.is_some_and(|at| at <= world.now()));
            hold!("I6", due.is_none(), "{due:?} is due, and was not removed");
        }
        Ok(())
    }

    /// The log says that a message was removed.
    pub(super) fn deleted(&self, world: &World, outcome: &Outcome, id: DeliveryId) -> Result<(), Violation> {
        let row = self.newest_of(world, outcome, id).filter(|row| row.id == id);
        let Some(row) = row else {
            hold!("I10", false, "the log tells of a removal from {id}, which is nowhere");
            return Ok(());
        };
        let gone = world.disk().look(&RowKey::Message(row.message)).is_none();
        hold!("I10", gone, "the log says that {} was removed", row.message);
        let rules = self.rules(world, outcome, &row.mailbox);
        let told = rules.iter().any(|settings| settings.class != Class::Service);
        hold!("I10", told, "the log tells of a removal from {}, which is silent", row.mailbox);
        Ok(())
    }
}
