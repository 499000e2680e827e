//! A simulation: clients that do anything, crashes at every commit, answers that never arrive; an oracle looks on.
//!
//! It drives the shard as its owner does: a step takes what has queued up, first lets happen what is due, and lets
//! nothing out before its commit. What clients do meanwhile waits for the next step.

mod clients;
mod mailboxes;
mod policies;
mod retention;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::{self, Write as _},
    mem,
    num::NonZero,
    ops::Range,
    panic::catch_unwind,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use bridge_core::{
    Address, Answer, CallId, Command, Consumer, DirectiveReason, EventKind, Lease, Outcome as Said, Proof,
    Receive, Request, Settle, Side, Timestamp,
};

use self::clients::{Clients, name};
use crate::{
    disk::Disk,
    oracle::{Oracle, Violation, hold},
    rng::Rng,
    twin,
    world::{Crash, Hanging, Outcome, World},
};

/// How a simulation went.
#[derive(Debug)]
pub struct Run {
    /// What was done, a line each: the same seed gives the same lines.
    pub trace: String,
    /// The broken promise, if one was broken.
    pub violation: Option<Violation>,
}

/// Plays the clients of this seed for so many steps, then lets everything come to its end.
pub fn run(seed: u64, steps: u32) -> Run {
    let mut sim = Sim::new(seed, Some(String::new()));
    let violation = sim.play(steps).err();
    Run { trace: sim.trace.unwrap_or_default(), violation }
}

/// Runs one seed, and tells only which promise was broken, if one was.
///
/// # Errors
/// The broken promise.
pub fn judge(seed: u64, steps: u32) -> Result<(), Violation> {
    Sim::new(seed, None).play(steps)
}

