//! Whatever is sent, the answer is never the server's fault.

use bridge_testkit::rng::Rng;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use crate::support::{Server, soon};

const METHODS: [&str; 8] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "BREW"];

const PATHS: [&str; 24] = [
    "/api/sessions",
    "/api/sessions/{s}",
    "/api/sessions/{s}/messages",
    "/api/sessions/{s}/read",
    "/api/sessions/{s}/events",
    "/api/events",
    "/api/receive",
    "/api/settle",
    "/api/deliveries/{d}",
    "/api/deliveries/{d}/cancel",
    "/api/deliveries/{d}/redrive",
    "/health",
    "/health/live",
    "/health/ready",
    "/api/create_new_session",
    "/api/queue_user_message",
    "/api/get_latest_response/{s}",
    "/api/get_conversation_status/{s}",
    "/api/cleanup_inactive_sessions",
    "/api/conversation",
    "/",
    "/dashboard/{s}",
    "/api/v1/sessions/{s}",
    "/assets/x",
];

const NAMES: [&str; 24] = [
    "limit",
    "cursor",
    "after",
    "reader",
    "message",
    "session_id",
    "max_age_hours",
    "text",
    "payload",
    "from",
    "type",
    "ttl_ms",
    "delay_ms",
    "reply_to",
    "headers",
    "mailbox",
    "consumer",
    "max",
    "lease_ms",
    "token",
    "outcome",
    "reply",
    "items",
    "title",
];

const VALUES: [&str; 26] = [
    "",
    "0",
    "1",
    "-1",
    "100",
    "18446744073709551615",
    "1e400",
    "0.1",
    "null",
    "true",
    "head",
    "{s}",
    "{d}",
    "{c}",
    "session:{s}/agent",
    "session:{s}/user",
    "agent",
    "answer",
    "extend",
    "nack",
    "ack",
    "\u{0}",
    "\u{202e}\u{1f980}",
    "%00%ff%zz",
    "../../etc/passwd",
    "' or 1=1 --",
];

const HEADERS: [&str; 12] = [
    "accept",
    "content-type",
    "content-encoding",
    "idempotency-key",
    "last-event-id",
    "x-bridge-client",
    "x-request-id",
    "if-none-match",
    "origin",
    "sec-fetch-site",
    "range",
    "te",
];

/// Requests that are nearly right: from what the calls know, in any combination.
struct Tongue {
    rng: Rng,
    session: String,
    delivery: String,
    cursor: String,
}

impl Tongue {
    fn pick(&mut self, from: &[&str]) -> String {
        let text = self.rng.pick(from).copied().unwrap_or_default();
        text.replace("{s}", &self.session).replace("{d}", &self.delivery).replace("{c}", &self.cursor)
    }

    /// JSON, mostly.
    fn value(&mut self, depth: u64) -> String {
        match self.rng.below(if depth > 3 { 4 } else { 7 }) {
            0 | 1 => serde_json::to_string(&self.pick(&VALUES)).unwrap(),
            2 | 3 => {
                self.pick(&["0", "1", "5000", "-1", "1e9", "18446744073709551615", "null", "true", "{s}"])
            }
            4 => format!(
                "[{}]",
                (0..self.rng.below(3)).map(|_| self.value(depth + 1)).collect::<Vec<_>>().join(",")
            ),
            _ => self.object(depth + 1),
        }
    }

    fn object(&mut self, depth: u64) -> String {
        let members =
            (0..self.rng.below(5)).map(|_| format!("\"{}\": {}", self.pick(&NAMES), self.value(depth)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    fn request(&mut self) -> Request<Full<Bytes>> {
        let escape = |text: String| {
            text.bytes()
                .map(|byte| {
                    if byte.is_ascii_graphic() {
                        char::from(byte).to_string()
                    } else {
                        format!("%{byte:02x}")
                    }
                })
                .collect::<String>()
                .replace('#', "%23")
        };
        let mut path = self.pick(&PATHS);
        if self.rng.chance(10) {
            path = format!("{path}/{}", escape(self.pick(&VALUES)));
        }
        for at in 0..self.rng.below(3) {
            let sign = if at == 0 { '?' } else { '&' };
            path = format!("{path}{sign}{}={}", self.pick(&NAMES), escape(self.pick(&VALUES)));
        }
        let method = Method::from_bytes(self.pick(&METHODS).as_bytes()).unwrap();
        let mut request = Request::builder().method(&method).uri(&path).header("host", "localhost");
        for _ in 0..self.rng.below(3) {
            let kinds = [
                "application/json",
                "text/event-stream;q=0.5, */*;q=x",
                "gzip",
                "cross-site",
                "http://localhost",
            ];
            let value = if self.rng.chance(50) { self.pick(&kinds) } else { self.pick(&VALUES) };
            if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                request = request.header(self.pick(&HEADERS), value);
            }
        }
        let mut body = if method == Method::GET { String::new() } else { self.object(0) };
        if self.rng.chance(10) {
            body.truncate(
                body.char_indices().map(|(at, _)| at).nth(body.chars().count() / 2).unwrap_or_default(),
            );
        }
        if self.rng.chance(90) && !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        request.body(Full::from(body)).unwrap()
    }
}

#[tokio::test]
async fn no_request_is_answered_with_a_fault() {
    let server = Server::start().await;
    for seed in 0..8 {
        let session = server.session().await;
        let sent = server.say(&session, "x").await;
        let delivery = sent["deliveries"][0]["id"].as_str().unwrap().to_owned();
        let cursor = sent["cursor"].as_str().unwrap().to_owned();
        let mut tongue = Tongue { rng: Rng::new(seed), session, delivery, cursor };
        for round in 0..250 {
            let request = tongue.request();
            let told = format!("seed {seed}, round {round}: {request:?}");
            let response = server.begin(request).await;
            assert!(response.status().as_u16() < 500, "{told}: {}", response.status());
            if let Some(kind) = response.headers().get("content-type")
                && response.status().as_u16() >= 400
            {
                assert_eq!(kind, "application/problem+json", "{told}");
            }
        }
    }
    assert_eq!(server.get("/health").await.json()["status"], "healthy");
}

#[tokio::test]
async fn no_bytes_bring_the_server_down() {
    let server = Server::start().await;
    let sound = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: 13\r\nconnection: close\r\n\r\n{\"title\":\"x\"}";
    let mut rng = Rng::new(7);
    for _ in 0..300 {
        let mut bytes = sound.as_bytes().to_vec();
        for _ in 0..=rng.below(4) {
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            match rng.below(3) {
                0 => bytes[at] = rng.bits().to_le_bytes()[0],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.bits().to_le_bytes()[0]),
            }
        }
        let mut raw = server.connect().await;
        raw.write(&bytes).await;
        // Nothing more comes, so whatever was cut short ends here.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut raw.0).await;
        let answer = soon(raw.rest()).await;
        assert!(!answer.starts_with("HTTP/1.1 5"), "{:?}: {answer}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(server.get("/health/live").await.status, 200);
}
