//! A shard, what survives its crashes, and a clock that jumps.

use std::time::Duration;

use bridge_core::{
    Answer, CallId, Change, Command, Effect, Event, Policy, Request, Row, Shard, Step, Timestamp,
};

use crate::disk::Disk;

/// One shard on one disk, driven a step at a time.
#[derive(Debug)]
pub struct World {
    policy: Policy,
    seed: u64,
    shard: Shard,
    disk: Disk,
    now: Timestamp,
    calls: u64,
}

/// What a step let out once it was durable.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers to calls, of this step's command and of earlier ones that waited.
    pub answers: Vec<(CallId, Answer)>,
    /// What the step added to the log.
    pub events: Vec<Event>,
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
        let shard = Shard::new(policy.clone(), disk.acquire(), seed);
        Self { policy, seed, shard, disk, now: START, calls: 0 }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What survives.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What the shard holds in memory.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.shard.rows()
    }

    /// When the shard wants to be woken.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.shard.next_timeout()
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
        match self.shard.next_timeout().filter(|at| *at <= end) {
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
        let step = self.step(None);
        self.commit(step).0
    }

    /// Gives a command to the shard, commits, and lets the effects out.
    pub fn tell(&mut self, command: Command) -> (CallId, Outcome) {
        let call = self.next_call();
        let mut outcome = Outcome::default();
        let mut request = Some(Request { call, command });
        while let Some(again) = request {
            let step = self.step(Some(again));
            let (done, needed) = self.commit(step);
            outcome.add(done);
            request = needed;
        }
        (call, outcome)
    }

    /// Gives a command to the shard and crashes before its effects leave.
    pub fn crash_in(&mut self, command: Command, crash: Crash) {
        let call = self.next_call();
        let step = self.step(Some(Request { call, command }));
        if crash == Crash::AfterCommit {
            self.commit(step);
        }
        self.reload();
    }

    /// Begins another life of the shard from what survived.
    pub fn reload(&mut self) {
        self.seed = self.seed.wrapping_add(1);
        self.shard = Shard::new(self.policy.clone(), self.disk.acquire(), self.seed).load(
            self.disk.live(),
            self.disk.head(),
            self.now,
        );
    }

    fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    fn step(&mut self, request: Option<Request>) -> Step {
        if let Some(request) = &request {
            self.supply(&request.command);
        }
        let mut step = Step::new();
        self.shard.handle_timeout(self.now, &mut step);
        if let Some(request) = request {
            self.shard.handle(request, self.now, &mut step);
        }
        step
    }

    fn supply(&mut self, command: &Command) {
        loop {
            let missing = self.shard.missing(command);
            if missing.is_empty() {
                return;
            }
            for key in missing {
                let row = self.disk.get(&key);
                self.shard.supply(key, row);
            }
        }
    }

    /// Makes a step durable; gives what it let out, and the request that wants rows first.
    fn commit(&mut self, step: Step) -> (Outcome, Option<Request>) {
        self.disk.apply(&step.changes);
        let mut outcome = Outcome::default();
        let mut needed = None;
        for change in step.changes {
            if let Change::Append(event) = change {
                outcome.events.push(event);
            }
        }
        for effect in step.effects {
            match effect {
                Effect::Answer(call, answer) => outcome.answers.push((call, answer)),
                Effect::Need(request, _) => needed = Some(request),
            }
        }
        (outcome, needed)
    }
}

impl Outcome {
    /// Appends what came later.
    pub fn add(&mut self, later: Self) {
        self.answers.extend(later.answers);
        self.events.extend(later.events);
    }

    /// The answer to a call, if it came.
    pub fn answer(&self, call: CallId) -> Option<&Answer> {
        self.answers.iter().find(|(id, _)| *id == call).map(|(_, answer)| answer)
    }
}
