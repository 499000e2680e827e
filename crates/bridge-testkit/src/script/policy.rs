//! The numbers of a shard, as a script changes them: with a restart.

use bridge_core::{LateAck, MakeMailboxes, Policy, Retention, RetentionRule, Retentions};

use super::words::Words;

/// The policy with those numbers that are named.
pub(super) fn changed(policy: Policy, words: &Words<'_>) -> Policy {
    let count = |name, default: usize| words.number(name).map_or(default, |number| number as usize);
    let late_ack = match words.set.get("late_ack") {
        Some(&"reject") => LateAck::Reject,
        Some(&"accept") => LateAck::Accept,
        Some(other) => panic!("late_ack={other} is no rule"),
        None => policy.late_ack,
    };
    let mailboxes = match words.set.get("mailboxes") {
        Some(&"by_hand") => MakeMailboxes::ByHand,
        Some(&"at_first_use") => MakeMailboxes::AtFirstUse,
        Some(other) => panic!("mailboxes={other} is no rule"),
        None => policy.mailboxes,
    };
    let retentions = words.set.get("retention").map(|word| {
        let found = Retention::ALL.into_iter().find(|known| known.as_str() == *word);
        let retention = found.unwrap_or_else(|| panic!("{word} is no retention"));
        Retentions::all(RetentionRule { retention, archive: false })
    });
    Policy {
        late_ack,
        mailboxes,
        retentions: retentions.unwrap_or(policy.retentions),
        max_mailboxes: count("max_mailboxes", policy.max_mailboxes),
        max_pending: count("max_pending", policy.max_pending),
        max_sessions: count("max_sessions", policy.max_sessions),
        max_waiting: count("max_waiting", policy.max_waiting),
        max_tasks: count("max_tasks", policy.max_tasks),
        max_rows: count("max_rows", policy.max_rows),
        poll_budget: words.number("poll_budget").or(policy.poll_budget),
        ..policy
    }
}

/// How much there may be of everything.
pub(super) fn limits(policy: &Policy) -> String {
    let Policy { max_sessions, max_mailboxes, max_pending, max_waiting, max_tasks, .. } = policy;
    format!(
        "{max_sessions} sessions, {max_mailboxes} mailboxes, {max_pending} messages, {max_waiting} receives, {max_tasks} tasks"
    )
}
