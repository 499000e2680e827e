//! A simulation: clients that do anything, crashes at every commit, answers that never arrive; an oracle looks on.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use bridge_core::{
    Address, Answer, CallId, Class, Command, Consumer, DeliveryId, Headers, Idempotency, IdempotencyScope,
    Lease, LostAnswer, MessageId, Name, OpenSession, Outcome, Policy, Priority, Proof, Publish, Receive,
    Reply, Row, RowKey, Seq, SessionId, Settle, Side,
};

use crate::{
    oracle::{Oracle, Violation},
    rng::Rng,
    world::{Crash, Outcome as StepOutcome, World},
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
    let mut sim = Sim::new(seed);
    let violation = sim.play(steps).err();
    Run { trace: sim.trace, violation }
}

/// Runs one seed.
///
/// # Panics
/// If a promise is broken: with the end of the trace, and how to repeat it.
pub fn assert_holds(seed: u64, steps: u32) {
    let run = run(seed, steps);
    if let Some(Violation { invariant, what }) = run.violation {
        let lines: Vec<_> = run.trace.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        panic!(
            "{last}\n\n{invariant} is broken: {what}\nrepeat with: BRIDGE_SEED={seed} cargo nextest run -p bridge-core sim"
        );
    }
}

/// A lease as a client remembers it.
#[derive(Debug, Clone, Copy)]
struct Held {
    delivery: DeliveryId,
    message: MessageId,
    lease: Lease,
}

struct Sim {
    rng: Rng,
    world: World,
    oracle: Oracle,
    trace: String,
    ids: u128,
    sessions: Vec<SessionId>,
    messages: Vec<MessageId>,
    /// Every lease any client was ever given: old tokens are tried too.
    held: Vec<Held>,
    /// Requests with keys, to be repeated.
    keyed: Vec<Publish>,
    /// Attempts to be repeated.
    attempts: Vec<Receive>,
    /// Settlements to be repeated.
    settled: Vec<Settle>,
    parked: BTreeMap<CallId, Receive>,
    /// The last answer that told of leases.
    last_answer: u64,
}

/// Small numbers, so that limits are met and longer work takes several steps.
fn policy() -> Policy {
    Policy {
        agent: Class {
            lease: Duration::from_secs(10),
            max_failures: 3,
            credit: 4,
            max_pending: 12,
            ..Class::AGENT
        },
        max_attempts: 6,
        max_rows: 6,
        max_cold: 24,
        max_waiting: 6,
        bounce_ttl: Duration::from_secs(120),
        ..Policy::default()
    }
}

