//! Answers and refusals, and the one place where a refusal of the bridge becomes a code.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bridge_protocol::{Code, Problem, Retry};
use bridge_runtime::{
    CallError, Fault,
    core::{DeliveryError, MailboxError, PublishError, ReceiveError, SessionError, SettleError},
};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde::Serialize;
use serde_json::{Value, json};

/// What can go wrong while a body is read or written.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of an answer, and of a request that is passed on.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// An answer, or why there is none.
pub(crate) type Answer = Result<Response<Body>, Refusal>;

/// Room for most answers, which else grow into it.
const MOST_ANSWERS: usize = 512;

/// The type of an answer that is a problem.
const PROBLEM: &str = "application/problem+json";

/// Bytes of a mounted service's answer that is looked into, if it says that it is a problem.
const LARGEST_PROBLEM: u64 = 16 << 10;

/// What a caller is told to wait when nobody knows better.
const PAUSE: Duration = Duration::from_secs(1);

/// A refusal on its way to its caller.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Told>);

#[derive(Debug)]
struct Told {
    problem: Problem,
    retry_after: Option<Duration>,
    allow: Option<String>,
}

/// Where in a request something is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A member of the body, as a JSON Pointer.
    Pointer(&'a str),
    /// A parameter of the query.
    Parameter(&'a str),
    /// A header.
    Header(&'a str),
}

/// What is said of a cursor that cannot be one.
pub(crate) const NO_CURSOR: &str = "it is not as an answer of this server gave it";

impl Refusal {
    pub(crate) fn new(code: Code) -> Self {
        let retry_after = (code.retry() != Retry::Never && code != Code::Internal).then_some(PAUSE);
        Self(Box::new(Told { problem: Problem::new(code), retry_after, allow: None }))
    }

    /// A member of the body has a value it cannot have.
    pub(crate) fn field(pointer: &str, detail: impl fmt::Display) -> Self {
        Self::at(Code::InvalidField, Place::Pointer(pointer), &detail)
    }

    /// A parameter of the query has a value it cannot have.
    pub(crate) fn parameter(name: &str, detail: impl fmt::Display) -> Self {
        Self::at(Code::InvalidField, Place::Parameter(name), &detail)
    }

    /// A header has a value it cannot have.
    pub(crate) fn header(name: &str, detail: impl fmt::Display) -> Self {
        Self::at(Code::InvalidField, Place::Header(name), &detail)
    }

    /// What stands here is no cursor, or does not fit.
    pub(crate) fn cursor(place: Place<'_>, detail: impl fmt::Display) -> Self {
        Self::at(Code::InvalidCursor, place, &detail)
    }

    /// This path takes other methods, these.
    pub(crate) fn method(methods: String) -> Self {
        let mut refusal = Self::new(Code::MethodNotAllowed).detail(format!("it takes {methods}"));
        refusal.0.allow = Some(methods);
        refusal
    }

    pub(crate) fn at(code: Code, place: Place<'_>, detail: &dyn fmt::Display) -> Self {
        let (kind, name) = match place {
            Place::Pointer(pointer) => ("pointer", pointer),
            Place::Parameter(name) => ("parameter", name),
            Place::Header(name) => ("header", name),
        };
        let detail = detail.to_string();
        let error = json!({ kind: name, "detail": detail });
        // The whole body has no name.
        let told = if name.is_empty() { detail } else { format!("{name}: {detail}") };
        Self::new(code).detail(told).with("errors", json!([error]))
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.problem.detail = Some(detail.into());
        self
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.problem.more.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    pub(crate) fn code(&self) -> &str {
        &self.0.problem.code
    }

    pub(crate) fn into_problem(self) -> Problem {
        self.0.problem
    }

    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let Told { mut problem, retry_after, allow } = *self.0;
        identify(&mut problem, request_id);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = encoded(status, PROBLEM, &problem);
        if let Some(pause) = retry_after {
            // Whole seconds, never less than the pause.
            let seconds = pause.as_millis().div_ceil(1_000).max(1);
            if let Ok(seconds) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, seconds);
            }
        }
        if let Some(allow) = allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }
}

