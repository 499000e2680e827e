use bridge_core::{
    Change, NodeId, Ownership, Row, Scope, Seq, Session, ShardId, Store, StoreError, StoreErrorKind,
    Timestamp,
};

use super::{SHARD, StoreHarness, TTL, acquire, acquire_shard, commit, get, keys, load, put};
use crate::samples;

#[track_caller]
fn assert_fenced(result: Result<(), StoreError>) {
    match result {
        Err(error) => assert_eq!(error.kind, StoreErrorKind::Fenced, "{error}"),
        Ok(()) => panic!("an old epoch was not fenced"),
    }
}

/// The same node, or another, at whatever time it says it is.
pub async fn every_acquisition_raises_the_epoch(harness: impl StoreHarness) {
    let store = harness.open().await;
    let mut last = 0;
    for now in [samples::at(0), samples::at(1), Timestamp::MAX] {
        let owner =
            store.acquire(SHARD, NodeId(u128::MAX), now, TTL).await.expect("the shard can be acquired");
        assert_eq!((owner.shard, owner.node), (SHARD, NodeId(u128::MAX)));
        assert!(owner.epoch > last, "epoch {} follows {last}", owner.epoch);
        last = owner.epoch;
    }
}

/// Whatever their clocks say, and whether the last one gave up what it owned or not.
pub async fn the_time_of_owners_does_not_go_back(harness: impl StoreHarness) {
    for (n, (now, since)) in [(5, 5), (3, 5), (0, 5), (6, 6), (2, 6)].into_iter().enumerate() {
        let store = harness.open().await;
        let owner = store.acquire(SHARD, NodeId(n as u128), samples::at(now), TTL).await;
        let owner = owner.expect("the shard can be acquired");
        assert_eq!(owner.since, samples::at(since), "acquired at {now}");
        if n % 2 == 0 {
            store.release(&owner).await.expect("it can be given up");
        }
    }
}

/// A restarted node is a new owner.
pub async fn the_epoch_rises_over_reopening(harness: impl StoreHarness) {
    let mut last = 0;
    for _ in 0..3 {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        assert!(owner.epoch > last, "epoch {} follows {last}", owner.epoch);
        last = owner.epoch;
    }
}

/// Whoever was superseded learns it from its next commit, which does nothing.
pub async fn an_old_epoch_is_fenced_and_changes_nothing(harness: impl StoreHarness) {
    let store = harness.open().await;
    let old = acquire(&store).await;
    commit(&store, &old, &samples::publish(1)).await;
    let rows = samples::rows();
    put(&store, &old, &rows).await;
    let new = acquire(&store).await;

    let mut changes = vec![
        Change::Delete(rows[0].key()),
        Change::Put(Row::Session(Session { title: Some("fenced".into()), ..samples::session(1) })),
    ];
    changes.extend(samples::publish(2));
    assert_fenced(store.commit(&old, &changes).await);
    assert_fenced(store.commit(&old, &[]).await);

    assert_eq!(get(&store, &keys(&rows)).await, rows);
    let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.expect("the log can be read");
    assert_eq!((log.events, log.head), (vec![samples::event(1)], Seq(1)));
    commit(&store, &new, &samples::publish(2)).await;
}

/// An epoch that nobody was given is no better than an old one.
pub async fn an_epoch_that_never_was_is_fenced(harness: impl StoreHarness) {
    let store = harness.open().await;
    let nobody = Ownership { shard: ShardId(7), node: NodeId(1), epoch: 1, since: samples::at(0) };
    assert_fenced(store.commit(&nobody, &samples::publish(1)).await);
    let owner = acquire(&store).await;
    let ahead = Ownership { epoch: owner.epoch + 1, ..owner.clone() };
    assert_fenced(store.commit(&ahead, &samples::publish(1)).await);
    assert_eq!(load(&store, &owner).await, []);
}

/// What was superseded stays so.
pub async fn an_old_epoch_is_fenced_after_reopening(harness: impl StoreHarness) {
    let old = {
        let store = harness.open().await;
        acquire(&store).await
    };
    let store = harness.open().await;
    let new = acquire(&store).await;
    assert_fenced(store.commit(&old, &samples::publish(1)).await);
    assert_eq!(load(&store, &new).await, []);
}

/// Renewing is no acquisition: the epoch stays.
pub async fn an_owner_renews_until_it_is_superseded(harness: impl StoreHarness) {
    let store = harness.open().await;
    let old = acquire(&store).await;
    store.renew(&old, samples::at(1), TTL).await.expect("an owner renews");
    commit(&store, &old, &samples::publish(1)).await;
    let new = acquire(&store).await;
    assert_fenced(store.renew(&old, samples::at(2), TTL).await);
    store.renew(&new, Timestamp::MAX, TTL).await.expect("the new owner renews");
}

/// An owner that is late in giving up takes nothing from its successor.
pub async fn giving_up_a_lost_ownership_is_no_error(harness: impl StoreHarness) {
    let store = harness.open().await;
    let old = acquire(&store).await;
    let new = acquire(&store).await;
    store.release(&old).await.expect("giving up is always possible");
    commit(&store, &new, &samples::publish(1)).await;
    store.release(&new).await.expect("giving up is always possible");
    let next = acquire(&store).await;
    assert!(next.epoch > new.epoch);
}

/// Owning one shard says nothing about another.
pub async fn the_epoch_of_one_shard_is_not_anothers(harness: impl StoreHarness) {
    let store = harness.open().await;
    for _ in 0..3 {
        acquire(&store).await;
    }
    let here = acquire(&store).await;
    let there = acquire_shard(&store, ShardId(1)).await;
    assert_ne!(here.epoch, there.epoch, "each shard counts for itself, from its own first acquisition");
    assert_fenced(store.commit(&Ownership { shard: there.shard, ..here.clone() }, &[]).await);
    commit(&store, &here, &samples::publish(1)).await;
    commit(&store, &there, &samples::publish(1)).await;
}
