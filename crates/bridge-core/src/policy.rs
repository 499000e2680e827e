//! The numbers of the semantics, as configuration.

use core::time::Duration;

use crate::mailbox::Class;

/// What may be configured of a shard's behaviour. The defaults are the documented ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The limits of a session's agent side.
    pub agent: Class,
    /// Whether an ack or answer counts that comes after its lease ended, while nobody else has the delivery.
    pub late_ack: LateAck,
    /// The longest a lease can be extended to, from its start.
    pub max_lease: Duration,
    /// The longest pause a nack or release can ask for.
    pub max_delay: Duration,
    /// Hand-overs until a delivery that is always released is given up.
    pub max_attempts: u32,
    /// Ended attempts that a delivery remembers, the newest.
    pub kept_attempts: usize,
    /// How long an idempotency key is remembered.
    pub idempotency: Duration,
    /// A conversation is closed this long after its last activity.
    pub session_ttl: Duration,
    /// Conversations that may be open at once.
    pub max_sessions: usize,
    /// Receives that may wait at once.
    pub max_waiting: usize,
    /// Tasks that may be kept at once, those that are over included.
    pub max_tasks: usize,
    /// How long a bounce is kept for its reader.
    pub bounce_ttl: Duration,
    /// The pause told to a polling receiver while the conversation is fresh.
    pub poll_min: Duration,
    /// The longest such pause; it doubles from the shortest while nothing happens.
    pub poll_max: Duration,
    /// Empty polls in a row until a receiver is told to stop; none if absent.
    pub poll_budget: Option<u32>,
    /// A taker that is later than it was told to be, by this much, is away.
    pub presence_grace: Duration,
    /// A lease that was live when the shard was loaded lasts at least this long from then.
    pub reload_lease: Duration,
    /// When the answer of a receive that can be repeated is lost, its leases last this long.
    pub lost_answer_grace: Duration,
    /// Bytes of what a consumer says about a delivery: progress, or a reason.
    pub max_words: usize,
    /// Characters of a conversation's title.
    pub max_title: usize,
    /// Rows one command or time-out may change; longer work goes on in further steps.
    pub max_rows: usize,
    /// Rows kept in memory that are not live, for repeated calls.
    pub max_cold: usize,
}

/// What an ack or answer is worth that comes after its lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateAck {
    /// It counts while nobody else has had the delivery: work is expensive.
    Accept,
    /// It is refused.
    Reject,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            agent: Class::AGENT,
            late_ack: LateAck::Accept,
            max_lease: Duration::from_secs(12 * 3600),
            max_delay: Duration::from_secs(12 * 3600),
            max_attempts: 1_000,
            kept_attempts: 32,
            idempotency: Duration::from_secs(24 * 3600),
            session_ttl: Duration::from_secs(7 * 24 * 3600),
            max_sessions: 100_000,
            max_waiting: 10_000,
            max_tasks: 10_000,
            bounce_ttl: Duration::from_secs(24 * 3600),
            poll_min: Duration::from_secs(2),
            poll_max: Duration::from_secs(30),
            poll_budget: None,
            presence_grace: Duration::from_secs(60),
            reload_lease: Duration::from_secs(60),
            lost_answer_grace: Duration::from_secs(10),
            max_words: 8 << 10,
            max_title: 200,
            max_rows: 1_024,
            max_cold: 4_096,
        }
    }
}