/// Gives a problem its request's id. Of what is our fault the program's log tells by the same id. A bridge that is full or
/// about to stop says so once, not to each caller.
fn identify(problem: &mut Problem, request_id: &str) {
    problem.request_id = Some(request_id.to_owned());
    let Problem { status, code, detail, .. } = problem;
    if *status == 500 {
        tracing::error!(request_id, status, code, detail, "a call was answered with an error");
    }
}

/// The answer of a mounted service; a problem bears the request's id as ours do.
pub(crate) async fn identified(response: Response<Body>, request_id: &str) -> Answer {
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
    let size = response.body().size_hint().upper();
    if !is_problem || size.is_none_or(|size| size > LARGEST_PROBLEM) {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let mut body = body.collect().await.map_err(|_| Code::Internal)?.to_bytes();
    if let Ok(mut problem) = serde_json::from_slice(&body) {
        identify(&mut problem, request_id);
        parts.headers.remove(CONTENT_LENGTH);
        body = encode(&problem, MOST_ANSWERS).into();
    }
    Ok(Response::from_parts(parts, body_of(body)))
}

/// There is neither a call nor a file at a path.
pub(crate) fn nothing_at(path: &str) -> Refusal {
    // Not the whole of it: it may be anything.
    let shown: String = path.chars().take(64).collect();
    Refusal::new(Code::NotFound).detail(format!("no call and no file is at {shown}"))
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let refusal = Self::new(match fault {
            Fault::OutcomeUnknown => Code::OutcomeUnknown,
            Fault::Full => Code::StoreFull,
            Fault::Damaged => Code::StoreDamaged,
            Fault::ShuttingDown => Code::ShuttingDown,
            _ => Code::Unavailable,
        });
        refusal.detail(fault.to_string())
    }
}

impl<E: Into<Self>> From<CallError<E>> for Refusal {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Refused(refused) => refused.into(),
            CallError::Fault(fault) => fault.into(),
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        if let SessionError::InvalidTitle { .. } = error {
            return Self::field("/title", error);
        }
        let refusal = Self::new(match error {
            SessionError::Closed(_) => Code::SessionClosed,
            SessionError::TooMany { .. } => Code::TooManySessions,
            _ => Code::UnknownSession,
        });
        refusal.detail(error.to_string())
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        let refusal = match error {
            PublishError::SessionClosed(_) => Self::new(Code::SessionClosed),
            PublishError::UnknownMailbox(_) => Self::new(Code::UnknownMailbox),
            PublishError::TooManyMailboxes { .. } => Self::new(Code::TooManyMailboxes),
            PublishError::TooManyPending { retry_after, .. } => {
                Self::new(Code::TooManyPending).retry_after(retry_after)
            }
            PublishError::MailboxFull { depth, retry_after, .. } => {
                Self::new(Code::MailboxFull).with("depth", depth).retry_after(retry_after)
            }
            PublishError::IdempotencyConflict { message } => {
                Self::new(Code::IdempotencyConflict).with("message_id", message.to_string())
            }
            _ => Self::new(Code::UnknownSession),
        };
        refusal.detail(detail)
    }
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        let refusal = Self::new(match error {
            ReceiveError::NotLeased(_) => Code::NotLeased,
            ReceiveError::TooManyWaiting { .. } => Code::TooManyWaiting,
            ReceiveError::TooManyMailboxes { .. } => Code::TooManyMailboxes,
            ReceiveError::MailboxCount { .. } => return Self::field("/mailboxes", error),
            _ => Code::UnknownMailbox,
        });
        refusal.detail(error.to_string())
    }
}

