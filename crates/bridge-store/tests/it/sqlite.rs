//! The SQLite store against the suite, and what only a file can get wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damage;
mod directory;
mod pages;
mod version_2;
mod version_3;
mod writer;

use std::{fs, path::PathBuf, time::Duration};

use bridge_core::{Change, NodeId, Ownership, ShardId, Store, StoreError, StoreErrorKind};
use bridge_store::{SqliteStore, verify};
use bridge_testkit::{conformance::StoreHarness, handshake_conformance, samples, store_conformance};
use tempfile::TempDir;

/// A directory of a test's own.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(self.0.path())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A connection beside the store's, to look or to meddle.
    fn connect(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file("bridge.db")).unwrap()
    }

    /// What is refused, by opening and by verifying alike; both name the file, or at least its directory.
    fn assert_refused(&self, kind: StoreErrorKind) -> String {
        let opened = self.open().unwrap_err();
        let verified = verify(self.0.path()).unwrap_err();
        assert_eq!((opened.kind, verified.kind), (kind, kind), "{opened}; {verified}");
        assert!(opened.to_string().contains(self.0.path().to_str().unwrap()), "{opened} names no file");
        opened.to_string()
    }

    /// Replaces the first occurrence of `old` in a file.
    fn replace(&self, name: &str, old: &[u8], new: &[u8]) {
        let mut bytes = fs::read(self.file(name)).unwrap();
        let at = bytes.windows(old.len()).position(|window| window == old).expect("the bytes are there");
        bytes[at..at + new.len()].copy_from_slice(new);
        fs::write(self.file(name), bytes).unwrap();
    }
}

impl StoreHarness for Directory {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        Self::open(self).unwrap()
    }
}

store_conformance!(Directory::new);
handshake_conformance!(Directory::new);

const SHARD: ShardId = ShardId(0);

async fn acquire(store: &SqliteStore) -> Result<Ownership, StoreError> {
    store.acquire(SHARD, NodeId(1), samples::at(0), Duration::from_secs(10)).await
}

/// Commits the publishes of these numbers, each by itself.
async fn publish(store: &SqliteStore, numbers: impl IntoIterator<Item = u64>) {
    let owner = acquire(store).await.unwrap();
    for n in numbers {
        store.commit(&owner, &samples::publish(n)).await.unwrap();
    }
}

fn appends(n: u64) -> [Change; 1] {
    [Change::Append(samples::event(n))]
}
