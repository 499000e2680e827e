//! Clients that do anything a client can do, also what they should not.

use std::time::Duration;

use bridge_core::{
    Address, Advance, Answer, CallId, Command, Consumer, DeliveryId, Headers, Idempotency, IdempotencyRecord,
    Lease, LostAnswer, MessageId, Name, OpenSession, OpenTask, Outcome, Priority, Proof, Publish, Receive,
    Received, Reply, Row, RowKey, Seq, SessionId, Settle, Side, TaskId,
};

use super::{mailboxes, retention};
use crate::{disk::Disk, rng::Rng, world::World};

/// What the clients know, all together.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Whether all of them meet at one mailbox, over one key: what takes several at once to go wrong hardly ever does where
    /// they are spread.
    narrow: bool,
    ids: u128,
    pub(super) sessions: Vec<SessionId>,
    messages: Vec<MessageId>,
    /// Every lease any client was ever given: old tokens are tried too.
    pub(super) held: Vec<Held>,
    /// Requests with keys, to be repeated.
    keyed: Vec<Publish>,
    /// Attempts to be repeated.
    attempts: Vec<Receive>,
    /// Settlements to be repeated.
    settled: Vec<Settle>,
    tasks: Vec<(TaskId, Address, Consumer)>,
    /// Where readers believe to stand.
    places: Vec<Advance>,
    /// Answers that told of leases.
    answers: Vec<LostAnswer>,
}

/// A lease as a client remembers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) delivery: DeliveryId,
    message: MessageId,
    pub(super) lease: Lease,
}

impl Clients {
    /// In every tenth seed they meet at one mailbox.
    pub(super) fn of(seed: u64) -> Self {
        Self { narrow: seed % 10 == 9, ..Self::default() }
    }

    /// What clients might do next; together what one of them sends in one go.
    pub(super) fn invent(&mut self, rng: &mut Rng, world: &World, parked: &[CallId]) -> Vec<Command> {
        let disk = world.disk();
        let command = match rng.below(1_150) {
            0..180 => self.publish(rng),
            180..230 => self.publish_again(rng),
            230..400 => self.receive(rng),
            400..440 => match rng.pick(&self.attempts).cloned() {
                Some(again) => Command::Receive(again),
                None => self.receive(rng),
            },
            440..630 => self.settle(rng),
            630..660 => match rng.pick(&self.settled).cloned() {
                Some(again) => Command::Settle(again),
                None => self.settle(rng),
            },
            660..690 => return (0..2 + rng.below(4)).map(|_| self.settle(rng)).collect(),
            690..710 => return self.burst(rng),
            710..740 => match rng.pick(&self.messages).copied() {
                Some(message) => Command::Cancel(life_of(message, rng, disk)),
                None => self.publish(rng),
            },
            740..780 => match rng.pick(&self.messages).copied() {
                Some(message) => {
                    let ttl = rng.chance(30).then_some(Duration::from_secs(20));
                    Command::Redrive(life_of(message, rng, disk), ttl)
                }
                None => self.publish(rng),
            },
            780..830 => {
                let head = disk.head().0;
                let from = if rng.chance(50) { head } else { 0 };
                Command::Read(self.session(rng), Seq(from.max(rng.below(head + 2))))
            }
            830..855 => self.advance(rng, disk),
            855..875 => self.lose(rng),
            875..895 => match rng.pick(parked).copied() {
                Some(call) => Command::Unpark(call),
                None => self.receive(rng),
            },
            895..935 => self.task(rng),
            935..950 => match rng.pick(&self.messages).copied() {
                Some(message) => Command::Inspect(message),
                None => self.publish(rng),
            },
            950..965 => Command::InspectSession(self.session(rng)),
            965..972 => Command::RenameSession(self.session(rng), Some("a title".into())),
            972..976 => Command::CloseSession(self.session(rng)),
            976..980 => Command::CloseIdleSession(self.session(rng), world.now()),
            980..988 => self.open(rng),
            988..1_000 => Command::Forget(forgettable(world)),
            1_000..1_060 if self.narrow => mailboxes::manage_narrow(rng),
            1_000..1_060 => mailboxes::manage(rng, world),
            1_060..1_080 => return self.give_time(rng, disk),
            1_100..1_150 => retention::clean(rng, world),
            _ => match rng.pick(&self.messages).copied() {
                Some(message) => Command::Why(life_of(message, rng, disk)),
                None => self.publish(rng),
            },
        };
        vec![command]
    }

