//! The native calls, one after the other.

use http::Method;
use serde_json::json;

use crate::support::{Server, request, with};

#[tokio::test]
async fn a_session_is_opened_shown_renamed_listed_and_closed() {
    let server = Server::start().await;
    let opened = server.post("/api/sessions", r#"{"title": " Logs "}"#).await;
    assert_eq!(opened.status, 201);
    let session = opened.json();
    let id = session["id"].as_str().unwrap();
    assert_eq!(opened.header("location"), format!("/api/sessions/{id}"));
    assert_eq!((&session["title"], &session["state"]), (&json!("Logs"), &json!("open")));
    assert_eq!(session["dashboard_url"], format!("/dashboard/{id}"));
    assert!(session["instructions"].as_str().unwrap().contains(id));

    let path = format!("/api/sessions/{id}");
    assert_eq!(server.get(&path).await.json()["title"], "Logs");
    let renamed = server.send(request(Method::PATCH, &path, r#"{"title": "Other"}"#)).await;
    assert_eq!(renamed.json()["title"], "Other");
    server.send(request(Method::PATCH, &path, "{}")).await.is_problem(400, "invalid_field");
    let untitled = server.send(request(Method::PATCH, &path, r#"{"title": null}"#)).await;
    assert_eq!(untitled.json()["title"], json!(null));
    let other = server.session().await;
    let page = server.get("/api/sessions?limit=1").await.json();
    assert_eq!((&page["data"][0]["id"], &page["next_cursor"]), (&json!(other), &json!(other)));
    let page = server.get(&format!("/api/sessions?limit=1&cursor={other}")).await.json();
    assert_eq!((&page["data"][0]["id"], &page["next_cursor"]), (&json!(id), &json!(null)));

    for _ in 0..2 {
        assert_eq!(server.send(request(Method::DELETE, &path, "")).await.status, 204);
    }
    assert_eq!(server.get(&path).await.json()["state"], "closed");
    server.post(&format!("{path}/messages"), r#"{"text": "x"}"#).await.is_problem(409, "session_closed");
}

#[tokio::test]
async fn a_question_is_received_answered_and_seen_by_both_sides() {
    let server = Server::start().await;
    let session = server.session().await;
    let messages = format!("/api/sessions/{session}/messages");
    let sent = server.post(&messages, r#"{"text": "What?"}"#).await;
    assert_eq!(sent.status, 201);
    let sent = sent.json();
    assert_eq!((&sent["depth"], &sent["duplicate"]), (&json!(1), &json!(false)));

    let wish = json!({"mailbox": format!("session:{session}/agent"), "consumer": "claude"}).to_string();
    let received = server.post("/api/receive", &wish).await.json();
    let granted = &received["deliveries"][0];
    assert_eq!((&granted["message"]["text"], &granted["message"]["from"]), (&json!("What?"), &json!("user")));
    assert_eq!(received["directive"]["action"], "process");

    let settle = json!({"token": granted["token"], "outcome": "answer", "reply": "That."}).to_string();
    let settled = server.post("/api/settle", &settle).await;
    assert_eq!((settled.status.as_u16(), &settled.json()["state"]), (200, &json!("done")));
    assert_eq!(server.post("/api/settle", &settle).await.json()["already_done"], true);
    let other = json!({"token": granted["token"], "outcome": "nack"}).to_string();
    let refused = server.post("/api/settle", &other).await.is_problem(409, "already_settled");
    assert_eq!(
        (&refused["outcome"], &refused["reply_id"]),
        (&json!("answer"), &settled.json()["reply"]["message_id"])
    );

    let snapshot = server.get(&messages).await.json();
    let texts: Vec<_> = snapshot["data"].as_array().unwrap().iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["What?", "That."]);
    assert!(snapshot["data"][0]["deliveries"][0]["receipts"]["answered"].is_string());
    assert_eq!(snapshot["session"]["unread"], 1);
    let read = json!({"cursor": snapshot["cursor"]}).to_string();
    let read = server.post(&format!("/api/sessions/{session}/read"), &read).await.json();
    assert_eq!(read["read_to"], snapshot["cursor"]);
    assert_eq!(server.get(&format!("/api/sessions/{session}")).await.json()["unread"], 0);
}

#[tokio::test]
async fn the_log_is_read_by_pages_that_add_up() {
    let server = Server::start().await;
    let session = server.session().await;
    for n in 0..5 {
        let body = json!({"text": n.to_string()}).to_string();
        server.post(&format!("/api/sessions/{session}/messages"), &body).await;
    }
    let whole = server.get("/api/events?limit=1000").await.json();
    let mut after = String::new();
    let mut parts = Vec::new();
    loop {
        let page =
            server.get(&format!("/api/v1/sessions/{session}/events?limit=2&after={after}")).await.json();
        assert_eq!(page["recovered"], true);
        let data = page["data"].as_array().unwrap();
        if data.is_empty() {
            break;
        }
        parts.extend(data.iter().cloned());
        after = page["next"].as_str().unwrap().to_owned();
    }
    assert_eq!(whole["data"], json!(parts));
    assert_eq!(parts.len(), 6);
    assert_eq!(server.get("/api/events?after=head").await.json()["data"], json!([]));
}

#[tokio::test]
async fn the_same_key_gives_the_first_result() {
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let send = |body: &str, key: &str| with(request(Method::POST, &path, body), "idempotency-key", key);
    let first = server.send(send(r#"{"text": "a"}"#, "k")).await;
    let again = server.send(send(r#"{ "text":"a" }"#, "\"k\"")).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(
        (&again.json()["duplicate"], &again.json()["message_id"]),
        (&json!(true), &first.json()["message_id"])
    );
    let conflict = server.send(send(r#"{"text": "b"}"#, "k")).await.is_problem(409, "idempotency_conflict");
    assert_eq!(conflict["message_id"], first.json()["message_id"]);
    server.send(send(r#"{"text": "a"}"#, &"k".repeat(256))).await.is_problem(400, "invalid_field");

    // It is the same at the other door, and a key is its sender's own.
    let send = |from: &str| {
        let body = json!({"from": from, "to": "worker", "text": "a"}).to_string();
        with(request(Method::POST, "/api/send", &body), "idempotency-key", "k")
    };
    let [first, again, other] = [send("a"), send("a"), send("b")].map(|send| server.send(send));
    let (first, again, other) = (first.await.json(), again.await.json(), other.await.json());
    assert_eq!((&again["duplicate"], &again["message_id"]), (&json!(true), &first["message_id"]));
    assert_eq!((&other["duplicate"], other["message_id"] == first["message_id"]), (&json!(false), false));
}

#[tokio::test]
async fn health_is_told_in_three_ways() {
    let server = Server::start().await;
    let health = server.get("/health").await.json();
    assert_eq!(
        (&health["status"], &health["version"]),
        (&json!("healthy"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(server.get("/health/live").await.status, 200);
    let ready = server.get("/health/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["checks"]["store"]), (200, &json!("ok")));
    server.bridge.shutdown().await;
    let ready = server.get("/health/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (503, &json!("not_ready")));
    assert_eq!(server.get("/health").await.json()["status"], "degraded");
    assert_eq!(server.get("/health/live").await.status, 200);
}
