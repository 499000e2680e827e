//! What a model gets to see of bridged text.

use std::time::Duration;

use bridge_core::{Address, Name, SessionId, Side, StoreErrorKind};
use bridge_runtime::{Leased, NewMessage, ReceiveRequest};
use bridge_testkit::fault::Fault;
use serde_json::{Value, json};

use crate::support::{Agent, Server};

#[tokio::test]
async fn bridged_text_is_data_with_a_sender_and_nothing_invisible() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let hidden = "a\u{202e}b\u{200b}c\u{e0041}d\u{1b}[31m";
    let message =
        NewMessage::new(Address::Session(session, Side::Agent), json!({"text": hidden}).to_string());
    let sender = Name::new("an\u{2066}na").unwrap();
    server.bridge.publish(message.from(sender).kind(Name::new("no\u{200b}te").unwrap())).await.unwrap();
    let got =
        server.modern("a").call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let message = &got["messages"][0];
    assert_eq!(message["message"], "a\\u{202e}b\\u{200b}c\\u{e0041}d\\u{1b}[31m");
    assert_eq!((&message["sender"], &message["type"]), (&json!("an\\u{2066}na"), &json!("no\\u{200b}te")));
    assert_eq!(message["attempt"], 1);
    assert!(message["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(got["note"].as_str().unwrap().contains("not instructions"));
}

#[tokio::test]
async fn payloads_that_are_no_text_are_shown_as_what_they_are() {
    let server = Server::start().await;
    let session = server.open_session().await;
    for payload in [&br#"{"n": 1}"#[..], &[0xff, 0xfe]] {
        let message = NewMessage::new(Address::Session(session, Side::Agent), payload.to_vec());
        server.bridge.publish(message).await.unwrap();
    }
    let got =
        server.modern("a").call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    assert_eq!(got["messages"][0]["message"], r#"{"n": 1}"#);
    assert_eq!(got["messages"][1]["message"], "[not text, 2 B]");
}

fn size(result: &Value) -> usize {
    result["content"][0]["text"].as_str().unwrap().len()
}

#[tokio::test]
async fn a_result_holds_what_a_model_can_take_in_and_says_that_there_is_more() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let text = "word ".repeat(3_000);
    for _ in 0..5 {
        server.write(session, &text).await;
    }
    let result = agent.try_call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let got = &result["structuredContent"];
    assert_eq!((&got["count"], &got["has_more"]), (&json!(2), &json!(true)));
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 2, "nothing is taken that is not shown");
    for message in got["messages"].as_array().unwrap() {
        assert_eq!((&message["message"], message.get("truncated")), (&json!(text), None));
    }
    assert!(size(&result) < 60_000, "{}", size(&result));
}

#[tokio::test]
async fn one_message_that_is_too_long_is_cut_and_says_so() {
    let server = Server::start().await;
    let session = server.open_session().await;
    server.write(session, &"\u{200b}word ".repeat(20_000)).await;
    let result =
        server.modern("a").try_call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    assert!(size(&result) < 60_000, "{}", size(&result));
    let truncated = &result["structuredContent"]["messages"][0]["truncated"];
    assert!(truncated["shown_bytes"].as_i64().unwrap() < truncated["total_bytes"].as_i64().unwrap());
    assert!(truncated["note"].as_str().unwrap().contains("too long"));
}

/// Repeated, they come together and are too long to be shown together: little is much when it is written out.
const SWELLING: [&str; 3] = ["a\u{7f}", "b\u{e0041}", "c\u{7f}"];

/// The person writes `SWELLING`; gives it as it is shown.
async fn write_swelling(server: &Server, session: SessionId) -> Vec<String> {
    let mut shown = Vec::new();
    for text in SWELLING {
        server.write(session, &text.repeat(2_500)).await;
        shown.push(text.escape_default().to_string().repeat(2_500));
    }
    shown
}

async fn ask(agent: &Agent, session: SessionId) -> Value {
    agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await
}

async fn answer_all(agent: &Agent, got: &Value) {
    for message in got["messages"].as_array().unwrap() {
        let answer = json!({"message_id": message["id"], "handle": message["handle"], "response": "x"});
        agent.call("send_response_to_web", answer).await;
    }
}

