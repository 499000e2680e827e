//! How the one thread that writes shares its work, and how it ends.

use std::{fs, sync::Arc};

use bridge_core::{Change, Ownership, Row, Scope, Seq, Store, StoreErrorKind};
use bridge_store::SqliteStore;
use bridge_testkit::samples;

use super::{Directory, SHARD, acquire, appends, publish};

#[tokio::test]
async fn one_transaction_answers_many_commits() {
    const COMMITS: u64 = 64;
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    let before = store.stats();

    queue_and_commit(&directory, &store, &owner, COMMITS).await;

    let after = store.stats();
    assert_eq!(after.requests - before.requests, COMMITS);
    assert_eq!(after.changes - before.changes, COMMITS);
    assert!(after.commits - before.commits <= 2, "{} transactions", after.commits - before.commits);
}

/// Whoever takes a full group and sleeps before it looks again leaves the rest where it is.
#[tokio::test]
async fn a_backlog_larger_than_one_transaction_takes_is_written() {
    const COMMITS: u64 = 3_000;
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    queue_and_commit(&directory, &store, &owner, COMMITS).await;
    assert_eq!(store.read_log(SHARD, Scope::All, Seq::ZERO, 0).await.unwrap().head, Seq(COMMITS));
}

/// While another process holds the database the writer waits at its first request, and the others queue.
async fn queue_and_commit(directory: &Directory, store: &SqliteStore, owner: &Ownership, count: u64) {
    let other = directory.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commits: Vec<_> = (1..=count)
        .map(|n| {
            let (store, owner) = (store.clone(), owner.clone());
            tokio::spawn(async move { store.commit(&owner, &appends(n)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    other.execute_batch("COMMIT").unwrap();
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_request_that_is_refused_does_not_fail_its_neighbours() {
    let directory = Directory::new();
    let store = Arc::new(directory.open().unwrap());
    let old = acquire(&store).await.unwrap();
    let owner = acquire(&store).await.unwrap();
    store.commit(&owner, &appends(1)).await.unwrap();

    let mut taken = vec![Change::Put(Row::Task(samples::task(9)))];
    taken.push(Change::Append(bridge_core::Event { at: samples::at(77), ..samples::event(1) }));
    let (first, second, third) = (appends(2), appends(3), appends(4));
    let (first, fenced, second, refused, third) = tokio::join!(
        store.commit(&owner, &first),
        store.commit(&old, &second),
        store.commit(&owner, &second),
        store.commit(&owner, &taken),
        store.commit(&owner, &third),
    );
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    assert_eq!(fenced.unwrap_err().kind, StoreErrorKind::Fenced);
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Corrupt);
    assert!(refused.to_string().contains("another event at 1"), "{refused}");

    let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap();
    assert_eq!(log.events, [1, 2, 3, 4].map(samples::event));
    assert_eq!(store.get(SHARD, &[Row::Task(samples::task(9)).key()]).await.unwrap(), [None]);
}

#[tokio::test]
async fn a_commit_survives_dropping_the_store_while_it_is_queued() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    {
        let changes = appends(1);
        let mut commit = store.commit(&owner, &changes);
        let queued =
            std::future::poll_fn(|context| std::task::Poll::Ready(commit.as_mut().poll(context))).await;
        assert!(queued.is_pending(), "an answer takes a flush");
    }
    drop(store);
    let store = directory.open().unwrap();
    assert_eq!(store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap().events, [samples::event(1)]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_threads_end_with_the_last_handle() {
    // Threads of other tests come and go: those of this store are the ones that hold its lock open.
    let open_files = |name: &std::path::Path| {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.starts_with(name))
            .count()
    };
    let directory = Directory::new();
    for round in 0..20 {
        let store = directory.open().unwrap();
        publish(&store, [1]).await;
        assert!(store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap().events.len() == 1);
        assert!(open_files(directory.0.path()) > 0);
        drop(store);
        assert_eq!(open_files(directory.0.path()), 0, "in round {round}");
    }
}

#[tokio::test]
async fn another_process_that_holds_the_database_is_named_and_does_no_harm() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    let other = directory.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&owner, &appends(1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Owned, "{error}");
    other.execute_batch("COMMIT").unwrap();
    store.commit(&owner, &appends(1)).await.unwrap();
}
