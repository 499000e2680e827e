//! Asking for the next deliveries.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    address::Address,
    consumer::Consumer,
    delivery::Lease,
    id::{DeliveryId, MessageId, Name},
    time::Timestamp,
};

/// A wish for deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    /// Who takes.
    pub consumer: Consumer,
    /// Where from: several take turns.
    pub mailboxes: Vec<Address>,
    /// Only these types of messages; any if there are none. What is passed over still holds up what is behind it in its key.
    pub types: Vec<Name>,
    /// At most so many.
    pub max: u32,
    /// At most so many bytes of payload, but one message in any case.
    pub max_bytes: u64,
    /// How long to wait if nothing is there.
    pub wait: Duration,
    /// How long to wait for more once something is there.
    pub linger: Duration,
    /// How long the leases last; the mailbox's own time if absent.
    pub lease: Option<Duration>,
    /// Repeating the attempt gives the same deliveries with the same leases.
    pub attempt_id: Name,
    /// Whether the caller chose the attempt's id and can repeat it.
    pub repeatable: bool,
}

/// What a receive got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Numbers the answers of a shard, for the case that it is lost.
    pub answer: u64,
    /// The deliveries, in order.
    pub granted: Vec<Granted>,
    /// What a named consumer holds besides, so that nothing is forgotten.
    pub held: Vec<Granted>,
    /// What to do next.
    pub directive: Directive,
    /// How many deliveries still wait in the mailboxes.
    pub depth: u32,
}

/// A delivery in a consumer's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The delivery.
    pub delivery: DeliveryId,
    /// What is delivered.
    pub message: MessageId,
    /// The lease to settle it under.
    pub lease: Lease,
    /// Ordinal of the hand-over, from 1.
    pub attempt: u32,
    /// When the lease ends.
    pub until: Timestamp,
    /// Whether the sender has asked for it back.
    pub cancel_requested: bool,
    /// When it is given up unless somebody holds it then: that may have become another time since it was sent.
    pub expires_at: Option<Timestamp>,
    /// Who holds it.
    pub consumer: Consumer,
}

/// What a receiver is told to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive {
    /// The next step.
    pub action: Action,
    /// How long to pause before it.
    pub delay: Duration,
    /// Why.
    pub reason: DirectiveReason,
}

/// The next step of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Work on what was received.
    Process,
    /// Ask again after the pause.
    WaitAgain,
    /// Stop asking.
    EndTurn,
}

impl Action {
    /// `process`, `wait_again` or `end_turn`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::WaitAgain => "wait_again",
            Self::EndTurn => "end_turn",
        }
    }
}

/// Why a receiver is told what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectiveReason {
    /// There is something to do.
    Messages,
    /// Nothing is there now.
    Quiet,
    /// Everything that is there is in other hands, or waits for its turn.
    Busy,
    /// The mailbox hands out nothing for now.
    Paused,
    /// The consumer holds as much as it may; it should settle something first.
    NoCredit,
    /// The consumer has asked as often as it may without a message.
    PollBudget,
    /// The conversation has ended.
    SessionClosed,
    /// The mailbox was deleted.
    MailboxDeleted,
    /// The server is about to stop; ask again, it will be back.
    ShuttingDown,
    /// The same attempt was made again; that call has the answer.
    Replaced,
    /// The task has got what it waited for, and that is settled or in other hands now.
    TaskOver,
}

impl DirectiveReason {
    /// The reason's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Quiet => "quiet",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::NoCredit => "no_credit",
            Self::PollBudget => "poll_budget",
            Self::SessionClosed => "session_closed",
            Self::MailboxDeleted => "mailbox_deleted",
            Self::ShuttingDown => "shutting_down",
            Self::Replaced => "replaced",
            Self::TaskOver => "task_over",
        }
    }
}

/// Why nothing could be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// There is no such mailbox.
    #[error("there is no mailbox {0}")]
    UnknownMailbox(Address),
    /// The mailbox hands out no leases: it is read by a cursor.
    #[error("{0} is read by a cursor and hands out no leases")]
    NotLeased(Address),
    /// It names no mailbox, or more than it may.
    #[error("a receive names at least one mailbox, and no more than {most}")]
    MailboxCount {
        /// The most.
        most: usize,
    },
    /// As many mailboxes are there as may be.
    #[error("no more mailboxes may be there than {limit}")]
    TooManyMailboxes {
        /// The limit.
        limit: usize,
    },
    /// As many receives wait as may.
    #[error("no more receives may wait than {limit}")]
    TooManyWaiting {
        /// The limit.
        limit: usize,
    },
}
