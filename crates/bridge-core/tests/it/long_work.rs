//! Work that takes more than one step goes on after a crash in the middle of it.

use std::time::Duration;

use bridge_core::{
    Address, Command, Headers, MessageId, Name, OpenSession, Policy, Priority, Publish, SessionId, Side,
    State,
};
use bridge_testkit::world::World;

const SESSION: SessionId = SessionId(1);
/// More than one step settles or gives up.
const MANY: u128 = 1_100;

#[test]
fn a_cursor_that_passed_very_much_settles_it_all_over_a_crash() {
    let mut world = filled(Side::User);
    world.tell(Command::Read(Address::Session(SESSION, Side::User), world.disk().head()));
    assert!(left(&world) > 0, "one step has done it all");
    world.reload();
    assert_eq!(world.next_timeout(), Some(world.now()));
    world.advance(Duration::ZERO);
    assert_eq!(left(&world), 0);
    assert!(world.disk().deliveries().all(|delivery| delivery.state == State::Done));
}

#[test]
fn a_conversation_that_is_closed_gives_up_everything_over_a_crash() {
    let mut world = filled(Side::Agent);
    world.tell(Command::CloseSession(SESSION));
    assert!(left(&world) > 0, "one step has done it all");
    world.reload();
    assert_eq!(world.next_timeout(), Some(world.now()));
    world.advance(Duration::ZERO);
    assert_eq!(left(&world), 0);
    assert!(world.disk().live().next().is_none(), "a mailbox is left");
}

/// A world with one conversation, and many messages on one side of it.
fn filled(side: Side) -> World {
    let mut world = World::new(Policy::default(), 1);
    let owner = Name::from_static("anna");
    world.tell(Command::OpenSession(OpenSession { id: SESSION, title: None, owner }));
    let publishes = (1..=MANY).map(|n| Command::Publish(message(n, side)));
    let requests = publishes.map(|publish| world.request(publish)).collect();
    let step = world.begin(requests);
    assert_eq!(world.commit(step).answers.len() as u128, MANY);
    world
}

fn left(world: &World) -> usize {
    world.disk().deliveries().filter(|delivery| !delivery.state.is_terminal()).count()
}

fn message(n: u128, side: Side) -> Publish {
    Publish {
        id: MessageId(n << 64),
        from: Name::from_static("anna"),
        verified: false,
        to: Address::Session(SESSION, side),
        kind: Name::from_static("message"),
        priority: Priority::NORMAL,
        payload: "hello".into(),
        key: None,
        reply_to: None,
        correlation_id: None,
        headers: Headers::new(),
        delay: Duration::ZERO,
        ttl: None,
        idempotency: None,
    }
}
