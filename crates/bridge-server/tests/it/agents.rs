//! Several agents on one conversation.

use std::collections::HashSet;

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

/// Takes and acknowledges until so many messages are done; tells which, in order. Stops in the middle of a batch.
async fn work(http: &Http, server: &Server, session: &str, consumer: &str, enough: usize) -> Vec<String> {
    let mut done = Vec::new();
    while done.len() < enough {
        let received = receive(http, server, session, consumer, 2_000).await;
        for granted in received["deliveries"].as_array().unwrap() {
            if done.len() == enough {
                break;
            }
            let settle = json!({ "token": granted["token"], "outcome": "ack" });
            let url = format!("{}/api/settle", server.url);
            let (status, answer) = http.try_call(Method::POST, &url, None, Some(&settle)).await.unwrap();
            match status {
                200 => done.push(granted["message"]["text"].as_str().unwrap().to_owned()),
                // A busy machine was slower than the lease; it comes again.
                409 => {}
                _ => panic!("{status} {answer}"),
            }
        }
    }
    done
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

    let dies = async {
        let done = work(&http, &server, &session, "dies", 35).await;
        // It holds half a batch now, and is never heard of again.
        done
    };
    let done_by_the_dead = tokio::time::timeout(PATIENCE, dies).await.unwrap();
    let lives = work(&http, &server, &session, "lives", MESSAGES - done_by_the_dead.len());
    let done_by_the_living = tokio::time::timeout(PATIENCE, lives).await.unwrap();

    let all: Vec<_> = done_by_the_dead.iter().chain(&done_by_the_living).collect();
    let expected: Vec<_> = (0..MESSAGES).map(|number| format!("{number:03}")).collect();
    assert_eq!(all, expected.iter().collect::<Vec<_>>(), "not every message was done once and in order");
    assert!(receive(&http, &server, &session, "lives", 0).await["deliveries"].as_array().unwrap().is_empty());

    let mut handed_on = 0;
    for message in http.messages(&server.url, &session).await {
        let id = message["deliveries"][0]["id"].as_str().unwrap();
        let delivery = http.get(&format!("{}/api/deliveries/{id}", server.url)).await;
        handed_on += usize::from(no_two_held_it_at_once(&delivery) > 1);
    }
    assert!(handed_on > 0, "the dead agent held nothing, so this test shows nothing");
}

/// Each hand-over began when the one before it had ended. Tells how many agents had it.
fn no_two_held_it_at_once(delivery: &Value) -> usize {
    let attempts = delivery["attempts"].as_array().unwrap();
    for pair in attempts.windows(2) {
        let (ended, began) =
            (pair[0]["ended_at"].as_str().unwrap(), pair[1]["presented_at"].as_str().unwrap());
        assert!(ended <= began, "two held it at once: {delivery}");
    }
    assert_eq!(attempts.last().unwrap()["outcome"], "settled", "{delivery}");
    attempts.iter().map(|attempt| attempt["consumer"].as_str().unwrap()).collect::<HashSet<_>>().len()
}
