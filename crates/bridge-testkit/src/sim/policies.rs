//! Small numbers, so that limits are met and longer work takes several steps.

use std::time::Duration;

use bridge_core::{LateAck, Limits, Policy};

use crate::rng::Rng;

/// The policy of a simulation: not all shards have the same.
pub(super) fn policy(rng: &mut Rng) -> Policy {
    Policy {
        agent: Limits {
            lease: Duration::from_secs(10),
            max_failures: 3,
            credit: if rng.chance(70) { 4 } else { 2 },
            max_pending: 12,
            max_pending_bytes: if rng.chance(70) { u64::MAX } else { 150 },
            ..Limits::AGENT
        },
        late_ack: if rng.chance(75) { LateAck::Accept } else { LateAck::Reject },
        max_lease: Duration::from_secs(if rng.chance(60) { 12 * 3600 } else { 30 }),
        max_attempts: 6,
        max_rows: if rng.chance(80) { 6 } else { 2 },
        max_cold: if rng.chance(60) { 24 } else { 3 },
        max_waiting: 6,
        max_sessions: 4,
        max_tasks: 3,
        poll_budget: rng.chance(30).then_some(3),
        bounce_ttl: Duration::from_secs(120),
        ..Policy::default()
    }
}
