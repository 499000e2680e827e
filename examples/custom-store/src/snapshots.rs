//! A store in memory that makes a new image of everything at each commit, and lets its readers keep the old one.
//!
//! So a batch is whole by itself, and nobody waits for anybody: what transactions are to a database. It is the shortest
//! store that keeps all promises, not a quick one.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bridge_runtime::core::{
    Change, DeliveryId, Event, First, Index, LogPage, NodeId, Ownership, Row, RowKey, SCAN_BYTES, Scope, Seq,
    ShardId, Store, StoreError, StoreErrorKind, Timestamp,
};

/// Rows of one page of a load.
const PAGE: usize = 1_000;

/// Handles share what is kept; a new handle is what opening it again is to a store on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshots(Arc<Mutex<BTreeMap<ShardId, Arc<Image>>>>);

/// A shard as it was at one moment.
#[derive(Debug, Clone, Default)]
struct Image {
    epoch: u64,
    /// When it was last acquired.
    since: Timestamp,
    rows: BTreeMap<RowKey, Arc<Row>>,
    log: BTreeMap<Seq, Event>,
    floor: Seq,
    head: Seq,
}

impl Snapshots {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<Image>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn image(&self, shard: ShardId) -> Arc<Image> {
        self.shards().get(&shard).cloned().unwrap_or_default()
    }
}

impl Image {
    /// *Invariant:* whoever writes, or loads what it will write, proves that nobody has owned the shard since.
    fn of(&self, owner: &Ownership) -> Result<&Self, StoreError> {
        if self.epoch == owner.epoch {
            Ok(self)
        } else {
            Err(error(StoreErrorKind::Fenced, "the epoch is old"))
        }
    }

    fn apply(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Put(row) => drop(self.rows.insert(row.key(), Arc::new(row.clone()))),
            Change::Delete(key) => drop(self.rows.remove(key)),
            // Appended once more it is the same event; another one never takes its place.
            Change::Append(event)
                if *self.log.entry(event.seq).or_insert_with(|| event.clone()) == *event =>
            {
                self.head = self.head.max(event.seq);
            }
            Change::Append(_) => {
                return Err(error(StoreErrorKind::Corrupt, "the log has another event there"));
            }
            Change::Trim(scope, up_to) => {
                // The events of a session go with it, those of none with the beginning of the log.
                let goes = |event: &Event| match scope {
                    Scope::All => event.session.is_none(),
                    Scope::Session(_) => scope.contains(event),
                };
                self.log.retain(|seq, event| seq > up_to || !goes(event));
                if *scope == Scope::All {
                    self.floor = self.floor.max(*up_to);
                }
            }
            _ => return Err(error(StoreErrorKind::TooNew, "this kind of change is not known here")),
        }
        Ok(())
    }

    /// A page of an index. Each message is followed by its first delivery, and large ones end the page early.
    fn page(&self, index: &Index, limit: usize) -> Vec<Row> {
        let mut placed: Vec<_> =
            self.rows.values().filter_map(|row| Some((index.place(row)?, row))).collect();
        placed.sort_by(|(a, _), (b, _)| if index.first() == First::Oldest { a.cmp(b) } else { b.cmp(a) });
        let mut page = Vec::new();
        let mut bytes = 0;
        for (_, row) in placed.into_iter().take(limit) {
            page.push((**row).clone());
            if let Row::Message(message) = &**row {
                bytes += message.payload.len();
                let first = self.rows.get(&RowKey::Delivery(DeliveryId::of(message.id, 0)));
                page.extend(first.map(|first| (**first).clone()));
            }
            if bytes >= SCAN_BYTES {
                break;
            }
        }
        page
    }
}

#[async_trait]
impl Store for Snapshots {
    /// Within one process the epoch alone decides; a store that several can reach refuses with `Owned` for `ttl`.
    async fn acquire(
        &self,
        shard: ShardId,
        node: NodeId,
        now: Timestamp,
        _ttl: Duration,
    ) -> Result<Ownership, StoreError> {
        let mut shards = self.shards();
        let image = Arc::make_mut(shards.entry(shard).or_default());
        image.epoch += 1;
        image.since = image.since.max(now);
        Ok(Ownership { shard, node, epoch: image.epoch, since: image.since })
    }

    async fn renew(&self, owner: &Ownership, _now: Timestamp, _ttl: Duration) -> Result<(), StoreError> {
        self.image(owner.shard).of(owner).map(drop)
    }

    async fn release(&self, _owner: &Ownership) -> Result<(), StoreError> {
        Ok(())
    }

    async fn load(&self, owner: &Ownership, after: Option<RowKey>) -> Result<Vec<Row>, StoreError> {
        Ok(self.image(owner.shard).of(owner)?.page(&Index::Live { after }, PAGE))
    }

    async fn get(&self, shard: ShardId, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let image = self.image(shard);
        Ok(keys.iter().map(|key| image.rows.get(key).map(|row| (**row).clone())).collect())
    }

    async fn scan(&self, shard: ShardId, index: Index, limit: usize) -> Result<Vec<Row>, StoreError> {
        Ok(self.image(shard).page(&index, limit))
    }

    async fn commit(&self, owner: &Ownership, changes: &[Change]) -> Result<(), StoreError> {
        let mut shards = self.shards();
        let image = shards.entry(owner.shard).or_default();
        // The new image takes its place whole, or not at all.
        let mut next = image.of(owner)?.clone();
        changes.iter().try_for_each(|change| next.apply(change))?;
        *image = Arc::new(next);
        Ok(())
    }

    async fn read_log(
        &self,
        shard: ShardId,
        scope: Scope,
        after: Seq,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        // Events and bounds are of one moment.
        let image = self.image(shard);
        let later = image.log.range((Excluded(after), Unbounded)).map(|(_, event)| event);
        let events = later.filter(|event| scope.contains(event)).take(limit).cloned().collect();
        // Of a session nothing is missing from its first event on.
        let mut below = image.log.range(..=image.floor).map(|(_, event)| event);
        let first = if scope == Scope::All { None } else { below.find(|event| scope.contains(event)) };
        let floor = first.map_or(image.floor, |first| Seq(first.seq.0 - 1));
        Ok(LogPage { events, floor, head: image.head })
    }
}

fn error(kind: StoreErrorKind, message: &str) -> StoreError {
    StoreError { kind, operation: "snapshots", message: message.to_owned(), source: None }
}

/// One test for each promise.
#[cfg(test)]
mod conformance {
    use bridge_testkit::conformance::StoreHarness;

    use super::Snapshots;

    /// One data set, opened again and again.
    struct Data(Snapshots);

    impl StoreHarness for Data {
        type Store = Snapshots;

        async fn open(&self) -> Snapshots {
            self.0.clone()
        }
    }

    bridge_testkit::store_conformance!(|| Data(Snapshots::default()));
}
