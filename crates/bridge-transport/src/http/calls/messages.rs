//! Messages of a conversation.

use std::{sync::Arc, time::Duration};

use bridge_core::{
    Address, Cursor, Delivery, DeliveryError, Headers, Label, MessageId, Name, Priority, PublishError,
    SessionId, Side,
};
use bridge_protocol::{
    Code, Expires, MAX_SPAN_MS, Message, Published, Read, ReadTo, SendMessage, Sent, Session, SetTtl,
    Snapshot, payload_of, text_payload,
};
use bridge_runtime::{Bridge, CallError, NewMessage};
use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;

use super::sessions::BOUNCE;
use crate::http::{
    door::Shared,
    held,
    request::{CLIENT, Request},
    response::{Answer, NO_CURSOR, Place, Refusal, json, large_json},
    settings::SharedSession,
};

const KEY: &str = "idempotency-key";

/// The sender's own strings: so many, so long.
const HEADERS: usize = 32;
const HEADER_NAME: usize = 64;
const HEADER_VALUE: usize = 1_024;

/// Room for what is said of a message in a page besides its content, which stands there as text too.
const ROOM: usize = 1 << 10;

pub(super) async fn send(mut request: Request) -> Answer {
    let session = request.session()?;
    let mut send: SendMessage = request.json().await?;
    let side = match send.from.as_deref() {
        None | Some("user") => Side::User,
        Some("agent") => Side::Agent,
        Some(_) => return Err(Refusal::field("/from", "\"user\" or \"agent\"")),
    };
    let from = request.client()?.unwrap_or_else(|| Name::from_static(side.as_str()));
    let mut message =
        NewMessage::new(Address::Session(session, side.other()), content(&mut send)?).from(from);
    complete(&mut message, &request, &send)?;
    let published = publish(&request.shared, message).await?;
    let status = if published.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &Published::new(request.shared.bridge.log_id(), &published)))
}

