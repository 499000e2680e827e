//! A database of version 2, with all that can be in one, is opened with all its data.

use std::{iter, sync::Arc};

use bridge_core::{
    Address, Attempt, Change, DeadReason, Delivery, DeliveryId, Event, EventKind, Grant, GrantEnd, Index,
    Lease, Message, MessageId, Name, OutcomeKind, Receipts, ReturnReason, Row, RowKey, Scope, Seq, Session,
    ShardId, Side, State, Store, StoreErrorKind, bytes::Bytes,
};
use bridge_store::verify;
use bridge_testkit::samples::{self, at, message_id};

use super::{Directory, SHARD, acquire};

/// What lay in a database before its deliveries had the digits of their messages, as SQLite dumps it.
const DUMP: &str = include_str!("version_2.sql");

/// The conversation that most is about.
const SESSION: u64 = 1;

/// The delivery that a redrive made of the fourth message's.
const AGAIN: DeliveryId = DeliveryId(0x4_7000_910a_2dec_8902_a33e);

fn grant(number: u64, end: Option<GrantEnd>) -> Grant {
    let lease = Lease { epoch: 2, number };
    Grant { lease, batch: Lease { epoch: 2, number: 1 }, end, ..samples::spent_grant() }
}

fn question(n: u64) -> Message {
    Message {
        session: Some(samples::session_id(SESSION)),
        to: samples::address(SESSION),
        ..samples::message(n)
    }
}

fn event(n: u64, message: u64, delivery: DeliveryId, kind: EventKind) -> Event {
    let session = Some(samples::session_id(SESSION));
    Event { session, message: Some(message_id(message)), delivery: Some(delivery), kind, ..samples::event(n) }
}

fn presented(number: u64, attempt: u32) -> EventKind {
    let consumer = Name::from_static("worker");
    EventKind::Presented { lease: Lease { epoch: 2, number }, attempt, consumer, until: at(99) }
}

fn returned(reason: ReturnReason, error: Option<&str>) -> EventKind {
    EventKind::Returned { reason, failures: 1, visible_at: at(50), error: error.map(Into::into) }
}

/// An attempt as the events tell it.
fn attempt(number: u32, started: u64, reason: ReturnReason, error: Option<&str>) -> Attempt {
    Attempt {
        number,
        lease: Lease { epoch: 2, number: u64::from(number) },
        consumer: Name::from_static("worker"),
        started: at(started),
        ended: at(started + 1),
        reason,
        error: error.map(Into::into),
    }
}

