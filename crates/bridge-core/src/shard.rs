//! The state machine: `(state, command, now) -> changes + effects`.
//!
//! A shard owns some mailboxes and decides everything about them, in memory and without waiting. It never touches a
//! clock, a socket or a store: time, ids and rows come in, a [`Step`] comes out.
//!
//! *Invariant:* an effect of a step rests only on changes of that step and of earlier ones; whoever drives the shard
//! performs it after they are durable. *Invariant:* what memory holds is what a load of the committed rows would give,
//! but for who waits, who was seen lately and how often somebody polled in vain.

mod batch;
mod cancel;
mod choice;
mod cold;
mod deliveries;
mod expiry;
mod inbox;
mod index;
mod inspect;
mod interned;
mod lanes;
mod mailbox;
mod presence;
mod publish;
mod read;
mod receive;
mod retention;
mod rng;
mod session;
mod settle;
mod step;
mod task;
#[cfg(test)]
mod tests;
mod timer;
mod waiting;
mod why;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::mem;

pub use self::step::Step;
use self::{
    batch::Batch,
    cold::Cold,
    deliveries::Deliveries,
    inbox::Inbox,
    rng::Rng,
    timer::{Timer, Timers},
    waiting::{Parked, Ticket},
};
use crate::{
    address::Address,
    command::{Answer, CallId, Command, Effect, Request},
    consumer::Consumer,
    delivery::{Delivery, Lease},
    event::{Event, EventKind},
    id::{DeliveryId, MessageId, Name, SessionId, TaskId},
    log::Seq,
    policy::Policy,
    publish::IdempotencyRecord,
    session::Session,
    store::{Row, RowKey},
    task::Task,
    time::Timestamp,
};

/// One shard's state in memory.
///
/// # Example
/// ```
/// use bridge_core::*;
/// use core::time::Duration;
///
/// let now = Timestamp::from_millis(1_000);
/// let mut shard = Shard::new(Policy::default(), 1, 7);
/// let mut step = Step::new();
/// let owner = Name::from_static("anna");
/// let open = OpenSession { id: SessionId(1), title: None, owner };
/// shard.handle(Request { call: CallId(1), command: Command::OpenSession(open) }, now, &mut step);
///
/// // The shard was not given the session's row, if there is one: it asks for it.
/// assert!(matches!(&step.effects[..], [Effect::Need(_, keys)] if keys == &[RowKey::Session(SessionId(1))]));
/// ```
#[derive(Debug)]
pub struct Shard {
    policy: Policy,
    /// The life of this shard: every lease given in it bears this number.
    epoch: u64,
    /// The last lease given.
    last_lease: u64,
    /// The last place taken in the log.
    head: Seq,
    /// Up to here only events of sessions are left of it.
    floor: Seq,
    rng: Rng,
    /// Sessions that are open.
    sessions: BTreeMap<SessionId, Session>,
    inboxes: BTreeMap<Address, Inbox>,
    /// Deliveries that are not terminal.
    deliveries: Deliveries,
    /// What is leased, by batch.
    batches: BTreeMap<Lease, Batch>,
    /// Which batch an attempt got.
    attempts: BTreeMap<(Consumer, Address, Name), Lease>,
    /// What each consumer holds.
    held: BTreeMap<Consumer, BTreeSet<DeliveryId>>,
    /// Deliveries that wait, in all mailboxes.
    pending: usize,
    /// Mailboxes of clients and groups.
    own_mailboxes: usize,
    /// Receives that wait.
    parked: BTreeMap<CallId, Parked>,
    /// Those of each consumer.
    waits: BTreeMap<Consumer, BTreeSet<CallId>>,
    /// The last place that was given to a waiting receive.
    tickets: Ticket,
    /// Which mailbox's turn it is when a receive asks several.
    rotation: usize,
    /// The last answer that told of leases.
    answers: u64,
    tasks: BTreeMap<TaskId, Task>,
    /// Rows that are not live: fetched, or written lately.
    cold: Cold,
    timers: Timers,
    /// Mailboxes in which a waiting receive may now get something.
    dirty: BTreeSet<Address>,
    /// Deliveries that were taken over before their mailboxes.
    early: Vec<Arc<Delivery>>,
}

