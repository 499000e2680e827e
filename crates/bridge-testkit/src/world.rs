//! A shard, what survives its crashes, and a clock that jumps.

use std::{collections::BTreeSet, mem, sync::Arc, time::Duration};

use bridge_core::{
    Address, Answer, CallId, Change, Command, DeliveryId, Effect, Event, Grant, Mailbox, Policy, Request,
    Row, RowKey, Step, Timestamp,
};

use crate::{
    disk::{Disk, Replaced},
    life::{Birth, Life},
};

/// One shard on one disk, driven a step at a time.
#[derive(Debug)]
pub struct World {
    life: Life,
    disk: Disk,
    now: Timestamp,
    calls: u64,
}

/// What a step let out once it was durable.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers to calls, of this step's commands and of earlier ones that waited.
    pub answers: Vec<(CallId, Answer)>,
    /// What the step added to the log.
    pub events: Vec<Event>,
    /// The rows that the step wrote or deleted, as they were before it.
    pub replaced: Vec<(RowKey, Option<Row>)>,
    /// What the step removed from the log.
    pub trimmed: Vec<Event>,
    /// Requests that want rows first.
    pub unready: Vec<Request>,
}

/// A step on its way to the store: nobody knows yet what becomes of it.
#[derive(Debug)]
pub struct Hanging {
    epoch: u64,
    changes: Vec<Change>,
}

/// Where a step is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Nothing of it became durable.
    BeforeCommit,
    /// All of it became durable, and nobody was told.
    AfterCommit,
}

/// Where the clock of a world begins.
pub const START: Timestamp = Timestamp::from_millis(1_000_000_000);

impl World {
    /// An empty world whose back-offs depend on `seed`.
    pub fn new(policy: Policy, seed: u64) -> Self {
        let mut disk = Disk::default();
        let (epoch, now) = disk.acquire(START);
        let birth =
            Birth { policy, epoch, seed, rows: Vec::new(), floor: disk.floor(), head: disk.head(), now };
        Self { life: Life::begin(birth), disk, now, calls: 0 }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When the shard was loaded.
    pub fn loaded_at(&self) -> Timestamp {
        self.life.birth().now
    }

    /// The numbers it goes by.
    pub fn policy(&self) -> &Policy {
        &self.life.birth().policy
    }

    /// What survives.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What the shard holds in memory.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.life.shard().rows()
    }

