//! Damage is said, with the file's name, and never served.

use std::{
    fs,
    io::Write,
    sync::{Arc, Mutex},
};

use bridge_core::{
    Change, Delivery, Event, Handshake, HandshakeStore, IdempotencyRecord, IdempotencyScope, Index, Message,
    Ownership, Row, RowKey, Scope, Seq, Session, State, Store, StoreErrorKind, bytes::Bytes,
};
use bridge_store::{SqliteStore, verify};
use bridge_testkit::samples;

use super::{Directory, SHARD, acquire, publish};

/// Bytes that occur nowhere else in a database.
const MARK: &[u8] = b"--a payload that can be found--";

/// A closed database with some publishes, the second with a payload that can be found.
async fn filled() -> Directory {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    publish(&store, 1..=5).await;
    let owner = acquire(&store).await.unwrap();
    let marked = Message { payload: Bytes::from_static(MARK), ..samples::message(2) };
    store.commit(&owner, &[Change::Put(Row::Message(Arc::new(marked)))]).await.unwrap();
    directory
}

#[tokio::test]
async fn a_sound_database_verifies() {
    let directory = filled().await;
    let report = verify(directory.0.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.schema, 4);
}

#[tokio::test]
async fn rows_of_every_kind_verify() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    let mut changes: Vec<Change> = samples::rows().into_iter().map(Change::Put).collect();
    changes.extend(samples::events().into_iter().map(Change::Append));
    // What the live samples refer to.
    changes.extend((0..3).map(|n| Change::Put(Row::Message(Arc::new(samples::message(n))))));
    store.commit(&owner, &changes).await.unwrap();
    store.save(samples::handshake(1)).await.unwrap();
    drop(store);
    let report = verify(directory.0.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
async fn what_is_left_of_deleted_messages_verifies() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    for n in 1..=3 {
        let long = Message { payload: Bytes::from(vec![b'x'; 10_000]), ..samples::message(n) };
        let changes = [Change::Append(samples::event(n)), Change::Put(Row::Message(Arc::new(long)))];
        store.commit(&owner, &changes).await.unwrap();
    }
    let short = Change::Put(Row::Message(Arc::new(samples::message(2))));
    let deleted = [1, 2].map(|n| Change::Delete(RowKey::Message(samples::message_id(n))));
    store.commit(&owner, &deleted).await.unwrap();
    store.commit(&owner, &[short]).await.unwrap();
    drop(store);
    let report = verify(directory.0.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.rows.contains(&("message", 3)) && report.rows.contains(&("payload", 1)), "{report:?}");
}

