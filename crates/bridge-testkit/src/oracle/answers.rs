//! What callers are told, against what is so.

use std::collections::BTreeSet;

use bridge_core::{
    Address, Advance, Answer, Command, Delivery, DeliveryId, Grant, GrantEnd, Idempotency, IdempotencyScope,
    LateAck, Lease, MessageId, OpenTask, Outcome as Said, Proof, Publish, PublishError, Published, Receipts,
    Receive, ReceiveError, Received, Row, RowKey, Seq, SessionView, Settle, Settled, Side, State, TaskError,
};

use super::{Oracle, Remembered, Violation, hold, log::delivery, stands::is_open};
use crate::{
    disk::Disk,
    world::{Outcome, World},
};

impl Oracle {
    /// A command was answered in a step that is durable. `newest` tells the newest lease of what it settles, as of before
    /// the step.
    ///
    /// # Errors
    /// A violation of I1, I3, I9, I12 or I13.
    pub fn answered(
        &mut self,
        world: &World,
        command: &Command,
        answer: &Answer,
        newest: Option<Lease>,
    ) -> Result<(), Violation> {
        let disk = world.disk();
        match (command, answer) {
            (Command::Publish(publish), Answer::Published(result)) => {
                self.published(world, publish, result)?;
                if result.as_ref().is_ok_and(|published| !published.duplicate) {
                    self.used.insert(publish.to.clone(), world.now());
                }
            }
            (Command::Receive(receive), Answer::Received(Ok(received))) => {
                if receive.wait.is_zero() && receive.linger.is_zero() {
                    let open = receive.mailboxes.iter().filter(|mailbox| disk.mailbox(mailbox).is_some());
                    self.used.extend(open.map(|mailbox| (mailbox.clone(), world.now())));
                }
                for mailbox in &receive.mailboxes {
                    let evidence = self.evidence.entry(mailbox.clone()).or_default();
                    *evidence = world.now().max(*evidence);
                }
                self.wanted(world, receive, received)?;
                self.received(received)?;
            }
            (Command::Settle(settle), Answer::Settled(Ok(settled))) => {
                self.settled(world, settle, settled, newest)?;
            }
            (Command::Settle(settle), Answer::Settled(Err(_))) => self.counts_late(world, settle, newest)?,
            (Command::Read(session, _), Answer::Read(Ok(place))) => {
                let mailbox = Address::Session(*session, Side::User);
                let row = disk.look(&RowKey::Mailbox(mailbox.clone()));
                let noted = match row {
                    Some(Row::Mailbox(row)) => row.read_to >= *place,
                    // Closed in the same step.
                    _ => true,
                };
                hold!("I13", noted, "{mailbox} is read to {place}, which nobody noted");
            }
            (Command::Advance(advance), Answer::Advanced(Ok(place))) => {
                self.advanced(world, advance, *place)?;
            }
            (Command::OpenTask(OpenTask { id, .. }), Answer::Task(Ok(task))) => {
                self.tasks.insert(*id, task.expires_at);
            }
            (
                Command::InspectTask(id) | Command::CancelTask(id),
                Answer::Task(Err(TaskError::Unknown(_))),
            ) => {
                let kept = self.tasks.get(id).is_some_and(|until| *until > self.latest);
                hold!("I12", !kept, "{id} was forgotten before its time");
            }
            (Command::Redrive(old, _), Answer::Redriven(Ok(new))) => {
                let forth = delivery(disk, *old).and_then(|old| old.redriven_as);
                let back = delivery(disk, *new).and_then(|new| new.redrive_of);
                let removed = delivery(disk, *old).is_none() && delivery(disk, *new).is_none();
                let linked = removed || (forth == Some(*new) && back == Some(*old));
                hold!("I13", linked, "{old} was redriven as {new}, and neither knows");
            }
            _ => {}
        }
        Ok(())
    }