    /// Learns from an answer.
    pub(super) fn learn(&mut self, command: &Command, answer: &Answer) {
        match (command, answer) {
            (_, Answer::Received(Ok(received))) => {
                if let Command::Receive(receive) = command {
                    self.answers.push(lost_answer(receive, received));
                    self.answers.pop_if(|answer| answer.leases.is_empty());
                }
                for granted in &received.granted {
                    let (delivery, message, lease) = (granted.delivery, granted.message, granted.lease);
                    self.held.push(Held { delivery, message, lease });
                }
            }
            (Command::Advance(advance), Answer::Advanced(Ok(place))) => {
                self.places.push(Advance { from: *place, ..advance.clone() });
            }
            _ => {}
        }
    }

    /// Begins a conversation, or one that was closed once more.
    pub(super) fn open(&mut self, rng: &mut Rng) -> Command {
        let again = rng.pick(&self.sessions).copied().filter(|_| rng.chance(40));
        let id = again.unwrap_or_else(|| {
            let id = SessionId(self.next_id(rng));
            self.sessions.push(id);
            id
        });
        Command::OpenSession(OpenSession { id, title: None, owner: name("anna") })
    }

    /// Whether it is time to begin another conversation.
    pub(super) fn few_open(&self, world: &World) -> bool {
        let open = world.disk().rows().filter(|row| matches!(row, Row::Session(_)) && row.is_live());
        open.count() < 2
    }

    fn publish(&mut self, rng: &mut Rng) -> Command {
        let side = if rng.chance(75) { Side::Agent } else { Side::User };
        let to = self.own_or(side, rng);
        Command::Publish(self.message(rng, to))
    }

    /// A mailbox of its own, or this side of a conversation.
    fn own_or(&self, side: Side, rng: &mut Rng) -> Address {
        if self.narrow {
            mailboxes::narrow()
        } else if rng.chance(50) {
            mailboxes::address(rng)
        } else {
            Address::Session(self.session(rng), side)
        }
    }

    fn message(&mut self, rng: &mut Rng, to: Address) -> Publish {
        let id = self.message_id(rng);
        self.messages.push(id);
        let idempotency = rng.chance(40).then(|| {
            let key = name(&format!("key-{}", rng.below(1_000)));
            Idempotency { key, fingerprint: [u8::from(to.is_work()); 32] }
        });
        let priority = if rng.chance(80) { 5 } else { 1 + u8::try_from(rng.below(9)).unwrap_or(0) };
        let is_own = to.session().is_none();
        let publish = Publish {
            id,
            from: if is_own && !self.narrow { mailboxes::sender(rng) } else { name("anna") },
            verified: false,
            to,
            kind: name(if rng.chance(70) { "message" } else { "command" }),
            priority: Priority::new(priority).unwrap_or_default(),
            payload: vec![b'x'; usize::try_from(rng.below(50)).unwrap_or(1)].into(),
            key: (!self.narrow && rng.chance(20)).then(|| name("other")),
            reply_to: None,
            correlation_id: None,
            headers: Headers::new(),
            delay: Duration::from_secs(if rng.chance(10) { rng.below(30) } else { 0 }),
            ttl: rng.chance(20).then(|| Duration::from_secs(1 + rng.below(60))),
            idempotency,
        };
        if publish.idempotency.is_some() {
            self.keyed.push(publish.clone());
        }
        publish
    }

    /// The same request again, now and then with other words under its key.
    fn publish_again(&mut self, rng: &mut Rng) -> Command {
        let Some(mut again) = rng.pick(&self.keyed).cloned() else { return self.publish(rng) };
        again.id = self.message_id(rng);
        if let Some(idempotency) = again.idempotency.as_mut().filter(|_| rng.chance(15)) {
            idempotency.fingerprint = [9; 32];
        }
        Command::Publish(again)
    }

    /// More messages than one step can work off, to the person or to whoever takes.
    fn burst(&mut self, rng: &mut Rng) -> Vec<Command> {
        let to = self.own_or(Side::User, rng);
        (0..4 + rng.below(8)).map(|_| Command::Publish(self.message(rng, to.clone()))).collect()
    }

    fn receive(&mut self, rng: &mut Rng) -> Command {
        let receive = self.wish(rng);
        self.attempts.push(receive.clone());
        Command::Receive(receive)
    }

