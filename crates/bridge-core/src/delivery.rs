//! One hand-over of a message to one mailbox: its state, its newest lease, its receipts.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    address::Address,
    consumer::Consumer,
    id::{DeliveryId, MessageId, Name},
    log::Seq,
    message::Priority,
    time::Timestamp,
};

/// A message on its way to one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its identity.
    pub id: DeliveryId,
    /// What is delivered.
    pub message: MessageId,
    /// Where to.
    pub mailbox: Address,
    /// Who sent the message.
    pub from: Name,
    /// What kind of message it is.
    pub kind: Name,
    /// The ordering key of the message, if it has one.
    pub key: Option<Name>,
    /// The urgency of the message.
    pub priority: Priority,
    /// The event that made it: its message was accepted, or it was redriven.
    pub seq: Seq,
    /// Its place in its key and in a read mailbox: the event that made it visible. None while it is scheduled.
    pub place: Option<Seq>,
    /// Bytes of payload.
    pub size: u32,
    /// Whether the message is itself a bounce, which never causes another.
    pub bounce: bool,
    /// When the message is given up unless leased.
    pub expires_at: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// Leases given so far.
    pub attempt: u32,
    /// Returns that were charged.
    pub failures: u32,
    /// The newest lease, kept after its end: it decides what a late token is worth.
    pub grant: Option<Grant>,
    /// The attempts that ended without settling it, oldest first: the newest
    /// [`kept_attempts`](crate::Policy::kept_attempts). The log tells the same until it is trimmed.
    pub attempts: Vec<Attempt>,
    /// What is proven to have happened, and when.
    pub receipts: Receipts,
    /// The sender has asked for it back while it was leased.
    pub cancel_requested: bool,
    /// The answer.
    pub reply: Option<MessageId>,
    /// What its consumer last said it was doing.
    pub progress: Option<Arc<str>>,
    /// The last thing a consumer said when it gave it back.
    pub last_error: Option<Arc<str>>,
    /// The delivery it was made from by a redrive.
    pub redrive_of: Option<DeliveryId>,
    /// The delivery that a redrive made from it.
    pub redriven_as: Option<DeliveryId>,
    /// When it is looked at again, to be removed with its message. Only one that has ended has such a time, unless it lasts as long
    /// as its conversation, as the delivery that was made from it, or for ever.
    pub retire_at: Option<Timestamp>,
    /// The message was removed; of a message with several deliveries the newest says so.
    pub message_gone: bool,
}

impl Delivery {
    /// Whether a shard needs it in memory.
    pub const fn is_live(&self) -> bool {
        !self.state.is_terminal()
    }

    /// When it ended, if that is known: of one that was withdrawn nobody noted it once.
    pub fn ended_at(&self) -> Option<Timestamp> {
        let Receipts { settled, read, dead, .. } = self.receipts;
        [settled, read, dead].into_iter().flatten().next()
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting: scheduled, ready, or in back-off.
    Pending {
        /// Not handed out before.
        visible_at: Timestamp,
    },
    /// In a consumer's hands.
    Leased,
    /// Acknowledged, answered or read.
    Done,
    /// Given up.
    Dead(DeadReason),
    /// Withdrawn.
    Cancelled,
}

impl State {
    /// Whether it will not change any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Dead(_) | Self::Cancelled)
    }

    /// The word for it.
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Pending { .. } => StateKind::Pending,
            Self::Leased => StateKind::Leased,
            Self::Done => StateKind::Done,
            Self::Dead(_) => StateKind::Dead,
            Self::Cancelled => StateKind::Cancelled,
        }
    }

    /// `pending`, `leased`, `done`, `dead` or `cancelled`.
    pub const fn as_str(self) -> &'static str {
        self.kind().as_str()
    }
}

/// The word for where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Waiting: scheduled, ready, or in back-off.
    Pending,
    /// In a consumer's hands.
    Leased,
    /// Acknowledged, answered or read.
    Done,
    /// Given up.
    Dead,
    /// Withdrawn.
    Cancelled,
}

impl StateKind {
    /// Every state, for parsers and tables.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Leased, Self::Done, Self::Dead, Self::Cancelled];

