//! Single deliveries: how they fare, withdrawing them, giving them another life.

use bridge_core::{Address, DeadReason, DeliveryError, DeliveryId, Seq, State, StateKind};
use bridge_protocol::{
    Attempt, Cancelled, Code, Delivery, MAX_REDRIVEN, MAX_REDRIVEN_PER_S, Page, Redrive, RedriveDead,
    Redriven, Successor, Unredriven, Why,
};
use bridge_runtime::{CallError, DeadLetters, DeliveryPage};
use http::StatusCode;

use super::{
    messages::{millis, parsed},
    receive::within,
};
use crate::http::{
    held,
    query::place as place_at,
    request::Request,
    response::{Answer, Place, Refusal, json},
};

/// The delivery in the path, or the first one of the message in it.
fn id(request: &Request) -> Result<DeliveryId, Refusal> {
    let given = request.id();
    DeliveryId::named(given).map_err(|error| {
        let shown: String = given.chars().take(64).collect();
        let detail = if given.starts_with("dlv_") || given.starts_with("msg_") {
            format!("{shown}: {error}")
        } else {
            format!("{shown}: an id of a delivery or a message is dlv_ or msg_ and 32 hexadecimal digits")
        };
        Refusal::new(Code::UnknownDelivery).detail(detail)
    })
}

/// A refusal of what is in the path: what is not known is called as it was named.
fn refused(given: &str, error: CallError<DeliveryError>) -> Refusal {
    let detail = match &error {
        CallError::Refused(DeliveryError::Unknown(_)) if given.starts_with("msg_") => {
            format!("there is no delivery of a message {given}")
        }
        CallError::Refused(DeliveryError::Unknown(_)) => format!("there is no delivery {given}"),
        _ => return error.into(),
    };
    Refusal::new(Code::UnknownDelivery).detail(detail)
}

pub(super) async fn show(request: Request) -> Answer {
    let found = request.shared.bridge.inspect(id(&request)?).await;
    let found = found.map_err(|error| refused(request.id(), error))?;
    let delivery = Delivery { attempts: Some(Attempt::all_of(&found)), ..Delivery::from(&found) };
    Ok(json(StatusCode::OK, &delivery))
}

/// Deliveries in one state, newest first.
pub(super) async fn list(request: Request) -> Answer {
    let wrong =
        |what| Refusal::parameter("state", format_args!("{what} pending, leased, done, dead or cancelled"));
    let state = request.query.get("state").ok_or_else(|| wrong("it is needed:"))?;
    let known = StateKind::ALL.into_iter().find(|known| known.as_str() == state);
    let state = known.ok_or_else(|| wrong("one of"))?;
    let (before, limit) = place(&request)?;
    let mailbox: Option<Address> = request.query.parsed("mailbox")?;
    let _turn = request.shared.pages.acquire().await;
    let found = request.shared.bridge.deliveries(state, mailbox.as_ref(), before, limit).await?;
    page(&request, &found)
}

/// What was given up, newest first.
pub(super) async fn dead_letters(request: Request) -> Answer {
    let (before, limit) = place(&request)?;
    let wrong = |detail: String| Refusal::parameter("reason", detail);
    let wanted = DeadLetters {
        mailbox: request.query.parsed("mailbox")?,
        reason: request.query.get("reason").map(reason).transpose().map_err(wrong)?,
        kind: request.query.parsed("type")?,
    };
    let _turn = request.shared.pages.acquire().await;
    let found = request.shared.bridge.newest_dead_letters(&wanted, before, limit).await?;
    page(&request, &found)
}

/// Where a page begins, and how long it may be.
fn place(request: &Request) -> Result<(Option<Seq>, usize), Refusal> {
    let limit = request.query.number("limit", 1..=1_000)?.map_or(100, |limit| limit as usize);
    Ok((request.query.place()?, limit))
}

