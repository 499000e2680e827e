//! The calls of the heartbeat conversation system, as its page and scripts make them, over the bridge's own verbs.
//! Which of its habits are kept is told in `docs/compatibility.md`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bridge_core::{
    Address, Advance, Cursor, DeadReason, DeliveryId, EventKind, Message, Name, PresenceState, Scope,
    SessionId, Side, State, Timestamp,
};
use bridge_protocol::{Code, Time, text_of, text_payload};
use bridge_runtime::{CallError, From, NewMessage};
use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    messages::{idempotency_key, publish},
    sessions::{dashboard, instructions, is_bounce},
};
use crate::http::{
    door::Shared,
    request::{Request, unknown_session},
    response::{Answer, Refusal, json, json_handed_over},
};

/// Events looked at in one go while the next answer is looked for.
const PAGE: usize = 32;

/// Conversations looked at in one go by a clean-up.
const SESSIONS: usize = 100;

/// The oldest age a clean-up can be told: ten years.
const OLDEST: u64 = 10 * 365 * 24;

pub(super) async fn create(mut request: Request) -> Answer {
    // Nothing is asked of it, but what is sent must be what is taken everywhere.
    request.optional_json::<IgnoredAny>().await?;
    let bridge = &request.shared.bridge;
    let session = bridge.open_session(None, request.principal.name.clone()).await?.session;
    let answer = json!({
        "session_id": session.id.to_string(),
        "dashboard_url": dashboard(session.id),
        "claude_instructions": instructions(session.id),
        "created_at": Time(session.created_at),
        "status": "ready",
    });
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn queue(mut request: Request) -> Answer {
    #[derive(Default, Deserialize)]
    struct Queued {
        message: Option<String>,
        session_id: Option<String>,
    }
    // Beside the problem the originals' clients find the two members that they look at.
    let failed = |refusal: Refusal, error: &str| refusal.with("success", false).with("error", error);
    let wrong = |refusal| failed(refusal, "Failed to queue message");
    let body: Queued = request.optional_json().await.map_err(wrong)?.unwrap_or_default();
    let given = |body: Option<String>, name| body.or_else(|| request.query.get(name).map(str::to_owned));
    let message = given(body.message, "message")
        .ok_or_else(|| failed(Refusal::field("/message", "it is missing"), "Missing message"))?;
    let text = message.trim();
    if text.is_empty() {
        return Err(failed(Refusal::field("/message", "not blank"), "Empty message not allowed"));
    }
    let named = given(body.session_id, "session_id").unwrap_or_else(|| SessionId::DEFAULT.to_string());
    let unknown = |refusal| failed(refusal, "Session not found");
    let session: SessionId = named.parse().map_err(|_| unknown(unknown_session(&named)))?;
    let mut message = NewMessage::new(Address::Session(session, Side::Agent), text_payload(text));
    message.from = request.client().map_err(wrong)?.unwrap_or_else(|| Name::from_static(Side::User.as_str()));
    message.verified = request.principal.verified;
    message.idempotency_key = idempotency_key(&request).map_err(wrong)?;
    let published = publish(&request.shared, message).await.map_err(|error| {
        let refusal = Refusal::from(error);
        if refusal.code() == Code::UnknownSession.as_str() { unknown(refusal) } else { wrong(refusal) }
    })?;
    let answer = json!({
        "success": true,
        "message_id": published.message.to_string(),
        "queued_at": Time(request.shared.bridge.now()),
        "queue_position": published.depth,
        "session_id": session.to_string(),
    });
    Ok(json(StatusCode::OK, &answer))
}

/// Readers that are being answered: each has one poll at a time, so that none takes an answer from another's hands.
#[derive(Debug, Default)]
pub(crate) struct Polls(Arc<Mutex<HashSet<(SessionId, Name)>>>);

/// A reader's turn; it ends when it is dropped.
struct Turn {
    polls: Arc<Mutex<HashSet<(SessionId, Name)>>>,
    reader: (SessionId, Name),
}

impl Polls {
    /// The reader's turn; none while another poll of the same reader is under way.
    fn begin(&self, session: SessionId, reader: &Name) -> Option<Turn> {
        let reader = (session, reader.clone());
        let is_free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reader.clone());
        is_free.then(|| Turn { polls: Arc::clone(&self.0), reader })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.reader);
    }
}

