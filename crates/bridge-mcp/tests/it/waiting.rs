//! Waits: that they end in time, say that they go on, and leave nothing behind when they are called off.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Server, events_of, hear};

fn wait(session: bridge_core::SessionId, seconds: i64, meta: &Value) -> Value {
    json!({
        "name": "wait_for_messages",
        "arguments": {"session_id": session.to_string(), "timeout_seconds": seconds},
        "_meta": meta,
    })
}

#[tokio::test]
async fn a_wait_ends_with_the_message_it_waited_for() {
    let server = Server::start().await;
    for agent in [server.modern("a"), server.legacy("b").await] {
        let session = server.open_session().await;
        let (answer, ()) = tokio::join!(agent.request("tools/call", wait(session, 60, &json!({}))), async {
            server.somebody_waits(session).await;
            server.write(session, "at last").await;
        });
        assert_eq!(answer.result()["structuredContent"]["messages"][0]["message"], "at last");
    }
}

#[tokio::test]
async fn an_endpoint_closes_when_the_waits_have_their_answers() {
    for older in [false, true] {
        let server = Server::start().await;
        let session = server.open_session().await;
        let agent = if older { server.legacy("a").await } else { server.modern("a") };
        let (request, _) = agent.prepare("tools/call", wait(session, 60, &json!({})));
        let call = tokio::spawn(server.endpoint.clone().oneshot(request));
        server.somebody_waits(session).await;
        let endpoint = server.endpoint.clone();
        let mut closing = tokio::spawn(async move { endpoint.close().await });
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(!closing.is_finished(), "the wait has no answer yet");

        server.bridge.shutdown().await;
        let answer = call.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("shutting_down"), "{answer}");
        tokio::time::timeout(Duration::from_secs(20), &mut closing).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_wait_without_a_message_says_to_call_again() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let (answer, ()) = tokio::join!(agent.request("tools/call", wait(session, 60, &json!({}))), async {
        server.somebody_waits(session).await;
        server.clock.advance(Duration::from_secs(60));
    });
    let said = &answer.result()["structuredContent"];
    assert_eq!((&said["count"], &said["directive"]["action"]), (&json!(0), &json!("wait_again")));
    assert!(said["what_to_do"].as_str().unwrap().contains("wait_for_messages"));
    assert_ne!(answer.result()["isError"], true);
}

#[tokio::test]
async fn polling_slows_down_while_nothing_comes() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    for seconds in [2, 4, 8, 16, 30, 30] {
        let said = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
        let next = &said["next_poll_instruction"];
        assert_eq!((&next["action"], &next["delay_seconds"]), (&json!("poll_again"), &json!(seconds)));
        assert_eq!(next["message"], format!("Check again in {seconds} seconds"));
        assert_eq!(said["directive"]["delay_ms"], seconds * 1_000);
    }
    server.write(session, "x").await;
    let said = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
    let next = &said["next_poll_instruction"];
    assert_eq!(
        (&next["action"], &next["message"]),
        (&json!("process_messages"), &json!("Process these messages first"))
    );
}

#[tokio::test]
async fn a_client_that_asked_for_it_hears_every_ten_seconds_that_the_wait_goes_on() {
    let server = Server::start().await;
    for agent in [server.modern("a"), server.legacy("b").await] {
        let session = server.open_session().await;
        let (request, _) = agent.prepare("tools/call", wait(session, 60, &json!({"progressToken": "p"})));
        let (response, ()) = tokio::join!(agent.send(request), async {
            server.somebody_waits(session).await;
            server.clock.advance(Duration::from_secs(10));
        });
        let (mut body, mut heard) = (response.into_body(), String::new());
        hear(&mut body, &mut heard, "notifications/progress", 1).await;
        server.clock.advance(Duration::from_secs(10));
        hear(&mut body, &mut heard, "notifications/progress", 2).await;
        server.write(session, "x").await;
        hear(&mut body, &mut heard, "structuredContent", 1).await;
        let messages = events_of(&heard);
        let (result, progress) = messages.split_last().unwrap();
        assert_eq!(result["result"]["structuredContent"]["count"], 1);
        let told: Vec<f64> = progress
            .iter()
            .inspect(|one| {
                assert_eq!(
                    (&one["method"], &one["params"]["progressToken"]),
                    (&json!("notifications/progress"), &json!("p"))
                );
            })
            .map(|one| one["params"]["progress"].as_f64().unwrap())
            .collect();
        assert_eq!(told, [10.0, 20.0]);
    }
}

#[tokio::test]
async fn going_away_calls_a_wait_off() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let (request, _) = agent.prepare("tools/call", wait(session, 60, &json!({})));
    tokio::select! {
        _ = agent.send(request) => panic!("there was nothing to wait for"),
        () = server.somebody_waits(session) => {}
    }
    // The connection was closed with the wait.
    server.nobody_waits(session).await;
    server.write(session, "x").await;
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 0);
}

#[tokio::test]
async fn a_cancelled_wait_of_the_older_protocol_takes_nothing() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.legacy("a").await;
    let (request, id) = agent.prepare("tools/call", wait(session, 60, &json!({})));
    let response = agent.send(request).await;
    server.somebody_waits(session).await;
    agent.notify("notifications/cancelled", json!({"requestId": id})).await;
    server.nobody_waits(session).await;
    server.write(session, "x").await;
    assert_eq!(server.bridge.session(session).await.unwrap().leased, 0);
    drop(response);
}

#[tokio::test]
async fn a_client_of_the_older_protocol_that_goes_away_leaves_no_wait_behind() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.legacy("a").await;
    let (request, _) = agent.prepare("tools/call", wait(session, 60, &json!({})));
    let response = agent.send(request).await;
    server.somebody_waits(session).await;
    drop(response);
    server.nobody_waits(session).await;
}

#[tokio::test]
async fn a_stop_of_the_server_sends_a_wait_home() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let agent = server.modern("a");
    let (answer, ()) = tokio::join!(agent.request("tools/call", wait(session, 60, &json!({}))), async {
        server.somebody_waits(session).await;
        server.bridge.shutdown().await;
    });
    let said = &answer.result()["structuredContent"];
    assert_eq!(
        (&said["directive"]["action"], &said["directive"]["reason"]),
        (&json!("wait_again"), &json!("shutting_down"))
    );
}
