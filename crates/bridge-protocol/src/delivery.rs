//! How a message fares on its way to one mailbox.

use bridge_core as core;
use serde::{Deserialize, Serialize};

use crate::{
    bounds::{MAX_REDRIVEN, MAX_REDRIVEN_PER_S, MAX_SPAN_MS, number},
    problem::Problem,
    time::Time,
};

/// One delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// `dlv_…`.
    pub id: String,
    /// The message.
    pub message_id: String,
    /// The type of the message.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who sent it.
    pub from: String,
    /// Where it goes.
    pub mailbox: String,
    /// Deliveries with one key are handed out in order; none if it waits for no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// 1 (critical) to 9 (bulk).
    pub priority: u8,
    /// `pending`, `leased`, `done`, `dead` or `cancelled`.
    pub state: String,
    /// Leases given so far.
    pub attempt: u32,
    /// Returns that were charged.
    pub failures: u32,
    /// While pending: not handed out before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible_at: Option<Time>,
    /// Given up after, unless leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// While leased: who holds it, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// What is proven to have happened, and when.
    pub receipts: Receipts,
    /// What its consumer last said it was doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// While dead: why. `max_failures`, `rejected`, `expired`, `too_many_releases` or `session_closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last thing a consumer said when it gave it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_id: Option<String>,
    /// The sender has asked for it back.
    pub cancel_requested: bool,
    /// The delivery it was made from by a redrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redrive_of: Option<String>,
    /// The delivery that a redrive made from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redriven_as: Option<String>,
    /// The message was removed: the delivery is only remembered, and cannot be redriven.
    #[serde(default)]
    pub message_gone: bool,
    /// Each hand-over and how it ended, of many the newest 33: where one delivery or dead ones are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

/// Who holds a delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lease {
    /// The consumer's name.
    pub consumer: String,
    /// When the lease began.
    pub started_at: Time,
    /// When it ends.
    pub until: Time,
}

/// Times of what is proven to have happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipts {
    /// It became durable.
    pub accepted: Time,
    /// It was last granted to a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented: Option<Time>,
    /// The newest lease's token was first used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Time>,
    /// Its consumer last said that it was working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progressed: Option<Time>,
    /// It was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Time>,
    /// It was acknowledged or answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<Time>,
    /// Its reader has passed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Time>,
    /// It was given up, or withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead: Option<Time>,
}

/// One hand-over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Its ordinal, from 1.
    pub attempt: u32,
    /// Who got it.
    pub consumer: String,
    /// When.
    pub presented_at: Time,
    /// When it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// How it ended: `answered`, `settled`, `nack`, `release`, `timeout`, `answer_lost`, `dead` or `cancelled`. What went back
    /// for the last time says why it did, and the delivery's state what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What the consumer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<&core::Delivery> for Delivery {
    fn from(delivery: &core::Delivery) -> Self {
        let receipts = &delivery.receipts;
        let text = |text: &std::sync::Arc<str>| text.to_string();
        Self {
            id: delivery.id.to_string(),
            message_id: delivery.message.to_string(),
            kind: (&delivery.kind).into(),
            from: (&delivery.from).into(),
            mailbox: delivery.mailbox.to_string(),
            key: delivery.key.as_ref().map(Into::into),
            priority: delivery.priority.level(),
            state: delivery.state.as_str().to_owned(),
            attempt: delivery.attempt,
            failures: delivery.failures,
            visible_at: match delivery.state {
                core::State::Pending { visible_at } => Some(visible_at.into()),
                _ => None,
            },
            expires_at: delivery.expires_at.map(Into::into),
            lease: delivery.grant.as_ref().filter(|_| delivery.state == core::State::Leased).map(|grant| {
                Lease {
                    consumer: (&grant.consumer.name).into(),
                    started_at: grant.started.into(),
                    until: grant.until.into(),
                }
            }),
            receipts: Receipts {
                accepted: receipts.accepted.into(),
                presented: receipts.presented.map(Into::into),
                seen: receipts.seen.map(Into::into),
                progressed: receipts.progressed.map(Into::into),
                answered: receipts.answered.map(Into::into),
                settled: receipts.settled.map(Into::into),
                read: receipts.read.map(Into::into),
                dead: receipts.dead.map(Into::into),
            },
            progress: delivery.progress.as_ref().map(text),
            reason: match delivery.state {
                core::State::Dead(reason) => Some(reason.as_str().to_owned()),
                _ => None,
            },
            last_error: delivery.last_error.as_ref().map(text),
            reply_id: delivery.reply.map(|id| id.to_string()),
            cancel_requested: delivery.cancel_requested,
            redrive_of: delivery.redrive_of.map(|id| id.to_string()),
            redriven_as: delivery.redriven_as.map(|id| id.to_string()),
            message_gone: delivery.message_gone,
            attempts: None,
        }
    }
}

