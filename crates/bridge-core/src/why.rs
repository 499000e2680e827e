//! Why a delivery does not move.

use crate::{
    consumer::Consumer,
    delivery::State,
    id::{DeliveryId, Name},
    time::Timestamp,
};

/// The first reason why a delivery does not move, and when that changes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The delivery that was asked about.
    pub delivery: DeliveryId,
    /// Where it stands.
    pub state: State,
    /// What keeps it there.
    pub reason: Blocked,
    /// When that changes by itself.
    pub until: Option<Timestamp>,
    /// The delivery that was made of it by a redrive, and goes on in its place.
    pub redriven_as: Option<DeliveryId>,
}

/// What keeps a delivery where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocked {
    /// It has arrived, or was given up: nothing moves it any more.
    Over,
    /// Its mailbox is read behind a cursor, and its reader has not come to it yet.
    Unread,
    /// A consumer works on it.
    Leased {
        /// Who.
        consumer: Consumer,
        /// Ordinal of the hand-over, from 1.
        attempt: u32,
    },
    /// Its time has not come.
    Scheduled,
    /// It came back, and waits before it goes out again.
    Backoff {
        /// Charged returns so far.
        failures: u32,
    },
    /// Its mailbox hands out nothing.
    Paused {
        /// Who said so.
        by: Name,
        /// Since when.
        since: Timestamp,
    },
    /// Its conversation has ended, or its mailbox was purged: it is withdrawn in a moment.
    Ending,
    /// Another delivery of its key comes first.
    Behind {
        /// The key.
        key: Name,
        /// The first of those before it.
        head: DeliveryId,
        /// What keeps that one.
        reason: Head,
    },
    /// Nobody asks for deliveries of its mailbox.
    NoConsumer {
        /// Since when.
        since: Timestamp,
    },
    /// Those who ask hold as much as they may.
    NoCredit,
    /// Those who ask want other types of messages.
    Filtered,
    /// Nothing: it goes out as soon as its turn comes.
    Turn,
}

/// What keeps the first delivery of a key, and with it those behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Head {
    /// A consumer works on it.
    Leased {
        /// Who.
        consumer: Consumer,
        /// Ordinal of the hand-over, from 1.
        attempt: u32,
    },
    /// It came back, and waits before it goes out again.
    Backoff {
        /// Charged returns so far.
        failures: u32,
    },
    /// Nothing: it is itself ready.
    Ready,
}

impl Blocked {
    /// The reason's name on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Unread => "unread",
            Self::Leased { .. } => "leased",
            Self::Scheduled => "scheduled",
            Self::Backoff { .. } => "backoff",
            Self::Paused { .. } => "paused",
            Self::Ending => "ending",
            Self::Behind { .. } => "behind",
            Self::NoConsumer { .. } => "no_consumer",
            Self::NoCredit => "no_credit",
            Self::Filtered => "filtered",
            Self::Turn => "turn",
        }
    }
}