    fn published(
        &mut self,
        world: &World,
        publish: &Publish,
        result: &Result<Published, PublishError>,
    ) -> Result<(), Violation> {
        let scope = publish.idempotency.as_ref().map(|Idempotency { key, fingerprint }| {
            let scope =
                IdempotencyScope { from: publish.from.clone(), to: publish.to.clone(), key: key.clone() };
            (scope, *fingerprint)
        });
        let known = scope.as_ref().and_then(|(scope, _)| self.keys.get(scope)).copied();
        let known = known.filter(|known| known.until > self.latest);
        match result {
            Ok(published) => {
                if let Some(Row::Message(message)) = world.disk().look(&RowKey::Message(published.message))
                    && !published.duplicate
                {
                    let wanted =
                        Some(message.created_at + publish.delay).filter(|_| !publish.delay.is_zero());
                    hold!("I1", message.deliver_at == wanted, "{} is not seen when it is due", message.id);
                }
                if let Some(known) = known {
                    let same = known.message == published.message && published.duplicate;
                    hold!("I9", same, "a key gave {}, then {}", known.message, published.message);
                    let given = scope.as_ref().map(|(_, given)| *given);
                    hold!("I9", given == Some(known.fingerprint), "another request got {}", known.message);
                }
                if let (Some((scope, fingerprint)), None) = (scope, known) {
                    let until = match world.disk().look(&RowKey::Idempotency(scope.clone())) {
                        Some(Row::Idempotency(record)) => record.expires_at,
                        _ => world.now(),
                    };
                    let late = published.duplicate || until >= world.now() + self.policy.idempotency;
                    hold!("I9", late, "a key is remembered until {until:?} only");
                    self.keys.insert(scope, Remembered { message: published.message, fingerprint, until });
                }
                self.confirmed.insert(published.message);
                self.kept(world.disk(), published.message)
            }
            Err(PublishError::IdempotencyConflict { message }) => {
                let other = known.is_none_or(|known| known.message == *message);
                hold!("I9", other, "a key was used for {known:?}, and is said to be for {message}");
                Ok(())
            }
            Err(_) => {
                hold!("I9", known.is_none(), "{result:?}, and the key is that of {known:?}");
                Ok(())
            }
        }
    }

    /// What was given is of the types and no more than was asked for.
    fn wanted(&self, world: &World, receive: &Receive, received: &Received) -> Result<(), Violation> {
        let given = received.granted.iter().filter_map(|granted| delivery(world.disk(), granted.delivery));
        let mut bytes = 0;
        for (nth, given) in given.enumerate() {
            let wanted = receive.types.is_empty() || receive.types.contains(&given.kind);
            hold!("I5", wanted, "{} is {}, and went to {receive:?}", given.id, given.kind);
            let asked = receive.mailboxes.contains(&given.mailbox);
            hold!("I5", asked, "{} is of {}, and went to {receive:?}", given.id, given.mailbox);
            bytes += u64::from(given.size);
            let room = nth == 0 || (bytes <= receive.max_bytes && nth < receive.max as usize);
            hold!("I5", room, "{receive:?} was given more than it asked for: {received:?}");
        }
        Ok(())
    }

    fn received(&mut self, received: &Received) -> Result<(), Violation> {
        let Received { answer, .. } = *received;
        // Those that tell of nothing have no number.
        let rises = answer == 0 || answer > self.last_answer;
        hold!("I13", rises, "answer {answer} comes after {}", self.last_answer);
        self.last_answer = answer.max(self.last_answer);
        for granted in received.granted.iter().chain(&received.held) {
            let newest = self.newest(granted.delivery);
            hold!(
                "I13",
                newest >= Some(granted.lease),
                "{} was granted under {:?}, the log says {newest:?}",
                granted.delivery,
                granted.lease
            );
            self.told_in.entry((granted.delivery, granted.lease)).or_default().insert(answer);
        }
        for granted in &received.granted {
            // Who repeats an attempt has not heard the earlier answers.
            self.told_in.insert((granted.delivery, granted.lease), BTreeSet::from([answer]));
        }
        Ok(())
    }

