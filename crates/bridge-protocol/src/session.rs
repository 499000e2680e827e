//! Conversations.

use bridge_core as core;
use serde::{Deserialize, Serialize};

use crate::{message::Message, time::Time};

/// What to call a new session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpenSession {
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// A conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// `ses_…`.
    pub id: String,
    /// What people call it.
    pub title: Option<String>,
    /// `open`, `idle` or `closed`.
    pub state: String,
    /// When it began.
    pub created_at: Time,
    /// When a message was last sent or settled in it.
    pub last_activity: Time,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Time>,
    /// Deliveries that wait for the agent.
    pub depth: u32,
    /// Deliveries in the agent's hands.
    pub leased: u32,
    /// Messages that the person has not read.
    pub unread: u32,
    /// Who takes from the agent's side.
    pub presence: Presence,
    /// The newest message, in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Box<Message>>,
    /// What to tell an agent so that it joins: when the session is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Where the page of this session is: when the session is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<String>,
}

/// Who takes from a mailbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Presence {
    /// `online`, `working` or `away`.
    pub state: String,
    /// Who was there last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// Since when it is so.
    pub since: Time,
}

impl From<&core::Presence> for Presence {
    fn from(presence: &core::Presence) -> Self {
        Self {
            state: presence.state.as_str().to_owned(),
            consumer: presence.consumer.as_ref().map(Into::into),
            since: presence.since.into(),
        }
    }
}

/// A session without activity for this long is called idle.
const IDLE_AFTER: std::time::Duration = std::time::Duration::from_secs(30 * 60);

impl Session {
    /// The wire's form of a session at this moment.
    pub fn new(view: &core::SessionView, now: core::Timestamp) -> Self {
        let session = &view.session;
        let state = match session.closed_at {
            Some(_) => "closed",
            None if now.since(session.last_activity) >= IDLE_AFTER => "idle",
            None => "open",
        };
        Self {
            id: session.id.to_string(),
            title: session.title.as_ref().map(ToString::to_string),
            state: state.to_owned(),
            created_at: session.created_at.into(),
            last_activity: session.last_activity.into(),
            closed_at: session.closed_at.map(Into::into),
            depth: view.pending,
            leased: view.leased,
            unread: view.unread,
            presence: (&view.presence).into(),
            last_message: None,
            instructions: None,
            dashboard_url: None,
        }
    }
}

/// A page of a list. It may be short, or empty, and not be the last: whether it is, only `next_cursor` tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// What to pass as `cursor` for the next page; none at the end.
    pub next_cursor: Option<String>,
}

/// A session's messages with their deliveries: the page that ends at `cursor`, and where to read on from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// The conversation.
    pub session: Session,
    /// A page of messages, oldest first; the first page is the newest.
    pub data: Vec<Message>,
    /// What to pass as `cursor` for the page before this one; none at the beginning.
    pub next_cursor: Option<String>,
    /// What to pass as `after` to get all events that this snapshot does not show.
    pub cursor: String,
}

/// What a person has seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Read {
    /// Everything up to here.
    pub cursor: String,
}

/// How far a person has seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadTo {
    /// Everything up to here; it never goes back.
    pub read_to: String,
}
