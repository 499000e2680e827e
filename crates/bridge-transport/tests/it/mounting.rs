//! Services behind the door, and the door behind other services.

use std::convert::Infallible;

use bridge_protocol::{Code, Problem};
use bridge_runtime::Bridge;
use bridge_store::MemoryStore;
use bridge_transport::{Body, HttpDoor, Mounted, ServeSettings};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt, service_fn};

use crate::support::{Log, Server, request, with};

/// Says what it was asked, and panics if asked to.
fn echo() -> Mounted {
    Mounted::new(service_fn(|request: Request<Body>| async move {
        assert_ne!(request.uri().path(), "/mcp/panic", "as it was told");
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let text = format!("{path} {}", body.len());
        Ok::<_, Infallible>(Response::new(Full::from(text).map_err(Into::into).boxed_unsync()))
    }))
}

#[tokio::test]
async fn a_mounted_service_gets_what_is_let_in_and_nothing_else() {
    let server = Server::with(|door| door.mount("/mcp", echo()), ServeSettings::default()).await;
    assert_eq!(&*server.post("/mcp", "12345").await.body, b"/mcp 5");
    assert_eq!(&*server.get("/mcp/below?x=1").await.body, b"/mcp/below 0");
    server.get("/mcpx").await.is_problem(404, "not_found");
    let foreign = with(request(Method::POST, "/mcp", "x"), "origin", "https://evil.example");
    server.send(foreign).await.is_problem(403, "forbidden_origin");
    let rebound = with(request(Method::POST, "/mcp", "x"), "host", "evil.example");
    server.send(rebound).await.is_problem(421, "unknown_host");
    server.post("/mcp", &"x".repeat((1 << 20) + 1)).await.is_problem(413, "body_too_large");
    let answer = server.post("/mcp", "x").await;
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_call_of_a_mounted_service_is_logged_by_where_that_is_mounted() {
    let (log, _heard) = Log::begin();
    let server = Server::with(|door| door.mount("/mcp", echo()), ServeSettings::default()).await;
    server.post("/mcp/below?x=y", "x").await;
    let log = log.text();
    assert!(log.contains(r#"path="/mcp""#) && !log.contains("{file}") && !log.contains("below"), "{log}");
}

#[tokio::test]
async fn a_problem_of_a_mounted_service_bears_the_id_of_its_request() {
    let failing = service_fn(|request: Request<Body>| async move {
        let code = if request.uri().path() == "/x" { Code::NotAcceptable } else { Code::Internal };
        let body = serde_json::to_vec(&Problem::new(code).with("more", 7)).unwrap();
        let mut response = Response::new(Full::from(body).map_err(Into::into).boxed_unsync());
        *response.status_mut() = StatusCode::from_u16(code.status()).unwrap();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok::<_, Infallible>(response)
    });
    let (log, _heard) = Log::begin();
    let server = Server::with(|door| door.mount("/x", Mounted::new(failing)), ServeSettings::default()).await;
    assert_eq!(server.get("/x").await.is_problem(406, "not_acceptable")["more"], 7);
    let answer = server.get("/x/fails").await;
    answer.is_problem(500, "internal");
    let text = log.text();
    let errors: Vec<_> = text.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(answer.header("x-request-id")), "{errors:?}");
    assert_eq!(server.send(request(Method::HEAD, "/x", "")).await.status, 406);
}

#[tokio::test]
async fn a_panic_is_a_500_without_a_word_about_it() {
    let server = Server::with(|door| door.mount("/mcp", echo()), ServeSettings::default()).await;
    let answer = server.post("/mcp/panic", "").await;
    answer.is_problem(500, "internal");
    assert!(!String::from_utf8_lossy(&answer.body).contains("told"));
    assert_eq!(server.post("/mcp", "1").await.status, 200);
}

/// What a stack such as axum asks of a service that it nests.
fn nest<S, B>(service: S) -> S
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    service
}

#[tokio::test]
async fn the_door_is_a_service_for_any_body() {
    let bridge = Bridge::builder(MemoryStore::new()).start().await.unwrap();
    let door = HttpDoor::builder(bridge).build().unwrap();
    let request = || Request::get("/health").header("host", "localhost");
    let door = nest::<_, Full<Bytes>>(door);
    assert_eq!(
        door.clone().oneshot(request().body(Full::<Bytes>::default()).unwrap()).await.unwrap().status(),
        200
    );
    let door = nest::<_, String>(door);
    assert_eq!(door.oneshot(request().body(String::new()).unwrap()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_that_ends_like_a_refusal_of_the_parser_is_left_alone() {
    const TAIL: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    // So long that its end is written by itself.
    let body = format!("{}{TAIL}", "x".repeat(80 << 10));
    let sent = body.clone();
    let log = service_fn(move |_: Request<Body>| {
        let body = Full::new(Bytes::from(sent.clone())).map_err(|never| match never {}).boxed_unsync();
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let server = Server::with(|door| door.mount("/log", Mounted::new(log)), ServeSettings::default()).await;
    for connection in ["keep-alive", "close"] {
        let ask = format!("GET /log HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n\r\n");
        let mut raw = server.connect_with(&ask).await;
        let read = raw.until(TAIL).await;
        assert_eq!(read.split_once("\r\n\r\n").unwrap().1, body);
        if connection == "keep-alive" {
            raw.write("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            assert!(raw.until("live").await.starts_with("HTTP/1.1 200 "));
        } else {
            assert_eq!(raw.rest().await, "");
        }
    }
}
