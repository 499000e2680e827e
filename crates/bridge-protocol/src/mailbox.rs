//! Mailboxes of their own, and why something in them does not move.

use bridge_core::{self as core, Backoff, Blocked, Class, Head, Made, Order};
use serde::{Deserialize, Serialize};

use crate::{
    bounds::{MAX_BYTES, MAX_COUNT, MAX_LEASE_MS, MIN_LEASE_MS, named_number},
    session::Presence,
    time::Time,
};

/// How a mailbox is to behave. What is absent is as it was, or as its class has it; a limit that is `null` is as its class has it.
/// A member that is not known is refused: whoever set it would believe that it holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMailbox {
    /// `service`, `agent`, `browser` or `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// `keyed`: messages of one sender wait for each other; `unordered`: only those with a key of their own do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// `block`: a delivery in back-off holds up those behind it in its key; `skip`: they are handed out meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_backoff: Option<String>,
    /// Deliveries that may wait.
    #[serde(
        default,
        deserialize_with = "named_number::<_, _, 1, MAX_COUNT>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_pending: Option<Option<u32>>,
    /// Bytes of payload that may wait: a message comes in, whatever its size, while fewer wait.
    #[serde(
        default,
        deserialize_with = "named_number::<_, _, 1, MAX_BYTES>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_pending_bytes: Option<Option<u64>>,
    /// How long a lease lasts unless the receiver names another time.
    #[serde(
        default,
        deserialize_with = "named_number::<_, _, MIN_LEASE_MS, MAX_LEASE_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub lease_ms: Option<Option<u64>>,
    /// Charged returns until a delivery is given up.
    #[serde(
        default,
        deserialize_with = "named_number::<_, _, 1, MAX_COUNT>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_failures: Option<Option<u32>>,
}

/// A mailbox and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its address.
    pub name: String,
    /// `service`, `agent`, `browser` or `webhook`.
    pub class: String,
    /// `keyed` or `unordered`.
    pub order: String,
    /// `block` or `skip`.
    pub on_backoff: String,
    /// Deliveries that may wait.
    pub max_pending: u32,
    /// Bytes of payload that may wait: a message comes in, whatever its size, while fewer wait.
    pub max_pending_bytes: u64,
    /// How long a lease lasts unless the receiver names another time.
    pub lease_ms: u64,
    /// Charged returns until a delivery is given up.
    pub max_failures: u32,
    /// Deliveries one consumer may hold unsettled.
    pub credit: u32,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<Time>,
    /// Who has paused it, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Who takes from it.
    pub presence: Presence,
    /// When it was made.
    pub created_at: Time,
    /// When something was last sent to it or asked of it, to the hour.
    pub used_at: Time,
    /// Whether its first use made it: then it goes when it has been empty and unused for a week.
    pub made_by_use: bool,
}

/// Who has paused a mailbox, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paused {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Time,
}

/// A wish to withdraw everything that a mailbox holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Whether only to tell what that would be; it is unless this says `false`.
    #[serde(default = "yes")]
    pub dry_run: bool,
}

const fn yes() -> bool {
    true
}

impl Default for Purge {
    fn default() -> Self {
        Self { dry_run: true }
    }
}

/// What a purge takes away, or would.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purged {
    /// Whether it was only tried.
    pub dry_run: bool,
    /// Deliveries that wait and are withdrawn.
    pub pending: u32,
    /// Deliveries in consumers' hands: they are asked for.
    pub leased: u32,
}

/// The words for how messages without a key stand to each other, with what they mean.
pub const ORDERS: [(&str, Order); 2] = [("keyed", Order::Keyed), ("unordered", Order::Loose)];

/// The words for what a delivery in back-off does, with what they mean.
pub const ON_BACKOFF: [(&str, Backoff); 2] = [("block", Backoff::Blocks), ("skip", Backoff::Skips)];