    fn wish(&mut self, rng: &mut Rng) -> Receive {
        let attempt = name(&format!("att-{}", self.next_id(rng)));
        let consumer = match rng.below(4) {
            0 => Consumer::nameless(name("anonymous"), attempt.clone()),
            who => agent(who),
        };
        let length = if rng.chance(5) { 13 * 3600 } else { 1 + rng.below(20) };
        Receive {
            consumer,
            mailboxes: self.asked(rng),
            types: mailboxes::types(rng),
            max: 1 + u32::try_from(rng.below(4)).unwrap_or(0),
            max_bytes: if rng.chance(20) { 60 } else { u64::MAX },
            wait: Duration::from_secs(if rng.chance(40) { 1 + rng.below(30) } else { 0 }),
            linger: Duration::from_secs(if rng.chance(15) { 1 + rng.below(10) } else { 0 }),
            lease: rng.chance(50).then(|| Duration::from_secs(length)),
            attempt_id: attempt,
            repeatable: rng.chance(50),
        }
    }

    /// Another time to live for something, mostly for what is not over; and then somebody waits for what is of its type.
    fn give_time(&mut self, rng: &mut Rng, disk: &Disk) -> Vec<Command> {
        let any = rng.chance(10);
        let found: Vec<_> = disk.deliveries().filter(|delivery| any || delivery.is_live()).collect();
        let Some(delivery) = rng.pick(&found) else { return vec![self.publish(rng)] };
        let set = Command::SetTtl(delivery.message, Duration::from_secs(1 + rng.below(90)));
        let wait = Duration::from_secs(1 + rng.below(10));
        let (mailboxes, types) = (vec![delivery.mailbox.clone()], vec![delivery.kind.clone()]);
        let wish = Receive { mailboxes, types, wait, ..self.wish(rng) };
        vec![set, Command::Receive(wish)]
    }

    /// Mostly one mailbox; sometimes several, now and then one of them twice or more than may be.
    fn asked(&self, rng: &mut Rng) -> Vec<Address> {
        let side = if rng.chance(97) { Side::Agent } else { Side::User };
        let count = if rng.chance(75) { 1 } else { 2 + rng.below(3) };
        (0..count).map(|_| self.own_or(side, rng)).collect()
    }

    fn settle(&mut self, rng: &mut Rng) -> Command {
        let Some(held) = self.recent(rng) else { return self.receive(rng) };
        let held = proof(held, rng);
        let pause = Duration::from_secs(if rng.chance(3) { 13 * 3600 } else { rng.below(20) });
        let outcome = match rng.below(12) {
            0..3 => Outcome::Ack,
            3..6 => {
                let covers = (0..rng.below(4)).filter_map(|_| Some(proof(self.recent(rng)?, rng)));
                let covers = covers.collect();
                let mut fingerprint = [0; 32];
                fingerprint[0] = u8::try_from(rng.below(3)).unwrap_or(0);
                let reply = Reply {
                    id: self.message_id(rng),
                    from: None,
                    verified: false,
                    kind: name("answer"),
                    payload: vec![b'y'; 3].into(),
                    headers: Headers::new(),
                    fingerprint,
                };
                Outcome::Answer { reply, covers }
            }
            6..8 => {
                let progress = rng.chance(50).then(|| "reading".into());
                Outcome::Extend { by: rng.chance(90).then_some(pause), progress }
            }
            8 => Outcome::Release { delay: if rng.chance(50) { pause } else { Duration::ZERO } },
            9..11 => Outcome::Nack { delay: rng.chance(50).then_some(pause), error: Some("no".into()) },
            _ => Outcome::Reject { reason: None },
        };
        let settle = Settle { proof: held, outcome };
        self.settled.push(settle.clone());
        Command::Settle(settle)
    }

    fn advance(&mut self, rng: &mut Rng, disk: &Disk) -> Command {
        let to = Seq(rng.below(disk.head().0 + 1));
        let known = rng.pick(&self.places).cloned();
        let first = Advance {
            session: self.session(rng),
            reader: name(if rng.chance(50) { "tab" } else { "phone" }),
            from: Seq::ZERO,
            to,
        };
        Command::Advance(Advance { to, ..known.unwrap_or(first) })
    }

