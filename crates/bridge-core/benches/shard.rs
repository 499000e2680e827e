//! What deciding costs, without a store: a publish, a receive and a settle, with little and with much waiting.

use std::{hint::black_box, time::Duration};

use bridge_core::{
    Address, Answer, CallId, Command, Consumer, Effect, Limits, MessageId, Name, OpenSession, Outcome,
    Policy, Proof, Publish, Receive, Request, SessionId, Settle, Shard, Side, Step, Timestamp,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const SESSION: SessionId = SessionId(1);
const NOW: Timestamp = Timestamp::from_millis(1_000);

struct Driver {
    shard: Shard,
    ids: u128,
}

impl Driver {
    fn new(backlog: u32) -> Self {
        let policy = Policy {
            agent: Limits { max_pending: u32::MAX, max_pending_bytes: u64::MAX, ..Limits::AGENT },
            ..Policy::default()
        };
        let mut driver = Self { shard: Shard::new(policy, 1, 7), ids: 0 };
        let owner = Name::from_static("anna");
        driver.tell(Command::OpenSession(OpenSession { id: SESSION, title: None, owner }));
        for _ in 0..backlog {
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
        self.ids += 1;
        let publish = Publish::new(
            MessageId(self.ids << 64),
            Name::from_static("anna"),
            Address::Session(SESSION, Side::Agent),
            bytes::Bytes::from_static(&[b'x'; 256]),
        );
        self.tell(Command::Publish(publish))
    }

    fn receive(&mut self) -> Proof {
        let name = Name::from_static("agent");
        let receive = Receive {
            consumer: Consumer::named(name.clone(), name.clone()),
            mailboxes: vec![Address::Session(SESSION, Side::Agent)],
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

    fn ack(&mut self, proof: Proof) -> Step {
        self.tell(Command::Settle(Settle { proof, outcome: Outcome::Ack }))
    }
}

fn shard(criterion: &mut Criterion) {
    for (name, backlog) in [("empty", 0), ("10k", 10_000)] {
        let mut driver = Driver::new(backlog);
        criterion.bench_function(&format!("shard/publish/{name}"), |bencher| {
            bencher.iter(|| black_box(driver.publish()));
        });
        let mut driver = Driver::new(backlog);
        criterion.bench_function(&format!("shard/publish_receive_ack/{name}"), |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    driver.publish();
                    let proof = driver.receive();
                    black_box(driver.ack(proof))
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, shard);
criterion_main!(benches);
