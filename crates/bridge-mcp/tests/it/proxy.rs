//! Clients that speak stdio only, over a server that comes and goes.

use std::{io, time::Duration};

use bridge_core::Name;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines},
    task::JoinHandle,
};

use crate::support::{LEGACY, MODERN, Server};

/// A client on the other side of a proxy.
struct Client {
    input: DuplexStream,
    output: Lines<BufReader<DuplexStream>>,
    proxy: JoinHandle<io::Result<()>>,
}

impl Client {
    fn new(url: &str) -> Self {
        let (input, theirs) = tokio::io::duplex(1 << 16);
        let (written, output) = tokio::io::duplex(1 << 16);
        let url = url.to_owned();
        let proxy = tokio::spawn(async move {
            bridge_mcp::proxy(&url, Some(&Name::from_static("client")), theirs, written).await
        });
        Self { input, output: BufReader::new(output).lines(), proxy }
    }

    async fn legacy(url: &str) -> Self {
        let mut client = Self::new(url);
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        client.say(&json!({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params})).await;
        assert_eq!(client.hear().await["result"]["protocolVersion"], LEGACY);
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        client
    }

    async fn say(&mut self, message: &Value) {
        self.write(&message.to_string()).await;
    }

    async fn write(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(20), self.output.next_line()).await;
        serde_json::from_str(&line.expect("an answer").unwrap().expect("a line")).unwrap()
    }
}

fn legacy(id: i64, tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

fn modern(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test]
async fn both_eras_pass_through() {
    let server = Server::start().await;
    let session = server.open_session().await;

    let mut client = Client::legacy(&server.url()).await;
    server.write(session, "one").await;
    let ask = json!({"session_id": session.to_string()});
    client.say(&legacy(1, "get_pending_messages", &ask)).await;
    let got = client.hear().await["result"]["structuredContent"].clone();
    let answer = json!({"message_id": got["messages"][0]["id"], "response": "first"});
    client.say(&legacy(2, "send_response_to_web", &answer)).await;
    assert_eq!(client.hear().await["result"]["structuredContent"]["success"], true);

    let mut client = Client::new(&server.url());
    client.say(&modern(1, "server/discover", json!({}))).await;
    assert!(client.hear().await["result"]["supportedVersions"].is_array());
    client.say(&modern(2, "tools/call", json!({"name": "wait_for_messages", "arguments": ask}))).await;
    let task = client.hear().await["result"]["taskId"].clone();
    server.write(session, "two").await;
    client.say(&modern(3, "tasks/get", json!({"taskId": task}))).await;
    let done = client.hear().await;
    let message = &done["result"]["result"]["structuredContent"]["messages"][0];
    assert_eq!(message["message"], "two");
    assert_eq!(
        server.bridge.session(session).await.unwrap().presence.consumer,
        Some(Name::from_static("client"))
    );
    client.say(&modern(4, "tasks/cancel", json!({"taskId": task}))).await;
    assert_eq!(client.hear().await["id"], 4);
    client.say(&modern(5, "no/such/method", json!({}))).await;
    assert_eq!(client.hear().await["error"]["code"], -32601);
    assert_eq!(server.answers(session).await, ["first"]);
}

#[tokio::test]
async fn a_client_need_not_wait_until_it_is_connected() {
    let server = Server::start().await;
    let mut client = Client::new(&server.url());
    let params =
        json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    // In one breath, so that all of it is read before anything is answered.
    let said = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        legacy(3, "mcp_warmup_ping", &json!({})),
    ];
    client.write(&said.map(|message| message.to_string()).join("\n")).await;
    assert_eq!(client.hear().await["result"]["protocolVersion"], LEGACY);
    for _ in 0..2 {
        let answer = client.hear().await;
        match answer["id"].as_i64() {
            Some(2) => assert!(answer["result"]["tools"].is_array(), "{answer}"),
            _ => assert_eq!(answer["result"]["structuredContent"]["status"], "warm", "{answer}"),
        }
    }
}