impl Attempt {
    /// The hand-overs that a delivery remembers, oldest first, the newest included.
    pub fn all_of(delivery: &core::Delivery) -> Vec<Self> {
        let earlier = delivery.attempts.iter().map(|attempt| Self {
            attempt: attempt.number,
            consumer: (&attempt.consumer).into(),
            presented_at: attempt.started.into(),
            ended_at: Some(attempt.ended.into()),
            outcome: Some(attempt.reason.as_str().to_owned()),
            error: attempt.error.as_ref().map(ToString::to_string),
        });
        earlier.chain(Self::newest_of(delivery)).collect()
    }

    /// The newest hand-over, unless its end is remembered already.
    fn newest_of(delivery: &core::Delivery) -> Option<Self> {
        let grant = delivery.grant.as_ref()?;
        if delivery.attempts.last().is_some_and(|last| last.number == delivery.attempt) {
            return None;
        }
        let core::Receipts { answered, settled, dead, .. } = delivery.receipts;
        let (outcome, ended_at, error) = match delivery.state {
            core::State::Pending { .. } | core::State::Leased => (None, None, None),
            core::State::Done if answered.is_some() => (Some("answered"), answered, None),
            core::State::Done => (Some("settled"), settled, None),
            core::State::Dead(_) => (Some("dead"), dead, delivery.last_error.as_ref()),
            core::State::Cancelled => (Some("cancelled"), dead, None),
        };
        Some(Self {
            attempt: delivery.attempt,
            consumer: (&grant.consumer.name).into(),
            presented_at: grant.started.into(),
            ended_at: ended_at.map(Into::into),
            outcome: outcome.map(ToOwned::to_owned),
            error: error.map(ToString::to_string),
        })
    }
}

/// What withdrawing a delivery came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancelled {
    /// `cancelled`, or `leased` while somebody works on it.
    pub state: String,
    /// Whether its holder was asked for it, who may still settle it.
    pub requested: bool,
}

/// A wish for another life of one delivery.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// Given up after so long; it does not expire if absent.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 1, MAX_SPAN_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub ttl_ms: Option<u64>,
}

/// The delivery that goes on in another's place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Successor {
    /// `dlv_…`.
    pub delivery_id: String,
}

/// Which dead letters are to have another life: those that a filter names, `mailbox`, `reason` or `type`, or `all`. A member that is
/// not known is refused, since without it more might be meant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveDead {
    /// Every one there is; must be `true` without a filter, and not with one.
    #[serde(default)]
    pub all: bool,
    /// Those of this mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Those that were given up for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Those with this type of message.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// At most so many, those that are refused included; 100 if absent, up to 1000, and no more than a minute takes at the rate.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 1, MAX_REDRIVEN>",
        skip_serializing_if = "Option::is_none"
    )]
    pub limit: Option<u32>,
    /// At most so many a second; 100 if absent, up to 1000.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 1, MAX_REDRIVEN_PER_S>",
        skip_serializing_if = "Option::is_none"
    )]
    pub rate_per_s: Option<u32>,
    /// Where an earlier call ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether only to tell what would come of it; it is done unless this says `true`.
    #[serde(default)]
    pub dry_run: bool,
}

/// What redriving dead letters came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Redriven {
    /// Whether it was only tried.
    #[serde(default)]
    pub dry_run: bool,
    /// The deliveries that were made; of a dry run those that would be redriven.
    pub redriven: Vec<String>,
    /// Those that could not be redriven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Unredriven>,
    /// What to pass as `cursor` to go on, even if nothing was redriven; none at the end.
    pub next_cursor: Option<String>,
}

/// A dead letter that could not be redriven.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unredriven {
    /// The delivery.
    pub delivery_id: String,
    /// Why not.
    pub error: Problem,
}
