//! The real program while something below it is broken on purpose: the disk, the sockets, the clock.
//!
//! What a machine has to allow for that is named by [`Needed`]. Where it does not, the test fails and says so; only
//! `BRIDGE_TESTS_WITHOUT` leaves it out.

mod clock;
mod descriptors;
mod full_disk;
mod medium;
mod read_only;
mod recovery;
mod small_disk;
mod syscalls;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bridge::{Answer, Http, PATIENCE, look_again};

/// What a running server may take to see that the fault is over.
const HEALED: Duration = Duration::from_secs(10);

/// How long a call may take that is answered whatever is broken.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a test needs from the machine besides the program.
#[derive(Debug, Clone, Copy)]
enum Needed {
    /// A file system of its own, mounted where only the test's processes see it.
    Mounts,
    /// To see the system calls of a process, and have some fail.
    Ptrace,
    /// A wall clock that only some processes see.
    Faketime,
}

impl Needed {
    /// Whether the environment says that this machine cannot do it.
    #[expect(clippy::print_stdout, reason = "what was not tested should be seen")]
    fn is_left_out(self) -> bool {
        let name = format!("{self:?}").to_lowercase();
        let without = std::env::var("BRIDGE_TESTS_WITHOUT").unwrap_or_default();
        let left_out = without.split(',').any(|word| word.trim() == name);
        if left_out {
            println!("NOT TESTED: BRIDGE_TESTS_WITHOUT says that this machine cannot do {name}");
        }
        left_out
    }

    /// Fails the test, since this machine cannot do it.
    fn is_missing(self, why: &str) -> ! {
        let name = format!("{self:?}").to_lowercase();
        panic!(
            "this test needs {name}, which does not work here: {why}. docs/testing.md tells what to change on this \
             machine; BRIDGE_TESTS_WITHOUT={name} leaves these tests out"
        );
    }
}

/// A conversation on a server that fails, and what was confirmed there.
struct Sender {
    http: Http,
    session: String,
    /// The keys of confirmed messages with their ids, in order.
    confirmed: Vec<(String, String)>,
    /// Keys whose messages were refused, or nobody knows.
    unconfirmed: Vec<String>,
    sent: usize,
}

impl Sender {
    async fn new(http: &Http, url: &str) -> Self {
        let session = http.open(url).await;
        Self { http: http.clone(), session, confirmed: Vec::new(), unconfirmed: Vec::new(), sent: 0 }
    }

    /// Sends one more message, with a key of its own.
    async fn send(&mut self, url: &str) -> Answer {
        let key = format!("{}-{}", self.session, self.sent);
        self.sent += 1;
        let answer = self.send_with(url, &key).await;
        if answer.0 >= 300 {
            self.unconfirmed.push(key);
        }
        answer
    }

    async fn send_with(&mut self, url: &str, key: &str) -> Answer {
        let message = json!({ "text": key, "from": "user" });
        let url = format!("{url}/api/sessions/{}/messages", self.session);
        let answer = self.http.try_call(Method::POST, &url, Some(key), Some(&message)).await;
        let (status, answer) = answer.expect("the server answers");
        if status < 300 {
            self.confirmed.push((key.to_owned(), answer["message_id"].as_str().unwrap().to_owned()));
        }
        (status, answer)
    }

    /// Sends everything again that was not confirmed, until it is.
    async fn repeat_unconfirmed(&mut self, url: &str) {
        for key in std::mem::take(&mut self.unconfirmed) {
            while self.send_with(url, &key).await.0 >= 300 {
                look_again().await;
            }
        }
    }

    /// Each confirmed message is stored, each stored one once.
    async fn lost_nothing(&self, url: &str) {
        let stored = self.http.messages(url, &self.session).await;
        let mut keys: Vec<_> = stored.iter().map(|message| message["text"].as_str().unwrap()).collect();
        for (key, id) in &self.confirmed {
            let found: Vec<_> = stored.iter().filter(|message| message["text"] == key.as_str()).collect();
            assert_eq!(found.len(), 1, "{key} was confirmed");
            assert_eq!(found[0]["id"], id.as_str());
        }
        keys.sort_unstable();
        let stored = keys.len();
        keys.dedup();
        assert_eq!(stored, keys.len(), "a message is there more than once: {keys:?}");
    }

    /// What can be read whatever is broken: that the server lives, the conversation, the log.
    async fn reads_go_on(&self, url: &str) {
        let messages = format!("/api/sessions/{}/messages", self.session);
        for path in ["/health/live", "/api/events?limit=100", &messages] {
            answers_at_once(&self.http, url, path).await;
        }
    }
}

async fn answers_at_once(http: &Http, url: &str, path: &str) {
    let url = format!("{url}{path}");
    let answered = tokio::time::timeout(AT_ONCE, http.get(&url)).await;
    answered.unwrap_or_else(|_| panic!("{path} is not answered within {AT_ONCE:?}"));
}

/// What `/health/ready` says, and what of the store.
async fn ready(http: &Http, url: &str) -> (u16, Value) {
    let answer = http.try_call(Method::GET, &format!("{url}/health/ready"), None, None).await;
    let (status, answer) = answer.expect("the server answers");
    (status, answer["checks"]["store"].clone())
}

/// Waits until the server is ready again.
async fn heals(http: &Http, url: &str) {
    let healed = async {
        while ready(http, url).await.0 != 200 {
            look_again().await;
        }
    };
    tokio::time::timeout(HEALED, healed).await.unwrap_or_else(|_| panic!("it is not ready after {HEALED:?}"));
}

/// Has somebody wait for a message of a conversation that has none.
async fn park(http: &Http, url: &str, session: &str) -> JoinHandle<Option<Answer>> {
    let receive =
        json!({ "mailbox": format!("session:{session}/agent"), "consumer": "agent", "wait_ms": 60_000 });
    let (waits, receiving) = (http.clone(), format!("{url}/api/receive"));
    let parked =
        tokio::spawn(async move { waits.try_call(Method::POST, &receiving, None, Some(&receive)).await });
    let seen = async {
        while http.get(&format!("{url}/api/sessions/{session}")).await["presence"]["state"] == "away" {
            look_again().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("who waits is seen");
    parked
}

/// Sends a message to who has waited for one all the time.
async fn gets_what_it_waited_for(parked: JoinHandle<Option<Answer>>, http: &Http, url: &str, session: &str) {
    let wanted = json!({ "text": "wanted", "from": "user" });
    http.post(&format!("{url}/api/sessions/{session}/messages"), &wanted).await;
    let (status, received) = parked.await.unwrap().expect("the server answers");
    assert_eq!(status, 200, "{received}");
    assert_eq!(received["deliveries"][0]["message"]["text"], "wanted", "{received}");
}
