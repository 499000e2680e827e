//! What deciding costs, without a store: a publish, and a receive with its acknowledgement, with little and with much waiting; and
//! other rules for a mailbox in which much waits.

use std::{cell::RefCell, time::Duration};

use bridge_core::{
    Address, Answer, Backoff, CallId, Command, Consumer, Effect, Limits, MessageId, Name, OpenSession,
    Outcome, Policy, Proof, Publish, Receive, Request, SessionId, SetMailbox, Settle, Shard, Side, Step,
    Timestamp,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const SESSION: SessionId = SessionId(1);
const NOW: Timestamp = Timestamp::from_millis(1_000);

struct Driver {
    shard: Shard,
    published: u32,
    acked: u32,
}

impl Driver {
    fn new(waiting: u32) -> Self {
        let policy = Policy {
            agent: Limits { max_pending: u32::MAX, max_pending_bytes: u64::MAX, ..Limits::AGENT },
            ..Policy::default()
        };
        let mut driver = Self { shard: Shard::new(policy, 1, 7), published: 0, acked: 0 };
        let owner = Name::from_static("anna");
        driver.tell(Command::OpenSession(OpenSession { id: SESSION, title: None, owner }));
        for _ in 0..waiting {
            driver.publish();
        }
        driver
    }

    fn tell(&mut self, command: Command) -> Step {
        for key in self.shard.missing(&command) {
            self.shard.supply(key, None);
        }
        let mut step = Step::new();
        self.shard.handle_timeout(NOW, &mut step);
        self.shard.handle(Request { call: CallId(0), command }, NOW, &mut step);
        step
    }

    fn publish(&mut self) -> Step {
        self.published += 1;
        let publish = Publish::new(
            MessageId(u128::from(self.published) << 64),
            Name::from_static("anna"),
            Address::Session(SESSION, Side::Agent),
            bytes::Bytes::from_static(&[b'x'; 256]),
        );
        self.tell(Command::Publish(publish))
    }

    fn receive(&mut self, mailbox: Address) -> Proof {
        let name = Name::from_static("agent");
        let receive = Receive {
            consumer: Consumer::named(name.clone(), name.clone()),
            mailboxes: vec![mailbox],
            types: Vec::new(),
            max: 1,
            max_bytes: u64::MAX,
            wait: Duration::ZERO,
            linger: Duration::ZERO,
            lease: None,
            attempt_id: name,
            repeatable: false,
        };
        match self.tell(Command::Receive(receive)).effects.pop() {
            Some(Effect::Answer(_, Answer::Received(Ok(received)))) => {
                Proof::Lease(received.granted[0].delivery, received.granted[0].lease)
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn receive_ack(&mut self) -> Step {
        let proof = self.receive(Address::Session(SESSION, Side::Agent));
        self.acked += 1;
        self.tell(Command::Settle(Settle { proof, outcome: Outcome::Ack }))
    }

    /// Deliveries that wait.
    fn waiting(&self) -> u32 {
        self.published - self.acked
    }
}

/// Deliveries that wait all the time.
const WAITING: [(&str, u32); 3] = [("", 0), ("_at_10k", 10_000), ("_at_1m", 1_000_000)];

fn shard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(1));
    for (at, waiting) in WAITING {
        let driver = RefCell::new(Driver::new(waiting));
        // What is set up for an iteration is not measured, and leaves as much waiting as there was.
        group.bench_function(format!("publish{at}"), |bencher| {
            let room = || {
                let mut driver = driver.borrow_mut();
                if driver.waiting() > waiting {
                    driver.receive_ack();
                }
            };
            bencher.iter_batched(room, |()| driver.borrow_mut().publish(), BatchSize::SmallInput);
        });
        group.bench_function(format!("receive_ack{at}"), |bencher| {
            let publish = || drop(driver.borrow_mut().publish());
            bencher.iter_batched(publish, |()| driver.borrow_mut().receive_ack(), BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// Changes whether what is in back-off lets pass what is behind it, with all messages of one key, of a key each,
/// and of none; and with all of them in back-off.
fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    group.sample_size(10);
    for (at, waiting) in [("_at_100k", 100_000_u32), ("_at_1m", 1_000_000)] {
        for (what, to) in [
            ("one_key", "worker"),
            ("own_keys", "worker"),
            ("no_key", "group:workers"),
            ("in_back_off", "worker"),
        ] {
            let mut driver = Driver::new(0);
            let to: Address = to.parse().expect("an address");
            for n in 1..=waiting {
                let publish = Publish::new(
                    MessageId(u128::from(n) << 64),
                    Name::from_static("anna"),
                    to.clone(),
                    bytes::Bytes::from_static(b"x"),
                );
                let own = matches!(what, "own_keys" | "in_back_off");
                let key = own.then(|| Name::new(&n.to_string()).expect("a short name"));
                driver.tell(Command::Publish(Publish { key, ..publish }));
                if what == "in_back_off" {
                    let proof = driver.receive(to.clone());
                    let outcome = Outcome::Nack { delay: Some(Duration::from_secs(3_600)), error: None };
                    driver.tell(Command::Settle(Settle { proof, outcome }));
                }
            }
            let mut wishes = [Backoff::Skips, Backoff::Blocks].into_iter().cycle();
            group.bench_function(format!("{what}{at}"), |bencher| {
                bencher.iter(|| {
                    let backoff = wishes.next();
                    driver.tell(Command::SetMailbox(SetMailbox { backoff, ..SetMailbox::new(to.clone()) }))
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = shard, rules
}
criterion_main!(benches);
