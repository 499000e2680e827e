//! The clock of a running bridge. With `id.rs` it is the only place that looks at the machine's own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bridge_core::{Clock, Timestamp};

/// The time since the machine was booted, anchored once to the wall clock.
///
/// It counts the time the machine slept, and it does not follow the wall clock when that is set: nothing expires early
/// because somebody corrected the time.
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time at boot, in milliseconds; raised when the data is ahead of it.
    boot: AtomicU64,
}

/// The longest single sleep: timers of the runtime do not count the time a machine slept, so look again now and then.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl SystemClock {
    /// A clock that agrees with the wall clock now.
    #[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read, once")]
    pub fn new() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Self { boot: AtomicU64::new(wall.saturating_sub(since_boot())) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.boot.load(Ordering::Relaxed).saturating_add(since_boot()))
    }

    fn not_before(&self, mark: Timestamp) {
        let boot = mark.as_millis().saturating_sub(since_boot());
        self.boot.fetch_max(boot, Ordering::Relaxed);
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the runtime's timers are used")]
    async fn sleep_until(&self, deadline: Timestamp) {
        loop {
            let left = deadline.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }
}

/// Milliseconds since boot, sleep included.
#[cfg(target_os = "linux")]
fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}

/// Milliseconds since the first call: elsewhere the monotonic clock has to do.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is where the monotonic clock is read")]
fn since_boot() -> u64 {
    use std::{sync::OnceLock, time::Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_from_the_future_moves_the_clock_forward() {
        let clock = SystemClock::new();
        let mark = clock.now() + Duration::from_secs(3600);
        clock.not_before(mark);
        assert!(clock.now() >= mark);
    }

    #[test]
    fn a_mark_from_the_past_changes_nothing() {
        let clock = SystemClock::new();
        let before = clock.now();
        clock.not_before(before - Duration::from_secs(3600));
        assert!(clock.now() >= before);
        assert!(clock.now().since(before) < Duration::from_secs(60));
    }
}