    /// When the shard wants to be woken.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.life.shard().next_timeout()
    }

    /// When a lease ends: a load prolongs those that were live, in memory alone.
    pub fn lease_end(&self, grant: &Grant) -> Timestamp {
        let Birth { policy, epoch, now, .. } = self.life.birth();
        if grant.end.is_none() && grant.lease.epoch < *epoch {
            grant.until.max(*now + policy.reload_lease)
        } else {
            grant.until
        }
    }

    /// The rows that a shard is loaded from, with the ends of leases as this one knows them.
    pub fn live(&self) -> impl Iterator<Item = Row> + '_ {
        self.disk.live().map(|mut row| {
            if let Row::Delivery(delivery) = &mut row
                && let Some(grant) = &mut Arc::make_mut(delivery).grant
            {
                grant.until = self.lease_end(grant);
            }
            row
        })
    }

    /// Moves the clock without waking anybody.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets time pass, waking the shard whenever it wants to be.
    pub fn advance(&mut self, time: Duration) -> Outcome {
        let end = self.now + time;
        let mut outcome = Outcome::default();
        while let Some(step) = self.next_step(end) {
            outcome.add(step);
        }
        outcome
    }

    /// Moves the clock to when the shard wants to be woken, and wakes it; at the latest to `end`, and then no more.
    pub fn next_step(&mut self, end: Timestamp) -> Option<Outcome> {
        match self.next_timeout().filter(|at| *at <= end) {
            Some(at) => {
                self.now = self.now.max(at);
                Some(self.wake())
            }
            None => {
                self.now = self.now.max(end);
                None
            }
        }
    }

    /// Wakes the shard once.
    pub fn wake(&mut self) -> Outcome {
        let step = self.begin(Vec::new());
        self.commit(step)
    }

    /// Gives a command to the shard, commits, and lets the effects out.
    pub fn tell(&mut self, command: Command) -> (CallId, Outcome) {
        let request = self.request(command);
        let call = request.call;
        let mut outcome = Outcome::default();
        let mut requests = vec![request];
        while !requests.is_empty() {
            let step = self.begin(requests);
            let mut done = self.commit(step);
            requests = mem::take(&mut done.unready);
            outcome.add(done);
        }
        (call, outcome)
    }

    /// A command under a new call.
    pub fn request(&mut self, command: Command) -> Request {
        self.calls += 1;
        Request { call: CallId(self.calls), command }
    }

    /// Begins a step as whoever drives a shard does: first what is due, then the commands. Nothing of it is durable before
    /// it is given to [`commit`](World::commit).
    pub fn begin(&mut self, requests: Vec<Request>) -> Step {
        self.fetch(&requests);
        let mut step = Step::new();
        self.life.handle_timeout(self.now, &mut step);
        for request in requests {
            self.life.handle(request, self.now, &mut step);
        }
        step
    }

    /// Gives a command to the shard while things that are due still wait, as after a step that was full.
    pub(crate) fn interrupt(&mut self, command: Command) -> Outcome {
        let request = self.request(command);
        self.fetch(std::slice::from_ref(&request));
        let mut step = Step::new();
        self.life.handle(request, self.now, &mut step);
        self.commit(step)
    }

    /// Makes a step durable and lets its effects out.
    pub fn commit(&mut self, step: Step) -> Outcome {
        let applied = self.disk.apply(self.life.birth().epoch, &step.changes);
        let Replaced { rows: replaced, trimmed } = applied.expect("nobody else has become the owner");
        let mut outcome = Outcome { replaced, trimmed, ..Outcome::default() };
        for change in step.changes {
            if let Change::Append(event) = change {
                outcome.events.push(event);
            }
        }
        for effect in step.effects {
            match effect {
                Effect::Answer(call, answer) => outcome.answers.push((call, answer)),
                Effect::Need(request, _) => outcome.unready.push(request),
            }
        }
        outcome
    }

    /// Leaves a step on its way to the store.
    pub fn hang(&self, step: Step) -> Hanging {
        Hanging { epoch: self.life.birth().epoch, changes: step.changes }
    }

    /// A step comes to the store after all, which refuses it if it comes too late; tells whether it did.
    pub fn arrive(&mut self, late: &Hanging) -> bool {
        self.disk.apply(late.epoch, &late.changes).is_none()
    }

    /// Goes on by the clock of another machine, or by one that was set, from the next [`reload`](World::reload) on.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Begins another life of the shard from what survived.
    pub fn reload(&mut self) {
        self.reload_with(self.policy().clone());
    }

    /// Begins another life of the shard from what survived, by other numbers.
    pub fn reload_with(&mut self, policy: Policy) {
        let (epoch, now) = self.disk.acquire(self.now);
        self.now = now;
        let birth = Birth {
            epoch,
            seed: self.life.birth().seed.wrapping_add(1),
            rows: self.disk.live().collect(),
            floor: self.disk.floor(),
            head: self.disk.head(),
            now,
            policy,
        };
        self.life = Life::begin(birth);
    }

    /// Another world in which the same has happened.
    pub(crate) fn again(&self) -> Self {
        Self { life: self.life.again(), disk: self.disk.without_past(), now: self.now, calls: self.calls }
    }

    /// Writes down what the shard holds of these deliveries, as if it had done so itself.
    pub(crate) fn record<'a>(&mut self, deliveries: impl Iterator<Item = &'a DeliveryId>) {
        let keys: BTreeSet<_> = deliveries.map(|id| RowKey::Delivery(*id)).collect();
        let rows = self.life.shard().rows().filter(|row| keys.contains(&row.key()));
        let changes: Vec<_> = rows.map(Change::Put).collect();
        self.disk.apply(self.life.birth().epoch, &changes);
    }

    /// Another world, with a shard that was loaded just now. Its leases end as they do in this one.
    pub(crate) fn loaded(&self) -> Self {
        let mut disk = self.disk.without_past();
        let Birth { policy, seed, .. } = self.life.birth();
        let birth = Birth {
            policy: Policy { reload_lease: Duration::ZERO, ..policy.clone() },
            epoch: disk.acquire(self.now).0,
            seed: seed.wrapping_add(1),
            rows: self.live().collect(),
            floor: disk.floor(),
            head: disk.head(),
            now: self.now,
        };
        Self { life: Life::begin(birth), disk, now: self.now, calls: self.calls }
    }

    /// Supplies the rows that requests name, and those that these name in turn.
    fn fetch(&mut self, requests: &[Request]) {
        loop {
            let shard = self.life.shard();
            let missing: Vec<_> =
                requests.iter().flat_map(|request| shard.missing(&request.command)).collect();
            if missing.is_empty() {
                return;
            }
            for key in missing {
                let row = self.disk.get(&key);
                self.life.supply(key, row);
            }
        }
    }
}

impl Outcome {
    /// Appends what came later.
    pub fn add(&mut self, later: Self) {
        self.answers.extend(later.answers);
        self.events.extend(later.events);
        self.replaced.extend(later.replaced);
        self.trimmed.extend(later.trimmed);
        self.unready.extend(later.unready);
    }

    /// A row as it was before the step, if the step has changed it and there was one.
    pub(crate) fn before(&self, key: &RowKey) -> Option<&Row> {
        self.replaced.iter().find(|(changed, _)| changed == key).and_then(|(_, before)| before.as_ref())
    }

    /// A mailbox as it was before the step, if the step has changed it.
    pub(crate) fn mailbox_before(&self, mailbox: &Address) -> Option<&Mailbox> {
        self.replaced.iter().find_map(|(_, before)| match before {
            Some(Row::Mailbox(before)) if before.address == *mailbox => Some(before),
            _ => None,
        })
    }

    /// Whether the step has made a mailbox.
    pub(crate) fn has_made(&self, mailbox: &Address) -> bool {
        self.replaced.iter().any(|(key, before)| {
            before.is_none() && matches!(key, RowKey::Mailbox(address) if address == mailbox)
        })
    }

    /// The answer to a call, if it came.
    pub fn answer(&self, call: CallId) -> Option<&Answer> {
        self.answers.iter().find(|(id, _)| *id == call).map(|(_, answer)| answer)
    }
}
