use std::sync::Arc;

use bridge_core::{
    Change, DeadReason, Delivery, First, IdempotencyRecord, IdempotencyScope, Index, Message, Name, Reader,
    Row, SCAN_BYTES, Seq, Session, SessionId, State, Store,
};

use super::{SHARD, StoreHarness, acquire, acquire_shard, commit, put};
use crate::samples;

async fn scan(store: &impl Store, index: Index, limit: usize) -> Vec<Row> {
    store.scan(SHARD, index, limit).await.expect("an index can be read")
}

/// Open and closed ones alike, a page at a time, of this shard only.
pub async fn sessions_are_listed_newest_first(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let sessions: Vec<Row> = (1..=7)
        .map(|n| Session { closed_at: (n % 2 == 0).then_some(samples::at(n)), ..samples::session(n) })
        .map(Row::Session)
        .collect();
    put(&store, &owner, &sessions).await;
    let elsewhere = acquire_shard(&store, bridge_core::ShardId(1)).await;
    put(&store, &elsewhere, &[Row::Session(samples::session(8))]).await;

    let newest_first: Vec<Row> = sessions.into_iter().rev().collect();
    let from = |n| Index::Sessions { before: Some((samples::session(n).created_at, samples::session_id(n))) };
    assert_eq!(scan(&store, Index::Sessions { before: None }, 3).await, newest_first[..3]);
    assert_eq!(scan(&store, from(5), 3).await, newest_first[3..6]);
    assert_eq!(scan(&store, from(2), 3).await, newest_first[6..]);
    assert_eq!(scan(&store, from(1), 3).await, []);
    assert_eq!(scan(&store, Index::Sessions { before: None }, 0).await, []);
}

/// The order is that of the beginnings, whatever the ids are; of those that began together the greater id is first.
pub async fn sessions_are_listed_by_their_beginning(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let begun = |id, n| Row::Session(Session { id, created_at: samples::at(n), ..samples::session(0) });
    let listed = [
        begun(SessionId::DEFAULT, 9),
        begun(samples::session_id(7), 5),
        begun(samples::session_id(3), 5),
        begun(SessionId(u128::MAX), 1),
    ];
    put(&store, &owner, &listed).await;
    assert_eq!(scan(&store, Index::Sessions { before: None }, 10).await, listed);
    let before = Index::Sessions { before: Some((samples::at(5), samples::session_id(7))) };
    assert_eq!(scan(&store, before, 10).await, listed[2..]);
}

/// Two sessions' messages, mixed, and one of no session.
async fn put_messages(store: &impl Store) -> Vec<Row> {
    let owner = acquire(store).await;
    let messages: Vec<Row> = (1..=20)
        .map(|n| {
            let session = (n != 7).then_some(samples::session_id(n % 2));
            // The order of ids is not that of places.
            Row::Message(Arc::new(Message {
                id: samples::message_id(99 - n),
                session,
                ..samples::message(n)
            }))
        })
        .collect();
    put(store, &owner, &messages).await;
    let session = Some(samples::session_id(1));
    messages.into_iter().filter(|row| matches!(row, Row::Message(it) if it.session == session)).collect()
}

/// A page of a conversation is read from its end.
pub async fn messages_of_a_session_are_listed_newest_first(harness: impl StoreHarness) {
    let store = harness.open().await;
    let messages: Vec<Row> = put_messages(&store).await.into_iter().rev().collect();
    let index = |before| Index::Messages { session: samples::session_id(1), before };
    assert_eq!(messages.len(), 9);
    assert_eq!(scan(&store, index(None), 100).await, messages);
    assert_eq!(scan(&store, index(None), 4).await, messages[..4]);
    assert_eq!(scan(&store, index(Some(Seq(13))), 4).await, messages[4..8]);
    assert_eq!(scan(&store, index(Some(Seq(1))), 4).await, []);
    let nobody = Index::Messages { session: samples::session_id(5), before: None };
    assert_eq!(scan(&store, nobody, 4).await, []);
}