impl Shard {
    /// A shard that owns nothing yet. `seed` decides the jitter of its back-offs.
    pub fn new(policy: Policy, epoch: u64, seed: u64) -> Self {
        Self {
            policy,
            epoch,
            last_lease: 0,
            head: Seq::ZERO,
            floor: Seq::ZERO,
            rng: Rng::new(seed),
            sessions: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            deliveries: Deliveries::default(),
            batches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            held: BTreeMap::new(),
            pending: 0,
            own_mailboxes: 0,
            parked: BTreeMap::new(),
            waits: BTreeMap::new(),
            tickets: 0,
            rotation: 0,
            // So that the answers of a later life are newer than those of an earlier one.
            answers: epoch << 32,
            tasks: BTreeMap::new(),
            cold: Cold::default(),
            timers: Timers::default(),
            dirty: BTreeSet::new(),
            early: Vec::new(),
        }
    }

    /// Takes over what a store holds: all live rows, and where the log begins and ends. Leases that were live get some time, so
    /// that whoever worked while the bridge was away can still settle.
    #[must_use]
    pub fn load(
        mut self,
        rows: impl IntoIterator<Item = Row>,
        floor: Seq,
        head: Seq,
        now: Timestamp,
    ) -> Self {
        self.adopt(rows, now);
        self.loaded(floor, head, now)
    }

    /// Takes over some of what a store holds: live rows, in any order. There is no other way to hold many: they need not be in
    /// memory twice.
    pub fn adopt(&mut self, rows: impl IntoIterator<Item = Row>, now: Timestamp) {
        for row in rows {
            match row {
                Row::Session(session) => self.adopt_session(session),
                Row::Mailbox(mailbox) => self.adopt_mailbox(mailbox, now),
                Row::Task(task) => self.adopt_task(task),
                Row::Delivery(delivery) if self.inboxes.contains_key(&delivery.mailbox) => {
                    self.adopt_delivery(delivery, now);
                }
                Row::Delivery(delivery) => self.early.push(delivery),
                Row::Identity(_) | Row::Message(_) | Row::Idempotency(_) | Row::Reader(_) => {}
            }
        }
    }

    /// Everything that a store holds was taken over; its log goes from `floor` to `head`.
    #[must_use]
    pub fn loaded(mut self, floor: Seq, head: Seq, now: Timestamp) -> Self {
        (self.floor, self.head) = (floor, head);
        for delivery in mem::take(&mut self.early) {
            self.adopt_delivery(delivery, now);
        }
        self.resume_work(now);
        self
    }

    fn adopt_delivery(&mut self, mut delivery: Arc<Delivery>, now: Timestamp) {
        if delivery.grant.as_ref().is_some_and(|grant| grant.end.is_none())
            && let Some(grant) = &mut Arc::make_mut(&mut delivery).grant
        {
            grant.until = grant.until.max(now + self.policy.reload_lease);
        }
        self.index(&delivery, now);
    }

