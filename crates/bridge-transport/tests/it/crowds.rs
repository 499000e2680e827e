//! Many clients that begin and do not end: what is held for all of them together is bounded.

use bridge_transport::ServeSettings;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{Answer, Raw, Server, request, soon, until, with};

async fn serving(change: impl FnOnce(&mut ServeSettings)) -> Server {
    let mut settings = ServeSettings::default();
    change(&mut settings);
    Server::with(|door| door, settings).await
}

/// The beginning of a request, of so many bytes.
fn beginning(bytes: usize) -> String {
    let head = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncookie: ";
    format!("{head}{}", "x".repeat(bytes - head.len()))
}

/// Ends a request that was begun, and gives what is answered.
async fn end(mut raw: Raw) -> String {
    raw.write("\r\n\r\n").await;
    raw.rest().await
}

#[tokio::test]
async fn of_many_long_heads_that_are_not_whole_the_oldest_ends_for_the_next() {
    let server = serving(|settings| settings.long_heads = 3).await;
    let mut short = server.connect().await;
    short.write(beginning(8_000)).await;
    let mut long = Vec::new();
    for number in 0..8 {
        let mut raw = server.connect().await;
        raw.write(beginning(20_000)).await;
        long.push(raw);
        if number >= 3 {
            // It was read, or this one would go on.
            assert_eq!(long[number - 3].rest().await, "");
        }
    }
    // Who sends all of a long head has an answer, though all places are taken.
    assert!(end(server.connect_with(beginning(60_000)).await).await.starts_with("HTTP/1.1 200 "));
    let left = long.split_off(6);
    for raw in left {
        assert!(end(raw).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(end(short).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn of_many_bodies_that_are_not_whole_the_oldest_ends_for_the_next() {
    let server = serving(|settings| settings.bodies = 3).await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let begun = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: 13\r\n\r\n{{\"text\":"
    );
    let mut slow = Vec::new();
    for number in 0..8 {
        slow.push(server.connect_with(begun.clone()).await);
        if number >= 3 {
            assert_eq!(slow[number - 3].rest().await, "");
        }
    }
    // Who does not dawdle has an answer, though all places are taken; so have those who still have theirs.
    assert_eq!(server.post(&path, r#"{"text": "x"}"#).await.status, 201);
    for mut raw in slow.split_off(6) {
        raw.write("\"x\" }").await;
        assert!(raw.rest().await.starts_with("HTTP/1.1 201 "));
    }
}

#[tokio::test]
async fn a_long_head_keeps_its_place_until_its_connection_ends() {
    let server = serving(|settings| settings.long_heads = 2).await;
    let keep_alive = |head: String| head.replace("connection: close\r\n", "") + "\r\n\r\n";
    let (mut one, mut other) = (server.connect().await, server.connect().await);
    for _ in 0..3 {
        for raw in [&mut one, &mut other] {
            raw.write(keep_alive(beginning(20_000))).await;
            raw.until("live").await;
        }
    }
    // What it was read into is still there.
    assert!(end(server.connect_with(beginning(20_000)).await).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(one.rest().await, "");
    other.write(keep_alive(beginning(20_000))).await;
    other.until("live").await;
}

#[tokio::test]
async fn neither_bodies_nor_many_short_heads_are_a_long_one() {
    let server = serving(|settings| settings.long_heads = 0).await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let text = format!(r#"{{"text": "{}"}}"#, "x".repeat(100_000));
    assert_eq!(server.post(&path, &text).await.status, 201);
    let mut raw = server.connect().await;
    let short = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..500 {
        raw.write(short).await;
        raw.until("live").await;
    }
    assert_eq!(server.connect_with(beginning(20_000)).await.rest().await, "");
}

#[tokio::test]
async fn heads_of_calls_under_way_are_bounded_all_together() {
    let server = Server::with_settings(|settings| settings.limits.heads = 4_000).await;
    let long = |path| with(request(Method::GET, path, ""), "x-long", &"x".repeat(3_000));
    let waits = "/api/events?after=head&wait_ms=60000";
    let waiting = tokio::spawn(server.ask(long(waits)));
    // Health is told in any case.
    until(async || server.send(long("/api/sessions")).await.status == 503).await;
    server.send(long("/api/sessions")).await.is_problem(503, "overloaded");
    assert_eq!(server.send(long("/health")).await.status, 200);
    waiting.abort();
    until(async || server.send(long("/api/sessions")).await.status == 200).await;
}

/// A client of HTTP/2 that takes so many bytes of each answer.
async fn http2(server: &Server, window: u32) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(window);
    let (sender, connection) = client.handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://localhost{path}")).body(Full::default()).unwrap()
}

#[tokio::test]
async fn requests_of_http2_are_bounded_over_all_connections() {
    let server = serving(|settings| settings.http2_requests = 1).await;
    let (mut one, mut other) = (http2(&server, 65_535).await.unwrap(), http2(&server, 65_535).await.unwrap());
    let waiting = soon(one.send_request(get("/api/events?after=head"))).await.unwrap();
    drop(Answer::read(waiting).await);
    let mut stream = get("/api/events?after=head");
    stream.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    let stream = soon(one.send_request(stream)).await.unwrap();
    let refused = soon(other.send_request(get("/health"))).await.unwrap_err();
    let reason = std::error::Error::source(&refused).and_then(|error| error.downcast_ref::<h2::Error>());
    assert_eq!(reason.and_then(h2::Error::reason), Some(h2::Reason::REFUSED_STREAM), "{refused:?}");
    assert_eq!(server.get("/health").await.status, 200);
    drop(stream);
    until(|| {
        let mut other = other.clone();
        async move { other.send_request(get("/health")).await.is_ok() }
    })
    .await;
}

/// Whether another client of HTTP/2 is answered.
async fn is_served(server: &Server) -> bool {
    match http2(server, 65_535).await {
        Some(mut client) => soon(client.send_request(get("/health"))).await.is_ok(),
        None => false,
    }
}

#[tokio::test]
async fn connections_of_http2_are_bounded() {
    let server = serving(|settings| settings.http2_connections = 1).await;
    let mut first = http2(&server, 65_535).await.unwrap();
    assert_eq!(soon(first.send_request(get("/health"))).await.unwrap().status(), 200);
    let mut old = server.connect().await;
    let live = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    old.write(live).await;
    old.until("live").await;
    for _ in 0..3 {
        let mut beyond = server.connect().await;
        // In parts, as it may come.
        beyond.write("PRI * HT").await;
        beyond.write("TP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(!beyond.rest().await.contains("HTTP/1.1 2"));
        assert!(!is_served(&server).await);
    }
    assert_eq!(server.get("/health").await.status, 200);
    old.write(live).await;
    old.until("live").await;
    assert_eq!(soon(first.send_request(get("/health"))).await.unwrap().status(), 200);
    drop(first);
    until(async || is_served(&server).await).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_all_together() {
    let server = Server::with_settings(|settings| settings.limits.answers = 150_000).await;
    let session = server.session().await;
    server.say(&session, &"x".repeat(40_000)).await;
    let path = format!("/api/sessions/{session}/messages");
    let mut client = http2(&server, 1).await.unwrap();
    let untaken = soon(client.send_request(get(&path))).await.unwrap();
    assert_eq!(untaken.status(), 200);
    server.get(&path).await.is_problem(503, "overloaded");
    assert_eq!(server.get("/health").await.status, 200);
    drop(untaken);
    until(async || server.get(&path).await.status == 200).await;
}
