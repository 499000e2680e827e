//! Settling deliveries.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    bounds::{MAX_LEASE_MS, number},
    message::Published,
    object::Object,
    payload::present,
    problem::Problem,
    time::Time,
};

/// What a consumer says about a delivery it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settle {
    /// The token that came with the delivery; or `message_id` and `handle`, not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The message, with `handle`, or alone from the named consumer that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The short form of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// What the caller calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// `ack`, `answer`, `nack`, `release`, `reject` or `extend`.
    pub outcome: String,
    /// `answer`: the answer, as a string or as a [`Reply`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Box<RawValue>>,
    /// `answer`: tokens of other deliveries that the same answer settles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<String>,
    /// `release`, `nack`: not handed out before this time has passed.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 0, MAX_LEASE_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub delay_ms: Option<u64>,
    /// `extend`: how long from now the lease lasts.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 0, MAX_LEASE_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub by_ms: Option<u64>,
    /// `extend`: what is being done, for the sender to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// `nack`, `reject`: what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An answer with its parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// The content as plain text; or `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The content as JSON, `null` included; or `text`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// What kind of message it is; `answer` if absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl Reply {
    /// Reads the member `reply` of a settlement.
    ///
    /// # Errors
    /// What is wrong with it as JSON, or with its members.
    pub fn parse(reply: &RawValue) -> serde_json::Result<Self> {
        if reply.get().starts_with('"') {
            return Ok(Self { text: Some(serde_json::from_str(reply.get())?), payload: None, kind: None });
        }
        serde_json::from_str(reply.get()).map(|Object(reply)| reply)
    }
}

/// An accepted settlement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settled {
    /// Where the delivery stands now.
    pub state: String,
    /// `dlv_…`.
    pub delivery_id: String,
    /// `msg_…`.
    pub message_id: String,
    /// When the lease ends now, if it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Time>,
    /// Whether the same was said before, and nothing was changed.
    pub already_done: bool,
    /// The answer that was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Published>,
    /// Covered deliveries that this answer did not settle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_covered: Vec<NotCovered>,
    /// The sender has asked for the delivery back.
    pub cancel_requested: bool,
}

/// A delivery that an answer was to cover and did not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotCovered {
    /// The token as it was given.
    pub token: String,
    /// Why.
    pub error: Problem,
}

/// The results of several settlements, each in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettleResults {
    /// One each.
    pub results: Vec<SettleResult>,
}

/// The result of one of several settlements.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SettleResult {
    /// It was accepted.
    Settled(Box<Settled>),
    /// It was refused.
    Refused {
        /// Why.
        error: Box<Problem>,
    },
}
