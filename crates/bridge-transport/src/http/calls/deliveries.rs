//! Single deliveries: how they fare, withdrawing them, giving them another life.

use bridge_core::DeliveryId;
use bridge_protocol::{Attempt, Code, Delivery};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::messages::millis;
use crate::http::{
    request::Request,
    response::{Answer, Refusal, json},
};

fn id(request: &Request) -> Result<DeliveryId, Refusal> {
    request.id().parse().map_err(|_| Code::UnknownDelivery.into())
}

pub(super) async fn show(request: Request) -> Answer {
    let history = request.shared.bridge.delivery(id(&request)?).await?.ok_or(Code::UnknownDelivery)?;
    let mut delivery = Delivery::from(&history.delivery);
    delivery.attempts = Some(Attempt::history(&history.events));
    Ok(json(StatusCode::OK, &delivery))
}

pub(super) async fn cancel(request: Request) -> Answer {
    let cancelled = request.shared.bridge.cancel(id(&request)?).await?;
    let answer = json!({"state": cancelled.state.as_str(), "requested": cancelled.requested});
    Ok(json(StatusCode::OK, &answer))
}

pub(super) async fn redrive(mut request: Request) -> Answer {
    #[derive(Default, Deserialize)]
    struct Redrive {
        ttl_ms: Option<u64>,
    }
    let id = id(&request)?;
    let redrive: Redrive = request.optional_json().await?.unwrap_or_default();
    let ttl = millis("/ttl_ms", redrive.ttl_ms, 1)?;
    let redriven = request.shared.bridge.redrive(id, ttl).await?;
    Ok(json(StatusCode::OK, &json!({"delivery_id": redriven.to_string()})))
}