/// Everything in the database: rows and events. `first` names the first delivery of a message.
fn everything(first: fn(MessageId) -> DeliveryId) -> Vec<Change> {
    let of = |n| first(message_id(n));
    let delivery = |n| Delivery { id: of(n), mailbox: samples::address(SESSION), ..samples::delivery(n) };
    let user = Address::Session(samples::session_id(SESSION), Side::User);
    let answered = GrantEnd::Spent {
        outcome: OutcomeKind::Answer,
        reply: Some(message_id(3)),
        fingerprint: Some([7; 32]),
    };

    let messages = [
        question(1),
        Message { headers: [("traceparent".into(), "00-1".into())].into(), ..question(2) },
        Message {
            from: Name::from_static("worker"),
            verified: true,
            to: user.clone(),
            kind: Name::from_static("answer"),
            key: Some(Name::new(&samples::session_id(SESSION).to_string()).expect("an id is a name")),
            reply_to: Some(message_id(2)),
            correlation_id: Some(Name::from_static("mine")),
            ..question(3)
        },
        question(4),
        Message { deliver_at: Some(at(500)), expires_at: Some(at(900)), ..question(5) },
        Message { payload: Bytes::from(vec![b'x'; 5_000]), session: None, ..question(6) },
        Message { seq: Seq(40), ..question(7) },
    ];
    let deliveries = [
        Delivery {
            state: State::Leased,
            attempt: 3,
            failures: 1,
            grant: Some(grant(3, None)),
            attempts: vec![
                attempt(1, 10, ReturnReason::Nack, Some("no disk")),
                attempt(2, 12, ReturnReason::Timeout, None),
            ],
            receipts: Receipts { presented: Some(at(14)), seen: Some(at(15)), ..delivery(1).receipts },
            progress: Some("half done".into()),
            last_error: Some("no disk".into()),
            ..delivery(1)
        },
        Delivery {
            state: State::Done,
            attempt: 1,
            grant: Some(grant(4, Some(answered))),
            receipts: Receipts { answered: Some(at(17)), settled: Some(at(17)), ..delivery(2).receipts },
            reply: Some(message_id(3)),
            ..delivery(2)
        },
        Delivery {
            mailbox: user,
            from: Name::from_static("worker"),
            kind: Name::from_static("answer"),
            key: Some(Name::new(&samples::session_id(SESSION).to_string()).expect("an id is a name")),
            state: State::Done,
            receipts: Receipts { read: Some(at(18)), ..delivery(3).receipts },
            ..delivery(3)
        },
        Delivery {
            state: State::Dead(DeadReason::Rejected),
            attempt: 1,
            grant: Some(grant(5, Some(GrantEnd::Lapsed))),
            receipts: Receipts { dead: Some(at(20)), ..delivery(4).receipts },
            last_error: Some("\"not\" mine\n".into()),
            redriven_as: Some(AGAIN),
            ..delivery(4)
        },
        Delivery {
            id: AGAIN,
            seq: Seq(23),
            place: Some(Seq(23)),
            receipts: Receipts { accepted: at(23), ..delivery(4).receipts },
            redrive_of: Some(of(4)),
            ..delivery(4)
        },
        Delivery {
            place: None,
            expires_at: Some(at(900)),
            state: State::Pending { visible_at: at(500) },
            ..delivery(5)
        },
        Delivery { size: 5_000, bounce: true, cancel_requested: true, ..delivery(6) },
        // Its message is gone, and with it who sent it.
        Delivery {
            from: Name::from_static(Name::NOBODY),
            seq: Seq::ZERO,
            state: State::Cancelled,
            ..delivery(8)
        },
    ];
    let accepted = |n| event(n, n, of(n), EventKind::Accepted { deliveries: 1 });
    let events = [
        accepted(1),
        accepted(2),
        accepted(3),
        accepted(4),
        accepted(5),
        Event { session: None, ..accepted(6) },
        Event {
            message: None,
            delivery: None,
            kind: EventKind::SessionOpened { title: None },
            ..accepted(7)
        },
        accepted(8),
        event(9, 2, of(2), presented(4, 1)),
        event(10, 1, of(1), presented(1, 1)),
        event(11, 1, of(1), returned(ReturnReason::Nack, Some("no disk"))),
        event(12, 1, of(1), presented(2, 2)),
        event(13, 1, of(1), returned(ReturnReason::Timeout, None)),
        event(14, 1, of(1), presented(3, 3)),
        event(15, 1, of(1), EventKind::Seen),
        event(16, 4, of(4), presented(5, 1)),
        event(17, 2, of(2), EventKind::Answered { reply: message_id(3) }),
        event(18, 3, of(3), EventKind::Read),
        event(19, 1, of(1), EventKind::Progressed { text: Some("half done".into()), until: at(99) }),
        event(20, 4, of(4), EventKind::Dead { reason: DeadReason::Rejected, error: None }),
        event(21, 8, of(8), EventKind::Cancelled),
        event(22, 6, of(6), EventKind::MessageDeleted),
        event(23, 4, of(4), EventKind::Redriven { successor: AGAIN }),
    ];
    let mut rows = vec![
        Row::Identity(samples::identity()),
        Row::Session(Session {
            title: Some("a conversation".into()),
            questions: 7,
            ..samples::session(SESSION)
        }),
        Row::Session(Session { closed_at: Some(at(3)), ..samples::session(2) }),
        Row::Mailbox(samples::mailbox(SESSION)),
        Row::Idempotency(samples::idempotency(1)),
        Row::Reader(samples::reader(1)),
    ];
    rows.extend(deliveries.map(Arc::new).map(Row::Delivery));
    rows.extend(messages.map(Arc::new).map(Row::Message));
    rows.sort_by_key(Row::key);
    rows.into_iter().map(Change::Put).chain(events.map(Change::Append)).collect()
}

