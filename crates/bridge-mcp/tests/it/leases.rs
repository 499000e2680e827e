//! Whose messages they are: two agents, lost results, answers said twice.

use std::time::Duration;

use serde_json::{Value, json};

use tower::ServiceExt;

use crate::support::{Server, eventually, hear};

fn ids(got: &Value) -> Vec<String> {
    got["messages"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn two_agents_never_get_the_same_message() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let ask = json!({"session_id": session.to_string(), "max": 3});
    let written = {
        let mut written = Vec::new();
        for text in ["a", "b", "c", "d", "e"] {
            written.push(server.write(session, text).await.to_string());
        }
        written
    };
    let (one, two) = (server.modern("one"), server.legacy("two").await);
    let first = one.call("get_pending_messages", ask.clone()).await;
    assert_eq!(ids(&first), written[..3], "in the order in which they were sent");
    assert_eq!(first["has_more"], true);
    let busy = two.call("get_pending_messages", ask.clone()).await;
    assert_eq!(
        (ids(&busy).len(), &busy["directive"]["reason"], &busy["has_more"]),
        (0, &json!("busy"), &json!(false)),
        "the order is one's to keep"
    );
    for message in first["messages"].as_array().unwrap() {
        let answer = json!({"message_id": message["id"], "handle": message["handle"], "response": "x"});
        one.call("send_response_to_web", answer).await;
    }
    let second = two.call("get_pending_messages", ask.clone()).await;
    assert_eq!(ids(&second), written[3..]);
    assert!(ids(&one.call("get_pending_messages", ask).await).is_empty());
}

#[tokio::test]
async fn what_an_agent_holds_is_listed_until_it_is_answered() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let ask = json!({"session_id": session.to_string()});
    let agent = server.modern("a");
    server.write(session, "first").await;
    let first = agent.call("get_pending_messages", ask.clone()).await;
    server.write(session, "second").await;
    let second = agent.call("get_pending_messages", ask.clone()).await;
    assert_eq!(second["messages"][0]["message"], "second");
    assert_eq!(
        (&second["held"][0]["message"], &second["held"][0]["handle"]),
        (&json!("first"), &first["messages"][0]["handle"])
    );
    let none = agent.call("get_pending_messages", ask).await;
    assert_eq!((none["messages"].as_array().unwrap().len(), none["held"].as_array().unwrap().len()), (0, 2));
    assert!(none["what_to_do"].as_str().unwrap().contains("held"));
}

#[tokio::test]
async fn repeating_an_attempt_gives_the_same_handles() {
    let server = Server::start().await;
    let session = server.open_session().await;
    server.write(session, "a").await;
    let ask = json!({"session_id": session.to_string(), "attempt_id": "try-1"});
    for agent in [server.modern("agent"), server.modern("")] {
        let first = agent.call("get_pending_messages", ask.clone()).await;
        let again = agent.call("get_pending_messages", ask.clone()).await;
        assert_eq!(first["messages"], again["messages"]);
        assert_eq!(first["messages"][0]["attempt"], again["messages"][0]["attempt"]);
        let (id, handle) = (&first["messages"][0]["id"], &first["messages"][0]["handle"]);
        let back = json!({"message_id": id, "handle": handle});
        agent.call("release_message", back).await;
    }
}

#[tokio::test]
async fn an_answer_said_twice_counts_once() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    server.write(session, "q").await;
    let got = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let answer = |text: &str| {
        let message = &got["messages"][0];
        json!({"message_id": message["id"], "handle": message["handle"], "response": text})
    };
    let first = agent.call("send_response_to_web", answer("x")).await;
    let again = agent.call("send_response_to_web", answer("x")).await;
    assert_eq!((&again["already_done"], &again["response_id"]), (&json!(true), &first["response_id"]));
    assert_eq!(agent.refused("send_response_to_web", answer("y")).await["code"], "already_settled");
    assert_eq!(server.answers(session).await, ["x"]);
}

#[tokio::test]
async fn one_answer_settles_a_burst_and_names_what_it_does_not_cover() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    for text in ["one", "two", "three"] {
        server.write(session, text).await;
    }
    let got = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let of =
        |at: usize| json!({"message_id": got["messages"][at]["id"], "handle": got["messages"][at]["handle"]});
    let mut answer = of(2);
    answer["response"] = json!("all three");
    let wrong = json!({"message_id": got["messages"][0]["id"], "handle": "wrong"});
    answer["covers"] = json!([of(0), wrong, of(1)]);
    let sent = agent.call("send_response_to_web", answer).await;
    assert_eq!(sent["not_covered"][0]["code"], "unknown_token");
    assert_eq!(sent["not_covered"].as_array().unwrap().len(), 1);
    assert_eq!(server.answers(session).await, ["all three"]);
    let status = agent.call("get_conversation_status", json!({"session_id": session.to_string()})).await;
    assert_eq!(status["pending_messages"], 0);
}

#[tokio::test]
async fn without_a_handle_the_message_is_answered_by_the_one_who_holds_it() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let (holder, other) = (server.modern("holder"), server.modern("other"));
    let id = server.write(session, "q").await.to_string();
    holder.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let answer = json!({"message_id": id, "response": "x", "session_id": session.to_string()});
    assert_eq!(other.refused("send_response_to_web", answer.clone()).await["code"], "handle_needed");
    holder.call("send_response_to_web", answer).await;
    assert_eq!(server.answers(session).await, ["x"]);
}

