//! Where deliveries wait: who may take how many, for how long, and who was last seen taking.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    address::{Address, Side},
    id::Name,
    log::Seq,
    time::Timestamp,
};

/// The lasting part of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name.
    pub address: Address,
    /// How it behaves.
    pub settings: MailboxSettings,
    /// What made it.
    pub made: Made,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something was last sent to it or asked of it, to the hour.
    pub used_at: Timestamp,
    /// Whether it hands out nothing for now.
    pub paused: Option<Paused>,
    /// Everything up to here was purged.
    pub floor: Seq,
    /// In a read mailbox: everything up to here has been read.
    pub read_to: Seq,
    /// Who takes from it.
    pub presence: Presence,
}

/// How a mailbox behaves. What is absent is as its class has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxSettings {
    /// What kind of consumer takes from it.
    pub class: Class,
    /// Whether messages without a key of their own wait for each other.
    pub order: Order,
    /// Whether a delivery in back-off holds up those behind it in its key.
    pub backoff: Backoff,
    /// Deliveries that may wait.
    pub max_pending: Option<u32>,
    /// Bytes of payload that may wait; see [`Limits::max_pending_bytes`].
    pub max_pending_bytes: Option<u64>,
    /// How long a lease lasts unless the receiver names another time.
    pub lease: Option<Duration>,
    /// Charged returns until a delivery is given up.
    pub max_failures: Option<u32>,
}

impl MailboxSettings {
    /// A mailbox of this class, with everything as the class has it.
    pub const fn new(class: Class) -> Self {
        Self {
            class,
            order: Order::Keyed,
            backoff: Backoff::Blocks,
            max_pending: None,
            max_pending_bytes: None,
            lease: None,
            max_failures: None,
        }
    }
}

impl Address {
    /// How a mailbox of this name behaves unless it is told otherwise.
    pub const fn default_settings(&self) -> MailboxSettings {
        match self {
            Self::Client(_) => MailboxSettings::new(Class::Service),
            Self::Group(_) => MailboxSettings { order: Order::Loose, ..MailboxSettings::new(Class::Service) },
            Self::Session(_, Side::Agent) => MailboxSettings::new(Class::Agent),
            Self::Session(_, Side::User) => MailboxSettings::new(Class::Browser),
        }
    }
}

/// What made a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Its first use: it goes when it has been empty and unused for long.
    ByUse,
    /// Somebody's wish, or its conversation: it stays.
    ByHand,
}

/// Whether messages without a key of their own wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those of one sender do.
    Keyed,
    /// They do not.
    Loose,
}

/// What a delivery in back-off means for those behind it in its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// They wait for it.
    Blocks,
    /// They are handed out meanwhile.
    Skips,
}

/// Who has paused a mailbox, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Who.
    pub by: Name,
    /// Since when.
    pub since: Timestamp,
}

/// A wish to make a mailbox, or to change how it behaves. What is not named stays as it is; in a mailbox that is made it is as
/// for [every one of its kind](Address::default_settings). A limit that is named and `None` is as the class has it.
///
/// A change holds from now on. A lease that was given keeps its length, and how it is kept, until something else is said
/// about it; what is returned is judged by the limits in force then. Messages keep the key that they were accepted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMailbox {
    /// Its name.
    pub address: Address,
    /// What kind of consumer takes from it.
    pub class: Option<Class>,
    /// Whether messages without a key of their own wait for each other.
    pub order: Option<Order>,
    /// Whether a delivery in back-off holds up those behind it in its key.
    pub backoff: Option<Backoff>,
    /// Deliveries that may wait.
    pub max_pending: Option<Option<u32>>,
    /// Bytes of payload that may wait; see [`Limits::max_pending_bytes`].
    pub max_pending_bytes: Option<Option<u64>>,
    /// How long a lease lasts unless the receiver names another time.
    pub lease: Option<Option<Duration>>,
    /// Charged returns until a delivery is given up.
    pub max_failures: Option<Option<u32>>,
}

impl SetMailbox {
    /// Makes the mailbox if it is not there, and changes nothing.
    pub const fn new(address: Address) -> Self {
        Self {
            address,
            class: None,
            order: None,
            backoff: None,
            max_pending: None,
            max_pending_bytes: None,
            lease: None,
            max_failures: None,
        }
    }

    /// How a mailbox behaves after this, if this is how it behaved before.
    pub fn applied_to(&self, before: MailboxSettings) -> MailboxSettings {
        MailboxSettings {
            class: self.class.unwrap_or(before.class),
            order: self.order.unwrap_or(before.order),
            backoff: self.backoff.unwrap_or(before.backoff),
            max_pending: self.max_pending.unwrap_or(before.max_pending),
            max_pending_bytes: self.max_pending_bytes.unwrap_or(before.max_pending_bytes),
            lease: self.lease.unwrap_or(before.lease),
            max_failures: self.max_failures.unwrap_or(before.max_failures),
        }
    }
}

/// What became of a wish to make or change a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxSet {
    /// It was not there, and is now.
    Made(MailboxView),
    /// It was there, and behaves as it is told.
    Changed(MailboxView),
}

impl MailboxSet {
    /// The mailbox as it stands now.
    pub fn into_view(self) -> MailboxView {
        match self {
            Self::Made(view) | Self::Changed(view) => view,
        }
    }
}

