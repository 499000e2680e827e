use std::sync::Arc;

use bridge_core::{Change, Event, EventKind, LogPage, Scope, Seq, Store};

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
