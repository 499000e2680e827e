//! Connections: their kinds, their number, their end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bridge_transport::{Body, Mounted, ServeSettings};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::json;
use tokio::sync::Notify;
use tower::service_fn;

use crate::support::{Server, in_time, request, soon, until, with};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn requests_in_one_breath_are_answered_in_order() {
    let server = Server::start().await;
    let last = "GET /api/nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answers = server.raw(format!("{LIVE}{LIVE}{last}")).await;
    let statuses: Vec<_> =
        answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.split(' ').next().unwrap()).collect();
    assert_eq!(statuses, ["200", "200", "404"]);
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let server = Server::start().await;
    let path = format!("http://localhost/api/sessions/{}/messages", server.session().await);
    let request = Request::post(&path).header("content-type", "application/json");
    let sent = server.send_h2(request.body(r#"{"text": "over two"}"#.into()).unwrap()).await;
    assert_eq!(sent.status, 201);
    let shown = server.send_h2(Request::get(&path).body(Default::default()).unwrap()).await.json();
    assert_eq!(shown["data"][0]["text"], "over two");
    let old = server.raw("GET /health/live HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 ") || old.starts_with("HTTP/1.1 200 "), "{old}");
}

#[tokio::test]
async fn what_is_no_http_is_told_so_and_harms_nobody() {
    let server = Server::start().await;
    for nonsense in
        ["\x16\x03\x01\x02\x00\x01\x00", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  /\r\n\r\n"]
    {
        let answer = server.raw(nonsense).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_request"),
            "{nonsense:?}: {answer}"
        );
    }
    let smuggled = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                    content-length: 2\r\ncontent-length: 3\r\n\r\n{}";
    assert!(server.raw(smuggled).await.starts_with("HTTP/1.1 400 "));
    for codings in ["gzip, chunked", "gzip\r\ntransfer-encoding: chunked", "chunked, chunked"] {
        let coded = format!(
            "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
             transfer-encoding: {codings}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        );
        let answer = server.raw(coded).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_request"), "{codings}: {answer}");
    }
    assert_eq!(server.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn no_more_connections_are_open_than_may_be() {
    let mut serving = ServeSettings::default();
    serving.connections = 1;
    let server = Server::with(|door| door, serving).await;
    let mut first = server.connect().await;
    first.write(LIVE).await;
    first.until("live").await;
    let mut second = server.connect().await;
    second.write(LIVE).await;
    // The first still works, the second waits until it is gone.
    first.write(LIVE).await;
    first.until("live").await;
    let mut byte = [0];
    assert!(
        matches!(second.0.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    );
    drop(first);
    second.until("live").await;
}

fn long_poll(session: &str) -> Request<Full<Bytes>> {
    let wish = json!({"mailbox": format!("session:{session}/agent"), "wait_ms": 60_000}).to_string();
    request(Method::POST, "/api/receive", &wish)
}

/// Waits until an agent waits in the session.
async fn somebody_waits(server: &Server, session: &str) {
    let path = format!("/api/sessions/{session}");
    until(async || server.get(&path).await.json()["presence"]["state"] == "online").await;
}

#[tokio::test]
async fn a_connection_is_closed_when_nothing_is_asked_and_not_before() {
    let mut serving = ServeSettings::default();
    serving.header_time = Duration::from_secs(3600);
    serving.idle = Duration::from_secs(5);
    let server = Server::with(|door| door, serving).await;
    let mut raw = server.connect().await;
    raw.write(LIVE).await;
    raw.until("live").await;
    assert_eq!(in_time(&server.clock, Duration::from_secs(1), raw.rest()).await, "");
    // A call that waits is something that is asked.
    let session = server.session().await;
    let answer = in_time(&server.clock, Duration::from_secs(1), server.send(long_poll(&session))).await;
    assert_eq!(answer.json()["directive"]["action"], "wait_again");
}

#[tokio::test]
async fn a_server_that_stops_sends_home_who_waits_and_ends_streams() {
    let server = Server::start().await;
    let session = server.session().await;
    let stream = with(request(Method::GET, "/api/events", ""), "accept", "text/event-stream");
    let stream = server.begin(stream).await.into_body();
    let mut idle = server.connect().await;
    idle.write(LIVE).await;
    idle.until("live").await;
    let stop = async {
        somebody_waits(&server, &session).await;
        let stopped = server.stop();
        in_time(&server.clock, Duration::from_millis(100), stopped).await.unwrap();
    };
    let (received, ()) = tokio::join!(server.send(long_poll(&session)), async {
        // The stream and the idle connection end with the rest.
        let (_, ended, rest) = tokio::join!(stop, stream.collect(), idle.rest());
        ended.unwrap();
        assert_eq!(rest, "");
    });
    let received = received.json();
    assert_eq!(received["deliveries"], json!([]));
    assert_eq!(received["directive"]["action"], "wait_again");
    assert_eq!(received["directive"]["reason"], "shutting_down");
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_who_comes_and_is_gone_when_nothing_is_left() {
    let server = Server::start().await;
    let mut silent = server.connect().await;
    let stopped = server.stop();
    // By then everyone has heard of it.
    let closed = async || server.get("/health/ready").await.status == 503;
    until(closed).await;
    for (path, status, says) in [
        ("/health/ready", "503", "not_ready"),
        ("/health/live", "200", "live"),
        ("/api/sessions", "503", "shutting_down"),
        ("/mcp", "503", "shutting_down"),
        ("/api/nothing", "503", "shutting_down"),
        ("/", "503", "shutting_down"),
    ] {
        // Each on a connection of its own, which is closed after the answer.
        let answer = server.raw(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n{LIVE}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says),
            "{path}: {answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n"), "{path}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{path}: {answer}");
    }
    let asked = Request::get("http://localhost/health/ready").body(Default::default()).unwrap();
    assert_eq!(server.send_h2(asked).await.status, 503);
    assert!(!stopped.is_finished());
    in_time(&server.clock, Duration::from_millis(100), stopped).await.unwrap();
    assert_eq!(silent.rest().await, "");
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_client_between_two_calls_is_told_that_the_server_stops() {
    let server = Server::start().await;
    let mut raw = server.connect().await;
    raw.write(LIVE).await;
    raw.until("live").await;
    let stopped = server.stop();
    until(async || server.get("/health/ready").await.status == 503).await;
    raw.write("GET /api/sessions HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let told = raw.rest().await;
    assert!(told.contains("HTTP/1.1 503 ") && told.contains("shutting_down"), "{told}");
    assert!(told.contains("\r\nconnection: close\r\n"), "{told}");
    in_time(&server.clock, Duration::from_millis(100), stopped).await.unwrap();
}

/// A call that goes on for as long as the test wants.
#[derive(Clone, Default)]
struct LongCall {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl LongCall {
    async fn server(&self) -> Server {
        let call = self.clone();
        let service = service_fn(move |_: Request<Body>| {
            let call = call.clone();
            async move {
                call.begun.notify_one();
                call.go_on.notified().await;
                Ok::<_, Infallible>(Response::new(Full::from("done").map_err(Into::into).boxed_unsync()))
            }
        });
        Server::with(|door| door.mount("/long", Mounted::new(service)), ServeSettings::default()).await
    }
}

#[tokio::test]
async fn a_call_under_way_is_answered_while_the_server_stops_and_others_are_told() {
    let call = LongCall::default();
    let server = call.server().await;
    let stop = async {
        call.begun.notified().await;
        let stopped = server.stop();
        // Longer than it would stay for nobody.
        for _ in 0..20 {
            server.clock.advance(Duration::from_millis(200));
            assert_eq!(server.get("/health/ready").await.status, 503);
        }
        call.go_on.notify_one();
        soon(stopped).await.unwrap();
    };
    let (answer, ()) = tokio::join!(server.get("/long"), stop);
    assert_eq!((&*answer.body, answer.header("connection")), (&b"done"[..], "close"));
}

#[tokio::test]
async fn a_call_whose_body_is_still_coming_is_told_that_the_server_stops() {
    let server = Server::start().await;
    let mut raw = server.connect().await;
    let head = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    raw.write(format!("{head}expect: 100-continue\r\ncontent-length: 100000\r\n\r\n")).await;
    // The server reads the body now.
    raw.until("100 Continue").await;
    let stopped = server.stop();
    assert!(raw.until("shutting_down").await.contains("HTTP/1.1 503 "));
    // It may still be sent, and ends the connection.
    raw.write(" ".repeat(100_000)).await;
    raw.rest().await;
    in_time(&server.clock, Duration::from_millis(100), stopped).await.unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_end_is_told_so_when_its_time_is_over() {
    let call = LongCall::default();
    let server = call.server().await;
    let stop = async {
        call.begun.notified().await;
        let stopped = server.stop();
        server.clock.advance(Duration::from_secs(4));
        assert_eq!(server.get("/health/ready").await.status, 503);
        in_time(&server.clock, Duration::from_millis(100), stopped).await.unwrap();
    };
    let (told, ()) = tokio::join!(server.raw("GET /long HTTP/1.1\r\nhost: localhost\r\n\r\n"), stop);
    assert!(told.contains("HTTP/1.1 503 ") && told.contains("outcome_unknown"), "{told}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut_when_its_time_is_over() {
    let service = service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(StreamBody::new(futures_util::stream::pending()).boxed_unsync()))
    });
    let server =
        Server::with(|door| door.mount("/endless", Mounted::new(service)), ServeSettings::default()).await;
    let mut raw = server.connect().await;
    raw.write("GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    raw.until("200 OK").await;
    let stopped = server.stop();
    until(async || server.get("/health/ready").await.status == 503).await;
    in_time(&server.clock, Duration::from_millis(100), stopped).await.unwrap();
    raw.rest().await;
}