/// A message to any address.
pub(super) async fn send_to(mut request: Request) -> Answer {
    let mut send: SendMessage = request.json().await?;
    let from = sender(&request, &send)?;
    let to: Option<Address> = parsed("/to", send.to.as_deref())?;
    let to = to.ok_or_else(|| Refusal::field("/to", "an address is needed"))?;
    let mut message = NewMessage::new(to, content(&mut send)?).from(from);
    complete(&mut message, &request, &send)?;
    let published = publish(&request.shared, message).await?;
    let answer = Sent {
        status: "sent".to_owned(),
        published: Published::new(request.shared.bridge.log_id(), &published),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Who sends a message: somebody who can be sent to, else an answer would go nowhere.
fn sender(request: &Request, send: &SendMessage) -> Result<Name, Refusal> {
    let (place, from) = match parsed("/from", send.from.as_deref())? {
        Some(from) => (Place::Pointer("/from"), from),
        None => match request.client()? {
            Some(from) => (Place::Header(CLIENT), from),
            None => return Err(Refusal::field("/from", "the sender's name is needed")),
        },
    };
    match Label::new(from) {
        Some(label) => Ok(label.name().clone()),
        None => {
            Err(Refusal::at(Code::InvalidField, place, &"the name of a client: without a colon, and not all"))
        }
    }
}

/// Everything of a message but its sender, its recipient and its content.
fn complete(message: &mut NewMessage, request: &Request, send: &SendMessage) -> Result<(), Refusal> {
    message.verified = request.principal.verified;
    message.idempotency_key = idempotency_key(request)?;
    if let Some(kind) = kind(send.kind.as_deref())? {
        message.kind = kind;
    }
    if let Some(level) = send.priority {
        let priority = Priority::new(level);
        message.priority =
            priority.ok_or_else(|| Refusal::field("/priority", "a whole number from 1 to 9"))?;
    }
    message.key = parsed("/key", send.key.as_deref())?;
    message.delay = millis("/delay_ms", send.delay_ms, 0)?.unwrap_or_default();
    if !message.to.is_work() && !message.delay.is_zero() {
        return Err(Refusal::field("/delay_ms", "what is for the person's side cannot be scheduled"));
    }
    message.ttl = millis("/ttl_ms", send.ttl_ms, 1)?;
    message.reply_to = parsed("/reply_to", send.reply_to.as_deref())?;
    message.correlation_id = parsed("/correlation_id", send.correlation_id.as_deref())?;
    message.headers = headers(send)?;
    Ok(())
}

/// Publishes; the shared session is opened when it is first written to.
pub(super) async fn publish(
    shared: &Shared,
    message: NewMessage,
) -> Result<bridge_core::Published, CallError<PublishError>> {
    use PublishError::{SessionClosed, UnknownSession};
    let bridge = &shared.bridge;
    let Some(session) = message.to.session().filter(|session| opens_on_demand(shared, *session)) else {
        return bridge.publish(message).await;
    };
    match bridge.publish(message.clone()).await {
        Err(CallError::Refused(UnknownSession(_) | SessionClosed(_))) => {
            open_shared(bridge).await.map_err(|fault| match fault {
                CallError::Fault(fault) => CallError::Fault(fault),
                CallError::Refused(_) => CallError::Refused(UnknownSession(session)),
            })?;
            bridge.publish(message).await
        }
        published => published,
    }
}

/// Whether `session` is the one that is there for everybody.
pub(super) fn opens_on_demand(shared: &Shared, session: SessionId) -> bool {
    session == SessionId::DEFAULT && shared.settings.shared_session == SharedSession::Offered
}

pub(super) async fn open_shared(bridge: &Bridge) -> Result<(), CallError<bridge_core::SessionError>> {
    let owner = Name::from_static("anonymous");
    bridge.open_session_as(SessionId::DEFAULT, None, owner).await.map(|_| ())
}

/// The content, which is taken out of the message.
fn content(send: &mut SendMessage) -> Result<Bytes, Refusal> {
    match text_or_json(send.text.take(), send.payload.take()) {
        (Some(text), None) if text.trim().is_empty() => Err(Refusal::field("/text", "not blank")),
        (Some(text), None) => Ok(text_payload(&text).into()),
        (None, Some(payload)) => {
            payload_of(payload).map(Bytes::from).map_err(|error| Refusal::field("/payload", error))
        }
        (Some(_), Some(_)) => Err(Refusal::field("/payload", "either text or payload, not both")),
        (None, None) => Err(Refusal::field("/text", "text or payload is needed")),
    }
}

/// Content as it was given; a `null` beside text is none, as it is of every other member.
pub(super) fn text_or_json(
    text: Option<String>,
    json: Option<Box<RawValue>>,
) -> (Option<String>, Option<Box<RawValue>>) {
    let json = json.filter(|json| text.is_none() || json.get() != "null");
    (text, json)
}

/// The sender's key: as it is, or as the quoted string that structured fields make of it.
pub(super) fn idempotency_key(request: &Request) -> Result<Option<Name>, Refusal> {
    let Some(given) = request.header(KEY)? else { return Ok(None) };
    let unquoted = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = match unquoted {
        Some(quoted) => unescape(quoted).ok_or_else(|| Refusal::header(KEY, "a string such as \"k1\""))?,
        None => given.to_owned(),
    };
    key.parse().map(Some).map_err(|error| Refusal::header(KEY, error))
}

/// The text of a quoted string: a backslash stands before a quote or a backslash.
fn unescape(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => text.push(chars.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            '"' => return None,
            plain => text.push(plain),
        }
    }
    Some(text)
}

/// What kind of message a sender says it is.
pub(super) fn kind(text: Option<&str>) -> Result<Option<Name>, Refusal> {
    match parsed::<Name>("/type", text)? {
        Some(kind) if kind.as_str() == BOUNCE => {
            Err(Refusal::field("/type", "only the bridge sends bounces"))
        }
        kind => Ok(kind),
    }
}

/// A time in milliseconds that is not beyond all measure.
pub(super) fn millis(pointer: &str, value: Option<u64>, least: u64) -> Result<Option<Duration>, Refusal> {
    match value {
        Some(millis) if !(least..=MAX_SPAN_MS).contains(&millis) => {
            Err(Refusal::field(pointer, format_args!("from {least} to {MAX_SPAN_MS}")))
        }
        millis => Ok(millis.map(Duration::from_millis)),
    }
}

/// A member that is read from text.
pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    pointer: &str,
    text: Option<&str>,
) -> Result<Option<T>, Refusal> {
    text.map(|text| text.parse().map_err(|error| Refusal::field(pointer, error))).transpose()
}

