//! Conversations: begun, written to, looked at.

use bridge_core::{Address, Name, PresenceState, PublishError, SessionError, SessionId, Side};
use bridge_protocol::{Time, text_payload};
use bridge_runtime::{CallError, NewMessage};
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arguments;
use crate::{handler::Call, refusal::Refusal};

/// What `queue_user_message` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct QueueArguments {
    /// The text.
    message: String,
    /// The session.
    session_id: String,
    /// Makes a repetition known: the same key and text send one message.
    idempotency_key: Option<String>,
}

/// A message that was accepted: it is durable.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Queued {
    /// Always true; a refusal is an error.
    success: bool,
    /// The message; on a repetition the first one.
    message_id: String,
    /// When.
    queued_at: String,
    /// How many messages wait for the agent, this one included.
    queue_position: i64,
    /// The session.
    session_id: String,
    /// The key was known, and nothing was sent.
    duplicate: bool,
}

/// What `get_conversation_status` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StatusArguments {
    /// The session.
    session_id: String,
}

/// How a conversation stands.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Status {
    /// Whether there is such a session.
    session_exists: bool,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Messages to the agent so far.
    total_messages: i64,
    /// Of these, not answered.
    pending_messages: i64,
    /// Of these, done.
    processed_messages: i64,
    /// Whether an agent is there.
    claude_active: bool,
    /// Whether the person has read every answer.
    web_active: bool,
    /// When something was last sent or settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_activity: Option<String>,
    /// Messages to the agent so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_count: Option<i64>,
    /// `active`, `closed` or `session_not_found`.
    status: String,
}

/// What `create_new_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateArguments {
    /// What people call it.
    title: Option<String>,
}

/// A conversation that has begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Created {
    /// The session.
    session_id: String,
    /// Where its page is, on the same server.
    dashboard_url: String,
    /// What to tell an agent so that it joins.
    claude_instructions: String,
    /// When it began.
    created_at: String,
    /// Always `ready`.
    status: String,
}

/// What `mcp_warmup_ping` takes: nothing.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PingArguments {}

/// The bridge is there.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Pong {
    /// Always `warm`.
    status: String,
    /// The bridge's time.
    timestamp: String,
    /// The same in words.
    message: String,
}

/// Sends a message as a person would.
pub(super) async fn queue(given: JsonObject, call: &Call<'_>) -> Result<Queued, Refusal> {
    let QueueArguments { message, session_id, idempotency_key } = arguments(given)?;
    let text = message.trim();
    if text.is_empty() {
        return Err(Refusal::argument("Empty message not allowed"));
    }
    let session = call.session(&session_id)?;
    let from = call.caller.consumer.clone().unwrap_or_else(|| call.caller.principal.clone());
    let mut message = NewMessage::new(Address::Session(session, Side::Agent), text_payload(text)).from(from);
    if let Some(key) = idempotency_key.filter(|key| !key.is_empty()) {
        let key = Name::new(&key).map_err(|error| Refusal::argument(format!("idempotency_key: {error}")))?;
        message = message.idempotency_key(key);
    }
    let published = match call.bridge.publish(message.clone()).await {
        Err(CallError::Refused(PublishError::UnknownSession(_) | PublishError::SessionClosed(_)))
            if call.open_shared(session).await? =>
        {
            call.bridge.publish(message).await?
        }
        published => published?,
    };
    Ok(Queued {
        success: true,
        message_id: published.message.to_string(),
        queued_at: Time(call.bridge.now()).to_string(),
        queue_position: i64::from(published.depth),
        session_id: session.to_string(),
        duplicate: published.duplicate,
    })
}

/// Tells how a conversation stands.
pub(super) async fn status(given: JsonObject, call: &Call<'_>) -> Result<Status, Refusal> {
    let StatusArguments { session_id } = arguments(given)?;
    let unknown = || Status { status: "session_not_found".to_owned(), ..Status::default() };
    let Ok(session) = session_id.trim().parse::<SessionId>() else { return Ok(unknown()) };
    let view = match call.bridge.session(session).await {
        Err(CallError::Refused(SessionError::Unknown(_))) => return Ok(unknown()),
        view => view?,
    };
    let total = i64::try_from(view.session.questions).unwrap_or(i64::MAX);
    let pending = i64::from(view.pending) + i64::from(view.leased);
    Ok(Status {
        session_exists: true,
        session_id: Some(session.to_string()),
        total_messages: total,
        pending_messages: pending,
        processed_messages: (total - pending).max(0),
        claude_active: view.presence.state != PresenceState::Away,
        web_active: view.unread == 0,
        last_activity: Some(Time(view.session.last_activity).to_string()),
        message_count: Some(total),
        status: if view.session.closed_at.is_some() { "closed" } else { "active" }.to_owned(),
    })
}

/// Begins a conversation.
pub(super) async fn create(given: JsonObject, call: &Call<'_>) -> Result<Created, Refusal> {
    let CreateArguments { title } = arguments(given)?;
    let title = title.as_deref().map(str::trim).filter(|title| !title.is_empty());
    let session = call.bridge.open_session(title, call.caller.principal.clone()).await?.session;
    let id = session.id;
    Ok(Created {
        session_id: id.to_string(),
        dashboard_url: format!("/dashboard/{id}"),
        claude_instructions: format!(
            "Connect to MCP server and use session_id: \"{id}\" for all function calls. Start monitoring with heartbeat \
             pattern."
        ),
        created_at: Time(session.created_at).to_string(),
        status: "ready".to_owned(),
    })
}

/// Shows that the bridge is there.
pub(super) fn ping(call: &Call<'_>) -> Pong {
    Pong {
        status: "warm".to_owned(),
        timestamp: Time(call.bridge.now()).to_string(),
        message: "The bridge is there".to_owned(),
    }
}
