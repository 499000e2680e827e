//! The tools: their list, their arguments, what they answer.

use bridge_core::SessionId;
use serde_json::{Value, json};

use crate::support::{Agent, Server};

/// The tools that an agent is offered: what each takes, and what it does to the world.
pub(crate) async fn described(agent: &Agent) -> Vec<String> {
    let answer = agent.request("tools/list", json!({})).await;
    let tools = answer.result()["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| {
            let schema = &tool["inputSchema"];
            let optional = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name);
            let required: Vec<_> =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let optional: Vec<_> =
                optional.filter(|name| !required.contains(&name.as_str())).cloned().collect();
            let hints = &tool["annotations"];
            let read_only = if hints["readOnlyHint"] == true { "reads" } else { "changes" };
            let idempotent = if hints["idempotentHint"] == true { " again" } else { "" };
            format!(
                "{}({}; {}) {read_only}{idempotent}",
                tool["name"].as_str().unwrap(),
                required.join(", "),
                optional.join(", ")
            )
        })
        .collect()
}

#[tokio::test]
async fn the_tools_and_what_they_need_are_these() {
    let server = Server::start().await;
    for agent in [server.modern("a"), server.legacy("a").await] {
        let described = described(&agent).await;
        assert_eq!(
            described,
            [
                "wait_for_messages(session_id; timeout_seconds) reads",
                "get_pending_messages(session_id; attempt_id, max, wait_seconds) reads",
                "send_response_to_web(message_id, response; covers, handle, session_id) changes again",
                "report_progress(message_id; extend_seconds, handle, progress) changes again",
                "release_message(message_id; delay_seconds, handle, reason) changes again",
                "queue_user_message(message, session_id; idempotency_key) changes",
                "get_conversation_status(session_id; ) reads again",
                "create_new_session(; title) changes",
                "mcp_warmup_ping(; ) reads again",
            ]
        );
    }
}

#[tokio::test]
async fn every_schema_is_one_that_every_client_takes() {
    let server = Server::start().await;
    let [operator, _] = server.operators().await;
    let conversation = server.modern("a").request("tools/list", json!({})).await;
    let operators = operator.request("tools/list", json!({})).await;
    let tools = [conversation, operators].map(|answer| answer.result()["tools"].as_array().unwrap().clone());
    for tool in tools.iter().flatten() {
        assert_eq!(tool["annotations"]["destructiveHint"], false, "{tool}");
        assert_eq!(
            (&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]),
            (&json!("object"), &json!("object"))
        );
        let text = tool.to_string();
        for refused in ["\"null\"", "uint", "int64", ":null"] {
            assert!(!text.contains(refused), "{refused} in {text}");
        }
    }
}

#[tokio::test]
async fn a_session_is_made_written_to_and_looked_at() {
    let server = Server::start().await;
    let agent = server.modern("a");
    let made = agent.call("create_new_session", json!({"title": "a title"})).await;
    let id = made["session_id"].as_str().unwrap();
    assert_eq!(
        (&made["status"], &made["dashboard_url"]),
        (&json!("ready"), &json!(format!("/dashboard/{id}")))
    );
    assert!(made["claude_instructions"].as_str().unwrap().contains(&format!("use session_id: \"{id}\"")));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));

    let queue = json!({"message": "  hello ", "session_id": id, "idempotency_key": "k"});
    let queued = agent.call("queue_user_message", queue.clone()).await;
    assert_eq!((&queued["success"], &queued["queue_position"]), (&json!(true), &json!(1)));
    let again = agent.call("queue_user_message", queue).await;
    assert_eq!((&again["message_id"], &again["duplicate"]), (&queued["message_id"], &json!(true)));
    let other = json!({"message": "other", "session_id": id, "idempotency_key": "k"});
    assert_eq!(agent.refused("queue_user_message", other).await["code"], "idempotency_conflict");

    let status = agent.call("get_conversation_status", json!({"session_id": id})).await;
    assert_eq!(
        (&status["status"], &status["total_messages"], &status["pending_messages"], &status["claude_active"]),
        (&json!("active"), &json!(1), &json!(1), &json!(false))
    );
    let got = agent.call("get_pending_messages", json!({"session_id": id})).await;
    assert_eq!(got["messages"][0]["message"], "hello");
    let answer = json!({"message_id": queued["message_id"], "response": "hi"});
    agent.call("send_response_to_web", answer).await;
    let status = agent.call("get_conversation_status", json!({"session_id": id})).await;
    assert_eq!(
        (&status["pending_messages"], &status["processed_messages"], &status["claude_active"]),
        (&json!(0), &json!(1), &json!(true))
    );
    server.clock.advance(std::time::Duration::from_secs(600));
    let status = agent.call("get_conversation_status", json!({"session_id": id})).await;
    assert_eq!(status["claude_active"], false, "nobody has asked for a while");
}

