//! A message, its delivery and the event that it was accepted: a store may keep them together, and nobody must notice.

use std::sync::Arc;

use bridge_core::{
    Address, Change, Delivery, Event, EventKind, Index, Message, Name, Priority, Row, RowKey, Scope, Seq,
    ShardId, Side, State, Store, bytes::Bytes,
};

use super::{SHARD, StoreHarness, acquire, acquire_shard, commit, find, load, load_after};
use crate::samples;

fn message(message: Message) -> Change {
    Change::Put(Row::Message(Arc::new(message)))
}

fn delivery(delivery: Delivery) -> Change {
    Change::Put(Row::Delivery(Arc::new(delivery)))
}

/// What readers see of a shard: rows by key, live rows, the log as a whole and of one session, and a session's messages with their deliveries.
#[derive(Debug, PartialEq)]
struct Seen {
    rows: Vec<Option<Row>>,
    live: Vec<Row>,
    log: Vec<Event>,
    log_of_session: Vec<Event>,
    messages: Vec<Row>,
}

async fn see(store: &impl Store, shard: ShardId, publishes: &[u64]) -> Seen {
    let ids = publishes.iter().map(|n| (samples::message_id(*n), samples::delivery_id(*n)));
    let keys: Vec<_> = ids.flat_map(|(id, of)| [RowKey::Message(id), RowKey::Delivery(of)]).collect();
    let mut live = store.scan(shard, Index::Live { after: None }, 10_000).await.expect("rows can be read");
    live.sort_by_key(Row::key);
    let log = async |scope| {
        let page = store.read_log(shard, scope, Seq::ZERO, 10_000).await.expect("the log can be read");
        page.events
    };
    let session = samples::session_id(publishes[0]);
    let index = Index::Messages { session, before: None };
    Seen {
        rows: store.get(shard, &keys).await.expect("rows can be read"),
        live,
        log: log(Scope::All).await,
        log_of_session: log(Scope::Session(session)).await,
        messages: store.scan(shard, index, 100).await.expect("an index can be read"),
    }
}

/// Parts that come together, or one by one in any order, look the same.
pub async fn a_publish_is_the_same_in_one_commit_or_in_several(harness: impl StoreHarness) {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let shards = |at: usize| ShardId(u32::try_from(at).expect("there are few orders"));
    {
        let store = harness.open().await;
        let whole = acquire(&store).await;
        commit(&store, &whole, &samples::publish(1)).await;
        for (at, order) in orders.iter().enumerate() {
            let owner = acquire_shard(&store, shards(2 * at + 1)).await;
            for part in order {
                commit(&store, &owner, &samples::publish(1)[*part..=*part]).await;
            }
            let owner = acquire_shard(&store, shards(2 * at + 2)).await;
            let changes: Vec<_> = order.iter().map(|part| samples::publish(1)[*part].clone()).collect();
            commit(&store, &owner, &changes).await;
        }
    }
    let store = harness.open().await;
    let expected = see(&store, SHARD, &[1]).await;
    assert_eq!(expected.log, [samples::event(1)]);
    let delivery = Row::Delivery(Arc::new(samples::delivery(1)));
    assert_eq!(expected.messages, [Row::Message(Arc::new(samples::message(1))), delivery.clone()]);
    assert_eq!(expected.live, [delivery]);
    for at in 1..=2 * orders.len() {
        assert_eq!(see(&store, shards(at), &[1]).await, expected, "in shard {at}");
    }
}