    fn settled(
        &mut self,
        world: &World,
        settle: &Settle,
        settled: &Settled,
        newest: Option<Lease>,
    ) -> Result<(), Violation> {
        let disk = world.disk();
        let id = settled.delivery;
        // Said once more, and removed in the same step.
        if settled.already_done && delivery(disk, id).is_none() {
            return Ok(());
        }
        let now = delivery(disk, id).and_then(|delivery| delivery.grant.as_ref()).map(|grant| grant.lease);
        if let Proof::Lease(_, lease) = &settle.proof {
            hold!("I3", newest <= Some(*lease), "{id} was settled under {lease:?}, the newest is {newest:?}");
            if let Some(grant) = delivery(disk, id).and_then(|delivery| delivery.grant.as_ref())
                && grant.lease == *lease
                && let (true, Some(GrantEnd::Spent { outcome, .. })) = (settled.already_done, grant.end)
            {
                let said = settle.outcome.kind();
                hold!(
                    "I3",
                    said == outcome,
                    "{id} was settled by {outcome:?}, and {said:?} is said to be done"
                );
            }
            let last = !settled.state.is_terminal() || now == Some(*lease);
            hold!("I3", last, "{id} was settled under {lease:?}, the newest is {now:?}");
        }
        if let Said::Answer { reply, covers } = &settle.outcome
            && !settled.already_done
        {
            let same = delivery(disk, id).and_then(|delivery| delivery.reply) == Some(reply.id);
            hold!("I11", same, "{id} was answered by {}, which it does not know", reply.id);
            for (position, proof) in covers.iter().enumerate() {
                let missed = settled.not_covered.iter().any(|missed| missed.position == position);
                if let (false, Proof::Lease(covered, _)) = (missed, proof) {
                    let covered_by = delivery(disk, *covered).and_then(|delivery| delivery.reply);
                    let mailbox = |id| delivery(disk, id).map(|delivery| &delivery.mailbox);
                    let there = mailbox(*covered) == mailbox(id);
                    hold!("I11", there, "{covered} is of another mailbox, and covered by {}", reply.id);
                    hold!("I11", covered_by == Some(reply.id), "{covered} is answered by {covered_by:?}");
                }
            }
            let is_queued = settled.published.as_ref().is_some_and(|reply| reply.delivery_count > 0);
            if is_queued {
                self.confirmed.insert(reply.id);
                self.kept(disk, reply.id)?;
            }
        }
        // Within one step it may have been given back and handed out anew.
        let under = match &settle.proof {
            Proof::Lease(_, lease) => Some(*lease),
            Proof::Message(..) => newest,
        };
        if let (Said::Extend { by: Some(by), .. }, Some(until)) = (&settle.outcome, settled.until)
            && let Some(Row::Delivery(delivery)) = disk.look(&RowKey::Delivery(id))
            && let Some(grant) = delivery.grant.as_ref().filter(|grant| Some(grant.lease) == under)
        {
            let asked = (world.now() + *by).min(grant.started + self.policy.max_lease);
            hold!("I6", until >= asked, "{id} was to be leased until {asked:?} and is until {until:?}");
        }
        Ok(())
    }

    /// An ack or answer was refused: its delivery is over, or a newer lease was given, or its holder had said something
    /// before. That it was forgotten is no reason.
    fn counts_late(&self, world: &World, settle: &Settle, newest: Option<Lease>) -> Result<(), Violation> {
        let Proof::Lease(id, lease) = settle.proof else { return Ok(()) };
        let is_word = matches!(settle.outcome, Said::Ack | Said::Answer { .. });
        let seen = self.seen.get(&id).filter(|seen| !seen.over && seen.newest <= Some(lease));
        if self.policy.late_ack == LateAck::Reject || !is_word || seen.is_none() || newest > Some(lease) {
            return Ok(());
        }
        let Some(row) = delivery(world.disk(), id) else { return Ok(()) };
        let is_spent =
            |grant: &Grant| grant.lease >= lease && matches!(grant.end, Some(GrantEnd::Spent { .. }));
        let refused = row.state.is_terminal()
            || row.grant.as_ref().is_some_and(is_spent)
            || world.disk().mailbox(&row.mailbox).is_none_or(|mailbox| !is_open(world.disk(), mailbox));
        hold!("I13", refused, "{lease:?} of {id} was given, and {settle:?} was refused");
        Ok(())
    }

    fn advanced(&mut self, world: &World, advance: &Advance, place: Seq) -> Result<(), Violation> {
        let Advance { session, reader, from, to } = advance;
        let disk = world.disk();
        // Of a conversation that goes it may have been removed in between, and have begun anew.
        let anew = if *from == Seq::ZERO { *to } else { Seq::ZERO };
        let is_anew = place == anew && self.is_over(world, &Outcome::default(), *session);
        let stands = self.readers.entry((*session, reader.clone())).or_insert_with(|| {
            match disk.look(&RowKey::Reader(*session, reader.clone())) {
                Some(Row::Reader(reader)) => reader.place,
                _ => Seq::ZERO,
            }
        });
        let right = if stands == from { *to } else { *stands };
        hold!("I13", place == right || is_anew, "{advance:?} gave {place}, and the reader stood at {stands}");
        *stands = place;
        Ok(())
    }

