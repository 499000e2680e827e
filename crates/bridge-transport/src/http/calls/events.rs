//! The log, by pages or as a stream.

use std::{sync::Arc, time::Duration};

use bridge_core::{Cursor, EventKind, Scope, SessionId};
use bridge_protocol::{Code, Event, EventPage};
use bridge_runtime::{EventFilter, Events, Fault, From};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::{
    http::{
        held,
        request::Request,
        response::{Answer, NO_CURSOR, Place, Refusal, json},
    },
    sse,
};

/// Names of events that a filter can have.
const NAMES: usize = 16;

/// Events that are held before it is the caller's turn to have a page made of them.
const AHEAD: usize = 8;

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

/// Where a reader says what it had last.
const LAST: &str = "last-event-id";

/// Where to begin: behind what the reader had last, behind a cursor, from now, or from the beginning.
fn from(request: &Request, last: Option<&str>) -> Result<From, Refusal> {
    let place = if last.is_some() { Place::Header(LAST) } else { Place::Parameter("after") };
    match last.or_else(|| request.query.get("after")) {
        None | Some("") => Ok(From::Floor),
        Some("head") => Ok(From::Head),
        Some(text) => {
            let cursor: Cursor = text.parse().map_err(|_| Refusal::cursor(place, NO_CURSOR))?;
            Ok(From::After(cursor))
        }
    }
}

/// Which events the reader wants.
fn filter(request: &Request) -> Result<EventFilter, Refusal> {
    let Some(names) = request.query.get("filter").filter(|names| !names.is_empty()) else {
        return Ok(EventFilter::default());
    };
    let names: Vec<_> = names.split(',').map(str::trim).collect();
    if names.len() > NAMES {
        return Err(Refusal::parameter("filter", format_args!("at most {NAMES} names of events")));
    }
    let is_known = |name: &&&str| match name.strip_suffix('*') {
        Some(begin) => EventKind::NAMES.iter().any(|known| known.starts_with(begin)),
        None => EventKind::NAMES.contains(*name),
    };
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(Refusal::parameter("filter", format_args!("no event is called {unknown}")));
    }
    Ok(EventFilter::new(names))
}

async fn stream(request: Request, scope: Scope, session: Option<SessionId>) -> Answer {
    let from = from(&request, request.header(LAST)?)?;
    let shared = &request.shared;
    let place = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| Code::Overloaded)?;
    let follow = shared.bridge.follow(scope, from).await?.only(filter(&request)?);
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
    let mut follow = bridge.follow(scope, from).await?.only(filter(&request)?);
    tokio::select! {
        biased;
        gathered = follow.gather(limit.min(AHEAD), wait) => gathered?,
        () = request.shared.closing.cancelled() => return Err(Fault::ShuttingDown.into()),
    }
    let _turn = request.shared.pages.acquire().await;
    let mut found = follow.hand_out().await?;
    if limit > AHEAD && found.events.len() == AHEAD {
        follow.gather(limit - AHEAD, Duration::ZERO).await?;
        let rest = follow.hand_out().await?;
        // What was trimmed since is told when the reader asks for it.
        if rest.gap.is_none() {
            found.append(rest);
        }
    }
    held::check(found.bytes(), &request.shared.answers)?;
    let Events { events, next, head, floor, gap } = found;
    let page = EventPage {
        data: events.iter().map(|(event, message)| Event::new(next.log, event, message.as_deref())).collect(),
        next: next.to_string(),
        head: head.to_string(),
        floor: floor.to_string(),
        recovered: gap.is_none(),
        reason: gap.map(|gap| gap.as_str().to_owned()),
    };
    Ok(json(StatusCode::OK, &page))
}
