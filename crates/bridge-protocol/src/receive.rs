//! Taking deliveries.

use bridge_core as core;
use serde::{Deserialize, Serialize};

use crate::{
    bounds::{MAX_LEASE_MS, MAX_RECEIVED, MAX_WAIT_MS, MIN_LEASE_MS, number},
    message::Message,
    object::object,
    time::Time,
};

/// A wish for deliveries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Receive {
    /// Where from: `<client>`, `group:<name>` or `session:<id>/agent`; or `mailboxes`, not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Where from, if from several, 64 at most: they take turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mailboxes: Vec<String>,
    /// Only what matches; what does not still holds up what is behind it in its key.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// What the taker calls itself; the same name may come back for what it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// At most so many, 1 to 100; 1 if absent.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 1, MAX_RECEIVED>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max: Option<u32>,
    /// At most so many bytes of payload, but one message in any case; 1 MiB if absent, and never more.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 1, { u64::MAX }>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_bytes: Option<u64>,
    /// How long to wait if nothing is there; 0 to 60000.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 0, MAX_WAIT_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub wait_ms: Option<u64>,
    /// How long to wait for more once something is there; 0 to 60000.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 0, MAX_WAIT_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub linger_ms: Option<u64>,
    /// How long the leases last, a second to 12 hours; the mailbox's own time if absent.
    #[serde(
        default,
        deserialize_with = "number::<_, _, MIN_LEASE_MS, MAX_LEASE_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub lease_ms: Option<u64>,
    /// Repeating the attempt gives the same deliveries with the same tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<String>,
}

/// Which deliveries a receive wants. A member that is not known would let pass what is not wanted, so it is refused.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// These types of messages, 16 at most; any if there are none.
    #[serde(default)]
    pub types: Vec<String>,
}

/// What a receive got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Received {
    /// The deliveries, in order.
    pub deliveries: Vec<Granted>,
    /// What the consumer holds besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Granted>,
    /// What to do next.
    pub directive: Directive,
    /// How many deliveries still wait.
    pub depth: u32,
}

/// A delivery in the caller's hands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Granted {
    /// `dlv_…`.
    pub id: String,
    /// What to settle it with.
    pub token: String,
    /// The short form of the token, valid together with the message's id.
    pub handle: String,
    /// Ordinal of the hand-over, from 1.
    pub attempt: u32,
    /// When the lease ends.
    pub lease_until: Time,
    /// The sender has asked for it back: settle it or give it back.
    pub cancel_requested: bool,
    /// When it is given up unless somebody holds it then; `expires_at` of the message is what it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// What is delivered; `null` if its content was removed or is damaged, or if it is held and others that are take 1 MiB.
    pub message: Option<Message>,
}

/// What to do next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Directive {
    /// `process`, `wait_again` or `end_turn`.
    pub action: String,
    /// How long to pause before it.
    pub delay_ms: u64,
    /// Why: `messages`, `quiet`, `busy`, `paused`, `no_credit`, `poll_budget`, `session_closed`, `mailbox_deleted`, `shutting_down`, `replaced` or `task_over`.
    pub reason: String,
}

impl From<&core::Directive> for Directive {
    fn from(directive: &core::Directive) -> Self {
        Self {
            action: directive.action.as_str().to_owned(),
            delay_ms: u64::try_from(directive.delay.as_millis()).unwrap_or(u64::MAX),
            reason: directive.reason.as_str().to_owned(),
        }
    }
}
