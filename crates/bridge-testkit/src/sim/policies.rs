//! Small numbers, so that limits are met and longer work takes several steps.

use std::time::Duration;

use bridge_core::{LateAck, Limits, MakeMailboxes, Policy, Retention, RetentionRule, Retentions, Retry};

use super::clients::name;
use crate::rng::Rng;

/// Pauses of mailboxes whose messages are sent on.
const WEBHOOK: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(40)];

/// The policy of a simulation: not all shards have the same.
pub(super) fn policy(rng: &mut Rng) -> Policy {
    let max_pending_bytes = if rng.chance(70) { u64::MAX } else { 150 };
    let limits = |lease, max_failures, credit, retry| Limits {
        lease: Duration::from_secs(lease),
        max_failures,
        credit,
        max_pending: 12,
        max_pending_bytes,
        retry,
    };
    let retentions = retentions(rng);
    let credit = if rng.chance(70) { 4 } else { 2 };
    Policy {
        service: limits(6, 4, 6, Limits::SERVICE.retry),
        agent: limits(10, 3, credit, Limits::AGENT.retry),
        browser: limits(8, 2, 2, Limits::BROWSER.retry),
        webhook: limits(5, 3, 4, Retry::Each(WEBHOOK)),
        mailboxes: if rng.chance(85) { MakeMailboxes::AtFirstUse } else { MakeMailboxes::ByHand },
        retentions,
        dead_letters: Duration::from_secs(if rng.chance(50) { 30 } else { 30 * 24 * 3600 }),
        settled: Duration::from_secs(if rng.chance(50) { 10 } else { 24 * 3600 }),
        log: Duration::from_secs(if rng.chance(50) { 30 } else { 7 * 24 * 3600 }),
        closed_session_ttl: Duration::from_secs(if rng.chance(50) { 20 } else { 7 * 24 * 3600 }),
        max_mailboxes: if rng.chance(70) { 10 } else { 3 },
        mailbox_ttl: Duration::from_secs(if rng.chance(50) { 7 * 24 * 3600 } else { 2 * 3600 }),
        max_pending: if rng.chance(80) { usize::MAX } else { 20 },
        max_asked: 3,
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

/// Mostly short, so that there is something to remove while others still work.
fn retentions(rng: &mut Rng) -> Retentions {
    let mut any = || {
        let retention = match rng.below(10) {
            0..5 => Retention::Immediate,
            5..7 => Retention::Short,
            7..9 => Retention::Medium,
            _ => Retention::Permanent,
        };
        RetentionRule { retention, archive: false }
    };
    let mut retentions = Retentions::all(any());
    for kind in ["message", "command", "answer"] {
        retentions.set(name(kind), any());
    }
    retentions
}
