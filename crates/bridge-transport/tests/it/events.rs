//! The log as a stream.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sse_stream::{Sse, SseStream};
use tokio::task::JoinHandle;

use crate::support::{Server, in_time, request, soon, until, with};

/// An open stream, read event by event.
struct Reader(SseStream<Incoming>);

impl Reader {
    async fn open(server: &Server, path: &str, last: Option<&str>) -> Self {
        let request = stream(path);
        let request = match last {
            Some(last) => with(request, "last-event-id", last),
            None => request,
        };
        let response = server.begin(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self(SseStream::new(response.into_body()))
    }

    async fn next(&mut self) -> Option<Sse> {
        loop {
            let event = soon(self.0.next()).await?.ok()?;
            if event.data.is_some() {
                return Some(event);
            }
        }
    }

    /// The next event of the log, with its id.
    async fn event(&mut self) -> (String, Value) {
        let sent = self.next().await.unwrap();
        assert_eq!(sent.event, None);
        let event: Value = serde_json::from_str(&sent.data.unwrap()).unwrap();
        assert_eq!(event["cursor"], *sent.id.as_ref().unwrap());
        (sent.id.unwrap(), event)
    }
}

fn stream(path: &str) -> http::Request<Full<Bytes>> {
    with(request(Method::GET, path, ""), "accept", "text/event-stream")
}

#[tokio::test]
async fn a_stream_tells_what_was_and_then_what_comes() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, "before").await;
    let mut reader = Reader::open(&server, &format!("/api/sessions/{session}/events"), None).await;
    assert_eq!(reader.event().await.1["type"], "session.opened");
    assert_eq!(reader.event().await.1["message"]["text"], "before");
    server.session().await;
    server.say(&session, "after").await;
    assert_eq!(reader.event().await.1["message"]["text"], "after");
    let mut new = Reader::open(&server, "/api/events?after=head", None).await;
    server.say(&session, "newest").await;
    assert_eq!(new.event().await.1["message"]["text"], "newest");
}

#[tokio::test]
async fn what_is_scheduled_for_a_person_comes_when_it_is_due() {
    let server = Server::start().await;
    let session = server.session().await;
    let messages = format!("/api/sessions/{session}/messages");
    let later = |from| json!({"text": from, "from": from, "delay_ms": 60_000}).to_string();
    // The person's own is no secret: its sender may see it.
    assert_eq!(server.post(&messages, &later("user")).await.status, 201);
    server.post(&messages, &later("agent")).await.is_problem(400, "invalid_field");
    server.schedule(&session, "agent", Duration::from_secs(60)).await;
    let events = async || {
        let page = server.get(&format!("/api/sessions/{session}/events")).await.json();
        page["data"].as_array().unwrap()[1..].to_vec()
    };
    let early = events().await;
    assert_eq!(early[0]["message"]["text"], "user");
    assert_eq!((&early[1]["type"], &early[1]["message"]), (&json!("message.accepted"), &Value::Null));
    server.clock.advance(Duration::from_secs(60));
    until(async || events().await.len() > 3).await;
    let events = events().await;
    assert_eq!(events[1]["message"], Value::Null);
    assert!(events[2..].iter().all(|event| event["type"] == "message.visible"));
    let shown: Vec<_> = events[2..].iter().filter(|event| event["message"]["text"] == "agent").collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["deliveries"][0]["mailbox"], format!("session:{session}/user"));
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_exactly_where_it_was() {
    let server = Server::start().await;
    let session = server.session().await;
    for n in 0..40 {
        server.say(&session, &n.to_string()).await;
    }
    let whole = server.get("/api/events?limit=1000").await.json()["data"].clone();
    let whole = whole.as_array().unwrap();
    let mut got = Vec::new();
    let mut last: Option<String> = None;
    for broken in [1, 2, 7, 8, 9, 14] {
        // The header wins: the address is the one the stream was first opened with.
        let mut reader = Reader::open(&server, "/api/events?after=", last.as_deref()).await;
        for _ in 0..broken {
            let (id, event) = reader.event().await;
            got.push(event);
            last = Some(id);
        }
    }
    assert_eq!(got, *whole);
    let path = format!("/api/events?after={}", whole[39]["cursor"].as_str().unwrap());
    let mut tail = Reader::open(&server, &path, None).await;
    assert_eq!(tail.event().await.1, whole[40]);
}

