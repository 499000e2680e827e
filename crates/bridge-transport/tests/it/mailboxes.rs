//! Messages to clients and groups, and what an operator does with their mailboxes.

use std::{collections::BTreeSet, time::Duration};

use bridge_runtime::{Address, Credential, NewMessage, ReceiveRequest, Settlement};
use bridge_transport::ServeSettings;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Server, in_time, request};

async fn send(server: &Server, body: Value) -> Answer {
    server.post("/api/send", &body.to_string()).await
}

async fn receive(server: &Server, body: Value) -> Value {
    let answer = server.post("/api/receive", &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

async fn settle(server: &Server, body: Value) -> Answer {
    server.post("/api/settle", &body.to_string()).await
}

fn put(path: &str, body: &Value) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    request(Method::PUT, path, &body.to_string())
}

#[tokio::test]
async fn a_message_to_a_client_waits_in_its_mailbox_and_says_so() {
    let server = Server::start().await;
    let sent =
        send(&server, json!({"from": "anna", "to": "worker", "type": "job", "payload": {"n": 1}})).await;
    assert_eq!(sent.status, StatusCode::OK);
    let sent = sent.json();
    assert_eq!(sent["status"], "sent");
    assert!(sent["message_id"].as_str().unwrap().starts_with("msg_"));
    assert!(sent["seq"].as_u64().unwrap() > 0);
    assert_eq!(sent["deliveries"][0]["mailbox"], "worker");
    assert_eq!((&sent["delivery_count"], &sent["depth"]), (&json!(1), &json!(1)));
    assert_eq!(sent["presence"]["state"], "away");

    let received = receive(&server, json!({"mailbox": "worker", "consumer": "w1"})).await;
    let message = &received["deliveries"][0]["message"];
    assert_eq!(
        (&message["from"], &message["type"], &message["payload"]["n"]),
        (&json!("anna"), &json!("job"), &json!(1))
    );
    assert_eq!(message["to"], "worker");

    // The answer goes to the sender's own mailbox.
    let token = &received["deliveries"][0]["token"];
    let settled = settle(&server, json!({"token": token, "outcome": "answer", "reply": "two"})).await.json();
    assert_eq!(settled["reply"]["deliveries"][0]["mailbox"], "anna");
    let answer = receive(&server, json!({"mailbox": "anna"})).await;
    assert_eq!(answer["deliveries"][0]["message"]["text"], "two");
    assert_eq!(answer["deliveries"][0]["message"]["from"], "w1");
}

#[tokio::test]
async fn what_a_message_needs_is_asked_for_by_name() {
    let server = Server::start().await;
    for (body, field) in [
        (json!({"to": "worker", "payload": 1}), "/from"),
        (json!({"from": "anna", "payload": 1}), "/to"),
        (json!({"from": "anna", "to": "all", "payload": 1}), "/to"),
        (json!({"from": "anna", "to": "topic:x", "payload": 1}), "/to"),
        (json!({"from": "anna", "to": "worker"}), "/text"),
        (json!({"from": "anna", "to": "worker", "payload": 1, "priority": 0}), "/priority"),
        (json!({"from": "anna", "to": "worker", "payload": 1, "type": "bounce"}), "/type"),
    ] {
        let refused = send(&server, body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], field, "{body}: {}", refused.json());
    }
}

