//! Time for whoever drives a shard. The shard itself is handed `now`.

use alloc::boxed::Box;
use core::fmt;

use async_trait::async_trait;

use crate::time::Timestamp;

/// A clock that only goes forward, whatever is done to the wall clock.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now, never less than at an earlier call.
    fn now(&self) -> Timestamp;

    /// Makes sure that the clock is not behind `mark`, a time that was seen before a restart.
    fn not_before(&self, mark: Timestamp);

    /// Returns when `deadline` is reached.
    ///
    /// # Cancel safety
    /// May be dropped at any moment.
    async fn sleep_until(&self, deadline: Timestamp);
}
