//! Much at once: work of several steps goes on after a crash in the middle of it, and a command may name more rows than
//! memory keeps.

use std::time::Duration;

use bridge_core::{
    Address, Command, Idempotency, MessageId, Name, OpenSession, Policy, Publish, Row, SessionId, Side, State,
};
use bridge_testkit::world::World;

const SESSION: SessionId = SessionId(1);
/// More than one step settles or gives up.
const MANY: u128 = 1_100;

#[test]
fn a_cursor_that_passed_very_much_settles_it_all_over_a_crash() {
    let mut world = filled(Side::User);
    world.tell(Command::Read(SESSION, world.disk().head()));
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

#[test]
fn a_command_may_name_more_rows_than_are_kept() {
    let mut world = World::new(Policy { max_cold: 2, ..Policy::default() }, 1);
    let owner = Name::from_static("anna");
    world.tell(Command::OpenSession(OpenSession { id: SESSION, title: None, owner }));
    for n in 1..=5 {
        let key = Name::new(&format!("key-{n}")).unwrap();
        let idempotency = Some(Idempotency { key, fingerprint: [0; 32] });
        world.tell(Command::Publish(Publish { idempotency, ..message(n, Side::User) }));
    }
    world.advance(Policy::default().idempotency);
    let records = world.disk().rows().filter_map(|row| match row {
        Row::Idempotency(record) => Some(record.clone()),
        _ => None,
    });
    let forget = Command::Forget(records.collect());
    // Some of the rows are known and forgotten as the others are fetched; what is asked for then is the last of it.
    let mut requests = vec![world.request(forget)];
    for _ in 0..2 {
        let step = world.begin(requests);
        requests = world.commit(step).unready;
    }
    assert_eq!(requests, [], "rows were forgotten that were just fetched");
    assert!(!world.disk().rows().any(|row| matches!(row, Row::Idempotency(_))));
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
    Publish::new(MessageId(n << 64), Name::from_static("anna"), Address::Session(SESSION, side), "hello")
}
