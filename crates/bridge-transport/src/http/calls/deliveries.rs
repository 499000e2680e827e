//! Single deliveries: how they fare, withdrawing them, giving them another life.

use bridge_core::{Address, DeadReason, DeliveryId, Seq, StateKind};
use bridge_protocol::{
    Attempt, Cancelled, Code, Delivery, Page, Redrive, RedriveDead, Redriven, Successor, Unredriven, Why,
};
use bridge_runtime::DeadLetters;
use http::StatusCode;

use super::messages::{millis, parsed};
use crate::http::{
    held,
    request::Request,
    response::{Answer, Refusal, json},
};

fn id(request: &Request) -> Result<DeliveryId, Refusal> {
    request.id().parse().map_err(|_| Code::UnknownDelivery.into())
}

pub(super) async fn show(request: Request) -> Answer {
    let found = request.shared.bridge.inspect(id(&request)?).await?;
    let delivery = Delivery { attempts: Some(Attempt::all_of(&found)), ..Delivery::from(&found) };
    Ok(json(StatusCode::OK, &delivery))
}

/// Deliveries in one state, newest first.
pub(super) async fn list(request: Request) -> Answer {
    let state = request.query.get("state").ok_or_else(|| Refusal::parameter("state", STATES))?;
    let known = StateKind::ALL.into_iter().find(|known| known.as_str() == state);
    let state = known.ok_or_else(|| Refusal::parameter("state", STATES))?;
    page(request, state).await
}

const STATES: &str = "pending, leased, done, dead or cancelled";

/// What was given up.
pub(super) async fn dead_letters(request: Request) -> Answer {
    page(request, StateKind::Dead).await
}

async fn page(request: Request, state: StateKind) -> Answer {
    let limit = request.query.number("limit", 1..=1_000)?.map_or(100, |limit| limit as usize);
    let mailbox: Option<Address> = request.query.parsed("mailbox")?;
    let before = request.query.number("cursor", 1..=u64::MAX).map_err(|_| Code::InvalidCursor)?.map(Seq);
    let _turn = request.shared.pages.acquire().await;
    let found = request.shared.bridge.deliveries(state, mailbox.as_ref(), before, limit).await?;
    held::check(found.bytes(), &request.shared.answers)?;
    let shown = |delivery: &bridge_core::Delivery| Delivery {
        attempts: (state == StateKind::Dead).then(|| Attempt::all_of(delivery)),
        ..Delivery::from(delivery)
    };
    let data = found.deliveries.iter().map(shown).collect();
    Ok(json(StatusCode::OK, &Page { data, next_cursor: found.next.map(|next| next.to_string()) }))
}

/// Seconds that one redrive of dead letters may take at its rate.
const LONGEST: u32 = 60;

/// Another life for some dead letters, or all, so many a second.
pub(super) async fn redrive_dead(mut request: Request) -> Answer {
    let wish: RedriveDead = request.optional_json().await?.unwrap_or_default();
    let reason = match wish.reason.as_deref() {
        None => None,
        Some(word) => {
            let known = DeadReason::ALL.into_iter().find(|known| known.as_str() == word);
            Some(known.ok_or_else(|| {
                let all: Vec<_> = DeadReason::ALL.iter().map(|known| known.as_str()).collect();
                Refusal::field("/reason", format_args!("one of {}", all.join(", ")))
            })?)
        }
    };
    let wanted = DeadLetters {
        mailbox: parsed("/mailbox", wish.mailbox.as_deref())?,
        reason,
        kind: parsed("/type", wish.kind.as_deref())?,
    };
    let number = |pointer, given: Option<u32>, default: u32| match given.unwrap_or(default) {
        number @ 1..=1_000 => Ok(number),
        _ => Err(Refusal::field(pointer, "a whole number from 1 to 1000")),
    };
    let rate = number("/rate_per_s", wish.rate_per_s, 100)?;
    let limit = number("/limit", wish.limit, 100)?.min(rate * LONGEST) as usize;
    let after = parsed::<u64>("/cursor", wish.cursor.as_deref()).map_err(|_| Code::InvalidCursor)?.map(Seq);
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
    let why = request.shared.bridge.why(id(&request)?).await?;
    Ok(json(StatusCode::OK, &Why::from(&why)))
}

pub(super) async fn cancel(request: Request) -> Answer {
    let cancelled = request.shared.bridge.cancel(id(&request)?).await?;
    let answer = Cancelled { state: cancelled.state.as_str().to_owned(), requested: cancelled.requested };
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn redrive(mut request: Request) -> Answer {
    let id = id(&request)?;
    let redrive: Redrive = request.optional_json().await?.unwrap_or_default();
    let ttl = millis("/ttl_ms", redrive.ttl_ms, 1)?;
    let redriven = request.shared.bridge.redrive(id, ttl).await?;
    Ok(json(StatusCode::OK, &Successor { delivery_id: redriven.to_string() }))
}
