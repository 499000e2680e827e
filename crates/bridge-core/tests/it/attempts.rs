//! What a delivery remembers of the attempts that ended without settling it.

use std::time::Duration;

use bridge_core::{
    Address, Attempt, Command, Consumer, DeliveryId, MessageId, Name, OpenSession, Outcome, Policy, Proof,
    Publish, Receive, ReturnReason, Row, RowKey, SessionId, Settle, Side,
};
use bridge_testkit::world::World;

const MESSAGE: MessageId = MessageId(1 << 64);
const MAILBOX: Address = Address::Session(SessionId(1), Side::Agent);

#[test]
fn each_attempt_is_remembered_with_who_had_it_and_how_it_ended() {
    let mut world = asked(Policy::default());
    settle(&mut world, Outcome::Nack { delay: None, error: Some("no disk".into()) });
    settle(&mut world, Outcome::Release { delay: Duration::ZERO });
    take(&mut world);
    world.advance(Policy::default().agent.lease);
    let attempts = attempts(&world);
    let told: Vec<_> = attempts.iter().map(|it| (it.number, it.reason, it.error.as_deref())).collect();
    assert_eq!(
        told,
        [
            (1, ReturnReason::Nack, Some("no disk")),
            (2, ReturnReason::Release, None),
            (3, ReturnReason::Timeout, None)
        ]
    );
    assert!(attempts.iter().all(|attempt| attempt.consumer.as_str() == "worker"));
    assert!(attempts.windows(2).all(|pair| pair[0].ended <= pair[1].started));
    assert!(attempts.windows(2).all(|pair| pair[0].lease < pair[1].lease));
    assert_eq!(attempts[2].ended, attempts[2].started + Policy::default().agent.lease);
}

#[test]
fn of_very_many_attempts_the_newest_are_remembered() {
    let mut world = asked(Policy { kept_attempts: 3, ..Policy::default() });
    for _ in 0..10 {
        settle(&mut world, Outcome::Release { delay: Duration::ZERO });
    }
    let numbers: Vec<_> = attempts(&world).iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [8, 9, 10]);
}

/// A world in which a question waits for its agent.
fn asked(policy: Policy) -> World {
    let mut world = World::new(policy, 1);
    let owner = Name::from_static("anna");
    world.tell(Command::OpenSession(OpenSession { id: SessionId(1), title: None, owner: owner.clone() }));
    world.tell(Command::Publish(Publish::new(MESSAGE, owner, MAILBOX, "hello")));
    world
}

/// Waits out the back-off and takes the question.
fn take(world: &mut World) {
    world.advance(Policy::default().agent.retry.pause(u32::MAX));
    world.tell(Command::Receive(Receive {
        consumer: consumer(),
        mailboxes: vec![MAILBOX],
        types: Vec::new(),
        max: 1,
        max_bytes: u64::MAX,
        attempt_id: Name::from_static("attempt"),
        wait: Duration::ZERO,
        linger: Duration::ZERO,
        lease: None,
        repeatable: false,
    }));
}

fn settle(world: &mut World, outcome: Outcome) {
    take(world);
    world.tell(Command::Settle(Settle { proof: Proof::Message(MESSAGE, consumer()), outcome }));
}

fn consumer() -> Consumer {
    Consumer::named(Name::from_static("agent"), Name::from_static("worker"))
}

fn attempts(world: &World) -> Vec<Attempt> {
    match world.disk().get(&RowKey::Delivery(DeliveryId::of(MESSAGE, 0))) {
        Some(Row::Delivery(delivery)) => delivery.attempts.clone(),
        other => panic!("{other:?} is no delivery"),
    }
}
