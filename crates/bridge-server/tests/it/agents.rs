//! Several agents on one conversation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use http::Method;
use serde_json::{Value, json};

use crate::bridge::{Answer, Data, Http, PATIENCE, Server};

const MESSAGES: usize = 200;

/// Messages that wait when the agents begin: enough that the one which dies has answered its share while there are
/// batches to be in the middle of, however slowly the others are sent.
const WAIT_AT_FIRST: usize = 150;

/// Answers after which the one agent dies.
const DIES_AFTER: usize = 35;

/// Short, because a test waits for it to end.
const LEASE_MS: u64 = 1_000;

/// What the agents have seen and done.
#[derive(Debug, Default)]
struct Record {
    /// Each delivery's hand-overs, in order.
    handed: HashMap<String, Vec<Handed>>,
    /// Who gave each answer that counted.
    answered: Vec<&'static str>,
}

impl Record {
    /// Whether the one that lives answered before the other one was done.
    fn answered_at_once(&self) -> bool {
        let began = self.answered.iter().position(|by| *by == "lives");
        let ended = self.answered.iter().rposition(|by| *by == "dies");
        began.zip(ended).is_some_and(|(began, ended)| began < ended)
    }
}

#[derive(Debug)]
struct Handed {
    to: &'static str,
    /// The end of the lease, as the agent was told.
    until: String,
}

/// An agent with connections of its own, which end with it.
struct Agent {
    name: &'static str,
    http: Http,
    url: String,
    mailbox: String,
    record: Arc<Mutex<Record>>,
}

impl Agent {
    fn new(name: &'static str, server: &Server, session: &str, record: &Arc<Mutex<Record>>) -> Self {
        let mailbox = format!("session:{session}/agent");
        Self { name, http: Http::new(), url: server.url.clone(), mailbox, record: Arc::clone(record) }
    }

    /// Answers until everything is answered.
    async fn lives(self) {
        while self.record.lock().unwrap().answered.len() < MESSAGES {
            for granted in self.receive().await {
                self.answer(&granted).await;
            }
        }
    }

    /// Answers for a while, and is gone in the middle of a batch, with its connections. Tells which deliveries it held.
    async fn dies(self) -> Vec<String> {
        let mut answered = 0;
        loop {
            let batch = self.receive().await;
            for (at, granted) in batch.iter().enumerate() {
                if answered >= DIES_AFTER && at > 0 {
                    return batch[at..].iter().map(|held| text(held, "id")).collect();
                }
                answered += usize::from(self.answer(granted).await);
            }
        }
    }

    /// Waits for messages, and notes what it is handed.
    async fn receive(&self) -> Vec<Value> {
        let wish = json!({
            "mailbox": self.mailbox,
            "consumer": self.name,
            "max": 10,
            "wait_ms": 30_000,
            "lease_ms": LEASE_MS,
        });
        let received = self.http.post(&format!("{}/api/receive", self.url), &wish).await;
        let batch = received["deliveries"].as_array().unwrap().clone();
        let mut record = self.record.lock().unwrap();
        for granted in &batch {
            let handed = Handed { to: self.name, until: text(granted, "lease_until") };
            record.handed.entry(text(granted, "id")).or_default().push(handed);
        }
        batch
    }

    /// Answers a message with its own text; whether that counted.
    async fn answer(&self, granted: &Value) -> bool {
        let settle =
            json!({ "token": granted["token"], "outcome": "answer", "reply": granted["message"]["text"] });
        let (status, answer): Answer = self
            .http
            .try_call(Method::POST, &format!("{}/api/settle", self.url), None, Some(&settle))
            .await
            .unwrap();
        match status {
            200 => self.record.lock().unwrap().answered.push(self.name),
            // A busy machine was slower than the lease; it comes again.
            409 => assert_eq!(answer["code"], "lease_lost", "{answer}"),
            _ => panic!("{status} {answer}"),
        }
        status == 200
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_at_once_never_hold_the_same_message_and_one_inherits_from_the_other() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let http = Http::new();
    let session = http.open(&server.url).await;
    let record = Arc::default();

    let send = async |number: usize| {
        let message = json!({ "text": format!("{number:03}"), "from": "user" });
        http.post(&format!("{}/api/sessions/{session}/messages", server.url), &message).await;
    };
    for number in 0..WAIT_AT_FIRST {
        send(number).await;
    }
    let lives = tokio::spawn(Agent::new("lives", &server, &session, &record).lives());
    let dies = tokio::spawn(Agent::new("dies", &server, &session, &record).dies());
    for number in WAIT_AT_FIRST..MESSAGES {
        send(number).await;
    }
    let inherited = tokio::time::timeout(PATIENCE, dies).await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, lives).await.unwrap().unwrap();

    let record = std::mem::take(&mut *record.lock().unwrap());
    assert!(record.answered_at_once(), "one waited for the other to be done: {:?}", record.answered);
    for delivery in &inherited {
        assert_eq!(record.handed[delivery].last().unwrap().to, "lives", "{delivery}");
    }
    let (answers, questions): (Vec<Value>, Vec<Value>) = http
        .messages(&server.url, &session)
        .await
        .into_iter()
        .partition(|message| message["type"] == "answer");
    let asked: Vec<_> = questions.iter().map(|question| (&question["id"], &question["text"])).collect();
    let answered: Vec<_> = answers.iter().map(|answer| (&answer["reply_to"], &answer["text"])).collect();
    assert_eq!(asked.len(), MESSAGES);
    assert_eq!(answered, asked, "not every message was answered once and in order");
    for question in &questions {
        let id = text(&question["deliveries"][0], "id");
        let delivery = http.get(&format!("{}/api/deliveries/{id}", server.url)).await;
        was_in_one_hand_at_a_time(&record.handed[&id], &delivery);
    }
}

/// The log knows of the same hand-overs as the agents, and each began when the lease before it had ended.
fn was_in_one_hand_at_a_time(handed: &[Handed], delivery: &Value) {
    let attempts = delivery["attempts"].as_array().unwrap();
    assert!(
        handed.iter().map(|handed| handed.to).eq(attempts.iter().map(|attempt| &attempt["consumer"])),
        "{handed:?} but {delivery}"
    );
    for (earlier, later) in handed.iter().zip(&attempts[1..]) {
        let began = text(later, "presented_at");
        assert!(earlier.until <= began, "handed to two at once: {handed:?} {delivery}");
    }
}
