use std::{slice, sync::Arc};

use bridge_core::{Message, Row, RowKey, Session, SessionId, State, Store, Timestamp, bytes::Bytes};

use super::{StoreHarness, acquire, commit, find, get, keys, load, load_after, put};
use crate::samples;
use bridge_core::Change;

/// What is put is there when the commit returns, value for value.
pub async fn rows_of_every_kind_return_after_a_commit(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let rows = samples::rows();
    put(&store, &owner, &rows).await;
    for (found, row) in get(&store, &keys(&rows)).await.iter().zip(&rows) {
        assert_eq!(found, row);
    }
}

/// What is put is there when the store is opened again.
pub async fn rows_of_every_kind_return_after_reopening(harness: impl StoreHarness) {
    let rows = samples::rows();
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        put(&store, &owner, &rows).await;
    }
    let store = harness.open().await;
    for (found, row) in get(&store, &keys(&rows)).await.iter().zip(&rows) {
        assert_eq!(found, row);
    }
}

/// Payloads are bytes: none, a mebibyte, every value.
pub async fn payloads_return_whatever_is_in_them(harness: impl StoreHarness) {
    let every_value: Vec<u8> = (0..=u8::MAX).collect();
    let payloads = [
        Bytes::new(),
        Bytes::from_static(&[0]),
        Bytes::from_static(&[0xff, 0xfe, 0xc3, 0x28]),
        every_value.clone().into(),
        every_value.repeat((1 << 20) / 256).into(),
    ];
    let messages: Vec<Row> = (1..)
        .zip(payloads)
        .map(|(n, payload)| Row::Message(Arc::new(Message { payload, ..samples::message(n) })))
        .collect();
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        put(&store, &owner, &messages).await;
        assert!(get(&store, &keys(&messages)).await == messages, "before reopening");
    }
    let store = harness.open().await;
    assert!(get(&store, &keys(&messages)).await == messages, "after reopening");
}

/// A store reads no clock and rounds no time.
pub async fn timestamps_return_as_they_were_given(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let times = [0, 1, 999, 1_000, 1_790_000_000_001, u64::from(u32::MAX) + 1, Timestamp::MAX.as_millis()];
    for time in times.map(Timestamp::from_millis) {
        let session = Row::Session(Session {
            created_at: time,
            last_activity: time,
            closed_at: Some(time),
            ..samples::session(1)
        });
        put(&store, &owner, slice::from_ref(&session)).await;
        assert_eq!(find(&store, session.key()).await, Some(session));
    }
}

/// There is one row to a key.
pub async fn a_put_replaces_the_row_with_its_key(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let old = samples::rows();
    put(&store, &owner, &old).await;

    let full = Row::Session(Session { title: Some("new".into()), ..samples::session(3) });
    let bare = Row::Session(samples::session(2));
    put(&store, &owner, &[full.clone(), bare.clone()]).await;

    let expected: Vec<Row> = old
        .into_iter()
        .map(|row| match row.key() {
            key if key == full.key() => full.clone(),
            key if key == bare.key() => bare.clone(),
            _ => row,
        })
        .collect();
    assert_eq!(get(&store, &keys(&expected)).await, expected);
    let live: Vec<Row> = expected.into_iter().filter(Row::is_live).collect();
    assert_eq!(load(&store, &owner).await, live);
}

/// What is deleted is gone, of every kind, and nothing else.
pub async fn a_delete_removes_the_row(harness: impl StoreHarness) {
    let rows = samples::rows();
    let (deleted, kept): (Vec<_>, Vec<_>) = rows.iter().cloned().enumerate().partition(|(at, _)| at % 2 == 0);
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        put(&store, &owner, &rows).await;
        let deletes: Vec<Change> = deleted.iter().map(|(_, row)| Change::Delete(row.key())).collect();
        commit(&store, &owner, &deletes).await;
        for (_, row) in &deleted {
            assert_eq!(find(&store, row.key()).await, None);
        }
    }
    let store = harness.open().await;
    for (_, row) in deleted {
        assert_eq!(find(&store, row.key()).await, None);
    }
    for (_, row) in kept {
        assert_eq!(find(&store, row.key()).await, Some(row));
    }
}