/// Each part goes by itself, and the others stay as they are; what comes back is there again.
pub async fn each_part_of_a_publish_goes_by_itself(harness: impl StoreHarness) {
    let keys = |n| [RowKey::Message(samples::message_id(n)), RowKey::Delivery(samples::delivery_id(n))];
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        for n in 1..=4 {
            let large = Message { payload: vec![b'x'; 10_000].into(), ..samples::message(n) };
            let size = 10_000;
            commit(
                &store,
                &owner,
                &[
                    Change::Append(samples::event(n)),
                    message(large),
                    delivery(Delivery { size, ..samples::delivery(n) }),
                ],
            )
            .await;
        }
        let [of_message, of_delivery] = keys(2);
        commit(&store, &owner, &[Change::Delete(of_message)]).await;
        commit(&store, &owner, &[Change::Delete(of_delivery)]).await;
        let [of_message, of_delivery] = keys(3);
        commit(&store, &owner, &[Change::Delete(of_delivery)]).await;
        commit(&store, &owner, &[Change::Delete(of_message)]).await;
        let [of_message, _] = keys(4);
        commit(&store, &owner, &[Change::Delete(of_message)]).await;
    }
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let seen = see(&store, SHARD, &[1, 2, 3, 4]).await;
    let there: Vec<bool> = seen.rows.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, true, false, false, false, false, false, true]);
    assert_eq!(seen.live.len(), 2);
    assert_eq!(seen.log, [1, 2, 3, 4].map(samples::event));
    let index = |n| Index::Messages { session: samples::session_id(n), before: None };
    assert_eq!(store.scan(SHARD, index(4), 10).await.expect("an index can be read"), []);

    // Without its message a delivery still changes.
    let done = Delivery { size: 10_000, state: State::Done, ..samples::delivery(4) };
    commit(&store, &owner, &[delivery(done.clone())]).await;
    assert_eq!(find(&store, RowKey::Delivery(done.id)).await, Some(Row::Delivery(Arc::new(done))));

    for n in 2..=4 {
        commit(&store, &owner, &samples::publish(n)).await;
        let [of_message, of_delivery] = keys(n);
        assert_eq!(find(&store, of_message).await, Some(Row::Message(Arc::new(samples::message(n)))));
        assert_eq!(find(&store, of_delivery).await, Some(Row::Delivery(Arc::new(samples::delivery(n)))));
    }
    assert_eq!(see(&store, SHARD, &[1, 2, 3, 4]).await.log, [1, 2, 3, 4].map(samples::event));
    assert_eq!(load(&store, &owner).await.len(), 4);
}

/// Whatever becomes of a delivery, it is told as it was put, and so are its message and its event.
pub async fn a_delivery_changes_beside_its_message(harness: impl StoreHarness) {
    let forms = samples::delivery_forms(1);
    for form in &forms {
        {
            let store = harness.open().await;
            let owner = acquire(&store).await;
            commit(&store, &owner, &samples::publish(1)).await;
            commit(&store, &owner, &[delivery(form.clone())]).await;
            assert_eq!(
                find(&store, RowKey::Delivery(form.id)).await,
                Some(Row::Delivery(Arc::new(form.clone())))
            );
        }
        let store = harness.open().await;
        let seen = see(&store, SHARD, &[1]).await;
        let row = Row::Delivery(Arc::new(form.clone()));
        assert_eq!(seen.rows[1].as_ref(), Some(&row));
        assert_eq!(seen.live, if row.is_live() { vec![row] } else { Vec::new() });
        assert_eq!(seen.rows[0], Some(Row::Message(Arc::new(samples::message(1)))));
        assert_eq!(seen.log, [samples::event(1)]);
    }
}

/// What a delivery repeats of its message it need not repeat for ever.
pub async fn a_delivery_may_differ_from_its_message(harness: impl StoreHarness) {
    let base = samples::delivery(1);
    let others = [
        Delivery { message: samples::message_id(2), ..base.clone() },
        Delivery { mailbox: Address::Session(samples::session_id(1), Side::User), ..base.clone() },
        Delivery { key: Some(Name::from_static("another")), ..base.clone() },
        Delivery { priority: Priority::new(1).expect("one is a priority"), ..base.clone() },
        Delivery { size: 6, ..base.clone() },
        Delivery { expires_at: Some(samples::at(9)), ..base.clone() },
        Delivery { place: Some(Seq(9)), ..base.clone() },
        Delivery { place: None, ..base.clone() },
        Delivery { bounce: true, ..base.clone() },
        Delivery { redrive_of: Some(samples::delivery_id(2)), ..base.clone() },
    ];
    let store = harness.open().await;
    let owner = acquire(&store).await;
    for (other, shard) in others.into_iter().zip((1..).map(ShardId)) {
        let elsewhere = acquire_shard(&store, shard).await;
        let mut publish = samples::publish(1);
        publish[2] = delivery(other.clone());
        commit(&store, &elsewhere, &publish).await;
        assert_eq!(see(&store, shard, &[1]).await.rows[1], Some(Row::Delivery(Arc::new(other.clone()))));

        for changed in [other, base.clone()] {
            commit(&store, &owner, &samples::publish(1)[..2]).await;
            commit(&store, &owner, &[delivery(changed.clone())]).await;
            let seen = see(&store, SHARD, &[1]).await;
            assert_eq!(seen.rows[1], Some(Row::Delivery(Arc::new(changed.clone()))));
            assert_eq!(seen.live, [Row::Delivery(Arc::new(changed))]);
            assert_eq!(seen.rows[0], Some(Row::Message(Arc::new(samples::message(1)))));
            assert_eq!(seen.log, [samples::event(1)]);
        }
    }
}

