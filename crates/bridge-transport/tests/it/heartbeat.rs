//! The calls of the heartbeat system: as its own clients make them, and each of its defects once.
//!
//! The defects, each with the test that fails where it is repeated:
//! 1. older answers are never shown: [`every_answer_is_shown_once_and_in_order`]
//! 2. messages come in any order: [`messages_are_handed_out_in_the_order_they_were_sent`]
//! 3. two tabs steal each other's answers: [`two_readers_each_see_every_answer`]
//! 4. two agents get the same message, and both answers count: [`a_message_is_in_one_agents_hands_and_answered_once`]
//! 5. an answer to nothing is stored, and breaks the next poll: [`an_answer_to_nothing_is_refused_and_breaks_nothing`]
//! 6. asking for an unknown session makes one: [`asking_for_an_unknown_session_makes_none`]
//! 7. anybody wipes all sessions: [`a_clean_up_takes_only_what_is_old_and_done`],
//!    [`the_shared_session_can_be_withheld`]
//! 8. results are no JSON: every answer here is read as JSON; for MCP see `bridge-mcp`
//! 9. errors are successes or texts of the language: [`an_error_is_a_status_and_a_problem`]
//! 10. nobody ever leaves: [`agents_and_readers_are_active_only_while_they_are`]
//! 11. times without a zone, counts that only grow, sessions that expire in use:
//!     [`times_are_utc_and_activity_keeps_a_session_alive`]
//! 12. text becomes markup: [`text_goes_out_as_data`]
//! 13. headers and bodies are logged: [`nothing_that_was_said_is_logged`]
//! 14. polling every two seconds is the only way: `receiving::a_receive_that_waits_gets_what_comes`,
//!     `events::a_stream_tells_what_was_and_then_what_comes`
//! 15. calls vanish or change their method: [`the_originals_clients_are_answered_as_they_expect`]

use std::{collections::BTreeMap, time::Duration};

use bridge_protocol::Time;
use bridge_transport::SharedSession;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::support::{Log, Server, in_time, request, until, with};

/// Fills in what earlier answers gave.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
}

/// Compares an answer with what is expected, and takes note of what is new. Members that are not expected may be there.
fn compare(expected: &Value, given: &Value, known: &mut BTreeMap<String, String>, say: &str) {
    match expected {
        Value::Object(members) => {
            // What is to be noted comes first: the other members may repeat it.
            let (new, rest): (Vec<_>, Vec<_>) = members
                .iter()
                .partition(|(_, member)| member.as_str().is_some_and(|text| text.starts_with("<string")));
            for (name, member) in new.into_iter().chain(rest) {
                compare(member, &given[name], known, &format!("{say}: {name}"));
            }
        }
        Value::String(text) if text == "<time>" => {
            let time = given.as_str().unwrap_or_else(|| panic!("{say}: {given}"));
            assert!(
                time.ends_with('Z') && serde_json::from_str::<Time>(&given.to_string()).is_ok(),
                "{say}: {time}"
            );
        }
        Value::String(text) if text.starts_with("<string") => {
            let string = given.as_str().unwrap_or_else(|| panic!("{say}: {given}"));
            if let Some(name) = text.strip_prefix("<string ") {
                known.insert(name.trim_end_matches('>').to_owned(), string.to_owned());
            }
        }
        Value::String(text) => assert_eq!(given, &Value::from(filled(text, known)), "{say}"),
        expected => assert_eq!(given, expected, "{say}"),
    }
}

#[tokio::test]
async fn the_originals_clients_are_answered_as_they_expect() {
    let server = Server::start().await;
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors/heartbeat.json")).unwrap();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for vector in vectors {
        let say = vector["say"].as_str().unwrap();
        if let Some(answer) = vector["agent"].as_str() {
            server.reply(&known["session"], "claude", answer).await;
            continue;
        }
        let line = filled(vector["request"].as_str().unwrap(), &known);
        let (method, path) = line.split_once(' ').unwrap();
        let body = vector.get("body").map_or(String::new(), |body| filled(&body.to_string(), &known));
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in vector["headers"].as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().unwrap());
        }
        let answer = server.send(request.body(Full::from(body)).unwrap()).await;
        assert_eq!(answer.status.as_u16(), vector["status"], "{say}: {:?}", answer.body);
        if let Some(expected) = vector.get("answer") {
            compare(expected, &answer.json(), &mut known, say);
        }
    }
}

