//! One message to the server by HTTP, and what comes back.

use std::{io, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header::CONTENT_TYPE, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use sse_stream::SseStream;
use tokio_stream::StreamExt;

use crate::caller::VERSION;

/// No answer, and no sign of life, for this long means that the server is gone. The longest wait is shorter.
const SILENCE: Duration = Duration::from_secs(100);

/// The largest answer that is taken.
const MAX_ANSWER: usize = 4 << 20;

/// The server, seen from a client.
#[derive(Debug)]
pub(super) struct Server {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

/// Why a message has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server could not be reached: it knows nothing of the message.
    NotSent,
    /// The connection broke: it is unknown how far the message came.
    Broken,
    /// The server does not know the session.
    NoSession,
    /// The server answered something else.
    Refused(String),
}

/// What belongs into the headers besides the body.
#[derive(Debug, Default, Clone)]
pub(super) struct Headers {
    pub(super) version: Option<String>,
    pub(super) session: Option<String>,
    /// The method and the name of what it names: only of the protocol without sessions.
    pub(super) method: Option<(String, Option<String>)>,
}

/// What came back.
pub(super) enum Answer {
    /// The server took the message and says nothing.
    Taken,
    /// One message.
    One(Value),
    /// Messages, one after another.
    Stream(Messages),
}

/// A stream of messages.
pub(super) struct Messages(SseStream<Incoming>);

impl Messages {
    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Value, Failure> {
        loop {
            let event = tokio::time::timeout(SILENCE, self.0.next()).await;
            let Ok(Some(Ok(event))) = event else { return Err(Failure::Broken) };
            if let Some(message) = event.data.and_then(|data| serde_json::from_str(&data).ok()) {
                return Ok(message);
            }
        }
    }
}

impl Server {
    pub(super) fn new(url: &str, agent: &str) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {what}"));
        let uri: Uri = url.parse().map_err(|_| invalid("this is no address"))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(invalid("the address must begin with http:// and name a host"));
        }
        let path = if uri.path() == "/" { "/mcp" } else { uri.path() };
        let agent = serde_html_form::to_string([("agent", agent)]).map_err(io::Error::other)?;
        let query = uri.query().map_or_else(|| agent.clone(), |query| format!("{query}&{agent}"));
        let path: PathAndQuery = format!("{path}?{query}").parse().map_err(|_| invalid("this is no path"))?;
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(path);
        let uri = Uri::from_parts(parts).map_err(|_| invalid("this is no address"))?;
        // A connection that is kept may be one to a server that has stopped since; a fresh one tells at once.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Ok(Self { client, uri })
    }

    /// Sends a message.
    pub(super) async fn post(
        &self,
        message: &Value,
        headers: &Headers,
    ) -> Result<(HeaderMap, Answer), Failure> {
        let request = self.request(message, headers);
        let response = tokio::time::timeout(SILENCE, self.client.request(request)).await;
        let response = match response {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(Failure::NotSent),
            Ok(Err(_)) | Err(_) => return Err(Failure::Broken),
        };
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if parts.status.is_success() && kind.starts_with(b"text/event-stream") {
            return Ok((parts.headers, Answer::Stream(Messages(SseStream::new(body)))));
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| Failure::Broken)?.to_bytes();
        let answer = serde_json::from_slice::<Value>(&body).ok();
        match (parts.status, answer) {
            (StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) => Ok((parts.headers, Answer::Taken)),
            (_, Some(answer)) if answer.get("jsonrpc").is_some() => Ok((parts.headers, Answer::One(answer))),
            (StatusCode::NOT_FOUND, _) if headers.session.is_some() => Err(Failure::NoSession),
            // It is about to stop, or has only just begun.
            (StatusCode::SERVICE_UNAVAILABLE, _) => Err(Failure::NotSent),
            (status, answer) => {
                let said = |name| answer.as_ref().and_then(|answer| answer.get(name)).and_then(Value::as_str);
                let what = said("detail").or_else(|| said("title")).unwrap_or("it says no more");
                Err(Failure::Refused(format!("The bridge refused the call ({status}): {what}")))
            }
        }
    }

    fn request(&self, message: &Value, headers: &Headers) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(message.to_string())));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let map = request.headers_mut();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        map.insert(http::header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let (method, name) = headers.method.clone().unzip();
        for (header, value) in [
            (VERSION, &headers.version),
            ("mcp-session-id", &headers.session),
            ("mcp-method", &method),
            ("mcp-name", &name.flatten()),
        ] {
            if let Some(value) = value {
                map.insert(header, header_value(value));
            }
        }
        request
    }
}

/// A value as the protocol writes it into a header: as it is if it can be, else in Base64.
fn header_value(value: &str) -> HeaderValue {
    let plain = value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && value.trim() == value
        && !(value.starts_with("=?base64?") && value.ends_with("?="));
    let encoded = || format!("=?base64?{}?=", BASE64_STANDARD.encode(value));
    HeaderValue::try_from(if plain { value.to_owned() } else { encoded() })
        .expect("it has printable characters only")
}
