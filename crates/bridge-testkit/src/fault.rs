//! A store that fails when it is told to.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bridge_core::{
    Change, Index, LogPage, NodeId, Ownership, Row, RowKey, Scope, Seq, ShardId, Store, StoreError,
    StoreErrorKind, Timestamp,
};
use tokio::sync::watch;

/// Wraps a store; clones share its faults.
#[derive(Debug, Clone)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Faults {
    /// What the next commits come to.
    commits: Mutex<VecDeque<Fault>>,
    /// What the next reads of rows by their keys come to.
    gets: Mutex<VecDeque<StoreErrorKind>>,
    /// Rows that were read.
    read: AtomicUsize,
    /// While set, nothing can be written.
    broken: Mutex<Option<StoreErrorKind>>,
    /// What cannot be read.
    damaged: Mutex<Vec<RowKey>>,
    damaged_events: Mutex<Vec<Seq>>,
    /// While true, commits wait.
    held: watch::Sender<bool>,
}

/// What a commit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing was written.
    Before(StoreErrorKind),
    /// It fails, and everything was written.
    After(StoreErrorKind),
}

impl<S: Store> FaultyStore<S> {
    /// A store that works as `inner` does, until told otherwise.
    pub fn new(inner: S) -> Self {
        let faults = Faults {
            commits: Mutex::default(),
            gets: Mutex::default(),
            read: AtomicUsize::new(0),
            broken: Mutex::default(),
            damaged: Mutex::default(),
            damaged_events: Mutex::default(),
            held: watch::Sender::new(false),
        };
        Self { inner, faults: Arc::new(faults) }
    }

    /// Makes the next commit that has none yet fail.
    pub fn fail(&self, fault: Fault) {
        lock(&self.faults.commits).push_back(fault);
    }

    /// Commits that are still to fail.
    pub fn faults_left(&self) -> usize {
        lock(&self.faults.commits).len()
    }

    /// Makes the next [`get`](Store::get) fail that has no fault yet and asks for nothing that is damaged.
    pub fn fail_get(&self, kind: StoreErrorKind) {
        lock(&self.faults.gets).push_back(kind);
    }

    /// Rows that were asked for by their keys, or found by an index.
    pub fn rows_read(&self) -> usize {
        self.faults.read.load(Ordering::Relaxed)
    }

    /// Lets nothing be written until [`mend`](Self::mend) is called.
    pub fn break_down(&self, kind: StoreErrorKind) {
        *lock(&self.faults.broken) = Some(kind);
    }

    /// Lets everything be written again.
    pub fn mend(&self) {
        *lock(&self.faults.broken) = None;
    }

    /// Lets nobody [`get`](Store::get) the row with this key any more, nor [`scan`](Store::scan) a page
    /// that it is on, unless such pages leave out what is damaged.
    pub fn damage(&self, key: RowKey) {
        lock(&self.faults.damaged).push(key);
    }

    /// Lets nobody read a page of the log any more that has the event in this place.
    pub fn damage_event(&self, seq: Seq) {
        lock(&self.faults.damaged_events).push(seq);
    }

    /// Lets commits wait until [`let_go`](Self::let_go) is called.
    pub fn hold(&self) {
        self.faults.held.send_replace(true);
    }

    /// Lets commits go on.
    pub fn let_go(&self) {
        self.faults.held.send_replace(false);
    }

    fn readable(&self, keys: &[RowKey], operation: &'static str) -> Result<(), StoreError> {
        if lock(&self.faults.damaged).iter().any(|damaged| keys.contains(damaged)) {
            return Err(error(StoreErrorKind::Corrupt, operation));
        }
        Ok(())
    }

    fn writable(&self, operation: &'static str) -> Result<(), StoreError> {
        match *lock(&self.faults.broken) {
            Some(kind) => Err(error(kind, operation)),
            None => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(kind: StoreErrorKind, operation: &'static str) -> StoreError {
    StoreError { kind, operation, message: "told to fail".to_owned(), source: None }
}

#[async_trait::async_trait]
impl<S: Store> Store for FaultyStore<S> {
    async fn acquire(
        &self,
        shard: ShardId,
        node: NodeId,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Ownership, StoreError> {
        self.writable("acquire")?;
        self.inner.acquire(shard, node, now, ttl).await
    }

    async fn renew(&self, owner: &Ownership, now: Timestamp, ttl: Duration) -> Result<(), StoreError> {
        self.writable("renew")?;
        self.inner.renew(owner, now, ttl).await
    }

    async fn release(&self, owner: &Ownership) -> Result<(), StoreError> {
        self.inner.release(owner).await
    }

    async fn load(&self, owner: &Ownership, after: Option<RowKey>) -> Result<Vec<Row>, StoreError> {
        self.inner.load(owner, after).await
    }

    async fn get(&self, shard: ShardId, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.readable(keys, "get")?;
        let fault = lock(&self.faults.gets).pop_front();
        if let Some(kind) = fault {
            return Err(error(kind, "get"));
        }
        self.faults.read.fetch_add(keys.len(), Ordering::Relaxed);
        self.inner.get(shard, keys).await
    }

    async fn scan(&self, shard: ShardId, index: Index, limit: usize) -> Result<Vec<Row>, StoreError> {
        let is_due = matches!(
            index,
            Index::IdempotencyBefore(_) | Index::Retiring { .. } | Index::ClosedSessions { .. }
        );
        let mut rows = self.inner.scan(shard, index, limit).await?;
        self.faults.read.fetch_add(rows.len(), Ordering::Relaxed);
        if is_due {
            let damaged = lock(&self.faults.damaged);
            rows.retain(|row| !damaged.contains(&row.key()));
        }
        self.readable(&rows.iter().map(Row::key).collect::<Vec<_>>(), "scan")?;
        Ok(rows)
    }

    async fn commit(&self, owner: &Ownership, changes: &[Change]) -> Result<(), StoreError> {
        let mut held = self.faults.held.subscribe();
        // The sender lives as long as this store does.
        let _ = held.wait_for(|held| !held).await;
        self.writable("commit")?;
        let fault = lock(&self.faults.commits).pop_front();
        match fault {
            Some(Fault::Before(kind)) => Err(error(kind, "commit")),
            Some(Fault::After(kind)) => {
                self.inner.commit(owner, changes).await?;
                Err(error(kind, "commit"))
            }
            None => self.inner.commit(owner, changes).await,
        }
    }

    async fn read_log(
        &self,
        shard: ShardId,
        scope: Scope,
        after: Seq,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        let page = self.inner.read_log(shard, scope, after, limit).await?;
        let damaged = lock(&self.faults.damaged_events);
        if page.events.iter().any(|event| damaged.contains(&event.seq)) {
            return Err(error(StoreErrorKind::Corrupt, "read the log"));
        }
        Ok(page)
    }
}