#[tokio::test]
async fn progress_passes_through() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let mut client = Client::new(&server.url());
    let wait = json!({
        "name": "get_pending_messages",
        "arguments": {"session_id": session.to_string(), "wait_seconds": 60},
        "_meta": {"progressToken": "p"},
    });
    client.say(&modern(1, "tools/call", wait)).await;
    server.somebody_waits(session).await;
    server.clock.advance(Duration::from_secs(10));
    let progress = client.hear().await;
    assert_eq!(
        (&progress["method"], &progress["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!("p"))
    );
    server.write(session, "x").await;
    assert_eq!(client.hear().await["result"]["structuredContent"]["count"], 1);
}

#[tokio::test]
async fn a_wait_outlives_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let session = server.open_session().await;
    let ask = json!({"session_id": session.to_string(), "wait_seconds": 60});
    let mut old = Client::legacy(&server.url()).await;
    let mut new = Client::new(&server.url());
    for (client, call) in [
        (&mut old, legacy(7, "get_pending_messages", &ask)),
        (&mut new, modern(7, "tools/call", json!({"name": "get_pending_messages", "arguments": ask}))),
    ] {
        client.say(&call).await;
        server.somebody_waits(session).await;
        server = server.restart().await;
        server.write(session, "after").await;
        let got = client.hear().await;
        let message = &got["result"]["structuredContent"]["messages"][0];
        assert_eq!((&got["id"], &message["message"]), (&json!(7), &json!("after")));
        let credential = bridge_runtime::Credential::Handle(
            message["id"].as_str().unwrap().parse().unwrap(),
            message["handle"].as_str().unwrap().to_owned(),
        );
        server.bridge.settle(credential, bridge_runtime::Settlement::Ack).await.unwrap();
        // Nobody is there until the next one asks.
        server.clock.advance(Duration::from_secs(600));
    }
}

#[tokio::test]
async fn a_server_that_forgot_its_clients_is_told_again_who_they_are() {
    let server = Server::start().await;
    let mut client = Client::legacy(&server.url()).await;
    let server = server.stop().await.replace().await;
    client.say(&legacy(1, "mcp_warmup_ping", &json!({}))).await;
    assert_eq!(client.hear().await["result"]["structuredContent"]["status"], "warm");
    drop(server);
}

#[tokio::test]
async fn a_cancelled_call_closes_its_connection() {
    let server = Server::start().await;
    let session = server.open_session().await;
    let ask = json!({"session_id": session.to_string(), "wait_seconds": 60});
    let mut client = Client::new(&server.url());
    client.say(&modern(1, "tools/call", json!({"name": "get_pending_messages", "arguments": ask}))).await;
    server.somebody_waits(session).await;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    client.say(&cancelled).await;
    server.nobody_waits(session).await;
    client.say(&modern(2, "tools/call", json!({"name": "mcp_warmup_ping", "arguments": {}}))).await;
    assert_eq!(client.hear().await["id"], 2, "the cancelled call has no answer");
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_end_of_the_input_ends_it() {
    let server = Server::start().await;
    let mut client = Client::new(&server.url());
    for (line, code) in [("{", -32700), ("7", -32600), ("{\"id\": 1}", -32600)] {
        client.write(line).await;
        assert_eq!(client.hear().await["error"]["code"], code, "{line}");
    }
    client.say(&modern(1, "tools/call", json!({"name": "mcp_warmup_ping", "arguments": {}}))).await;
    drop(client.input);
    let last = client.output.next_line().await.unwrap().expect("what was asked before the end is answered");
    assert!(last.contains("warm"));
    assert!(client.output.next_line().await.unwrap().is_none());
    client.proxy.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for url in ["127.0.0.1:1", "https://example.org", "file:///x", "not an address"] {
        let refused = bridge_mcp::proxy(url, None, tokio::io::empty(), tokio::io::sink()).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{url}");
    }
}