    /// The rows that a load would be given now, in no order. What it was given at its own load differs at most in the
    /// end of leases, which a load prolongs.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let sessions = self.sessions.values().cloned().map(Row::Session);
        let mailboxes = self.inboxes.values().map(|inbox| Row::Mailbox(inbox.row.clone()));
        let deliveries = self.deliveries.iter().map(|delivery| Row::Delivery(Arc::new(delivery)));
        let tasks = self.tasks.values().cloned().map(Row::Task);
        sessions.chain(mailboxes).chain(deliveries).chain(tasks)
    }

    /// When [`handle_timeout`](Shard::handle_timeout) wants to be called next, at the latest.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.first()
    }

    /// Lets time pass: leases end, messages expire, pauses are over. Comes before the commands of the same step.
    pub fn handle_timeout(&mut self, now: Timestamp, step: &mut Step) {
        self.trim();
        let full = step.changes.len() + self.policy.max_rows;
        self.end_pauses(now);
        self.serve_dirty(now, step);
        while step.changes.len() < full {
            let Some(timer) = self.timers.pop_due(now) else { break };
            // Very many messages may expire together, and who waits could not have them before either: that is looked at once,
            // before something else happens.
            if !matches!(timer, Timer::Expire(_)) {
                self.serve_dirty(now, step);
            }
            self.fire(timer, now, step);
        }
        self.serve_dirty(now, step);
    }

    /// Handles one command. Its answer is among the step's effects, unless it waits or wants none.
    pub fn handle(&mut self, request: Request, now: Timestamp, step: &mut Step) {
        let missing = self.missing(&request.command);
        if !missing.is_empty() {
            self.cold.hold();
            step.effects.push(Effect::Need(request, missing));
            return;
        }
        if let Command::OpenSession(open) = &request.command
            && self.is_closing(open.id)
        {
            // The steps behind the closing come first.
            step.effects.push(Effect::Need(request, Vec::new()));
            return;
        }
        if let Some(answer) = self.decide(request.call, request.command, now, step) {
            step.effects.push(Effect::Answer(request.call, answer));
        }
        self.serve_dirty(now, step);
    }

    fn decide(&mut self, call: CallId, command: Command, now: Timestamp, step: &mut Step) -> Option<Answer> {
        Some(match command {
            Command::OpenSession(open) => Answer::Session(self.open_session(open, now, step)),
            Command::RenameSession(session, title) => {
                Answer::Session(self.rename_session(session, title.as_deref(), now, step))
            }
            Command::CloseSession(session) => Answer::Session(self.close_session(session, now, step)),
            Command::CloseIdleSession(session, since) => {
                Answer::Session(self.close_idle(session, since, now, step))
            }
            Command::InspectSession(session) => Answer::Session(self.inspect_session(session)),
            Command::Publish(publish) => Answer::Published(self.publish(publish, now, step)),
            Command::Receive(receive) => {
                return self.receive(call, receive, now, step).map(Answer::Received);
            }
            Command::Settle(settle) => Answer::Settled(self.settle(settle, now, step)),
            Command::Read(session, up_to) => Answer::Read(self.read(session, up_to, now, step)),
            Command::Advance(advance) => Answer::Advanced(self.advance(advance, now, step)),
            Command::Cancel(delivery) => Answer::Cancelled(self.cancel(delivery, now, step)),
            Command::Redrive(delivery, ttl) => Answer::Redriven(self.redrive(delivery, ttl, now, step)),
            Command::JudgeRedrive(delivery) => Answer::Delivery(self.judge_redrive(delivery).map(Box::new)),
            Command::SetMailbox(set) => Answer::MailboxSet(self.set_mailbox(&set, now, step)),
            Command::InspectMailbox(mailbox) => Answer::Mailbox(self.inspect_mailbox(&mailbox)),
            Command::ListMailboxes(after, limit) => {
                Answer::Mailboxes(self.list_mailboxes(after.as_ref(), limit))
            }
            Command::PauseMailbox(mailbox, by) => {
                Answer::Mailbox(self.pause_mailbox(&mailbox, Some(by), now, step))
            }
            Command::ResumeMailbox(mailbox) => Answer::Mailbox(self.pause_mailbox(&mailbox, None, now, step)),
            Command::PurgeMailbox(mailbox, purge) => {
                Answer::Purged(self.purge_mailbox(&mailbox, purge, now, step))
            }
            Command::DeleteMailbox(mailbox) => Answer::Mailbox(self.delete_mailbox(&mailbox, step)),
            Command::Why(delivery) => Answer::Why(self.why(delivery, now)),
            Command::SetTtl(message, ttl) => Answer::Ttl(self.set_ttl(message, ttl, now, step)),
            Command::InspectDelivery(delivery) => Answer::Delivery(self.inspect_delivery(delivery)),
            Command::InspectLive(deliveries) => Answer::Inspected(self.inspect_live(&deliveries)),
            Command::ListLeased { mailbox, before, limit } => {
                Answer::Inspected(self.leased(mailbox.as_ref(), before, limit))
            }
            Command::Inspect(message) => Answer::Inspected(self.inspect(message)),
            Command::OpenTask(open) => Answer::Task(self.open_task(open, now, step)),
            Command::InspectTask(task) => Answer::Task(self.inspect_task(task)),
            Command::CancelTask(task) => Answer::Task(self.cancel_task(task, step)),
            Command::Unpark(call) => {
                self.unpark(call, now);
                return None;
            }
            Command::AnswerLost(lost) => {
                self.answer_lost(&lost, now, step);
                return None;
            }
            Command::Forget(records) => {
                self.forget(records, step);
                return None;
            }
            Command::Retire(deliveries) => Answer::Retired(self.retire(&deliveries, now, step)),
            Command::RetireSession(retire) => Answer::Retired(self.retire_session(retire, now, step)),
            Command::Trim(up_to, at) => Answer::Retired(self.trim_log(up_to, at, now, step)),
        })
    }

    /// The rows that a command names and that are neither live nor known to be absent. Whoever drives the shard
    /// fetches and [`supply`](Shard::supply)s them first; [`handle`](Shard::handle) answers [`Effect::Need`] otherwise.
    pub fn missing(&self, command: &Command) -> Vec<RowKey> {
        let mut keys = Vec::new();
        self.name_rows(command, &mut keys);
        keys.retain(|key| !self.knows(key));
        keys.dedup();
        keys
    }

    /// Forgets what was fetched longest ago, beyond the policy's number. [`handle_timeout`](Shard::handle_timeout) does it
    /// by itself.
    pub fn trim(&mut self) {
        self.cold.trim(self.policy.max_cold);
    }

    /// Tells the shard what the store holds under a key. What memory says wins: it is never older.
    pub fn supply(&mut self, key: RowKey, row: Option<Row>) {
        if !self.knows(&key) {
            self.cold.insert(key, row);
        }
    }

    fn knows(&self, key: &RowKey) -> bool {
        let live = match key {
            RowKey::Session(session) => self.sessions.contains_key(session),
            RowKey::Delivery(delivery) => self.deliveries.contains(*delivery),
            _ => false,
        };
        live || self.cold.contains(key)
    }

    /// The rows a command speaks of, known or not.
    fn name_rows(&self, command: &Command, keys: &mut Vec<RowKey>) {
        match command {
            Command::OpenSession(open) => keys.push(RowKey::Session(open.id)),
            Command::RenameSession(session, _)
            | Command::CloseSession(session)
            | Command::CloseIdleSession(session, _)
            | Command::InspectSession(session)
            | Command::Read(session, _) => keys.push(RowKey::Session(*session)),
            Command::Publish(publish) => {
                keys.extend(publish.to.session().map(RowKey::Session));
                keys.extend(publish.idempotency_scope().map(RowKey::Idempotency));
            }
            Command::Receive(receive) => {
                let sessions = receive.mailboxes.iter().filter_map(Address::session);
                keys.extend(sessions.map(RowKey::Session));
            }
            Command::Settle(settle) => {
                settle.proofs().for_each(|proof| self.name_proof(proof, keys));
            }
            Command::Advance(advance) => {
                keys.push(RowKey::Session(advance.session));
                keys.push(RowKey::Reader(advance.session, advance.reader.clone()));
            }
            Command::Cancel(delivery)
            | Command::Redrive(delivery, _)
            | Command::JudgeRedrive(delivery)
            | Command::Why(delivery)
            | Command::InspectDelivery(delivery) => {
                keys.push(RowKey::Delivery(*delivery));
            }
            Command::Inspect(message) | Command::SetTtl(message, _) => self.name_chain(*message, keys),
            Command::OpenTask(open) => keys.extend(open.mailbox.session().map(RowKey::Session)),
            Command::Forget(records) => {
                keys.extend(records.iter().map(|record| RowKey::Idempotency(record.scope.clone())));
            }
            Command::Retire(deliveries) => {
                deliveries.iter().for_each(|delivery| self.name_retired(*delivery, keys));
            }
            Command::RetireSession(retire) => self.name_session_part(retire, keys),
            Command::InspectLive(_)
            | Command::ListLeased { .. }
            | Command::SetMailbox(_)
            | Command::InspectMailbox(_)
            | Command::ListMailboxes(..)
            | Command::PauseMailbox(..)
            | Command::ResumeMailbox(_)
            | Command::PurgeMailbox(..)
            | Command::DeleteMailbox(_)
            | Command::InspectTask(_)
            | Command::CancelTask(_)
            | Command::Unpark(_)
            | Command::AnswerLost(_)
            | Command::Trim(..) => {}
        }
    }

    /// A delivery, live or not.
    fn find(&self, id: DeliveryId) -> Option<Delivery> {
        self.deliveries.get(id).or_else(|| match self.cold.get(&RowKey::Delivery(id)) {
            Some(Row::Delivery(delivery)) => Some((**delivery).clone()),
            _ => None,
        })
    }

    /// A live delivery.
    ///
    /// # Panics
    /// If there is none: a caller has just looked at it.
    fn live(&self, id: DeliveryId) -> Delivery {
        self.deliveries.get(id).expect("the caller has just seen this delivery")
    }

    /// A session, open or not.
    fn find_session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id).or_else(|| match self.cold.get(&RowKey::Session(id)) {
            Some(Row::Session(session)) => Some(session),
            _ => None,
        })
    }

    /// The deliveries of a message, each made from the one before it by a redrive.
    fn chain(&self, message: MessageId) -> impl Iterator<Item = Delivery> {
        core::iter::successors(self.find(DeliveryId::of(message, 0)), |delivery| {
            delivery.redriven_as.and_then(|id| self.find(id))
        })
    }

    fn name_chain(&self, message: MessageId, keys: &mut Vec<RowKey>) {
        keys.push(RowKey::Delivery(DeliveryId::of(message, 0)));
        keys.extend(self.chain(message).filter_map(|delivery| delivery.redriven_as).map(RowKey::Delivery));
    }

    fn inspect(&self, message: MessageId) -> Vec<Delivery> {
        self.chain(message).collect()
    }

    fn forget(&mut self, records: Vec<IdempotencyRecord>, step: &mut Step) {
        for record in records {
            let key = RowKey::Idempotency(record.scope.clone());
            // The key may have been used again since its record was looked up.
            if self.cold.get(&key) == Some(&Row::Idempotency(record)) {
                self.cold.insert(key.clone(), None);
                step.delete(key);
            }
        }
    }

    /// Appends to the log.
    fn tell(&mut self, subject: Subject, kind: EventKind, now: Timestamp, step: &mut Step) -> Seq {
        self.head = self.head.next();
        let Subject { session, message, delivery } = subject;
        if !(fault!(EventLost) && matches!(kind, EventKind::Progressed { .. })) {
            step.append(Event { seq: self.head, at: now, session, message, delivery, kind });
        }
        self.head
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, Default)]
struct Subject {
    session: Option<SessionId>,
    message: Option<MessageId>,
    delivery: Option<DeliveryId>,
}

impl Subject {
    const fn session(session: SessionId) -> Self {
        Self { session: Some(session), message: None, delivery: None }
    }
}

impl From<&Address> for Subject {
    fn from(mailbox: &Address) -> Self {
        Self { session: mailbox.session(), ..Self::default() }
    }
}

impl From<&Delivery> for Subject {
    fn from(delivery: &Delivery) -> Self {
        Self {
            session: delivery.mailbox.session(),
            message: Some(delivery.message),
            delivery: Some(delivery.id),
        }
    }
}
