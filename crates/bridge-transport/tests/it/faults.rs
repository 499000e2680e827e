//! What callers are told when the store fails, and when there is too much.

use std::time::Duration;

use bridge_core::{Class, StoreErrorKind};
use bridge_runtime::Policy;
use bridge_testkit::fault::Fault;
use bridge_transport::ServeSettings;
use http::Method;
use serde_json::json;

use crate::support::{Server, request, until, with};

#[tokio::test]
async fn a_failed_write_is_unknown_and_repeating_it_with_its_key_is_safe() {
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let send = || with(request(Method::POST, &path, r#"{"text": "a"}"#), "idempotency-key", "k");
    server.store.fail(Fault::After(StoreErrorKind::Unavailable));
    let unknown = server.send(send()).await;
    unknown.is_problem(503, "outcome_unknown");
    assert_eq!(unknown.header("retry-after"), "1");
    until(async || server.get("/health/ready").await.status == 200).await;
    let again = server.send(send()).await;
    assert_eq!((again.status.as_u16(), &again.json()["duplicate"]), (200, &json!(true)));
}

#[tokio::test]
async fn a_full_disk_is_507_and_heals() {
    let server = Server::start().await;
    let session = server.session().await;
    let path = format!("/api/sessions/{session}/messages");
    server.store.break_down(StoreErrorKind::Full);
    server.post(&path, r#"{"text": "a"}"#).await.is_problem(507, "store_full");
    until(async || server.get("/health/ready").await.status == 503).await;
    assert_eq!(server.get("/health/ready").await.json()["checks"]["store"], "full");
    assert_eq!(server.get("/health").await.json()["status"], "degraded");
    server.post(&path, r#"{"text": "a"}"#).await.is_problem(507, "store_full");
    // What is there can still be read.
    assert_eq!(server.get("/api/events").await.status, 200);
    assert_eq!(server.get("/health/live").await.status, 200);
    server.store.mend();
    until(async || {
        server.clock.advance(Duration::from_secs(1));
        server.post(&path, r#"{"text": "a"}"#).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn a_full_mailbox_is_429_with_its_depth_and_when_to_come_back() {
    let agent = Class { max_pending: 2, ..Class::AGENT };
    let policy = Policy { agent, max_sessions: 2, ..Policy::default() };
    let server = Server::with_policy(|door| door, ServeSettings::default(), policy).await;
    let session = server.session().await;
    server.say(&session, "1").await;
    server.say(&session, "2").await;
    let refused = server.post(&format!("/api/sessions/{session}/messages"), r#"{"text": "3"}"#).await;
    assert_eq!(refused.is_problem(429, "mailbox_full")["depth"], 2);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    server.session().await;
    server.post("/api/sessions", "{}").await.is_problem(429, "too_many_sessions");
}