/// Runs many seeds, on all processors.
///
/// # Panics
/// If a promise is broken, as [`assert_holds`] does.
pub fn assert_all_hold(seeds: Range<u64>, steps: u32) {
    let next = AtomicU64::new(seeds.start);
    let broken = AtomicU64::new(u64::MAX);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end.min(broken.load(Ordering::Relaxed)) {
                return;
            }
            // A shard that panics is found too, and panics once more below, where its seed is told.
            if !matches!(catch_unwind(|| judge(seed, steps)), Ok(Ok(()))) {
                broken.fetch_min(seed, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let first = broken.into_inner();
    if first != u64::MAX {
        assert_holds(first, steps);
    }
}

/// Runs one seed.
///
/// # Panics
/// If a promise is broken, with the end of the trace, or the shard panics: and how to repeat it.
pub fn assert_holds(seed: u64, steps: u32) {
    let repeat = format!("repeat with: BRIDGE_SEED={seed} cargo nextest run -p bridge-core sim");
    let Ok(run) = catch_unwind(|| run(seed, steps)) else { panic!("the shard panicked\n{repeat}") };
    if let Some(Violation { invariant, what }) = run.violation {
        let lines: Vec<_> = run.trace.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        panic!("{last}\n\n{invariant} is broken: {what}\n{repeat}");
    }
}

/// Rounds until everything must have come to its end.
const WIND_UP: u32 = 120;

/// Steps after which a command must have found what it names: each row of the longest chain - a delivery, that of its answer,
/// the answer - can be removed by another command of the same step, and then the next one is asked for.
const TRIES: u32 = 3;

struct Sim {
    rng: Rng,
    world: World,
    oracle: Oracle,
    clients: Clients,
    /// What was done, if somebody wants to read it.
    trace: Option<String>,
    /// What was sent and is not handled yet.
    queue: VecDeque<Request>,
    /// What is to be handled again.
    again: Vec<Request>,
    /// Commands in a step that was begun, with the newest lease of what they settle, as of then.
    asked: BTreeMap<CallId, (Command, Option<Lease>)>,
    /// How often each call named rows that the shard had forgotten again.
    tries: BTreeMap<CallId, u32>,
    /// Receives that wait, and until when.
    parked: BTreeMap<CallId, (Receive, Timestamp)>,
    /// Of their mailboxes those that may have gone meanwhile.
    gone: BTreeMap<CallId, BTreeSet<Address>>,
    /// What the last owner wrote when it was replaced, and has not come to the store yet.
    late: Option<Hanging>,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is committed, and its effects leave.
    Good,
    /// And nobody does anything meanwhile.
    Calm,
    /// The process dies, and everything that waited for it.
    Dies(Crash),
    /// The commit fails: the shard is dropped, its owner lives on.
    Fails(Crash),
    /// It does not reach the store before another owner does, who knows another time.
    Moves,
}

impl Sim {
    fn new(seed: u64, trace: Option<String>) -> Self {
        let mut rng = Rng::new(seed);
        let policy = policies::policy(&mut rng);
        Self {
            rng,
            world: World::new(policy.clone(), seed),
            oracle: Oracle::new(policy),
            clients: Clients::of(seed),
            trace,
            queue: VecDeque::new(),
            again: Vec::new(),
            asked: BTreeMap::new(),
            tries: BTreeMap::new(),
            parked: BTreeMap::new(),
            gone: BTreeMap::new(),
            late: None,
        }
    }

    fn play(&mut self, steps: u32) -> Result<(), Violation> {
        for _ in 0..2 {
            let open = self.clients.open(&mut self.rng);
            self.send(open);
        }
        for _ in 0..steps {
            // What is to be handled again is handled at once.
            if self.again.is_empty() && self.rng.chance(25) {
                self.let_pass()?;
            }
            self.arrive()?;
            self.step()?;
        }
        self.wind_up()
    }

    fn send(&mut self, command: Command) {
        let request = self.world.request(command);
        self.queue.push_back(request);
    }

    /// Clients do something, or several things at once.
    fn act(&mut self) {
        let acts = if self.rng.chance(80) { 1 } else { 2 + self.rng.below(6) };
        for _ in 0..acts {
            let parked: Vec<_> = self.parked.keys().copied().collect();
            for command in self.clients.invent(&mut self.rng, &self.world, &parked) {
                self.send(command);
            }
        }
        if self.rng.chance(10) && self.clients.few_open(&self.world) {
            let open = self.clients.open(&mut self.rng);
            self.send(open);
        }
    }

    /// One step of the shard, and what clients do while it is made durable.
    fn step(&mut self) -> Result<(), Violation> {
        if self.queue.is_empty() {
            self.act();
        }
        let requests = self.next_batch();
        let fate = match self.rng.below(100) {
            0..2 => Fate::Dies(Crash::BeforeCommit),
            2..4 => Fate::Dies(Crash::AfterCommit),
            4..6 => Fate::Fails(Crash::BeforeCommit),
            6..8 => Fate::Fails(Crash::AfterCommit),
            8..9 => Fate::Moves,
            _ => Fate::Good,
        };
        if fate != Fate::Good || self.rng.chance(3) {
            self.compare()?;
        }
        self.take(requests, fate)
    }

    /// What is to be handled again comes by itself; else some of what has queued up, mostly all.
    fn next_batch(&mut self) -> Vec<Request> {
        if !self.again.is_empty() {
            return mem::take(&mut self.again);
        }
        let most = if self.rng.chance(70) { self.queue.len() } else { 1 };
        self.queue.drain(..most).collect()
    }

    fn note(&mut self, line: impl FnOnce(&mut String) -> fmt::Result) {
        if let Some(trace) = &mut self.trace {
            line(trace).expect("a string takes everything");
        }
    }

    fn take(&mut self, requests: Vec<Request>, fate: Fate) -> Result<(), Violation> {
        let now = self.world.now();
        self.note(|trace| writeln!(trace, "{now:?} {fate:?}"));
        for Request { call, command } in &requests {
            self.note(|trace| writeln!(trace, "  {} {command:?}", call.0));
            let newest = match command {
                Command::Settle(Settle { proof: Proof::Lease(delivery, _), .. }) => {
                    self.oracle.newest(*delivery)
                }
                _ => None,
            };
            self.oracle.hears(&self.world, command);
            self.asked.insert(*call, (command.clone(), newest));
        }
        let alone = requests.len() == 1 && self.world.next_timeout().is_none_or(|at| at > self.world.now());
        let step = self.world.begin(requests);
        if fate != Fate::Calm {
            self.act();
        }
        match fate {
            Fate::Good | Fate::Calm => {
                let outcome = self.world.commit(step);
                self.judge(&outcome, alone)?;
                self.hear(outcome);
                return self.nobody_waits_in_vain();
            }
            Fate::Dies(Crash::AfterCommit) | Fate::Fails(Crash::AfterCommit) => {
                let outcome = self.world.commit(step);
                self.oracle.committed(&self.world, &outcome)?;
                self.compare()?;
            }
            Fate::Dies(Crash::BeforeCommit) | Fate::Fails(Crash::BeforeCommit) => {}
            Fate::Moves => self.late = Some(self.world.hang(step)),
        }
        self.next_life(fate)
    }

    /// The shard is loaded again, after a while.
    fn next_life(&mut self, fate: Fate) -> Result<(), Violation> {
        if self.rng.chance(30) {
            let down = self.some_time();
            self.note(|trace| writeln!(trace, "nobody owns the shard for {down:?}"));
            self.world.pass(down);
        }
        // Another process has another clock.
        if !matches!(fate, Fate::Fails(_)) && self.rng.chance(30) {
            let back = Duration::from_secs(self.rng.below(90));
            self.world.set_clock(self.world.now() - back);
        }
        self.world.reload();
        let now = self.world.now();
        self.note(|trace| writeln!(trace, "the next owner's clock stands at {now:?}"));
        self.oracle.reloaded(&self.world);
        self.lose(fate);
        self.oracle.wakes(&self.world)
    }

    /// What was written by an owner that was replaced may come at any time, and must change nothing.
    fn arrive(&mut self) -> Result<(), Violation> {
        let Some(late) = self.late.take_if(|_| self.rng.chance(20)) else { return Ok(()) };
        self.note(|trace| writeln!(trace, "what the last owner wrote comes to the store"));
        hold!("I3", self.world.arrive(&late), "a step of an owner that was replaced was applied");
        Ok(())
    }

    /// What the owner of a shard still has when it is gone. One that lives on asks again for those who wait for messages, and
    /// says again which answers were lost.
    fn lose(&mut self, fate: Fate) {
        let parked = mem::take(&mut self.parked);
        let asked = mem::take(&mut self.asked);
        self.tries.clear();
        if let Fate::Dies(_) | Fate::Moves = fate {
            self.queue.clear();
            self.again.clear();
            return;
        }
        let now = self.world.now();
        let waiting = parked.into_iter().map(|(call, (receive, until))| {
            (call, Command::Receive(Receive { wait: until.since(now), ..receive }))
        });
        let asked = asked.into_iter().map(|(call, (command, _))| (call, command));
        let again = |command: &Command| matches!(command, Command::Receive(_) | Command::AnswerLost(_));
        let again = waiting.chain(asked.filter(|(_, command)| again(command)));
        let again: BTreeMap<_, _> = again.collect();
        self.again = again.into_iter().map(|(call, command)| Request { call, command }).collect();
    }

    /// Holds what a step came to against what was promised.
    fn judge(&mut self, outcome: &Outcome, alone: bool) -> Result<(), Violation> {
        self.oracle.committed(&self.world, outcome)?;
        for request in &outcome.unready {
            if is_closing(self.world.disk(), &request.command) {
                continue;
            }
            let tries = self.tries.entry(request.call).or_insert(0);
            *tries += 1;
            hold!("I6", *tries < TRIES, "{request:?} is not ready when what it asked for was fetched");
        }
        for (call, answer) in &outcome.answers {
            let asked = self.asked.get(call);
            let parked = self.parked.get(call).map(|(receive, _)| Command::Receive(receive.clone()));
            let Some(command) = asked.map(|(command, _)| command).or(parked.as_ref()) else { continue };
            let newest = asked.and_then(|(_, newest)| *newest);
            if alone
                && let (Command::Receive(receive), Answer::Received(Ok(received))) = (command, answer)
                && let Some(left) = self.what_is_left(*call, receive)
            {
                self.oracle.in_turn_of_all(&self.world, &left, &received.granted)?;
            }
            self.oracle.answered(&self.world, command, answer, newest)?;
            if alone {
                self.oracle.refused(answer, outcome)?;
                self.oracle.counts(self.world.disk(), answer)?;
                self.oracle.retired(&self.world, command, answer)?;
                self.oracle.views(&self.world, command, answer)?;
                if let (Command::Receive(receive), Answer::Received(Ok(received))) = (command, answer) {
                    let replaced = received.directive.reason == DirectiveReason::Replaced;
                    let left = self.what_is_left(*call, receive);
                    if let Some(left) = left.filter(|_| received.granted.is_empty() && !replaced) {
                        self.oracle.nothing_for(&self.world, &left)?;
                    }
                }
                if let Answer::Why(Ok(why)) = answer {
                    let mailbox = self.world.disk().deliveries().find(|row| row.id == why.delivery);
                    let mailbox = mailbox.map(|row| row.mailbox.clone());
                    let unknown = self.parked.iter().any(|(call, (receive, _))| {
                        let asked = receive.mailboxes.iter().any(|asked| Some(asked) == mailbox.as_ref());
                        asked && self.what_is_left(*call, receive).is_none()
                    });
                    if unknown {
                        continue;
                    }
                    let waiting = self.waiting();
                    let waiting = waiting.iter().map(|(_, receive, _)| receive).filter(|receive| {
                        receive.mailboxes.iter().any(|asked| Some(asked) == mailbox.as_ref())
                    });
                    self.oracle.reason(&self.world, why, waiting)?;
                }
            }
        }
        self.oracle.wakes(&self.world)
    }

    /// Effects leave; not all answers arrive.
    fn hear(&mut self, outcome: Outcome) {
        for request in &outcome.unready {
            self.asked.remove(&request.call);
        }
        self.again.extend(outcome.unready);
        let mut removed = BTreeSet::new();
        for event in &outcome.events {
            if let (EventKind::SessionOpened { .. } | EventKind::SessionClosed { .. }, Some(session)) =
                (&event.kind, event.session)
            {
                removed.extend([Side::Agent, Side::User].map(|side| Address::Session(session, side)));
            }
        }
        for (call, answer) in outcome.answers {
            let waited = self.parked.remove(&call).map(|(receive, _)| Command::Receive(receive));
            let Some(command) = self.asked.remove(&call).map(|(command, _)| command).or(waited) else {
                continue;
            };
            if let (Command::DeleteMailbox(mailbox), Answer::Mailbox(Ok(_))) = (&command, &answer) {
                removed.insert(mailbox.clone());
            }
            let lost = self.rng.chance(8);
            self.note(|trace| writeln!(trace, "  {} {}{answer:?}", call.0, if lost { "lost: " } else { "" }));
            match (&command, &answer) {
                // Its owner notices, but for when the whole line is cut.
                (Command::Receive(receive), Answer::Received(Ok(received))) if lost => {
                    let lost = clients::lost_answer(receive, received);
                    if !lost.leases.is_empty() && self.rng.chance(70) {
                        self.send(Command::AnswerLost(lost));
                    }
                }
                _ if lost => {}
                _ => self.clients.learn(&command, &answer),
            }
        }
        for (call, (command, _)) in mem::take(&mut self.asked) {
            match command {
                Command::Receive(receive) => {
                    let until = self.world.now() + receive.wait;
                    let asked = receive.mailboxes.iter();
                    removed.extend(asked.filter(|asked| self.world.disk().mailbox(asked).is_none()).cloned());
                    self.parked.insert(call, (receive, until));
                }
                Command::Unpark(gone) => {
                    self.parked.remove(&gone);
                }
                _ => {}
            }
        }
        // Who has asked other mailboxes too waits for these alone, whether what is gone comes back or not.
        self.gone.retain(|call, _| self.parked.contains_key(call));
        if !removed.is_empty() {
            for call in self.parked.keys() {
                self.gone.entry(*call).or_default().extend(removed.iter().cloned());
            }
        }
    }

    /// The receives that wait, for what is left of their mailboxes, and until when.
    fn waiting(&self) -> Vec<(CallId, Receive, Timestamp)> {
        let waiting = self
            .parked
            .iter()
            .filter_map(|(call, (receive, until))| Some((*call, self.what_is_left(*call, receive)?, *until)));
        waiting.collect()
    }

    /// What a receive still asks for. Where all of its mailboxes may have gone, one of them has not, and nobody knows which.
    fn what_is_left(&self, call: CallId, receive: &Receive) -> Option<Receive> {
        let mut receive = receive.clone();
        let gone = self.gone.get(&call);
        let left = |mailbox: &Address| !gone.is_some_and(|gone| gone.contains(mailbox));
        if receive.mailboxes.iter().any(left) {
            receive.mailboxes.retain(left);
        } else if receive.mailboxes.iter().any(|mailbox| *mailbox != receive.mailboxes[0]) {
            return None;
        }
        Some(receive)
    }

    fn nobody_waits_in_vain(&mut self) -> Result<(), Violation> {
        let waiting = self.waiting();
        let waiting = waiting.iter().map(|(call, receive, until)| (*call, receive, *until));
        self.oracle.served(&self.world, waiting)
    }

    /// Lets a shard that is loaded now live beside the living one.
    fn compare(&self) -> Result<(), Violation> {
        // A lease that is overdue would last until now for who is loaded now.
        if self.world.next_timeout().is_some_and(|at| at < self.world.now()) {
            return Ok(());
        }
        // Unless the step is over, nobody has seen yet which of its receives wait.
        let parked: Vec<_> = self.parked.keys().chain(self.asked.keys()).copied().collect();
        twin::compare(&self.world, &parked, self.oracle.unrecorded())
    }

    fn some_time(&mut self) -> Duration {
        match self.rng.below(100) {
            0 => Duration::from_secs(8 * 24 * 3600),
            1 => Duration::from_secs(25 * 3600),
            2..4 => Duration::from_secs(13 * 3600),
            4..14 => Duration::from_secs(self.rng.below(90)),
            14..55 => Duration::from_secs(self.rng.below(12)),
            _ => Duration::from_millis(self.rng.below(2_000)),
        }
    }

    fn let_pass(&mut self) -> Result<(), Violation> {
        let time = self.some_time();
        self.note(|trace| writeln!(trace, "pass {time:?}"));
        // Sometimes the shard sleeps in, and everything is due at once.
        if self.rng.chance(20) {
            self.world.pass(time);
            return Ok(());
        }
        self.live_through(time)
    }

    /// Lets time pass with everything that happens by itself.
    fn live_through(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.world.now() + time;
        while let Some(outcome) = self.world.next_step(end) {
            self.judge(&outcome, false)?;
            self.hear(outcome);
            self.nobody_waits_in_vain()?;
        }
        Ok(())
    }

    /// Nobody sends any more, one consumer takes and settles everything, the reader reads: all must end.
    fn wind_up(&mut self) -> Result<(), Violation> {
        self.note(|trace| writeln!(trace, "wind up"));
        while !(self.queue.is_empty() && self.again.is_empty()) {
            let requests = self.next_batch();
            self.take(requests, Fate::Calm)?;
        }
        for round in 0..WIND_UP {
            self.take_everything(round)?;
            // Leases may last for half a day; no conversation is quiet for so long that it ends.
            self.live_through(Duration::from_secs(if round < WIND_UP / 2 { 60 } else { 3_600 }))?;
            if self.world.disk().deliveries().all(|delivery| delivery.state.is_terminal()) {
                break;
            }
        }
        self.oracle.at_the_end(&self.world)
    }

    /// A consumer takes what there is in each mailbox, and settles it.
    fn take_everything(&mut self, round: u32) -> Result<(), Violation> {
        let mailboxes: Vec<_> =
            self.world.disk().mailboxes().map(|mailbox| mailbox.address.clone()).collect();
        for mailbox in mailboxes {
            let resume = Command::ResumeMailbox(mailbox.clone());
            let head = self.world.disk().head();
            let take = if mailbox.is_work() {
                Command::Receive(last(mailbox, round))
            } else {
                Command::Read(mailbox.session().expect("only a conversation's mailbox is read"), head)
            };
            let before = self.clients.held.len();
            let requests = [resume, take].map(|command| self.world.request(command));
            self.take(requests.into(), Fate::Calm)?;
            let taken = self.clients.held[before..].to_vec();
            let acks = taken.into_iter().map(|held| {
                let proof = Proof::Lease(held.delivery, held.lease);
                self.world.request(Command::Settle(Settle { proof, outcome: Said::Ack }))
            });
            let acks = acks.collect();
            self.take(acks, Fate::Calm)?;
        }
        Ok(())
    }
}

/// What is asked of a mailbox when nobody sends any more.
fn last(mailbox: Address, round: u32) -> Receive {
    Receive {
        consumer: Consumer::named(name("anonymous"), name("last")),
        attempt_id: name(&format!("end-{round}-{mailbox}")),
        mailboxes: vec![mailbox],
        types: Vec::new(),
        max: 10,
        max_bytes: u64::MAX,
        wait: Duration::ZERO,
        linger: Duration::ZERO,
        lease: None,
        repeatable: false,
    }
}

/// Whether a command has to wait until a closed conversation has given up what it left.
fn is_closing(disk: &Disk, command: &Command) -> bool {
    let Command::OpenSession(open) = command else { return false };
    let mut live = disk.deliveries().filter(|delivery| !delivery.state.is_terminal());
    live.any(|delivery| delivery.mailbox.session() == Some(open.id))
}
