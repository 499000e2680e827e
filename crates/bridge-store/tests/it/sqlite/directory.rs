//! Whose directory it is, and what a file must be to be opened.

use std::{fs, sync::Arc};

use bridge_core::StoreErrorKind;
use bridge_store::{Durability, Settings, SqliteStore, verify};

use super::{Directory, publish};

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_dropped() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let handle = store.clone();
    drop(store);
    let refused = directory.assert_refused(StoreErrorKind::Owned);
    assert!(refused.contains("in use by another process"), "{refused}");
    drop(handle);
    directory.open().unwrap();
}

#[cfg(unix)]
#[test]
fn the_directory_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new();
    let inner = directory.file("new/data");
    SqliteStore::open(&inner).unwrap();
    assert_eq!(fs::metadata(inner).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_newer_version_is_refused_with_both_numbers() {
    let directory = Directory::new();
    drop(directory.open().unwrap());
    directory.connect().pragma_update(None, "user_version", 77).unwrap();
    let refused = directory.assert_refused(StoreErrorKind::TooNew);
    assert!(refused.contains("77") && refused.contains("knows 4"), "{refused}");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let directory = Directory::new();
    directory.connect().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = fs::read(directory.file("bridge.db")).unwrap();
    let refused = directory.assert_refused(StoreErrorKind::Corrupt);
    assert!(refused.contains("bridge.db") && refused.contains("another program"), "{refused}");
    assert_eq!(fs::read(directory.file("bridge.db")).unwrap(), before);
}

#[test]
fn garbage_is_refused_and_left_alone() {
    for garbage in [vec![b'x'; 10], vec![b'x'; 100_000], Vec::new()] {
        let directory = Directory::new();
        fs::write(directory.file("bridge.db"), &garbage).unwrap();
        let refused = directory.assert_refused(StoreErrorKind::Corrupt);
        assert!(refused.contains("bridge.db"), "{refused}");
        assert_eq!(fs::read(directory.file("bridge.db")).unwrap(), garbage);
    }
}

#[test]
fn nothing_to_verify_is_an_error_and_makes_nothing() {
    let directory = Directory::new();
    assert_eq!(verify(directory.0.path()).unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(fs::read_dir(directory.0.path()).unwrap().count(), 0);
}

#[test]
fn a_half_made_database_is_made_again() {
    let directory = Directory::new();
    fs::write(directory.file("bridge.db.new"), b"interrupted").unwrap();
    drop(directory.open().unwrap());
    assert!(verify(directory.0.path()).unwrap().is_sound());
    assert!(!directory.file("bridge.db.new").exists());
}

#[test]
fn a_database_that_is_gone_is_missed() {
    let directory = Directory::new();
    drop(directory.open().unwrap());
    for name in ["bridge.db", "bridge.db-wal", "bridge.db-shm"] {
        let _ = fs::remove_file(directory.file(name));
    }
    let refused = directory.assert_refused(StoreErrorKind::Corrupt);
    assert!(refused.contains("bridge.db") && refused.contains("gone"), "{refused}");
    // As the message says.
    fs::remove_file(directory.file("bridge.lock")).unwrap();
    directory.open().unwrap();
}

#[test]
fn a_write_ahead_log_that_is_gone_is_missed() {
    let directory = Directory::new();
    drop(directory.open().unwrap());
    fs::remove_file(directory.file("bridge.db-wal")).unwrap();
    let refused = directory.assert_refused(StoreErrorKind::Corrupt);
    assert!(refused.contains("write-ahead log is gone"), "{refused}");
    // Who closes a database for good removes both.
    fs::remove_file(directory.file("bridge.db-shm")).unwrap();
    directory.open().unwrap();
}

#[tokio::test]
async fn a_store_that_was_closed_leaves_everything_in_one_file_and_room_to_be_opened() {
    let directory = Directory::new();
    publish(&directory.open().unwrap(), 1..=3).await;
    assert_eq!(fs::metadata(directory.file("bridge.db-wal")).unwrap().len(), 0);
    assert!(directory.file("bridge.db-shm").exists(), "on a full disk it could not be made again");

    let copy = Directory::new();
    fs::copy(directory.file("bridge.db"), copy.file("bridge.db")).unwrap();
    let report = verify(copy.0.path()).unwrap();
    assert!(report.rows.contains(&("message", 3)), "{report:?}");
}

#[tokio::test]
async fn the_file_may_grow_to_its_set_size_and_heals_when_space_returns() {
    use bridge_core::{Change, Message, Row, RowKey, Store, bytes::Bytes};
    use bridge_testkit::samples;

    let directory = Directory::new();
    let store = SqliteStore::open_with(directory.0.path(), Settings::default().max_size(1 << 20)).unwrap();
    let owner = super::acquire(&store).await.unwrap();
    let message =
        |n| Row::Message(Arc::new(Message { payload: Bytes::from(vec![0; 100_000]), ..samples::message(n) }));
    let mut kept = 0;
    let error = loop {
        let changes = [Change::Put(message(kept)), Change::Put(Row::Reader(samples::reader(kept)))];
        match store.commit(&owner, &changes).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert!(kept > 5);

    // Nothing of the refused batch is there, everything before it is, and the same owner goes on.
    let missing =
        [message(kept).key(), RowKey::Reader(samples::session_id(kept), samples::reader(kept).name)];
    assert_eq!(store.get(super::SHARD, &missing).await.unwrap(), [None, None]);
    let there: Vec<RowKey> = (0..kept).map(|n| message(n).key()).collect();
    assert!(store.get(super::SHARD, &there).await.unwrap().iter().all(Option::is_some));
    store.commit(&owner, &[Change::Delete(message(0).key())]).await.unwrap();
    store.commit(&owner, &[Change::Put(message(kept))]).await.unwrap();
}

#[tokio::test]
async fn both_durabilities_keep_what_they_were_given() {
    for durability in [Durability::Full, Durability::Normal] {
        let directory = Directory::new();
        let settings = Settings::default().durability(durability);
        publish(&SqliteStore::open_with(directory.0.path(), settings.clone()).unwrap(), 1..=3).await;
        drop(SqliteStore::open_with(directory.0.path(), settings).unwrap());
        let report = verify(directory.0.path()).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert!(report.rows.contains(&("message", 3)), "{report:?}");
    }
}
