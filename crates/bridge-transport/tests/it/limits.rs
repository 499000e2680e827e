//! What may be sent: each limit, and the answer beyond it.

use std::time::Duration;

use bridge_transport::ServeSettings;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, in_time, request, with};

#[tokio::test]
async fn a_long_address_is_414() {
    let server = Server::start().await;
    let path = |len: usize| format!("/api/sessions?{}", "x".repeat(len - 14));
    assert_eq!(server.get(&path(8 << 10)).await.status, 200);
    server.get(&path((8 << 10) + 1)).await.is_problem(414, "uri_too_long");
    // Beyond its own bound the parser answers, without a body.
    let answer = server.raw(format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000))).await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
}

#[tokio::test]
async fn many_or_long_headers_are_431() {
    let server = Server::start().await;
    let many = |count: usize| {
        let mut request = request(Method::GET, "/api/sessions", "");
        // The host is one of them.
        for n in 1..count {
            request
                .headers_mut()
                .insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "1".parse().unwrap());
        }
        request
    };
    assert_eq!(server.send(many(100)).await.status, 200);
    server.send(many(101)).await.is_problem(431, "headers_too_large");
    let long = with(request(Method::GET, "/api/sessions", ""), "x-long", &"x".repeat(64 << 10));
    server.send(long).await.is_problem(431, "headers_too_large");
    // Beyond the parser's own bounds too, and the client gets to read it, however much it still has to say.
    for head in ["x: 1\r\n".repeat(300), format!("x: {}\r\n", "x".repeat(4 << 20))] {
        let answer = server.raw(format!("GET / HTTP/1.1\r\nhost: localhost\r\n{head}\r\n")).await;
        is_unparsed(&answer, 431, "headers_too_large");
    }
    // In the middle of a conversation as well.
    let mut raw = server.connect_with("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    raw.until("live").await;
    raw.write("x: 1\r\n".repeat(300)).await;
    is_unparsed(&raw.rest().await, 400, "bad_request");
}

/// Checks the answer to what never became a request.
#[track_caller]
fn is_unparsed(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    for field in [
        "connection: close",
        "date: ",
        "content-type: application/problem+json",
        &format!("content-length: {}", body.len()),
    ] {
        assert!(head.contains(&format!("\r\n{field}")), "{field}: {answer}");
    }
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
    assert!(head.contains(&format!("x-request-id: {}", problem["request_id"].as_str().unwrap())), "{answer}");
}

#[tokio::test]
async fn a_large_body_is_413_however_its_length_is_told() {
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let body = |len: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(len - 11));
    assert_eq!(server.post(&path, &body(1 << 20)).await.status, 201);
    server.post(&path, &body((1 << 20) + 1)).await.is_problem(413, "body_too_large");
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut raw = server.connect().await;
    raw.write(format!("{head}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(17))).await;
    assert!(raw.until("body_too_large").await.starts_with("HTTP/1.1 413 "));
    // Who says so is answered before it has come.
    for more in [
        "content-length: 1048577\r\nexpect: 100-continue\r\n",
        "content-length: 1048577\r\n",
        "content-length: 99999999999\r\n",
    ] {
        let mut raw = server.connect().await;
        raw.write(format!("{head}{more}\r\n")).await;
        assert!(raw.until("body_too_large").await.starts_with("HTTP/1.1 413 "));
    }
    // And who sends it nevertheless can ask on.
    let mut raw = server.connect().await;
    raw.write(format!("{head}content-length: 1048577\r\n\r\n")).await;
    raw.until("body_too_large").await;
    raw.write(" ".repeat(1_048_577)).await;
    raw.write("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    raw.until("live").await;
}

#[tokio::test]
async fn a_body_that_does_not_come_to_its_end_is_told_why() {
    let server = Server::start().await;
    let head = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for (body, detail) in [
        ("transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", "the chunks of the body are malformed"),
        ("transfer-encoding: chunked\r\n\r\n2\r\n{}x0\r\n\r\n", "the chunks of the body are malformed"),
        ("transfer-encoding: chunked\r\n\r\n9\r\n{}", "the request ended before its body did"),
        ("content-length: 9\r\n\r\n{}", "the request ended before its body did"),
    ] {
        let mut raw = server.connect_with(format!("{head}{body}")).await;
        // Nothing more comes.
        raw.0.shutdown().await.unwrap();
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(detail), "{body}: {answer}");
    }
}

#[tokio::test]
async fn bodies_are_json_and_not_compressed() {
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let body = r#"{"text": "x"}"#;
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""]
    {
        let request = with(request(Method::POST, &path, body), "content-type", kind);
        server.send(request).await.is_problem(415, "unsupported_media_type");
    }
    let mut untyped = request(Method::POST, &path, body);
    untyped.headers_mut().remove("content-type");
    server.send(untyped).await.is_problem(415, "unsupported_media_type");
    server.send(request(Method::POST, &path, "")).await.is_problem(415, "unsupported_media_type");
    for coding in ["gzip", "br", "deflate", "gzip, gzip"] {
        let request = with(request(Method::POST, &path, body), "content-encoding", coding);
        server.send(request).await.is_problem(415, "unsupported_media_type");
    }
    let merge = with(request(Method::POST, &path, body), "content-type", "application/merge-patch+json");
    assert_eq!(server.send(merge).await.status, 201);
}

