//! Messages, what is asked for when one is sent, and what is answered.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bridge_core::{self as core, Cursor, LogId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    bounds::{MAX_SPAN_MS, number},
    delivery::Delivery,
    payload::present,
    session::Presence,
    time::Time,
};

/// A message as readers see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// `msg_…`.
    pub id: String,
    /// Its place in the log.
    pub seq: u64,
    /// Who sent it.
    pub from: String,
    /// Whether the sender is proven by a credential.
    pub verified: bool,
    /// Where it was sent.
    pub to: String,
    /// `message`, `answer`, `bounce` or the sender's own word.
    #[serde(rename = "type")]
    pub kind: String,
    /// 1 (critical) to 9 (bulk).
    pub priority: u8,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The content, if it is JSON.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// The content in Base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The member `text` of the content, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The sender's own mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When it was accepted.
    pub created_at: Time,
    /// Not handed out before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_at: Option<Time>,
    /// Given up after, unless leased: as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The sender's own short strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How it fares: in snapshots, and where one message is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<Delivery>>,
}

impl From<&core::Message> for Message {
    fn from(message: &core::Message) -> Self {
        let payload = payload(&message.payload);
        Self {
            id: message.id.to_string(),
            seq: message.seq.0,
            from: (&message.from).into(),
            verified: message.verified,
            to: message.to.to_string(),
            kind: (&message.kind).into(),
            priority: message.priority.level(),
            session: message.session.map(|session| session.to_string()),
            payload_base64: payload.is_none().then(|| BASE64_STANDARD.encode(&message.payload)),
            payload,
            text: text_of(&message.payload),
            reply_to: message.reply_to.map(|id| id.to_string()),
            correlation_id: message.correlation_id.as_ref().map(Into::into),
            created_at: message.created_at.into(),
            deliver_at: message.deliver_at.map(Into::into),
            expires_at: message.expires_at.map(Into::into),
            headers: message
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            deliveries: None,
        }
    }
}

fn payload(bytes: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(bytes).ok()
}

/// The text of a payload: its member `text` if it is an object with one, or the payload if it is a JSON string.
///
/// # Example
/// ```
/// assert_eq!(bridge_protocol::text_of(br#"{"text": "hello"}"#).as_deref(), Some("hello"));
/// assert_eq!(bridge_protocol::text_of(br#""hello""#).as_deref(), Some("hello"));
/// assert_eq!(bridge_protocol::text_of(br#"{"n": 1}"#), None);
/// assert_eq!(bridge_protocol::text_of(br#"["hello"]"#), None);
/// ```
pub fn text_of(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        text: String,
    }
    // What it begins with is looked at first, for an array reads as an object too.
    match payload.trim_ascii_start().first()? {
        b'{' => serde_json::from_slice(payload).ok().map(|Object { text }| text),
        b'"' => serde_json::from_slice(payload).ok(),
        _ => None,
    }
}

/// The payload that carries `text`.
pub fn text_payload(text: &str) -> Vec<u8> {
    serde_json::json!({ "text": text }).to_string().into_bytes()
}

/// A message to send: into a session, or with `to` to any address.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct SendMessage {
    /// The content as plain text; or `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The content as JSON, `null` included; or `text`, beside which a `null` is none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Into a session `user` or `agent`: the side it comes from. To an address the sender's own client id, where answers go: a
    /// name without a colon, and not `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where it goes: `<client>`, `group:<name>`, `session:<id>/agent` or `session:<id>/user`. Not into a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What kind of message it is; `message` if absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// 1 (critical) to 9 (bulk); 5 if absent.
    #[serde(default, deserialize_with = "number::<_, _, 1, 9>", skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Messages with one key are handed out in order; without one it is the session, or sender and recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Given up after this time unless leased.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 1, MAX_SPAN_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub ttl_ms: Option<u64>,
    /// Not handed out before this time has passed; only for what is for the agent.
    #[serde(
        default,
        deserialize_with = "number::<_, _, 0, MAX_SPAN_MS>",
        skip_serializing_if = "Option::is_none"
    )]
    pub delay_ms: Option<u64>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The sender's own mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The sender's own short strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// An accepted message: it is on stable storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// The message; on a repetition the first one.
    pub message_id: String,
    /// Its place in the log; not there if it is an answer that was given before and has been removed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The same place, to resume reading after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether the idempotency key was known, and nothing was stored.
    pub duplicate: bool,
    /// The first 20 deliveries it made, as far as they are known.
    pub deliveries: Vec<Routed>,
    /// How many it made in all; not there where its place is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_count: Option<u32>,
    /// How many deliveries wait in the recipient's mailbox, this one included.
    pub depth: u32,
    /// Who takes from the recipient's mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<Presence>,
}

/// The answer to a message that was sent to an address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sent {
    /// `sent`.
    pub status: String,
    /// What came of it.
    #[serde(flatten)]
    pub published: Published,
}

/// Another time to live for a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SetTtl {
    /// How long from now, or from when it becomes visible; it must be there.
    #[serde(default, deserialize_with = "number::<_, _, 1, MAX_SPAN_MS>")]
    pub ttl_ms: Option<u64>,
}

/// The end of a message's time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Expires {
    /// When it is given up, unless it is leased then.
    pub expires_at: Time,
}

/// One delivery and where it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Routed {
    /// `dlv_…`.
    pub id: String,
    /// The mailbox it waits in.
    pub mailbox: String,
}

impl Published {
    /// The wire's form of an accepted message.
    pub fn new(log: LogId, published: &core::Published) -> Self {
        Self {
            message_id: published.message.to_string(),
            seq: Some(published.seq.0),
            cursor: Some(Cursor { log, seq: published.seq }.to_string()),
            duplicate: published.duplicate,
            deliveries: published
                .deliveries
                .iter()
                .map(|routed| Routed { id: routed.delivery.to_string(), mailbox: routed.mailbox.to_string() })
                .collect(),
            delivery_count: Some(published.delivery_count),
            depth: published.depth,
            presence: published.presence.as_ref().map(Into::into),
        }
    }

    /// The wire's form of an answer that was given before, and of which nothing else is known any more.
    pub fn removed(message: core::MessageId) -> Self {
        Self {
            message_id: message.to_string(),
            seq: None,
            cursor: None,
            duplicate: true,
            deliveries: Vec::new(),
            delivery_count: None,
            depth: 0,
            presence: None,
        }
    }
}
