//! Members of requests: those that nobody knows, that contradict each other, that are missing, and numbers that are none.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server, in_time, request, with};

/// Checks that a call is refused for this member.
#[track_caller]
fn is_refused_for(answer: &Answer, pointer: &str) -> String {
    let problem = answer.is_problem(400, "invalid_field");
    assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn dead_letters_are_redriven_only_as_they_are_named() {
    let server = Server::start().await;
    server.post("/api/send", r#"{"from": "anna", "to": "worker", "payload": 1}"#).await;
    let taken = server.post("/api/receive", r#"{"mailbox": "worker"}"#).await.json();
    let reject = json!({"token": taken["deliveries"][0]["token"], "outcome": "reject"});
    assert_eq!(server.post("/api/settle", &reject.to_string()).await.status, 200);

    let path = "/api/dead-letters/redrive";
    for (body, pointer) in [
        ("", "/all"),
        ("{}", "/all"),
        (r#"{"dry_run": true}"#, "/all"),
        (r#"{"all": false}"#, "/all"),
        (r#"{"mailbox": null}"#, "/all"),
        (r#"{"all": true, "mailbox": "worker"}"#, "/all"),
        (r#"{"all": true, "reason": "rejected"}"#, "/all"),
        (r#"{"all": true, "type": "message"}"#, "/all"),
        (r#"{"all": true, "dryRun": true}"#, "/dryRun"),
        (r#"{"mailbx": "worker"}"#, "/mailbx"),
        (r#"{"mailbox": "worker", "kind": "job"}"#, "/kind"),
    ] {
        is_refused_for(&server.post(path, body).await, pointer);
    }
    let pending = async || server.get("/api/mailboxes/worker").await.json()["pending"].clone();
    assert_eq!(pending().await, 0, "nothing was redriven");
    let would = server.post(path, r#"{"all": true, "dry_run": true}"#).await.json();
    assert_eq!((would["redriven"].as_array().unwrap().len(), pending().await), (1, json!(0)));
    let call = server.post(path, r#"{"all": true}"#);
    let done = in_time(&server.clock, std::time::Duration::from_millis(100), call).await.json();
    assert_eq!((done["redriven"].as_array().unwrap().len(), pending().await), (1, json!(1)));
}

#[tokio::test]
async fn what_would_change_the_meaning_is_not_ignored() {
    let server = Server::start().await;
    let delivery = "dlv_00000000000000000000000000000007";
    for (path, body, pointer) in [
        ("/api/receive", json!({"mailbox": "w", "filter": {"type": ["a"]}}), "/filter/type"),
        ("/api/receive", json!({"mailbox": "w", "filter": {"types": [], "key": "a"}}), "/filter/key"),
        ("/api/receive", json!({"mailbox": "w", "filter": [["a"]]}), "/filter"),
        ("/api/receive", json!({"mailbox": "w", "mailboxes": ["v"]}), "/mailboxes"),
        ("/api/settle", json!({"token": "t", "message_id": "m", "outcome": "ack"}), "/message_id"),
        (
            "/api/settle",
            json!({"token": "t", "message_id": delivery.replace("dlv", "msg"), "outcome": "ack"}),
            "/message_id",
        ),
        ("/api/settle", json!({"token": "t", "handle": "h", "outcome": "ack"}), "/handle"),
        ("/api/settle", json!({"items": [], "token": "t"}), "/token"),
        ("/api/settle", json!({"items": [], "outcome": null}), "/outcome"),
        ("/api/settle", json!({"items": [], "x": 1}), "/x"),
        ("/api/settle", json!({"items": [], "consumer": "w"}), "/consumer"),
        ("/api/settle", json!({"items": [], "delay_ms": "x"}), "/delay_ms"),
        ("/api/settle", json!({"items": [["t", null, null, null, "ack"]]}), "/items/0"),
        ("/api/mailboxes/w/purge", json!({"dryrun": true}), "/dryrun"),
        ("/api/deliveries/dlv_00000000000000000000000000000007/redrive", json!({"ttl": 5}), "/ttl"),
        ("/api/mailboxes/w/pause", json!([]), ""),
        ("/api/mailboxes/w/pause", json!({"by": "a"}), "/by"),
        ("/api/mailboxes/w/resume", json!("w"), ""),
    ] {
        is_refused_for(&server.post(path, &body.to_string()).await, pointer);
    }
    for (body, pointer) in [
        (json!({"paused": true}), "/paused"),
        (json!({"credit": 5}), "/credit"),
        (json!({"max_pending": 5, "maxFailures": 3}), "/maxFailures"),
    ] {
        let set = request(Method::PUT, "/api/mailboxes/w", &body.to_string());
        is_refused_for(&server.send(set).await, pointer);
    }
    server.get("/api/mailboxes/w").await.is_problem(404, "unknown_mailbox");
    server.post("/api/mailboxes/w/pause", "{").await.is_problem(400, "invalid_json");
    // What clients send beside that, and always could, is let pass.
    let sent = server.post("/api/send", r#"{"from": "a", "to": "w", "text": "x", "ttl": 5}"#).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let taken = server.post("/api/receive", r#"{"mailbox": "w", "mailboxes": [], "client": "x"}"#).await;
    assert_eq!(taken.json()["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(server.post("/api/mailboxes/w/pause", "{}").await.status, 200);
    let settled = server.post("/api/settle", r#"{"items": []}"#).await;
    assert_eq!(settled.json(), json!({"results": []}));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let server = Server::start().await;
    for (path, body, pointer) in [
        ("/api/settle", "{}", "/outcome"),
        (
            "/api/settle",
            r#"{"items": [{"token": "t", "outcome": "ack"}, {"token": "t"}]}"#,
            "/items/1/outcome",
        ),
        ("/api/sessions/default/read", "{}", "/cursor"),
    ] {
        is_refused_for(&server.post(path, body).await, pointer);
    }
    let untitled = request(Method::PATCH, "/api/sessions/default", "{}");
    is_refused_for(&server.send(untitled).await, "/title");
}

#[tokio::test]
async fn a_number_that_is_none_is_told_the_bounds_it_has() {
    let server = Server::start().await;
    for (path, body, detail) in [
        (
            "/api/send",
            r#"{"priority": -1}"#,
            "/priority: invalid value: integer `-1`, expected a whole number from 1 to 9",
        ),
        (
            "/api/send",
            r#"{"ttl_ms": -1}"#,
            "/ttl_ms: invalid value: integer `-1`, expected a whole number from 1 to 315360000000",
        ),
        (
            "/api/receive",
            r#"{"wait_ms": -1}"#,
            "/wait_ms: invalid value: integer `-1`, expected a whole number from 0 to 60000",
        ),
        (
            "/api/receive",
            r#"{"max": -1}"#,
            "/max: invalid value: integer `-1`, expected a whole number from 1 to 100",
        ),
        ("/api/receive", r#"{"mailbox": "w", "max": 0}"#, "/max: a whole number from 1 to 100"),
    ] {
        let problem = server.post(path, body).await.is_problem(400, "invalid_field");
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
}

#[tokio::test]
async fn a_sender_is_somebody_who_can_be_answered() {
    let server = Server::start().await;
    for from in ["group:x5", "session:default/agent", "all", "a:b", ":"] {
        let body = json!({"from": from, "to": "worker", "payload": 1}).to_string();
        let detail = is_refused_for(&server.post("/api/send", &body).await, "/from");
        assert_eq!(detail, "/from: the name of a client: without a colon, and not all");
    }
    let named = |name| {
        with(request(Method::POST, "/api/send", r#"{"to": "w", "text": "x"}"#), "x-bridge-client", name)
    };
    let refused = server.send(named("group:x5")).await.is_problem(400, "invalid_field");
    assert_eq!(refused["errors"][0]["header"], "x-bridge-client");
    assert_eq!(server.send(named("anna")).await.status, 200);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_judged_alike_everywhere() {
    let server = Server::start().await;
    let session = server.session().await;
    let of = |path: &str| path.replace("{s}", &session);
    for (path, parameter) in [
        ("/api/sessions?cursor=x", "cursor"),
        ("/api/sessions/{s}/messages?cursor=x", "cursor"),
        ("/api/sessions/{s}/messages?cursor=0", "cursor"),
        ("/api/mailboxes?cursor=all", "cursor"),
        ("/api/mailboxes?cursor=", "cursor"),
        ("/api/deliveries?state=dead&cursor=x", "cursor"),
        ("/api/deliveries?state=dead&cursor=18446744073709551615", "cursor"),
        ("/api/dead-letters?cursor=-1", "cursor"),
        ("/api/log?after=x", "after"),
        ("/api/sessions/{s}/events?after=1", "after"),
    ] {
        let problem = server.get(&of(path)).await.is_problem(400, "invalid_cursor");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{path}");
        assert!(problem["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{problem}");
    }
    for (path, body) in [
        ("/api/dead-letters/redrive", json!({"all": true, "cursor": "x"})),
        ("/api/sessions/{s}/read", json!({"cursor": "x"})),
        ("/api/sessions/{s}/read", json!({"cursor": "0000000000000001.1"})),
    ] {
        let problem = server.post(&of(path), &body.to_string()).await.is_problem(400, "invalid_cursor");
        assert_eq!(problem["errors"][0]["pointer"], "/cursor", "{path}");
    }
    let events = with(request(Method::GET, "/api/events", ""), "accept", "text/event-stream");
    let problem = server.send(with(events, "last-event-id", "x")).await.is_problem(400, "invalid_cursor");
    assert_eq!(problem["errors"][0]["header"], "last-event-id");
}

#[tokio::test]
async fn what_is_not_there_is_called_as_it_was_named() {
    let server = Server::start().await;
    let digits = "00000000000000000000000000000009";
    let detail = |answer: &Answer, code| answer.is_problem(404, code)["detail"].as_str().unwrap().to_owned();
    for (id, said) in [
        (format!("dlv_{digits}"), format!("there is no delivery dlv_{digits}")),
        (format!("msg_{digits}"), format!("there is no delivery of a message msg_{digits}")),
        ("dlv_xx".to_owned(), "dlv_xx: an id is its prefix and 32 hexadecimal digits".to_owned()),
        ("msg_UNKNOWN".to_owned(), "msg_UNKNOWN: an id is its prefix and 32 hexadecimal digits".to_owned()),
    ] {
        for path in [format!("/api/deliveries/{id}"), format!("/api/deliveries/{id}/why")] {
            assert_eq!(detail(&server.get(&path).await, "unknown_delivery"), said);
        }
        for path in [format!("/api/deliveries/{id}/cancel"), format!("/api/deliveries/{id}/redrive")] {
            assert_eq!(detail(&server.post(&path, "").await, "unknown_delivery"), said);
        }
    }
    for (id, said) in [
        (format!("msg_{digits}"), format!("there is no message msg_{digits}")),
        (format!("dlv_{digits}"), format!("dlv_{digits}: an id is its prefix and 32 hexadecimal digits")),
        ("xx".to_owned(), "xx: an id is its prefix and 32 hexadecimal digits".to_owned()),
    ] {
        assert_eq!(detail(&server.get(&format!("/api/messages/{id}")).await, "unknown_message"), said);
        let ttl = server.post(&format!("/api/messages/{id}/ttl"), r#"{"ttl_ms": 1}"#).await;
        assert_eq!(detail(&ttl, "unknown_message"), said);
    }
    for path in ["/api/nothing", "/assets/nothing.js"] {
        assert_eq!(detail(&server.get(path).await, "not_found"), format!("no call and no file is at {path}"));
    }
}

#[tokio::test]
async fn null_is_content_unless_there_is_text() {
    let server = Server::start().await;
    let sent = server.post("/api/send", r#"{"from": "anna", "to": "worker", "payload": null}"#).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let taken = server.post("/api/receive", r#"{"mailbox": "worker"}"#).await.json();
    let granted = &taken["deliveries"][0];
    assert_eq!(granted["message"].get("payload"), Some(&Value::Null));
    let answer = json!({"token": granted["token"], "outcome": "answer", "reply": {"payload": null}});
    assert_eq!(server.post("/api/settle", &answer.to_string()).await.status, 200);
    let taken = server.post("/api/receive", r#"{"mailbox": "anna"}"#).await.json();
    assert_eq!(taken["deliveries"][0]["message"].get("payload"), Some(&Value::Null));

    let both = r#"{"from": "anna", "to": "other", "text": "x", "payload": null}"#;
    assert_eq!(server.post("/api/send", both).await.status, 200);
    let taken = server.post("/api/receive", r#"{"mailbox": "other"}"#).await.json();
    assert_eq!(taken["deliveries"][0]["message"]["text"], "x");
    is_refused_for(&server.post("/api/send", r#"{"from": "a", "to": "b", "text": null}"#).await, "/text");
}