#[tokio::test]
async fn an_unknown_session_is_said_to_be_unknown_and_stays_so() {
    let server = Server::start().await;
    let agent = server.modern("a");
    for id in ["ses_00000000000000000000000000000007", "no id at all", "heartbeat-42"] {
        let result = agent.try_call("get_pending_messages", json!({"session_id": id})).await;
        assert_eq!(result["isError"], true);
        let said = &result["structuredContent"];
        assert_eq!((&said["status"], &said["session_active"]), (&json!("session_not_found"), &json!(false)));
        assert_eq!(said["next_poll_instruction"]["action"], "stop");
        let status = agent.call("get_conversation_status", json!({"session_id": id})).await;
        assert_eq!(
            (&status["session_exists"], &status["status"]),
            (&json!(false), &json!("session_not_found")),
            "asking made nothing"
        );
        let queue = json!({"session_id": id, "message": "x"});
        assert_eq!(agent.refused("queue_user_message", queue).await["code"], "unknown_session");
    }
    assert!(server.bridge.sessions(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_shared_session_opens_when_it_is_first_named() {
    let server = Server::start().await;
    let agent = server.modern("a");
    let got = agent.call("get_pending_messages", json!({"session_id": "default"})).await;
    assert_eq!((&got["status"], &got["session_active"]), (&json!("ok"), &json!(true)));
    server.write(SessionId::DEFAULT, "x").await;
    let got = agent.call("get_pending_messages", json!({"session_id": "default"})).await;
    assert_eq!(got["messages"][0]["session_id"], "default");
}

#[tokio::test]
async fn wrong_arguments_are_errors_that_the_model_reads() {
    let server = Server::start().await;
    let session = server.open_session().await.to_string();
    let agent = server.modern("a");
    for (tool, arguments, says) in [
        ("get_pending_messages", json!({}), "session_id"),
        ("get_pending_messages", json!({"session_id": 7}), "string"),
        ("wait_for_messages", json!({"session_id": session, "timeout_seconds": "x"}), "a whole number"),
        ("get_pending_messages", json!({"session_id": session, "attempt_id": "a\u{0}b"}), "attempt_id"),
        ("send_response_to_web", json!({"message_id": "m", "response": " "}), "Empty response not allowed"),
        ("queue_user_message", json!({"message": " ", "session_id": session}), "Empty message not allowed"),
    ] {
        let said = agent.refused(tool, arguments).await;
        assert_eq!(said["code"], "invalid_field", "{said}");
        assert!(said["error"].as_str().unwrap().contains(says), "{said}");
        assert!(!said["what_to_do"].as_str().unwrap().is_empty());
    }
    for agent in [agent, server.legacy("b").await] {
        for params in [json!({"name": "no_such_tool", "arguments": {}}), json!({}), json!({"name": 7})] {
            assert_eq!(agent.request("tools/call", params.clone()).await.error_code(), -32602, "{params}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_no_message_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    for (id, code) in
        [("nonsense", "unknown_message"), ("msg_00000000000000000000000000000007", "unknown_token")]
    {
        let answer = json!({"message_id": id, "response": "x", "session_id": session.to_string()});
        assert_eq!(agent.refused("send_response_to_web", answer).await["code"], code);
    }
    assert!(server.answers(session).await.is_empty());
}

#[tokio::test]
async fn a_closed_conversation_ends_the_loop() {
    let server = Server::start().await;
    let session = server.open_session().await;
    server.bridge.close_session(session).await.unwrap();
    let got = server.modern("a").call("wait_for_messages", json!({"session_id": session.to_string()})).await;
    assert_eq!(
        (&got["session_active"], &got["next_poll_instruction"]["action"]),
        (&json!(false), &json!("stop"))
    );
    assert_eq!(got["directive"]["reason"], "session_closed");
}

#[tokio::test]
async fn a_fault_is_told_in_plain_words() {
    let server = Server::start().await;
    let session = server.open_session().await.to_string();
    server.bridge.shutdown().await;
    let said = server.modern("a").refused("get_pending_messages", json!({"session_id": session})).await;
    assert_eq!(said["code"], "shutting_down");
    assert!(said["what_to_do"].as_str().unwrap().contains("Try again"));
}
