//! What callers of a [`Bridge`](crate::Bridge) ask for.

use std::time::Duration;

use bridge_core::{Address, Headers, MessageId, Name, Priority};
use bytes::Bytes;
use serde_json::Value;

/// A message to send.
///
/// # Example
/// ```
/// use bridge_runtime::{NewMessage, Address};
/// use std::time::Duration;
///
/// let to: Address = "session:default/agent".parse().unwrap();
/// let message = NewMessage::new(to, r#"{"text": "hello"}"#).ttl(Duration::from_secs(60));
/// assert_eq!(message.ttl, Some(Duration::from_secs(60)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewMessage {
    /// Where it goes.
    pub to: Address,
    /// The content.
    pub payload: Bytes,
    /// The sender; `anonymous` unless set.
    pub from: Name,
    /// Whether the sender is proven by a credential.
    pub verified: bool,
    /// What kind of message it is, on the wire `type`; `message` unless set.
    pub kind: Name,
    /// How urgent it is.
    pub priority: Priority,
    /// The ordering key; without one the session, else sender and recipient.
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
    /// Makes a repetition known: same key and same message give the first result.
    pub idempotency_key: Option<Name>,
}

/// Declares chained setters for optional parts.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $value:expr;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $value;
            self
        })*
    };
}

impl NewMessage {
    /// A message with this content to this address.
    pub fn new(to: Address, payload: impl Into<Bytes>) -> Self {
        Self {
            to,
            payload: payload.into(),
            from: Name::from_static("anonymous"),
            verified: false,
            kind: Name::from_static("message"),
            priority: Priority::NORMAL,
            key: None,
            reply_to: None,
            correlation_id: None,
            headers: Headers::new(),
            delay: Duration::ZERO,
            ttl: None,
            idempotency_key: None,
        }
    }

    /// A message whose content is `value` as JSON.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json(to: Address, value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|payload| Self::new(to, payload))
    }

    setters! {
        /// Names the sender.
        from: Name => from;
        /// Says what kind of message it is.
        kind: Name => kind;
        /// Says how urgent it is.
        priority: Priority => priority;
        /// Sets the ordering key.
        key: Name => Some(key);
        /// Names the message it answers.
        reply_to: MessageId => Some(reply_to);
        /// Sets the sender's own mark.
        correlation_id: Name => Some(correlation_id);
        /// Sets the sender's own short strings.
        headers: Headers => headers;
        /// Holds it back for a while.
        delay: Duration => delay;
        /// Limits its life.
        ttl: Duration => Some(ttl);
        /// Makes a repetition known.
        idempotency_key: Name => Some(idempotency_key);
    }

    /// A digest of everything that makes it this request and no other.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut digest = Digest::new();
        digest.part(self.to.to_string().as_bytes());
        digest.part(self.kind.as_str().as_bytes());
        digest.part(&[self.priority.level()]);
        digest.part(self.key.as_ref().map_or(&[], |key| key.as_str().as_bytes()));
        digest.part(&self.reply_to.map_or(0, |id| id.0).to_be_bytes());
        digest.part(self.correlation_id.as_ref().map_or(&[], |id| id.as_str().as_bytes()));
        digest.part(&self.delay.as_millis().to_be_bytes());
        digest.part(&self.ttl.map_or(u128::MAX, |ttl| ttl.as_millis()).to_be_bytes());
        digest.headers(&self.headers);
        digest.content(&self.payload);
        digest.end()
    }
}

/// An answer to a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewReply {
    /// The content.
    pub payload: Bytes,
    /// Who answers; the name of the lease's holder unless set.
    pub from: Option<Name>,
    /// Whether the sender is proven by a credential.
    pub verified: bool,
    /// What kind of message it is; `answer` unless set.
    pub kind: Name,
    /// The sender's own short strings.
    pub headers: Headers,
}

impl NewReply {
    /// An answer with this content.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            from: None,
            verified: false,
            kind: Name::from_static("answer"),
            headers: Headers::new(),
        }
    }

    setters! {
        /// Names the sender.
        from: Name => Some(from);
        /// Says what kind of message it is.
        kind: Name => kind;
        /// Sets the sender's own short strings.
        headers: Headers => headers;
    }

    /// A digest of the content, to know a repetition from a second answer.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut digest = Digest::new();
        digest.part(self.kind.as_str().as_bytes());
        digest.headers(&self.headers);
        digest.content(&self.payload);
        digest.end()
    }
}

/// Digests parts so that no two different lists of parts look alike.
struct Digest(blake3::Hasher);

impl Digest {
    fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    fn part(&mut self, part: &[u8]) {
        self.0.update(&part.len().to_be_bytes());
        self.0.update(part);
    }

