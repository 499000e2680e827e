use std::sync::Arc;

use bridge_core::{
    Change, Delivery, Event, EventKind, LogPage, Message, Ownership, Row, RowKey, Scope, Seq, State, Store,
};

use super::{SHARD, StoreHarness, acquire, commit};
use crate::samples;

async fn read_log(store: &impl Store, scope: Scope, after: u64, limit: usize) -> LogPage {
    store.read_log(SHARD, scope, Seq(after), limit).await.expect("the log can be read")
}

fn appends(events: &[Event]) -> Vec<Change> {
    events.iter().cloned().map(Change::Append).collect()
}

/// What is appended is there when the commit returns, value for value.
pub async fn events_of_every_kind_return(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let events = samples::events();
    commit(&store, &owner, &appends(&events)).await;
    for (found, event) in read_log(&store, Scope::All, 0, 1_000).await.events.iter().zip(&events) {
        assert_eq!(found, event);
    }
    assert_eq!(read_log(&store, Scope::All, 0, 1_000).await.events.len(), events.len());
}

/// What is appended is there when the store is opened again.
pub async fn events_return_after_reopening(harness: impl StoreHarness) {
    let events = samples::events();
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        commit(&store, &owner, &appends(&events)).await;
    }
    let store = harness.open().await;
    let page = read_log(&store, Scope::All, 0, 1_000).await;
    assert_eq!(page, LogPage { head: Seq(events.len() as u64), floor: Seq::ZERO, events });
}

/// Pages follow each other without a gap or a repetition.
pub async fn the_log_is_read_from_a_place_and_no_further_than_asked(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let events: Vec<Event> = (1..=10).map(samples::event).collect();
    commit(&store, &owner, &appends(&events)).await;

    for (after, limit) in [(0, 3), (3, 3), (9, 3), (10, 3), (11, 3), (0, 0), (u64::MAX, 3), (4, usize::MAX)] {
        let page = read_log(&store, Scope::All, after, limit).await;
        let expected: Vec<_> = events.iter().filter(|it| it.seq.0 > after).take(limit).cloned().collect();
        assert_eq!(
            page,
            LogPage { events: expected, floor: Seq::ZERO, head: Seq(10) },
            "{limit} after {after}"
        );
    }
}

/// A scope leaves out what is not in it, however far the rest is apart.
pub async fn the_log_is_read_by_session(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let events: Vec<Event> = (1..=60)
        .map(|n| {
            let session = (n % 3 != 0).then_some(samples::session_id(n % 3));
            Event { session, ..samples::event(n) }
        })
        .collect();
    commit(&store, &owner, &appends(&events)).await;

    let scopes = [
        Scope::Session(samples::session_id(1)),
        Scope::Session(samples::session_id(2)),
        Scope::Session(samples::session_id(0)),
    ];
    for scope in scopes {
        for (after, limit) in [(0, 100), (20, 5)] {
            let inside = events.iter().filter(|event| scope.contains(event) && event.seq > Seq(after));
            let expected: Vec<_> = inside.take(limit).cloned().collect();
            let page = read_log(&store, scope, after, limit).await;
            assert_eq!(page, LogPage { events: expected, floor: Seq::ZERO, head: Seq(60) }, "{scope:?}");
        }
    }
}

/// While others append, a page's head is never behind its events, and events up to the head are never missing.
pub async fn the_bounds_of_the_log_are_of_the_moment_of_its_events(harness: impl StoreHarness) {
    const EVENTS: u64 = 200;
    let store = Arc::new(harness.open().await);
    let owner = acquire(&*store).await;
    let appending = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 1..=EVENTS {
                commit(&*store, &owner, &[Change::Append(samples::event(n))]).await;
            }
        }
    });
    loop {
        let done = appending.is_finished();
        let page = read_log(&*store, Scope::All, 0, 1_000).await;
        let last = page.events.last().map_or(Seq::ZERO, |event| event.seq);
        assert_eq!(last, page.head, "a page without a limit ends at the head it tells");
        assert_eq!(page.events.len() as u64, page.head.0);
        if done {
            assert_eq!(page.head, Seq(EVENTS));
            break;
        }
        tokio::task::yield_now().await;
    }
    appending.await.expect("its commits succeed");
}