fn word<T: PartialEq>(words: &[(&str, T)], meaning: &T) -> String {
    words.iter().find(|(_, other)| other == meaning).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

impl From<&core::MailboxView> for Mailbox {
    fn from(view: &core::MailboxView) -> Self {
        let core::MailboxView { mailbox, limits, .. } = view;
        let class: Class = mailbox.settings.class;
        Self {
            name: mailbox.address.to_string(),
            class: class.as_str().to_owned(),
            order: word(&ORDERS, &mailbox.settings.order),
            on_backoff: word(&ON_BACKOFF, &mailbox.settings.backoff),
            max_pending: limits.max_pending,
            max_pending_bytes: limits.max_pending_bytes,
            lease_ms: u64::try_from(limits.lease.as_millis()).unwrap_or(u64::MAX),
            max_failures: limits.max_failures,
            credit: limits.credit,
            pending: view.pending,
            pending_bytes: view.pending_bytes,
            scheduled: view.scheduled,
            leased: view.leased,
            waiting: view.waiting,
            oldest_at: view.oldest.map(Into::into),
            paused: mailbox
                .paused
                .as_ref()
                .map(|paused| Paused { by: (&paused.by).into(), since: paused.since.into() }),
            presence: (&view.presence).into(),
            created_at: mailbox.created_at.into(),
            used_at: mailbox.used_at.into(),
            made_by_use: mailbox.made == Made::ByUse,
        }
    }
}

/// Why a delivery does not move.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Why {
    /// `dlv_…`.
    pub delivery_id: String,
    /// `pending`, `leased`, `done`, `dead` or `cancelled`.
    pub state: String,
    /// `over`, `unread`, `leased`, `scheduled`, `backoff`, `paused`, `ending`, `behind`, `no_consumer`, `no_credit`,
    /// `filtered` or `turn`.
    pub reason: String,
    /// When that changes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The whole in a sentence.
    pub text: String,
    /// `leased`, or `behind` one that is: who has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// `leased`, or `behind` one that is: ordinal of the hand-over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `backoff`, or `behind` one that is: charged returns so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// `behind`: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `behind`: the delivery that comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_id: Option<String>,
    /// `behind`: what keeps that one: `leased`, `backoff` or `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_reason: Option<String>,
    /// `paused`: who paused the mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// `paused`, `no_consumer`: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// `over`: the delivery that a redrive made of it, which goes on in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redriven_as: Option<String>,
}

impl From<&core::Why> for Why {
    fn from(why: &core::Why) -> Self {
        let until = why.until.map(Time::from);
        let mut told = Self {
            delivery_id: why.delivery.to_string(),
            state: why.state.as_str().to_owned(),
            reason: why.reason.as_str().to_owned(),
            until,
            text: String::new(),
            consumer: None,
            attempt: None,
            failures: None,
            key: None,
            head_id: None,
            head_reason: None,
            by: None,
            since: None,
            redriven_as: why.redriven_as.map(|successor| successor.to_string()),
        };
        let by_then = until.map(|until| format!(" until {until}")).unwrap_or_default();
        told.text = match &why.reason {
            Blocked::Over => match why.state {
                core::State::Done => "it is done".to_owned(),
                core::State::Dead(reason) => format!("it was given up: {}", reason.as_str()),
                core::State::Cancelled => "it was withdrawn".to_owned(),
                _ => "it has been read".to_owned(),
            },
            Blocked::Unread => "its reader has not come to it yet".to_owned(),
            Blocked::Leased { consumer, attempt } => {
                told.consumer = Some((&consumer.name).into());
                told.attempt = Some(*attempt);
                format!("{} works on it, attempt {attempt},{by_then}", consumer.name)
            }
            Blocked::Scheduled => format!("it is held back{by_then}"),
            Blocked::Backoff { failures } => {
                told.failures = Some(*failures);
                format!("it came back, {} so far, and waits{by_then}", times(*failures, "failure"))
            }
            Blocked::Paused { by, since } => {
                let since = Time::from(*since);
                (told.by, told.since) = (Some(by.into()), Some(since));
                format!("its mailbox was paused by {by} at {since}")
            }
            Blocked::Ending => "it is about to be withdrawn or given up".to_owned(),
            Blocked::Behind { key, head, reason } => {
                told.key = Some(key.into());
                told.head_id = Some(head.to_string());
                let (word, does) = match reason {
                    Head::Leased { consumer, attempt } => {
                        told.consumer = Some((&consumer.name).into());
                        told.attempt = Some(*attempt);
                        ("leased", format!("which {} works on, attempt {attempt},{by_then}", consumer.name))
                    }
                    Head::Backoff { failures } => {
                        told.failures = Some(*failures);
                        ("backoff", format!("which came back and waits{by_then}"))
                    }
                    _ => ("ready", "which goes out first".to_owned()),
                };
                told.head_reason = Some(word.to_owned());
                format!("it is behind {head} of key {key}, {does}")
            }
            Blocked::NoConsumer { since } => {
                let since = Time::from(*since);
                told.since = Some(since);
                format!("nobody has asked for deliveries of its mailbox since {since}")
            }
            Blocked::NoCredit => "those who ask for it hold as much as they may".to_owned(),
            Blocked::Filtered => "those who ask want other types of messages".to_owned(),
            Blocked::Turn => "nothing: it goes out as soon as somebody asks and its turn comes".to_owned(),
            _ => String::new(),
        };
        if let Some(successor) = &told.redriven_as {
            told.text.push_str(&format!("; it was sent again as {successor}"));
        }
        told
    }
}

fn times(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
