//! Rows in memory: for tests, and for embedders whose messages need not outlive the process.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bridge_core::{
    Change, Delivery, DeliveryId, Event, First, Handshake, HandshakeStore, Index, LogPage, MessageId, Name,
    NodeId, Ownership, Row, RowKey, Scope, Seq, SessionId, ShardId, Store, StoreError, TaskId, Timestamp,
};

use crate::error::{fenced, taken};
use crate::page;

/// Rows of one page of a load.
const PAGE: usize = 1_000;

/// A store that forgets everything when its last handle is dropped.
///
/// It fences, orders and refuses as the durable stores do. Handles share what they keep, so that dropping one and going
/// on with another is what a restart is to a store on disk. An acquisition by another node always succeeds: within one
/// process the epoch alone decides.
///
/// # Example
/// ```
/// # use std::time::Duration;
/// use bridge_core::{NodeId, ShardId, Store, Timestamp};
/// use bridge_store::MemoryStore;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let store = MemoryStore::new();
/// let ttl = Duration::from_secs(10);
/// let first = store.acquire(ShardId(0), NodeId(1), Timestamp::default(), ttl).await?;
/// let second = store.clone().acquire(ShardId(0), NodeId(2), Timestamp::default(), ttl).await?;
/// assert!(second.epoch > first.epoch);
/// # Ok::<_, bridge_core::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    shards: BTreeMap<ShardId, Shard>,
    handshakes: BTreeMap<String, Handshake>,
}

#[derive(Default)]
struct Shard {
    epoch: u64,
    /// When it was last acquired.
    since: Timestamp,
    rows: BTreeMap<RowKey, Row>,
    /// Those of them that are live.
    live: BTreeSet<RowKey>,
    /// Deliveries by when they are to be looked at.
    retiring: BTreeSet<Due>,
    log: BTreeMap<Seq, Event>,
    /// The last place taken in it, and up to which only events of sessions are left.
    head: Seq,
    floor: Seq,
}

/// When a delivery is to be looked at, its place, and which one it is.
type Due = (Timestamp, Seq, DeliveryId);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A batch is checked before its first change, so a panic elsewhere leaves nothing half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept();
        let rows: usize = kept.shards.values().map(|shard| shard.rows.len()).sum();
        let events: usize = kept.shards.values().map(|shard| shard.log.len()).sum();
        f.debug_struct("MemoryStore").field("rows", &rows).field("events", &events).finish()
    }
}

impl Kept {
    /// The shard, if `owner` still owns it.
    fn owned(&mut self, operation: &'static str, owner: &Ownership) -> Result<&mut Shard, StoreError> {
        let shard = self.shards.entry(owner.shard).or_default();
        if shard.epoch == owner.epoch { Ok(shard) } else { Err(fenced(operation, owner, shard.epoch)) }
    }
}