    pub(super) fn kept(&self, disk: &Disk, message: MessageId) -> Result<(), Violation> {
        if self.retired.contains(&message) {
            return Ok(());
        }
        let key = RowKey::Delivery(DeliveryId::of(message, 0));
        hold!("I1", disk.look(&key).is_some(), "{message} was confirmed and has no delivery");
        let content = disk.look(&RowKey::Message(message));
        hold!("I1", matches!(content, Some(Row::Message(_))), "{message} was confirmed and has no content");
        Ok(())
    }

    /// The only command of a step in which nothing else was due was refused.
    ///
    /// # Errors
    /// A violation of I3: it changed something all the same.
    pub fn refused(&self, answer: &Answer, outcome: &Outcome) -> Result<(), Violation> {
        let refused = matches!(
            answer,
            Answer::Published(Err(_))
                | Answer::Settled(Err(_))
                | Answer::Cancelled(Err(_))
                | Answer::Redriven(Err(_))
                | Answer::Session(Err(_))
                | Answer::Task(Err(_))
                | Answer::Read(Err(_))
                | Answer::Advanced(Err(_))
                | Answer::Mailbox(Err(_))
                | Answer::MailboxSet(Err(_))
                | Answer::Purged(Err(_))
                | Answer::Ttl(Err(_))
                | Answer::Why(_)
                | Answer::Mailboxes(_)
                | Answer::Retired(0)
                | Answer::Received(Err(ReceiveError::UnknownMailbox(_)
                    | ReceiveError::NotLeased(_)
                    | ReceiveError::MailboxCount { .. }
                    | ReceiveError::TooManyMailboxes { .. }))
        );
        let nothing = outcome.replaced.is_empty() && outcome.events.is_empty() && outcome.trimmed.is_empty();
        hold!("I3", !refused || nothing, "{answer:?} came with {outcome:?}");
        Ok(())
    }

    /// A row with the lease that stands in memory alone, and with the end that a load has given to its lease.
    fn as_it_stands(&self, row: Delivery, shown: &Delivery) -> Delivery {
        let mut row = row;
        if let Some(held) = self.unrecorded.get(&row.id) {
            row.state = State::Leased;
            row.attempt = held.attempt;
            row.receipts = Receipts { accepted: row.receipts.accepted, ..shown.receipts };
            let attempt_id = shown.grant.as_ref().map(|grant| grant.attempt_id.clone());
            let grant = held.grant.clone();
            row.grant =
                Some(Grant { attempt_id: attempt_id.unwrap_or_else(|| grant.attempt_id.clone()), ..grant });
        } else if let (Some(grant), Some(shown)) = (&mut row.grant, &shown.grant) {
            grant.until = shown.until;
        }
        row
    }

    /// The only command of a step asked how things stand.
    ///
    /// # Errors
    /// A violation of I15: the shard says otherwise than the rows.
    pub fn counts(&self, disk: &Disk, answer: &Answer) -> Result<(), Violation> {
        match answer {
            Answer::Session(Ok(view)) => counted(disk, view),
            Answer::Inspected(chain) => {
                for shown in chain {
                    let row = delivery(disk, shown.id).cloned();
                    let row = row.map(|row| self.as_it_stands(row, shown));
                    hold!("I15", row.as_ref() == Some(shown), "{shown:?} is {row:?} on disk");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What is told of a conversation is what its rows come to.
fn counted(disk: &Disk, view: &SessionView) -> Result<(), Violation> {
    let side = |side| Address::Session(view.session.id, side);
    let live = |side: &Address, leased: bool| {
        let of_side = disk.deliveries().filter(|delivery| delivery.mailbox == *side);
        of_side
            .filter(|delivery| !delivery.state.is_terminal() && (delivery.state == State::Leased) == leased)
            .count()
    };
    let (agent, user) = (side(Side::Agent), side(Side::User));
    let rows = (live(&agent, false), live(&agent, true), live(&user, false));
    let told = (view.pending as usize, view.leased as usize, view.unread as usize);
    hold!("I15", told == rows, "{} is told to have {told:?} and has {rows:?}", view.session.id);
    Ok(())
}