/// A message is listed with its first delivery as that stands, wherever it lies. The limit is of messages.
pub async fn messages_of_a_session_come_with_their_first_deliveries(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let session = Some(samples::session_id(1));
    let message = |n, size| {
        let payload = vec![b'x'; size].into();
        Row::Message(Arc::new(Message { session, payload, ..samples::message(n) }))
    };
    let delivery = |delivery| Row::Delivery(Arc::new(delivery));
    let redriven = samples::delivery_id(2).redriven();
    let dead = Delivery {
        state: State::Dead(DeadReason::Rejected),
        redriven_as: Some(redriven),
        ..samples::delivery(2)
    };
    let again = Delivery { id: redriven, redrive_of: Some(dead.id), seq: Seq(9), ..samples::delivery(2) };
    let rows = [
        message(4, SCAN_BYTES),
        delivery(Delivery { size: SCAN_BYTES as u32, ..samples::delivery(4) }),
        message(3, 5),
        message(2, 5),
        delivery(dead),
        message(1, 5),
        // It is not as its message is.
        delivery(Delivery { mailbox: samples::address(7), ..samples::delivery(1) }),
    ];
    put(&store, &owner, &rows).await;
    put(&store, &owner, &[delivery(again)]).await;
    let before = |n| Index::Messages { session: samples::session_id(1), before: Some(Seq(n)) };
    assert_eq!(scan(&store, before(5), 10).await, rows[..2]);
    assert_eq!(scan(&store, before(4), 10).await, rows[2..]);
    assert_eq!(scan(&store, before(4), 2).await, rows[2..5]);
}

/// Those whose end lies before the given time, soonest first; of those that end together by sender, address and key as texts.
pub async fn remembered_publishes_are_listed_when_their_time_has_passed(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let records: Vec<Row> = [5, 2, 9, 1, 7]
        .map(|n| {
            let scope = IdempotencyScope {
                key: Name::new(&format!("key {}", 10 - n)).expect("a short name"),
                ..samples::idempotency(1).scope
            };
            Row::Idempotency(IdempotencyRecord { scope, ..samples::idempotency(n) })
        })
        .into();
    put(&store, &owner, &records).await;
    let passed = [&records[3], &records[1], &records[0]].map(Clone::clone);
    let index = |n| Index::IdempotencyBefore(samples::at(n));
    assert_eq!(scan(&store, index(7), 10).await, passed);
    assert_eq!(scan(&store, index(7), 2).await, passed[..2]);
    assert_eq!(scan(&store, index(1), 10).await, []);

    let conversation = format!("session:{}/user", samples::session_id(1));
    let ended = [
        ("a", "group:a", "b"),
        ("a", "group:b", "a"),
        ("a", "printer", "a"),
        ("a", &conversation, "a"),
        ("a", "worker", "a"),
        ("a", "worker", "b"),
        ("b", "group:a", "a"),
    ];
    let together: Vec<Row> = ended
        .map(|(from, to, key)| {
            let name = |text| Name::new(text).expect("a short name");
            let to = to.parse().expect("an address");
            let scope = IdempotencyScope { from: name(from), to, key: name(key) };
            Row::Idempotency(IdempotencyRecord { scope, ..samples::idempotency(6) })
        })
        .into();
    let mixed = [3, 0, 6, 2, 4, 1, 5].map(|at| together[at].clone());
    put(&store, &owner, &mixed).await;
    let all: Vec<Row> = passed.iter().chain(&together).cloned().collect();
    assert_eq!(scan(&store, index(7), 100).await, all);
    assert_eq!(scan(&store, index(7), 8).await, all[..8]);
}

/// An observer sees what an owner would load, also after another one took over.
pub async fn live_rows_are_seen_without_owning_the_shard(harness: impl StoreHarness) {
    let store = harness.open().await;
    let index = |after| Index::Live { after };
    assert_eq!(scan(&store, index(None), 10).await, []);
    let first = acquire(&store).await;
    put(&store, &first, &samples::rows()).await;
    let owner = acquire(&store).await;
    let live = store.load(&owner, None).await.expect("the owner can load");
    assert!(live.len() > 3);
    assert_eq!(scan(&store, index(None), 100).await, live);
    assert_eq!(scan(&store, index(None), 2).await, live[..2]);
    assert_eq!(scan(&store, index(Some(live[1].key())), 100).await, live[2..]);
}

