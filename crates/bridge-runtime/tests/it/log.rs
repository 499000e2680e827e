//! Reading the log: whole, in order, resumable, and honest about gaps.

use std::time::Duration;

use bridge_core::{Cursor, Gap, LogId, Scope, Seq};
use bridge_runtime::{EventFilter, From};

use super::{House, soon};

#[tokio::test]
async fn pages_of_any_size_add_up_to_the_log() {
    let house = House::open().await;
    for n in 0..10 {
        house.publish(&n.to_string()).await;
    }
    let scope = Scope::Session(house.session);
    let whole = house.bridge.read_log(scope, From::Floor, 1_000, Duration::ZERO).await.unwrap();
    assert_eq!(whole.next, whole.head);
    for size in 1..6 {
        let mut from = From::Floor;
        let mut seqs = Vec::new();
        loop {
            let page = house.bridge.read_log(scope, from, size, Duration::ZERO).await.unwrap();
            seqs.extend(page.events.iter().map(|(event, _)| event.seq));
            from = From::After(page.next);
            if page.events.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = whole.events.iter().map(|(event, _)| event.seq).collect();
        assert_eq!(seqs, expected, "pages of {size}");
    }
}

#[tokio::test]
async fn pages_with_a_filter_are_full_and_add_up() {
    let house = House::open().await;
    for n in 0..600 {
        house.publish("hello").await;
        if n % 50 == 0 {
            house.bridge.pause_mailbox(house.agent(), "anna".parse().unwrap()).await.unwrap();
            house.bridge.resume_mailbox(house.agent()).await.unwrap();
        }
    }
    let filter = EventFilter::new(["mailbox.*"]);
    for size in [1, 5, 8, 24, 100] {
        let follow = house.bridge.follow(Scope::All, From::Floor).await.unwrap();
        let mut follow = follow.only(filter.clone());
        let mut seqs = Vec::new();
        loop {
            follow.gather(size, Duration::ZERO).await.unwrap();
            let page = follow.hand_out().await.unwrap();
            assert_eq!(page.events.len(), size.min(24 - seqs.len()), "pages of {size}");
            seqs.extend(page.events.iter().map(|(event, _)| event.seq));
            if page.events.is_empty() {
                assert_eq!(page.next, page.head);
                break;
            }
        }
        assert!(seqs.is_sorted_by(|before, after| before < after), "pages of {size}: {seqs:?}");
    }
}

#[tokio::test]
async fn a_reader_that_waits_gets_what_comes_and_nothing_twice() {
    let house = House::open().await;
    let mut follow = house.bridge.follow(Scope::Session(house.session), From::Floor).await.unwrap();
    let mut last = Seq::ZERO;
    for n in 0..50 {
        house.publish(&n.to_string()).await;
        let events = soon(follow.next_events(100)).await.unwrap();
        for (event, _) in &events.events {
            assert!(event.seq > last);
            last = event.seq;
        }
    }
    assert_eq!(last, house.bridge.head().seq);
}

#[tokio::test]
async fn a_reader_that_falls_far_behind_still_misses_nothing() {
    let house = House::open().await;
    let scope = Scope::Session(house.session);
    let mut follow = house.bridge.follow(scope, From::Floor).await.unwrap();
    soon(follow.next_events(1)).await.unwrap();
    for n in 0..600 {
        house.publish(&n.to_string()).await;
    }
    let head = house.bridge.head().seq;
    let mut seqs = vec![Seq(1)];
    while seqs.last() != Some(&head) {
        let events = soon(follow.next_events(7)).await.unwrap();
        seqs.extend(events.events.iter().map(|(event, _)| event.seq));
    }
    let expected: Vec<_> = (1..=head.0).map(Seq).collect();
    assert_eq!(seqs, expected);
}

#[tokio::test]
async fn events_of_other_conversations_are_not_shown() {
    let house = House::open().await;
    let other = house.bridge.open_session(None, "bert".parse().unwrap()).await.unwrap().session.id;
    house.publish("hello").await;
    let page = house.bridge.read_log(Scope::Session(other), From::Floor, 100, Duration::ZERO).await.unwrap();
    assert!(page.events.iter().all(|(event, _)| event.session == Some(other)));
    assert_eq!(page.events.len(), 1);
}

#[tokio::test]
async fn a_cursor_that_does_not_fit_is_told_why() {
    let house = House::open().await;
    let head = house.bridge.head();
    let mut follows = Vec::new();
    for (cursor, gap) in [
        (Cursor { log: LogId(head.log.0 ^ 1), seq: head.seq }, Gap::OtherLog),
        (Cursor { log: head.log, seq: Seq(head.seq.0 + 1) }, Gap::Ahead),
    ] {
        let page = house
            .bridge
            .read_log(Scope::All, From::After(cursor), 100, Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(page.gap, Some(gap));
        assert!(page.events.is_empty());
        let mut follow = house.bridge.follow(Scope::All, From::After(cursor)).await.unwrap();
        assert_eq!(soon(follow.next_events(1)).await.unwrap().gap, Some(gap));
        follows.push(follow);
    }
    // Once: they follow the log from its head now.
    house.publish("hello").await;
    for mut follow in follows {
        let page = soon(follow.next_events(1)).await.unwrap();
        assert_eq!((page.gap, page.events.len()), (None, 1));
    }
}

#[tokio::test]
async fn waiting_for_nothing_ends_in_time() {
    let house = House::open().await;
    let from = From::After(house.bridge.head());
    let (bridge, clock) = (house.bridge.clone(), house.clock.clone());
    let page =
        tokio::spawn(async move { bridge.read_log(Scope::All, from, 10, Duration::from_secs(5)).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(5));
    assert!(soon(page).await.unwrap().unwrap().events.is_empty());
}
