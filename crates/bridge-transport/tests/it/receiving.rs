//! Taking, holding and settling deliveries.

use std::time::Duration;

use bridge_runtime::Bridge;
use bridge_store::MemoryStore;
use bridge_testkit::clock::ManualClock;
use bridge_transport::HttpDoor;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Server, in_time, request, soon, until, with};

fn wish(session: &str, more: &Value) -> String {
    let mut wish = json!({"mailbox": format!("session:{session}/agent")});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    wish.to_string()
}

#[tokio::test]
async fn a_receive_that_waits_gets_what_comes() {
    let server = Server::start().await;
    let session = server.session().await;
    let wish = wish(&session, &json!({"consumer": "a", "wait_ms": 60_000}));
    let waiting = server.post("/api/receive", &wish);
    let publish = async {
        until(async || {
            server.get(&format!("/api/sessions/{session}")).await.json()["presence"]["state"] == "online"
        })
        .await;
        server.say(&session, "now").await;
    };
    let (received, ()) = tokio::join!(waiting, publish);
    assert_eq!(received.json()["deliveries"][0]["message"]["text"], "now");
}

#[tokio::test]
async fn a_receive_that_waits_in_vain_is_told_what_to_do() {
    let server = Server::start().await;
    let session = server.session().await;
    let wish = wish(&session, &json!({"wait_ms": 1_000}));
    let waiting = server.post("/api/receive", &wish);
    let received = in_time(&server.clock, Duration::from_millis(100), waiting).await.json();
    assert_eq!(received["deliveries"], json!([]));
    assert_eq!(received["directive"]["action"], "wait_again");
    assert_eq!(received["directive"]["reason"], "quiet");
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_takes_nothing_with_it() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut raw = server.connect().await;
    let body = wish(&session, &json!({"consumer": "gone", "wait_ms": 60_000}));
    let head = "POST /api/receive HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    raw.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    until(async || {
        server.get(&format!("/api/sessions/{session}")).await.json()["presence"]["state"] == "online"
    })
    .await;
    drop(raw);
    // Whether the server has noticed or not: nobody waits longer than a lost answer takes.
    server.say(&session, "for whoever is there").await;
    let there = wish(&session, &json!({"consumer": "there"}));
    let mut received = Value::Null;
    in_time(&server.clock, Duration::from_millis(10), async {
        while received["deliveries"][0].is_null() {
            received = server.post("/api/receive", &there).await.json();
        }
    })
    .await;
    assert_eq!(received["deliveries"][0]["message"]["text"], "for whoever is there");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_its_leases() {
    let clock = ManualClock::new();
    let bridge = Bridge::builder(MemoryStore::new()).clock(clock).start().await.unwrap();
    let door = HttpDoor::builder(bridge).build().unwrap();
    let ask = async |path: &str, body: String| {
        let request =
            Request::post(path).header("host", "localhost").header("content-type", "application/json");
        door.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    };
    let read = async |response: http::Response<bridge_transport::Body>| -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    let session = read(ask("/api/sessions", "{}".into()).await).await["id"].as_str().unwrap().to_owned();
    ask(&format!("/api/sessions/{session}/messages"), json!({"text": "x"}).to_string()).await;
    let receive = async || ask("/api/receive", wish(&session, &json!({}))).await;

    // Not read at all, and read but not to its end.
    drop(receive().await);
    let mut body = receive().await.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    drop(body);

    let got = read(receive().await).await;
    assert_eq!(got["deliveries"][0]["attempt"], 3, "{got}");
    // This one was read, so it is held.
    assert_eq!(read(receive().await).await["deliveries"], json!([]));
}

#[tokio::test]
async fn repeating_an_attempt_gives_the_same_deliveries() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "1").await;
    server.say(&session, "2").await;
    let attempt = wish(&session, &json!({"max": 10, "attempt_id": "a1"}));
    let first = server.post("/api/receive", &attempt).await.json();
    assert_eq!(first["deliveries"].as_array().unwrap().len(), 2);
    assert_eq!(server.post("/api/receive", &attempt).await.json()["deliveries"], first["deliveries"]);
}