/// A reader asks for many and gets as many as fit, at least one, and then the next.
pub async fn large_messages_end_a_scan_early(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let session = Some(samples::session_id(1));
    let sizes = [1, 2 * SCAN_BYTES, 1, SCAN_BYTES / 2, SCAN_BYTES / 2];
    let messages: Vec<Row> = (1..)
        .zip(sizes)
        .map(|(n, size)| Message { session, payload: vec![b'x'; size].into(), ..samples::message(n) })
        .map(|message| Row::Message(Arc::new(message)))
        .collect();
    put(&store, &owner, &messages).await;
    let before = |n| Index::Messages { session: samples::session_id(1), before: Some(Seq(n)) };
    let messages: Vec<Row> = messages.into_iter().rev().collect();
    assert_eq!(scan(&store, before(6), 10).await, messages[..2]);
    assert_eq!(scan(&store, before(4), 10).await, messages[2..4]);
    assert_eq!(scan(&store, before(3), 10).await, messages[3..4]);
    assert_eq!(scan(&store, before(2), 10).await, messages[4..]);
}

/// By state and mailbox, from either end, within a part of the log: those that lie with their messages and those that do not.
pub async fn deliveries_are_listed_by_state(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let states = [
        State::Pending { visible_at: samples::at(1) },
        State::Leased,
        State::Done,
        State::Dead(DeadReason::Rejected),
        State::Cancelled,
    ];
    let mut all = Vec::new();
    for n in 1..=30 {
        let state = states[usize::try_from(n).expect("a small number") % states.len()];
        let mailbox = samples::address(n % 2);
        let message = Message { to: mailbox.clone(), ..samples::message(n) };
        let delivery = Delivery { state, mailbox, ..samples::delivery(n) };
        let mut changes = vec![Change::Append(samples::event(n))];
        // Every third is the successor of one that is not there, and lies by itself.
        let delivery = if n % 3 == 0 {
            Delivery { id: delivery.id.redriven(), redrive_of: Some(delivery.id), ..delivery }
        } else {
            changes.push(Change::Put(Row::Message(Arc::new(message))));
            delivery
        };
        changes.push(Change::Put(Row::Delivery(Arc::new(delivery.clone()))));
        store.commit(&owner, &changes).await.expect("what is new is written");
        all.push(delivery);
    }
    for (state, mailbox, first) in states.iter().flat_map(|state| {
        [None, Some(samples::address(1))].into_iter().flat_map(move |mailbox| {
            [First::Oldest, First::Newest].map(move |first| (state.kind(), mailbox.clone(), first))
        })
    }) {
        for (from, to, limit) in [(1, 31, 100), (7, 19, 100), (1, 31, 2), (5, 5, 9)] {
            let (from, to) = (Seq(from), Seq(to));
            let mut wanted: Vec<Row> = all
                .iter()
                .filter(|delivery| delivery.state.kind() == state && (from..to).contains(&delivery.seq))
                .filter(|delivery| mailbox.as_ref().is_none_or(|mailbox| delivery.mailbox == *mailbox))
                .map(|delivery| Row::Delivery(Arc::new(delivery.clone())))
                .collect();
            if first == First::Newest {
                wanted.reverse();
            }
            wanted.truncate(limit);
            let index = Index::Deliveries { state, mailbox: mailbox.clone(), from, to, first };
            assert_eq!(scan(&store, index, limit).await, wanted, "{state:?} {mailbox:?} {from}..{to}");
        }
    }
}

