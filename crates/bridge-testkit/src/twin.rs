//! The living shard against one that is loaded from its rows: whatever they are asked and however long they live, they
//! must say and do the same.
//!
//! What a load may forget, or do otherwise, stands in `plain`, `happened` and `Pair::forget`, and nowhere else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bridge_core::{
    Address, Answer, CallId, Cancelled, Command, Consumer, Delivery, Event, EventKind, Granted, Lease,
    Mailbox, MessageId, Name, Outcome as Said, Proof, Publish, Receipts, Receive, Row, RowKey, Seq,
    SessionId, Settle, SettleError, State,
};

use crate::{
    oracle::{Unrecorded, View, Violation, hold, is_behind},
    world::{Outcome, World},
};

/// Longer than anything takes that happens by itself.
const LONG: Duration = Duration::from_secs(8 * 24 * 3600);

/// Compares a world's shard with one that is loaded from the same rows; `parked` are the calls that wait for it. Of the
/// leases that are held in memory alone, `unrecorded`, the other is told. The world itself goes on as it was.
///
/// # Errors
/// A violation of I14 or I15.
pub(crate) fn compare(world: &World, parked: &[CallId], unrecorded: &Unrecorded) -> Result<(), Violation> {
    let mut living = world.again();
    let same = living.rows().eq(world.rows()) && living.next_timeout() == world.next_timeout();
    hold!("I14", same, "a shard that was told the same is another");
    hold_the_same_but_leases(world, unrecorded)?;
    living.record(unrecorded.keys());
    let loaded = living.loaded();
    let known =
        living.disk().deliveries().filter_map(|delivery| Some(delivery.grant.as_ref()?.lease)).collect();
    let mut pair = Pair { living, loaded, known };
    pair.hold_the_same_rows()?;
    pair.know_who_is_there()?;
    pair.forget(parked);
    pair.show_the_same_mailboxes()?;
    pair.know_what_was_granted()?;
    pair.hand_out_the_same()?;
    pair.judge_the_same()?;
    pair.accept_the_same()?;
    pair.live_the_same()
}

/// What is under a lease that stands in no row is on disk as it was before.
fn hold_the_same_but_leases(world: &World, unrecorded: &Unrecorded) -> Result<(), Violation> {
    for row in world.rows() {
        let Row::Delivery(held) = row else { continue };
        let Some(lease) = unrecorded.get(&held.id) else { continue };
        let is_so = held.state == State::Leased
            && held.attempt == lease.attempt
            && held.grant.as_ref().is_some_and(|grant| {
                (grant.lease, grant.until, grant.end) == (lease.grant.lease, lease.grant.until, None)
            });
        hold!("I15", is_so, "the living shard holds {held:?}, and has granted {lease:?}");
        let stored = world.disk().look(&RowKey::Delivery(held.id));
        let less = stored.map(|stored| match stored {
            Row::Delivery(stored) => Row::Delivery(Arc::new(Delivery {
                state: stored.state,
                attempt: stored.attempt,
                grant: stored.grant.clone(),
                receipts: Receipts {
                    presented: stored.receipts.presented,
                    seen: stored.receipts.seen,
                    progressed: stored.receipts.progressed,
                    ..held.receipts
                },
                ..(*held).clone()
            })),
            other => other.clone(),
        });
        hold!("I15", stored == less.as_ref(), "but for its lease {held:?} is {stored:?} on disk");
    }
    Ok(())
}

struct Pair {
    living: World,
    loaded: World,
    /// Leases that were given before the two parted.
    known: BTreeSet<Lease>,
}

impl Pair {
    fn hold_the_same_rows(&self) -> Result<(), Violation> {
        let stored: Vec<_> = self.living.live().collect();
        for (whose, world) in [("the living", &self.living), ("the loaded", &self.loaded)] {
            let mut rows: Vec<_> = world.rows().collect();
            rows.sort_unstable_by_key(Row::key);
            for (stored, held) in stored.iter().zip(&rows) {
                hold!("I15", stored == held, "{whose} shard holds {held:?}, and the disk {stored:?}");
            }
            let (stored, held) = (stored.len(), rows.len());
            hold!("I15", stored == held, "{whose} shard holds {held} rows, and the disk {stored}");
        }
        Ok(())
    }

