//! Conversations.

use bridge_core::{Message, SessionId, SessionView};
use bridge_protocol::{OpenSession, Page, Session};
use bridge_runtime::Fault;
use http::{HeaderValue, StatusCode, header::LOCATION};
use serde::Deserialize;

use crate::http::{
    door::Shared,
    request::Request,
    response::{Answer, empty, json},
};

/// As much of a conversation's last message is shown in the list of conversations, in characters.
const PREVIEW: usize = 280;

pub(super) async fn open(mut request: Request) -> Answer {
    let open: OpenSession = request.optional_json().await?.unwrap_or_default();
    let bridge = &request.shared.bridge;
    let view = bridge.open_session(open.title.as_deref(), request.principal.name.clone()).await?;
    let mut session = Session::new(&view, bridge.now());
    session.instructions = Some(instructions(view.session.id));
    session.dashboard_url = Some(dashboard(view.session.id));
    let mut response = json(StatusCode::CREATED, &session);
    let place = HeaderValue::try_from(format!("/api/sessions/{}", session.id));
    response.headers_mut().extend(place.map(|place| (LOCATION, place)));
    Ok(response)
}

/// What to tell an agent so that it joins.
pub(super) fn instructions(id: SessionId) -> String {
    format!(
        "Connect to the bridge's MCP server and use session_id: \"{id}\" for all function calls. Call \
         wait_for_messages (or get_pending_messages), answer each message with send_response_to_web, and follow the \
         next_poll_instruction of every result."
    )
}

/// Where the page of a conversation is.
pub(super) fn dashboard(id: SessionId) -> String {
    format!("/dashboard/{id}")
}

pub(super) async fn list(request: Request) -> Answer {
    let limit = request.query.number("limit", 1..=100)?.map_or(50, |limit| limit as usize);
    let before = request.query.cursor()?;
    let shared = &request.shared;
    let _turn = shared.pages.acquire().await;
    let mut views = shared.bridge.sessions(before, limit + 1).await?;
    let more = views.len() > limit;
    views.truncate(limit);
    let mut data = Vec::with_capacity(views.len());
    for view in &views {
        data.push(with_last_message(shared, view).await?);
    }
    let next_cursor = data.last().filter(|_| more).map(|session| session.id.clone());
    Ok(json(StatusCode::OK, &Page { data, next_cursor }))
}

async fn with_last_message(shared: &Shared, view: &SessionView) -> Result<Session, Fault> {
    let mut session = Session::new(view, shared.bridge.now());
    // A few, as the newest may be bounces.
    let newest = match shared.bridge.newest_messages(view.session.id, 4).await {
        // The list is no place to stumble over it: who opens the conversation is told.
        Err(Fault::Damaged) => Vec::new(),
        newest => newest?,
    };
    let last = newest.iter().filter(|message| !is_bounce(message)).max_by_key(|message| message.seq);
    session.last_message = last.map(|message| Box::new(preview(message)));
    Ok(session)
}

/// Whether the bridge sent it to say that a message was given up.
pub(super) fn is_bounce(message: &Message) -> bool {
    message.kind.as_str() == BOUNCE
}

/// The type of message that only the bridge sends.
pub(super) const BOUNCE: &str = "bounce";

/// A message without what would make a list of them long.
fn preview(message: &Message) -> bridge_protocol::Message {
    let mut wire = bridge_protocol::Message::from(message);
    if message.payload.len() > PREVIEW {
        wire.payload = None;
        wire.payload_base64 = None;
    }
    if let Some(text) = &mut wire.text
        && let Some((end, _)) = text.char_indices().nth(PREVIEW)
    {
        // A new one: the whole would stay in memory behind its beginning.
        *text = format!("{}…", &text[..end]);
    }
    wire
}

pub(super) async fn show(request: Request) -> Answer {
    let bridge = &request.shared.bridge;
    let view = bridge.session(request.session()?).await?;
    Ok(json(StatusCode::OK, &Session::new(&view, bridge.now())))
}

pub(super) async fn rename(mut request: Request) -> Answer {
    let id = request.session()?;
    #[derive(Deserialize)]
    struct Rename {
        // Not left out, but `null` takes the title away.
        #[serde(deserialize_with = "Option::deserialize")]
        title: Option<String>,
    }
    let change: Rename = request.json().await?;
    let bridge = &request.shared.bridge;
    let view = bridge.rename_session(id, change.title.as_deref()).await?;
    Ok(json(StatusCode::OK, &Session::new(&view, bridge.now())))
}

pub(super) async fn close(request: Request) -> Answer {
    request.shared.bridge.close_session(request.session()?).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