    /// The state's name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a delivery was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadReason {
    /// It was returned as often as its mailbox allows.
    MaxFailures,
    /// A consumer refused it for good.
    Rejected,
    /// Its time had passed.
    Expired,
    /// It was handed out and given back uncharged too often.
    TooManyReleases,
    /// Its conversation was closed.
    SessionClosed,
}

impl DeadReason {
    /// Every reason, for parsers and tables.
    pub const ALL: [Self; 5] =
        [Self::MaxFailures, Self::Rejected, Self::Expired, Self::TooManyReleases, Self::SessionClosed];

    /// The reason's name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxFailures => "max_failures",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::TooManyReleases => "too_many_releases",
            Self::SessionClosed => "session_closed",
        }
    }
}

/// Why a leased delivery went back to its mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReturnReason {
    /// Its consumer failed; charged.
    Nack,
    /// Its consumer gave it back; not charged.
    Release,
    /// Its lease ended unused; charged, if it was the first of its key in the batch.
    Timeout,
    /// The answer that granted it never reached its consumer; not charged.
    AnswerLost,
}

impl ReturnReason {
    /// Every reason, for parsers and tables.
    pub const ALL: [Self; 4] = [Self::Nack, Self::Release, Self::Timeout, Self::AnswerLost];

    /// The reason's name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nack => "nack",
            Self::Release => "release",
            Self::Timeout => "timeout",
            Self::AnswerLost => "answer_lost",
        }
    }
}

/// The fencing number of one hand-over: a newer lease makes an older one worthless.
///
/// # Shape
/// Ordered by epoch, which rises at every load of the shard, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The life of the shard in which it was given.
    pub epoch: u64,
    /// Its ordinal in that life.
    pub number: u64,
}

/// The newest lease of a delivery and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its fencing number.
    pub lease: Lease,
    /// Who got it.
    pub consumer: Consumer,
    /// The first lease of the batch it was granted with; a batch ends as one.
    pub batch: Lease,
    /// The attempt it answered, so that repeating the attempt finds it.
    pub attempt_id: Name,
    /// When it began.
    pub started: Timestamp,
    /// When it ends, or ended.
    pub until: Timestamp,
    /// What ended it, if something has.
    pub end: Option<GrantEnd>,
}

/// A hand-over that ended and left its delivery unsettled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its ordinal, from 1.
    pub number: u32,
    /// The lease that was given: whoever bears its token is told that a newer one was.
    pub lease: Lease,
    /// Who had it.
    pub consumer: Name,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub reason: ReturnReason,
    /// What the consumer said about it.
    pub error: Option<Arc<str>>,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantEnd {
    /// Nobody used it in time, or its answer was lost, or its delivery ended otherwise: it is not spent.
    Lapsed,
    /// Its holder ended it.
    Spent {
        /// How.
        outcome: OutcomeKind,
        /// The answer it gave.
        reply: Option<MessageId>,
        /// A digest of that answer's content, to know a repetition from a second answer.
        fingerprint: Option<[u8; 32]>,
    },
}

/// The word for what a holder did with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// It is done.
    Ack,
    /// It is done, and here is the answer.
    Answer,
    /// It failed; try again later.
    Nack,
    /// It is given back, uncharged.
    Release,
    /// It is refused for good.
    Reject,
    /// It is still being worked on.
    Extend,
}

impl OutcomeKind {
    /// Every outcome, for parsers and tables.
    pub const ALL: [Self; 6] =
        [Self::Ack, Self::Answer, Self::Nack, Self::Release, Self::Reject, Self::Extend];

    /// The outcome's name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Answer => "answer",
            Self::Nack => "nack",
            Self::Release => "release",
            Self::Reject => "reject",
            Self::Extend => "extend",
        }
    }
}

/// What is proven to have happened to a delivery, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipts {
    /// The message became durable.
    pub accepted: Timestamp,
    /// It was last granted to a call.
    pub presented: Option<Timestamp>,
    /// The newest lease's token was first used.
    pub seen: Option<Timestamp>,
    /// Its consumer last said that it was working.
    pub progressed: Option<Timestamp>,
    /// It was answered.
    pub answered: Option<Timestamp>,
    /// It was acknowledged.
    pub settled: Option<Timestamp>,
    /// Its reader has passed it.
    pub read: Option<Timestamp>,
    /// It was given up, or withdrawn.
    pub dead: Option<Timestamp>,
}