    fn know_who_is_there(&mut self) -> Result<(), Violation> {
        self.sessions().into_iter().try_for_each(|session| self.ask(&Command::InspectSession(session)))
    }

    fn show_the_same_mailboxes(&mut self) -> Result<(), Violation> {
        self.ask(&Command::ListMailboxes(None, usize::MAX))
    }

    /// A load forgets who waits, and that the taker of a mailbox was seen lately.
    fn forget(&mut self, parked: &[CallId]) {
        for call in parked {
            self.living.interrupt(Command::Unpark(*call));
        }
    }

    /// A repeated attempt finds its leases. From then on it does not matter either that an answer was lost, which a load
    /// forgets.
    fn know_what_was_granted(&mut self) -> Result<(), Violation> {
        let grants = self.living.disk().deliveries().filter(|delivery| delivery.state == State::Leased);
        let attempts: BTreeSet<_> = grants
            .filter_map(|delivery| Some((delivery.grant.as_ref()?, delivery)))
            .map(|(grant, delivery)| {
                (grant.consumer.clone(), delivery.mailbox.clone(), grant.attempt_id.clone())
            })
            .collect();
        for (consumer, mailbox, attempt_id) in attempts {
            self.ask(&Command::Receive(Receive { attempt_id, ..receive(consumer, mailbox) }))?;
        }
        Ok(())
    }

    fn hand_out_the_same(&mut self) -> Result<(), Violation> {
        // What is due and had no room in a step is done in the next one; a load knows of it at once.
        if is_behind(&self.living) {
            return Ok(());
        }
        for mailbox in self.mailboxes() {
            let address = mailbox.address;
            let consumer = |nth| Consumer::named(name("anonymous"), name(&format!("{address} {nth}")));
            // As much as one receive is given.
            let max = (self.living.policy().limits(&mailbox.settings).credit / 2).max(1);
            let world = &self.living;
            let view = View { disk: world.disk(), unrecorded: &Unrecorded::new() };
            let wish = receive(consumer(0), address.clone());
            // A load forgets whose turn it is. Who gets everything does not see that.
            if view.turns(&address, &wish, world.now()).len() > max as usize {
                continue;
            }
            for nth in 0..3 {
                let attempt_id = name(&format!("{address} {nth}"));
                let asks = receive(consumer(nth / 2), address.clone());
                self.ask(&Command::Receive(Receive { attempt_id, max, ..asks }))?;
            }
        }
        Ok(())
    }

    /// Old tokens are worth the same, and an extension reaches the same leases.
    fn judge_the_same(&mut self) -> Result<(), Violation> {
        let grants = self.living.disk().deliveries().filter_map(|delivery| {
            let lease = delivery.grant.as_ref()?.lease;
            self.known.contains(&lease).then_some((delivery.id, lease, delivery.state))
        });
        for (id, lease, state) in grants.collect::<Vec<_>>().into_iter().rev().take(6) {
            let outcome = match state {
                State::Leased => Said::Extend { by: Some(Duration::from_secs(33)), progress: None },
                _ => Said::Ack,
            };
            self.ask(&Command::Settle(Settle { proof: Proof::Lease(id, lease), outcome }))?;
        }
        Ok(())
    }

    fn accept_the_same(&mut self) -> Result<(), Violation> {
        for (nth, mailbox) in self.mailboxes().into_iter().enumerate() {
            let id = MessageId(u128::MAX - nth as u128);
            self.ask(&Command::Publish(publish(id, mailbox.address)))?;
        }
        Ok(())
    }

    fn live_the_same(&mut self) -> Result<(), Violation> {
        let living = happened(&self.living.advance(LONG));
        let loaded = happened(&self.loaded.advance(LONG));
        for (living, loaded) in living.iter().zip(&loaded) {
            hold!("I15", living == loaded, "the living shard did {living:?}, the loaded one {loaded:?}");
        }
        let (living, loaded) = (living.len(), loaded.len());
        hold!("I15", living == loaded, "the living shard did {living} things, the loaded one {loaded}");
        Ok(())
    }

