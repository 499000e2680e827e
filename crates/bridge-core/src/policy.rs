//! The numbers of the semantics, as configuration.

use core::time::Duration;

use crate::{
    delivery::{Delivery, State},
    mailbox::{Class, Limits, MailboxSettings},
    retention::Retentions,
    time::Timestamp,
};

/// What may be configured of a shard's behaviour. The defaults are the documented ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The limits of mailboxes that programs take from.
    pub service: Limits,
    /// The limits of mailboxes that agents take from.
    pub agent: Limits,
    /// The limits of mailboxes that pages take from.
    pub browser: Limits,
    /// The limits of mailboxes whose messages are sent on.
    pub webhook: Limits,
    /// Whether the first use of a client's or a group's name makes its mailbox.
    pub mailboxes: MakeMailboxes,
    /// Mailboxes of clients and groups that may be there.
    pub max_mailboxes: usize,
    /// A mailbox that its first use made goes when it has been empty and unused for this long.
    pub mailbox_ttl: Duration,
    /// Deliveries that may wait in all mailboxes together.
    pub max_pending: usize,
    /// Mailboxes that one receive can ask.
    pub max_asked: usize,
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
    /// How long messages are kept after their end, by their type.
    pub retentions: Retentions,
    /// How long dead letters are kept at least, and their messages with them.
    pub dead_letters: Duration,
    /// How long a delivery that has ended is kept at least, so that a repeated settle is answered.
    pub settled: Duration,
    /// How long the log is kept.
    pub log: Duration,
    /// A conversation is removed this long after it was closed.
    pub closed_session_ttl: Duration,
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

/// Whether the first use of a name makes its mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakeMailboxes {
    /// It does.
    AtFirstUse,
    /// Only somebody's wish does.
    ByHand,
}

impl Policy {
    /// The limits of a class.
    pub const fn of(&self, class: Class) -> Limits {
        match class {
            Class::Service => self.service,
            Class::Agent => self.agent,
            Class::Browser => self.browser,
            Class::Webhook => self.webhook,
        }
    }

    /// How long the message of a delivery that has ended is kept; none if for ever.
    pub(crate) fn kept(&self, delivery: &Delivery) -> Option<Duration> {
        let kept = self.retentions.of(&delivery.kind).retention.time()?;
        match delivery.state {
            State::Dead(_) if !fault!(DeadForgotten) => Some(kept.max(self.dead_letters)),
            _ => Some(kept),
        }
    }

    /// When the message of a delivery that has ended goes, by the present rules, which may be others than when it ended; none
    /// if never.
    pub fn removal(&self, delivery: &Delivery) -> Option<Timestamp> {
        let kept = self.kept(delivery)?;
        delivery.ended_at().map(|ended| ended + kept).or(delivery.retire_at)
    }

    /// The limits of a mailbox.
    pub fn limits(&self, settings: &MailboxSettings) -> Limits {
        let class = self.of(settings.class);
        Limits {
            lease: settings.lease.unwrap_or(class.lease),
            max_failures: settings.max_failures.unwrap_or(class.max_failures),
            max_pending: settings.max_pending.unwrap_or(class.max_pending),
            max_pending_bytes: settings.max_pending_bytes.unwrap_or(class.max_pending_bytes),
            ..class
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            service: Limits::SERVICE,
            agent: Limits::AGENT,
            browser: Limits::BROWSER,
            webhook: Limits::WEBHOOK,
            mailboxes: MakeMailboxes::AtFirstUse,
            max_mailboxes: 10_000,
            mailbox_ttl: Duration::from_secs(7 * 24 * 3600),
            max_pending: 2_000_000,
            max_asked: 64,
            late_ack: LateAck::Accept,
            max_lease: Duration::from_secs(12 * 3600),
            max_delay: Duration::from_secs(12 * 3600),
            max_attempts: 1_000,
            kept_attempts: 32,
            idempotency: Duration::from_secs(24 * 3600),
            retentions: Retentions::default(),
            dead_letters: Duration::from_secs(30 * 24 * 3600),
            settled: Duration::from_secs(24 * 3600),
            log: Duration::from_secs(7 * 24 * 3600),
            closed_session_ttl: Duration::from_secs(7 * 24 * 3600),
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