    fn headers(&mut self, headers: &Headers) {
        // Which trace a request belongs to does not make it another request.
        for (name, value) in
            headers.iter().filter(|(name, _)| !matches!(&***name, "traceparent" | "tracestate"))
        {
            self.part(name.as_bytes());
            self.part(value.as_bytes());
        }
    }

    /// JSON counts by its meaning: neither blanks nor the order of members make another request.
    fn content(&mut self, payload: &[u8]) {
        match serde_json::from_slice::<Value>(payload) {
            Ok(value) => self.part(value.to_string().as_bytes()),
            Err(_) => self.part(payload),
        }
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A wish for deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveRequest {
    /// Where from: several take turns.
    pub mailboxes: Vec<Address>,
    /// Only these types of messages; any if there are none.
    pub types: Vec<Name>,
    /// Who the credential says the caller is; `anonymous` unless set.
    pub principal: Name,
    /// What the caller calls itself, so that it can be met again.
    pub consumer: Option<Name>,
    /// At most so many; 1 unless set.
    pub max: u32,
    /// At most so many bytes of payload, but one message in any case.
    pub max_bytes: u64,
    /// How long to wait if nothing is there.
    pub wait: Duration,
    /// How long to wait for more once something is there.
    pub linger: Duration,
    /// How long the leases last; the mailbox's own time unless set.
    pub lease: Option<Duration>,
    /// Repeating the attempt gives the same deliveries.
    pub attempt_id: Option<Name>,
}

impl ReceiveRequest {
    /// Asks for one delivery of `mailbox`, without waiting.
    pub fn new(mailbox: Address) -> Self {
        Self::of(vec![mailbox])
    }

    /// Asks for one delivery of any of these mailboxes, without waiting.
    pub fn of(mailboxes: Vec<Address>) -> Self {
        Self {
            mailboxes,
            types: Vec::new(),
            principal: Name::from_static("anonymous"),
            consumer: None,
            max: 1,
            max_bytes: u64::MAX,
            wait: Duration::ZERO,
            linger: Duration::ZERO,
            lease: None,
            attempt_id: None,
        }
    }

    setters! {
        /// Says who the credential says the caller is.
        principal: Name => principal;
        /// Names the caller.
        consumer: Name => Some(consumer);
        /// Takes these types of messages alone.
        types: Vec<Name> => types;
        /// Takes up to so many.
        max: u32 => max;
        /// Takes up to so many bytes.
        max_bytes: u64 => max_bytes;
        /// Waits for a while.
        wait: Duration => wait;
        /// Waits a while for more once something is there.
        linger: Duration => linger;
        /// Sets how long the leases last.
        lease: Duration => Some(lease);
        /// Makes the attempt one that can be repeated.
        attempt_id: Name => Some(attempt_id);
    }
}

/// What entitles a caller to settle a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The token that came with the delivery.
    Token(String),
    /// The short form of the token, and the message it came with.
    Handle(MessageId, String),
    /// The message alone: good enough from the named consumer that holds it.
    Message {
        /// The message.
        message: MessageId,
        /// Who the credential says the caller is.
        principal: Name,
        /// What the caller calls itself.
        consumer: Option<Name>,
    },
}

/// What a caller says about a delivery it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It is done.
    Ack,
    /// It is done, and here is the answer; it settles what it covers too.
    Answer {
        /// The answer.
        reply: NewReply,
        /// Other deliveries that the same answer settles.
        covers: Vec<Credential>,
    },
    /// It is still being worked on.
    Extend {
        /// For how long from now; the length of a lease if absent.
        by: Option<Duration>,
        /// What is being done, for the sender to see.
        progress: Option<String>,
    },
    /// It is given back uncharged, after a pause.
    Release {
        /// Not handed out before this much time has passed.
        delay: Duration,
    },
    /// It failed.
    Nack {
        /// When to try again; the mailbox's back-off if absent.
        delay: Option<Duration>,
        /// What went wrong.
        error: Option<String>,
    },
    /// It is refused for good.
    Reject {
        /// Why.
        reason: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static str) -> NewMessage {
        NewMessage::new("session:default/agent".parse().unwrap(), payload)
    }

    #[test]
    fn the_same_json_in_other_clothes_is_the_same_request() {
        let plain = message(r#"{"a": 1, "b": [2]}"#).fingerprint();
        assert_eq!(message(r#"{"b":[2],"a":1}"#).fingerprint(), plain);
        assert_ne!(message(r#"{"b":[2],"a":2}"#).fingerprint(), plain);
    }

    #[test]
    fn what_a_message_asks_for_is_part_of_the_request() {
        let plain = message("1").fingerprint();
        assert_ne!(message("1").ttl(Duration::from_secs(1)).fingerprint(), plain);
        assert_ne!(message("1").delay(Duration::from_secs(1)).fingerprint(), plain);
        assert_ne!(message("1").kind(Name::from_static("note")).fingerprint(), plain);
    }
}