fn headers(send: &SendMessage) -> Result<Headers, Refusal> {
    let is_fine = |(name, value): (&String, &String)| {
        (1..=HEADER_NAME).contains(&name.len())
            && value.len() <= HEADER_VALUE
            && !name.chars().chain(value.chars()).any(char::is_control)
    };
    if send.headers.len() > HEADERS || !send.headers.iter().all(is_fine) {
        let most = format!(
            "at most {HEADERS} strings, names of 1 to {HEADER_NAME} bytes, values of at most {HEADER_VALUE}, no control \
             characters"
        );
        return Err(Refusal::field("/headers", most));
    }
    Ok(send
        .headers
        .iter()
        .map(|(name, value)| (Arc::from(name.as_str()), Arc::from(value.as_str())))
        .collect())
}

/// The message in the path.
fn id(request: &Request) -> Result<MessageId, Refusal> {
    let shown: String = request.id().chars().take(64).collect();
    let wrong = |error| Refusal::new(Code::UnknownMessage).detail(format!("{shown}: {error}"));
    request.id().parse().map_err(wrong)
}

fn unknown(request: &Request) -> Refusal {
    Refusal::new(Code::UnknownMessage).detail(format!("there is no message {}", request.id()))
}

/// What a message says, and how it fares.
pub(super) async fn show(request: Request) -> Answer {
    let (message, deliveries) = match request.shared.bridge.message(id(&request)?).await {
        Err(CallError::Refused(DeliveryError::MessageGone(_))) => {
            let gone = format!("message {} was removed; how it fared is told of its delivery", request.id());
            return Err(Refusal::new(Code::UnknownMessage).detail(gone));
        }
        Err(CallError::Refused(_)) => return Err(unknown(&request)),
        found => found?,
    };
    held::check(message.payload.len(), &request.shared.answers)?;
    let shown =
        Message { deliveries: Some(deliveries.iter().map(Into::into).collect()), ..Message::from(&*message) };
    Ok(large_json(&shown, 2 * message.payload.len() + ROOM))
}

/// Another time to live for a message that has not arrived yet.
pub(super) async fn ttl(mut request: Request) -> Answer {
    let message = id(&request)?;
    let given: SetTtl = request.json().await?;
    let ttl = millis("/ttl_ms", given.ttl_ms, 1)?.ok_or_else(|| Refusal::field("/ttl_ms", "it is needed"))?;
    let expires_at = match request.shared.bridge.set_ttl(message, ttl).await {
        Err(CallError::Refused(DeliveryError::Unknown(_))) => return Err(unknown(&request)),
        set => set?,
    };
    Ok(json(StatusCode::OK, &Expires { expires_at: expires_at.into() }))
}

pub(super) async fn list(request: Request) -> Answer {
    let session = request.session()?;
    let limit = request.query.number("limit", 1..=100)?.map_or(50, |limit| limit as usize);
    let before = request.query.place()?;
    let _turn = request.shared.pages.acquire().await;
    let bridge = &request.shared.bridge;
    let page = bridge.snapshot(session, before, limit).await?;
    held::check(page.bytes(), &request.shared.answers)?;
    let size = 2 * page.bytes() + ROOM * (page.messages.len() + 1);
    let next_cursor = page.messages.first().filter(|_| page.older).map(|(oldest, _)| oldest.seq.to_string());
    let shown = |(message, deliveries): (Arc<bridge_core::Message>, Vec<Arc<Delivery>>)| Message {
        deliveries: Some(deliveries.iter().map(|delivery| (&**delivery).into()).collect()),
        ..Message::from(&*message)
    };
    let snapshot = Snapshot {
        session: Session::new(&page.session, bridge.now()),
        data: page.messages.into_iter().map(shown).collect(),
        next_cursor,
        cursor: page.cursor.to_string(),
    };
    Ok(large_json(&snapshot, size))
}

pub(super) async fn read(mut request: Request) -> Answer {
    let session = request.session()?;
    let read: Read = request.json().await?;
    let bridge = &request.shared.bridge;
    let wrong = |detail| Refusal::cursor(Place::Pointer("/cursor"), detail);
    let cursor: Cursor = read.cursor.parse().map_err(|_| wrong(NO_CURSOR))?;
    if cursor.log != bridge.log_id() {
        return Err(wrong("it is of another log"));
    }
    if cursor.seq > bridge.head().seq {
        return Err(wrong("it is ahead of the log"));
    }
    let seq = bridge.read(session, cursor.seq).await?;
    let read_to = Cursor { log: cursor.log, seq }.to_string();
    Ok(json(StatusCode::OK, &ReadTo { read_to }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_the_text_inside() {
        assert_eq!(unescape(r#"a\"b\\c"#).as_deref(), Some(r#"a"b\c"#));
        for bad in [r#"a"b"#, r"a\n", r"a\"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