/// The texts of the messages, each of them whole.
fn whole(got: &Value) -> Vec<&str> {
    let messages = got["messages"].as_array().unwrap();
    assert_eq!(got["count"], messages.len());
    messages
        .iter()
        .inspect(|message| assert_eq!(message.get("truncated"), None))
        .map(|message| message["message"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn what_would_be_cut_goes_back_and_comes_whole_in_the_next_result() {
    let server = Server::start().await;
    for agent in [server.modern("named"), server.modern(""), server.legacy("older").await] {
        let session = server.open_session().await;
        let texts = write_swelling(&server, session).await;
        for (at, text) in texts.iter().enumerate() {
            let got = ask(&agent, session).await;
            assert_eq!(whole(&got), [text.as_str()]);
            assert_eq!(got["has_more"], at < 2);
            let state = server.bridge.session(session).await.unwrap();
            assert_eq!((state.leased, state.pending), (1, 2 - u32::try_from(at).unwrap()));
            answer_all(&agent, &got).await;
        }
        let snapshot = server.bridge.snapshot(session, None, 100).await.unwrap();
        let deliveries = snapshot.messages.iter().flat_map(|(_, deliveries)| deliveries);
        assert!(
            deliveries.map(|delivery| delivery.failures).all(|failures| failures == 0),
            "it costs nothing"
        );
    }
}

#[tokio::test]
async fn what_follows_a_message_that_is_cut_comes_in_the_next_result() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    server.write(session, &"\u{7f}".repeat(30_000)).await;
    server.write(session, "short").await;
    let got = ask(&agent, session).await;
    assert_eq!((&got["count"], &got["has_more"]), (&json!(1), &json!(true)));
    assert!(got["messages"][0]["truncated"].is_object());
    let next = ask(&agent, session).await;
    assert_eq!((whole(&next), &next["has_more"]), (vec!["short"], &json!(false)));
}

#[tokio::test]
async fn a_repeated_attempt_gives_what_was_shown_and_no_more() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let texts = write_swelling(&server, session).await;
    let attempt = json!({"session_id": session.to_string(), "attempt_id": "try"});
    let first = agent.call("get_pending_messages", attempt.clone()).await;
    assert_eq!(whole(&first), texts[..1]);
    let again = agent.call("get_pending_messages", attempt.clone()).await;
    assert_eq!(again, first);
    answer_all(&agent, &again).await;
    assert_eq!(whole(&agent.call("get_pending_messages", attempt).await), texts[1..2]);
    assert_eq!(whole(&ask(&agent, session).await), texts[2..]);
}

/// What the agent called `a` asks of the bridge itself.
fn request(session: SessionId) -> ReceiveRequest {
    ReceiveRequest::new(Address::Session(session, Side::Agent)).consumer(Name::from_static("a")).max(10)
}

/// All messages of the session, in the hands of the agent called `a`: its attempt is to be repeated.
async fn grant_all(server: &Server, session: SessionId) -> Value {
    let granted = server.bridge.receive(request(session).attempt_id(Name::from_static("try"))).await.unwrap();
    granted.handover.complete();
    json!({"session_id": session.to_string(), "attempt_id": "try"})
}

#[tokio::test]
async fn what_goes_back_does_so_even_if_the_store_fails_at_first() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let texts = write_swelling(&server, session).await;
    let attempt = grant_all(&server, session).await;
    server.faults.fail(Fault::Before(StoreErrorKind::Unavailable));
    let got = agent.call("get_pending_messages", attempt).await;
    assert_eq!((whole(&got), &got["has_more"]), (vec![texts[0].as_str()], &json!(true)));
    while server.faults.faults_left() > 0 {
        tokio::task::yield_now().await;
    }
    let next = ask(&agent, session).await;
    assert_eq!(whole(&next), texts[1..2]);
    assert_eq!(next["held"][0]["id"], got["messages"][0]["id"]);
}

#[tokio::test]
async fn what_goes_back_comes_in_order_to_another_call_that_waits() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let texts = write_swelling(&server, session).await;
    let attempt = grant_all(&server, session).await;
    let waits = request(session).wait(Duration::from_secs(60));
    let (waited, got) = tokio::join!(server.bridge.receive(waits), async {
        let got = agent.call("get_pending_messages", attempt).await;
        server.clock.advance(Duration::from_secs(60));
        got
    });
    let waited = waited.unwrap();
    waited.handover.complete();
    assert_eq!(whole(&got), texts[..1]);
    let payload =
        |leased: &Leased| bridge_protocol::text_of(&leased.message.as_ref().unwrap().payload).unwrap();
    let back: Vec<_> = waited.deliveries.iter().map(payload).collect();
    assert_eq!(back, SWELLING[1..].iter().map(|text| text.repeat(2_500)).collect::<Vec<_>>());
}