#[tokio::test]
async fn a_cursor_that_does_not_fit_is_a_gap_and_the_stream_ends() {
    let server = Server::start().await;
    server.session().await;
    let head = server.get("/api/events").await.json()["head"].as_str().unwrap().to_owned();
    let log = head.split_once('.').unwrap().0;
    for (cursor, reason) in [("00000000000000ff.1".to_owned(), "other_log"), (format!("{log}.99"), "ahead")] {
        let mut reader = Reader::open(&server, "/api/events", Some(&cursor)).await;
        let gap = reader.next().await.unwrap();
        assert_eq!(gap.event.as_deref(), Some("gap"));
        let data: Value = serde_json::from_str(&gap.data.unwrap()).unwrap();
        assert_eq!(data, json!({"recovered": false, "reason": reason}));
        assert!(reader.next().await.is_none());
        let page = server.get(&format!("/api/events?after={cursor}")).await.json();
        assert_eq!((&page["recovered"], &page["reason"]), (&json!(false), &json!(reason)));
        assert_eq!(page["data"], json!([]));
    }
    server.send(with(stream("/api/events"), "last-event-id", "x")).await.is_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn a_quiet_stream_speaks_at_once_and_gives_signs_of_life() {
    let server = Server::start().await;
    let mut body = server.begin(stream("/api/events?after=head")).await.into_body();
    let mut frame = async || {
        let frame = in_time(&server.clock, Duration::from_millis(500), body.frame()).await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    let start = server.bridge.now();
    assert!(frame().await.starts_with("retry: 2000\n"));
    for _ in 0..3 {
        assert!(frame().await.starts_with(": "));
    }
    assert!(server.bridge.now().since(start) >= Duration::from_secs(45));
}

#[tokio::test]
async fn content_with_line_breaks_arrives_whole() {
    let server = Server::start().await;
    let session = server.session().await;
    let body = "{\"payload\": {\r\n  \"text\": \"a\\nb\",\r  \"n\": [1,\n2]\n}}";
    assert_eq!(server.post(&format!("/api/sessions/{session}/messages"), body).await.status, 201);
    let mut reader = Reader::open(&server, "/api/events", None).await;
    reader.event().await;
    assert_eq!(reader.event().await.1["message"]["payload"], json!({"text": "a\nb", "n": [1, 2]}));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_off() {
    let server = Server::start().await;
    let session = server.session().await;
    let text = "x".repeat(1_000_000);
    for _ in 0..24 {
        server.say(&session, &text).await;
    }
    let mut raw = server.connect().await;
    raw.write("GET /api/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").await;
    raw.until("session.opened").await;
    // Nothing is read while time passes. Some steps of it may come before the server is stuck.
    for _ in 0..2_000 {
        server.clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    let rest = raw.rest().await;
    assert!(rest.len() < 20_000_000, "all of it came: {} bytes", rest.len());
}

#[tokio::test]
async fn a_page_waits_for_an_event_if_told_to() {
    let server = Server::start().await;
    let session = server.session().await;
    let head = server.get("/api/events").await.json()["head"].as_str().unwrap().to_owned();
    let path = format!("/api/events?after={head}&wait_ms=60000");
    let (page, _) = tokio::join!(server.get(&path), server.say(&session, "now"));
    assert_eq!(page.json()["data"][0]["message"]["text"], "now");
    let next = page.json()["next"].as_str().unwrap().to_owned();
    let path = format!("/api/events?after={next}&wait_ms=1000");
    let empty = in_time(&server.clock, Duration::from_millis(100), server.get(&path)).await.json();
    assert_eq!((&empty["data"], &empty["recovered"]), (&json!([]), &json!(true)));
}

#[tokio::test]
async fn the_log_is_followed_by_the_names_of_events() {
    let server = Server::start().await;
    let head = server.get("/api/log?after=head").await.json()["next"].as_str().unwrap().to_owned();
    let mut reader = Reader::open(&server, &format!("/api/log?after={head}&filter=delivery.*"), None).await;
    let waiting = format!("/api/log?after={head}&filter=delivery.*&wait_ms=60000");
    let send = async {
        server.post("/api/send", r#"{"from": "a", "to": "worker", "text": "one"}"#).await;
        let taken = server.post("/api/receive", r#"{"mailbox": "worker"}"#).await.json();
        let settle = json!({"token": taken["deliveries"][0]["token"], "outcome": "ack"});
        server.post("/api/settle", &settle.to_string()).await
    };
    let (page, settled) = tokio::join!(server.get(&waiting), send);
    let (id, event) = reader.event().await;
    assert_eq!(
        (&event["type"], event["delivery_id"] == settled.json()["delivery_id"]),
        (&json!("delivery.settled"), true)
    );
    // What the filter leaves out is behind it all the same.
    let page = page.json();
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["data"][0], &page["next"]),
        (1, &event, &json!(id))
    );
}

#[tokio::test]
async fn long_pages_end_early_and_go_on() {
    let server = Server::start().await;
    let session = server.session().await;
    let text = "x".repeat(900_000);
    for _ in 0..12 {
        server.say(&session, &text).await;
    }
    let (mut after, mut pages, mut seen) = (String::new(), 0, 0);
    while seen < 13 {
        let page = server.get(&format!("/api/events?limit=1000&after={after}")).await.json();
        pages += 1;
        seen += page["data"].as_array().unwrap().len();
        after = page["next"].as_str().unwrap().to_owned();
    }
    assert_eq!((pages, seen), (6, 13));
    let (mut cursor, mut pages, mut seen) = (String::new(), 0, 0);
    while seen < 12 {
        let page = server.get(&format!("/api/sessions/{session}/messages?limit=100{cursor}")).await.json();
        pages += 1;
        seen += page["data"].as_array().unwrap().len();
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!((pages, seen, &*cursor), (6, 12, "&cursor="));
}

/// Asks over HTTP/2, where a client says how much of an answer it has room for.
async fn begin_h2_without_room(
    server: &Server,
    path: &str,
    accept: &str,
) -> (http::Response<Incoming>, SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1_000)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("http://localhost{path}")).header("accept", accept);
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    (response, sender, connection)
}

#[tokio::test]
async fn large_answers_are_held_within_a_bound() {
    let server = Server::with_settings(|settings| settings.limits.answers = 3 << 20).await;
    let session = server.session().await;
    let text = "x".repeat(1_000_000);
    for _ in 0..6 {
        server.say(&session, &text).await;
    }
    // Text and content: two million bytes, and a client that does not take them.
    let (untaken, _sender, connection) = begin_h2_without_room(&server, "/api/events?limit=2", "*/*").await;
    server.get("/api/events?limit=2").await.is_problem(503, "overloaded");
    // What is small is not refused, and streams wait for their turn.
    assert_eq!(server.get("/api/sessions").await.status, 200);
    let mut reader = Reader::open(&server, "/api/events", None).await;
    drop(untaken);
    connection.abort();
    for _ in 0..7 {
        reader.event().await;
    }
    drop(reader);
    until(async || server.get("/api/events?limit=2").await.status == 200).await;
    // Events that a stream has read and its reader does not take are held as well.
    let stream = begin_h2_without_room(&server, "/api/events", "text/event-stream").await;
    until(async || server.get("/api/events?limit=2").await.status == 503).await;
    stream.2.abort();
}

#[tokio::test]
async fn an_answer_that_is_not_taken_over_http2_ends_its_connection() {
    let server = Server::start().await;
    let session = server.session().await;
    server.say(&session, &"x".repeat(1_000_000)).await;
    let (response, _sender, connection) = begin_h2_without_room(&server, "/api/events", "*/*").await;
    // The answer is kept, so the client gives no more room for it.
    let _ = in_time(&server.clock, Duration::from_millis(100), connection).await.unwrap();
    let all = response.into_body().collect().await;
    assert!(all.is_err(), "{:?}", all.map(|all| all.to_bytes().len()));
}
