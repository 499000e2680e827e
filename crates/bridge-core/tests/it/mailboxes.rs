//! Mailboxes of their own, at limits that a script does not meet.

use std::time::Duration;

use bridge_core::{
    Address, Answer, Blocked, Class, Command, Consumer, DeliveryId, EventKind, Limits, MessageId, Name,
    OpenSession, Policy, Publish, Purge, Receive, ReceiveError, SessionId, SetMailbox, Side, State,
};
use bridge_testkit::world::{Outcome, World};

fn name(text: &'static str) -> Name {
    Name::from_static(text)
}

fn address(text: &str) -> Address {
    text.parse().expect("a test names an address")
}

fn receive(mailboxes: &[&str], attempt: &'static str) -> Receive {
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

fn publish(id: u128, from: &'static str, to: &str) -> Publish {
    Publish::new(MessageId(id << 64), name(from), address(to), "x")
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

#[test]
fn the_log_tells_once_who_has_paused_a_mailbox_and_when_it_goes_on() {
    let mut world = World::new(Policy::default(), 1);
    let talk = Address::Session(SessionId(7), Side::Agent);
    world.tell(Command::OpenSession(OpenSession { id: SessionId(7), title: None, owner: name("anna") }));
    world.tell(Command::SetMailbox(SetMailbox::new(address("worker"))));
    for mailbox in [talk, address("worker")] {
        let mut told = |command| {
            let (_, Outcome { events, .. }) = tell(&mut world, command);
            events.into_iter().map(|event| (event.session, event.kind)).collect::<Vec<_>>()
        };
        let session = mailbox.session();
        let pause = |by| Command::PauseMailbox(mailbox.clone(), name(by));
        let paused = EventKind::MailboxPaused { mailbox: mailbox.clone(), by: name("anna") };
        assert_eq!(told(pause("anna")), [(session, paused)]);
        assert_eq!(told(pause("bob")), []);
        let resumed = EventKind::MailboxResumed { mailbox: mailbox.clone() };
        assert_eq!(told(Command::ResumeMailbox(mailbox.clone())), [(session, resumed)]);
        assert_eq!(told(Command::ResumeMailbox(mailbox.clone())), []);
    }
}

#[test]
fn who_waits_for_credit_is_served_when_its_mailbox_gives_more() {
    let page = Limits { credit: 1, ..Limits::BROWSER };
    let mut world = World::new(Policy { browser: page, ..Policy::default() }, 1);
    let set =
        |class| Command::SetMailbox(SetMailbox { class: Some(class), ..SetMailbox::new(address("page")) });
    world.tell(set(Class::Browser));
    world.tell(Command::Publish(publish(1, "anna", "page")));
    world.tell(Command::Publish(publish(2, "bob", "page")));
    world.tell(Command::Receive(receive(&["page"], "t1")));
    let waiting = Receive { wait: Duration::from_secs(20), ..receive(&["page"], "t2") };
    let (call, outcome) = world.tell(Command::Receive(waiting));
    assert_eq!(outcome.answer(call), None);
    let (_, outcome) = tell(&mut world, set(Class::Webhook));
    let Some(Answer::Received(Ok(received))) = outcome.answer(call) else { panic!("{outcome:?}") };
    assert_eq!(received.granted.len(), 1);
}

#[test]
fn what_was_purged_does_not_expire_before_it_is_withdrawn() {
    let mut world = World::new(Policy { max_rows: 2, ..Policy::default() }, 1);
    for id in 1..=4 {
        let ttl = Some(Duration::from_secs(10));
        world.tell(Command::Publish(Publish { ttl, ..publish(id, "anna", "worker") }));
    }
    world.tell(Command::PurgeMailbox(address("worker"), Purge::Do));
    world.pass(Duration::from_secs(11));
    world.advance(Duration::ZERO);
    let states: Vec<_> = world.disk().deliveries().map(|delivery| delivery.state).collect();
    assert_eq!(states, [State::Cancelled; 4]);
}

#[test]
fn a_receive_waits_for_more_no_longer_than_it_may_when_the_shard_is_late() {
    let mut world = World::new(Policy::default(), 1);
    let wait = Duration::from_secs(10);
    let waiting = Receive { wait, linger: Duration::from_secs(5), ..receive(&["worker"], "t1") };
    let (call, _) = world.tell(Command::Receive(waiting));
    let delay = Duration::from_secs(9);
    world.tell(Command::Publish(Publish { delay, ..publish(1, "anna", "worker") }));
    world.pass(Duration::from_secs(60));
    let outcome = world.advance(Duration::ZERO);
    let Some(Answer::Received(Ok(received))) = outcome.answer(call) else { panic!("{outcome:?}") };
    assert_eq!(received.granted.len(), 1);
}

#[test]
fn credit_counts_of_those_alone_who_want_the_message() {
    let program = Limits { credit: 1, ..Limits::SERVICE };
    let mut world = World::new(Policy { service: program, ..Policy::default() }, 1);
    world.tell(Command::Publish(publish(1, "anna", "worker")));
    world.tell(Command::Publish(publish(2, "bob", "worker")));
    world.tell(Command::Receive(receive(&["worker"], "t1")));
    let wait = Duration::from_secs(20);
    world.tell(Command::Receive(Receive { wait, ..receive(&["worker"], "t2") }));
    let other = Consumer::named(name("anonymous"), name("other"));
    let types = vec![name("log")];
    world.tell(Command::Receive(Receive { wait, types, consumer: other, ..receive(&["worker"], "t3") }));
    let (answer, _) = tell(&mut world, Command::Why(DeliveryId::of(MessageId(2 << 64), 0)));
    let Some(Answer::Why(Ok(why))) = answer else { panic!("{answer:?}") };
    assert_eq!(why.reason, Blocked::NoCredit);
}

#[test]
fn what_is_given_another_time_is_still_found_by_its_type() {
    let mut world = World::new(Policy::default(), 1);
    let resize = Receive { types: vec![name("resize")], ..receive(&["jobs"], "t1") };
    tell(&mut world, Command::Receive(resize.clone()));
    world.tell(Command::Publish(publish(1, "app", "other")));
    world.tell(Command::Publish(Publish { kind: name("resize"), ..publish(2, "app", "jobs") }));
    world.tell(Command::SetTtl(MessageId(2 << 64), Duration::from_secs(60)));
    let (answer, _) = tell(&mut world, Command::Receive(Receive { attempt_id: name("t2"), ..resize }));
    let Some(Answer::Received(Ok(received))) = answer else { panic!("{answer:?}") };
    assert_eq!(received.granted.len(), 1);
}
