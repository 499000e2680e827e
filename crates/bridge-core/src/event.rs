//! What the log tells.

use alloc::sync::Arc;

use crate::{
    address::Address,
    delivery::{DeadReason, Lease, ReturnReason},
    id::{DeliveryId, MessageId, Name, SessionId},
    log::Seq,
    mailbox::Presence,
    time::Timestamp,
};

/// One thing that happened, at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// The conversation it belongs to.
    pub session: Option<SessionId>,
    /// The message it is about.
    pub message: Option<MessageId>,
    /// The delivery it is about.
    pub delivery: Option<DeliveryId>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened, with what a reader needs to follow it without asking back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A message was accepted and is durable.
    Accepted {
        /// How many mailboxes got it.
        deliveries: u32,
    },
    /// A message that was scheduled for later has become visible to its recipient.
    Visible,
    /// A delivery was granted to a consumer's call.
    Presented {
        /// The lease, newest of its delivery.
        lease: Lease,
        /// Ordinal of the hand-over, from 1.
        attempt: u32,
        /// Who holds it.
        consumer: Name,
        /// When the lease ends if nothing happens.
        until: Timestamp,
    },
    /// The consumer used the lease's token: it cannot without having read it.
    Seen,
    /// The consumer says that it is still working.
    Progressed {
        /// What it is doing, in its own words.
        text: Option<Arc<str>>,
        /// When the lease ends now.
        until: Timestamp,
    },
    /// The delivery was answered and is done.
    Answered {
        /// The answer.
        reply: MessageId,
    },
    /// The delivery was acknowledged and is done.
    Settled,
    /// The delivery went back to its mailbox.
    Returned {
        /// Why.
        reason: ReturnReason,
        /// How many returns have been charged so far.
        failures: u32,
        /// When it can be handed out again.
        visible_at: Timestamp,
        /// What the consumer said about it.
        error: Option<Arc<str>>,
    },
    /// The delivery was given up.
    Dead {
        /// Why.
        reason: DeadReason,
        /// The last thing a consumer said about it.
        error: Option<Arc<str>>,
    },
    /// The delivery was withdrawn by its sender or an administrator.
    Cancelled,
    /// The reader of the mailbox has passed the delivery.
    Read,
    /// A dead or cancelled delivery was given another life.
    Redriven {
        /// The new delivery.
        successor: DeliveryId,
    },
    /// The message was given another time to live.
    TtlChanged {
        /// When it expires now.
        expires_at: Timestamp,
    },
    /// The message's content was removed.
    MessageDeleted,
    /// Everything that a mailbox held was withdrawn.
    MailboxPurged {
        /// The mailbox.
        mailbox: Address,
        /// Everything up to here.
        floor: Seq,
    },
    /// A mailbox hands out nothing until it is resumed.
    MailboxPaused {
        /// The mailbox.
        mailbox: Address,
        /// Who has paused it.
        by: Name,
    },
    /// A mailbox hands out again.
    MailboxResumed {
        /// The mailbox.
        mailbox: Address,
    },
    /// A conversation began.
    SessionOpened {
        /// What it is called.
        title: Option<Arc<str>>,
    },
    /// A conversation got another title.
    SessionRenamed {
        /// What it is called now.
        title: Option<Arc<str>>,
    },
    /// A conversation ended.
    SessionClosed {
        /// How many deliveries it left unsettled.
        unsettled: u32,
    },
    /// The taker of a mailbox came or went.
    PresenceChanged {
        /// The mailbox.
        mailbox: Address,
        /// What is known of it now.
        presence: Presence,
    },
}

impl EventKind {
    /// The names of all events.
    pub const NAMES: [&str; 21] = [
        "message.accepted",
        "message.visible",
        "delivery.presented",
        "delivery.seen",
        "delivery.progressed",
        "delivery.answered",
        "delivery.settled",
        "delivery.returned",
        "delivery.dead",
        "delivery.cancelled",
        "delivery.read",
        "delivery.redriven",
        "message.ttl_changed",
        "message.deleted",
        "mailbox.purged",
        "mailbox.paused",
        "mailbox.resumed",
        "session.opened",
        "session.renamed",
        "session.closed",
        "presence.changed",
    ];

    /// What somebody said with it.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::Progressed { text: words, .. }
            | Self::Returned { error: words, .. }
            | Self::Dead { error: words, .. }
            | Self::SessionOpened { title: words }
            | Self::SessionRenamed { title: words } => words.as_deref(),
            _ => None,
        }
    }

    /// The name of the event on the wire and in the store.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "message.accepted",
            Self::Visible => "message.visible",
            Self::Presented { .. } => "delivery.presented",
            Self::Seen => "delivery.seen",
            Self::Progressed { .. } => "delivery.progressed",
            Self::Answered { .. } => "delivery.answered",
            Self::Settled => "delivery.settled",
            Self::Returned { .. } => "delivery.returned",
            Self::Dead { .. } => "delivery.dead",
            Self::Cancelled => "delivery.cancelled",
            Self::Read => "delivery.read",
            Self::Redriven { .. } => "delivery.redriven",
            Self::TtlChanged { .. } => "message.ttl_changed",
            Self::MessageDeleted => "message.deleted",
            Self::MailboxPurged { .. } => "mailbox.purged",
            Self::MailboxPaused { .. } => "mailbox.paused",
            Self::MailboxResumed { .. } => "mailbox.resumed",
            Self::SessionOpened { .. } => "session.opened",
            Self::SessionRenamed { .. } => "session.renamed",
            Self::SessionClosed { .. } => "session.closed",
            Self::PresenceChanged { .. } => "presence.changed",
        }
    }
}
