//! Choosing the parts of a bridge, and starting it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::AtomicU64},
    time::Duration,
};

use bridge_core::{Archive, Clock, Command, Index, Metrics, Policy, Row, Store, StoreError, StoreErrorKind};
use tokio::sync::watch;

use crate::{
    actor::Actor,
    bridge::{Bridge, SHARD, Shared},
    clock::SystemClock,
    fault::{Fault, Health},
    id::Ids,
    inbox::Inlet,
    life::Parts,
    retention::{Sweeper, Waiting},
    tail::Tail,
    task,
    token::Tokens,
};

/// Commands that may wait to be handled; who sends more waits. In the model so few that it is often full.
const INBOX: usize = if cfg!(shuttle) { 2 } else { 4_096 };

/// How often rows that nobody will ask for again are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// The pause between two looks while there is more.
const PAUSE: Duration = Duration::from_secs(1);

/// Rows removed at once.
const SWEEP_ROWS: usize = 1_000;

/// Chooses the parts of a [`Bridge`].
#[derive(Debug)]
pub struct Builder {
    store: Arc<dyn Store>,
    clock: Option<Arc<dyn Clock>>,
    metrics: Arc<dyn Metrics>,
    archive: Option<Arc<dyn Archive>>,
    policy: Policy,
}

impl Bridge {
    /// Like [`builder`](Bridge::builder), over a store that is shared with others.
    pub fn builder_from(store: Arc<dyn Store>) -> Builder {
        Builder { store, clock: None, metrics: Arc::new(()), archive: None, policy: Policy::default() }
    }
}

impl Builder {
    /// Keeps time by `clock` instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Reports what is measured to `metrics`.
    #[must_use]
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Keeps messages of some types in `archive` before they are removed: [`RetentionRule::archive`](bridge_core::RetentionRule::archive) says which.
    #[must_use]
    pub fn archive(mut self, archive: impl Archive) -> Self {
        self.archive = Some(Arc::new(archive));
        self
    }

    /// Replaces the documented numbers.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Becomes the owner of the store's data, loads it and begins to work, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// What the store says: that another process has the data, that it is damaged, that it is of a newer version.
    ///
    /// A full disk is no error if the data was used before: then the bridge begins as one whose disk has filled up, reads
    /// what is there, and takes more once there is space.
    pub async fn start(self) -> Result<Bridge, StoreError> {
        let Self { store, clock, metrics, archive, policy } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let ids = Ids::new(Arc::clone(&clock));
        let parts = Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            policy: policy.clone(),
            shard: SHARD,
            node: ids.node(),
        };
        let (first, identity, head) = match parts.begin().await {
            Ok(life) => {
                let (identity, head) = (life.identity.clone(), life.head);
                (Ok(life), identity, head)
            }
            Err(error) if error.kind == StoreErrorKind::Full => {
                let Some(identity) = parts.identity().await? else { return Err(error) };
                tracing::error!(%error, "there is no space left; the bridge only reads until there is");
                (Err(error.kind), identity, parts.bounds().await?.head)
            }
            Err(error) => return Err(error),
        };
        let (inlet, inbox) = Inlet::channel(INBOX);
        let tail = Arc::new(Tail::new(head));
        let health = if first.is_ok() { Health::Ready } else { Health::Faulted(Fault::Full) };
        let (health, observed) = watch::channel(health);
        let shared = Shared {
            inlet,
            store,
            clock,
            ids,
            tail: Arc::clone(&tail),
            log: identity.log,
            tokens: Tokens::new(identity.token_key),
            health: observed,
            calls: AtomicU64::new(0),
            reads_ahead: Arc::default(),
        };
        let actor = Actor::new(parts, inbox, shared.inlet.downgrade(), tail, health);
        task::spawn(actor.run(first));
        let bridge = Bridge { shared: Arc::new(shared) };
        task::spawn(sweep(Arc::downgrade(&bridge.shared)));
        let sweeper = Sweeper {
            bridge: Arc::downgrade(&bridge.shared),
            policy,
            archive,
            metrics,
            last: None,
            archive_is_down: false,
            waiting: Waiting::default(),
            passed: BTreeSet::new(),
        };
        task::spawn(sweeper.run());
        Ok(bridge)
    }
}

/// Now and then removes remembered publishes whose time has passed, as long as the bridge lives.
async fn sweep(bridge: Weak<Shared>) {
    let mut more = false;
    while let Some(clock) = bridge.upgrade().map(|shared| Arc::clone(&shared.clock)) {
        clock.sleep_until(clock.now() + if more { PAUSE } else { SWEEP }).await;
        let Some(shared) = bridge.upgrade() else { return };
        let index = Index::IdempotencyBefore(shared.clock.now());
        match shared.store.scan(SHARD, index, SWEEP_ROWS).await {
            Ok(rows) => {
                more = rows.len() == SWEEP_ROWS;
                let record = |row| match row {
                    Row::Idempotency(record) => Some(record),
                    _ => None,
                };
                let records: Vec<_> = rows.into_iter().filter_map(record).collect();
                if !records.is_empty() {
                    shared.inlet.notify(Command::Forget(records));
                }
            }
            Err(error) => tracing::warn!(%error, "old keys could not be looked for"),
        }
    }
}
