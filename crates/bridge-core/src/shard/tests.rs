//! How much is looked at: it grows with what waits, not with its square.

use alloc::{format, vec, vec::Vec};
use core::time::Duration;

use super::*;
use crate::{
    Backoff, Class, Limits, Purge, SetMailbox,
    message::Priority,
    publish::Publish,
    receive::{Granted, Receive},
    settle::{Outcome, Proof, Settle},
};

const BEGIN: Timestamp = Timestamp::from_millis(1_000);
const MANY: u128 = 2_000;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn message(n: u128, to: &str) -> Publish {
    Publish::new(MessageId(n << 64), name("anna"), address(to), "x")
}

fn receive(call: u64, mailbox: &str) -> Receive {
    Receive {
        consumer: Consumer::named(name("anonymous"), name("taker")),
        mailboxes: vec![address(mailbox)],
        types: Vec::new(),
        max: 1,
        max_bytes: u64::MAX,
        wait: Duration::ZERO,
        linger: Duration::ZERO,
        lease: None,
        attempt_id: name(&format!("attempt-{call}")),
        repeatable: false,
    }
}

/// Handles a command; gives what came of it.
fn tell(shard: &mut Shard, call: u64, command: Command, now: Timestamp) -> Vec<Effect> {
    let mut step = Step::new();
    shard.handle(Request { call: CallId(call), command }, now, &mut step);
    step.effects
}

fn take(shard: &mut Shard, call: u64, receive: Receive, now: Timestamp) -> Vec<Granted> {
    match tell(shard, call, Command::Receive(receive), now).pop() {
        Some(Effect::Answer(_, Answer::Received(Ok(received)))) => received.granted,
        other => panic!("{other:?}"),
    }
}

/// A shard in which many messages wait for ten seconds, all of one key or of none.
fn filled(mailbox: &str) -> Shard {
    let mut shard = Shard::new(Policy::default(), 1, 7);
    for n in 1..=MANY {
        let publish = Publish { ttl: Some(Duration::from_secs(10)), ..message(n, mailbox) };
        tell(&mut shard, 0, Command::Publish(publish), BEGIN);
    }
    shard.deliveries.looks.set(0);
    shard
}

fn assert_few_looks(shard: &Shard) {
    let looks = shard.deliveries.looks.get();
    assert!(looks <= 8 * MANY as usize, "{looks} looks at {MANY} deliveries");
}

/// Lets everything happen that is due.
fn settle_down(shard: &mut Shard, now: Timestamp) {
    while shard.next_timeout().is_some_and(|at| at <= now) {
        shard.handle_timeout(now, &mut Step::new());
    }
}

#[test]
fn what_expires_is_passed_once() {
    for mailbox in ["worker", "group:workers"] {
        let mut shard = filled(mailbox);
        tell(&mut shard, 0, Command::Publish(message(MANY + 1, mailbox)), BEGIN);
        let later = BEGIN + Duration::from_secs(20);
        // Somebody waits meanwhile, and wants something else.
        let types = vec![name("other")];
        let waiting = Receive { wait: Duration::from_secs(60), types, ..receive(1, mailbox) };
        tell(&mut shard, 1, Command::Receive(waiting), BEGIN);
        settle_down(&mut shard, later);
        assert_eq!(take(&mut shard, 2, receive(2, mailbox), later).len(), 1);
        assert_few_looks(&shard);
    }
}

#[test]
fn what_expires_behind_a_lease_is_passed_once() {
    let mut shard = Shard::new(Policy::default(), 1, 7);
    let agent = SetMailbox { class: Some(Class::Agent), ..SetMailbox::new(address("agent")) };
    tell(&mut shard, 0, Command::SetMailbox(agent), BEGIN);
    tell(&mut shard, 0, Command::Publish(message(MANY + 1, "agent")), BEGIN);
    assert_eq!(take(&mut shard, 1, receive(1, "agent"), BEGIN).len(), 1);
    for n in 1..=MANY {
        let publish = Publish { ttl: Some(Duration::from_secs(10)), ..message(n, "agent") };
        tell(&mut shard, 0, Command::Publish(publish), BEGIN);
    }
    shard.deliveries.looks.set(0);
    settle_down(&mut shard, BEGIN + Duration::from_secs(20));
    assert_few_looks(&shard);
}