/// A message that is put again takes its delivery and its event nothing away.
pub async fn a_message_may_be_put_again(harness: impl StoreHarness) {
    let base = samples::message(1);
    let others = [
        Message { payload: Bytes::from(vec![7; 5_000]), ..base.clone() },
        Message { payload: Bytes::from_static(b"world"), ..base.clone() },
        Message { seq: Seq(9), ..base.clone() },
        Message { session: None, ..base.clone() },
        Message { key: Some(Name::from_static("another")), ..base.clone() },
        Message { created_at: samples::at(9), ..base.clone() },
        Message { deliveries: 2, ..base.clone() },
        Message { expires_at: Some(samples::at(9)), ..base.clone() },
    ];
    let store = harness.open().await;
    let owner = acquire(&store).await;
    commit(&store, &owner, &samples::publish(1)).await;
    let leased = Delivery { state: State::Leased, attempt: 1, ..samples::delivery(1) };
    commit(&store, &owner, &[delivery(leased.clone())]).await;
    for other in others {
        for put in [other, base.clone()] {
            commit(&store, &owner, &[message(put.clone())]).await;
            let seen = see(&store, SHARD, &[1]).await;
            assert_eq!(seen.rows[0], Some(Row::Message(Arc::new(put))));
            assert_eq!(seen.rows[1], Some(Row::Delivery(Arc::new(leased.clone()))));
            assert_eq!(seen.live, [Row::Delivery(Arc::new(leased.clone()))]);
            assert_eq!(seen.log, [samples::event(1)]);
        }
    }
}

/// A store may keep long contents apart: they come and go with their message all the same.
pub async fn contents_of_every_length_return_with_their_delivery(harness: impl StoreHarness) {
    let lengths = [0, 1, 2_047, 2_048, 2_049, 4_096, 1 << 20];
    let numbered = || (1..).zip(lengths);
    let content = |n: u64, length| Message { payload: vec![n as u8; length].into(), ..samples::message(n) };
    let fitting = |n, length| Delivery {
        size: u32::try_from(length).expect("it is no longer than that"),
        ..samples::delivery(n)
    };
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        for (n, length) in numbered() {
            let changes = [
                Change::Append(samples::event(n)),
                message(content(n, length)),
                delivery(fitting(n, length)),
            ];
            commit(&store, &owner, &changes).await;
            let done = Delivery { state: State::Done, ..fitting(n, length) };
            commit(&store, &owner, &[delivery(done)]).await;
        }
    }
    let store = harness.open().await;
    let owner = acquire(&store).await;
    for (n, length) in numbered() {
        let found = find(&store, RowKey::Message(samples::message_id(n))).await;
        assert!(found == Some(Row::Message(Arc::new(content(n, length)))), "{length} bytes");
        // The next one there is another.
        let other = content(n, lengths[lengths.len() - n as usize]);
        commit(&store, &owner, &[Change::Delete(RowKey::Message(other.id)), message(other.clone())]).await;
        let found = find(&store, RowKey::Message(other.id)).await;
        assert!(found == Some(Row::Message(Arc::new(other))), "after {length} bytes");
    }
}

