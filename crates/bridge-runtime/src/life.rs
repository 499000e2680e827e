//! How the life of a shard begins: it is owned, identified and loaded.

use std::{future::Future, sync::Arc, time::Duration};

use bridge_core::{
    Change, Clock, Identity, Index, LogId, LogPage, Metrics, NodeId, Ownership, Policy, Row, RowKey, Scope,
    Seq, Shard, ShardId, Store, StoreError,
};
use futures_util::future::join;

/// How long an ownership is claimed for. Nothing renews it: a data directory has one owner, and commits are fenced by the
/// epoch alone.
const OWNERSHIP: Duration = Duration::from_secs(10);

/// Rows read at once for a shadow.
const SHADOW_PAGE: usize = 1_000;

/// What a shard lives on.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<dyn Metrics>,
    pub(crate) policy: Policy,
    pub(crate) shard: ShardId,
    pub(crate) node: NodeId,
}

/// A shard in its owner's hands.
pub(crate) struct Life {
    pub(crate) owner: Ownership,
    pub(crate) shard: Shard,
    /// The end of its log.
    pub(crate) head: Seq,
    /// Its identity and secret.
    pub(crate) identity: Identity,
}

impl Parts {
    /// Becomes the owner of the shard and loads it.
    pub(crate) async fn begin(&self) -> Result<Life, StoreError> {
        let owner = self.own().await?;
        self.load(owner).await
    }

    /// Becomes the owner of the shard.
    pub(crate) async fn own(&self) -> Result<Ownership, StoreError> {
        let Self { store, clock, shard, node, .. } = self;
        let owner = store.acquire(*shard, *node, clock.now(), OWNERSHIP).await?;
        clock.not_before(owner.since);
        Ok(owner)
    }

    /// Loads the shard for its owner.
    pub(crate) async fn load(&self, owner: Ownership) -> Result<Life, StoreError> {
        let identity = match self.identity().await? {
            Some(identity) => identity,
            None => self.found(&owner).await?,
        };
        let bounds = self.bounds().await?;
        let head = bounds.head;
        let shard = self.shard(owner.epoch, &bounds, |after| self.store.load(&owner, after)).await?;
        Ok(Life { owner, shard, head, identity })
    }

    /// What the shard would be, for those who only look: it is owned by nobody.
    pub(crate) async fn shadow(&self) -> Result<Shard, StoreError> {
        let bounds = self.bounds().await?;
        let live = |after| self.store.scan(self.shard, Index::Live { after }, SHADOW_PAGE);
        self.shard(0, &bounds, live).await
    }

    /// A shard of all rows that `page` gives, one page after the other.
    async fn shard<P>(
        &self,
        epoch: u64,
        bounds: &LogPage,
        page: impl Fn(Option<RowKey>) -> P,
    ) -> Result<Shard, StoreError>
    where
        P: Future<Output = Result<Vec<Row>, StoreError>>,
    {
        let now = self.clock.now();
        let mut shard = Shard::new(self.policy.clone(), epoch, random());
        let mut rows = page(None).await?;
        while let Some(last) = rows.last() {
            let next = page(Some(last.key()));
            // The store reads the next page while this one is taken in.
            let (next, ()) = join(next, async { shard.adopt(rows, now) }).await;
            rows = next?;
        }
        Ok(shard.loaded(bounds.floor, bounds.head, now))
    }

    /// The identity that the shard was given at its first load.
    pub(crate) async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        match self.store.get(self.shard, &[RowKey::Identity]).await?.pop().flatten() {
            Some(Row::Identity(identity)) => Ok(Some(identity)),
            _ => Ok(None),
        }
    }

    /// Where the log begins and ends; the clock goes on from there.
    pub(crate) async fn bounds(&self) -> Result<LogPage, StoreError> {
        let bounds = self.store.read_log(self.shard, Scope::All, Seq::ZERO, 0).await?;
        let before = Seq(bounds.head.0.saturating_sub(1));
        let last = self.store.read_log(self.shard, Scope::All, before, 1).await?;
        if let Some(event) = last.events.last() {
            self.clock.not_before(event.at);
        }
        Ok(bounds)
    }

    /// Gives the shard its identity, at its first load.
    async fn found(&self, owner: &Ownership) -> Result<Identity, StoreError> {
        let mut token_key = [0; 32];
        fill(&mut token_key);
        let identity = Identity { log: LogId(random()), token_key };
        self.store.commit(owner, &[Change::Put(Row::Identity(identity.clone()))]).await?;
        Ok(identity)
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has randomness");
}
