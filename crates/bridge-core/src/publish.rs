//! Putting a message into the bridge.

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use bytes::Bytes;

use crate::{
    address::Address,
    id::{DeliveryId, MessageId, Name, SessionId},
    log::Seq,
    mailbox::Presence,
    message::{Headers, Priority},
    time::Timestamp,
};

/// A message to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Its identity, made by the caller.
    pub id: MessageId,
    /// The sender.
    pub from: Name,
    /// Whether the sender is proven.
    pub verified: bool,
    /// Where it goes.
    pub to: Address,
    /// What kind of message it is.
    pub kind: Name,
    /// How urgent it is.
    pub priority: Priority,
    /// The content.
    pub payload: Bytes,
    /// The ordering key; without one the session, else sender and recipient; none in a mailbox without order.
    pub key: Option<Name>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// The sender's own mark.
    pub correlation_id: Option<Name>,
    /// The sender's own short strings.
    pub headers: Headers,
    /// Not handed out before this much time has passed.
    pub delay: Duration,
    /// Given up this much time after it became visible, unless leased.
    pub ttl: Option<Duration>,
    /// What makes a repetition known.
    pub idempotency: Option<Idempotency>,
}

impl Publish {
    /// A message of the kind `message` from somebody unproven, without anything that is optional.
    ///
    /// ```
    /// use bridge_core::{MessageId, Name, Priority, Publish};
    ///
    /// let to = "group:resizers".parse()?;
    /// let urgent = Publish {
    ///     priority: Priority::CRITICAL,
    ///     ..Publish::new(MessageId(1), Name::from_static("anna"), to, "wake up")
    /// };
    /// assert_eq!(urgent.kind.as_str(), "message");
    /// assert_eq!(urgent.ttl, None);
    /// # Ok::<(), bridge_core::ParseAddressError>(())
    /// ```
    pub fn new(id: MessageId, from: Name, to: Address, payload: impl Into<Bytes>) -> Self {
        Self {
            id,
            from,
            verified: false,
            to,
            kind: Name::from_static("message"),
            priority: Priority::NORMAL,
            payload: payload.into(),
            key: None,
            reply_to: None,
            correlation_id: None,
            headers: Headers::new(),
            delay: Duration::ZERO,
            ttl: None,
            idempotency: None,
        }
    }
}

/// What makes a repeated publish known as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The sender's key; with the sender and the address it names the request for 24 h.
    pub key: Name,
    /// A digest of the request: the same key with another digest is refused.
    pub fingerprint: [u8; 32],
}

/// Whose key it is: equal keys of other senders, or to other addresses, are other keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyScope {
    /// The sender.
    pub from: Name,
    /// The address sent to.
    pub to: Address,
    /// The sender's key.
    pub key: Name,
}

/// What is remembered of a publish that bore a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Whose key it is.
    pub scope: IdempotencyScope,
    /// The digest of the request.
    pub fingerprint: [u8; 32],
    /// The message it made.
    pub message: MessageId,
    /// That message's place in the log.
    pub seq: Seq,
    /// When the key is forgotten.
    pub expires_at: Timestamp,
}

/// An accepted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The message; on a repetition the first one.
    pub message: MessageId,
    /// Its place in the log.
    pub seq: Seq,
    /// Whether the key was known, and nothing was stored.
    pub duplicate: bool,
    /// The first 20 deliveries it made.
    pub deliveries: Vec<Routed>,
    /// How many it made in all.
    pub delivery_count: u32,
    /// How many deliveries wait in the first mailbox, this one included.
    pub depth: u32,
    /// Who takes from the first mailbox.
    pub presence: Option<Presence>,
}

/// One delivery and where it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The mailbox it waits in.
    pub mailbox: Address,
}

/// Why a message was not accepted. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The address names a session that does not exist.
    #[error("there is no session {0}")]
    UnknownSession(SessionId),
    /// The conversation has ended.
    #[error("session {0} is closed")]
    SessionClosed(SessionId),
    /// There is no such mailbox, and sending to it does not make one.
    #[error("there is no mailbox {0}")]
    UnknownMailbox(Address),
    /// As many mailboxes are there as may be.
    #[error("no more mailboxes may be there than {limit}")]
    TooManyMailboxes {
        /// The limit.
        limit: usize,
    },
    /// As much waits in all mailboxes together as may.
    #[error("no more messages may wait than {limit}")]
    TooManyPending {
        /// The limit.
        limit: usize,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The recipient has as much waiting as it may have.
    #[error("{mailbox} is full: {} waiting", waiting(*depth, *bytes))]
    MailboxFull {
        /// The full mailbox.
        mailbox: Address,
        /// How many wait there.
        depth: u32,
        /// How many bytes they have, if these are too many.
        bytes: Option<u64>,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The key was used before, for another request.
    #[error("this idempotency key was used for another message")]
    IdempotencyConflict {
        /// The message it was used for.
        message: MessageId,
    },
}

/// What there is too much of: messages, or else their bytes.
fn waiting(depth: u32, bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("{bytes} bytes"),
        None => format!("{depth}"),
    }
}
