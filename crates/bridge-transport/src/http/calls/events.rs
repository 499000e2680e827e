//! The log, by pages or as a stream.

use std::{sync::Arc, time::Duration};

use bridge_core::{Cursor, Scope, SessionId};
use bridge_protocol::{Code, Event, EventPage};
use bridge_runtime::{Events, Fault, From};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::{
    http::{
        request::Request,
        response::{Answer, Refusal, json},
    },
    sse,
};

/// Bytes of content in one page; a page ends behind the event that goes beyond.
const PAGE: usize = 1 << 20;

/// Events read at one time while a page is filled.
const CHUNK: usize = 8;

pub(super) async fn of_session(request: Request) -> Answer {
    let session = request.session()?;
    // A conversation that is not there has no log, rather than an empty one.
    request.shared.bridge.session(session).await?;
    request.shared.watchers.saw(session, request.shared.bridge.now());
    answer(request, Scope::Session(session), Some(session)).await
}

pub(super) async fn of_all(request: Request) -> Answer {
    answer(request, Scope::All, None).await
}

async fn answer(request: Request, scope: Scope, session: Option<SessionId>) -> Answer {
    if request.wants_events() { stream(request, scope, session).await } else { page(request, scope).await }
}

/// Where to begin: behind what the reader had last, behind a cursor, from now, or from the beginning.
fn from(request: &Request, last: Option<&str>) -> Result<From, Refusal> {
    match last.or_else(|| request.query.get("after")) {
        None | Some("") => Ok(From::Floor),
        Some("head") => Ok(From::Head),
        Some(text) => {
            let cursor: Cursor = text.parse().map_err(|_| Code::InvalidCursor)?;
            Ok(From::After(cursor))
        }
    }
}

async fn stream(request: Request, scope: Scope, session: Option<SessionId>) -> Answer {
    let from = from(&request, request.header("last-event-id")?)?;
    let shared = &request.shared;
    let place = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| Code::Overloaded)?;
    let follow = shared.bridge.follow(scope, from).await?;
    let mut response = Response::new(sse::stream(Arc::clone(shared), follow, session, place));
    response.headers_mut().extend([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that gather answers before they pass them on leave this one alone.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]);
    Ok(response)
}

async fn page(request: Request, scope: Scope) -> Answer {
    let limit = request.query.number("limit", 1..=1_000)?.map_or(100, |limit| limit as usize);
    let wait = Duration::from_millis(request.query.number("wait_ms", 0..=60_000)?.unwrap_or(0));
    let from = from(&request, None)?;
    let bridge = &request.shared.bridge;
    let mut part = tokio::select! {
        biased;
        part = bridge.read_log(scope, from, limit.min(CHUNK), wait) => part?,
        () = request.shared.closing.cancelled() => return Err(Fault::ShuttingDown.into()),
    };
    let (mut data, mut bytes) = (Vec::new(), 0);
    loop {
        let got = part.events.len();
        for (event, message) in &part.events {
            bytes += message.as_ref().map_or(0, |message| message.payload.len());
            data.push(Event::new(part.next.log, event, message.as_deref()));
            if bytes > PAGE {
                part.next.seq = event.seq;
                break;
            }
        }
        let left = limit - data.len();
        if got < CHUNK || left == 0 || bytes > PAGE || part.gap.is_some() {
            return Ok(json(StatusCode::OK, &page_of(data, &part)));
        }
        part = bridge.read_log(scope, From::After(part.next), left.min(CHUNK), Duration::ZERO).await?;
    }
}

fn page_of(data: Vec<Event>, last: &Events) -> EventPage {
    EventPage {
        data,
        next: last.next.to_string(),
        head: last.head.to_string(),
        floor: last.floor.to_string(),
        recovered: last.gap.is_none(),
        reason: last.gap.map(|gap| gap.as_str().to_owned()),
    }
}