async fn queue(server: &Server, session: &str, text: &str) -> Value {
    let body = json!({"message": text, "session_id": session}).to_string();
    server.post("/api/queue_user_message", &body).await.json()
}

/// The next answer for a reader; none if there is none.
async fn latest(server: &Server, session: &str, reader: &str) -> Option<String> {
    let answer = server.get(&format!("/api/get_latest_response/{session}?reader={reader}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["response"].as_str().map(str::to_owned)
}

/// All answers for a reader.
async fn drained(server: &Server, session: &str, reader: &str) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(answer) = latest(server, session, reader).await {
        all.push(answer);
    }
    all
}

#[tokio::test]
async fn every_answer_is_shown_once_and_in_order() {
    let server = Server::start().await;
    let session = server.session().await;
    for text in ["1", "2", "3"] {
        queue(&server, &session, text).await;
    }
    // All are stored before the first poll.
    for text in ["R1", "R2", "R3"] {
        server.reply(&session, "claude", text).await;
    }
    // Many that are no answers stand in between.
    for n in 0..80 {
        queue(&server, &session, &n.to_string()).await;
    }
    let unasked = json!({"text": "R4", "from": "agent"}).to_string();
    server.post(&format!("/api/sessions/{session}/messages"), &unasked).await;
    assert_eq!(drained(&server, &session, "web").await, ["R1", "R2", "R3", "R4"]);
}

#[tokio::test]
async fn a_reader_of_a_conversation_that_began_late_in_the_log_gets_its_answers() {
    let server = Server::start().await;
    for _ in 0..3 {
        let sent = server.post("/api/send", r#"{"from": "anna", "to": "worker", "payload": 1}"#).await;
        assert!(sent.status.is_success());
    }
    let floor = async || server.get("/api/log").await.json()["floor"].clone();
    let whole = floor().await;
    server.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    let session = server.session().await;
    until(async || {
        server.clock.advance(Duration::from_secs(60));
        floor().await != whole
    })
    .await;
    queue(&server, &session, "1").await;
    server.reply(&session, "claude", "R1").await;
    assert_eq!(drained(&server, &session, "web").await, ["R1"]);
}

#[tokio::test]
async fn an_answer_for_later_hides_none_and_comes_when_it_is_time() {
    let server = Server::start().await;
    let session = server.session().await;
    let path = format!("/api/sessions/{session}/messages");
    server.schedule(&session, "later", Duration::from_secs(60)).await;
    server.post(&path, r#"{"text": "now", "from": "agent"}"#).await;
    assert_eq!(drained(&server, &session, "web").await, ["now"]);
    server.clock.advance(Duration::from_secs(60));
    until(async || latest(&server, &session, "web").await.as_deref() == Some("later")).await;
    assert_eq!(drained(&server, &session, "web").await, [""; 0]);
}

#[tokio::test]
async fn an_answer_that_was_taken_back_or_is_too_late_is_not_given() {
    let server = Server::start().await;
    let session = server.session().await;
    let path = format!("/api/sessions/{session}/messages");
    let taken_back = server.post(&path, r#"{"text": "wrong", "from": "agent"}"#).await.json();
    let delivery = taken_back["deliveries"][0]["id"].as_str().unwrap();
    assert_eq!(server.post(&format!("/api/deliveries/{delivery}/cancel"), "{}").await.status, 200);
    server.post(&path, r#"{"text": "late", "from": "agent", "ttl_ms": 1000}"#).await;
    server.post(&path, r#"{"text": "right", "from": "agent"}"#).await;
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(drained(&server, &session, "web").await, ["right"]);
    assert_eq!(server.post(&format!("/api/deliveries/{delivery}/redrive"), "{}").await.status, 200);
    assert_eq!(drained(&server, &session, "web").await, ["wrong"]);
}

#[tokio::test]
async fn messages_are_handed_out_in_the_order_they_were_sent() {
    let server = Server::start().await;
    let session = server.session().await;
    for n in 0..8 {
        assert_eq!(queue(&server, &session, &format!("m{n}")).await["queue_position"], n + 1);
    }
    let wish = json!({"mailbox": format!("session:{session}/agent"), "max": 8}).to_string();
    let received = server.post("/api/receive", &wish).await.json();
    let texts: Vec<_> = received["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|granted| &granted["message"]["text"])
        .collect();
    assert_eq!(texts, ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
}

#[tokio::test]
async fn two_readers_each_see_every_answer() {
    let server = Server::start().await;
    let session = server.session().await;
    for n in 0..3 {
        queue(&server, &session, "?").await;
        server.reply(&session, "claude", &n.to_string()).await;
    }
    assert_eq!(latest(&server, &session, "tab1").await.as_deref(), Some("0"));
    assert_eq!(drained(&server, &session, "tab2").await, ["0", "1", "2"]);
    assert_eq!(drained(&server, &session, "tab1").await, ["1", "2"]);
    assert_eq!(drained(&server, &session, "web").await.len(), 3);
}

#[tokio::test]
async fn polls_of_one_reader_at_once_lose_and_double_nothing() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut expected = Vec::new();
    for n in 0..12 {
        queue(&server, &session, "?").await;
        server.reply(&session, "claude", &n.to_string()).await;
        expected.push(n.to_string());
    }
    let mut got = Vec::new();
    while got.len() < expected.len() {
        let polls = (0..4).map(|_| latest(&server, &session, "web"));
        got.extend(futures_util::future::join_all(polls).await.into_iter().flatten());
    }
    assert_eq!(got, expected);
}

#[tokio::test]
async fn an_answer_that_was_not_handed_over_is_shown_again() {
    use tower::ServiceExt;
    let server = Server::start().await;
    let session = server.session().await;
    queue(&server, &session, "?").await;
    server.reply(&session, "claude", "!").await;
    let door = bridge_transport::HttpDoor::builder(server.bridge.clone()).build().unwrap();
    let ask = async || {
        let path = format!("/api/get_latest_response/{session}");
        door.clone().oneshot(request(Method::GET, &path, "")).await.unwrap()
    };
    for _ in 0..3 {
        // Dropped unread; the reader is moved back behind it.
        assert!(ask().await.headers().get("content-length").is_none());
    }
    crate::support::until(async || {
        let body = ask().await.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()["response"] == "!"
    })
    .await;
    assert_eq!(latest(&server, &session, "web").await, None);
}

#[tokio::test]
async fn a_message_is_in_one_agents_hands_and_answered_once() {
    let server = Server::start().await;
    let session = server.session().await;
    queue(&server, &session, "?").await;
    let wish =
        |name: &str| json!({"mailbox": format!("session:{session}/agent"), "consumer": name}).to_string();
    let first = server.post("/api/receive", &wish("a")).await.json();
    assert_eq!(server.post("/api/receive", &wish("b")).await.json()["deliveries"], json!([]));
    let answer = |text: &str| {
        json!({"token": first["deliveries"][0]["token"], "outcome": "answer", "reply": text}).to_string()
    };
    assert_eq!(server.post("/api/settle", &answer("one")).await.status, 200);
    server.post("/api/settle", &answer("two")).await.is_problem(409, "already_settled");
    assert_eq!(drained(&server, &session, "web").await, ["one"]);
}

#[tokio::test]
async fn an_answer_to_nothing_is_refused_and_breaks_nothing() {
    let server = Server::start().await;
    let session = server.session().await;
    let nothing =
        json!({"message_id": format!("msg_{:032x}", 7), "outcome": "answer", "reply": "x", "consumer": "a"});
    server.post("/api/settle", &nothing.to_string()).await.is_problem(404, "unknown_token");
    assert_eq!(latest(&server, &session, "web").await, None);
}

#[tokio::test]
async fn asking_for_an_unknown_session_makes_none() {
    let server = Server::start().await;
    let unknown = "5f0c1f0e-2f5b-4f0c-9d3a-0123456789ab";
    for _ in 0..2 {
        let status = server.get(&format!("/api/get_conversation_status/{unknown}")).await.json();
        assert_eq!(status["session_exists"], false);
        server.get(&format!("/api/get_latest_response/{unknown}")).await.is_problem(404, "unknown_session");
        server
            .post(&format!("/api/queue_user_message?message=x&session_id={unknown}"), "")
            .await
            .is_problem(404, "unknown_session");
    }
    server.get("/api/get_latest_response/default").await.is_problem(404, "unknown_session");
    assert_eq!(server.get("/api/sessions").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_clean_up_takes_only_what_is_old_and_done() {
    let server = Server::start().await;
    let (waiting, done) = (server.session().await, server.session().await);
    queue(&server, &waiting, "?").await;
    queue(&server, &done, "?").await;
    server.reply(&done, "claude", "kept").await;
    for age in ["0", "-1", "1.5", "abc", "99999999999"] {
        server
            .post(&format!("/api/cleanup_inactive_sessions?max_age_hours={age}"), "")
            .await
            .is_problem(400, "invalid_field");
    }
    for body in [json!({"max_age_hours": 0}), json!({"max_age_hours": "abc"})] {
        let answer = server.post("/api/cleanup_inactive_sessions", &body.to_string()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    server.clock.advance(Duration::from_secs(3_600));
    let older = server.post("/api/cleanup_inactive_sessions", r#"{"max_age_hours": 2}"#).await.json();
    assert_eq!(older["cleaned_sessions"], 0);
    let fresh = server.session().await;
    let cleaned = server.post("/api/cleanup_inactive_sessions?max_age_hours=1", "").await.json();
    assert_eq!((&cleaned["cleaned_sessions"], &cleaned["remaining_sessions"]), (&json!(1), &json!(2)));
    for (session, state) in [(&waiting, "idle"), (&done, "closed"), (&fresh, "open")] {
        assert_eq!(server.get(&format!("/api/sessions/{session}")).await.json()["state"], state);
    }
    // Nothing was deleted.
    assert_eq!(drained(&server, &done, "web").await, ["kept"]);
}

#[tokio::test]
async fn the_shared_session_can_be_withheld() {
    let server = Server::with_settings(|settings| settings.shared_session = SharedSession::Withheld).await;
    server.post("/api/queue_user_message?message=x", "").await.is_problem(404, "unknown_session");
    let messages = "/api/sessions/default/messages";
    server.post(messages, r#"{"text": "x"}"#).await.is_problem(404, "unknown_session");
    let server = Server::start().await;
    assert_eq!(server.post(messages, r#"{"text": "x"}"#).await.status, 201);
    // It is there for everybody, even after somebody has closed it.
    assert_eq!(server.send(request(Method::DELETE, "/api/sessions/default", "")).await.status, 204);
    assert_eq!(server.post("/api/queue_user_message?message=x", "").await.status, 200);
}

#[tokio::test]
async fn an_error_is_a_status_and_a_problem() {
    let server = Server::start().await;
    let blank = server.post("/api/queue_user_message?message=%20", "").await.is_problem(400, "invalid_field");
    assert_eq!((&blank["success"], &blank["error"]), (&json!(false), &json!("Empty message not allowed")));
    assert_eq!(blank["errors"][0]["pointer"], "/message");
    server.post("/api/queue_user_message", "").await.is_problem(400, "invalid_field");
    server.post("/api/queue_user_message", r#"{"message": 5}"#).await.is_problem(400, "invalid_field");
    let form =
        with(request(Method::POST, "/api/queue_user_message", "message=x"), "content-type", "text/plain");
    server.send(form).await.is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn agents_and_readers_are_active_only_while_they_are() {
    let server = Server::start().await;
    let session = server.session().await;
    let active = async || {
        let status = server.get(&format!("/api/get_conversation_status/{session}")).await.json();
        (status["claude_active"].as_bool().unwrap(), status["web_active"].as_bool().unwrap())
    };
    assert_eq!(active().await, (false, false));
    latest(&server, &session, "web").await;
    let wish = json!({"mailbox": format!("session:{session}/agent"), "consumer": "claude"}).to_string();
    server.post("/api/receive", &wish).await;
    assert_eq!(active().await, (true, true));
    in_time(&server.clock, Duration::from_secs(1), async { while active().await != (false, false) {} }).await;
}

#[tokio::test]
async fn times_are_utc_and_activity_keeps_a_session_alive() {
    let server = Server::start().await;
    let session = server.session().await;
    let path = format!("/api/get_conversation_status/{session}");
    let before = server.get(&path).await.json();
    assert!(before["last_activity"].as_str().unwrap().ends_with('Z'));
    // Longer than a session lives without activity, but never without it for that long.
    for day in 1..=9 {
        server.clock.advance(Duration::from_secs(24 * 3_600));
        let queued = queue(&server, &session, "still here").await;
        assert_eq!((&queued["success"], &queued["queue_position"]), (&json!(true), &json!(1)), "{day}");
        server.reply(&session, "claude", "so am I").await;
    }
    let after = server.get(&path).await.json();
    assert!(after["last_activity"].as_str() > before["last_activity"].as_str());
    assert_eq!((&after["status"], &after["pending_messages"]), (&json!("active"), &json!(0)));
    assert_eq!((&after["total_messages"], &after["processed_messages"]), (&json!(9), &json!(9)));
}

#[tokio::test]
async fn text_goes_out_as_data() {
    let server = Server::start().await;
    let session = server.session().await;
    let text = "<img src=x onerror=alert(1)>\u{2028}</script>";
    queue(&server, &session, text).await;
    server.reply(&session, "claude", text).await;
    let answer = server.get(&format!("/api/get_latest_response/{session}")).await;
    assert_eq!(
        (answer.header("content-type"), answer.header("x-content-type-options")),
        ("application/json", "nosniff")
    );
    assert_eq!(answer.json()["response"], text);
    // What was asked for is not repeated as a page either.
    let refused = server.get("/api/sessions/%3Cscript%3E").await;
    refused.is_problem(404, "unknown_session");
}

#[tokio::test]
async fn nothing_that_was_said_is_logged() {
    let (log, _heard) = Log::begin();
    let server = Server::start().await;
    let session = server.session().await;
    let said = with(
        request(Method::POST, "/api/queue_user_message?message=SECRET1", ""),
        "authorization",
        "SECRET2",
    );
    server.send(said).await;
    queue(&server, &session, "SECRET3").await;
    server.reply(&session, "claude", "SECRET4").await;
    latest(&server, &session, "SECRET5").await;
    let log = log.text();
    assert!(log.contains("/api/queue_user_message"), "{log}");
    for line in log.lines() {
        assert!(!line.contains("SECRET") && !line.contains(&session), "{line}");
    }
}

#[tokio::test]
async fn what_is_sent_along_must_be_what_is_taken_everywhere() {
    let server = Server::start().await;
    server.post("/api/create_new_session", "{").await.is_problem(400, "invalid_json");
    let plain = |path| with(request(Method::POST, path, "{}"), "content-type", "text/plain");
    server.send(plain("/api/create_new_session")).await.is_problem(415, "unsupported_media_type");
    assert_eq!(server.get("/api/sessions").await.json()["data"], json!([]));
    let refused = server.send(plain("/api/queue_user_message")).await;
    refused.is_problem(415, "unsupported_media_type");
    assert_eq!(refused.json()["success"], false);
    let refused = server.post("/api/queue_user_message", r#"{"message": 5}"#).await;
    refused.is_problem(400, "invalid_field");
    assert_eq!(refused.json()["success"], false);
}