    /// Says that an answer was lost, whether or not it was.
    fn lose(&mut self, rng: &mut Rng) -> Command {
        let newest = self.answers.len().saturating_sub(4);
        let Some(lost) = rng.pick(&self.answers[newest..]).cloned() else {
            let repeatable = rng.chance(50);
            return Command::AnswerLost(LostAnswer { answer: 0, leases: Vec::new(), repeatable });
        };
        if rng.chance(30) {
            // Only what had no room in it.
            let leases = lost.leases[lost.leases.len().min(1)..].to_vec();
            return Command::AnswerLost(LostAnswer { leases, repeatable: false, ..lost });
        }
        // Once: it is heard of by who handed it over.
        self.answers.retain(|other| other.answer != lost.answer);
        Command::AnswerLost(lost)
    }

    /// Opens a task, looks at one, takes what has come for it, or calls it off.
    fn task(&mut self, rng: &mut Rng) -> Command {
        match rng.pick(&self.tasks).cloned().filter(|_| rng.chance(70)) {
            None => {
                let id = TaskId(self.next_id(rng));
                let side = if rng.chance(90) { Side::Agent } else { Side::User };
                let (mailbox, consumer) = (self.own_or(side, rng), agent(1 + rng.below(3)));
                self.tasks.push((id, mailbox.clone(), consumer.clone()));
                let ttl = Duration::from_secs(if rng.chance(20) { 7_200 } else { 1 + rng.below(60) });
                Command::OpenTask(OpenTask { id, mailbox, consumer, ttl })
            }
            Some((id, mailbox, consumer)) => match rng.below(10) {
                0..3 => Command::InspectTask(id),
                3..5 => Command::CancelTask(id),
                _ => Command::Receive(Receive {
                    consumer,
                    mailboxes: vec![mailbox],
                    types: Vec::new(),
                    max: 2,
                    max_bytes: u64::MAX,
                    wait: Duration::ZERO,
                    linger: Duration::ZERO,
                    lease: None,
                    attempt_id: name(&id.to_string()),
                    repeatable: true,
                }),
            },
        }
    }

    /// A lease some client remembers: rather a new one than an old one.
    fn recent(&self, rng: &mut Rng) -> Option<Held> {
        let newest = self.held.len().saturating_sub(6);
        let from = if rng.chance(70) { newest } else { 0 };
        rng.pick(&self.held[from..]).copied()
    }

    /// Rather a young conversation than an old one, which may be closed.
    fn session(&self, rng: &mut Rng) -> SessionId {
        let newest = self.sessions.len().saturating_sub(3);
        let from = if rng.chance(90) { newest } else { 0 };
        rng.pick(&self.sessions[from..]).copied().unwrap_or(SessionId::DEFAULT)
    }

    fn message_id(&mut self, rng: &mut Rng) -> MessageId {
        MessageId(self.next_id(rng))
    }

    /// An id like a UUIDv7: its random part too is random.
    fn next_id(&mut self, rng: &mut Rng) -> u128 {
        self.ids += 1;
        self.ids << 64 | u128::from(rng.bits() >> 2)
    }
}

/// What is said when the answer to a receive could not be handed over.
pub(super) fn lost_answer(receive: &Receive, received: &Received) -> LostAnswer {
    let told = received.granted.iter().chain(&received.held);
    let leases = told.map(|granted| (granted.delivery, granted.lease)).collect();
    let repeatable = receive.repeatable || receive.consumer.named;
    LostAnswer { answer: received.answer, leases, repeatable }
}

/// The lease itself, or only the message and who says it.
fn proof(held: Held, rng: &mut Rng) -> Proof {
    if rng.chance(10) {
        Proof::Message(held.message, agent(1 + rng.below(3)))
    } else {
        Proof::Lease(held.delivery, held.lease)
    }
}

/// One of the lives of a message.
fn life_of(message: MessageId, rng: &mut Rng, disk: &Disk) -> DeliveryId {
    let mut delivery = DeliveryId::of(message, 0);
    while let Some(Row::Delivery(row)) = disk.look(&RowKey::Delivery(delivery))
        && let Some(successor) = row.redriven_as
        && rng.chance(80)
    {
        delivery = successor;
    }
    delivery
}

/// The remembered publishes whose time is over, as whoever cleans up finds them.
fn forgettable(world: &World) -> Vec<IdempotencyRecord> {
    let rows = world.disk().rows();
    rows.filter_map(|row| match row {
        Row::Idempotency(record) if record.expires_at <= world.now() => Some(record.clone()),
        _ => None,
    })
    .take(5)
    .collect()
}

fn agent(who: u64) -> Consumer {
    Consumer::named(name("anonymous"), name(&format!("agent-{who}")))
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