pub(super) async fn latest(request: Request) -> Answer {
    let session = request.session()?;
    let reader = request.query.parsed("reader")?.unwrap_or_else(|| Name::from_static("web"));
    let shared = &request.shared;
    // A conversation that is not there has no reader's place either.
    shared.bridge.session(session).await?;
    shared.watchers.saw(session, shared.bridge.now());
    let none = || json(StatusCode::OK, &json!({"new_response": false, "status": "no_response"}));
    let Some(turn) = shared.polls.begin(session, &reader) else { return Ok(none()) };
    let place = shared.bridge.reader_place(session, &reader).await?;
    let mut step = Advance { session, reader, from: place, to: place };
    let found = next_answer(shared, &mut step).await?;
    let Some(found) = found else { return Ok(none()) };
    let question = match found.reply_to {
        Some(id) => shared.bridge.messages_by_id(&[id]).await?.pop().flatten(),
        None => None,
    };
    let answer = json!({
        "new_response": true,
        "response": text(&found),
        "timestamp": Time(found.created_at),
        "original_message": question.as_deref().map(text).unwrap_or_default(),
        "message_id": found.reply_to.unwrap_or(found.id).to_string(),
        "response_id": found.id.to_string(),
    });
    shared.bridge.advance(step.clone()).await?;
    let unread = Unread { shared: Arc::clone(shared), step: Some(step), turn: Some(turn) };
    Ok(json_handed_over(&answer, move || unread.arrived()))
}

/// Finds the next answer behind the reader's place, and makes `step` lead there. An answer has its place where it became
/// visible.
async fn next_answer(shared: &Shared, step: &mut Advance) -> Result<Option<Arc<Message>>, Refusal> {
    let bridge = &shared.bridge;
    loop {
        let after = From::After(Cursor { log: bridge.log_id(), seq: step.to });
        let page = bridge.read_log(Scope::Session(step.session), after, PAGE, Duration::ZERO).await?;
        // What is gone no reader gets any more; it goes on with what is there.
        if page.gap.is_some() && step.to < page.floor.seq {
            step.to = page.floor.seq;
            continue;
        }
        for (event, message) in &page.events {
            step.to = event.seq;
            let is_answer = |message: &Message| {
                message.to == Address::Session(step.session, Side::User) && !is_bounce(message)
            };
            // One that was taken back may have been given another life.
            let (message, delivery) = match (&event.kind, event.message) {
                (EventKind::Redriven { successor }, Some(id)) => {
                    (bridge.messages_by_id(&[id]).await?.pop().flatten(), Some(*successor))
                }
                _ => (message.clone(), event.delivery),
            };
            if let (Some(answer), Some(delivery)) = (message.filter(|message| is_answer(message)), delivery)
                && !is_taken_back(shared, delivery).await?
            {
                return Ok(Some(answer));
            }
        }
        if page.next.seq >= page.head.seq {
            return Ok(None);
        }
        // So many that are no answers need not be looked at again.
        step.to = page.next.seq;
        bridge.advance(step.clone()).await?;
        step.from = step.to;
    }
}

/// Whether a delivery was withdrawn, or its time is over.
async fn is_taken_back(shared: &Shared, id: DeliveryId) -> Result<bool, Refusal> {
    let found = shared.bridge.delivery(id).await?;
    Ok(found.is_some_and(|found| matches!(found.state, State::Cancelled | State::Dead(DeadReason::Expired))))
}

