//! The way of each message to the server and of its answers back, over restarts of the server.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bridge_core::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::http::{Answer, Failure, Headers, Server};
use crate::tools;

/// How long a server that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first pause before the next try; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A message of the client.
#[derive(Debug)]
pub(super) enum Message {
    /// It wants an answer.
    Call(Value),
    /// It wants none.
    Other(Value),
}

impl Message {
    /// What kind of message it is, if it is one.
    pub(super) fn new(message: Value) -> Option<Self> {
        let object = message.as_object()?;
        let id = object.get("id").filter(|id| id.is_string() || id.is_number());
        match (object.get("method"), id) {
            (Some(Value::String(_)), Some(_)) => Some(Self::Call(message)),
            (Some(Value::String(_)), None) => Some(Self::Other(message)),
            (None, Some(_)) if object.contains_key("result") || object.contains_key("error") => {
                Some(Self::Other(message))
            }
            _ => None,
        }
    }
}

/// Relays one client's messages.
#[derive(Debug)]
pub(super) struct Relay {
    server: Server,
    url: String,
    clock: Arc<dyn Clock>,
    answers: mpsc::Sender<Value>,
    calls: Mutex<HashMap<String, CancellationToken>>,
    session: Mutex<Session>,
    /// Set when the client's `initialize` has its answer; what comes before that waits for it.
    connecting: Mutex<Option<CancellationToken>>,
}

/// What a client of the older protocol agreed on.
#[derive(Debug, Default, Clone)]
struct Session {
    id: Option<String>,
    version: Option<String>,
    initialize: Option<Value>,
}

/// When a message may be sent.
enum Turn {
    Now,
    /// It is what others wait for.
    Connects(CancellationToken),
    AfterConnecting(CancellationToken),
}

impl Turn {
    async fn wait(&self) {
        if let Self::AfterConnecting(connected) = self {
            connected.cancelled().await;
        }
    }

    fn end(&self) {
        if let Self::Connects(connected) = self {
            connected.cancel();
        }
    }
}

impl Relay {
    pub(super) fn new(
        url: &str,
        agent: &str,
        clock: Arc<dyn Clock>,
        answers: mpsc::Sender<Value>,
    ) -> io::Result<Self> {
        Ok(Self {
            server: Server::new(url, agent)?,
            url: url.to_owned(),
            clock,
            answers,
            calls: Mutex::default(),
            session: Mutex::default(),
            connecting: Mutex::default(),
        })
    }

    /// Notes a call, so that it can be called off, and says how it goes on.
    pub(super) fn start(self: Arc<Self>, call: Value) -> impl Future<Output = ()> + Send {
        let called_off = CancellationToken::new();
        let key = call["id"].to_string();
        self.calls().insert(key.clone(), called_off.clone());
        let turn = self.turn(&call);
        async move {
            tokio::select! {
                // Closing the connection is what calls it off at the server.
                () = called_off.cancelled() => {}
                () = async {
                    turn.wait().await;
                    self.answer(&call).await;
                } => {}
            }
            turn.end();
            self.calls().remove(&key);
        }
    }

    /// When a message may be sent that has come now: a client may say more before it knows that it is connected.
    fn turn(&self, message: &Value) -> Turn {
        let mut connecting = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        if !meta_version(message).is_null() {
            Turn::Now
        } else if message["method"] == "initialize" {
            Turn::Connects(connecting.insert(CancellationToken::new()).clone())
        } else {
            connecting.clone().map_or(Turn::Now, Turn::AfterConnecting)
        }
    }

    /// Sends what wants no answer.
    pub(super) async fn tell(&self, message: Value) {
        if message["method"] != "notifications/cancelled" {
            self.turn(&message).wait().await;
        }
        let modern = !meta_version(&message).is_null() || self.session().id.is_none();
        if !modern {
            // It has no answer, so there is no way to say that it did not arrive.
            let _ = self.patiently(&message).await;
        }
        if message["method"] == "notifications/cancelled"
            && let Some(call) = self.calls().get(&message["params"]["requestId"].to_string())
        {
            call.cancel();
        }
    }