/// A mailbox and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxView {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// The limits in force.
    pub limits: Limits,
    /// Deliveries that wait, those for later and those in back-off included.
    pub pending: u32,
    /// Bytes of payload that wait.
    pub pending_bytes: u64,
    /// Deliveries that wait for their time to come.
    pub scheduled: u32,
    /// Deliveries in consumers' hands.
    pub leased: u32,
    /// Receives that wait.
    pub waiting: u32,
    /// When the oldest waiting delivery was accepted.
    pub oldest: Option<Timestamp>,
    /// Who takes from it, as of now.
    pub presence: Presence,
}

/// A page of mailboxes in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailboxes {
    /// The page.
    pub mailboxes: Vec<MailboxView>,
    /// Whether there are more behind it.
    pub more: bool,
}

/// What a purge takes away, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Everything up to here.
    pub floor: Seq,
    /// Deliveries that wait and are withdrawn.
    pub pending: u32,
    /// Deliveries in consumers' hands: they are asked to stop, and may still settle.
    pub leased: u32,
}

/// Why a verb on a mailbox was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailboxError {
    /// There is no such mailbox.
    #[error("there is no mailbox {0}")]
    Unknown(Address),
    /// It belongs to a conversation, and comes and goes with it.
    #[error("{0} belongs to its session")]
    OfSession(Address),
    /// Something is in it.
    #[error("{mailbox} is not empty: {pending} waiting, {leased} leased")]
    NotEmpty {
        /// The mailbox.
        mailbox: Address,
        /// How many wait.
        pending: u32,
        /// How many are leased.
        leased: u32,
    },
    /// As many mailboxes are there as may be.
    #[error("no more mailboxes may be there than {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
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

/// What kind of consumer takes from a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// A program: quick, cheap work. Its leases are kept in memory alone: a crash means that what it held is handed out again.
    Service,
    /// An agent: slow, expensive work. It may have the next messages of a key while it works on the first.
    Agent,
    /// A page.
    Browser,
    /// An address that is called.
    Webhook,
}

impl Class {
    /// Every class, for parsers and tables.
    pub const ALL: [Self; 4] = [Self::Service, Self::Agent, Self::Browser, Self::Webhook];

    /// `service`, `agent`, `browser` or `webhook`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Agent => "agent",
            Self::Browser => "browser",
            Self::Webhook => "webhook",
        }
    }

    /// Whether a lease is made durable before it is given.
    pub const fn records_leases(self) -> bool {
        !matches!(self, Self::Service)
    }
}

/// The limits of a kind of mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a lease lasts unless the receiver names another time.
    pub lease: Duration,
    /// Charged returns until a delivery is given up.
    pub max_failures: u32,
    /// Deliveries one consumer may hold unsettled.
    pub credit: u32,
    /// Deliveries that may wait.
    pub max_pending: u32,
    /// Bytes of payload that may wait: a message comes in, whatever its size, while fewer wait. So what is full is full for all
    /// alike, small messages do not pass a large one by, and no message is too large for an empty mailbox.
    pub max_pending_bytes: u64,
    /// Pauses after charged returns.
    pub retry: Retry,
}

/// Pauses after charged returns, each made up to a fifth shorter or longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The first pause; it doubles with each further return, up to the second.
    Doubling(Duration, Duration),
    /// One after the other; the last one again and again.
    Each(&'static [Duration]),
}

impl Retry {
    /// The pause after the `n`-th charged return, from 1.
    pub fn pause(self, n: u32) -> Duration {
        let before = n.saturating_sub(1);
        match self {
            Self::Doubling(first, most) => first.saturating_mul(1 << before.min(20)).min(most),
            Self::Each(pauses) => {
                let at = (before as usize).min(pauses.len().saturating_sub(1));
                pauses.get(at).copied().unwrap_or_default()
            }
        }
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

impl Limits {
    /// A program: quick, cheap work.
    pub const SERVICE: Self = Self {
        lease: Duration::from_secs(30),
        max_failures: 10,
        credit: 100,
        max_pending: 1_000_000,
        max_pending_bytes: 1 << 30,
        retry: Retry::Doubling(Duration::from_secs(1), minutes(5)),
    };

    /// An agent: slow, expensive work.
    pub const AGENT: Self = Self {
        lease: minutes(10),
        max_failures: 5,
        credit: 20,
        max_pending: 10_000,
        max_pending_bytes: 64 << 20,
        retry: Retry::Doubling(Duration::from_secs(5), minutes(2)),
    };

    /// A page.
    pub const BROWSER: Self = Self {
        lease: Duration::from_secs(30),
        max_failures: 5,
        credit: 20,
        max_pending: 10_000,
        max_pending_bytes: 64 << 20,
        retry: Retry::Doubling(Duration::from_secs(1), minutes(5)),
    };

    /// An address that is called: seven times more, over a day.
    pub const WEBHOOK: Self = Self {
        lease: Duration::from_secs(30),
        max_failures: 8,
        credit: 20,
        max_pending: 10_000,
        max_pending_bytes: 64 << 20,
        retry: Retry::Each(&[
            Duration::from_secs(5),
            minutes(5),
            minutes(30),
            minutes(2 * 60),
            minutes(5 * 60),
            minutes(10 * 60),
            minutes(10 * 60),
        ]),
    };
}