fn opened() -> Directory {
    let directory = Directory::new();
    directory.connect().execute_batch(DUMP).unwrap();
    directory
}

#[tokio::test]
async fn everything_in_a_database_of_version_2_is_there() {
    let directory = opened();
    let changes = everything(|message| DeliveryId::of(message, 0));
    let (mut rows, mut events) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Put(row) => rows.push(row),
            Change::Append(event) => events.push(event),
            other => panic!("{other:?} is in no database"),
        }
    }
    rows.sort_by_key(Row::key);
    for _ in 0..2 {
        let store = directory.open().unwrap();
        for row in &rows {
            assert_eq!(store.get(SHARD, &[row.key()]).await.unwrap(), [Some(row.clone())]);
        }
        let owner = acquire(&store).await.unwrap();
        let mut live = store.load(&owner, None).await.unwrap();
        live.sort_by_key(Row::key);
        assert_eq!(live, rows.iter().filter(|row| row.is_live()).cloned().collect::<Vec<_>>());

        let session = samples::session_id(SESSION);
        let mut messages = Vec::new();
        for row in &rows {
            if let Row::Message(message) = row
                && message.session == Some(session)
            {
                let first = RowKey::Delivery(DeliveryId::of(message.id, 0));
                let first = rows.iter().find(|row| row.key() == first);
                messages.push((message.seq, iter::once(row).chain(first).cloned()));
            }
        }
        messages.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        let messages: Vec<_> = messages.into_iter().flat_map(|(_, rows)| rows).collect();
        let index = Index::Messages { session, before: None };
        assert_eq!(store.scan(SHARD, index, 100).await.unwrap(), messages);
        for scope in [Scope::All, Scope::Session(session)] {
            let page = store.read_log(SHARD, scope, Seq::ZERO, 100).await.unwrap();
            let inside: Vec<_> = events.iter().filter(|event| scope.contains(event)).cloned().collect();
            assert_eq!(page.events, inside);
            assert_eq!(page.head, Seq(23));
        }
        // The other shard of the file has its own.
        let there = ShardId(9);
        assert_eq!(
            store.read_log(there, Scope::All, Seq::ZERO, 100).await.unwrap().events,
            [samples::event(1)]
        );
        let keys = [RowKey::Delivery(samples::delivery_id(1)), RowKey::Message(message_id(1))];
        assert_eq!(
            store.get(there, &keys).await.unwrap(),
            [
                Some(Row::Delivery(Arc::new(samples::delivery(1)))),
                Some(Row::Message(Arc::new(samples::message(1))))
            ]
        );
    }
    let report = verify(directory.0.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn a_database_of_version_2_goes_on() {
    let directory = opened();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    assert_eq!(owner.epoch, 2);
    store.commit(&owner, &samples::publish(41)).await.unwrap();
    let done = Delivery { state: State::Done, ..samples::delivery(41) };
    store.commit(&owner, &[Change::Put(Row::Delivery(Arc::new(done)))]).await.unwrap();
    assert_eq!(store.read_log(SHARD, Scope::All, Seq(23), 9).await.unwrap().events, [samples::event(41)]);
}

#[tokio::test]
async fn a_damaged_database_of_version_2_is_refused_and_left_as_it_is() {
    let directory = opened();
    directory.connect().execute_batch("UPDATE message SET type = 'else' WHERE seq = 2").unwrap();
    for _ in 0..2 {
        let error = directory.open().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("table message, shard 0, id 0000000000027000"), "{error}");
    }
    let version: u32 =
        directory.connect().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
}
