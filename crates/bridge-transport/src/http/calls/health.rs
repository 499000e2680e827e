//! Whether the server works.

use bridge_runtime::{Fault, Health};
use http::{Response, StatusCode};
use serde_json::json;

use crate::http::{
    request::Request,
    response::{Body, json},
};

/// For people and for the originals' clients.
pub(super) fn health(request: &Request) -> Response<Body> {
    let status = if store(request) == "ok" { "healthy" } else { "degraded" };
    json(StatusCode::OK, &json!({"status": status, "version": request.shared.settings.version}))
}

/// Whether the process answers: it depends on nothing else.
pub(super) fn live() -> Response<Body> {
    json(StatusCode::OK, &json!({"status": "live"}))
}

/// Whether work may be sent here.
pub(super) fn ready(request: &Request) -> Response<Body> {
    let server = if request.shared.closing.is_cancelled() { "shutting_down" } else { "ok" };
    let store = store(request);
    let ready = server == "ok" && store == "ok";
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    json(status, &json!({"status": word, "checks": {"server": server, "store": store}}))
}

fn store(request: &Request) -> &'static str {
    match request.shared.bridge.health() {
        Health::Ready => "ok",
        Health::ShuttingDown => "shutting_down",
        Health::Faulted(Fault::Full) => "full",
        Health::Faulted(Fault::Damaged) => "damaged",
        _ => "unavailable",
    }
}
