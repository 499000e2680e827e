use std::{sync::Arc, thread};

use bridge_core::{Row, StoreErrorKind};
use bridge_testkit::samples;
use tempfile::TempDir;

use super::*;
use crate::sqlite::{Settings, schema};

/// A writer whose every transaction with a task in it fails at its COMMIT, and what came of opening its file so far.
struct Failing {
    directory: TempDir,
    writer: Writer,
    opened: Arc<AtomicU64>,
}

/// Openings of the file that fail, after the first.
fn failing(refused: u64) -> Failing {
    let directory = tempfile::tempdir().unwrap();
    let file = schema::database(directory.path());
    let opened = Arc::new(AtomicU64::new(0));
    let open = {
        let opened = opened.clone();
        move || {
            let before = opened.fetch_add(1, Ordering::Relaxed);
            if (1..=refused).contains(&before) {
                return Err(Fault::Corrupt("not yet".to_owned()));
            }
            let connection = schema::open_writer(&file, &Settings::default())?;
            connection.execute_batch(
                "PRAGMA foreign_keys = ON;
                 CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TEMP TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
                 CREATE TEMP TRIGGER fail AFTER INSERT ON main.task BEGIN INSERT INTO child VALUES (1); END",
            )?;
            Ok(connection)
        }
    };
    let (writer, inbox) = Writer::channel();
    let connection = open().unwrap();
    thread::spawn(move || run(inbox, connection, open, &Counters::default()));
    Failing { directory, writer, opened }
}

impl Failing {
    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        self.writer.write("test", self.directory.path(), write).await
    }

    async fn acquire(&self) -> Result<Ownership, StoreError> {
        let (shard, node) = (ShardId(0), NodeId(1));
        let (now, ttl) = (samples::at(0), Duration::from_secs(1));
        match self.write(Write::Acquire { shard, node, now, ttl }).await? {
            Written::Owner(owner) => Ok(owner),
            Written::Done => panic!("no epoch was begun"),
        }
    }

    async fn commit(&self, owner: &Ownership, row: Row) -> Result<(), StoreErrorKind> {
        let commit = Write::Commit { owner: owner.clone(), changes: vec![Change::Put(row)] };
        self.write(commit).await.map(drop).map_err(|error| error.kind)
    }

    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_written_until_a_shard_is_acquired() {
    let failing = failing(0);
    let owner = failing.acquire().await.unwrap();
    let good = || Row::Session(samples::session(1));
    assert_eq!(failing.commit(&owner, Row::Task(samples::task(1))).await, Err(StoreErrorKind::Unavailable));

    // Nothing wrong with these but their time.
    assert_eq!(failing.commit(&owner, good()).await, Err(StoreErrorKind::Unavailable));
    let saved = failing.write(Write::SaveHandshake(samples::handshake(1))).await;
    assert_eq!(saved.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(failing.opened(), 1);

    let next = failing.acquire().await.unwrap();
    assert_eq!(failing.opened(), 2);
    assert!(next.epoch > owner.epoch);
    assert_eq!(failing.commit(&owner, good()).await, Err(StoreErrorKind::Fenced));
    assert_eq!(failing.commit(&next, good()).await, Ok(()));
}

#[tokio::test]
async fn what_cannot_be_opened_again_stays_closed() {
    let failing = failing(2);
    let owner = failing.acquire().await.unwrap();
    assert_eq!(failing.commit(&owner, Row::Task(samples::task(1))).await, Err(StoreErrorKind::Unavailable));
    for _ in 0..2 {
        assert_eq!(failing.acquire().await.unwrap_err().kind, StoreErrorKind::Corrupt);
        let late = failing.commit(&owner, Row::Session(samples::session(1))).await;
        assert_eq!(late, Err(StoreErrorKind::Unavailable));
    }
    failing.acquire().await.unwrap();
}

#[tokio::test]
async fn a_failed_commit_is_told_to_all_who_shared_it() {
    let failing = failing(0);
    let owner = failing.acquire().await.unwrap();
    let (first, second, third) = tokio::join!(
        failing.commit(&owner, Row::Task(samples::task(1))),
        failing.commit(&owner, Row::Task(samples::task(2))),
        failing.commit(&owner, Row::Session(samples::session(1))),
    );
    assert_eq!([first, second, third], [Err(StoreErrorKind::Unavailable); 3]);
    let rows = schema::open_reader(&schema::database(failing.directory.path())).unwrap();
    let sessions: u32 = rows.query_row("SELECT count(*) FROM session", [], |row| row.get(0)).unwrap();
    assert_eq!(sessions, 0, "a commit that was answered with a fault was applied");
}