/// The text of a message, or its content if it is something else.
fn text(message: &Message) -> String {
    text_of(&message.payload).unwrap_or_else(|| String::from_utf8_lossy(&message.payload).into_owned())
}

/// An answer on its way to its reader: dropped before it arrived, it is given again.
struct Unread {
    shared: Arc<Shared>,
    step: Option<Advance>,
    turn: Option<Turn>,
}

impl Unread {
    fn arrived(mut self) {
        self.step = None;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let (Some(Advance { session, reader, from, to }), turn) = (self.step.take(), self.turn.take()) else {
            return;
        };
        let back = Advance { session, reader, from: to, to: from };
        let shared = Arc::clone(&self.shared);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = shared.bridge.advance(back).await {
                    tracing::warn!(%error, "an answer was not handed over, and its reader could not be moved back");
                }
                drop(turn);
            });
        }
    }
}

pub(super) async fn status(request: Request) -> Answer {
    let shared = &request.shared;
    let found = match request.session() {
        Ok(session) => match shared.bridge.session(session).await {
            Ok(view) => Some(view),
            Err(CallError::Refused(_)) => None,
            Err(CallError::Fault(fault)) => return Err(fault.into()),
        },
        Err(_) => None,
    };
    let Some(view) = found else {
        let answer = json!({
            "session_exists": false,
            "total_messages": 0,
            "pending_messages": 0,
            "processed_messages": 0,
            "claude_active": false,
            "web_active": false,
            "last_activity": null,
            "status": "session_not_found",
        });
        return Ok(json(StatusCode::OK, &answer));
    };
    let session = &view.session;
    let open = u64::from(view.pending) + u64::from(view.leased);
    let answer = json!({
        "session_exists": true,
        "session_id": session.id.to_string(),
        "total_messages": session.questions,
        "pending_messages": view.pending,
        "processed_messages": session.questions.saturating_sub(open),
        "claude_active": view.presence.state != PresenceState::Away,
        "web_active": shared.watchers.is_watched(session.id, shared.bridge.now()),
        "last_activity": Time(session.last_activity),
        "message_count": session.questions,
        "status": if session.closed_at.is_some() { "closed" } else { "active" },
    });
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn clean_up(mut request: Request) -> Answer {
    #[derive(Default, Deserialize)]
    struct CleanUp {
        max_age_hours: Option<u64>,
    }
    let body: CleanUp = request.optional_json().await?.unwrap_or_default();
    if body.max_age_hours.is_some_and(|hours| !(1..=OLDEST).contains(&hours)) {
        return Err(Refusal::field("/max_age_hours", format_args!("a whole number from 1 to {OLDEST}")));
    }
    let hours = request.query.number("max_age_hours", 1..=OLDEST)?.or(body.max_age_hours).unwrap_or(24);
    let bridge = &request.shared.bridge;
    let now = bridge.now();
    let since = Timestamp::from_millis(now.as_millis().saturating_sub(hours * 3_600_000));
    let (mut cleaned, mut remaining, mut before) = (0u64, 0u64, None);
    loop {
        let views = bridge.sessions(before, SESSIONS).await?;
        let Some(last) = views.last().map(|view| view.session.id) else { break };
        for view in views.iter().filter(|view| view.session.closed_at.is_none()) {
            match bridge.close_idle_session(view.session.id, since).await {
                Ok(view) if view.session.closed_at.is_some() => cleaned += 1,
                Ok(_) => remaining += 1,
                // Gone meanwhile.
                Err(CallError::Refused(_)) => {}
                Err(CallError::Fault(fault)) => return Err(fault.into()),
            }
        }
        before = Some(last);
    }
    let answer = json!({
        "cleaned_sessions": cleaned,
        "remaining_sessions": remaining,
        "cleanup_timestamp": Time(now),
        "max_age_hours": hours,
    });
    Ok(json(StatusCode::OK, &answer))
}
