//! What a sender was told survives a power cut at any moment.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bridge::{Data, Http, PATIENCE, Server, run, stdout};

/// How often the server is killed, unless `BRIDGE_KILLS` says otherwise.
const KILLS: u32 = 50;
const SENDERS: usize = 3;

/// Numbers that one seed repeats, by `SplitMix64`.
struct Rng(u64);

impl Rng {
    #[expect(clippy::print_stdout, reason = "a failure can be repeated with its seed")]
    fn new() -> Self {
        let seed = std::env::var("BRIDGE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap());
        println!("BRIDGE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Where the server is, as it comes and goes.
#[derive(Clone)]
struct Place {
    url: watch::Receiver<String>,
    stop: Arc<AtomicBool>,
    http: Http,
}

impl Place {
    /// Repeats a call until it is answered by something else than a fault or a full mailbox.
    async fn call(&mut self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        loop {
            let url = format!("{}{path}", *self.url.borrow_and_update());
            match self.http.try_call(Method::POST, &url, key, Some(body)).await {
                Some((status, answer)) if status < 500 && status != 429 => return (status, answer),
                _ => {
                    let _ = tokio::time::timeout(Duration::from_millis(20), self.url.changed()).await;
                }
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

/// Sends one message after another, each until it is confirmed. Tells the ids by key, in order.
async fn send(mut place: Place, session: String, sender: usize) -> Vec<(String, String)> {
    let mut confirmed = Vec::new();
    while place.goes_on() {
        let key = format!("sender-{sender}-{:05}", confirmed.len());
        let message = json!({ "text": key, "from": "user" });
        let (status, answer) =
            place.call(&format!("/api/sessions/{session}/messages"), Some(&key), &message).await;
        assert!(matches!(status, 200..300), "{status} {answer}");
        confirmed.push((key, answer["message_id"].as_str().unwrap().to_owned()));
    }
    confirmed
}

/// Answers messages until it is stopped and finds no more. A lost answer of either call is asked for again.
async fn answer(mut place: Place, session: String) {
    for attempt in 0.. {
        let stopped = !place.goes_on();
        let receive = json!({
            "mailbox": format!("session:{session}/agent"),
            "consumer": "agent",
            "max": 8,
            "wait_ms": if stopped { 0 } else { 200 },
            "attempt_id": format!("attempt-{attempt}"),
        });
        let (status, received) = place.call("/api/receive", None, &receive).await;
        assert_eq!(status, 200, "{received}");
        let list = |name: &str| received[name].as_array().cloned().unwrap_or_default();
        let mut taken = [list("held"), list("deliveries")].concat();
        taken.sort_by_key(|granted| granted["message"]["seq"].as_u64());
        if taken.is_empty() && stopped {
            return;
        }
        for granted in taken {
            let text = format!("re: {}", granted["message"]["text"].as_str().unwrap());
            let settle = json!({ "token": granted["token"], "outcome": "answer", "reply": { "text": text } });
            let (status, settled) = place.call("/api/settle", None, &settle).await;
            assert_eq!(status, 200, "{settled}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_survives_every_kill() {
    let mut rng = Rng::new();
    let data = Data::new();
    let http = Http::new();
    let mut server = Server::start(&data.path());
    let session = http.open(&server.url).await;

    let (tell, url) = watch::channel(server.url.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let place = Place { url, stop: stop.clone(), http: http.clone() };
    let senders: Vec<_> =
        (0..SENDERS).map(|sender| tokio::spawn(send(place.clone(), session.clone(), sender))).collect();
    let agent = tokio::spawn(answer(place.clone(), session.clone()));

    let kills = std::env::var("BRIDGE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    for _ in 0..kills {
        a_while(Duration::from_millis(20 + rng.below(280))).await;
        server.kill();
        server = Server::start(&data.path());
        tell.send_replace(server.url.clone());
    }
    stop.store(true, Ordering::SeqCst);
    let mut confirmed = BTreeMap::new();
    for (sender, task) in senders.into_iter().enumerate() {
        confirmed.insert(sender, tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap());
    }
    tokio::time::timeout(PATIENCE, agent).await.unwrap().unwrap();

    let messages = http.messages(&server.url, &session).await;
    let is_question = |message: &&Value| message["to"].as_str().unwrap().ends_with("/agent");
    let questions: Vec<_> = messages.iter().filter(is_question).collect();
    let answers: Vec<_> = messages.iter().filter(|message| !is_question(message)).collect();
    every_confirmed_message_is_there_once_and_in_order(&confirmed, &questions);
    each_was_answered_once_and_in_order(&questions, &answers);
    a_repeated_send_gives_the_first_result(&http, &server.url, &session, &confirmed).await;

    let again = http.messages(&server.url, &session).await;
    assert_eq!(again.len(), messages.len(), "a repeated send made another message");
    drop(server);
    let check = run(&["check", "--data", &data.text()]);
    assert!(check.status.success(), "{}", stdout(&check));
    println!("{} messages, {} answers", questions.len(), answers.len());
}

fn text(message: &Value) -> &str {
    message["text"].as_str().unwrap()
}

fn every_confirmed_message_is_there_once_and_in_order(
    confirmed: &BTreeMap<usize, Vec<(String, String)>>,
    questions: &[&Value],
) {
    for (sender, sent) in confirmed {
        assert!(!sent.is_empty(), "sender {sender} was never confirmed");
        let prefix = format!("sender-{sender}-");
        let stored: Vec<_> = questions
            .iter()
            .filter(|message| text(message).starts_with(&prefix))
            .map(|message| (text(message).to_owned(), message["id"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(&stored, sent, "what is stored of sender {sender} is not what was confirmed");
    }
    let places: Vec<_> = questions.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "places do not grow");
}

fn each_was_answered_once_and_in_order(questions: &[&Value], answers: &[&Value]) {
    let answered: Vec<_> = answers.iter().map(|answer| answer["reply_to"].as_str().unwrap()).collect();
    let unique: HashSet<_> = answered.iter().collect();
    assert_eq!(unique.len(), answered.len(), "a message was answered twice");
    let asked: Vec<_> = questions.iter().map(|question| question["id"].as_str().unwrap()).collect();
    assert_eq!(answered, asked, "answers are missing, or not in the order of the questions");
    let texts: HashMap<_, _> =
        questions.iter().map(|question| (question["id"].as_str(), text(question))).collect();
    for answer in answers {
        assert_eq!(text(answer), format!("re: {}", texts[&answer["reply_to"].as_str()]));
    }
}

async fn a_repeated_send_gives_the_first_result(
    http: &Http,
    url: &str,
    session: &str,
    confirmed: &BTreeMap<usize, Vec<(String, String)>>,
) {
    for (key, id) in confirmed.values().flatten().step_by(7) {
        let message = json!({ "text": key, "from": "user" });
        let url = format!("{url}/api/sessions/{session}/messages");
        let (status, answer) = http.try_call(Method::POST, &url, Some(key), Some(&message)).await.unwrap();
        assert!(matches!(status, 200..300), "{status} {answer}");
        assert_eq!(answer["message_id"].as_str(), Some(id.as_str()));
        assert_eq!(answer["duplicate"], true);
    }
}

#[expect(clippy::disallowed_methods, reason = "the moment of a kill is random on purpose")]
async fn a_while(duration: Duration) {
    tokio::time::sleep(duration).await;
}