/// Accepted messages and everything else that happened are one log, from whatever place it is read.
pub async fn the_log_is_one_wherever_its_events_lie(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let mut events = Vec::new();
    for n in 1..=40 {
        let session = Some(samples::session_id(n % 3));
        let mut event = Event { session, ..samples::event(n) };
        let changes = if n % 4 == 0 {
            event.kind = EventKind::Settled;
            vec![Change::Append(event.clone())]
        } else {
            let message = message(Message { session, ..samples::message(n) });
            vec![Change::Append(event.clone()), message, delivery(samples::delivery(n))]
        };
        commit(&store, &owner, &changes).await;
        events.push(event);
    }
    for scope in [Scope::All, Scope::Session(samples::session_id(1)), Scope::Session(samples::session_id(7))]
    {
        for after in [0, 1, 3, 4, 5, 39, 40, 41] {
            for limit in [0, 1, 2, 7, 100] {
                let page =
                    store.read_log(SHARD, scope, Seq(after), limit).await.expect("the log can be read");
                let inside = events.iter().filter(|event| scope.contains(event) && event.seq > Seq(after));
                let expected: Vec<_> = inside.take(limit).cloned().collect();
                assert_eq!(page.events, expected, "{limit} of {scope:?} after {after}");
                assert_eq!((page.floor, page.head), (Seq::ZERO, Seq(40)));
            }
        }
    }
}

/// An event has its place, whether its message is there or not.
pub async fn another_event_never_takes_the_place_of_a_message(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    commit(&store, &owner, &samples::publish(1)).await;
    let other = Change::Append(Event { kind: EventKind::Seen, ..samples::event(1) });
    for _ in 0..2 {
        let _either = store.commit(&owner, std::slice::from_ref(&other)).await;
        assert_eq!(see(&store, SHARD, &[1]).await.log, [samples::event(1)]);
        commit(&store, &owner, &[Change::Delete(RowKey::Message(samples::message_id(1)))]).await;
    }
}

/// Very many messages are loaded page by page, each once.
pub async fn load_of_many_messages_is_complete_page_by_page(harness: impl StoreHarness) {
    const MANY: u64 = 2_600;
    let store = harness.open().await;
    let owner = acquire(&store).await;
    for first in (1..=MANY).step_by(100) {
        let changes: Vec<_> = (first..first + 100).flat_map(samples::publish).collect();
        commit(&store, &owner, &changes).await;
    }
    let apart =
        (1..=100).map(|n| Delivery { id: samples::delivery_id(n).redriven(), ..samples::delivery(n) });
    commit(&store, &owner, &apart.map(delivery).collect::<Vec<_>>()).await;
    let acked = (1..=MANY).filter(|n| n % 3 == 0);
    let acked = acked.map(|n| Delivery { state: State::Done, ..samples::delivery(n) });
    commit(&store, &owner, &acked.map(delivery).collect::<Vec<_>>()).await;

    let rows = load_after(&store, &owner, None).await;
    let mut keys: Vec<_> = rows.iter().map(Row::key).collect();
    keys.sort();
    let published = (1..=MANY).filter(|n| n % 3 != 0).map(samples::delivery_id);
    let mut expected: Vec<_> = published
        .chain((1..=100).map(|n| samples::delivery_id(n).redriven()))
        .map(RowKey::Delivery)
        .collect();
    expected.sort();
    assert!(keys == expected, "{} rows instead of {}", keys.len(), expected.len());
    for at in [0, 998, 999, 1_000, 1_732, 1_733, 1_734, rows.len() - 1] {
        let rest = load_after(&store, &owner, Some(rows[at].key())).await;
        assert!(rest == rows[at + 1..], "behind row {at}");
    }
}

/// The same messages in the same places of two shards are four.
pub async fn the_messages_of_two_shards_do_not_meet(harness: impl StoreHarness) {
    let store = harness.open().await;
    let shards = [ShardId(0), ShardId(u32::MAX)];
    let publishes: Vec<u64> = (1..=20).collect();
    for (shard, last) in shards.into_iter().zip([20, 10]) {
        let owner = acquire_shard(&store, shard).await;
        for n in 1..=last {
            commit(&store, &owner, &samples::publish(n)).await;
        }
    }
    let owner = acquire_shard(&store, shards[1]).await;
    let done = Delivery { state: State::Done, ..samples::delivery(3) };
    commit(&store, &owner, &[delivery(done), Change::Delete(RowKey::Message(samples::message_id(4)))]).await;

    let [here, there] = [see(&store, shards[0], &publishes).await, see(&store, shards[1], &publishes).await];
    assert_eq!(here.rows.iter().flatten().count(), 40);
    assert_eq!(there.rows.iter().flatten().count(), 19);
    assert_eq!((here.live.len(), there.live.len()), (20, 9));
    assert_eq!((here.log.len(), there.log.len()), (20, 10));
    assert_eq!((here.messages.len(), there.messages.len()), (2, 2));
}
