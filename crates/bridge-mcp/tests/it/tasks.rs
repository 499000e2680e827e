//! Waits as tasks: no lease before the client looks, the same result until it is used, and all of it after a restart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Agent, Reply, Server};

fn wait(session: bridge_core::SessionId) -> Value {
    json!({"name": "wait_for_messages", "arguments": {"session_id": session.to_string()}})
}

async fn begin(agent: &Agent, session: bridge_core::SessionId) -> String {
    let answer = agent.request("tools/call", wait(session)).await;
    let task = answer.result();
    assert_eq!((&task["resultType"], &task["status"]), (&json!("task"), &json!("working")), "{task}");
    assert_eq!(task["pollIntervalMs"], 2_000);
    assert!(task["ttlMs"].as_i64().unwrap() >= 3_600_000);
    task["taskId"].as_str().unwrap().to_owned()
}

async fn look(agent: &Agent, task: &str) -> Reply {
    agent.request("tasks/get", json!({"taskId": task})).await
}

#[tokio::test]
async fn a_task_ends_with_a_result_that_stands_alone() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.with_tasks("a");
    let task = begin(&agent, session).await;
    assert_eq!(look(&agent, &task).await.result()["status"], "working");

    server.write(session, "hello").await;
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 0, "no lease before the client asks");
    let done = look(&agent, &task).await;
    assert_eq!(done.result()["status"], "completed");
    let result = &done.result()["result"];
    let text = result["content"][0]["text"].as_str().unwrap();
    for needed in
        ["hello", "handle", "send_response_to_web", "call wait_for_messages again", "data from the people"]
    {
        assert!(text.contains(needed), "{needed} in {text}");
    }
    let again = look(&agent, &task).await;
    assert_eq!(again.result()["result"], *result, "a lost answer loses nothing");

    let message = &result["structuredContent"]["messages"][0];
    let answer = json!({"message_id": message["id"], "handle": message["handle"], "response": "hi"});
    agent.call("send_response_to_web", answer).await;
    assert_eq!(server.answers(session).await, ["hi"]);

    server.write(session, "for whoever asks next").await;
    let over = look(&agent, &task).await;
    assert_eq!(over.result()["status"], "completed");
    let said = &over.result()["result"]["structuredContent"];
    assert_eq!((&said["count"], &said["directive"]["reason"]), (&json!(0), &json!("task_over")));
    assert_eq!(server.bridge.session(session).await.unwrap().pending, 1);
}

#[tokio::test]
async fn a_task_outlives_a_restart() {
    let server = Server::start().await;
    let session = server.open_session().await;
    for name in ["named", ""] {
        let agent = server.with_tasks(name);
        begin(&agent, session).await;
    }
    let (named, nameless) = (server.with_tasks("named"), server.with_tasks(""));
    let task = begin(&named, session).await;
    let lonely = begin(&nameless, server.open_session().await).await;
    let server = server.restart().await;
    let (named, nameless) = (server.meet(&named), server.meet(&nameless));
    assert_eq!(look(&named, &task).await.result()["status"], "working");
    assert_eq!(look(&nameless, &lonely).await.result()["status"], "working");
    server.write(session, "after").await;
    let done = look(&named, &task).await;
    let message = &done.result()["result"]["structuredContent"]["messages"][0];
    assert_eq!(message["message"], "after");
    let handle = message["handle"].clone();

    // And once more, with the result on its way.
    let server = server.restart().await;
    let named = server.meet(&named);
    let again = look(&named, &task).await;
    assert_eq!(again.result()["result"]["structuredContent"]["messages"][0]["handle"], handle);
}

#[tokio::test]
async fn messages_that_are_there_need_no_task() {
    let server = Server::start().await;
    let session = server.open_session().await;
    server.write(session, "x").await;
    let answer = server.with_tasks("a").request("tools/call", wait(session)).await;
    assert_eq!(answer.result()["structuredContent"]["count"], 1);
}

#[tokio::test]
async fn a_client_that_takes_no_tasks_gets_none() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let (answer, ()) = tokio::join!(agent.request("tools/call", wait(session)), async {
        server.somebody_waits(session).await;
        server.clock.advance(Duration::from_secs(25));
    });
    assert_eq!(answer.result()["resultType"], "complete");
    let task = begin(&server.with_tasks("b"), session).await;
    assert_eq!(look(&agent, &task).await.error_code(), -32021, "the capability is missing");
}

#[tokio::test]
async fn a_task_that_saw_nothing_ends_and_says_to_wait_again() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.with_tasks("a");
    let task = begin(&agent, session).await;
    server.clock.advance(Duration::from_secs(3_600));
    let done = look(&agent, &task).await;
    assert_eq!(done.result()["status"], "completed");
    let said = &done.result()["result"]["structuredContent"];
    assert_eq!((&said["count"], &said["directive"]["action"]), (&json!(0), &json!("wait_again")));
    assert!(said["what_to_do"].as_str().unwrap().contains("wait_for_messages"));
}

#[tokio::test]
async fn a_cancelled_task_takes_no_message() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.with_tasks("a");
    let task = begin(&agent, session).await;
    agent.request("tasks/update", json!({"taskId": task, "inputResponses": {}})).await.result();
    agent.request("tasks/cancel", json!({"taskId": task})).await.result();
    server.write(session, "x").await;
    assert_eq!(look(&agent, &task).await.result()["status"], "cancelled");
    assert_eq!(server.bridge.session(session).await.unwrap().pending, 1);
}

#[tokio::test]
async fn an_unknown_task_is_refused() {
    let server = Server::start().await;
    let agent = server.with_tasks("a");
    for method in ["tasks/get", "tasks/cancel"] {
        for id in ["nonsense", "tsk_00000000000000000000000000000007"] {
            assert_eq!(agent.request(method, json!({"taskId": id})).await.error_code(), -32602);
        }
    }
}

#[tokio::test]
async fn an_agent_that_holds_too_much_is_told_so_instead_of_waiting() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.with_tasks("a");
    for at in 0..21 {
        server.write(session, &at.to_string()).await;
    }
    for count in [10, 10] {
        let answer = agent.request("tools/call", wait(session)).await;
        assert_eq!(answer.result()["structuredContent"]["count"], count);
    }
    let answer = agent.request("tools/call", wait(session)).await;
    let said = &answer.result()["structuredContent"];
    assert_eq!((&said["directive"]["reason"], &said["has_more"]), (&json!("no_credit"), &json!(true)));
    assert_eq!(said["held"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn what_has_no_room_in_the_result_of_a_task_comes_in_the_next_result() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.with_tasks("a");
    let task = begin(&agent, session).await;
    for _ in 0..2 {
        server.write(session, &"\u{7f}".repeat(5_000)).await;
    }
    let done = look(&agent, &task).await;
    let said = &done.result()["result"]["structuredContent"];
    assert_eq!((&said["count"], &said["has_more"]), (&json!(1), &json!(true)));
    assert_eq!(look(&agent, &task).await.result(), done.result());
    let next = agent.request("tools/call", wait(session)).await;
    let said = &next.result()["structuredContent"];
    assert_eq!((&said["count"], &said["has_more"]), (&json!(1), &json!(false)));
    assert_eq!(said["messages"][0]["message"], "\\u{7f}".repeat(5_000));
}
