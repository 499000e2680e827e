//! Rows in one SQLite file, behind one thread that writes.
//!
//! This module owns the face of the store: its settings, its threads and the traits. What happens on the threads is in
//! `writer` and `reader`, the file itself in `schema`, the columns in `rows`.

mod bind;
mod columns;
mod fault;
mod migrate;
mod reader;
mod rows;
mod schema;
mod verify;
mod wal;
mod writer;

use std::{
    fmt, mem,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use bridge_core::{
    Change, Handshake, HandshakeStore, Index, LogPage, NodeId, Ownership, Row, RowKey, Scope, Seq, ShardId,
    Store, StoreError, Timestamp,
};
use rusqlite::Connection;

use self::{
    fault::Fault,
    reader::Readers,
    schema::Directory,
    writer::{Counters, Write, Writer, Written},
};

pub use self::verify::{Report, verify};

/// Threads that read.
const READERS: usize = 2;

/// How a [`SqliteStore`] works.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What a commit outlives.
    pub durability: Durability,
    /// The most bytes that the database file may grow to; beyond, commits fail as on a full disk. Its write-ahead log
    /// is not counted.
    pub max_size: Option<u64>,
}

impl Settings {
    /// Sets what a commit outlives.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the most bytes that the database file may grow to.
    #[must_use]
    pub const fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }
}

/// What a commit outlives once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, of the operating system, and of the power, if the disk honours a flush.
    #[default]
    Full,
    /// The end of the process, by kill -9 too. When the operating system or the power fails, commits since the last
    /// checkpoint (about 16 MB of changes) can be lost; what is left is whole, and a prefix of what was committed.
    Normal,
}

/// What the writer of a store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions made durable. Each is one flush of the disk under [`Durability::Full`].
    pub commits: u64,
    /// Requests those transactions answered.
    pub requests: u64,
    /// Changes those requests made.
    pub changes: u64,
}

/// A store in one directory of this machine: `bridge.db`, its write-ahead log, and `bridge.lock`.
///
/// A commit returns when it is on stable storage. Commits that come while one is being flushed share the next flush.
/// The directory is one process's at a time; within the process an acquisition by another node always succeeds, and the
/// epoch fences the earlier owner.
///
/// After a fault of the medium nothing is written until a shard is acquired again, which opens the database anew and
/// checks it. Reads go on as long as they succeed.
///
/// Handles share the store. Dropping the last one writes what is queued, closes the file and gives the directory up; it
/// waits for that.
///
/// # Example
/// ```
/// # use std::time::Duration;
/// use bridge_core::{NodeId, ShardId, Store, Timestamp};
/// use bridge_store::SqliteStore;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # let directory = tempfile::tempdir().unwrap();
/// # runtime.block_on(async {
/// let store = SqliteStore::open(directory.path())?;
/// let owner = store.acquire(ShardId(0), NodeId(1), Timestamp::default(), Duration::from_secs(10)).await?;
/// drop(store);
///
/// let store = SqliteStore::open(directory.path())?;
/// let next = store.acquire(ShardId(0), NodeId(2), Timestamp::default(), Duration::from_secs(10)).await?;
/// assert!(next.epoch > owner.epoch);
/// # Ok::<_, bridge_core::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    file: PathBuf,
    writer: Option<Writer>,
    readers: Option<Readers>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl SqliteStore {
    /// Opens the store in `directory`, or makes one there, readable by its owner only.
    ///
    /// A database of up to 8 MiB is checked whole (`PRAGMA integrity_check`), one of up to 128 MiB page by page
    /// (`PRAGMA quick_check`). Of a larger one the length, the small tables and the roots of the others are, and up to 512 MiB
    /// the live rows of messages are counted against their index; [`verify`] checks the rest. Every row is compared with its
    /// checksum when it is read. Blocks for as long as that takes.
    ///
    /// # Errors
    /// * [`StoreErrorKind::Owned`](bridge_core::StoreErrorKind::Owned) — another process has the directory.
    /// * [`StoreErrorKind::Corrupt`](bridge_core::StoreErrorKind::Corrupt) — the file is damaged, or is no database of
    ///   this program.
    /// * [`StoreErrorKind::TooNew`](bridge_core::StoreErrorKind::TooNew) — a newer version of this program wrote it.
    /// * [`StoreErrorKind::Full`](bridge_core::StoreErrorKind::Full),
    ///   [`StoreErrorKind::Unavailable`](bridge_core::StoreErrorKind::Unavailable) — the directory cannot be used.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(directory, Settings::default())
    }

    /// Opens the store in `directory` with other settings than the default.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn open_with(directory: impl AsRef<Path>, settings: Settings) -> Result<Self, StoreError> {
        let directory = directory.as_ref();
        let told = |fault: Fault| {
            let blamed = if matches!(fault, Fault::Owned | Fault::Io(_)) {
                directory
            } else {
                &schema::database(directory)
            };
            fault.told("open", blamed)
        };
        let mut owned = Directory::create(directory).map_err(told)?;
        let connection = schema::open_writer(&owned.database, &settings).map_err(told)?;
        owned.mark().map_err(told)?;
        let owned = Arc::new(owned);
        Inner::start(&owned, connection, settings).map(|inner| Self { inner: Arc::new(inner) }).map_err(told)
    }

    /// What the writer has done since the store was opened.
    pub fn stats(&self) -> Stats {
        let Counters { commits, requests, changes } = &*self.inner.counters;
        Stats {
            commits: commits.load(Ordering::Relaxed),
            requests: requests.load(Ordering::Relaxed),
            changes: changes.load(Ordering::Relaxed),
        }
    }

    async fn write(&self, operation: &'static str, write: Write) -> Result<Written, StoreError> {
        let Inner { file, writer, .. } = &*self.inner;
        match writer {
            Some(writer) => writer.write(operation, file, write).await,
            None => Err(Fault::Gone.told(operation, file)),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Inner { file, readers, .. } = &*self.inner;
        let result = match readers {
            Some(readers) => readers.read(query).await,
            None => Err(Fault::Gone),
        };
        result.map_err(|fault| fault.told(operation, file))
    }
}