#[tokio::test]
async fn a_flipped_byte_of_a_payload_is_found_and_never_served() {
    let directory = filled().await;
    directory.replace("bridge.db", MARK, b"--A");

    let report = verify(directory.0.path()).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert!(
        report.findings[0].contains("table message") && report.findings[0].contains("checksum"),
        "{report:?}"
    );

    let store = directory.open().unwrap();
    let damaged = RowKey::Message(samples::message_id(2));
    let error = store.get(SHARD, &[damaged]).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("bridge.db"), "{error}");
    // The others are served.
    let sound = RowKey::Message(samples::message_id(3));
    assert!(store.get(SHARD, &[sound]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_a_small_file_is_found() {
    let directory = filled().await;
    let file = directory.file("bridge.db");
    let sound = fs::read(&file).unwrap();
    let report = verify(directory.0.path()).unwrap();
    // Bytes that nothing is read from: what a page has left over, and the counters of the file's head.
    let mut unnoticed = 0;
    let probes: Vec<usize> = (0..sound.len()).step_by(509).collect();
    for &at in &probes {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        if bytes[at..].len() < 509 {
            continue;
        }
        match verify(directory.0.path()) {
            Ok(found) if found == report => unnoticed += 1,
            Ok(found) => assert!(!found.is_sound(), "byte {at} changed what is told: {found:?}"),
            Err(error) => assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}"),
        }
    }
    assert!(unnoticed < probes.len(), "no byte matters");
    fs::write(&file, &sound).unwrap();
    assert!(verify(directory.0.path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_file_that_was_cut_is_refused() {
    let directory = filled().await;
    let file = directory.file("bridge.db");
    let length = fs::metadata(&file).unwrap().len();
    fs::File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
    let error = directory.open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("bridge.db"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_gone_while_its_log_is_not_is_refused() {
    let directory = filled().await;
    fs::remove_file(directory.file("bridge.db")).unwrap();
    fs::write(directory.file("bridge.db-wal"), [0; 5_000]).unwrap();
    directory.assert_refused(StoreErrorKind::Corrupt);
}

/// What kill -9 leaves: the files as they are while a store is open.
fn killed(alive: &Directory) -> Directory {
    let left = Directory::new();
    for name in ["bridge.db", "bridge.db-wal"] {
        fs::copy(alive.file(name), left.file(name)).unwrap();
    }
    left
}

#[tokio::test]
async fn commits_survive_in_a_log_that_nobody_closed() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    publish(&store, 1..=5).await;
    let left = killed(&directory);
    assert!(verify(left.0.path()).unwrap().is_sound());
    let reopened = left.open().unwrap();
    assert_eq!(reopened.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap().events.len(), 5);
}

#[tokio::test]
async fn a_log_that_is_damaged_before_its_end_is_refused() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    publish(&store, 1..=5).await;
    let log = fs::read(directory.file("bridge.db-wal")).unwrap();
    let frame = 24 + 4_096;
    let frames = (log.len() - 32) / frame;
    assert!(frames > 10, "{frames} frames");
    let mut refused = 0;
    for at in (0..log.len()).step_by(1_021) {
        let left = killed(&directory);
        let mut bytes = log.clone();
        bytes[at] ^= 1;
        fs::write(left.file("bridge.db-wal"), bytes).unwrap();
        match left.open() {
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains("write-ahead log"), "{error}");
                assert!(!verify(left.0.path()).unwrap().is_sound());
                refused += 1;
            }
            // Only the last transaction can look like the torn end of a crash.
            Ok(store) => {
                let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap();
                assert!(log.head >= Seq(4), "byte {at} lost more than the last commit: {log:?}");
            }
        }
    }
    assert!(refused > 10, "{refused} refused");
}

#[tokio::test]
async fn a_log_that_was_cut_anywhere_in_its_last_commit_loses_that_and_no_more() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    publish(&store, 1..=4).await;
    let before = fs::metadata(directory.file("bridge.db-wal")).unwrap().len();
    let owner = acquire(&store).await.unwrap();
    let acquired = fs::metadata(directory.file("bridge.db-wal")).unwrap().len();
    store.commit(&owner, &samples::publish(5)).await.unwrap();
    let whole = fs::metadata(directory.file("bridge.db-wal")).unwrap().len();
    assert!(before < acquired && acquired < whole, "{before}, {acquired}, {whole}");
    // The ends of its frames, beside them, and places between.
    let frame = 24 + 4_096;
    let ends =
        (acquired..whole).step_by(frame).flat_map(|end| [end, end + 1, end + 24, end + frame as u64 - 1]);
    for length in ends.chain((acquired..whole).step_by(1_021)) {
        let left = killed(&directory);
        let log = fs::File::options().write(true).open(left.file("bridge.db-wal")).unwrap();
        log.set_len(length).unwrap();
        let store = left.open().unwrap_or_else(|error| panic!("cut to {length} of {whole}: {error}"));
        let log = store.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap();
        assert_eq!((log.head, log.events.len()), (Seq(4), 4), "cut to {length} of {whole}");
        let gone = store.get(SHARD, &[RowKey::Message(samples::message_id(5))]).await.unwrap();
        assert_eq!(gone, [None], "cut to {length} of {whole}");
        // And goes on from there.
        let owner = acquire(&store).await.unwrap();
        store.commit(&owner, &samples::publish(5)).await.unwrap();
        drop(store);
        assert!(verify(left.0.path()).unwrap().is_sound(), "cut to {length} of {whole}");
    }
    let left = killed(&directory);
    let reopened = left.open().unwrap();
    assert_eq!(reopened.read_log(SHARD, Scope::All, Seq::ZERO, 10).await.unwrap().head, Seq(5));
}

#[tokio::test]
async fn what_makes_no_sense_is_named_by_table_and_key() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    publish(&store, [1]).await;
    store.save(Handshake { id: "mine".into(), ..samples::handshake(1) }).await.unwrap();
    let other = directory.connect();
    other.execute_batch("UPDATE handshake SET data = x'00'; UPDATE message SET state = 'lost'").unwrap();

    let error = store.find("mine").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("table handshake, id mine"), "{error}");
    let owner = acquire(&store).await.unwrap();
    let error = store.load(&owner, None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("table message, seq 1, shard 0"), "{error}");
}

#[tokio::test]
async fn gaps_and_lost_messages_are_found() {
    let directory = filled().await;
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    let apart = (6..=9).flat_map(|n| {
        let delivery = Delivery { id: samples::delivery_id(n).redriven(), ..samples::delivery(n) };
        [Change::Append(samples::event(n)), Change::Put(Row::Delivery(Arc::new(delivery)))]
    });
    let messages = (6..=9).map(|n| Change::Put(Row::Message(Arc::new(samples::message(n)))));
    store.commit(&owner, &apart.chain(messages).collect::<Vec<_>>()).await.unwrap();
    drop(store);
    assert!(verify(directory.0.path()).unwrap().is_sound());

    directory
        .connect()
        .execute_batch("DELETE FROM event WHERE seq IN (7, 9); DELETE FROM message WHERE seq IN (3, 8)")
        .unwrap();
    let report = verify(directory.0.path()).unwrap();
    let told = report.findings.join("; ");
    assert!(told.contains("seq 4 follows 2"), "{told}");
    assert!(told.contains("seq 8 follows 6"), "{told}");
    assert!(told.contains("the last seq is 8, the shard's head 9"), "{told}");
    assert!(told.contains("its message is missing"), "{told}");
    assert_eq!(report.findings.len(), 4, "{told}");
}