impl Sim {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            world: World::new(policy(), seed),
            oracle: Oracle::default(),
            trace: String::new(),
            ids: 0,
            sessions: Vec::new(),
            messages: Vec::new(),
            held: Vec::new(),
            keyed: Vec::new(),
            attempts: Vec::new(),
            settled: Vec::new(),
            parked: BTreeMap::new(),
            last_answer: 0,
        }
    }

    fn play(&mut self, steps: u32) -> Result<(), Violation> {
        for _ in 0..2 {
            self.open()?;
        }
        for _ in 0..steps {
            if self.rng.chance(25) {
                self.let_pass()?;
            }
            let command = self.invent();
            self.submit(command)?;
        }
        self.wind_up()
    }

    /// Something that a client might do.
    fn invent(&mut self) -> Command {
        match self.rng.below(100) {
            0..28 => self.publish(),
            28..33 => match self.rng.pick(&self.keyed).cloned() {
                Some(again) => Command::Publish(Publish { id: self.message_id(), ..again }),
                None => self.publish(),
            },
            33..53 => self.receive(),
            53..57 => match self.rng.pick(&self.attempts).cloned() {
                Some(again) => Command::Receive(again),
                None => self.receive(),
            },
            57..82 => self.settle(),
            82..85 => match self.rng.pick(&self.settled).cloned() {
                Some(again) => Command::Settle(again),
                None => self.settle(),
            },
            85..88 => match self.rng.pick(&self.messages).copied() {
                Some(message) => Command::Cancel(self.delivery(message)),
                None => self.publish(),
            },
            88..91 => match self.rng.pick(&self.messages).copied() {
                Some(message) => {
                    let ttl = self.rng.chance(30).then_some(Duration::from_secs(20));
                    Command::Redrive(self.delivery(message), ttl)
                }
                None => self.publish(),
            },
            91..94 => {
                let session = self.session();
                let head = self.world.disk().head().0;
                Command::Read(Address::Session(session, Side::User), Seq(self.rng.below(head + 2)))
            }
            94..97 => {
                let from = self.rng.below(self.held.len() as u64 + 1);
                let lost = self.held.iter().skip(usize::try_from(from).unwrap_or(0)).take(2);
                let granted = lost.map(|held| (held.delivery, held.lease)).collect();
                let repeatable = self.rng.chance(50);
                Command::AnswerLost(LostAnswer { answer: self.last_answer, granted, repeatable })
            }
            97..99 => match self.parked.keys().next().copied() {
                Some(call) => Command::Unpark(call),
                None => self.receive(),
            },
            _ if self.rng.chance(30) => Command::CloseSession(self.session()),
            _ => Command::InspectSession(self.session()),
        }
    }

    fn publish(&mut self) -> Command {
        let side = if self.rng.chance(80) { Side::Agent } else { Side::User };
        let id = self.message_id();
        self.messages.push(id);
        let idempotency = self.rng.chance(40).then(|| {
            let key = name(&format!("key-{}", self.rng.below(1_000)));
            Idempotency { key, fingerprint: [u8::from(side == Side::Agent); 32] }
        });
        let publish = Publish {
            id,
            from: name("anna"),
            verified: false,
            to: Address::Session(self.session(), side),
            kind: name("message"),
            priority: Priority::NORMAL,
            payload: vec![b'x'; usize::try_from(self.rng.below(50)).unwrap_or(1)].into(),
            key: self.rng.chance(20).then(|| name("other")),
            reply_to: None,
            correlation_id: None,
            headers: Headers::new(),
            delay: Duration::from_secs(if self.rng.chance(10) { self.rng.below(30) } else { 0 }),
            ttl: self.rng.chance(20).then(|| Duration::from_secs(1 + self.rng.below(60))),
            idempotency,
        };
        if publish.idempotency.is_some() {
            self.keyed.push(publish.clone());
        }
        Command::Publish(publish)
    }

    fn receive(&mut self) -> Command {
        let attempt = name(&format!("att-{}", self.next_id()));
        let consumer = match self.rng.below(4) {
            0 => Consumer::nameless(name("anonymous"), attempt.clone()),
            who => Consumer::named(name("anonymous"), name(&format!("agent-{who}"))),
        };
        let receive = Receive {
            consumer,
            mailbox: Address::Session(self.session(), Side::Agent),
            max: 1 + u32::try_from(self.rng.below(4)).unwrap_or(0),
            max_bytes: if self.rng.chance(20) { 60 } else { u64::MAX },
            wait: Duration::from_secs(if self.rng.chance(40) { 1 + self.rng.below(30) } else { 0 }),
            lease: self.rng.chance(50).then(|| Duration::from_secs(1 + self.rng.below(20))),
            attempt_id: attempt,
            repeatable: self.rng.chance(50),
        };
        self.attempts.push(receive.clone());
        Command::Receive(receive)
    }

    fn settle(&mut self) -> Command {
        let Some(held) = self.recent() else { return self.receive() };
        let proof = if self.rng.chance(10) {
            let who = name(&format!("agent-{}", 1 + self.rng.below(3)));
            Proof::Message(held.message, Consumer::named(name("anonymous"), who))
        } else {
            Proof::Lease(held.delivery, held.lease)
        };
        let pause = Duration::from_secs(self.rng.below(20));
        let outcome = match self.rng.below(10) {
            0..3 => Outcome::Ack,
            3..6 => {
                let covers = (0..self.rng.below(3)).filter_map(|_| self.recent());
                let covers = covers.map(|held| Proof::Lease(held.delivery, held.lease)).collect();
                let mut fingerprint = [0; 32];
                fingerprint[0] = u8::try_from(self.rng.below(3)).unwrap_or(0);
                let reply = Reply {
                    id: self.message_id(),
                    from: None,
                    verified: false,
                    kind: name("answer"),
                    payload: vec![b'y'; 3].into(),
                    headers: Headers::new(),
                    fingerprint,
                };
                Outcome::Answer { reply, covers }
            }
            6 => Outcome::Extend { by: Some(pause), progress: None },
            7 => Outcome::Release { delay: if self.rng.chance(50) { pause } else { Duration::ZERO } },
            8 => Outcome::Nack { delay: self.rng.chance(50).then_some(pause), error: None },
            _ => Outcome::Reject { reason: None },
        };
        let settle = Settle { proof, outcome };
        self.settled.push(settle.clone());
        Command::Settle(settle)
    }

    /// One of the lives of a message.
    fn delivery(&mut self, message: MessageId) -> DeliveryId {
        let mut delivery = DeliveryId::of(message, 0);
        let disk = self.world.disk();
        while let Some(Row::Delivery(row)) = disk.get(&RowKey::Delivery(delivery))
            && let Some(successor) = row.redriven_as
            && self.rng.chance(80)
        {
            delivery = successor;
        }
        delivery
    }

    /// A lease some client remembers: rather a new one than an old one.
    fn recent(&mut self) -> Option<Held> {
        let newest = self.held.len().saturating_sub(6);
        let from = if self.rng.chance(70) { newest } else { 0 };
        self.rng.pick(&self.held[from..]).copied()
    }

    fn open(&mut self) -> Result<(), Violation> {
        let id = SessionId(self.next_id());
        self.sessions.push(id);
        self.submit(Command::OpenSession(OpenSession { id, title: None, owner: name("anna") }))
    }

    /// Gives a command to the world: and now and then a crash with it, or an answer that gets lost.
    fn submit(&mut self, command: Command) -> Result<(), Violation> {
        let _ = writeln!(self.trace, "{:?} {command:?}", self.world.now());
        match self.rng.below(100) {
            0..3 => self.crash(command, Crash::BeforeCommit),
            3..6 => self.crash(command, Crash::AfterCommit),
            luck => {
                let newest = match &command {
                    Command::Settle(Settle { proof: Proof::Lease(delivery, _), .. }) => {
                        self.oracle.newest(*delivery)
                    }
                    _ => None,
                };
                let (call, outcome) = self.world.tell(command.clone());
                if let Command::Receive(receive) = &command
                    && outcome.answer(call).is_none()
                {
                    self.parked.insert(call, receive.clone());
                }
                self.oracle.committed(self.world.disk(), policy().agent.max_failures)?;
                self.oracle.same(self.world.disk(), self.world.rows())?;
                // The answer is lost on its way: nobody learns what became of the command.
                if luck < 12 { Ok(()) } else { self.hear(&command, newest, outcome) }
            }
        }
    }

    fn crash(&mut self, command: Command, crash: Crash) -> Result<(), Violation> {
        let _ = writeln!(self.trace, "{crash:?}");
        let closes = matches!(command, Command::CloseSession(_));
        self.world.crash_in(command, crash);
        self.parked.clear();
        if closes {
            self.forget_closed();
        }
        self.oracle.committed(self.world.disk(), policy().agent.max_failures)
    }

    fn hear(
        &mut self,
        command: &Command,
        newest: Option<Lease>,
        outcome: StepOutcome,
    ) -> Result<(), Violation> {
        for (call, answer) in outcome.answers {
            let _ = writeln!(self.trace, "  {answer:?}");
            self.parked.remove(&call);
            match (answer, command) {
                (Answer::Published(Ok(published)), Command::Publish(publish)) => {
                    let scope = publish.idempotency.as_ref().map(|idempotency| IdempotencyScope {
                        from: publish.from.clone(),
                        to: publish.to.clone(),
                        key: idempotency.key.clone(),
                    });
                    self.oracle.published(self.world.disk(), published.message, scope)?;
                }
                (Answer::Received(Ok(received)), _) => {
                    self.last_answer = received.answer;
                    for granted in received.granted {
                        self.oracle.granted(granted.delivery, granted.lease)?;
                        self.held.push(Held {
                            delivery: granted.delivery,
                            message: granted.message,
                            lease: granted.lease,
                        });
                    }
                }
                (Answer::Settled(Ok(settled)), Command::Settle(settle)) => {
                    if let (false, Proof::Lease(delivery, lease)) = (settled.already_done, &settle.proof) {
                        self.oracle.settled(*delivery, *lease, newest)?;
                    }
                    if let Some(reply) = settled.reply.filter(|reply| !reply.duplicate) {
                        self.oracle.published(self.world.disk(), reply.message, None)?;
                    }
                }
                (Answer::Session(_), Command::CloseSession(_)) => self.forget_closed(),
                _ => {}
            }
        }
        Ok(())
    }

    /// A closed session is left alone, and another one begun in its place.
    fn forget_closed(&mut self) {
        let id = SessionId(self.next_id());
        let open = OpenSession { id, title: None, owner: name("anna") };
        self.world.tell(Command::OpenSession(open));
        self.sessions.push(id);
        let disk = self.world.disk();
        self.sessions.retain(|session| {
            let row = disk.get(&bridge_core::RowKey::Session(*session));
            row.is_some_and(|row| row.is_live())
        });
    }

    fn let_pass(&mut self) -> Result<(), Violation> {
        let time = match self.rng.below(10) {
            0 => Duration::from_secs(self.rng.below(90)),
            1..5 => Duration::from_secs(self.rng.below(12)),
            _ => Duration::from_millis(self.rng.below(2_000)),
        };
        let _ = writeln!(self.trace, "pass {time:?}");
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
            self.oracle.committed(self.world.disk(), policy().agent.max_failures)?;
            self.oracle.same(self.world.disk(), self.world.rows())?;
            self.hear(&Command::InspectSession(SessionId::DEFAULT), None, outcome)?;
        }
        Ok(())
    }

    /// Nobody sends any more, one consumer takes and settles everything, the reader reads: all must end.
    fn wind_up(&mut self) -> Result<(), Violation> {
        let _ = writeln!(self.trace, "wind up");
        for round in 0..400 {
            for session in self.sessions.clone() {
                let attempt_id = name(&format!("end-{round}-{session}"));
                let receive = Receive {
                    consumer: Consumer::named(name("anonymous"), name("last")),
                    mailbox: Address::Session(session, Side::Agent),
                    max: 10,
                    max_bytes: u64::MAX,
                    wait: Duration::ZERO,
                    lease: None,
                    attempt_id,
                    repeatable: false,
                };
                let before = self.held.len();
                self.calmly(&Command::Receive(receive))?;
                let taken: Vec<_> = self.held[before..].to_vec();
                for held in taken {
                    let proof = Proof::Lease(held.delivery, held.lease);
                    self.calmly(&Command::Settle(Settle { proof, outcome: Outcome::Ack }))?;
                }
                let head = self.world.disk().head();
                self.calmly(&Command::Read(Address::Session(session, Side::User), head))?;
            }
            self.live_through(Duration::from_secs(60))?;
            if self.world.disk().deliveries().all(|delivery| delivery.state.is_terminal()) {
                break;
            }
        }
        self.oracle.at_the_end(self.world.disk())
    }

    /// Gives a command to the world, without mishaps.
    fn calmly(&mut self, command: &Command) -> Result<(), Violation> {
        let newest = match command {
            Command::Settle(Settle { proof: Proof::Lease(delivery, _), .. }) => self.oracle.newest(*delivery),
            _ => None,
        };
        let (_, outcome) = self.world.tell(command.clone());
        self.oracle.committed(self.world.disk(), policy().agent.max_failures)?;
        self.hear(command, newest, outcome)
    }

    fn session(&mut self) -> SessionId {
        self.rng.pick(&self.sessions).copied().unwrap_or(SessionId::DEFAULT)
    }

    fn message_id(&mut self) -> MessageId {
        MessageId(self.next_id())
    }

    /// An id like a UUIDv7: its random part too is random.
    fn next_id(&mut self) -> u128 {
        self.ids += 1;
        self.ids << 64 | u128::from(self.rng.bits() >> 2)
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