fn page(request: &Request, found: &DeliveryPage) -> Answer {
    held::check(found.bytes(), &request.shared.answers)?;
    let shown = |delivery: &bridge_core::Delivery| Delivery {
        attempts: matches!(delivery.state, State::Dead(_)).then(|| Attempt::all_of(delivery)),
        ..Delivery::from(delivery)
    };
    let data = found.deliveries.iter().map(shown).collect();
    Ok(json(StatusCode::OK, &Page { data, next_cursor: found.next.map(|next| next.to_string()) }))
}

/// Why something was given up; else what it can be.
fn reason(word: &str) -> Result<DeadReason, String> {
    DeadReason::ALL.into_iter().find(|known| known.as_str() == word).ok_or_else(|| {
        let all: Vec<_> = DeadReason::ALL.iter().map(|known| known.as_str()).collect();
        format!("one of {}", all.join(", "))
    })
}

/// Seconds that one redrive of dead letters may take at its rate.
const LONGEST: u32 = 60;

/// Another life for some dead letters, or all, so many a second.
pub(super) async fn redrive_dead(mut request: Request) -> Answer {
    let wish: RedriveDead = request.optional_json().await?.unwrap_or_default();
    let filters = wish.mailbox.is_some() || wish.reason.is_some() || wish.kind.is_some();
    match (wish.all, filters) {
        (false, false) => {
            return Err(Refusal::field(
                "/all",
                "without mailbox, reason or type it must be true: every one is meant",
            ));
        }
        (true, true) => {
            return Err(Refusal::field("/all", "either all or a filter, mailbox, reason or type, not both"));
        }
        _ => {}
    }
    let wrong = |detail: String| Refusal::field("/reason", detail);
    let wanted = DeadLetters {
        mailbox: parsed("/mailbox", wish.mailbox.as_deref())?,
        reason: wish.reason.as_deref().map(reason).transpose().map_err(wrong)?,
        kind: parsed("/type", wish.kind.as_deref())?,
    };
    let number = |pointer, given: Option<u32>, most| {
        Ok::<_, Refusal>(within(pointer, given.map(u64::from), 1..=most)?.map_or(100, |number| number as u32))
    };
    let rate = number("/rate_per_s", wish.rate_per_s, MAX_REDRIVEN_PER_S)?;
    let limit = number("/limit", wish.limit, MAX_REDRIVEN)?.min(rate * LONGEST) as usize;
    let after =
        wish.cursor.as_deref().map(|cursor| place_at(Place::Pointer("/cursor"), cursor)).transpose()?;
    let bridge = &request.shared.bridge;
    let done = if wish.dry_run {
        bridge.try_redrive_dead(&wanted, after, limit).await?
    } else {
        bridge.redrive_dead(&wanted, after, limit, rate).await?
    };
    let refused = done.refused.into_iter().map(|(delivery, error)| Unredriven {
        delivery_id: delivery.to_string(),
        error: Refusal::from(error).into_problem(),
    });
    let answer = Redriven {
        dry_run: wish.dry_run,
        redriven: done.deliveries.iter().map(ToString::to_string).collect(),
        refused: refused.collect(),
        next_cursor: done.next.map(|next| next.to_string()),
    };
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn why(request: Request) -> Answer {
    let why = request.shared.bridge.why(id(&request)?).await;
    let why = why.map_err(|error| refused(request.id(), error))?;
    Ok(json(StatusCode::OK, &Why::from(&why)))
}

pub(super) async fn cancel(request: Request) -> Answer {
    let cancelled = request.shared.bridge.cancel(id(&request)?).await;
    let cancelled = cancelled.map_err(|error| refused(request.id(), error))?;
    let answer = Cancelled { state: cancelled.state.as_str().to_owned(), requested: cancelled.requested };
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn redrive(mut request: Request) -> Answer {
    let id = id(&request)?;
    let redrive: Redrive = request.optional_json().await?.unwrap_or_default();
    let ttl = millis("/ttl_ms", redrive.ttl_ms, 1)?;
    let redriven = request.shared.bridge.redrive(id, ttl).await;
    let redriven = redriven.map_err(|error| refused(request.id(), error))?;
    Ok(json(StatusCode::OK, &Successor { delivery_id: redriven.to_string() }))
}