/// Deleting what is not there does nothing.
pub async fn a_delete_of_nothing_is_no_error(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let deletes: Vec<Change> = samples::rows().iter().map(|row| Change::Delete(row.key())).collect();
    commit(&store, &owner, &deletes).await;
    assert_eq!(load(&store, &owner).await, []);
}

/// Each key has its answer in its place: unknown ones, repeated ones, of all kinds mixed.
pub async fn get_keeps_positions_and_says_none_in_place(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let rows = samples::rows();
    put(&store, &owner, &rows).await;

    let mut asked = vec![RowKey::Session(SessionId(1))];
    let mut expected = vec![None];
    for row in rows.iter().rev().chain(&rows) {
        asked.extend([row.key(), RowKey::Message(samples::message_id(1_000))]);
        expected.extend([Some(row.clone()), None]);
    }
    assert_eq!(store.get(super::SHARD, &asked).await.expect("rows can be read"), expected);
    assert_eq!(store.get(super::SHARD, &[]).await.expect("nothing can be read"), []);
}

/// A load leaves out what a shard does not hold in memory.
pub async fn load_gives_the_live_rows_always_in_one_order(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let rows = samples::rows();
    let shuffled: Vec<Row> = rows.iter().rev().cloned().collect();
    put(&store, &owner, &shuffled).await;
    let mut live: Vec<Row> = rows.into_iter().filter(Row::is_live).collect();
    assert_eq!(load(&store, &owner).await, live);
    let ordered = load_after(&store, &owner, None).await;
    assert_eq!(load_after(&store, &owner, None).await, ordered);

    // A row that ends leaves the load, and changes nothing about the order of the others.
    for row in &mut live {
        let Row::Delivery(delivery) = row else { continue };
        Arc::make_mut(delivery).state = State::Done;
    }
    put(&store, &owner, &live).await;
    live.retain(Row::is_live);
    assert_eq!(load(&store, &owner).await, live);
    let left: Vec<Row> = ordered.into_iter().filter(|row| live.contains(row)).collect();
    assert_eq!(load_after(&store, &owner, None).await, left);
}

/// A page may begin behind any row.
pub async fn load_goes_on_behind_every_row_it_gave(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    put(&store, &owner, &samples::rows()).await;
    for n in 100..110 {
        commit(&store, &owner, &samples::publish(n)).await;
    }
    let rows = load_after(&store, &owner, None).await;
    assert!(rows.len() > 20);
    for (at, row) in rows.iter().enumerate() {
        let rest = load_after(&store, &owner, Some(row.key())).await;
        assert_eq!(rest, rows[at + 1..], "behind {:?}", row.key());
    }
}

/// However many rows there are, each comes once.
pub async fn load_of_many_rows_is_complete_page_by_page(harness: impl StoreHarness) {
    const MANY: u64 = 2_600;
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let mut rows = vec![Row::Identity(samples::identity())];
    rows.extend((0..MANY).map(|n| {
        Row::Session(Session { closed_at: (n % 3 == 0).then_some(samples::at(n)), ..samples::session(n) })
    }));
    rows.extend((0..MANY).map(samples::delivery).map(Arc::new).map(Row::Delivery));
    rows.extend((0..10).map(samples::task).map(Row::Task));
    for part in rows.chunks(1_000) {
        put(&store, &owner, part).await;
    }
    rows.retain(Row::is_live);
    rows.sort_by_key(Row::key);
    let loaded = load(&store, &owner).await;
    assert_eq!(loaded.len(), rows.len());
    assert!(loaded == rows, "the rows are not those that were put");
}
