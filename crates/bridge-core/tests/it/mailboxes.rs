//! Mailboxes of their own, at limits that a script does not meet.

use std::time::Duration;

use bridge_core::{Address, Answer, Command, Consumer, Name, Policy, Receive, ReceiveError};
use bridge_testkit::world::{Outcome, World};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn receive(mailboxes: &[&str], attempt: &str) -> Receive {
    Receive {
        consumer: Consumer::named(name("anonymous"), name("taker")),
        mailboxes: mailboxes.iter().map(|mailbox| address(mailbox)).collect(),
        types: Vec::new(),
        max: 10,
        max_bytes: u64::MAX,
        wait: Duration::ZERO,
        linger: Duration::ZERO,
        lease: None,
        attempt_id: name(attempt),
        repeatable: true,
    }
}

/// What came of a command, and its answer.
fn tell(world: &mut World, command: Command) -> (Option<Answer>, Outcome) {
    let (call, outcome) = world.tell(command);
    (outcome.answer(call).cloned(), outcome)
}

#[test]
fn a_receive_that_is_refused_makes_no_mailbox() {
    let mut world = World::new(Policy { max_mailboxes: 1, ..Policy::default() }, 1);
    let (answer, outcome) = tell(&mut world, Command::Receive(receive(&["one", "two"], "t1")));
    assert_eq!(answer, Some(Answer::Received(Err(ReceiveError::TooManyMailboxes { limit: 1 }))));
    assert!(outcome.replaced.is_empty(), "{outcome:?}");
}