    /// Sends a call until it is answered, or until it is clear that it will not be.
    async fn answer(&self, call: &Value) {
        let failed = match self.patiently(call).await {
            Ok(()) => return,
            Err(Failure::NotSent) => {
                format!("The bridge at {} does not answer; start it with `bridge serve`", self.url)
            }
            Err(Failure::Broken | Failure::NoSession) => format!(
                "The connection to the bridge at {} broke, and it is unknown whether this took effect. Look before you \
                 repeat it.",
                self.url
            ),
            Err(Failure::Refused(why)) => why,
        };
        self.forward(failure(call, &failed)).await;
    }

    /// Tries until it works, waiting for a server that is away.
    async fn patiently(&self, message: &Value) -> Result<(), Failure> {
        let mut away: Option<(Timestamp, Duration)> = None;
        let mut renewed = false;
        loop {
            let began = self.clock.now();
            let failed = match self.attempt(message).await {
                Ok(()) => return Ok(()),
                Err(Failure::NoSession) if !renewed => {
                    renewed = true;
                    self.renew().await?;
                    continue;
                }
                Err(failed @ Failure::NotSent) => failed,
                Err(failed @ Failure::Broken) if is_repeatable(message) => failed,
                Err(failed) => return Err(failed),
            };
            let now = self.clock.now();
            // A connection that lasted a while means that the server was there.
            let (since, pause) = away.filter(|_| now.since(began) < PATIENCE).unwrap_or((now, FIRST_PAUSE));
            if now.since(since) >= PATIENCE {
                return Err(if matches!(failed, Failure::Broken) { Failure::NotSent } else { failed });
            }
            self.clock.sleep_until(now + pause).await;
            away = Some((since, (pause * 2).min(LONGEST_PAUSE)));
        }
    }

    /// Sends a message once and forwards all that comes back.
    async fn attempt(&self, call: &Value) -> Result<(), Failure> {
        let (headers, answer) = self.server.post(call, &self.headers(call)).await?;
        let is_initialize = call["method"] == "initialize";
        let answer = match answer {
            _ if call.get("id").is_none() || call.get("method").is_none() => return Ok(()),
            Answer::Taken => return Err(Failure::Refused("The bridge gave no answer".to_owned())),
            Answer::One(answer) => answer,
            Answer::Stream(mut messages) => loop {
                let message = messages.next().await?;
                if message.get("method").is_none() && message["id"] == call["id"] {
                    break message;
                }
                self.forward(message).await;
            },
        };
        if is_initialize {
            self.agree(call, &headers, &answer);
        }
        self.forward(answer).await;
        Ok(())
    }

    fn agree(&self, call: &Value, headers: &http::HeaderMap, answer: &Value) {
        let id = headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let version = answer["result"]["protocolVersion"].as_str().map(str::to_owned);
        *self.session() = Session { id, version, initialize: Some(call.clone()) };
    }

    /// Connects again as the client did: the server has forgotten its session.
    async fn renew(&self) -> Result<(), Failure> {
        let Some(initialize) = self.session().initialize.clone() else { return Err(Failure::NoSession) };
        let (headers, answer) = self.server.post(&initialize, &Headers::default()).await?;
        let answer = match answer {
            Answer::One(answer) => answer,
            Answer::Stream(mut messages) => messages.next().await?,
            Answer::Taken => return Err(Failure::NoSession),
        };
        self.agree(&initialize, &headers, &answer);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.server.post(&initialized, &self.headers(&initialized)).await.map(drop)
    }