#[test]
fn what_has_expired_is_passed_once_by_a_load() {
    for mailbox in ["worker", "group:workers"] {
        let shard = filled(mailbox);
        let later = BEGIN + Duration::from_secs(20);
        let head = shard.head;
        let mut loaded = Shard::new(Policy::default(), 2, 7).load(
            shard.rows().collect::<Vec<_>>(),
            Seq::ZERO,
            head,
            later,
        );
        assert_eq!(take(&mut loaded, 1, receive(1, mailbox), later), []);
        settle_down(&mut loaded, later);
        assert_few_looks(&loaded);
    }
}

#[test]
fn who_may_have_nothing_is_told_so_at_once() {
    let program = Limits { credit: 1, ..Limits::SERVICE };
    let mut shard = Shard::new(Policy { service: program, ..Policy::default() }, 1, 7);
    for n in 1..=MANY {
        let key = Some(name(&format!("key-{n}")));
        tell(&mut shard, 0, Command::Publish(Publish { key, ..message(n, "worker") }), BEGIN);
    }
    assert_eq!(take(&mut shard, 1, receive(1, "worker"), BEGIN).len(), 1);
    shard.deliveries.looks.set(0);
    // The eighth is the oldest, whoever asks.
    for granted in 1..=8 {
        shard.inboxes.values_mut().for_each(|inbox| inbox.lanes.granted = granted);
        assert_eq!(take(&mut shard, 2, receive(2, "worker"), BEGIN), []);
    }
    let waiting = Receive { wait: Duration::from_secs(60), ..receive(3, "worker") };
    tell(&mut shard, 3, Command::Receive(waiting), BEGIN);
    for n in MANY + 1..=MANY + 100 {
        tell(&mut shard, 0, Command::Publish(message(n, "worker")), BEGIN);
    }
    let looks = shard.deliveries.looks.get();
    assert!(looks <= 1_000, "{looks} looks for nothing");
    // What is critical comes to it all the same, the oldest first when it is its turn.
    for n in [1, 2] {
        let urgent = Publish { priority: Priority::CRITICAL, ..message(MANY + 200 + n, "worker") };
        let key = Some(name(&format!("urgent-{n}")));
        let told = tell(&mut shard, 0, Command::Publish(Publish { key, ..urgent }), BEGIN);
        assert_eq!(told.len(), 3 - n as usize, "{told:?}");
    }
    shard.inboxes.values_mut().for_each(|inbox| inbox.lanes.granted = 7);
    let granted = take(&mut shard, 4, receive(4, "worker"), BEGIN);
    assert_eq!(granted[0].message, MessageId((MANY + 202) << 64));
}

/// A mailbox that lets pass what is in back-off, with as many messages of one key as there are pauses: each was returned for its
/// pause, in seconds.
fn paused(policy: Policy, pauses: &[u64]) -> Shard {
    let mut shard = Shard::new(policy, 1, 7);
    let skips = SetMailbox { backoff: Some(Backoff::Skips), ..SetMailbox::new(address("worker")) };
    tell(&mut shard, 0, Command::SetMailbox(skips), BEGIN);
    for n in 1..=pauses.len() as u128 {
        tell(&mut shard, 0, Command::Publish(message(n, "worker")), BEGIN);
    }
    for pause in pauses {
        let granted = take(&mut shard, 1, receive(*pause, "worker"), BEGIN);
        let proof = Proof::Lease(granted[0].delivery, granted[0].lease);
        let outcome = Outcome::Nack { delay: Some(Duration::from_secs(*pause)), error: None };
        tell(&mut shard, 1, Command::Settle(Settle { proof, outcome }), BEGIN);
    }
    shard
}

