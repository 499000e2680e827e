//! One message by its id: what it says, and how it fares.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, until};

const MINUTE: Duration = Duration::from_secs(60);

/// Sends a message to `worker`; what came of it.
async fn send(server: &Server, more: &Value) -> Value {
    let mut body = json!({"from": "anna", "to": "worker", "payload": {"n": 1}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post("/api/send", &body.to_string()).await.json()
}

/// Takes what waits for `worker`, and says this about it.
async fn settle(server: &Server, outcome: &Value) -> Value {
    let taken = server.post("/api/receive", r#"{"mailbox": "worker", "consumer": "w"}"#).await.json();
    let mut settle = json!({"token": taken["deliveries"][0]["token"]});
    settle.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
    let settled = server.post("/api/settle", &settle.to_string()).await;
    assert_eq!(settled.status, 200, "{settled:?}");
    settled.json()
}

#[tokio::test]
async fn a_message_is_shown_with_its_deliveries_as_they_stand() {
    let server = Server::start().await;
    let more = json!({"type": "job", "priority": 3, "key": "order-17", "headers": {"trace": "1"}, "ttl_ms": 60_000,
        "correlation_id": "c1"});
    let sent = send(&server, &more).await;
    let path = format!("/api/messages/{}", sent["message_id"].as_str().unwrap());
    let shown = server.get(&path).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let shown = shown.json();
    for (member, value) in [
        ("id", sent["message_id"].clone()),
        ("from", json!("anna")),
        ("to", json!("worker")),
        ("type", json!("job")),
        ("priority", json!(3)),
        ("payload", json!({"n": 1})),
        ("headers", json!({"trace": "1"})),
        ("correlation_id", json!("c1")),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    assert!(shown["created_at"].is_string() && shown["expires_at"].is_string(), "{shown}");
    let delivery = &shown["deliveries"][0];
    assert_eq!((&delivery["id"], &delivery["state"]), (&sent["deliveries"][0]["id"], &json!("pending")));
    assert_eq!(server.get(&format!("/api/v1{}", &path[4..])).await.json(), shown);

    // A lease is told that is held in memory alone, and what a redrive made is told too.
    let taken = server.post("/api/receive", r#"{"mailbox": "worker", "consumer": "w"}"#).await.json();
    assert_eq!(server.get(&path).await.json()["deliveries"][0]["lease"]["consumer"], "w");
    let reject = json!({"token": taken["deliveries"][0]["token"], "outcome": "reject"}).to_string();
    server.post("/api/settle", &reject).await;
    let redrive = format!("/api/deliveries/{}/redrive", sent["deliveries"][0]["id"].as_str().unwrap());
    let made = server.post(&redrive, "").await.json()["delivery_id"].clone();
    let shown = server.get(&path).await.json();
    let states: Vec<_> = shown["deliveries"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!((states, &shown["deliveries"][1]["id"]), (vec![&json!("dead"), &json!("pending")], &made));
}

#[tokio::test]
async fn a_list_of_deliveries_tells_what_they_are_about() {
    let server = Server::start().await;
    send(&server, &json!({"type": "job", "priority": 3, "key": "order-17"})).await;
    settle(&server, &json!({"outcome": "reject", "reason": "no"})).await;
    for path in ["/api/dead-letters", "/api/deliveries?state=dead"] {
        let dead = server.get(path).await.json()["data"][0].clone();
        let told = json!([dead["type"], dead["from"], dead["key"], dead["priority"]]);
        assert_eq!(told, json!(["job", "anna", "order-17", 3]), "{path}");
    }
}

#[tokio::test]
async fn an_answer_to_nobody_is_read_by_its_id() {
    let server = Server::start().await;
    send(&server, &json!({"from": "anonymous"})).await;
    let settled = settle(&server, &json!({"outcome": "answer", "reply": "yes"})).await;
    assert_eq!(settled["reply"]["delivery_count"], 0, "{settled}");
    let path = format!("/api/messages/{}", settled["reply"]["message_id"].as_str().unwrap());
    let shown = server.get(&path).await.json();
    assert_eq!(
        (&shown["text"], &shown["type"], &shown["deliveries"]),
        (&json!("yes"), &json!("answer"), &json!([]))
    );
    assert_eq!(shown["reply_to"], settled["message_id"]);
}

#[tokio::test]
async fn a_message_that_was_removed_is_told_as_such() {
    let server = Server::start().await;
    let sent = send(&server, &json!({"type": "notification"})).await;
    let id = sent["message_id"].as_str().unwrap();
    settle(&server, &json!({"outcome": "ack"})).await;
    let path = format!("/api/messages/{id}");
    assert_eq!(server.get(&path).await.status, 200);
    until(async || {
        server.clock.advance(MINUTE);
        server.get(&path).await.status != 200
    })
    .await;
    let gone = server.get(&path).await.is_problem(404, "unknown_message");
    let detail = format!("message {id} was removed; how it fared is told of its delivery");
    assert_eq!(gone["detail"], detail);
    let delivery = server.get(&format!("/api/deliveries/{id}")).await.json();
    assert_eq!(delivery["message_gone"], true);
}