/// Publishes that belong to no session, one damaged in what tells of its message and one in its delivery.
async fn damaged() -> (Directory, SqliteStore, Ownership) {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    for n in 1..=5 {
        let changes = [
            Change::Append(Event { session: None, ..samples::event(n) }),
            Change::Put(Row::Message(Arc::new(Message { session: None, ..samples::message(n) }))),
            Change::Put(Row::Delivery(Arc::new(Delivery {
                state: State::Done,
                retire_at: Some(samples::at(n)),
                ..samples::delivery(n)
            }))),
        ];
        store.commit(&owner, &changes).await.unwrap();
    }
    let meddle = "UPDATE message SET crc = crc + 1 WHERE seq = 2; UPDATE message SET state_crc = state_crc + 1 WHERE seq = 4";
    directory.connect().execute_batch(meddle).unwrap();
    (directory, store, owner)
}

#[tokio::test]
async fn a_damaged_row_keeps_nothing_else_from_being_removed() {
    let (directory, store, owner) = damaged().await;
    let deleted = (1..=4).map(|n| Change::Delete(RowKey::Message(samples::message_id(n))));
    store.commit(&owner, &deleted.collect::<Vec<_>>()).await.unwrap();
    store.commit(&owner, &[Change::Trim(Scope::All, Seq(4))]).await.unwrap();
    let page = store.read_log(SHARD, Scope::All, Seq(4), 10).await.unwrap();
    assert_eq!((page.floor, page.events.len()), (Seq(4), 1));
    let keys = [1, 3].map(|n| RowKey::Message(samples::message_id(n)));
    assert_eq!(store.get(SHARD, &keys).await.unwrap(), [None, None]);
    // What is damaged is left for whoever looks into it.
    drop(store);
    let report = verify(directory.0.path()).unwrap();
    let told = report.findings.join("; ");
    assert!(told.contains("seq 2, shard 0: the row does not match its checksum"), "{told}");
    assert!(told.contains("seq 4, shard 0: the row does not match its checksum"), "{told}");
}

#[tokio::test]
async fn whoever_looks_for_what_is_to_be_removed_finds_it_behind_damaged_rows() {
    let (directory, store, owner) = damaged().await;
    let mut rows = Vec::new();
    for n in 1..=3 {
        let scope = IdempotencyScope { key: n.to_string().parse().unwrap(), ..samples::idempotency(n).scope };
        rows.push(Row::Idempotency(IdempotencyRecord { scope, ..samples::idempotency(n) }));
        rows.push(Row::Session(Session { closed_at: Some(samples::at(n)), ..samples::session(n) }));
        let apart = Delivery {
            id: samples::delivery_id(n).redriven(),
            state: State::Done,
            retire_at: Some(samples::at(10 + n)),
            ..samples::delivery(10 + n)
        };
        rows.push(Row::Delivery(Arc::new(apart)));
    }
    store.commit(&owner, &rows.into_iter().map(Change::Put).collect::<Vec<_>>()).await.unwrap();
    let first = |table: &str, order: &str| {
        format!("UPDATE {table} SET crc = crc + 1 WHERE {order} = (SELECT min({order}) FROM {table});")
    };
    let meddle =
        [first("idempotency", "expires_at"), first("session", "closed_at"), first("delivery", "retire_at")];
    directory.connect().execute_batch(&meddle.concat()).unwrap();

    let until = samples::at(100);
    let found = async |index: &Index, limit| store.scan(SHARD, index.clone(), limit).await.unwrap().len();
    let retiring = |after| Index::Retiring { after, until };
    assert_eq!(found(&retiring(None), 10).await, 5);
    // A page is not shorter for what is left out of it.
    assert_eq!(found(&retiring(Some((samples::at(1), Seq(1)))), 2).await, 2);
    assert_eq!(found(&Index::IdempotencyBefore(until), 2).await, 2);
    assert_eq!(found(&Index::ClosedSessions { after: None, until }, 2).await, 2);
}

/// What the process says in its log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_damaged_row_that_is_met_again_is_told_once() {
    let log = Log::default();
    let writer = log.clone();
    // Readers have threads of their own. Those of other tests may be heard too.
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    let session = |n| Row::Session(Session { closed_at: Some(samples::at(1)), ..samples::session(n) });
    let rows = [4_711, 4_712, 4_713].map(|n| Change::Put(session(n)));
    store.commit(&owner, &rows).await.unwrap();
    let damage = "UPDATE session SET crc = crc + 1 WHERE id < (SELECT max(id) FROM session)";
    directory.connect().execute_batch(damage).unwrap();

    for _ in 0..3 {
        let closed = Index::ClosedSessions { after: None, until: samples::at(1) };
        assert_eq!(store.scan(SHARD, closed, 10).await.unwrap(), [session(4_713)]);
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for n in [4_711, 4_712] {
        let name = format!("{:032x}", samples::session_id(n).0);
        let told = text.lines().filter(|line| line.contains("is left as it is") && line.contains(&name));
        assert_eq!(told.count(), 1, "{text}");
    }
}
