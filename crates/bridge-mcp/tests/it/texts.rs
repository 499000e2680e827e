//! What a model gets to see of bridged text.

use bridge_core::{Address, Name, Side};
use bridge_runtime::NewMessage;
use serde_json::{Value, json};

use crate::support::Server;

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
    assert_eq!(got["messages"][1]["message"], "[2 bytes that are not text]");
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