impl Shard {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(row) => {
                let key = row.key();
                if row.is_live() {
                    self.live.insert(key.clone());
                } else {
                    self.live.remove(&key);
                }
                let before = self.rows.insert(key, row.clone());
                self.set_due(before.as_ref(), due(row));
            }
            Change::Delete(key) => {
                self.live.remove(key);
                let before = self.rows.remove(key);
                self.set_due(before.as_ref(), None);
            }
            Change::Append(event) => {
                // What was trimmed comes back no more, if its batch does.
                if event.seq > self.floor || event.session.is_some() {
                    self.log.insert(event.seq, event.clone());
                }
                self.head = self.head.max(event.seq);
            }
            Change::Trim(scope, up_to) => self.trim(*scope, *up_to),
            other => unreachable!("a change this version does not know: {other:?}"),
        }
    }

    fn set_due(&mut self, before: Option<&Row>, due_now: Option<Due>) {
        if let Some(before) = before.and_then(due) {
            self.retiring.remove(&before);
        }
        self.retiring.extend(due_now);
    }

    /// Removes events up to a place. Below the floor only those of sessions are left.
    fn trim(&mut self, scope: Scope, up_to: Seq) {
        let (first, goes): (_, fn(&Event, Scope) -> bool) = match scope {
            Scope::All => (self.floor.next(), |event, _| event.session.is_none()),
            Scope::Session(_) => (Seq::ZERO, |event, scope| scope.contains(event)),
        };
        let old = self.log.range(first..).take_while(|(seq, _)| **seq <= up_to);
        let old: Vec<Seq> = old.filter(|(_, event)| goes(event, scope)).map(|(seq, _)| *seq).collect();
        for seq in old {
            self.log.remove(&seq);
        }
        if scope == Scope::All {
            self.floor = self.floor.max(up_to);
        }
    }

    fn floor_of(&self, scope: Scope) -> Seq {
        let first = match scope {
            Scope::All => None,
            Scope::Session(_) => self.log.range(..=self.floor).find(|(_, event)| scope.contains(event)),
        };
        first.map_or(self.floor, |(seq, _)| Seq(seq.0 - 1))
    }

    fn live(&self, after: Option<RowKey>, limit: usize) -> Vec<Row> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.live.range((from, Bound::Unbounded));
        keys.filter_map(|key| self.rows.get(key)).take(limit).cloned().collect()
    }

    /// The first rows of an index, at most `limit`, in its order.
    fn listed(&self, index: &Index, limit: usize) -> impl Iterator<Item = &Row> {
        let placed = self.rows.range(span(index)).filter_map(|(_, row)| Some((index.place(row)?, row)));
        let mut placed: Vec<_> = placed.collect();
        let order = by_place(index.first());
        // A page is sorted, not everything behind it.
        if limit < placed.len() {
            placed.select_nth_unstable_by(limit, order);
            placed.truncate(limit);
        }
        placed.sort_unstable_by(order);
        placed.into_iter().map(|(_, row)| row)
    }

    fn first_delivery(&self, message: MessageId) -> Option<Arc<Delivery>> {
        match self.rows.get(&RowKey::Delivery(DeliveryId::of(message, 0)))? {
            Row::Delivery(delivery) => Some(Arc::clone(delivery)),
            _ => None,
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn acquire(
        &self,
        shard: ShardId,
        node: NodeId,
        now: Timestamp,
        _ttl: Duration,
    ) -> Result<Ownership, StoreError> {
        let mut kept = self.kept();
        let kept = kept.shards.entry(shard).or_default();
        kept.epoch += 1;
        kept.since = kept.since.max(now);
        Ok(Ownership { shard, node, epoch: kept.epoch, since: kept.since })
    }

    async fn renew(&self, owner: &Ownership, _now: Timestamp, _ttl: Duration) -> Result<(), StoreError> {
        self.kept().owned("renew", owner).map(drop)
    }

    async fn release(&self, _owner: &Ownership) -> Result<(), StoreError> {
        Ok(())
    }

    async fn load(&self, owner: &Ownership, after: Option<RowKey>) -> Result<Vec<Row>, StoreError> {
        Ok(self.kept().owned("load", owner)?.live(after, PAGE))
    }

    async fn get(&self, shard: ShardId, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let kept = self.kept();
        let rows = kept.shards.get(&shard).map(|shard| &shard.rows);
        Ok(keys.iter().map(|key| rows?.get(key).cloned()).collect())
    }

    async fn scan(&self, shard: ShardId, index: Index, limit: usize) -> Result<Vec<Row>, StoreError> {
        let kept = self.kept();
        let Some(shard) = kept.shards.get(&shard) else { return Ok(Vec::new()) };
        match index {
            Index::Live { after } => Ok(shard.live(after, limit)),
            Index::Retiring { after, until } => Ok(retiring(shard, after, until, limit)),
            Index::Messages { .. } => page::fill(shard.listed(&index, limit).filter_map(|row| match row {
                Row::Message(message) => Some(Ok((Arc::clone(message), shard.first_delivery(message.id)))),
                _ => None,
            })),
            index => Ok(shard.listed(&index, limit).cloned().collect()),
        }
    }

    async fn commit(&self, owner: &Ownership, changes: &[Change]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let shard = kept.owned("commit", owner)?;
        for change in changes {
            if let Change::Append(event) = change
                && shard.log.get(&event.seq).is_some_and(|there| there != event)
            {
                return Err(taken("commit", event.seq));
            }
        }
        changes.iter().for_each(|change| shard.apply(change));
        Ok(())
    }

    async fn read_log(
        &self,
        shard: ShardId,
        scope: Scope,
        after: Seq,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        let kept = self.kept();
        let Some(shard) = kept.shards.get(&shard) else { return Ok(LogPage::default()) };
        let later = shard.log.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, event)| event);
        let events = later.filter(|event| scope.contains(event)).take(limit).cloned().collect();
        Ok(LogPage { events, floor: shard.floor_of(scope), head: shard.head })
    }
}

/// The order of rows by their places in an index.
fn by_place<P: Ord>(first: First) -> impl Fn(&(P, &Row), &(P, &Row)) -> Ordering + Copy {
    move |(a, _), (b, _)| match first {
        First::Oldest => a.cmp(b),
        First::Newest => b.cmp(a),
    }
}