#[tokio::test]
async fn a_receive_ends_before_the_message_that_is_too_much_and_gives_one_in_any_case() {
    let server = Server::start().await;
    let session = server.session().await;
    let (small, large) = ("x".repeat(100), "x".repeat(1_000));
    for text in [&small, &small, &large, &small] {
        server.say(&session, text).await;
    }
    let bytes = |text: &str| json!({"text": text}).to_string().len();
    let sizes = async |max_bytes: usize| {
        let wish = wish(&session, &json!({"consumer": "a", "max": 10, "max_bytes": max_bytes}));
        let received = server.post("/api/receive", &wish).await.json();
        let texts =
            received["deliveries"].as_array().unwrap().iter().map(|granted| &granted["message"]["text"]);
        texts.map(|text| bytes(text.as_str().unwrap())).collect::<Vec<_>>()
    };
    let (small, large) = (bytes(&small), bytes(&large));
    // One byte short for the second; then for the large one, and what is behind it does not go before it.
    assert_eq!(sizes(2 * small - 1).await, [small]);
    assert_eq!(sizes(small + large - 1).await, [small]);
    assert_eq!(sizes(1).await, [large]);
    assert_eq!(sizes(small).await, [small]);
}

#[tokio::test]
async fn the_header_names_the_consumer_unless_the_body_does() {
    let server = Server::start().await;
    let session = server.session().await;
    let named =
        |body: &str| with(request(Method::POST, "/api/receive", body), "x-bridge-client", "by-header");
    server.say(&session, "1").await;
    let received = server.send(named(&wish(&session, &json!({})))).await.json();
    let id = received["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let shown = server.get(&format!("/api/deliveries/{id}")).await.json();
    assert_eq!(shown["lease"]["consumer"], "by-header");
    server
        .post(
            "/api/settle",
            &json!({"token": received["deliveries"][0]["token"], "outcome": "release"}).to_string(),
        )
        .await;
    let received = server.send(named(&wish(&session, &json!({"consumer": "by-body"})))).await.json();
    assert_eq!(received["deliveries"][0]["id"], id);
    let shown = server.get(&format!("/api/deliveries/{id}")).await.json();
    assert_eq!(shown["lease"]["consumer"], "by-body");
    assert_eq!(shown["attempts"][0]["outcome"], "release");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn each_hand_over_is_told_with_who_had_it_and_how_it_ended() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "1").await;
    let mut path = String::new();
    for settlement in [
        json!({"outcome": "nack", "delay_ms": 0, "reason": "no disk"}),
        json!({"outcome": "release"}),
        json!({"outcome": "reject", "reason": "not mine"}),
    ] {
        let received =
            server.post("/api/receive", &wish(&session, &json!({"consumer": "a", "wait_ms": 9_000}))).await;
        let received = received.json();
        path = format!("/api/deliveries/{}", received["deliveries"][0]["id"].as_str().unwrap());
        let held = server.get(&path).await.json();
        assert_eq!(held["attempts"].as_array().unwrap().last().unwrap().get("outcome"), None, "{held}");
        let mut settle = settlement;
        settle["token"] = received["deliveries"][0]["token"].clone();
        assert_eq!(server.post("/api/settle", &settle.to_string()).await.status, 200);
    }
    let shown = server.get(&path).await.json();
    let told: Vec<_> = shown["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["attempt"], it["consumer"], it["outcome"], it["error"]]))
        .collect();
    let expected = [
        json!([1, "a", "nack", "no disk"]),
        json!([2, "a", "release", null]),
        json!([3, "a", "dead", "not mine"]),
    ];
    assert_eq!(told, expected, "{shown}");
    for attempt in shown["attempts"].as_array().unwrap() {
        assert!(attempt["ended_at"].as_str() >= attempt["presented_at"].as_str(), "{shown}");
    }
}

#[tokio::test]
async fn several_settlements_are_judged_one_by_one_in_order() {
    let server = Server::start().await;
    let session = server.session().await;
    for text in ["1", "2", "3"] {
        server.say(&session, text).await;
    }
    let received =
        server.post("/api/receive", &wish(&session, &json!({"consumer": "a", "max": 3}))).await.json();
    let of = |at: usize| &received["deliveries"][at];
    let body = json!({"items": [
        {"token": of(0)["token"], "outcome": "extend", "by_ms": 1000, "progress": "reading"},
        {"token": of(0)["token"], "outcome": "ack"},
        {"token": of(0)["token"], "outcome": "nack"},
        {"token": "forged", "outcome": "ack"},
        {"outcome": "ack"},
        {"message_id": of(1)["message"]["id"], "handle": of(1)["handle"], "outcome": "answer",
         "reply": {"text": "both", "type": "note"}, "covers": [of(2)["token"], "forged"]},
        {"token": of(2)["token"], "outcome": "ack"},
    ]});
    let results = server.post("/api/settle", &body.to_string()).await.json()["results"].clone();
    let code = |at: usize| &results[at]["error"]["code"];
    assert_eq!((&results[0]["state"], &results[1]["state"]), (&json!("leased"), &json!("done")));
    assert_eq!(
        (code(2), code(3), code(4)),
        (&json!("already_settled"), &json!("unknown_token"), &json!("invalid_field"))
    );
    assert_eq!(
        (&results[5]["state"], &results[5]["not_covered"][0]["token"]),
        (&json!("done"), &json!("forged"))
    );
    assert_eq!(results[5]["not_covered"][0]["error"]["code"], "unknown_token");
    // Covered by the answer, so it was settled before, and by an answer.
    assert!(results[6]["already_done"] == true || code(6) == "already_settled", "{results}");
    let many = json!({"items": vec![json!({"token": "x", "outcome": "ack"}); 101]}).to_string();
    server.post("/api/settle", &many).await.is_problem(400, "invalid_field");
}

#[tokio::test]
async fn a_lease_that_was_given_again_is_lost() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "1").await;
    let first = server.post("/api/receive", &wish(&session, &json!({"lease_ms": 1000}))).await.json();
    server.clock.advance(Duration::from_secs(60));
    let mut second = Value::Null;
    in_time(&server.clock, Duration::from_millis(10), async {
        while second["deliveries"][0].is_null() {
            second = server.post("/api/receive", &wish(&session, &json!({"consumer": "b"}))).await.json();
        }
    })
    .await;
    let ack = json!({"token": first["deliveries"][0]["token"], "outcome": "ack"}).to_string();
    let lost = server.post("/api/settle", &ack).await.is_problem(409, "lease_lost");
    assert_eq!(lost["state"], "leased");
    let bare = json!({"message_id": first["deliveries"][0]["message"]["id"], "outcome": "ack"}).to_string();
    server.post("/api/settle", &bare).await.is_problem(409, "handle_needed");
}

#[tokio::test]
async fn a_delivery_is_withdrawn_and_given_another_life() {
    let server = Server::start().await;
    let session = server.session().await;
    let sent = server.say(&session, "1").await;
    let path = format!("/api/deliveries/{}", sent["deliveries"][0]["id"].as_str().unwrap());
    server.post(&format!("{path}/redrive"), "").await.is_problem(409, "wrong_state");
    let cancelled = server.post(&format!("{path}/cancel"), "").await.json();
    assert_eq!((&cancelled["state"], &cancelled["requested"]), (&json!("cancelled"), &json!(false)));
    let redriven = server.post(&format!("{path}/redrive"), r#"{"ttl_ms": 1000}"#).await.json();
    let again = server.post(&format!("{path}/redrive"), "").await.json();
    assert_eq!(redriven["delivery_id"], again["delivery_id"]);
    let received = server.post("/api/receive", &wish(&session, &json!({}))).await.json();
    assert_eq!(received["deliveries"][0]["id"], redriven["delivery_id"]);
    let leased = format!("/api/deliveries/{}/cancel", redriven["delivery_id"].as_str().unwrap());
    assert_eq!(soon(server.post(&leased, "{}")).await.json(), json!({"state": "leased", "requested": true}));
}