impl Inner {
    /// Starts the threads. Each holds the directory until it ends.
    fn start(owned: &Arc<Directory>, connection: Connection, settings: Settings) -> Result<Self, Fault> {
        let counters = Arc::<Counters>::default();
        let (writer, requests) = Writer::channel();
        let (readers, queries) = Readers::channel();
        let mut inner = Self {
            file: owned.database.clone(),
            writer: Some(writer),
            readers: Some(readers),
            threads: Vec::new(),
            counters: counters.clone(),
        };
        let held = owned.clone();
        inner.spawn("bridge-writer", move || {
            writer::run(requests, connection, || schema::reopen_writer(&held.database, &settings), &counters);
        })?;
        for _ in 0..READERS {
            let (held, queries) = (owned.clone(), queries.clone());
            // Opened before anything else can take the last descriptor.
            let connection = schema::open_reader(&held.database)?;
            inner.spawn("bridge-reader", move || {
                reader::run(&queries, connection, move || schema::open_reader(&held.database));
            })?;
        }
        Ok(inner)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a sender the threads end; only then is the directory free for the next one.
        drop((self.writer.take(), self.readers.take()));
        for thread in mem::take(&mut self.threads) {
            let _panicked = thread.join();
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("file", &self.inner.file).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn acquire(
        &self,
        shard: ShardId,
        node: NodeId,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Ownership, StoreError> {
        match self.write("acquire", Write::Acquire { shard, node, now, ttl }).await? {
            Written::Owner(owner) => Ok(owner),
            Written::Done => unreachable!("an acquisition begins an epoch"),
        }
    }

    async fn renew(&self, owner: &Ownership, now: Timestamp, ttl: Duration) -> Result<(), StoreError> {
        self.write("renew", Write::Renew { owner: owner.clone(), until: now + ttl }).await.map(drop)
    }

    async fn release(&self, owner: &Ownership) -> Result<(), StoreError> {
        self.write("release", Write::Release { owner: owner.clone() }).await.map(drop)
    }

    async fn load(&self, owner: &Ownership, after: Option<RowKey>) -> Result<Vec<Row>, StoreError> {
        let owner = owner.clone();
        self.read("load", move |connection| reader::load(connection, &owner, after.as_ref())).await
    }

    async fn get(&self, shard: ShardId, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let keys = keys.to_vec();
        self.read("get", move |connection| reader::get(connection, shard, &keys)).await
    }

    async fn scan(&self, shard: ShardId, index: Index, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.read("scan", move |connection| reader::scan(connection, shard, &index, limit)).await
    }

    async fn commit(&self, owner: &Ownership, changes: &[Change]) -> Result<(), StoreError> {
        let write = Write::Commit { owner: owner.clone(), changes: changes.to_vec() };
        self.write("commit", write).await.map(drop)
    }

    async fn read_log(
        &self,
        shard: ShardId,
        scope: Scope,
        after: Seq,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        self.read("read the log", move |connection| reader::read_log(connection, shard, scope, after, limit))
            .await
    }
}

#[async_trait]
impl HandshakeStore for SqliteStore {
    async fn save(&self, record: Handshake) -> Result<(), StoreError> {
        self.write("save a handshake", Write::SaveHandshake(record)).await.map(drop)
    }

    async fn find(&self, id: &str) -> Result<Option<Handshake>, StoreError> {
        let id = id.to_owned();
        self.read("find a handshake", move |connection| reader::find_handshake(connection, &id)).await
    }

    async fn delete(&self, id: &str) -> Result<(), StoreError> {
        self.write("delete a handshake", Write::DeleteHandshake(id.to_owned())).await.map(drop)
    }

    async fn forget(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write("forget handshakes", Write::ForgetHandshakes(before)).await.map(drop)
    }
}
