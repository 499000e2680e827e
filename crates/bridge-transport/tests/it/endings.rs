//! The other ends of a delivery than its answer: refused by its holder, called back by its sender.

use serde_json::{Value, json};

use crate::support::{Answer, Server};

/// Hands the next message of a session to an agent, under an attempt that can be repeated.
async fn handed(server: &Server, session: &str, attempt: &str) -> Value {
    let wish =
        json!({"mailbox": format!("session:{session}/agent"), "consumer": "claude", "attempt_id": attempt});
    let received = server.post("/api/receive", &wish.to_string()).await.json();
    received["deliveries"][0].clone()
}

async fn settle(server: &Server, granted: &Value, outcome: &str) -> Answer {
    let mut settle = json!({"token": granted["token"], "outcome": outcome});
    if matches!(outcome, "nack" | "reject") {
        settle["reason"] = json!("no such file");
    }
    server.post("/api/settle", &settle.to_string()).await
}

async fn shown(server: &Server, granted: &Value) -> Value {
    server.get(&format!("/api/deliveries/{}", granted["id"].as_str().unwrap())).await.json()
}

#[tokio::test]
async fn a_rejected_message_is_dead_and_its_sender_is_told_why() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "read a.txt").await;
    let granted = handed(&server, &session, "a").await;
    let rejected = settle(&server, &granted, "reject").await.json();
    assert_eq!((&rejected["state"], &rejected["already_done"]), (&json!("dead"), &json!(false)));

    let dead = shown(&server, &granted).await;
    assert_eq!(
        (&dead["state"], &dead["reason"], &dead["last_error"], &dead["failures"]),
        (&json!("dead"), &json!("rejected"), &json!("no such file"), &json!(0))
    );
    let messages = server.get(&format!("/api/sessions/{session}/messages")).await.json();
    let bounces: Vec<_> =
        messages["data"].as_array().unwrap().iter().filter(|message| message["type"] == "bounce").collect();
    assert_eq!(bounces.len(), 1, "{messages}");
    assert_eq!(bounces[0]["to"], format!("session:{session}/user"));
    assert_eq!(bounces[0]["reply_to"], granted["message"]["id"]);
    assert_eq!(
        bounces[0]["payload"],
        json!({"message_id": granted["message"]["id"], "delivery_id": granted["id"], "reason": "rejected"})
    );
    assert_eq!(handed(&server, &session, "b").await, Value::Null, "it is not handed out again");
    assert_eq!(settle(&server, &granted, "reject").await.json()["already_done"], true);
    settle(&server, &granted, "ack").await.is_problem(409, "already_settled");
}

#[tokio::test]
async fn the_holder_of_a_message_called_back_is_asked_and_may_still_finish() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "1").await;
    let granted = handed(&server, &session, "a").await;
    assert_eq!(granted["cancel_requested"], false);
    call_back(&server, &granted).await;

    let extended = settle(&server, &granted, "extend").await.json();
    assert_eq!((&extended["state"], &extended["cancel_requested"]), (&json!("leased"), &json!(true)));
    let repeated = handed(&server, &session, "a").await;
    assert_eq!((&repeated["id"], &repeated["cancel_requested"]), (&granted["id"], &json!(true)));
    assert_eq!(settle(&server, &granted, "ack").await.json()["state"], "done");
    assert_eq!(shown(&server, &granted).await["state"], "done");
}

#[tokio::test]
async fn a_message_called_back_is_cancelled_when_its_holder_lets_go() {
    let server = Server::start().await;
    let session = server.session().await;
    for outcome in ["release", "nack", "reject"] {
        server.say(&session, outcome).await;
        let granted = handed(&server, &session, outcome).await;
        call_back(&server, &granted).await;
        assert_eq!(settle(&server, &granted, outcome).await.json()["state"], "cancelled", "{outcome}");
        let cancelled = shown(&server, &granted).await;
        assert_eq!(
            (&cancelled["state"], &cancelled["failures"]),
            (&json!("cancelled"), &json!(0)),
            "{outcome}"
        );
        assert_eq!(handed(&server, &session, "again").await, Value::Null, "{outcome}");
    }
}

/// Cancels what is leased: its holder is only asked.
async fn call_back(server: &Server, granted: &Value) {
    let path = format!("/api/deliveries/{}/cancel", granted["id"].as_str().unwrap());
    assert_eq!(server.post(&path, "").await.json(), json!({"state": "leased", "requested": true}));
}

#[tokio::test]
async fn what_is_too_long_to_be_said_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "1").await;
    let granted = handed(&server, &session, "a").await;
    let long = "x".repeat((8 << 10) + 1);
    for (outcome, field) in [("extend", "progress"), ("nack", "reason"), ("reject", "reason")] {
        let settle = json!({"token": granted["token"], "outcome": outcome, field: long});
        let answer = server.post("/api/settle", &settle.to_string()).await;
        answer.is_problem(400, "invalid_field");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"), "{answer:?}");
    }
    assert_eq!(settle(&server, &granted, "ack").await.json()["already_done"], false);
    for title in ["x".repeat(201), "two\nlines".to_owned()] {
        let answer = server.post("/api/sessions", &json!({ "title": title }).to_string()).await;
        answer.is_problem(400, "invalid_field");
    }
}
