//! What callers are told when the store fails, and when there is too much.

use std::time::Duration;

use bridge_core::{IdempotencyScope, Limits, RowKey, StoreErrorKind};
use bridge_runtime::Policy;
use bridge_testkit::fault::Fault;
use bridge_transport::ServeSettings;
use http::Method;
use serde_json::json;

use tracing::Level;

use crate::support::{Log, Server, request, until, with};

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
async fn a_failure_is_found_in_the_log_by_the_id_of_its_request() {
    let (log, _heard) = Log::begin_at(Level::INFO);
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    server.post(&path, r#"{"text": ""}"#).await.is_problem(400, "invalid_field");
    let said = server.post(&path, r#"{"text": "SECRET"}"#).await.json();
    server.store.damage(RowKey::Message(said["message_id"].as_str().unwrap().parse().unwrap()));
    let answer = server.get(&path).await;
    answer.is_problem(500, "store_damaged");
    server.store.break_down(StoreErrorKind::Full);
    server.post(&path, r#"{"text": "SECRET"}"#).await.is_problem(507, "store_full");
    let text = log.text();
    let told: Vec<_> = text.lines().filter(|line| line.contains(answer.header("x-request-id"))).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].contains("ERROR") && told[0].contains(r#"code="store_damaged""#), "{told:?}");
    assert!(
        ["SECRET", "invalid_field", "code=\"store_full"].iter().all(|word| !text.contains(word)),
        "{text}"
    );
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
async fn a_damaged_row_is_told_to_who_names_it_and_everybody_else_goes_on() {
    let server = Server::start().await;
    let (hurt, sound) = (server.session().await, server.session().await);
    let messages = |session: &str| format!("/api/sessions/{session}/messages");
    let send = |session: &str, key| {
        with(request(Method::POST, &messages(session), r#"{"text": "a"}"#), "idempotency-key", key)
    };
    let said = server.say(&hurt, "b").await;
    server.say(&sound, "b").await;
    // So much that the first one is no longer in memory.
    let other = server.session().await;
    for _ in 0..17 {
        server.say(&other, &"x".repeat(1_000_000)).await;
    }
    server.store.damage(RowKey::Message(said["message_id"].as_str().unwrap().parse().unwrap()));
    let to = format!("session:{hurt}/agent").parse().unwrap();
    let scope = IdempotencyScope { from: "user".parse().unwrap(), to, key: "k".parse().unwrap() };
    server.store.damage(RowKey::Idempotency(scope));

    for _ in 0..2 {
        server.get(&messages(&hurt)).await.is_problem(500, "store_damaged");
        let (damaged, neighbour) = tokio::join!(server.send(send(&hurt, "k")), server.send(send(&hurt, "l")));
        damaged.is_problem(500, "store_damaged");
        assert!(neighbour.status.is_success(), "{neighbour:?}");
        assert!(server.send(send(&sound, "k")).await.status.is_success());
        let delivery = said["deliveries"][0]["id"].as_str().unwrap();
        for path in [
            "/health/ready".to_owned(),
            messages(&sound),
            format!("/api/sessions/{hurt}"),
            format!("/api/sessions/{hurt}/events"),
            "/api/sessions".to_owned(),
            "/api/events?limit=1000".to_owned(),
            format!("/api/deliveries/{delivery}"),
        ] {
            assert_eq!(server.get(&path).await.status, 200, "{path}");
        }
        for session in [&hurt, &sound] {
            server.reply(session, "anna", "c").await;
        }
    }
    assert_eq!(server.get("/health").await.json()["status"], "healthy");
}

#[tokio::test]
async fn a_store_that_is_damaged_where_everybody_writes_is_not_ready() {
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    server.store.break_down(StoreErrorKind::Corrupt);
    server.post(&path, r#"{"text": "a"}"#).await.is_problem(503, "outcome_unknown");
    until(async || server.get("/health/ready").await.status == 503).await;
    assert_eq!(server.get("/health/ready").await.json()["checks"]["store"], "damaged");
    assert_eq!(server.get("/health").await.json()["status"], "degraded");
    server.post(&path, r#"{"text": "a"}"#).await.is_problem(500, "store_damaged");
    assert_eq!(server.get("/api/events").await.status, 200);
}

#[tokio::test]
async fn a_full_mailbox_is_429_with_its_depth_and_when_to_come_back() {
    let agent = Limits { max_pending: 2, ..Limits::AGENT };
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
