//! A server on a real socket, and agents that speak raw JSON-RPC to it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bridge_core::{Address, MessageId, Name, SessionId, Side};
use bridge_mcp::Endpoint;
use bridge_protocol::text_payload;
use bridge_runtime::{Bridge, NewMessage, Policy, ReceiveRequest};
use bridge_store::MemoryStore;
use bridge_testkit::{clock::ManualClock, fault::FaultyStore};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tower::ServiceExt;

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const LEGACY: &str = "2025-11-25";

/// A running server; what it stores outlives it.
pub(crate) struct Server {
    pub(crate) bridge: Bridge,
    pub(crate) clock: ManualClock,
    /// The endpoint itself, without a socket.
    pub(crate) endpoint: Endpoint,
    /// What the bridge writes to; it fails when it is told to.
    pub(crate) faults: FaultyStore<MemoryStore>,
    store: MemoryStore,
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::over(MemoryStore::new(), ManualClock::new(), ([127, 0, 0, 1], 0).into()).await
    }

    async fn over(store: MemoryStore, clock: ManualClock, addr: SocketAddr) -> Self {
        // One wait at a time, so that a test can see that another one is over.
        let policy = Policy { max_waiting: 1, ..Policy::default() };
        let faults = FaultyStore::new(store.clone());
        let bridge =
            Bridge::builder(faults.clone()).clock(clock.clone()).policy(policy).start().await.unwrap();
        let endpoint = Endpoint::builder(bridge.clone(), Arc::new(store.clone())).shared_session().build();
        let operator = Endpoint::builder(bridge.clone(), Arc::new(store.clone())).operator_tools().build();
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, endpoint.clone(), operator));
        Self { bridge, clock, endpoint, faults, store, addr, accepting }
    }

    /// Another process over the same store: nothing of this one's memory goes on.
    pub(crate) async fn restart(self) -> Self {
        self.stop().await.start().await
    }

    /// Stops as a process that is killed: nobody is told.
    pub(crate) async fn stop(self) -> Stopped {
        self.accepting.abort();
        // Its connections end with it.
        assert!(self.accepting.await.unwrap_err().is_cancelled());
        self.bridge.shutdown().await;
        Stopped { store: self.store, clock: self.clock, addr: self.addr }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) async fn open_session(&self) -> SessionId {
        self.bridge.open_session(None, Name::from_static("person")).await.unwrap().session.id
    }

    /// The person writes.
    pub(crate) async fn write(&self, session: SessionId, text: &str) -> MessageId {
        let message = NewMessage::new(Address::Session(session, Side::Agent), text_payload(text));
        self.bridge.publish(message.from(Name::from_static("person"))).await.unwrap().message
    }

    /// What the person has been answered.
    pub(crate) async fn answers(&self, session: SessionId) -> Vec<String> {
        let snapshot = self.bridge.snapshot(session, None, 100).await.unwrap();
        let to_person = Address::Session(session, Side::User);
        let answers = snapshot.messages.iter().filter(|(message, _)| message.to == to_person);
        answers.filter_map(|(message, _)| bridge_protocol::text_of(&message.payload)).collect()
    }

    /// An agent of the protocol without sessions.
    pub(crate) fn modern(&self, name: &str) -> Agent {
        Agent::new(self.addr, name, Era::Modern { tasks: false })
    }

    /// One that takes tasks.
    pub(crate) fn with_tasks(&self, name: &str) -> Agent {
        Agent::new(self.addr, name, Era::Modern { tasks: true })
    }

    /// Agents of an operator, one of each era.
    pub(crate) async fn operators(&self) -> [Agent; 2] {
        let path = "/mcp/operator?agent=ops".to_owned();
        let modern = Agent { path: path.clone(), ..self.modern("") };
        let legacy = Agent { path, ..Agent::new(self.addr, "", Era::Legacy { session: None }) };
        [modern, Self::connect(legacy).await]
    }

    /// An agent of the older protocol, connected.
    pub(crate) async fn legacy(&self, name: &str) -> Agent {
        Self::connect(Agent::new(self.addr, name, Era::Legacy { session: None })).await
    }

    async fn connect(mut agent: Agent) -> Agent {
        let params = json!({
            "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        });
        let answer = agent.request("initialize", params).await;
        assert_eq!(answer.result()["protocolVersion"], LEGACY);
        let session = answer.headers["mcp-session-id"].to_str().unwrap().to_owned();
        agent.era = Era::Legacy { session: Some(session) };
        let answer = agent.notify("notifications/initialized", json!({})).await;
        assert_eq!(answer, StatusCode::ACCEPTED);
        agent
    }

    /// The same agents, after a restart, at the new address.
    pub(crate) fn meet(&self, agent: &Agent) -> Agent {
        Agent {
            addr: self.addr,
            next: AtomicI64::new(1_000),
            path: agent.path.clone(),
            era: agent.era.clone(),
        }
    }

    /// Returns when somebody waits for messages of the session.
    pub(crate) async fn somebody_waits(&self, session: SessionId) {
        eventually("somebody waits", async || {
            self.bridge.session(session).await.unwrap().presence.state == bridge_core::PresenceState::Online
        })
        .await;
    }
}

/// A server that is not running.
pub(crate) struct Stopped {
    store: MemoryStore,
    clock: ManualClock,
    addr: SocketAddr,
}

impl Stopped {
    /// Starts it again, at the same address.
    pub(crate) async fn start(self) -> Server {
        Server::over(self.store, self.clock, self.addr).await
    }

    /// Starts another one there, that knows nothing.
    pub(crate) async fn replace(self) -> Server {
        Server::over(MemoryStore::new(), self.clock, self.addr).await
    }
}

impl Server {
    /// Returns when nobody waits for messages any longer, though no time passes.
    pub(crate) async fn nobody_waits(&self, session: SessionId) {
        let mailbox = Address::Session(session, Side::Agent);
        eventually("nobody waits", async || {
            let wait = ReceiveRequest::new(mailbox.clone()).wait(Duration::from_secs(60));
            // It is refused while somebody waits; else it waits itself.
            tokio::time::timeout(Duration::from_millis(50), self.bridge.receive(wait)).await.is_err()
        })
        .await;
    }
}

async fn accept(listener: TcpListener, conversation: Endpoint, operator: Endpoint) {
    // Connections die with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (conversation, operator) = (conversation.clone(), operator.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let operates = request.uri().path() == "/mcp/operator";
                let endpoint = if operates { operator.clone() } else { conversation.clone() };
                async move { Ok::<_, Infallible>(endpoint.oneshot(request).await.unwrap()) }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Asks until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[derive(Debug, Clone)]
enum Era {
    Modern { tasks: bool },
    Legacy { session: Option<String> },
}

/// A client that speaks raw JSON-RPC, each request on a connection of its own.
pub(crate) struct Agent {
    addr: SocketAddr,
    path: String,
    next: AtomicI64,
    era: Era,
}

/// Reads an answer until it holds `text` for the `times`th time; adds what it read to `heard`.
pub(crate) async fn hear(body: &mut Incoming, heard: &mut String, text: &str, times: usize) {
    let reading = async {
        while heard.matches(text).count() < times {
            let frame = body.frame().await.expect("more").unwrap();
            heard.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it was said");
}

/// The messages of a stream of events.
pub(crate) fn events_of(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    data.filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What came over the wire, notifications first.
    pub(crate) messages: Vec<Value>,
}

impl Reply {
    pub(crate) fn last(&self) -> &Value {
        self.messages.last().expect("an answer")
    }

    pub(crate) fn result(&self) -> &Value {
        let last = self.last();
        assert!(last.get("result").is_some(), "no result: {last}");
        &last["result"]
    }

    pub(crate) fn error_code(&self) -> i64 {
        self.last()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {}", self.last()))
    }
}

impl Agent {
    fn new(addr: SocketAddr, name: &str, era: Era) -> Self {
        let path = if name.is_empty() { "/mcp".to_owned() } else { format!("/mcp?agent={name}") };
        Self { addr, path, next: AtomicI64::new(1), era }
    }

    /// The structured result of a tool that did what it was asked for.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let result = self.try_call(tool, arguments).await;
        assert_ne!(result["isError"], true, "{result}");
        let structured = result["structuredContent"].clone();
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, structured, "the text says the same as the value");
        structured
    }

    /// The result of a tool, whatever it is.
    pub(crate) async fn try_call(&self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments})).await.result().clone()
    }

    /// What a refusal says.
    pub(crate) async fn refused(&self, tool: &str, arguments: Value) -> Value {
        let result = self.try_call(tool, arguments).await;
        assert_eq!(result["isError"], true, "{result}");
        serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Reply {
        let (request, _) = self.prepare(method, params);
        self.read(self.send(request).await).await
    }

    /// A request whose answer nobody reads yet, and its id.
    pub(crate) fn prepare(&self, method: &str, mut params: Value) -> (Request<Full<Bytes>>, i64) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if let Era::Modern { tasks } = &self.era {
            let extensions = if *tasks { json!({"io.modelcontextprotocol/tasks": {}}) } else { json!({}) };
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({"extensions": extensions});
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        }
        let name = params["name"].as_str().or(params["taskId"].as_str()).map(str::to_owned);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut request = self.post(body.to_string());
        if let Era::Modern { .. } = self.era {
            request.headers_mut().insert("mcp-method", method.parse().unwrap());
            if let Some(name) = name {
                request.headers_mut().insert("mcp-name", name.parse().unwrap());
            }
        }
        (request, id)
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) -> StatusCode {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.send(self.post(body.to_string())).await.status()
    }

    /// A POST of this body, with the headers of the era.
    pub(crate) fn post(&self, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header("host", self.addr.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        match &self.era {
            Era::Modern { .. } => request = request.header("mcp-protocol-version", MODERN),
            Era::Legacy { session: Some(session) } => {
                request = request.header("mcp-protocol-version", LEGACY).header("mcp-session-id", session);
            }
            Era::Legacy { session: None } => {}
        }
        request.body(Full::new(body.into())).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub(crate) async fn read(&self, response: Response<Incoming>) -> Reply {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let events = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let messages =
            if events { events_of(&text) } else { serde_json::from_str(&text).into_iter().collect() };
        Reply { status: parts.status, headers: parts.headers, messages }
    }
}
