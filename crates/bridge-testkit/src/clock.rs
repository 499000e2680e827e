//! A clock that moves when it is told to.

use std::time::Duration;

use bridge_core::{Clock, Timestamp};
use tokio::sync::watch;

use crate::world::START;

/// A clock for tests: clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl ManualClock {
    /// A clock that stands at the beginning of test time.
    pub fn new() -> Self {
        Self { now: watch::Sender::new(START) }
    }

    /// Moves the clock forward and wakes whoever slept until then.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = *now + by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait::async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn not_before(&self, mark: Timestamp) {
        self.now.send_modify(|now| *now = (*now).max(mark));
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        // The sender lives as long as this clock does.
        let _ = self.now.subscribe().wait_for(|now| *now >= deadline).await;
    }
}
