use std::{future::Future, pin::pin, sync::Arc, task::Poll};

use bridge_core::{Change, Reader, Row, RowKey, Scope, Seq, Session, ShardId, Store, Task, TaskState};

use super::{SHARD, StoreHarness, acquire, acquire_shard, commit, find, get, keys, load, put};
use crate::samples;

/// Of several changes to one row the last one counts.
pub async fn a_batch_is_applied_in_its_order(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let first = Row::Task(samples::task(1));
    let second = Row::Task(Task { state: TaskState::Cancelled, ..samples::task(1) });
    let put = |row: &Row| Change::Put(row.clone());
    let delete = Change::Delete(first.key());

    commit(&store, &owner, &[put(&first), put(&second)]).await;
    assert_eq!(find(&store, first.key()).await, Some(second.clone()));
    commit(&store, &owner, &[put(&first), delete.clone()]).await;
    assert_eq!(find(&store, first.key()).await, None);
    commit(&store, &owner, &[delete, put(&second)]).await;
    assert_eq!(find(&store, first.key()).await, Some(second));
}

/// A caller that gives up half-way leaves all of its batch or none, now and later.
pub async fn a_batch_is_whole_even_if_its_future_is_dropped(harness: impl StoreHarness) {
    let rounds = 24;
    let batch = |round: u64| -> Vec<Row> {
        (0..200).map(|n| Row::Session(samples::session(round * 1_000 + n))).collect()
    };
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        for round in 0..rounds {
            let rows = batch(round);
            let changes: Vec<Change> = rows.iter().cloned().map(Change::Put).collect();
            poll_times(round, store.commit(&owner, &changes)).await;
            assert_whole(&store, &rows).await;
        }
        commit(&store, &owner, &[Change::Put(Row::Identity(samples::identity()))]).await;
        for round in 0..rounds {
            assert_whole(&store, &batch(round)).await;
        }
    }
    let store = harness.open().await;
    for round in 0..rounds {
        assert_whole(&store, &batch(round)).await;
    }
}

/// Polls `future` a few times and drops it.
async fn poll_times(times: u64, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..times {
        let done =
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn assert_whole(store: &impl Store, rows: &[Row]) {
    let found = store.get(SHARD, &keys(rows)).await.expect("rows can be read");
    let there = found.iter().flatten().count();
    assert!(there == 0 || there == rows.len(), "{there} of {} rows are there", rows.len());
}

/// A caller that does not know whether its batch was applied can apply it again.
pub async fn applying_a_batch_twice_equals_once(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    put(&store, &owner, &[Row::Task(samples::task(1))]).await;
    let mut batch = samples::publish(1);
    batch.push(Change::Delete(RowKey::Task(samples::task_id(1))));

    commit(&store, &owner, &batch).await;
    let rows = load(&store, &owner).await;
    let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.expect("the log can be read");
    commit(&store, &owner, &batch).await;
    assert_eq!(load(&store, &owner).await, rows);
    assert_eq!(store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.expect("the log can be read"), log);
    assert_eq!(log.events, [samples::event(1)]);
}

/// A batch may be empty.
pub async fn an_empty_batch_changes_nothing(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    put(&store, &owner, &[Row::Task(samples::task(1))]).await;
    commit(&store, &owner, &[]).await;
    assert_eq!(load(&store, &owner).await, [Row::Task(samples::task(1))]);
}

/// Shards have nothing in common but the store.
pub async fn two_shards_commit_at_once_and_do_not_see_each_other(harness: impl StoreHarness) {
    const COMMITS: u64 = 50;
    let store = Arc::new(harness.open().await);
    let shards = [ShardId(0), ShardId(u32::MAX)];
    let title = |shard: ShardId| Some(shard.0.to_string().into());
    let tasks = shards.map(|shard| {
        let store = store.clone();
        tokio::spawn(async move {
            let owner = acquire_shard(&*store, shard).await;
            for n in 1..=COMMITS {
                let session = Session { title: title(shard), ..samples::session(n) };
                let changes = [Change::Put(Row::Session(session)), Change::Append(samples::event(n))];
                commit(&*store, &owner, &changes).await;
            }
            owner
        })
    });
    for (task, shard) in tasks.into_iter().zip(shards) {
        let owner = task.await.expect("its commits succeed");
        let rows = load(&*store, &owner).await;
        assert_eq!(rows.len() as u64, COMMITS);
        for row in rows {
            let Row::Session(session) = row else { panic!("{row:?} was never put") };
            assert_eq!(session.title, title(shard));
        }
        let log = store.read_log(shard, Scope::All, Seq::ZERO, 1_000).await.expect("the log can be read");
        assert_eq!(log.events.len() as u64, COMMITS);
        assert_eq!(log.head, Seq(COMMITS));
    }
}

/// Each of many callers finds its last commit, and the log has every event in its place.
pub async fn concurrent_commits_of_a_shard_are_all_kept(harness: impl StoreHarness) {
    const CALLERS: u64 = 16;
    const COMMITS: u64 = 20;
    {
        let store = Arc::new(harness.open().await);
        let owner = acquire(&*store).await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (store, owner) = (store.clone(), owner.clone());
                tokio::spawn(async move {
                    for n in 1..=COMMITS {
                        let reader = Reader { place: Seq(n), ..samples::reader(caller) };
                        let event = samples::event(caller * COMMITS + n);
                        commit(&*store, &owner, &[Change::Put(Row::Reader(reader)), Change::Append(event)])
                            .await;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("its commits succeed");
        }
    }
    let store = harness.open().await;
    let readers: Vec<Row> = (0..CALLERS)
        .map(|caller| Row::Reader(Reader { place: Seq(COMMITS), ..samples::reader(caller) }))
        .collect();
    assert_eq!(get(&store, &keys(&readers)).await, readers);
    let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 1_000).await.expect("the log can be read");
    let events: Vec<_> = (1..=CALLERS * COMMITS).map(samples::event).collect();
    assert_eq!(log.events, events);
}

/// Whoever reads after a commit has returned sees it, on whatever thread.
pub async fn a_commit_returns_only_when_others_can_see_it(harness: impl StoreHarness) {
    let store = Arc::new(harness.open().await);
    let owner = acquire(&*store).await;
    for n in 1..=50 {
        let row = Row::Reader(samples::reader(n));
        commit(&*store, &owner, &[Change::Put(row.clone()), Change::Append(samples::event(n))]).await;
        let reads = [(); 4].map(|()| {
            let (store, row) = (store.clone(), row.clone());
            tokio::spawn(async move {
                assert_eq!(find(&*store, row.key()).await, Some(row));
                let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 0).await.expect("the log can be read");
                assert_eq!(log.head, Seq(n));
            })
        });
        for read in reads {
            read.await.expect("the commit is seen");
        }
    }
}
