//! A server on a socket, and a client that says exactly what it is told to say.

use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bridge_core::{Address, Side};
use bridge_runtime::{Bridge, NewMessage, Policy};
use bridge_store::MemoryStore;
use bridge_testkit::{clock::ManualClock, fault::FaultyStore};
use bridge_transport::{Builder, HttpDoor, ServeSettings, Settings, serve};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) bridge: Bridge,
    pub(crate) store: FaultyStore<MemoryStore>,
    pub(crate) clock: ManualClock,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|door| door, ServeSettings::default()).await
    }

    pub(crate) async fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::with(|door| door.settings(settings), ServeSettings::default()).await
    }

    pub(crate) async fn with(build: impl FnOnce(Builder) -> Builder, serving: ServeSettings) -> Self {
        Self::with_policy(build, serving, Policy::default()).await
    }

    pub(crate) async fn with_policy(
        build: impl FnOnce(Builder) -> Builder,
        serving: ServeSettings,
        policy: Policy,
    ) -> Self {
        let store = FaultyStore::new(MemoryStore::new());
        let clock = ManualClock::new();
        let bridge =
            Bridge::builder(store.clone()).clock(clock.clone()).policy(policy).start().await.unwrap();
        let door = build(HttpDoor::builder(bridge.clone())).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve(listener, door, serving, async {
            // A test that ends without stopping the server leaves it to the runtime.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { address, bridge, store, clock, running: Mutex::new(Some((stop, running))) }
    }

    /// Tells the server to stop; it may still have something to do.
    pub(crate) fn stop(&self) -> JoinHandle<()> {
        let (stop, running) = self.running.lock().unwrap().take().unwrap();
        stop.send(()).unwrap();
        running
    }

    /// Sends a text to the agent's side of a session.
    pub(crate) async fn say(&self, session: &str, text: &str) -> Value {
        let body = serde_json::json!({ "text": text }).to_string();
        let answer = self.post(&format!("/api/sessions/{session}/messages"), &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Sends a text to the person's side of a session, to be seen later.
    pub(crate) async fn schedule(&self, session: &str, text: &str, delay: Duration) {
        let to = Address::Session(session.parse().unwrap(), Side::User);
        let mut message = NewMessage::new(to, bridge_protocol::text_payload(text));
        message.delay = delay;
        self.bridge.publish(message).await.unwrap();
    }

    /// Takes the next message of a session as the agent `name`, and answers it.
    pub(crate) async fn reply(&self, session: &str, name: &str, text: &str) {
        let wish = serde_json::json!({"mailbox": format!("session:{session}/agent"), "consumer": name});
        let received = self.post("/api/receive", &wish.to_string()).await.json();
        let token = &received["deliveries"][0]["token"];
        let settle = serde_json::json!({"token": token, "outcome": "answer", "reply": text});
        let settled = self.post("/api/settle", &settle.to_string()).await;
        assert_eq!(settled.status, 200, "{settled:?}");
    }

    /// A new session, opened as a client would.
    pub(crate) async fn session(&self) -> String {
        let answer = self.post("/api/sessions", "{}").await;
        assert_eq!(answer.status, 201);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(request(Method::POST, path, body)).await
    }

    /// Says something on a connection of its own, and reads the answer to its end.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::read(self.begin(request).await).await
    }

    /// The same, by itself.
    pub(crate) fn ask(&self, request: Request<Full<Bytes>>) -> impl Future<Output = Answer> + Send + use<> {
        let address = self.address;
        async move { Answer::read(begin(address, request).await).await }
    }

    /// Says something, and leaves the answer unread.
    pub(crate) async fn begin(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        begin(self.address, request).await
    }

    /// The same over HTTP/2.
    pub(crate) async fn send_h2(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Answer::read(soon(sender.send_request(request)).await.unwrap()).await
    }

    /// A connection that is spoken to byte by byte.
    pub(crate) async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// The same, when this was written to it.
    pub(crate) async fn connect_with(&self, bytes: impl AsRef<[u8]>) -> Raw {
        let mut raw = self.connect().await;
        raw.write(bytes).await;
        raw
    }

    /// Writes bytes, and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut raw = self.connect().await;
        raw.write(bytes).await;
        raw.rest().await
    }
}

async fn begin(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    soon(sender.send_request(request)).await.unwrap()
}

/// A connection that is spoken to byte by byte.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads until `end` has come.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            let mut buffer = [0; 4096];
            let count = soon(self.0.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "ended before {end:?}: {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        // A reset ends it as well.
        let _ = soon(self.0.read_to_end(&mut read)).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, body }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem of this status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&Value::from(code), &Value::from(status)),
            "{body}"
        );
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem
    }
}

/// A request as most are; a body makes it JSON.
pub(crate) fn request(method: Method, path: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// The same with one more header.
pub(crate) fn with(
    mut request: Request<Full<Bytes>>,
    name: &'static str,
    value: &str,
) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// Lets time pass, again and again, until something happens that only happens in time.
pub(crate) async fn in_time<T>(clock: &ManualClock, step: Duration, what: impl Future<Output = T>) -> T {
    let mut what = std::pin::pin!(what);
    soon(async {
        loop {
            tokio::select! {
                biased;
                result = &mut what => return result,
                () = tokio::task::yield_now() => clock.advance(step),
            }
        }
    })
    .await
}

/// Lets other tasks run until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    soon(async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits for something that must happen, for as long as a slow machine may need.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it should have happened by now")
}

/// Where a test's log goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Hears what this thread says until the guard is dropped.
    pub(crate) fn begin() -> (Self, DefaultGuard) {
        Self::begin_at(Level::TRACE)
    }

    /// The same, of what is as important as this.
    pub(crate) fn begin_at(level: Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let heard = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone()))
            .with(Targets::new().with_target("bridge", level));
        (log, heard.set_default())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}