/// By their times, of equal ones by their places: those that lie with their messages, whether these are there or not, and those
/// that do not.
pub async fn deliveries_are_listed_when_they_are_to_be_looked_at(harness: impl StoreHarness) {
    let retiring = |until| Index::Retiring { after: None, until: samples::at(until) };
    let behind = |delivery: &Row| match delivery {
        Row::Delivery(delivery) => {
            let after = delivery.retire_at.map(|at| (at, delivery.seq));
            Index::Retiring { after, until: samples::at(100) }
        }
        other => panic!("{other:?} is no delivery"),
    };
    let mut all = Vec::new();
    {
        let store = harness.open().await;
        let owner = acquire(&store).await;
        for n in 1..=20 {
            let mut changes = samples::publish(n);
            let retire_at = (n % 5 != 0).then(|| samples::at(100 - n / 2));
            let delivery = Delivery { state: State::Done, retire_at, ..samples::delivery(n) };
            let delivery = if n % 3 == 0 {
                changes.pop();
                Delivery { id: delivery.id.redriven(), redrive_of: Some(delivery.id), ..delivery }
            } else {
                delivery
            };
            changes.push(Change::Put(Row::Delivery(Arc::new(delivery.clone()))));
            if n % 4 == 0 {
                changes.push(Change::Delete(bridge_core::RowKey::Message(delivery.message)));
            }
            commit(&store, &owner, &changes).await;
            all.push(delivery);
        }
        let elsewhere = acquire_shard(&store, bridge_core::ShardId(1)).await;
        let other = Delivery { retire_at: Some(samples::at(1)), ..samples::delivery(1) };
        put(&store, &elsewhere, &[Row::Delivery(Arc::new(other))]).await;
    }
    all.retain(|delivery| delivery.retire_at.is_some());
    all.sort_by_key(|delivery| (delivery.retire_at, delivery.seq));
    let expected: Vec<Row> = all.into_iter().map(|delivery| Row::Delivery(Arc::new(delivery))).collect();

    let store = harness.open().await;
    let owner = acquire(&store).await;
    assert_eq!(scan(&store, retiring(100), 100).await, expected);
    assert_eq!(scan(&store, retiring(100), 7).await, expected[..7]);
    for (at, last) in expected.iter().enumerate() {
        assert_eq!(scan(&store, behind(last), 100).await, expected[at + 1..], "behind {at}");
    }
    assert_eq!(scan(&store, retiring(91), 1).await, expected[..1]);
    assert_eq!(scan(&store, retiring(90), 100).await, []);
    // One that is to be looked at later is there then; one that is gone is not.
    let Row::Delivery(first) = &expected[0] else { panic!("only deliveries are listed") };
    let later = Row::Delivery(Arc::new(Delivery { retire_at: Some(samples::at(200)), ..(**first).clone() }));
    put(&store, &owner, std::slice::from_ref(&later)).await;
    commit(&store, &owner, &[Change::Delete(expected[1].key())]).await;
    assert_eq!(scan(&store, retiring(100), 100).await, expected[2..]);
    assert_eq!(scan(&store, retiring(200), 100).await.last(), Some(&later));
}

/// Those that were closed first are first; open ones are not among them.
pub async fn closed_sessions_are_listed_when_their_time_has_passed(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let sessions: Vec<Row> = (1..=9)
        .map(|n| Session { closed_at: (n % 3 != 0).then(|| samples::at(20 - n)), ..samples::session(n) })
        .map(Row::Session)
        .collect();
    put(&store, &owner, &sessions).await;
    let closed = |until| Index::ClosedSessions { after: None, until: samples::at(until) };
    let expected = [8, 7, 5, 4, 2, 1].map(|n: usize| sessions[n - 1].clone());
    assert_eq!(scan(&store, closed(100), 10).await, expected);
    assert_eq!(scan(&store, closed(15), 10).await, expected[..3]);
    assert_eq!(scan(&store, closed(100), 2).await, expected[..2]);
    assert_eq!(scan(&store, closed(11), 10).await, []);
    // Behind each of them, and behind each of two that were closed together.
    let session = Session { closed_at: Some(samples::at(15)), ..samples::session(10) };
    let expected: Vec<Row> = [&expected[..3], &[Row::Session(session)], &expected[3..]].concat();
    put(&store, &owner, &expected[3..4]).await;
    for (at, row) in expected.iter().enumerate() {
        let Row::Session(last) = row else { panic!("only sessions are listed") };
        let after = last.closed_at.map(|closed_at| (closed_at, last.id));
        let behind = Index::ClosedSessions { after, until: samples::at(100) };
        assert_eq!(scan(&store, behind, 10).await, expected[at + 1..], "behind {at}");
    }
}

/// Those of one session alone, by their names.
pub async fn readers_of_a_session_are_listed(harness: impl StoreHarness) {
    let store = harness.open().await;
    let owner = acquire(&store).await;
    let reader = |name, n| Row::Reader(Reader { name: Name::from_static(name), ..samples::reader(n) });
    let readers = ["a", "b", "c"].map(|name| reader(name, 1));
    put(&store, &owner, &[readers[2].clone(), reader("d", 2), readers[0].clone(), readers[1].clone()]).await;
    let of = |n| Index::Readers { session: samples::session_id(n) };
    assert_eq!(scan(&store, of(1), 10).await, readers);
    assert_eq!(scan(&store, of(1), 2).await, readers[..2]);
    assert_eq!(scan(&store, of(3), 2).await, []);
}