#[tokio::test]
async fn json_is_sound_and_not_deep() {
    let server = Server::start().await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let nested =
        |depth: usize| format!(r#"{{"payload": {}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(server.post(&path, &nested(64)).await.status, 201);
    for deep in [65, 200, 300_000] {
        server.post(&path, &nested(deep)).await.is_problem(400, "invalid_json");
    }
    for bad in
        ["{", "{\"text\": \"x\"", "{\"text\": \"\\ud800\"}", "nonsense", "{\"text\": 1e}", "\u{feff}{}"]
    {
        server.post(&path, bad).await.is_problem(400, "invalid_json");
    }
    let bytes = Request::post(&path).header("host", "localhost").header("content-type", "application/json");
    let bytes = bytes.body(Full::new(Bytes::from_static(b"{\"text\": \"\xff\"}"))).unwrap();
    server.send(bytes).await.is_problem(400, "invalid_json");
}

#[tokio::test]
async fn a_field_that_is_wrong_is_named() {
    let server = Server::start().await;
    let session = server.session().await;
    let messages = format!("/api/sessions/{session}/messages");
    for (path, body, pointer) in [
        (&*messages, r#"{"text": " "}"#, "/text"),
        (&messages, r#"{"text": 5}"#, "/text"),
        (&messages, "{}", "/text"),
        (&messages, r#"{"text": "x", "payload": 1}"#, "/payload"),
        (&messages, r#"{"payload": {"a": ["\ud800"]}}"#, "/payload"),
        (&messages, r#"{"payload": 1e999}"#, "/payload"),
        (&messages, r#"{"text": "x", "from": "me"}"#, "/from"),
        (&messages, r#"{"text": "x", "ttl_ms": 0}"#, "/ttl_ms"),
        (&messages, r#"{"text": "x", "ttl_ms": 315360000001}"#, "/ttl_ms"),
        (&messages, r#"{"text": "x", "ttl_ms": -1}"#, "/ttl_ms"),
        (&messages, r#"{"text": "x", "delay_ms": 18446744073709551615}"#, "/delay_ms"),
        (&messages, r#"{"text": "x", "reply_to": "x"}"#, "/reply_to"),
        (&messages, r#"{"text": "x", "type": "bounce"}"#, "/type"),
        (&messages, r#"{"text": "x", "type": ""}"#, "/type"),
        (&messages, r#"{"text": "x", "headers": {"a": 1}}"#, "/headers/a"),
        (&messages, r#"{"text": "x", "headers": {"": "1"}}"#, "/headers"),
        (&messages, "[]", ""),
        ("/api/sessions", r#"{"title": "a\u0000"}"#, "/title"),
        ("/api/receive", r#"{"mailbox": "topic:x"}"#, "/mailbox"),
        ("/api/receive", r#"{"mailbox": "session:default/agent", "wait_ms": 60001}"#, "/wait_ms"),
        ("/api/receive", r#"{"mailbox": "session:default/agent", "max": 0}"#, "/max"),
        ("/api/receive", r#"{"mailbox": "session:default/agent", "lease_ms": 999}"#, "/lease_ms"),
        ("/api/receive", r#"{"mailbox": "session:default/agent", "consumer": ""}"#, "/consumer"),
        ("/api/settle", r#"{"outcome": "ack"}"#, "/token"),
        ("/api/settle", r#"{"token": "x", "outcome": "done"}"#, "/outcome"),
        ("/api/settle", r#"{"token": "x", "outcome": "answer"}"#, "/reply"),
        ("/api/settle", r#"{"token": "x", "outcome": "answer", "reply": " "}"#, "/reply"),
        ("/api/settle", r#"{"token": "x", "outcome": "answer", "reply": 5}"#, "/reply"),
        (
            "/api/settle",
            r#"{"token": "x", "outcome": "answer", "reply": {"payload": 1e999}}"#,
            "/reply/payload",
        ),
        ("/api/settle", r#"{"token": "x", "outcome": "ack", "reply": "lost"}"#, "/reply"),
        ("/api/settle", r#"{"token": "x", "outcome": "reject", "covers": ["y"]}"#, "/covers"),
        ("/api/settle", r#"{"token": "x", "outcome": "release", "reason": "y"}"#, "/reason"),
        ("/api/settle", r#"{"token": "x", "outcome": "nack", "progress": "y"}"#, "/progress"),
        ("/api/settle", r#"{"token": "x", "outcome": "answer", "reply": "y", "delay_ms": 1}"#, "/delay_ms"),
        ("/api/settle", r#"{"token": "x", "outcome": "nack", "delay_ms": 43200001}"#, "/delay_ms"),
        ("/api/settle", r#"{"token": "x", "outcome": "release", "delay_ms": 43200001}"#, "/delay_ms"),
        ("/api/settle", r#"{"token": "x", "outcome": "extend", "by_ms": 43200001}"#, "/by_ms"),
        ("/api/settle", r#"{"items": [{"token": 5, "outcome": "ack"}]}"#, "/items/0/token"),
    ] {
        let problem = server.post(path, body).await.is_problem(400, "invalid_field");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(!detail.contains("u64") && !detail.contains("u32") && !detail.contains("struct"), "{detail}");
    }
    for (path, body, detail) in [
        ("/api/send", "[]", "the body is an object"),
        (
            "/api/send",
            r#"{"priority": 256}"#,
            "/priority: invalid value: integer `256`, expected a whole number from 1 to 9",
        ),
        (
            "/api/receive",
            r#"{"max": 4294967296}"#,
            "/max: invalid value: integer `4294967296`, expected a whole number from 1 to 100",
        ),
    ] {
        let problem = server.post(path, body).await.is_problem(400, "invalid_field");
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
    let body = r#"{"max_pending_bytes": 18446744073709551615}"#;
    let problem = server.send(request(Method::PUT, "/api/mailboxes/x", body)).await;
    let detail = problem.is_problem(400, "invalid_field")["detail"].clone();
    assert_eq!(detail, "/max_pending_bytes: a whole number from 1 to 9223372036854775807");
    let log = format!("/api/sessions/{session}/events");
    for (path, name) in [
        ("/api/sessions?limit=0", "limit"),
        ("/api/sessions?limit=101", "limit"),
        (&*format!("{log}?limit=x"), "limit"),
        (&format!("{log}?wait_ms=60001"), "wait_ms"),
        ("/api/get_latest_response/default?reader=", "reader"),
    ] {
        let problem = server.get(path).await.is_problem(400, "invalid_field");
        assert_eq!(problem["errors"][0]["parameter"], name, "{path}");
    }
    server.get(&format!("{log}?limit=%ff")).await.is_problem(400, "bad_request");
    for path in [
        format!("{log}?after=x"),
        format!("{messages}?cursor=x"),
        format!("{messages}?cursor=0"),
        format!("{messages}?cursor={}", u64::MAX),
    ] {
        server.get(&path).await.is_problem(400, "invalid_cursor");
    }
    let named =
        with(request(Method::POST, &messages, r#"{"text": "x"}"#), "x-bridge-client", &"x".repeat(256));
    let problem = server.send(named).await.is_problem(400, "invalid_field");
    assert_eq!(problem["errors"][0]["header"], "x-bridge-client");
}

#[tokio::test]
async fn a_header_that_can_be_there_once_is_not_there_twice() {
    let server = Server::start().await;
    let session = server.session().await;
    let messages = format!("/api/sessions/{session}/messages");
    let twice = |name: &'static str, values: [&str; 2], mut request: Request<Full<Bytes>>| {
        request.headers_mut().remove(name);
        for value in values {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    };
    let events = with(request(Method::GET, "/api/events", ""), "accept", "text/event-stream");
    let send = || request(Method::POST, &messages, r#"{"text": "x"}"#);
    for (name, values, request) in [
        ("idempotency-key", ["a", "b"], send()),
        ("x-bridge-client", ["a", "b"], send()),
        ("content-type", ["application/json", "text/plain"], send()),
        ("last-event-id", ["1.1", "1.2"], events),
    ] {
        let problem = server.send(twice(name, values, request)).await.is_problem(400, "invalid_field");
        assert_eq!(problem["errors"][0]["header"], name);
    }
    assert_eq!(server.get(&messages).await.json()["data"], serde_json::json!([]));
}

#[tokio::test]
async fn what_is_not_there_is_404_by_its_kind() {
    let server = Server::start().await;
    let unknown = format!("ses_{:032x}", 1);
    let delivery = format!("/api/deliveries/dlv_{:032x}", 1);
    for (path, code) in [
        ("/api/nothing", "not_found"),
        ("/api/sessions/", "not_found"),
        ("/nothing", "not_found"),
        ("/", "not_found"),
        ("/api/sessions/x", "unknown_session"),
        (&*format!("/api/sessions/{unknown}"), "unknown_session"),
        (&format!("/api/sessions/{unknown}/messages"), "unknown_session"),
        (&format!("/api/sessions/{unknown}/events"), "unknown_session"),
        (&format!("/api/get_latest_response/{unknown}"), "unknown_session"),
        (&delivery, "unknown_delivery"),
        ("/api/deliveries/x", "unknown_delivery"),
    ] {
        server.get(path).await.is_problem(404, code);
    }
    for (path, body, code) in [
        (format!("{delivery}/cancel"), "", "unknown_delivery"),
        (format!("{delivery}/redrive"), "{}", "unknown_delivery"),
        (format!("/api/sessions/{unknown}/messages"), r#"{"text": "x"}"#, "unknown_session"),
        ("/api/settle".into(), r#"{"token": "x", "outcome": "ack"}"#, "unknown_token"),
        ("/api/receive".into(), &*format!(r#"{{"mailbox": "session:{unknown}/agent"}}"#), "unknown_mailbox"),
    ] {
        server.post(&path, body).await.is_problem(404, code);
    }
    let user = format!(r#"{{"mailbox": "session:{}/user"}}"#, server.session().await);
    server.post("/api/receive", &user).await.is_problem(409, "not_leased");
}

#[tokio::test]
async fn a_method_that_is_not_taken_is_405_and_told_which_are() {
    let server = Server::start().await;
    for (method, path, allow) in [
        (Method::PUT, "/api/sessions", "GET, POST, HEAD, OPTIONS"),
        (Method::GET, "/api/receive", "POST, OPTIONS"),
        (Method::HEAD, "/api/receive", "POST, OPTIONS"),
        (Method::POST, "/health", "GET, HEAD, OPTIONS"),
        (Method::GET, "/api/create_new_session", "POST, OPTIONS"),
        (Method::HEAD, "/api/get_latest_response/default", "GET, OPTIONS"),
        (Method::from_bytes(b"BREW").unwrap(), "/api/sessions/x", "GET, PATCH, DELETE, HEAD, OPTIONS"),
    ] {
        let answer = server.send(request(method.clone(), path, "")).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{method} {path}");
        if method != Method::HEAD {
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.json()["detail"], format!("it takes {allow}"));
        }
    }
    let options = server.send(request(Method::OPTIONS, "/api/settle", "")).await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, "POST, OPTIONS"));
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let server = Server::start().await;
    for path in ["/health", "/health/live", "/api/sessions", "/api/events", "/api/nothing"] {
        let (get, head) = (server.get(path).await, server.send(request(Method::HEAD, path, "")).await);
        assert_eq!(
            (head.status, head.header("content-type")),
            (get.status, get.header("content-type")),
            "{path}"
        );
        assert!(head.body.is_empty() && !get.body.is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_given_is_406() {
    let server = Server::start().await;
    let accept = |path, kind| with(request(Method::GET, path, ""), "accept", kind);
    server.send(accept("/api/sessions", "text/html")).await.is_problem(406, "not_acceptable");
    server.send(accept("/api/sessions", "text/event-stream")).await.is_problem(406, "not_acceptable");
    server.send(accept("/api/events", "image/png")).await.is_problem(406, "not_acceptable");
    for kind in ["application/json", "text/html, */*;q=0.1", "application/*"] {
        assert_eq!(server.send(accept("/api/sessions", kind)).await.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let server = Server::start().await;
    let mut raw = server.connect().await;
    let head = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    raw.write(format!("{head}content-length: 10\r\n\r\n{{")).await;
    let answer = in_time(&server.clock, Duration::from_secs(1), raw.rest()).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_however_steadily_it_comes() {
    let server = Server::start().await;
    let mut raw = server.connect().await;
    let head = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    raw.write(format!("{head}content-length: 1000000\r\n\r\n")).await;
    let start = server.bridge.now();
    // What is sent after the answer resets the connection.
    while raw.0.write_all(b" ").await.is_ok() {
        server.clock.advance(Duration::from_millis(200));
        tokio::task::yield_now().await;
        let limit = bridge_transport::Limits::default().body_time + Duration::from_secs(60);
        assert!(server.bridge.now().since(start) < limit, "it still reads");
    }
}

#[tokio::test]
async fn a_head_that_stops_coming_ends_the_connection() {
    let mut serving = ServeSettings::default();
    serving.header_time = Duration::from_millis(50);
    let server = Server::with(|door| door, serving).await;
    // The parser's own clock.
    is_unparsed(&server.raw("GET / HTTP/1.1\r\nhost: loc").await, 408, "request_timeout");
    // Nothing was begun.
    let mut raw = server.connect_with("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    raw.until("}").await;
    raw.write("\r\n").await;
    assert_eq!(raw.rest().await, "");
    // Ours: before the parser knows which protocol it is.
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut raw = server.connect().await;
        raw.write(beginning).await;
        assert_eq!(in_time(&server.clock, Duration::from_secs(1), raw.rest()).await, "");
    }
}

#[tokio::test]
async fn bodies_and_calls_are_bounded_all_together() {
    let server = Server::with_settings(|settings| settings.limits.bodies = 1_000).await;
    let path = format!("/api/sessions/{}/messages", server.session().await);
    let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(1_000));
    let refused = server.post(&path, &long).await;
    refused.is_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    for _ in 0..3 {
        assert_eq!(
            server.post(&path, &long[..400].replace("xxx", "x\"}   ")[..400]).await.status.as_u16() / 100,
            4
        );
    }
    assert_eq!(server.post(&path, r#"{"text": "short"}"#).await.status, 201);
    let server = Server::with_settings(|settings| settings.limits.calls = 0).await;
    server.get("/api/sessions").await.is_problem(503, "overloaded");
    assert_eq!(server.get("/health/live").await.status, 200);
    let server = Server::with_settings(|settings| settings.limits.streams = 0).await;
    let stream = with(request(Method::GET, "/api/events", ""), "accept", "text/event-stream");
    server.send(stream).await.is_problem(503, "overloaded");
}

#[tokio::test]
async fn every_answer_bears_an_id_and_says_how_to_treat_it() {
    let server = Server::start().await;
    for path in ["/api/sessions", "/api/nothing", "/health"] {
        let answer = server.get(path).await;
        assert!(answer.header("x-request-id").starts_with("req_"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let ask = |id: &str| with(request(Method::GET, "/api/nothing", ""), "x-request-id", id);
    let answer = server.send(ask("abc-1")).await;
    assert_eq!(answer.is_problem(404, "not_found")["request_id"], "abc-1");
    for insane in ["", "a b", &"x".repeat(129), "\u{e9}"] {
        assert!(server.send(ask(insane)).await.header("x-request-id").starts_with("req_"), "{insane}");
    }
}
