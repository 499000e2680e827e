//! Ending a lease, or asking for more of it.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use bytes::Bytes;

use crate::{
    consumer::Consumer,
    delivery::{Lease, OutcomeKind, State},
    id::{DeliveryId, MessageId, Name},
    message::Headers,
    publish::Published,
    time::Timestamp,
};

/// What a consumer says about a delivery it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// What proves that it may.
    pub proof: Proof,
    /// What it says.
    pub outcome: Outcome,
}

/// What entitles a caller to settle a delivery. Genuineness of a token is checked before it comes here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A genuine token for this lease.
    Lease(DeliveryId, Lease),
    /// Only the message is named. Good enough from the named consumer that holds the newest lease, or when the
    /// delivery was leased exactly once, to a nameless consumer.
    Message(MessageId, Consumer),
}

/// What happened to a delivery in a consumer's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It is done, and here is the answer.
    Answer {
        /// The answer.
        reply: Reply,
        /// Other deliveries that the same answer settles.
        covers: Vec<Proof>,
    },
    /// It is still being worked on.
    Extend {
        /// For how long from now; the length of the lease if absent.
        by: Option<Duration>,
        /// What is being done, for the sender to see.
        progress: Option<Arc<str>>,
    },
    /// It is given back uncharged.
    Release {
        /// Not handed out before this much time has passed.
        delay: Duration,
    },
    /// It failed.
    Nack {
        /// When to try again; the mailbox's back-off if absent.
        delay: Option<Duration>,
        /// What went wrong.
        error: Option<Arc<str>>,
    },
    /// It is refused for good.
    Reject {
        /// Why.
        reason: Option<Arc<str>>,
    },
}

impl Outcome {
    /// What is said about the delivery besides, and what that is called.
    pub(crate) fn words(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Extend { progress, .. } => progress.as_deref().map(|words| ("progress", words)),
            Self::Nack { error: words, .. } | Self::Reject { reason: words } => {
                words.as_deref().map(|words| ("reason", words))
            }
            Self::Ack | Self::Answer { .. } | Self::Release { .. } => None,
        }
    }

    /// The word for it.
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Ack => OutcomeKind::Ack,
            Self::Answer { .. } => OutcomeKind::Answer,
            Self::Extend { .. } => OutcomeKind::Extend,
            Self::Release { .. } => OutcomeKind::Release,
            Self::Nack { .. } => OutcomeKind::Nack,
            Self::Reject { .. } => OutcomeKind::Reject,
        }
    }
}

/// An answer to a delivery, published in the commit that settles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its identity, made by the caller.
    pub id: MessageId,
    /// Who answers; the lease's holder if absent.
    pub from: Option<Name>,
    /// Whether the sender is proven.
    pub verified: bool,
    /// What kind of message it is.
    pub kind: Name,
    /// The content.
    pub payload: Bytes,
    /// The sender's own short strings.
    pub headers: Headers,
    /// A digest of the content, to know a repetition from a second answer.
    pub fingerprint: [u8; 32],
}

/// An accepted settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its message.
    pub message: MessageId,
    /// Where the delivery stands now.
    pub state: State,
    /// When the lease ends now, if it goes on.
    pub until: Option<Timestamp>,
    /// Whether the same was said before, and nothing was changed.
    pub already_done: bool,
    /// The answer that was published.
    pub reply: Option<MessageId>,
    /// What came of the answer; none if it was given before and has been removed since: then nothing else is known of it.
    pub published: Option<Published>,
    /// The covered deliveries that this answer did not settle.
    pub not_covered: Vec<NotCovered>,
    /// The sender has asked for the delivery back.
    pub cancel_requested: bool,
}

/// A delivery that an answer was to cover and did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCovered {
    /// Its place in the list of covered ones.
    pub position: usize,
    /// Why.
    pub error: SettleError,
}

/// Why a settlement was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// No delivery is known by this token.
    #[error("no delivery is known by this token")]
    UnknownToken,
    /// The delivery was handed out again, or ended otherwise. Do not retry.
    #[error("the lease is lost: the delivery is {}", state.as_str())]
    LeaseLost {
        /// Where the delivery stands.
        state: State,
    },
    /// Its holder has already said something else about it.
    #[error("the delivery was settled before, by {}", outcome.as_str())]
    AlreadySettled {
        /// What was said.
        outcome: OutcomeKind,
        /// The answer that was given.
        reply: Option<MessageId>,
    },
    /// The message alone does not tell whose lease is meant.
    #[error("this message needs the handle that came with it")]
    HandleNeeded,
    /// The answer has nowhere to go: its conversation has ended.
    #[error("the conversation is closed")]
    SessionClosed,
    /// The answer is to cover a delivery of another mailbox or sender, who would not get it.
    #[error("the delivery is of another conversation than the answer")]
    OtherMailbox,
    /// What was said about the delivery is too long.
    #[error("{field} has more bytes than {most}")]
    TooLong {
        /// `progress` or `reason`.
        field: &'static str,
        /// The limit.
        most: usize,
    },
}
