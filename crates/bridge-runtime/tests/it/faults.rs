//! A store that fails: nobody is told a lie, and the bridge comes back by itself.

use std::time::Duration;

use bridge_core::{IdempotencyScope, RowKey, StoreErrorKind};
use bridge_runtime::{Bridge, CallError, Fault, Health, Leased};
use bridge_store::MemoryStore;
use bridge_testkit::fault::{self, FaultyStore};

use super::{House, soon, start, texts, until};

#[tokio::test]
async fn a_failed_commit_leaves_its_callers_in_doubt_and_a_repetition_is_safe() {
    for fault in
        [fault::Fault::Before(StoreErrorKind::Unavailable), fault::Fault::After(StoreErrorKind::Unavailable)]
    {
        let house = House::open().await;
        let message = house.message("hello").idempotency_key("k".parse().unwrap());
        house.store.fail(fault);

        let doubt = soon(house.bridge.publish(message.clone())).await;
        assert_eq!(doubt, Err(CallError::Fault(Fault::OutcomeUnknown)));

        let published = soon(house.bridge.publish(message)).await.unwrap();
        assert_eq!(published.duplicate, matches!(fault, fault::Fault::After(_)));
        assert_eq!(texts(&house.receive("a").await), ["hello"]);
    }
}

#[tokio::test]
async fn a_receive_that_waits_outlives_the_shard() {
    let house = House::open().await;
    let (bridge, ask) = (house.bridge.clone(), house.ask("a").wait(Duration::from_secs(60)));
    let receive = tokio::spawn(async move { bridge.receive(ask).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }

    house.store.fail(fault::Fault::Before(StoreErrorKind::Unavailable));
    assert!(soon(house.bridge.publish(house.message("lost"))).await.is_err());
    soon(house.bridge.publish(house.message("hello"))).await.unwrap();

    let received = soon(receive).await.unwrap().unwrap();
    assert_eq!(texts(&received), ["hello"]);
    received.handover.complete();
}

#[tokio::test]
async fn a_grant_whose_commit_failed_is_granted_again() {
    let house = House::open().await;
    house.publish("hello").await;
    house.store.fail(fault::Fault::After(StoreErrorKind::Unavailable));
    let received = soon(house.bridge.receive(house.ask("a"))).await.unwrap();
    assert_eq!(texts(&received), ["hello"]);
    assert_eq!(received.deliveries[0].attempt, 1);
    received.handover.complete();
}

#[tokio::test]
async fn a_full_disk_refuses_what_writes_and_heals_by_itself() {
    let house = House::open().await;
    house.publish("before").await;
    house.store.break_down(StoreErrorKind::Full);

    assert_eq!(soon(house.bridge.publish(house.message("x"))).await, Err(CallError::Fault(Fault::Full)));
    until(|| house.bridge.health() == Health::Faulted(Fault::Full)).await;
    assert_eq!(soon(house.bridge.publish(house.message("x"))).await, Err(CallError::Fault(Fault::Full)));
    // Reads go on.
    assert_eq!(soon(house.bridge.session(house.session)).await.unwrap().pending, 1);
    assert_eq!(soon(house.bridge.snapshot(house.session, None, 10)).await.unwrap().messages.len(), 1);

    house.store.mend();
    house.clock.advance(Duration::from_secs(1));
    until(|| house.bridge.health() == Health::Ready).await;
    house.publish("after").await;
    assert_eq!(texts(&house.receive("a").await), ["before", "after"]);
}

#[tokio::test]
async fn a_bridge_begins_on_a_full_disk_and_heals_by_itself() {
    let mut house = House::open().await;
    house.publish("before").await;
    house.bridge.shutdown().await;
    house.store.break_down(StoreErrorKind::Full);
    house.bridge = start(house.store.clone(), house.clock.clone()).await;

    assert_eq!(house.bridge.health(), Health::Faulted(Fault::Full));
    assert_eq!(soon(house.bridge.publish(house.message("x"))).await, Err(CallError::Fault(Fault::Full)));
    assert_eq!(soon(house.bridge.session(house.session)).await.unwrap().pending, 1);
    assert_eq!(soon(house.bridge.snapshot(house.session, None, 10)).await.unwrap().messages.len(), 1);

    house.store.mend();
    house.clock.advance(Duration::from_secs(1));
    until(|| house.bridge.health() == Health::Ready).await;
    assert_eq!(texts(&house.receive("a").await), ["before"]);
}

#[tokio::test]
async fn a_new_bridge_does_not_begin_on_a_full_disk() {
    let store = FaultyStore::new(MemoryStore::new());
    store.break_down(StoreErrorKind::Full);
    assert_eq!(Bridge::builder(store).start().await.unwrap_err().kind, StoreErrorKind::Full);
}

#[tokio::test]
async fn a_receive_that_waits_through_a_fault_is_answered_when_it_is_over() {
    let house = House::open().await;
    let (bridge, ask) = (house.bridge.clone(), house.ask("a").wait(Duration::from_secs(60)));
    let receive = tokio::spawn(async move { bridge.receive(ask).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    house.store.break_down(StoreErrorKind::Unavailable);
    assert!(soon(house.bridge.publish(house.message("x"))).await.is_err());
    until(|| house.bridge.health() != Health::Ready).await;
    house.store.mend();
    house.clock.advance(Duration::from_secs(1));
    until(|| house.bridge.health() == Health::Ready).await;
    house.publish("hello").await;
    let received = soon(receive).await.unwrap().unwrap();
    assert_eq!(texts(&received), ["hello"]);
    received.handover.complete();
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_while_it_lasts() {
    let house = House::open().await;
    house.store.hold();
    let (bridge, message) = (house.bridge.clone(), house.message("late"));
    let publish = tokio::spawn(async move { bridge.publish(message).await });
    let stalled = || {
        house.clock.advance(Duration::from_millis(500));
        house.bridge.health() == Health::Faulted(Fault::Unavailable)
    };
    until(stalled).await;
    assert!(!publish.is_finished());

    house.store.let_go();
    soon(publish).await.unwrap().unwrap();
    until(|| house.bridge.health() == Health::Ready).await;
    assert_eq!(texts(&house.receive("a").await), ["late"]);
}

#[tokio::test]
async fn a_follower_misses_nothing_that_a_failed_commit_wrote() {
    let house = House::open().await;
    let scope = bridge_core::Scope::Session(house.session);
    let mut follow = house.bridge.follow(scope, bridge_runtime::From::Floor).await.unwrap();
    house.publish("one").await;
    let mut last = soon(follow.next_events(100)).await.unwrap().next.seq;
    house.store.fail(fault::Fault::After(StoreErrorKind::Unavailable));
    assert!(soon(house.bridge.publish(house.message("two"))).await.is_err());
    house.publish("three").await;
    let mut seqs = Vec::new();
    while last < house.bridge.head().seq {
        let events = soon(follow.next_events(100)).await.unwrap();
        seqs.extend(events.events.iter().map(|(event, _)| event.seq.0));
        last = events.next.seq;
    }
    assert_eq!(seqs, [3, 4]);
}

#[tokio::test]
async fn a_store_that_can_be_owned_but_not_written_is_tried_once_a_second() {
    let house = House::open().await;
    house.bridge.publish(house.message("due").ttl(Duration::from_secs(1))).await.unwrap();
    for _ in 0..3 {
        house.store.fail(fault::Fault::Before(StoreErrorKind::Full));
    }
    // What is due by itself fails with each new life; between two of them there is a pause.
    house.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        until(|| house.bridge.health() == Health::Faulted(Fault::Full)).await;
        assert_eq!(soon(house.bridge.publish(house.message("x"))).await, Err(CallError::Fault(Fault::Full)));
        house.clock.advance(Duration::from_secs(1));
        until(|| house.bridge.health() != Health::Faulted(Fault::Full) || house.store.faults_left() == 0)
            .await;
    }
    house.clock.advance(Duration::from_secs(1));
    until(|| house.bridge.health() == Health::Ready && house.store.faults_left() == 0).await;
    house.publish("after").await;
}

#[tokio::test]
async fn a_lost_answer_is_heard_of_after_the_fault() {
    let house = House::open().await;
    house.publish("hello").await;
    let ask = bridge_runtime::ReceiveRequest::new(house.agent());
    let received = house.bridge.receive(ask.clone()).await.unwrap();
    house.store.fail(fault::Fault::Before(StoreErrorKind::Unavailable));
    drop(received);
    let again = soon(house.bridge.receive(ask.wait(Duration::from_secs(60)))).await.unwrap();
    assert_eq!(texts(&again), ["hello"]);
    again.handover.complete();
}

#[tokio::test]
async fn a_lease_that_only_lost_answers_told_of_goes_back() {
    let house = House::open().await;
    house.publish("hello").await;
    drop(house.receive("a").await);
    let listed = house.receive("a").await;
    assert!(listed.deliveries.is_empty());
    assert_eq!(listed.held.len(), 1);
    drop(listed);
    // Both are heard before what is asked next.
    assert!(house.receive("b").await.deliveries.is_empty());
    house.clock.advance(Duration::from_secs(10));
    let received = soon(house.bridge.receive(house.ask("b").wait(Duration::from_secs(60)))).await.unwrap();
    assert_eq!(texts(&received), ["hello"]);
    received.handover.complete();
}

#[tokio::test]
async fn a_damaged_row_harms_only_those_who_name_it() {
    let mut house = House::open().await;
    let keyed = |key: &str| house.message("once").idempotency_key(key.parse().unwrap());
    let (first, second) = (keyed("k"), keyed("l"));
    let published = house.bridge.publish(first.clone()).await.unwrap();
    house.reopen().await;
    let scope = IdempotencyScope { from: first.from.clone(), to: house.agent(), key: "k".parse().unwrap() };
    house.store.damage(RowKey::Idempotency(scope));

    let (damaged, sound) = tokio::join!(house.bridge.publish(first), house.bridge.publish(second));
    assert_eq!(damaged, Err(CallError::Fault(Fault::Damaged)));
    assert_ne!(sound.unwrap().message, published.message);
    assert_eq!(house.bridge.health(), Health::Ready);
}

#[tokio::test]
async fn what_comes_behind_a_message_that_had_to_be_read_is_read_with_it() {
    let mut house = House::open().await;
    house.publish("one").await;
    let next = house.bridge.publish(house.message("two")).await.unwrap().message;
    house.reopen().await;
    let receive = || async { soon(house.bridge.receive(house.ask("a").max(1))).await.unwrap() };
    let first = receive().await;
    assert_eq!(texts(&first), ["one"]);
    first.handover.complete();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }

    // Who asked the store for it now would get nothing.
    house.store.damage(RowKey::Message(next));
    let second = receive().await;
    assert_eq!(texts(&second), ["two"]);
    second.handover.complete();
}

#[tokio::test]
async fn a_damaged_message_is_handed_out_without_its_content_and_its_neighbours_with_theirs() {
    let mut house = House::open().await;
    house.publish("one").await;
    let damaged = house.bridge.publish(house.message("two")).await.unwrap().message;
    house.publish("three").await;
    house.reopen().await;
    house.store.damage(RowKey::Message(damaged));

    let content = |leased: &Leased| leased.message.as_ref().map(|message| message.payload.clone());
    let expected = [Some("one".into()), None, Some("three".into())];
    let received = house.receive("a").await;
    assert_eq!(received.deliveries.iter().map(content).collect::<Vec<_>>(), expected);
    received.handover.complete();
    // What is held does not keep its holder from anything else.
    let again = house.receive("a").await;
    assert_eq!(again.held.iter().map(content).collect::<Vec<_>>(), expected);
    again.handover.complete();
}

#[tokio::test]
async fn a_read_that_failed_leaves_nobody_in_doubt_and_who_waits_waiting() {
    let house = House::open().await;
    let (bridge, ask) = (house.bridge.clone(), house.ask("a").wait(Duration::from_secs(60)));
    let receive = tokio::spawn(async move { bridge.receive(ask).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let keyed = |key: &str| house.message(key).idempotency_key(key.parse().unwrap());
    // What it is about is read before anything is done of a step.
    house.store.fail_get(StoreErrorKind::Unavailable);
    let (one, two) = soon(async {
        tokio::join!(house.bridge.publish(keyed("k")), house.bridge.publish(house.message("l")))
    })
    .await;
    assert_eq!(one, Err(CallError::Fault(Fault::Unavailable)));
    assert_eq!(two, Err(CallError::Fault(Fault::Unavailable)));

    assert!(!soon(house.bridge.publish(keyed("k"))).await.unwrap().duplicate);
    let received = soon(receive).await.unwrap().unwrap();
    assert_eq!(texts(&received), ["k"]);
    received.handover.complete();
}

#[tokio::test]
async fn a_read_that_failed_beside_a_damaged_row_leaves_nobody_waiting() {
    let mut house = House::open().await;
    let keyed = |key: &str| house.message("once").idempotency_key(key.parse().unwrap());
    let (first, second, third) = (keyed("k"), keyed("l"), keyed("m"));
    house.bridge.publish(first.clone()).await.unwrap();
    house.reopen().await;
    let scope = IdempotencyScope { from: first.from.clone(), to: house.agent(), key: "k".parse().unwrap() };
    house.store.damage(RowKey::Idempotency(scope));

    house.store.fail_get(StoreErrorKind::Unavailable);
    let publish = |message| house.bridge.publish(message);
    let (damaged, second, third) =
        soon(async { tokio::join!(publish(first), publish(second), publish(third)) }).await;
    assert_eq!(damaged, Err(CallError::Fault(Fault::Damaged)));
    assert_eq!(second, Err(CallError::Fault(Fault::Unavailable)));
    assert_eq!(third, Err(CallError::Fault(Fault::Unavailable)));
}