#[tokio::test]
async fn a_session_of_the_older_protocol_is_a_name_too() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.legacy("").await;
    server.write(session, "q").await;
    agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let again = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    assert_eq!(again["held"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn progress_keeps_a_message_and_release_gives_it_back() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let id = server.write(session, "q").await.to_string();
    let ask = json!({"session_id": session.to_string()});
    let got = agent.call("get_pending_messages", ask.clone()).await;
    let with = |mut more: Value| {
        more["message_id"] = json!(id);
        more["handle"] = got["messages"][0]["handle"].clone();
        more
    };
    let long = with(json!({"progress": "x".repeat(10_000)}));
    assert_eq!(agent.refused("report_progress", long).await["code"], "invalid_field");
    let kept =
        agent.call("report_progress", with(json!({"progress": "reading", "extend_seconds": 3600}))).await;
    assert_ne!(kept["lease_until"], got["messages"][0]["lease_until"]);
    server.clock.advance(Duration::from_secs(3_000));
    let none = server.modern("b").call("get_pending_messages", ask.clone()).await;
    assert_eq!(none["count"], 0, "it is still the first one's");
    agent.call("release_message", with(json!({"reason": "not mine"}))).await;
    let again = agent.call("release_message", with(json!({}))).await;
    assert_eq!(again["already_done"], true);
    let got = server.modern("b").call("get_pending_messages", ask).await;
    assert_eq!((&got["count"], &got["messages"][0]["attempt"]), (&json!(1), &json!(2)));
    assert_eq!(agent.refused("report_progress", with(json!({}))).await["code"], "lease_lost");
}

#[tokio::test]
async fn what_waits_out_a_pause_is_no_reason_to_ask_at_once() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let ask = json!({"session_id": session.to_string()});
    let agent = server.modern("a");
    for text in ["first", "second"] {
        server.write(session, text).await;
    }
    let got = agent.call("get_pending_messages", ask.clone()).await;
    assert_eq!((ids(&got).len(), &got["has_more"]), (2, &json!(false)));
    let second = &got["messages"][1];
    let later = json!({"message_id": second["id"], "handle": second["handle"], "delay_seconds": 10});
    agent.call("release_message", later).await;
    let none = agent.call("get_pending_messages", ask.clone()).await;
    assert_eq!((&none["held"][0]["message"], &none["has_more"]), (&json!("first"), &json!(false)));
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(ids(&agent.call("get_pending_messages", ask).await), [second["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_withdrawn_message_is_shown_as_such() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let id = server.write(session, "q").await;
    let got = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    server.bridge.cancel(bridge_core::DeliveryId::of(id, 0)).await.unwrap();
    let keep = json!({"message_id": id.to_string(), "handle": got["messages"][0]["handle"]});
    assert_eq!(agent.call("report_progress", keep).await["cancel_requested"], true);
}

#[tokio::test]
async fn messages_of_an_answer_that_nobody_read_go_back() {
    let server = Server::start().await;
    let session = server.open_session().await;
    server.write(session, "x").await;
    let ask = json!({"name": "get_pending_messages", "arguments": {"session_id": session.to_string()}});
    // A nameless caller cannot repeat the call: what it did not read is free at once.
    let agent = server.modern("");
    let (request, _) = agent.prepare("tools/call", ask);
    let response = server.endpoint.clone().oneshot(request).await.unwrap();
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 1);
    drop(response);
    eventually("it is free again", async || server.bridge.session(session).await.unwrap().pending == 1).await;
    let got = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    assert_eq!(got["messages"][0]["attempt"], 2);
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 1, "this answer was read");
}

#[tokio::test]
async fn what_a_named_agent_did_not_read_waits_a_moment_for_its_repetition() {
    let server = Server::start().await;
    let session = server.open_session().await;
    server.write(session, "x").await;
    let ask = json!({"session_id": session.to_string(), "attempt_id": "try"});
    let agent = server.modern("a");
    let (request, _) = agent.prepare("tools/call", json!({"name": "get_pending_messages", "arguments": ask}));
    drop(server.endpoint.clone().oneshot(request).await.unwrap());
    let again = agent.call("get_pending_messages", ask.clone()).await;
    assert_eq!((&again["count"], &again["messages"][0]["attempt"]), (&json!(1), &json!(1)));
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 1, "the repetition was read");
}

#[tokio::test]
async fn a_client_that_leaves_when_it_has_its_answer_keeps_its_messages() {
    let server = Server::start().await;
    for agent in [server.modern(""), server.legacy("a").await] {
        let session = server.open_session().await;
        server.write(session, "x").await;
        let ask = json!({"name": "get_pending_messages", "arguments": {"session_id": session.to_string()}});
        let (request, _) = agent.prepare("tools/call", ask);
        let mut body = agent.send(request).await.into_body();
        let mut heard = String::new();
        hear(&mut body, &mut heard, "structuredContent", 1).await;
        drop(body);
        // Whatever the server makes of it has been done when these are answered.
        for _ in 0..3 {
            agent.call("mcp_warmup_ping", json!({})).await;
            server.clock.advance(Duration::from_secs(20));
        }
        assert_eq!(server.bridge.session(session).await.unwrap().leased, 1);
    }
}
