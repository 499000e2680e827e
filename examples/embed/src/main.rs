//! Run it: `cargo run -p embed`
//!
//! A bridge inside an axum service: everything below `/bridge` is the bridge's, the rest is the service's own, and both use
//! the same handle. It asks itself a few things, as its clients would, and ends.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::error::Error;

use axum::{Json, Router, body::Body, extract::State, routing::get};
use bridge_runtime::Bridge;
use bridge_store::MemoryStore;
use bridge_transport::HttpDoor;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::builder(MemoryStore::new()).start().await?;
    let service = Router::new()
        .route("/waiting", get(waiting))
        .nest_service("/bridge", HttpDoor::builder(bridge.clone()).build()?)
        .with_state(bridge.clone());

    // A real service would now call axum::serve(listener, service); this one is its own client.
    let session = call(&service, "POST", "/bridge/api/sessions", json!({ "title": "From the shop" })).await?;
    let id = session["id"].as_str().unwrap_or_default();
    let messages = format!("/bridge/api/sessions/{id}/messages");
    call(&service, "POST", &messages, json!({ "text": "Where is my parcel?", "from": "user" })).await?;
    call(&service, "GET", "/waiting", Value::Null).await?;

    let wish = json!({ "mailbox": format!("session:{id}/agent"), "consumer": "clerk" });
    let received = call(&service, "POST", "/bridge/api/receive", wish).await?;
    let token = &received["deliveries"][0]["token"];
    let answer = json!({ "token": token, "outcome": "answer", "reply": { "text": "On its way." } });
    call(&service, "POST", "/bridge/api/settle", answer).await?;
    call(&service, "GET", "/waiting", Value::Null).await?;

    bridge.shutdown().await;
    Ok(())
}

/// The service's own route: how many messages wait, over all conversations.
async fn waiting(State(bridge): State<Bridge>) -> Json<Value> {
    let sessions = bridge.sessions(None, 100).await.unwrap_or_default();
    Json(json!({ "waiting": sessions.iter().map(|session| session.pending).sum::<u32>() }))
}

/// Asks the service, tells what was asked and answered.
async fn call(service: &Router, method: &str, path: &str, body: Value) -> Result<Value, Box<dyn Error>> {
    let mut request = axum::http::Request::builder().method(method).uri(path).header("host", "localhost");
    let mut content = Body::empty();
    if !body.is_null() {
        request = request.header("content-type", "application/json");
        content = body.to_string().into();
    }
    let response = service.clone().oneshot(request.body(content)?).await?;
    let status = response.status();
    let answer = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    println!("{method} {path}\n  {status} {answer}\n");
    if status.is_success() { Ok(answer) } else { Err(format!("{path} was refused").into()) }
}