/// Where the rows lie that may have a place in an index.
fn span(index: &Index) -> (Bound<RowKey>, Bound<RowKey>) {
    use Bound::{Excluded, Included, Unbounded};
    // The least of all names.
    let reader = |session| RowKey::Reader(session, Name::from_static(" "));
    match index {
        Index::Sessions { .. } | Index::ClosedSessions { .. } => {
            (Included(RowKey::Session(SessionId(0))), Included(RowKey::Session(SessionId(u128::MAX))))
        }
        Index::Deliveries { .. } | Index::Retiring { .. } => {
            (Included(RowKey::Delivery(DeliveryId(0))), Included(RowKey::Delivery(DeliveryId(u128::MAX))))
        }
        Index::Messages { .. } => {
            (Included(RowKey::Message(MessageId(0))), Included(RowKey::Message(MessageId(u128::MAX))))
        }
        Index::IdempotencyBefore(_) => {
            (Excluded(RowKey::Message(MessageId(u128::MAX))), Excluded(reader(SessionId(0))))
        }
        Index::Readers { session } => {
            let next = session.0.checked_add(1).map_or(RowKey::Task(TaskId(0)), |id| reader(SessionId(id)));
            (Included(reader(*session)), Excluded(next))
        }
        _ => (Unbounded, Unbounded),
    }
}

/// When a row is to be looked at.
fn due(row: &Row) -> Option<Due> {
    match row {
        Row::Delivery(delivery) => Some((delivery.retire_at?, delivery.seq, delivery.id)),
        _ => None,
    }
}

/// Soonest first.
fn retiring(shard: &Shard, after: Option<(Timestamp, Seq)>, until: Timestamp, limit: usize) -> Vec<Row> {
    let (at, behind) = after.map_or((Timestamp::default(), Seq::ZERO), |(at, seq)| (at, seq.next()));
    let due = shard.retiring.range((at, behind, DeliveryId(0))..).take_while(|(at, ..)| *at <= until);
    let rows = due.filter_map(|(_, _, id)| shard.rows.get(&RowKey::Delivery(*id)));
    rows.take(limit).cloned().collect()
}

#[async_trait]
impl HandshakeStore for MemoryStore {
    async fn save(&self, record: Handshake) -> Result<(), StoreError> {
        self.kept().handshakes.insert(record.id.clone(), record);
        Ok(())
    }

    async fn find(&self, id: &str) -> Result<Option<Handshake>, StoreError> {
        Ok(self.kept().handshakes.get(id).cloned())
    }

    async fn delete(&self, id: &str) -> Result<(), StoreError> {
        self.kept().handshakes.remove(id);
        Ok(())
    }

    async fn forget(&self, before: Timestamp) -> Result<(), StoreError> {
        self.kept().handshakes.retain(|_, record| record.saved_at >= before);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bridge_core::{Reader, StateKind};
    use bridge_testkit::samples;

    use super::*;

    type IsOfIt = fn(&Row) -> bool;

    /// A page goes through no others than these, however many there are.
    #[test]
    fn the_rows_of_an_index_lie_together() {
        let session = samples::session_id(1);
        let least = Reader { name: Name::from_static(" "), ..samples::reader(1) };
        let last = Reader { session: SessionId(u128::MAX), ..samples::reader(1) };
        let rows = samples::rows().into_iter().chain([Row::Reader(least), Row::Reader(last)]);
        let rows: BTreeMap<RowKey, Row> = rows.map(|row| (row.key(), row)).collect();
        let (at, seq) = (samples::at(0), Seq::ZERO);
        let (state, first) = (StateKind::Done, First::Oldest);
        let indexes: [(Index, IsOfIt); 8] = [
            (Index::Sessions { before: None }, |row| matches!(row, Row::Session(_))),
            (Index::ClosedSessions { after: None, until: at }, |row| matches!(row, Row::Session(_))),
            (Index::Messages { session, before: None }, |row| matches!(row, Row::Message(_))),
            (Index::Deliveries { state, mailbox: None, from: seq, to: seq, first }, |row| {
                matches!(row, Row::Delivery(_))
            }),
            (Index::Retiring { after: None, until: at }, |row| matches!(row, Row::Delivery(_))),
            (Index::IdempotencyBefore(at), |row| matches!(row, Row::Idempotency(_))),
            (
                Index::Readers { session },
                |row| matches!(row, Row::Reader(reader) if reader.session == samples::session_id(1)),
            ),
            (
                Index::Readers { session: SessionId(u128::MAX) },
                |row| matches!(row, Row::Reader(reader) if reader.session == SessionId(u128::MAX)),
            ),
        ];
        for (index, is_of_it) in indexes {
            let found: Vec<_> = rows.range(span(&index)).map(|(_, row)| row).collect();
            let expected: Vec<_> = rows.values().filter(|row| is_of_it(row)).collect();
            assert!(!expected.is_empty());
            assert_eq!(found, expected, "{index:?}");
        }
    }
}