    /// The mailboxes that hand out leases.
    fn mailboxes(&self) -> Vec<Mailbox> {
        self.living.disk().mailboxes().filter(|mailbox| mailbox.address.is_work()).cloned().collect()
    }

    fn sessions(&self) -> Vec<SessionId> {
        let rows = self.living.disk().rows();
        rows.filter_map(|row| match row {
            Row::Session(session) if row.is_live() => Some(session.id),
            _ => None,
        })
        .collect()
    }

    fn ask(&mut self, command: &Command) -> Result<(), Violation> {
        let [living, loaded] = [&mut self.living, &mut self.loaded].map(|world| {
            let outcome = world.interrupt(command.clone());
            let mut events = happened(&outcome);
            if matches!(command, Command::Receive(_)) {
                events.sort_by_key(|event| event.delivery);
            }
            let answers = outcome.answers.into_iter().map(|(_, answer)| plain(answer, &self.known));
            (answers.collect::<Vec<_>>(), events)
        });
        hold!(
            "I15",
            living == loaded,
            "to {command:?} the living shard says {living:?}, and the loaded one {loaded:?}"
        );
        Ok(())
    }
}

/// An answer without what a load may change: the numbers of answers and of new leases, whose turn it is, and the jitter of
/// back-offs.
fn plain(mut answer: Answer, known: &BTreeSet<Lease>) -> Answer {
    let no_jitter = |state: &mut State| {
        if let State::Pending { visible_at } = state {
            *visible_at = bridge_core::Timestamp::default();
        }
    };
    match &mut answer {
        Answer::Received(Ok(received)) => {
            received.answer = 0;
            received.granted.sort_by_key(|granted| granted.delivery);
            received.held.sort_by_key(|granted| granted.delivery);
            for Granted { lease, .. } in received.granted.iter_mut().chain(&mut received.held) {
                if !known.contains(lease) {
                    *lease = Lease { epoch: 0, number: 0 };
                }
            }
        }
        Answer::Settled(Ok(settled)) => no_jitter(&mut settled.state),
        Answer::Settled(Err(SettleError::LeaseLost { state }))
        | Answer::Cancelled(Ok(Cancelled { state, .. })) => no_jitter(state),
        _ => {}
    }
    answer
}

/// What happened, without what a load may change: besides the above, when the taker of a mailbox is missed, and with it
/// the places behind that event.
fn happened(outcome: &Outcome) -> Vec<Event> {
    let told = outcome.events.iter().filter(|event| !matches!(event.kind, EventKind::PresenceChanged { .. }));
    let mut told: Vec<_> = told
        .cloned()
        .map(|mut event| {
            event.seq = Seq::ZERO;
            match &mut event.kind {
                EventKind::Presented { lease, .. } => *lease = Lease { epoch: 0, number: 0 },
                EventKind::Returned { visible_at, .. } => *visible_at = event.at,
                _ => {}
            }
            event
        })
        .collect();
    // In which order a purge withdraws what is left does not matter.
    let is_withdrawn = |event: &Event| event.kind == EventKind::Cancelled;
    for withdrawn in told.chunk_by_mut(|a, b| is_withdrawn(a) && is_withdrawn(b)) {
        withdrawn.sort_by_key(|event| (event.at, event.delivery));
    }
    told
}

fn receive(consumer: Consumer, mailbox: Address) -> Receive {
    Receive {
        attempt_id: consumer.name.clone(),
        consumer,
        mailboxes: vec![mailbox],
        types: Vec::new(),
        max: 2,
        max_bytes: u64::MAX,
        wait: Duration::ZERO,
        linger: Duration::ZERO,
        lease: None,
        repeatable: false,
    }
}

fn publish(id: MessageId, to: Address) -> Publish {
    Publish::new(id, name("anna"), to, "x")
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