#[test]
fn a_pause_that_is_over_is_seen_before_all_else_that_is_due() {
    let mut shard = paused(Policy { max_rows: 2, ..Policy::default() }, &[5]);
    tell(&mut shard, 0, Command::Publish(message(2, "worker")), BEGIN);
    for n in 3..=12 {
        let publish = Publish { ttl: Some(Duration::from_secs(1)), ..message(n, "other") };
        tell(&mut shard, 0, Command::Publish(publish), BEGIN);
    }
    let later = BEGIN + Duration::from_secs(60);
    shard.handle_timeout(later, &mut Step::new());
    assert!(shard.next_timeout().is_some_and(|at| at <= later), "more is due than one step does");
    assert_eq!(take(&mut shard, 2, receive(2, "worker"), later)[0].message, MessageId(1 << 64));
}

#[test]
fn of_pauses_that_are_over_together_the_first_in_line_is_the_first() {
    let mut shard = paused(Policy::default(), &[5, 3]);
    let waiting = Receive { wait: Duration::from_secs(60), ..receive(9, "worker") };
    tell(&mut shard, 9, Command::Receive(waiting), BEGIN);
    let mut step = Step::new();
    shard.handle_timeout(BEGIN + Duration::from_secs(10), &mut step);
    match step.effects.pop() {
        Some(Effect::Answer(_, Answer::Received(Ok(received)))) => {
            assert_eq!(received.granted[0].message, MessageId(1 << 64));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_rules_are_nothing_to_what_just_waits() {
    let mut shard = filled("worker");
    let leased = take(&mut shard, 1, receive(1, "worker"), BEGIN);
    assert_eq!(leased.len(), 1);
    shard.deliveries.looks.set(0);
    for class in [Class::Agent, Class::Service] {
        let class = Some(class);
        let other = SetMailbox { class, backoff: Some(Backoff::Skips), ..SetMailbox::new(address("worker")) };
        tell(&mut shard, 0, Command::SetMailbox(other), BEGIN);
    }
    let looks = shard.deliveries.looks.get();
    assert!(looks <= 100, "{looks} looks at {MANY} deliveries");
}

/// A shard in which many messages wait for ten seconds, each with a key of its own.
fn filled_by_key(mailbox: &str) -> Shard {
    let mut shard = Shard::new(Policy::default(), 1, 7);
    for n in 1..=MANY {
        let key = Some(name(&format!("key-{n}")));
        let publish = Publish { key, ttl: Some(Duration::from_secs(10)), ..message(n, mailbox) };
        tell(&mut shard, 0, Command::Publish(publish), BEGIN);
    }
    shard.deliveries.looks.set(0);
    shard
}

#[test]
fn keys_that_expire_together_are_passed_once() {
    let later = BEGIN + Duration::from_secs(20);
    // The eighth is the oldest; with a type it is looked for elsewhere.
    for (granted, types) in [(0, vec![]), (7, vec![]), (0, vec![message(1, "worker").kind])] {
        let mut shard = filled_by_key("worker");
        // Time first, as much as fits into a step, then the command.
        shard.handle_timeout(later, &mut Step::new());
        assert!(shard.deliveries.iter().count() > 1_000);
        shard.inboxes.values_mut().for_each(|inbox| inbox.lanes.granted = granted);
        let waiting = Receive { wait: Duration::from_secs(60), types, ..receive(1, "worker") };
        assert_eq!(tell(&mut shard, 1, Command::Receive(waiting), later), []);
        settle_down(&mut shard, later);
        assert_few_looks(&shard);
    }
}

#[test]
fn keys_whose_first_expires_are_passed_once() {
    let later = BEGIN + Duration::from_secs(20);
    for granted in [0, 7] {
        let mut shard = filled_by_key("worker");
        for n in 1..=MANY {
            let key = Some(name(&format!("key-{n}")));
            let publish = Publish { key, ..message(MANY + n, "worker") };
            tell(&mut shard, 0, Command::Publish(publish), BEGIN);
        }
        shard.deliveries.looks.set(0);
        shard.inboxes.values_mut().for_each(|inbox| inbox.lanes.granted = granted);
        // What is behind the first of all is the oldest that is left.
        let granted = take(&mut shard, 1, receive(1, "worker"), later);
        assert_eq!(granted[0].message, MessageId((MANY + 1) << 64));
        settle_down(&mut shard, later);
        assert_few_looks(&shard);
    }
}

#[test]
fn keys_that_are_purged_are_passed_once() {
    let mut shard = filled_by_key("worker");
    tell(&mut shard, 0, Command::PurgeMailbox(address("worker"), Purge::Do), BEGIN);
    let waiting = Receive { wait: Duration::from_secs(60), ..receive(1, "worker") };
    assert_eq!(tell(&mut shard, 1, Command::Receive(waiting), BEGIN), []);
    settle_down(&mut shard, BEGIN);
    assert_few_looks(&shard);
}

#[test]
fn what_expires_of_a_type_is_passed_once() {
    let mut shard = Shard::new(Policy::default(), 1, 7);
    let other = Publish { kind: name("other"), ..message(MANY + 1, "group:workers") };
    tell(&mut shard, 0, Command::Publish(other), BEGIN);
    for n in 1..=MANY {
        let publish = Publish { ttl: Some(Duration::from_secs(10)), ..message(n, "group:workers") };
        tell(&mut shard, 0, Command::Publish(publish), BEGIN);
    }
    shard.deliveries.looks.set(0);
    let later = BEGIN + Duration::from_secs(20);
    let wanted = Receive { types: vec![message(1, "worker").kind], ..receive(1, "group:workers") };
    for call in 1..=100 {
        assert_eq!(take(&mut shard, call, wanted.clone(), later), []);
    }
    settle_down(&mut shard, later);
    assert_few_looks(&shard);
}

#[test]
fn a_type_that_is_named_twice_is_handed_out_once() {
    let mut shard = filled_by_key("worker");
    let kind = message(1, "worker").kind;
    let twice = Receive { types: vec![kind.clone(), kind], max: 20, ..receive(1, "worker") };
    let mut granted: Vec<_> = take(&mut shard, 1, twice, BEGIN).iter().map(|one| one.delivery).collect();
    granted.sort();
    granted.dedup();
    assert_eq!(granted.len(), 20);
}

/// Those who wait are asked only for what they may take.
#[test]
fn a_publish_does_not_ask_who_cannot_take_it() {
    for (paused, types) in [(true, &[][..]), (false, &["never"][..])] {
        let mut shard = filled("group:jobs");
        let now = BEGIN + Duration::from_secs(20);
        let idle = address("group:idle");
        for nth in 0..MANY as u64 {
            let wait = Duration::from_secs(60);
            let types = types.iter().map(|kind| name(kind)).collect();
            let consumer = Consumer::named(name("anonymous"), name(&format!("w{nth}")));
            let receive = Receive { consumer, types, wait, ..receive(nth, "group:idle") };
            assert_eq!(tell(&mut shard, nth, Command::Receive(receive), now), []);
        }
        if paused {
            tell(&mut shard, 0, Command::PauseMailbox(idle.clone(), name("op")), now);
        }
        let before = shard.deliveries.looks.get();
        for n in 0..10 {
            let publish = message(MANY * 4 + n, "group:idle");
            tell(&mut shard, 0, Command::Publish(publish), now);
        }
        let looks = shard.deliveries.looks.get() - before;
        assert!(looks < 200, "{looks} looks for ten messages that nobody can take");
    }
}