impl From<SettleError> for Refusal {
    fn from(error: SettleError) -> Self {
        let detail = error.to_string();
        let refusal = match error {
            SettleError::TooLong { field, .. } => return Self::field(&format!("/{field}"), error),
            SettleError::OtherMailbox => Self::new(Code::OtherSession),
            SettleError::LeaseLost { state } => Self::new(Code::LeaseLost).with("state", state.as_str()),
            SettleError::AlreadySettled { outcome, reply } => {
                let refusal = Self::new(Code::AlreadySettled).with("outcome", outcome.as_str());
                match reply {
                    Some(reply) => refusal.with("reply_id", reply.to_string()),
                    None => refusal,
                }
            }
            SettleError::HandleNeeded => Self::new(Code::HandleNeeded),
            SettleError::SessionClosed => Self::new(Code::SessionClosed),
            _ => Self::new(Code::UnknownToken),
        };
        refusal.detail(detail)
    }
}

impl From<MailboxError> for Refusal {
    fn from(error: MailboxError) -> Self {
        let detail = error.to_string();
        let refusal = match error {
            MailboxError::OfSession(_) => Self::new(Code::MailboxOfSession),
            MailboxError::NotEmpty { pending, leased, .. } => {
                Self::new(Code::MailboxNotEmpty).with("pending", pending).with("leased", leased)
            }
            MailboxError::TooMany { .. } => Self::new(Code::TooManyMailboxes),
            _ => Self::new(Code::UnknownMailbox),
        };
        refusal.detail(detail)
    }
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Self {
        let detail = error.to_string();
        let refusal = match error {
            DeliveryError::WrongState { state } => Self::new(Code::WrongState).with("state", state.as_str()),
            DeliveryError::MessageGone(_) => Self::new(Code::Gone),
            DeliveryError::SessionClosed(_) => Self::new(Code::SessionClosed),
            DeliveryError::UnknownMailbox(_) => Self::new(Code::UnknownMailbox),
            _ => Self::new(Code::UnknownDelivery),
        };
        refusal.detail(detail)
    }
}

/// The body that holds these bytes.
pub(crate) fn body_of(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of JSON that has about `size` bytes.
pub(crate) fn large_json(value: &impl Serialize, size: usize) -> Response<Body> {
    answer(StatusCode::OK, "application/json", body_of(encode(value, size)))
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    encoded(status, "application/json", value)
}

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body_of(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn encoded(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response<Body> {
    answer(status, kind, body_of(encode(value, MOST_ANSWERS)))
}

fn encode(value: &impl Serialize, size: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(size);
    serde_json::to_writer(&mut json, value).expect("wire types have string keys and no writer that fails");
    json
}

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer of JSON that is to arrive: `arrived` is called once it was written, and dropped uncalled if it was not.
pub(crate) fn json_handed_over(
    value: &impl Serialize,
    arrived: impl FnOnce() + Send + 'static,
) -> Response<Body> {
    let parcel =
        Parcel { step: Step::Content(encode(value, MOST_ANSWERS).into()), arrived: Some(Box::new(arrived)) };
    answer(StatusCode::OK, "application/json", UnsyncBoxBody::new(parcel))
}

/// A body that knows whether it was taken to its end.
///
/// It tells no exact length: a server that knows the length stops asking after the last byte, and the end is what counts here.
/// Between the last byte and the end it yields once, so that a server writes the bytes to its socket first.
struct Parcel {
    step: Step,
    arrived: Option<Box<dyn FnOnce() + Send>>,
}

enum Step {
    Content(Bytes),
    Written,
    End,
}

impl http_body::Body for Parcel {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::mem::replace(&mut self.step, Step::End) {
            Step::Content(bytes) => {
                self.step = Step::Written;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Step::Written => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::End => {
                if let Some(arrived) = self.arrived.take() {
                    arrived();
                }
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if let Step::Content(bytes) = &self.step {
            hint.set_lower(bytes.len() as u64);
        }
        hint
    }
}
