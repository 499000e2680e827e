//! Run it: `cargo run -p echo-agent`, or `cargo run -p echo-agent -- http://127.0.0.1:8765 SESSION` beside a running bridge
//!
//! An agent over plain HTTP: it waits for a message in a held call, answers it, and waits again, three times. Without
//! arguments it starts a bridge of its own on a free port, and plays the person too.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::{error::Error, future::pending};

use bridge_protocol::{Message, OpenSession, Page, Receive, Received, Session, Settled};
use bridge_runtime::Bridge;
use bridge_store::MemoryStore;
use bridge_transport::{HttpDoor, ServeSettings, serve};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const TURNS: usize = 3;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(url), Some(session)) = (arguments.next(), arguments.next()) {
        return be_an_agent(&url, &session).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let bridge = Bridge::builder(MemoryStore::new()).start().await?;
    let door = HttpDoor::builder(bridge).build()?;
    let server = serve(listener, door, ServeSettings::default(), pending());
    println!("a bridge listens at {url}");
    tokio::select! {
        result = be_both(&url) => result,
        () = server => Err("the bridge has stopped".into()),
    }
}

async fn be_both(url: &str) -> Result<()> {
    let session: Session =
        call(Method::POST, &format!("{url}/api/sessions"), json!(OpenSession::default())).await?;
    let messages = format!("{url}/api/sessions/{}/messages", session.id);
    for text in ["one", "two", "three"] {
        call::<Value>(Method::POST, &messages, json!({ "text": text, "from": "user" })).await?;
    }
    be_an_agent(url, &session.id).await?;
    let said: Page<Message> = call(Method::GET, &messages, Value::Null).await?;
    for message in said.data {
        println!("{:>10}: {}", message.from, message.text.unwrap_or_default());
    }
    Ok(())
}

async fn be_an_agent(url: &str, session: &str) -> Result<()> {
    let mailbox = format!("session:{session}/agent");
    for turn in 0..TURNS {
        println!("the agent waits");
        let granted = loop {
            let wish = Receive {
                mailbox: Some(mailbox.clone()),
                consumer: Some("echo-agent".to_owned()),
                wait_ms: Some(25_000),
                // Were the answer lost on its way, asking again for the same attempt would give the same message.
                attempt_id: Some(format!("turn-{turn}")),
                ..Receive::default()
            };
            let received: Received = call(Method::POST, &format!("{url}/api/receive"), json!(wish)).await?;
            if let Some(granted) = received.deliveries.into_iter().next() {
                break granted;
            }
        };
        let text = granted.message.and_then(|message| message.text).unwrap_or_default();
        let settle = json!({ "token": granted.token, "outcome": "answer", "reply": { "text": format!("{text}, {text}") } });
        let settled: Settled = call(Method::POST, &format!("{url}/api/settle"), settle).await?;
        println!("the agent answered {text:?}; the message is {}", settled.state);
    }
    Ok(())
}

async fn call<T: DeserializeOwned>(method: Method, url: &str, body: Value) -> Result<T> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().method(method).uri(url).header("content-type", "application/json");
    let content = if body.is_null() { String::new() } else { body.to_string() };
    let response = client.request(request.body(Full::<bytes::Bytes>::from(content))?).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    if status.is_success() {
        Ok(serde_json::from_slice(&answer)?)
    } else {
        Err(String::from_utf8_lossy(&answer).into())
    }
}
