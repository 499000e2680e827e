//! What is sent: immutable once accepted.

use alloc::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    address::Address,
    event::EventKind,
    id::{MessageId, Name, SessionId},
    log::Seq,
    time::Timestamp,
};

/// A message as it was accepted. Nothing about it changes afterwards; what happens to it is told by its deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its identity, for ever.
    pub id: MessageId,
    /// Its position in the shard's log.
    pub seq: Seq,
    /// The sender: the verified principal's client id, or what an unauthenticated caller claimed.
    pub from: Name,
    /// Whether `from` was proven by a credential.
    pub verified: bool,
    /// Where it was sent.
    pub to: Address,
    /// What kind of message it is, on the wire `type`: `message`, `answer`, `bounce`, or the sender's own word.
    pub kind: Name,
    /// How urgent it is.
    pub priority: Priority,
    /// The conversation it belongs to.
    pub session: Option<SessionId>,
    /// Messages with one key are handed out in order; those without wait for no other.
    pub key: Option<Name>,
    /// The message this one answers.
    pub reply_to: Option<MessageId>,
    /// The sender's own mark for a request and its answers.
    pub correlation_id: Option<Name>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Not handed out before.
    pub deliver_at: Option<Timestamp>,
    /// Not handed out after, as it was sent; later than `deliver_at`. What holds now stands with its delivery.
    pub expires_at: Option<Timestamp>,
    /// A few short strings for the sender's own use; `traceparent` rides here.
    pub headers: Headers,
    /// How many mailboxes it went to.
    pub deliveries: u32,
    /// The content: JSON by default, in truth any bytes.
    pub payload: Bytes,
}

impl Message {
    /// Whether it is this event of the log that shows it to readers.
    pub fn is_shown_by(&self, event: &EventKind) -> bool {
        let is_late = self.deliver_at.is_some() && !self.to.is_work();
        match event {
            EventKind::Accepted { .. } => !is_late,
            EventKind::Visible => is_late,
            _ => false,
        }
    }
}

/// Short strings that travel with a message.
pub type Headers = BTreeMap<Arc<str>, Arc<str>>;

/// How urgent a message is; lower is sooner.
///
/// # Shape
/// 1 to 9: critical 1, high 3, normal 5, low 7, bulk 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// What cannot wait: a consumer gets it however much it holds.
    pub const CRITICAL: Self = Self(1);
    /// What is least urgent.
    pub const BULK: Self = Self(9);
    /// What is sent without a word about its urgency.
    pub const NORMAL: Self = Self(5);

    /// Takes `level` from 1 to 9.
    pub const fn new(level: u8) -> Option<Self> {
        if level >= 1 && level <= 9 { Some(Self(level)) } else { None }
    }

    /// 1 to 9.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}
