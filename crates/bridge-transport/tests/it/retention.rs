//! What is told of what was removed.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, request, until};

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Sends a message of this type; the id of its delivery.
async fn send(server: &Server, kind: &str) -> String {
    let body = format!(r#"{{"from": "anna", "to": "worker", "type": "{kind}", "payload": 1}}"#);
    let sent = server.post("/api/send", &body).await.json();
    sent["deliveries"][0]["id"].as_str().unwrap().to_owned()
}

/// Lets minutes pass until a path shows something.
async fn pass(server: &Server, path: &str, shown: impl Fn(&Value) -> bool) -> Value {
    until(async || {
        server.clock.advance(MINUTE);
        shown(&server.get(path).await.json())
    })
    .await;
    server.get(path).await.json()
}

#[tokio::test]
async fn a_delivery_whose_message_is_gone_says_so_and_is_not_redriven() {
    let server = Server::start().await;
    let agent = request(Method::PUT, "/api/mailboxes/worker", r#"{"class": "agent"}"#);
    assert!(server.send(agent).await.status.is_success());
    let (gone, kept) = (send(&server, "notification").await, send(&server, "order").await);
    for delivery in [&gone, &kept] {
        assert_eq!(server.post(&format!("/api/deliveries/{delivery}/cancel"), "{}").await.status, 200);
    }
    let path = format!("/api/deliveries/{gone}");
    let shown = pass(&server, &path, |shown| shown["message_gone"] == true).await;
    assert_eq!((&shown["state"], &shown["receipts"]["accepted"].is_string()), (&"cancelled".into(), &true));
    server.post(&format!("{path}/redrive"), "{}").await.is_problem(410, "gone");
    assert_eq!(server.post(&format!("/api/deliveries/{kept}/redrive"), "{}").await.status, 200);

    let list = server.get("/api/deliveries?state=cancelled").await.json();
    let listed: Vec<_> = list["data"].as_array().unwrap().iter().map(|it| &it["message_gone"]).collect();
    assert_eq!(listed, [false, true]);
    let log = server.get("/api/log?filter=message.*").await.json();
    let told: Vec<_> = log["data"].as_array().unwrap().iter().collect();
    assert_eq!((&told[0]["type"], &told[0]["message"]), (&"message.accepted".into(), &Value::Null));
    assert_eq!(told[1]["message"]["type"], "order");
    assert_eq!((&told[2]["type"], &told[2]["message"]), (&"message.deleted".into(), &Value::Null));
    // After a day nothing is left to be shown.
    server.clock.advance(WEEK);
    until(async || {
        server.clock.advance(MINUTE);
        server.get(&path).await.status == 404
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_removed_is_told_again_by_its_id_alone() {
    let server = Server::start().await;
    let body = r#"{"from": "anonymous", "to": "worker", "type": "notification", "payload": 1}"#;
    let sent = server.post("/api/send", body).await.json();
    let taken = server.post("/api/receive", r#"{"mailbox": "worker"}"#).await.json();
    let answer = json!({"token": taken["deliveries"][0]["token"], "outcome": "answer", "reply": "yes"});
    let first = server.post("/api/settle", &answer.to_string()).await.json();
    assert!(first["reply"]["seq"].is_u64() && first["reply"]["delivery_count"] == 0, "{first}");
    let again = server.post("/api/settle", &answer.to_string()).await.json();
    assert_eq!(again["reply"]["seq"], first["reply"]["seq"]);

    let path = format!("/api/deliveries/{}", sent["deliveries"][0]["id"].as_str().unwrap());
    pass(&server, &path, |shown| shown["message_gone"] == true).await;
    let again = server.post("/api/settle", &answer.to_string()).await.json();
    assert_eq!((&again["already_done"], &again["state"]), (&json!(true), &json!("done")));
    let known =
        json!({"message_id": first["reply"]["message_id"], "duplicate": true, "deliveries": [], "depth": 0});
    assert_eq!(again["reply"], known);
}

#[tokio::test]
async fn a_reader_behind_the_floor_of_the_log_is_told_to_begin_anew() {
    let server = Server::start().await;
    for _ in 0..3 {
        send(&server, "order").await;
    }
    let old = server.get("/api/log?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    let session = server.session().await;
    server.say(&session, "kept").await;
    server.clock.advance(WEEK - MINUTE);
    server.say(&session, "new").await;
    let whole = server.get("/api/log").await.json();
    let page = pass(&server, "/api/log", |page| page["floor"] != whole["floor"]).await;
    assert!(page["data"].as_array().unwrap().iter().all(|event| event["session"] == session));

    let page = server.get(&format!("/api/log?after={old}")).await.json();
    assert_eq!((&page["recovered"], &page["reason"]), (&false.into(), &"trimmed".into()));
    assert_eq!((&page["data"], &page["next"]), (&Value::Array(Vec::new()), &page["head"]));
    // A conversation is read without a gap, from its beginning on.
    let events = format!("/api/sessions/{session}/events");
    let begin = server.get(&format!("{events}?limit=1")).await.json()["next"].as_str().unwrap().to_owned();
    let page = server.get(&format!("{events}?after={begin}")).await.json();
    assert_eq!(page["recovered"], true);
    assert_eq!(page["data"][0]["message"]["text"], "kept");
    // Whether there was another one before it is not known.
    let page = server.get(&format!("{events}?after={old}")).await.json();
    assert_eq!((&page["recovered"], &page["reason"]), (&false.into(), &"trimmed".into()));
}
