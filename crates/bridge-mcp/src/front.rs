//! What an HTTP request passes before it reaches the protocol's own library, and its answer on the way back.

use std::{convert::Infallible, future::Future, pin::Pin, task};

use bridge_protocol::{Code, Problem};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use rmcp::model::ClientJsonRpcMessage;
use serde_json::{Value, json};
use tower::Service;

use crate::{
    caller::{Caller, is_stateless},
    calls::{CallId, Calls},
    endpoint::{BoxBody, BoxError},
    passage::{Guard, Passage, Watched},
};

/// The largest body of a request.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// The longest text of a refusal that is passed on.
const MAX_SENTENCE: usize = 300;

/// Levels of nesting that a message may have.
const MAX_DEPTH: usize = 64;

/// Stands in front of a service of the protocol's library: answers what that would answer unclearly, says who calls, and
/// notices whether an answer arrived.
///
/// [`Endpoint`](crate::Endpoint) has one inside. It is public so that the protocol's conformance suite can test its own
/// fixtures behind it.
#[derive(Debug, Clone)]
pub struct Front<S> {
    inner: S,
    calls: Calls,
}

impl<S> Front<S> {
    /// Stands in front of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, calls: Calls::default() }
    }

    /// Returns when all calls have their answers.
    pub(crate) async fn answered(&self) {
        self.calls.answered().await;
    }
}

impl<S, B, R> Service<Request<B>> for Front<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<BoxBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The ready one is used up, a fresh clone takes its place.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let calls = self.calls.clone();
        Box::pin(async move {
            let request = match admit(request).await {
                Ok(request) => request,
                Err(answer) => return Ok(*answer),
            };
            let method = request.method().clone();
            let call = request.extensions().get().map(|id| calls.begin(id, &request));
            let Ok(under_way) = call.transpose() else {
                let said = "Invalid Request: a call with this id is under way in this session";
                return Ok(*refuse(StatusCode::BAD_REQUEST, -32600, said, None));
            };
            let passage = Passage::default();
            let guard = Guard::new(passage.clone(), under_way);
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(passage);
            let answer = inner.call(Request::from_parts(parts, body)).await?;
            Ok(tidy(&method, answer.map(|body| Watched::new(body, guard))).await)
        })
    }
}

/// A refusal, boxed because it is large and rare.
type Refused = Box<Response<BoxBody>>;

/// Lets a request in whose body is a message of the protocol, with its caller beside it.
async fn admit<B>(request: Request<B>) -> Result<Request<Full<Bytes>>, Refused>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::GET && !is_stateless(&parts.headers) && !takes_events(&parts.headers) {
        return Err(Box::new(json_answer(StatusCode::OK, &about())));
    }
    match Caller::of(&parts.uri, &parts.headers) {
        Ok(caller) => parts.extensions.insert(caller),
        Err(error) => return Err(refuse(StatusCode::BAD_REQUEST, -32600, &error.to_string(), None)),
    };
    // Anything else is refused for its type, whatever it holds.
    if parts.method != Method::POST || !is_json(&parts.headers) {
        return Ok(Request::from_parts(parts, Full::default()));
    }
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| unread(&error))?.to_bytes();
    if let Some(id) = check(&body)? {
        parts.extensions.insert(id);
    }
    Ok(Request::from_parts(parts, Full::new(body)))
}

fn unread(error: &BoxError) -> Refused {
    if error.is::<LengthLimitError>() {
        let most = format!("a request has at most {MAX_BODY} bytes");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, -32600, &most, None)
    } else {
        refuse(StatusCode::BAD_REQUEST, -32600, "the request ended before its body did", None)
    }
}

/// Whether `body` is one message of the protocol, and the id if it is a call; if it is none, what it is.
fn check(body: &[u8]) -> Result<Option<CallId>, Refused> {
    let bad = StatusCode::BAD_REQUEST;
    if depth(body) > MAX_DEPTH {
        return Err(refuse(bad, -32600, "Invalid Request: it is nested too deeply", None));
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Err(refuse(bad, -32700, "Parse error", None));
    };
    match serde_json::from_slice::<ClientJsonRpcMessage>(body) {
        Ok(ClientJsonRpcMessage::Request(_)) => return Ok(Some(CallId(value["id"].to_string()))),
        Ok(_) => return Ok(None),
        Err(_) => {}
    }
    let id = value.get("id").filter(|id| id.is_string() || id.is_number());
    Err(refuse(bad, -32600, "Invalid Request: this is no JSON-RPC 2.0 request, notification or response", id))
}

/// How deeply JSON is nested, told without reading it.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn is_json(headers: &HeaderMap) -> bool {
    is_of_type(headers, "application/json")
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        Some(text.split(';').next()?.trim().eq_ignore_ascii_case(wanted))
    };
    headers.get(CONTENT_TYPE).and_then(essence).unwrap_or(false)
}

fn takes_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| {
        value.as_bytes().to_ascii_lowercase().windows(17).any(|part| part == b"text/event-stream")
    })
}

/// What somebody sees who opens the address in a browser.
fn about() -> Value {
    json!({
        "name": "bridge",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Receives and answers messages between people, agents and services",
        "protocol": "Model Context Protocol",
        "methods": ["POST"],
        "message": "Send POST requests with JSON-RPC 2.0 format to interact with MCP tools",
    })
}

/// Makes an answer of the protocol's library one that clients understand and that tells nothing of our insides.
async fn tidy<R>(method: &Method, answer: Response<R>) -> Response<BoxBody>
where
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    if answer.status().is_server_error() {
        let text = "Something failed inside the bridge; try again";
        return *refuse(answer.status(), -32603, text, None);
    }
    let of_the_protocol =
        ["application/json", "text/event-stream"].iter().any(|kind| is_of_type(answer.headers(), kind));
    if answer.status().is_client_error() && !of_the_protocol {
        return problem(answer).await;
    }
    let mut answer = answer.map(|body| body.map_err(Into::into).boxed_unsync());
    if method == Method::DELETE && answer.status() == StatusCode::ACCEPTED {
        *answer.status_mut() = StatusCode::NO_CONTENT;
    }
    answer
}

/// A refusal that the library says in plain words, in the form that the other doors give it.
async fn problem<R>(answer: Response<R>) -> Response<BoxBody>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = answer.into_parts();
    let mut problem = Problem::new(match parts.status {
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::NOT_ACCEPTABLE => Code::NotAcceptable,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        _ => Code::BadRequest,
    });
    problem.status = parts.status.as_u16();
    problem.detail = sentence(body).await;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, json_body(&json!(problem)))
}

/// What a body says, if it is a short text.
async fn sentence<R>(body: R) -> Option<String>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let text = Limited::new(body, MAX_SENTENCE).collect().await.ok()?.to_bytes();
    String::from_utf8(text.into()).ok().filter(|text| !text.is_empty())
}

fn refuse(status: StatusCode, code: i32, message: &str, id: Option<&Value>) -> Refused {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
    Box::new(json_answer(status, &error))
}

fn json_answer(status: StatusCode, value: &Value) -> Response<BoxBody> {
    let mut answer = Response::new(json_body(value));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn json_body(value: &Value) -> BoxBody {
    Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn brackets_in_a_text_do_not_nest() {
        assert_eq!(depth(br#"{"a": "[[[\"{{", "b": [[1], {}]}"#), 3);
        assert_eq!(depth(b"7"), 0);
        assert_eq!(depth(b"]]]["), 1);
    }
}