/// A batch that is applied again appends nothing again, and takes nothing back.
pub async fn an_event_in_a_taken_place_is_the_same_event_again(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let events = samples::events();
    commit(&store, &owner, &appends(&events)).await;
    commit(&store, &owner, &appends(&events[..3])).await;
    let page = read_log(&store, Scope::All, 0, 1_000).await;
    assert_eq!(page.head, Seq(events.len() as u64));
    assert_eq!(page.events, events);
}

/// What the log has told once it always tells. Whether the store says that something is wrong is its own matter.
pub async fn an_event_never_replaces_another(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    commit(&store, &owner, &appends(&[samples::event(1)])).await;
    let other = Event { kind: EventKind::Seen, ..samples::event(1) };
    let _either = store.commit(&owner, &appends(&[other])).await;
    assert_eq!(read_log(&store, Scope::All, 0, 10).await.events, [samples::event(1)]);
}

/// A log begins before its first event, whether its shard was ever owned or not.
pub async fn an_empty_log_has_no_head(harness: impl StoreHarness) {
    let store = harness.open().await;
    assert_eq!(read_log(&store, Scope::All, 0, 10).await, LogPage::default());
    acquire(&store).await;
    assert_eq!(read_log(&store, Scope::All, 5, 10).await, LogPage::default());
}

/// Twenty publishes; every third belongs to no session.
async fn publishes(store: &impl Store, owner: &Ownership) -> Vec<Event> {
    let mut events = Vec::new();
    for n in 1..=20 {
        let session = (n % 3 != 0).then(|| samples::session_id(n % 3));
        let event = Event { session, ..samples::event(n) };
        let message = Message { session, ..samples::message(n) };
        let delivery = samples::delivery(n);
        let mut changes = vec![Change::Append(event.clone())];
        if n % 2 == 0 {
            changes.push(Change::Put(Row::Message(Arc::new(message))));
            changes.push(Change::Put(Row::Delivery(Arc::new(delivery))));
        }
        commit(store, owner, &changes).await;
        events.push(event);
    }
    events
}

/// Of the whole log a beginning goes; what belongs to sessions stays, and is read by session as before.
pub async fn the_log_is_trimmed_but_for_sessions(harness: impl StoreHarness) {
    let mut events;
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        events = publishes(&store, &owner).await;
        commit(&store, &owner, &[Change::Trim(Scope::All, Seq(7))]).await;
        commit(&store, &owner, &[Change::Trim(Scope::All, Seq(12))]).await;
        // It never goes back.
        commit(&store, &owner, &[Change::Trim(Scope::All, Seq(3))]).await;
    }
    events.retain(|event| event.seq > Seq(12) || event.session.is_some());
    let store = harness.open().await;
    let page = read_log(&store, Scope::All, 0, 100).await;
    assert_eq!(page, LogPage { events: events.clone(), floor: Seq(12), head: Seq(20) });
    let scope = Scope::Session(samples::session_id(1));
    let page = read_log(&store, scope, 0, 100).await;
    events.retain(|event| scope.contains(event));
    assert_eq!(page, LogPage { events, floor: Seq::ZERO, head: Seq(20) });
}

/// Nothing but its own events goes, and the log's floor stays where it is.
pub async fn the_events_of_a_session_are_trimmed_alone(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let mut events = publishes(&store, &owner).await;
    let scope = Scope::Session(samples::session_id(1));
    commit(&store, &owner, &[Change::Trim(scope, Seq(12))]).await;
    events.retain(|event| event.seq > Seq(12) || !scope.contains(event));
    let page = read_log(&store, Scope::All, 0, 100).await;
    assert_eq!(page, LogPage { events: events.clone(), floor: Seq::ZERO, head: Seq(20) });
    events.retain(|event| scope.contains(event));
    assert_eq!(read_log(&store, scope, 0, 100).await.events, events);
}