    fn headers(&self, message: &Value) -> Headers {
        if let Some(version) = meta_version(message).as_str() {
            let method = message["method"].as_str().unwrap_or_default().to_owned();
            let params = &message["params"];
            let name = match method.as_str() {
                "tools/call" | "prompts/get" => &params["name"],
                "tasks/get" | "tasks/update" | "tasks/cancel" => &params["taskId"],
                _ => &params["uri"],
            };
            let name = name.as_str().map(str::to_owned);
            return Headers {
                version: Some(version.to_owned()),
                session: None,
                method: Some((method, name)),
            };
        }
        if message["method"] == "initialize" {
            return Headers::default();
        }
        let Session { id, version, .. } = self.session().clone();
        Headers { version, session: id, method: None }
    }

    async fn forward(&self, message: Value) {
        // Nobody reads: the end of the input will be seen soon.
        let _ = self.answers.send(message).await;
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version that a message of the protocol without sessions bears.
fn meta_version(message: &Value) -> &Value {
    &message["params"]["_meta"][VERSION]
}

/// Whether saying it twice is saying it once.
fn is_repeatable(message: &Value) -> bool {
    if message["method"] != "tools/call" {
        return true;
    }
    let keyed = message["params"]["arguments"]["idempotency_key"].is_string();
    let name = message["params"]["name"].as_str();
    let tool = name.and_then(tools::named);
    let hints = tool.and_then(|tool| tool.annotations.as_ref());
    keyed || hints.is_some_and(|hints| hints.read_only_hint == Some(true) || hints.is_idempotent())
}

/// A failure as an answer: where a model reads it, if it comes from a tool.
fn failure(call: &Value, why: &str) -> Value {
    if call["method"] != "tools/call" {
        return json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32603, "message": why}});
    }
    let mut result = json!({"content": [{"type": "text", "text": why}], "isError": true});
    if !meta_version(call).is_null() {
        result["resultType"] = json!("complete");
    }
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

#[cfg(test)]
mod tests {
    use bridge_testkit::clock::ManualClock;

    use super::*;

    /// An address where nobody listens.
    async fn nowhere() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    async fn said(call: Value) -> (Value, String) {
        let clock = ManualClock::new();
        let url = nowhere().await;
        let (answers, mut said) = mpsc::channel(1);
        let relay = Arc::new(Relay::new(&url, "a", Arc::new(clock.clone()), answers).unwrap());
        tokio::spawn(relay.start(call));
        let began = clock.now();
        let said = loop {
            tokio::select! {
                biased;
                said = said.recv() => break said.unwrap(),
                () = tokio::task::yield_now() => clock.advance(Duration::from_millis(10)),
            }
        };
        assert!(clock.now().since(began) >= PATIENCE);
        (said, url)
    }

    #[tokio::test]
    async fn a_client_is_told_in_words_that_the_server_is_away() {
        let (said, url) =
            said(json!({"id": 1, "method": "tools/call", "params": {"name": "wait_for_messages"}})).await;
        let text = format!("The bridge at {url} does not answer; start it with `bridge serve`");
        assert_eq!(
            (&said["result"]["isError"], &said["result"]["content"][0]["text"]),
            (&json!(true), &json!(text))
        );
    }

    #[tokio::test]
    async fn a_connecting_client_is_told_too() {
        let (said, url) = said(json!({"id": "x", "method": "initialize", "params": {}})).await;
        assert_eq!(said["id"], "x");
        assert!(said["error"]["message"].as_str().unwrap().contains(&url));
    }

    #[test]
    fn only_what_is_safe_is_repeated() {
        let call = |name: &str, arguments: Value| json!({"method": "tools/call", "params": {"name": name, "arguments": arguments}});
        assert!(is_repeatable(&json!({"method": "tools/list"})));
        for tool in ["wait_for_messages", "get_pending_messages", "send_response_to_web", "report_progress"] {
            assert!(is_repeatable(&call(tool, json!({}))), "{tool}");
        }
        for tool in ["queue_user_message", "create_new_session", "of_a_newer_server"] {
            assert!(!is_repeatable(&call(tool, json!({}))), "{tool}");
        }
        assert!(is_repeatable(&call("queue_user_message", json!({"idempotency_key": "k"}))));
    }
}
