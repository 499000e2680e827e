//! Where deliveries wait: who may take how many, for how long, and who was last seen taking.

use core::time::Duration;

use crate::{address::Address, id::Name, log::Seq, time::Timestamp};

/// The lasting part of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name.
    pub address: Address,
    /// In a read mailbox: everything up to here has been read.
    pub read_to: Seq,
    /// Who takes from it.
    pub presence: Presence,
}

/// What is known of the taker of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Whether somebody is there.
    pub state: PresenceState,
    /// Who was there last.
    pub consumer: Option<Name>,
    /// Since when it is so.
    pub since: Timestamp,
}

/// Whether somebody takes from a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceState {
    /// Waiting for messages, or expected back from the pause it was told to make.
    Online,
    /// Holding messages.
    Working,
    /// Not heard of for longer than it was told to pause.
    Away,
}

impl PresenceState {
    /// Every state, for parsers and tables.
    pub const ALL: [Self; 3] = [Self::Online, Self::Working, Self::Away];

    /// `online`, `working` or `away`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Working => "working",
            Self::Away => "away",
        }
    }
}

/// The limits of a kind of mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// How long a lease lasts unless the receiver names another time.
    pub lease: Duration,
    /// Charged returns until a delivery is given up.
    pub max_failures: u32,
    /// Deliveries one consumer may hold unsettled.
    pub credit: u32,
    /// Deliveries that may wait.
    pub max_pending: u32,
    /// Bytes of payload that may wait.
    pub max_pending_bytes: u64,
    /// First pause after a charged return; it doubles with each further one.
    pub backoff: Duration,
    /// The longest such pause.
    pub backoff_cap: Duration,
}

impl Class {
    /// An agent: slow, expensive work.
    pub const AGENT: Self = Self {
        lease: Duration::from_secs(10 * 60),
        max_failures: 5,
        credit: 20,
        max_pending: 10_000,
        max_pending_bytes: 64 << 20,
        backoff: Duration::from_secs(5),
        backoff_cap: Duration::from_secs(120),
    };
}