/// Of a session the floor is right before its first event, but never beyond the log's own, which it is where it has none.
pub async fn the_floor_of_a_session_is_where_it_begins(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    publishes(&store, &owner).await;
    let floors = async || {
        let mut floors = Vec::new();
        for n in [1, 2, 7] {
            let scope = Scope::Session(samples::session_id(n));
            let floor = read_log(&store, scope, 0, 0).await.floor;
            assert_eq!(read_log(&store, scope, 15, 100).await.floor, floor);
            floors.push(floor.0);
        }
        floors
    };
    assert_eq!(floors().await, [0, 0, 0]);
    commit(&store, &owner, &[Change::Trim(Scope::All, Seq(12))]).await;
    assert_eq!(floors().await, [0, 1, 12]);
    let trim = |n, up_to| Change::Trim(Scope::Session(samples::session_id(n)), Seq(up_to));
    commit(&store, &owner, &[trim(1, 7)]).await;
    assert_eq!(floors().await, [9, 1, 12]);
    commit(&store, &owner, &[trim(1, 12), trim(2, 6)]).await;
    assert_eq!(floors().await, [12, 7, 12]);
    commit(&store, &owner, &[Change::Trim(Scope::All, Seq(16))]).await;
    assert_eq!(floors().await, [12, 7, 16]);
}

/// Messages and deliveries stay as they are, change, and go, whether the event that told of them is there or not.
pub async fn trimming_takes_nothing_but_events(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    for n in 1..=4 {
        let changes = samples::publish(n).into_iter().map(|change| match change {
            Change::Append(event) => Change::Append(Event { session: None, ..event }),
            Change::Put(Row::Message(message)) => {
                Change::Put(Row::Message(Arc::new(Message { session: None, ..(*message).clone() })))
            }
            other => other,
        });
        commit(&store, &owner, &changes.collect::<Vec<_>>()).await;
    }
    let keys = |n| [RowKey::Message(samples::message_id(n)), RowKey::Delivery(samples::delivery_id(n))];
    commit(&store, &owner, &[Change::Delete(keys(1)[0].clone())]).await;
    commit(&store, &owner, &keys(2).map(Change::Delete)).await;
    commit(&store, &owner, &[Change::Trim(Scope::All, Seq(4))]).await;
    assert_eq!(read_log(&store, Scope::All, 0, 100).await.events, []);

    let done = Delivery { state: State::Done, retire_at: Some(samples::at(7)), ..samples::delivery(3) };
    commit(&store, &owner, &[Change::Put(Row::Delivery(Arc::new(done.clone())))]).await;
    let found = |n| {
        let store = &store;
        async move { store.get(SHARD, &keys(n)).await.expect("rows can be read") }
    };
    let message = |n| Some(Row::Message(Arc::new(Message { session: None, ..samples::message(n) })));
    let delivery = |n| Some(Row::Delivery(Arc::new(samples::delivery(n))));
    assert_eq!(found(1).await, [None, delivery(1)]);
    assert_eq!(found(2).await, [None, None]);
    assert_eq!(found(3).await, [message(3), Some(Row::Delivery(Arc::new(done)))]);
    assert_eq!(found(4).await, [message(4), delivery(4)]);
    for n in 1..=4 {
        commit(&store, &owner, &keys(n).map(Change::Delete)).await;
        assert_eq!(found(n).await, [None, None]);
    }
}

/// A batch that tells, removes and trims comes to the same when it is applied again.
pub async fn trimming_twice_equals_once(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let event = |n| Event { session: None, ..samples::event(n) };
    let message = Message { session: None, ..samples::message(1) };
    let ended = Delivery { state: State::Done, ..samples::delivery(1) };
    let batch = [
        Change::Append(event(1)),
        Change::Put(Row::Message(Arc::new(message))),
        Change::Put(Row::Delivery(Arc::new(ended.clone()))),
        Change::Append(event(2)),
        Change::Trim(Scope::All, Seq(1)),
        Change::Append(event(3)),
        Change::Delete(RowKey::Message(ended.message)),
    ];
    for _ in 0..3 {
        commit(&store, &owner, &batch).await;
        let page = read_log(&store, Scope::All, 0, 100).await;
        assert_eq!(page, LogPage { events: vec![event(2), event(3)], floor: Seq(1), head: Seq(3) });
        let keys = [RowKey::Message(ended.message), RowKey::Delivery(ended.id)];
        let rows = store.get(SHARD, &keys).await.expect("rows can be read");
        assert_eq!(rows, [None, Some(Row::Delivery(Arc::new(ended.clone())))]);
    }
}
