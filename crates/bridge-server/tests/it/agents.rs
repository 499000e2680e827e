//! Several agents on one conversation.

use std::collections::HashMap;

use http::Method;
use serde_json::{Value, json};

use crate::bridge::{Data, Http, PATIENCE, Server};

const MESSAGES: usize = 200;

/// Short, because a test waits for it to end.
const LEASE_MS: u64 = 1_000;

async fn receive(http: &Http, server: &Server, session: &str, consumer: &str, wait_ms: u64) -> Value {
    let receive = json!({
        "mailbox": format!("session:{session}/agent"),
        "consumer": consumer,
        "max": 10,
        "wait_ms": wait_ms,
        "lease_ms": LEASE_MS,
    });
    http.post(&format!("{}/api/receive", server.url), &receive).await
}

/// What an agent has done, and what it holds when it stops.
#[derive(Default)]
struct Worked {
    done: Vec<String>,
    /// Deliveries with the ends of their leases.
    held: HashMap<String, String>,
}

/// Takes and acknowledges until so many messages are done. Stops in the middle of a batch.
async fn work(http: &Http, server: &Server, session: &str, consumer: &str, enough: usize) -> Worked {
    let mut worked = Worked::default();
    while worked.done.len() < enough {
        let received = receive(http, server, session, consumer, 2_000).await;
        for granted in received["deliveries"].as_array().unwrap() {
            if worked.done.len() == enough {
                let text = |name: &str| granted[name].as_str().unwrap().to_owned();
                worked.held.insert(text("id"), text("lease_until"));
                continue;
            }
            let settle = json!({ "token": granted["token"], "outcome": "ack" });
            let url = format!("{}/api/settle", server.url);
            let (status, answer) = http.try_call(Method::POST, &url, None, Some(&settle)).await.unwrap();
            match status {
                200 => worked.done.push(granted["message"]["text"].as_str().unwrap().to_owned()),
                // A busy machine was slower than the lease; it comes again.
                409 => {}
                _ => panic!("{status} {answer}"),
            }
        }
    }
    worked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_agent_held_goes_to_the_other_and_nothing_goes_to_both() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let http = Http::new();
    let session = http.open(&server.url).await;
    for number in 0..MESSAGES {
        let message = json!({ "text": format!("{number:03}"), "from": "user" });
        http.post(&format!("{}/api/sessions/{session}/messages", server.url), &message).await;
    }

    let dies = work(&http, &server, &session, "dies", 35);
    let dead = tokio::time::timeout(PATIENCE, dies).await.unwrap();
    assert!(!dead.held.is_empty(), "the dead agent held nothing, so this test shows nothing");
    let lives = work(&http, &server, &session, "lives", MESSAGES - dead.done.len());
    let living = tokio::time::timeout(PATIENCE, lives).await.unwrap();

    let all = [dead.done, living.done].concat();
    let expected: Vec<_> = (0..MESSAGES).map(|number| format!("{number:03}")).collect();
    assert_eq!(all, expected, "not every message was done once and in order");
    assert!(receive(&http, &server, &session, "lives", 0).await["deliveries"].as_array().unwrap().is_empty());

    for message in http.messages(&server.url, &session).await {
        let id = message["deliveries"][0]["id"].as_str().unwrap();
        let delivery = http.get(&format!("{}/api/deliveries/{id}", server.url)).await;
        no_two_held_it_at_once(&delivery);
        if let Some(until) = dead.held.get(id) {
            the_lease_lasted(until, &delivery);
        }
    }
}

/// Each hand-over began when the one before it had ended.
fn no_two_held_it_at_once(delivery: &Value) {
    let attempts = delivery["attempts"].as_array().unwrap();
    for pair in attempts.windows(2) {
        let (ended, began) =
            (pair[0]["ended_at"].as_str().unwrap(), pair[1]["presented_at"].as_str().unwrap());
        assert!(ended <= began, "two held it at once: {delivery}");
    }
    assert_eq!(attempts.last().unwrap()["outcome"], "settled", "{delivery}");
}

/// The dead agent had it for as long as it was told, and then the other one got it.
fn the_lease_lasted(until: &str, delivery: &Value) {
    let attempts = delivery["attempts"].as_array().unwrap();
    let last = attempts.iter().rfind(|attempt| attempt["consumer"] == "dies").unwrap();
    assert!(until <= last["ended_at"].as_str().unwrap(), "it was taken away before {until}: {delivery}");
    assert_eq!(attempts.last().unwrap()["consumer"], "lives", "{delivery}");
}