#[tokio::test]
async fn several_mailboxes_are_asked_at_once_and_types_chosen() {
    let server = Server::start().await;
    send(&server, json!({"from": "anna", "to": "one", "type": "log", "payload": 1})).await;
    send(&server, json!({"from": "anna", "to": "group:two", "type": "job", "payload": 2})).await;
    let jobs = json!({"mailboxes": ["one", "group:two"], "filter": {"types": ["job"]}, "max": 5});
    let received = receive(&server, jobs).await;
    assert_eq!(received["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(received["deliveries"][0]["message"]["to"], "group:two");
    let all = receive(&server, json!({"mailboxes": ["one", "group:two"], "max": 5})).await;
    assert_eq!(all["deliveries"][0]["message"]["to"], "one");

    let none = server.post("/api/receive", "{}").await;
    assert_eq!(none.json()["errors"][0]["pointer"], "/mailbox");
    let many: Vec<_> = (0..65).map(|n| format!("m{n}")).collect();
    let many = server.post("/api/receive", &json!({"mailboxes": many}).to_string()).await;
    assert_eq!(
        (many.status, &many.json()["errors"][0]["pointer"]),
        (StatusCode::BAD_REQUEST, &json!("/mailboxes"))
    );
}

#[tokio::test]
async fn a_receive_that_lingers_gathers_what_comes_meanwhile() {
    let server = Server::start().await;
    send(&server, json!({"from": "anna", "to": "worker", "payload": 1})).await;
    let wish = json!({"mailbox": "worker", "max": 9, "linger_ms": 1_000}).to_string();
    let waiting = server.post("/api/receive", &wish);
    let more = async {
        // It waits when the first is not handed out to anybody, and it is there.
        crate::support::until(async || server.get("/api/mailboxes/worker").await.json()["waiting"] == 1)
            .await;
        send(&server, json!({"from": "bob", "to": "worker", "payload": 2})).await;
    };
    let (received, ()) = tokio::join!(in_time(&server.clock, Duration::from_millis(100), waiting), more);
    assert_eq!(received.json()["deliveries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn two_who_change_a_mailbox_at_once_both_get_their_wish() {
    let server = Server::start().await;
    let made = server.send(put("/api/mailboxes/jobs", &json!({"class": "agent"}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let pending = json!({"max_pending": 7});
    let failures = json!({"max_failures": 3});
    let (one, other) = tokio::join!(
        server.send(put("/api/mailboxes/jobs", &pending)),
        server.send(put("/api/mailboxes/jobs", &failures)),
    );
    assert_eq!((one.status, other.status), (StatusCode::OK, StatusCode::OK));
    let jobs = server.get("/api/mailboxes/jobs").await.json();
    assert_eq!(
        (&jobs["class"], &jobs["max_pending"], &jobs["max_failures"]),
        (&json!("agent"), &json!(7), &json!(3))
    );
}

#[tokio::test]
async fn a_limit_that_is_null_is_that_of_the_class_again() {
    let server = Server::start().await;
    let set = async |limits| {
        let jobs = server.send(put("/api/mailboxes/jobs", &limits)).await.json();
        ["max_pending", "max_pending_bytes", "lease_ms", "max_failures"]
            .map(|limit| jobs[limit].as_u64().unwrap())
    };
    let own = json!({"max_pending": 7, "max_pending_bytes": 70, "lease_ms": 7_000, "max_failures": 7});
    assert_eq!(set(own).await, [7, 70, 7_000, 7]);
    let some = json!({"max_pending": null, "lease_ms": null, "class": null});
    assert_eq!(set(some).await, [1_000_000, 70, 30_000, 7]);
    let rest = json!({"max_pending_bytes": null, "max_failures": null});
    assert_eq!(set(rest).await, [1_000_000, 1 << 30, 30_000, 10]);
}

#[tokio::test]
async fn a_mailbox_is_made_seen_listed_and_removed() {
    let server = Server::start().await;
    let made = server.send(put("/api/mailboxes/agent-7", &json!({"class": "agent", "max_pending": 2}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let made = made.json();
    assert_eq!(
        (&made["class"], &made["max_pending"], &made["lease_ms"]),
        (&json!("agent"), &json!(2), &json!(600_000))
    );
    assert_eq!(made["made_by_use"], false);
    let changed = server.send(put("/api/mailboxes/agent-7", &json!({"on_backoff": "skip"}))).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!((&changed.json()["class"], &changed.json()["on_backoff"]), (&json!("agent"), &json!("skip")));

    for n in 0..3 {
        let sent = send(&server, json!({"from": "anna", "to": "agent-7", "payload": n})).await;
        let expected = if n < 2 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(sent.status, expected);
        if n == 2 {
            assert_eq!((&sent.json()["code"], &sent.json()["depth"]), (&json!("mailbox_full"), &json!(2)));
            assert_eq!(sent.headers["retry-after"], "10");
        }
    }
    send(&server, json!({"from": "anna", "to": "group:b", "payload": 1})).await;
    let first = server.get("/api/mailboxes?limit=1").await.json();
    assert_eq!((&first["data"][0]["name"], &first["next_cursor"]), (&json!("agent-7"), &json!("agent-7")));
    let rest = server.get("/api/mailboxes?cursor=agent-7").await.json();
    assert_eq!((&rest["data"][0]["name"], &rest["next_cursor"]), (&json!("group:b"), &Value::Null));

    let full = server.send(request(Method::DELETE, "/api/mailboxes/agent-7", "")).await;
    assert_eq!((full.status, &full.json()["code"]), (StatusCode::CONFLICT, &json!("mailbox_not_empty")));
    let purged = server.post("/api/mailboxes/agent-7/purge", r#"{"dry_run": false}"#).await.json();
    assert_eq!(purged, json!({"dry_run": false, "pending": 2, "leased": 0}));
    let gone = server.send(request(Method::DELETE, "/api/mailboxes/agent-7", "")).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let unknown = server.get("/api/mailboxes/agent-7").await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (StatusCode::NOT_FOUND, &json!("unknown_mailbox")));
}

#[tokio::test]
async fn a_mailbox_of_a_conversation_is_found_under_its_whole_name() {
    let server = Server::start().await;
    let session = server.session().await;
    let seen = server.get(&format!("/api/mailboxes/session:{session}%2Fagent")).await;
    assert_eq!((seen.status, &seen.json()["class"]), (StatusCode::OK, &json!("agent")));
    let kept =
        server.send(request(Method::DELETE, &format!("/api/mailboxes/session:{session}%2Fagent"), "")).await;
    assert_eq!(kept.json()["code"], "mailbox_of_session");
    assert_eq!(server.get("/api/mailboxes/topic:x").await.json()["code"], "unknown_mailbox");
}

#[tokio::test]
async fn a_mailbox_is_not_made_under_what_is_no_address() {
    let server = Server::start().await;
    for wrong in ["topic:x", "all", "session:7%2Fagent", "%FF", "a%0Ab"] {
        let refused = server.send(put(&format!("/api/mailboxes/{wrong}"), &json!({}))).await;
        assert_eq!(refused.is_problem(400, "invalid_field")["errors"][0]["parameter"], "name", "{wrong}");
    }
}

#[tokio::test]
async fn a_paused_mailbox_hands_out_nothing_and_why_says_so() {
    let server = Server::start().await;
    let sent = send(&server, json!({"from": "anna", "to": "worker", "payload": 1})).await.json();
    let delivery = sent["deliveries"][0]["id"].as_str().unwrap();
    let why = format!("/api/deliveries/{delivery}/why");
    assert_eq!(server.get(&why).await.json()["reason"], "no_consumer");

    let mut pause = request(Method::POST, "/api/mailboxes/worker/pause", "");
    pause.headers_mut().insert("x-bridge-client", "ops".parse().unwrap());
    assert_eq!(server.send(pause).await.json()["paused"]["by"], "ops");
    let received = receive(&server, json!({"mailbox": "worker"})).await;
    assert_eq!((&received["deliveries"], &received["directive"]["reason"]), (&json!([]), &json!("paused")));
    let told = server.get(&why).await.json();
    assert_eq!(
        (&told["reason"], &told["by"], &told["state"]),
        (&json!("paused"), &json!("ops"), &json!("pending"))
    );
    assert!(told["text"].as_str().unwrap().starts_with("its mailbox was paused by ops at 19"), "{told}");

    server.post("/api/mailboxes/worker/resume", "").await;
    let received = receive(&server, json!({"mailbox": "worker", "consumer": "w"})).await;
    let told = server.get(&why).await.json();
    assert_eq!(
        (&told["reason"], &told["consumer"], &told["attempt"]),
        (&json!("leased"), &json!("w"), &json!(1))
    );
    let token = &received["deliveries"][0]["token"];
    settle(&server, json!({"token": token, "outcome": "ack"})).await;
    assert_eq!(server.get(&why).await.json()["text"], "it is done");
    assert_eq!(
        server.get("/api/deliveries/dlv_00000000000000000000000000000001/why").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_delivery_is_found_by_its_message_too() {
    let server = Server::start().await;
    let sent = send(&server, json!({"from": "anna", "to": "worker", "payload": 1})).await.json();
    let [delivery, message] = [&sent["deliveries"][0]["id"], &sent["message_id"]]
        .map(|id| format!("/api/deliveries/{}", id.as_str().unwrap()));
    assert_ne!(delivery, message);
    for view in ["", "/why"] {
        let seen = server.get(&format!("{message}{view}")).await;
        assert_eq!(
            (seen.status, seen.json()),
            (StatusCode::OK, server.get(&format!("{delivery}{view}")).await.json())
        );
    }
    assert_eq!(server.post(&format!("{message}/cancel"), "").await.json()["state"], "cancelled");
    let successor = server.post(&format!("{message}/redrive"), "").await.json();
    assert_eq!(server.post(&format!("{delivery}/redrive"), "").await.json(), successor);
    let unknown = server.get("/api/deliveries/17").await.is_problem(404, "unknown_delivery");
    assert!(unknown["detail"].as_str().unwrap().contains("dlv_ or msg_"), "{unknown}");
}

#[tokio::test]
async fn what_was_redriven_names_its_successor() {
    let server = Server::start().await;
    let sent = send(&server, json!({"from": "anna", "to": "worker", "payload": 1})).await.json();
    let delivery = format!("/api/deliveries/{}", sent["deliveries"][0]["id"].as_str().unwrap());
    server.post(&format!("{delivery}/cancel"), "").await;
    let again = server.post(&format!("{delivery}/redrive"), "{}").await.json();
    let told = server.get(&format!("{delivery}/why")).await.json();
    assert_eq!((&told["reason"], &told["redriven_as"]), (&json!("over"), &again["delivery_id"]));
    let successor = again["delivery_id"].as_str().unwrap();
    assert_eq!(told["text"], format!("it was withdrawn; it was sent again as {successor}"));
}

#[tokio::test]
async fn a_purge_is_only_tried_unless_it_is_told_otherwise() {
    let server = Server::start().await;
    send(&server, json!({"from": "anna", "to": "worker", "payload": 1})).await;
    let tried = server.post("/api/mailboxes/worker/purge", "").await.json();
    assert_eq!(tried, json!({"dry_run": true, "pending": 1, "leased": 0}));
    assert_eq!(server.get("/api/mailboxes/worker").await.json()["pending"], 1);
    server.post("/api/mailboxes/worker/purge", r#"{"dry_run": false}"#).await;
    assert_eq!(server.get("/api/mailboxes/worker").await.json()["pending"], 0);
}

#[tokio::test]
async fn a_setting_that_cannot_be_is_refused_by_name() {
    let server = Server::start().await;
    for (body, field) in [
        (json!({"class": "robot"}), "/class"),
        (json!({"order": "sorted"}), "/order"),
        (json!({"on_backoff": "panic"}), "/on_backoff"),
        (json!({"lease_ms": 1}), "/lease_ms"),
        (json!({"max_failures": 0}), "/max_failures"),
        (json!({"max_pending": 0}), "/max_pending"),
        (json!({"max_pending_bytes": u64::MAX}), "/max_pending_bytes"),
    ] {
        let refused = server.send(put("/api/mailboxes/x", &body)).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], field, "{body}");
    }
    assert_eq!(server.get("/api/mailboxes/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_number_of_mailboxes_that_their_use_makes_is_bounded() {
    let policy = bridge_runtime::Policy { max_mailboxes: 2, ..bridge_runtime::Policy::default() };
    let server = Server::with_policy(|door| door, ServeSettings::default(), policy).await;
    for to in ["a", "b"] {
        assert_eq!(send(&server, json!({"from": "x", "to": to, "payload": 1})).await.status, StatusCode::OK);
    }
    let third = send(&server, json!({"from": "x", "to": "c", "payload": 1})).await;
    assert_eq!(
        (third.status, &third.json()["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_mailboxes"))
    );
    let third = server.post("/api/receive", r#"{"mailbox": "c"}"#).await;
    assert_eq!(third.json()["code"], "too_many_mailboxes");
}

#[tokio::test]
async fn deliveries_are_listed_by_state_and_mailbox() {
    let server = Server::start().await;
    for n in 0..5 {
        send(&server, json!({"from": format!("s{n}"), "to": "worker", "payload": n})).await;
    }
    send(&server, json!({"from": "anna", "to": "other", "payload": 9})).await;
    let received = receive(&server, json!({"mailbox": "worker", "consumer": "w", "max": 2})).await;
    let token = received["deliveries"][1]["token"].clone();
    settle(&server, json!({"token": token, "outcome": "reject", "reason": "no such job"})).await;

    let ids = |page: &Value| {
        let ids = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|delivery| delivery["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    // The lease is held in memory alone, and told all the same.
    let leased = server.get("/api/deliveries?state=leased").await.json();
    assert_eq!(ids(&leased), [received["deliveries"][0]["id"].as_str().unwrap()]);
    assert_eq!(leased["data"][0]["lease"]["consumer"], "w");
    let one = server.get(&format!("/api/deliveries/{}", ids(&leased)[0])).await.json();
    assert_eq!((&one["state"], &one["attempt"]), (&json!("leased"), &json!(1)));

    let all = server.get("/api/deliveries?state=pending").await.json();
    assert_eq!((ids(&all).len(), &all["next_cursor"]), (4, &Value::Null));
    let first = server.get("/api/deliveries?state=pending&mailbox=worker&limit=2").await.json();
    let rest = server
        .get(&format!(
            "/api/deliveries?state=pending&mailbox=worker&limit=2&cursor={}",
            first["next_cursor"].as_str().unwrap()
        ))
        .await
        .json();
    assert_eq!((ids(&first).len(), ids(&rest).len(), &rest["next_cursor"]), (2, 1, &Value::Null));
    assert_eq!(
        [ids(&first), ids(&rest)].concat(),
        ids(&server.get("/api/deliveries?state=pending&mailbox=worker").await.json())
    );

    let dead = server.get("/api/dead-letters?mailbox=worker").await.json();
    assert_eq!(
        (&dead["data"][0]["reason"], &dead["data"][0]["last_error"]),
        (&json!("rejected"), &json!("no such job"))
    );
    assert_eq!(ids(&dead), ids(&server.get("/api/deliveries?state=dead").await.json()));
    for (filter, count) in [
        ("reason=rejected&type=message", 1),
        ("reason=expired", 0),
        ("type=zzz", 0),
        ("type=message&mailbox=other", 0),
    ] {
        let some = server.get(&format!("/api/dead-letters?{filter}")).await.json();
        assert_eq!(ids(&some).len(), count, "{filter}: {some}");
    }
    for (path, parameter) in [
        ("/api/deliveries", "state"),
        ("/api/deliveries?state=lost", "state"),
        ("/api/dead-letters?reason=bored", "reason"),
        ("/api/dead-letters?type=", "type"),
    ] {
        assert_eq!(server.get(path).await.json()["errors"][0]["parameter"], parameter, "{path}");
    }
    let detail = server.get("/api/deliveries").await.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("state: it is needed"), "{detail}");
}

#[tokio::test]
async fn a_message_is_given_more_time_and_really_has_it() {
    let server = Server::start().await;
    let sent =
        send(&server, json!({"from": "anna", "to": "worker", "payload": 1, "ttl_ms": 1_000})).await.json();
    let path = format!("/api/messages/{}/ttl", sent["message_id"].as_str().unwrap());
    assert_eq!(server.post(&path, "{}").await.json()["errors"][0]["pointer"], "/ttl_ms");
    let set = server.post(&path, r#"{"ttl_ms": 60000}"#).await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    server.clock.advance(Duration::from_secs(30));
    let received = receive(&server, json!({"mailbox": "worker"})).await;
    settle(&server, json!({"token": received["deliveries"][0]["token"], "outcome": "ack"})).await;
    let late = server.post(&path, r#"{"ttl_ms": 60000}"#).await;
    assert_eq!((late.status, &late.json()["code"]), (StatusCode::CONFLICT, &json!("wrong_state")));
    let unknown =
        server.post("/api/messages/msg_00000000000000000000000000000009/ttl", r#"{"ttl_ms": 1}"#).await;
    assert_eq!(unknown.json()["code"], "unknown_message");
}

#[tokio::test]
async fn the_log_is_read_by_the_names_of_events() {
    let server = Server::start().await;
    for n in 0..3 {
        send(&server, json!({"from": format!("s{n}"), "to": "worker", "payload": n})).await;
    }
    let received = receive(&server, json!({"mailbox": "worker", "max": 3})).await;
    for delivery in received["deliveries"].as_array().unwrap() {
        settle(&server, json!({"token": delivery["token"], "outcome": "ack"})).await;
    }
    let types = |page: &Value| {
        let types =
            page["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned());
        types.collect::<Vec<_>>()
    };
    let settled = server.get("/api/log?filter=delivery.*").await.json();
    assert_eq!(types(&settled), ["delivery.settled"; 3]);
    let first = server.get("/api/log?filter=delivery.settled,message.accepted&limit=2").await.json();
    assert_eq!(types(&first), ["message.accepted"; 2]);
    let rest = server
        .get(&format!("/api/log?filter=delivery.settled&after={}", first["next"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(types(&rest).len(), 3);
    for wrong in ["nothing", "delivery.*,", "delivery.sent", "topic.*", "delivery.*.late", "*.dead"] {
        let refused = server.get(&format!("/api/log?filter={wrong}")).await;
        assert_eq!(refused.is_problem(400, "invalid_field")["errors"][0]["parameter"], "filter", "{wrong}");
    }
    assert_eq!(types(&server.get("/api/log?filter=*&limit=2").await.json()), ["message.accepted"; 2]);
}

#[tokio::test]
async fn dead_letters_are_redriven_by_what_they_are_and_once() {
    let server = Server::start().await;
    for n in 0..6 {
        let kind = if n % 2 == 0 { "job" } else { "log" };
        send(&server, json!({"from": format!("s{n}"), "to": "worker", "type": kind, "payload": n})).await;
    }
    let received = receive(&server, json!({"mailbox": "worker", "max": 9})).await;
    for delivery in received["deliveries"].as_array().unwrap() {
        settle(&server, json!({"token": delivery["token"], "outcome": "reject"})).await;
    }
    assert_eq!(server.get("/api/dead-letters").await.json()["data"].as_array().unwrap().len(), 6);

    let redrive = async |body: Value| {
        let body = body.to_string();
        let call = server.post("/api/dead-letters/redrive", &body);
        in_time(&server.clock, Duration::from_millis(100), call).await.json()
    };
    let none = redrive(json!({"reason": "expired"})).await;
    assert_eq!((&none["redriven"], &none["next_cursor"]), (&json!([]), &Value::Null));
    let would = redrive(json!({"type": "job", "limit": 2, "dry_run": true})).await;
    assert_eq!((&would["dry_run"], would["redriven"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(server.get("/api/mailboxes/worker").await.json()["pending"], 0);
    let two = redrive(json!({"mailbox": "worker", "type": "job", "limit": 2})).await;
    assert_eq!((&two["dry_run"], &two["next_cursor"]), (&json!(false), &would["next_cursor"]));
    assert_eq!(two["redriven"].as_array().unwrap().len(), 2);
    let last = redrive(json!({"type": "job", "cursor": two["next_cursor"]})).await;
    assert_eq!((last["redriven"].as_array().unwrap().len(), &last["next_cursor"]), (1, &Value::Null));
    let rest = redrive(json!({"all": true, "rate_per_s": 10})).await;
    assert_eq!(rest["redriven"].as_array().unwrap().len(), 3);
    assert_eq!(redrive(json!({"all": true})).await["redriven"], json!([]));
    assert_eq!(server.get("/api/mailboxes/worker").await.json()["pending"], 6);
    for (body, field) in [
        (json!({"reason": "bored"}), "/reason"),
        (json!({"all": true, "limit": 0}), "/limit"),
        (json!({"all": true, "rate_per_s": 1_001}), "/rate_per_s"),
    ] {
        assert_eq!(redrive(body).await["errors"][0]["pointer"], field);
    }
}

#[tokio::test]
async fn a_redrive_at_a_slow_rate_ends_after_a_minute() {
    let server = Server::start().await;
    let worker: Address = "worker".parse().unwrap();
    for n in 0..62 {
        let message = NewMessage::new(worker.clone(), n.to_string());
        server.bridge.publish(message.from(format!("s{n}").parse().unwrap())).await.unwrap();
    }
    reject_all(&server, &worker, "no").await;
    let call = server.post("/api/dead-letters/redrive", r#"{"all": true, "limit": 1000, "rate_per_s": 1}"#);
    let done = in_time(&server.clock, Duration::from_secs(1), call).await.json();
    assert_eq!(done["redriven"].as_array().unwrap().len(), 60);
    assert!(done["next_cursor"].is_string(), "{done}");
}

#[tokio::test]
async fn a_page_of_dead_letters_ends_where_much_was_said() {
    let server = Server::start().await;
    let worker: Address = "worker".parse().unwrap();
    for n in 0..200 {
        let message = NewMessage::new(worker.clone(), n.to_string());
        server.bridge.publish(message.from(format!("s{n}").parse().unwrap())).await.unwrap();
    }
    reject_all(&server, &worker, &"w".repeat(8 << 10)).await;
    for list in ["/api/dead-letters?limit=1000", "/api/deliveries?state=dead&limit=1000"] {
        let mut seen = BTreeSet::new();
        let mut path = list.to_owned();
        let mut pages = 0;
        loop {
            let page = server.get(&path).await;
            assert!(page.body.len() < 1_300_000, "{} bytes", page.body.len());
            let page = page.json();
            for dead in page["data"].as_array().unwrap() {
                assert!(seen.insert(dead["id"].to_string()), "{dead} came twice");
            }
            pages += 1;
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{list}&cursor={cursor}");
        }
        assert_eq!((seen.len(), pages > 2), (200, true));
    }
}

/// Takes and rejects whatever is in a mailbox.
async fn reject_all(server: &Server, mailbox: &Address, reason: &str) {
    loop {
        let received = server.bridge.receive(ReceiveRequest::new(mailbox.clone()).max(100)).await.unwrap();
        received.handover.complete();
        if received.deliveries.is_empty() {
            return;
        }
        for leased in received.deliveries {
            let reject = Settlement::Reject { reason: Some(reason.to_owned()) };
            server.bridge.settle(Credential::Token(leased.token), reject).await.unwrap();
        }
    }
}
