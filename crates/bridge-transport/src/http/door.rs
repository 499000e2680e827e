//! The service: what every request passes, in order, and what every answer bears.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task,
    time::Duration,
};

use bridge_protocol::Code;
use bridge_runtime::Bridge;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{self, CACHE_CONTROL},
    request::Parts,
};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{Instrument, Span};

use super::{
    calls::{self, heartbeat::Polls},
    guard::{Action, From, Guard, Sharing},
    held,
    limits::{self, Budget, Reader, Share},
    page::{Asset, Files, Lookup},
    request::{self, accepts},
    response::{Answer, Body, BoxError, Refusal, body_of, empty, identified, nothing_at},
    router::{Call, Gives, Matched, Router},
    settings::{InvalidSetting, Settings},
    watchers::Watchers,
};

/// A service that answers everything below a path of its own.
pub type Mounted = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

type Responding = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Pages of messages that are made at one time.
const PAGES: usize = 2;

/// How long a browser may remember what it was told before its page's first call.
const PREFLIGHT: Duration = Duration::from_secs(600);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Chooses the parts of an [`HttpDoor`].
pub struct Builder {
    bridge: Bridge,
    settings: Settings,
    page: Option<Lookup>,
    mounts: Vec<(String, Mounted)>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Builder {
    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Serves the files that `lookup` knows by their paths, such as `index.html` and `assets/app.js`.
    ///
    /// `index.html` is served at `/` and at `/dashboard/{id}`; what lies below `assets/` is taken to never change under
    /// its name.
    #[must_use]
    pub fn page(mut self, lookup: impl Fn(&str) -> Option<Asset> + Send + Sync + 'static) -> Self {
        self.page = Some(Arc::new(lookup));
        self
    }

    /// Leaves everything at and below `path` to `service`: after host, origin and sizes were checked, with the body
    /// read within its limits.
    #[must_use]
    pub fn mount(mut self, path: &str, service: Mounted) -> Self {
        self.mounts.push((path.trim_end_matches('/').to_owned(), service));
        self
    }

    /// The door.
    ///
    /// # Errors
    /// The setting that is no host or origin.
    pub fn build(self) -> Result<HttpDoor, InvalidSetting> {
        let Self { bridge, settings, page, mounts } = self;
        let limits = &settings.limits;
        let closing = CancellationToken::new();
        let shared = Shared {
            guard: Guard::new(&settings)?,
            router: Router::new(),
            files: Files::new(page),
            mounts,
            cors: cors(),
            reader: Reader::new(limits, Arc::clone(bridge.clock()), closing.clone()),
            heads: Budget::new(limits.heads),
            answers: Budget::new(limits.answers),
            calls: Semaphore::new(limits.calls),
            pages: Semaphore::new(PAGES),
            streams: Arc::new(Semaphore::new(limits.streams)),
            closing,
            given_up: CancellationToken::new(),
            watchers: Watchers::default(),
            polls: Polls::default(),
            request_ids: RequestIds::default(),
            settings,
            bridge,
        };
        Ok(HttpDoor { shared: Arc::new(shared) })
    }
}

/// The HTTP door of a bridge: a cheaply cloned [`tower::Service`], generic over the body of the request.
///
/// It never fails: errors are answers, as problem details of RFC 9457.
#[derive(Clone)]
pub struct HttpDoor {
    shared: Arc<Shared>,
}

impl fmt::Debug for HttpDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDoor").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) bridge: Bridge,
    pub(crate) settings: Settings,
    pub(crate) files: Files,
    pub(crate) reader: Reader,
    pub(crate) answers: Budget,
    pub(crate) streams: Arc<Semaphore>,
    /// The turns of those who make a page of messages. A page takes memory before it is counted as an answer.
    pub(crate) pages: Semaphore,
    pub(crate) closing: CancellationToken,
    /// Set when calls under way are not waited for any longer.
    given_up: CancellationToken,
    pub(crate) watchers: Watchers,
    pub(crate) polls: Polls,
    guard: Guard,
    router: Router,
    mounts: Vec<(String, Mounted)>,
    cors: CorsLayer,
    heads: Budget,
    calls: Semaphore,
    request_ids: RequestIds,
}

impl HttpDoor {
    /// Begins to choose the parts of a door to `bridge`.
    pub fn builder(bridge: Bridge) -> Builder {
        Builder { bridge, settings: Settings::default(), page: None, mounts: Vec::new() }
    }

    /// Refuses everything but the health checks from now on, and ends what would go on: event streams end, calls that
    /// wait are sent home, calls whose body is still coming are refused. [`serve`](crate::serve) does it when it is told
    /// to stop, and ends its connections.
    pub fn close(&self) {
        self.shared.closing.cancel();
    }

    /// Answers the calls that are still under way: nobody knows what will come of them.
    pub(crate) fn give_up(&self) {
        self.shared.given_up.cancel();
    }

    /// The answer to a client that has sent no request yet.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let id = self.shared.request_ids.of(&HeaderMap::new());
        let mut response = refusal.into_response(text(&id));
        finish(response.headers_mut(), id);
        response
    }

    pub(crate) fn bridge(&self) -> &Bridge {
        &self.shared.bridge
    }

    /// Set once the door is closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.shared.closing
    }
}

impl<B> Service<Request<B>> for HttpDoor
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Responding;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(shared.respond(request).await) })
    }
}

/// What a request is for.
#[derive(Clone)]
enum Target {
    /// The service at this position.
    Mounted(usize),
    Call(Matched),
    Nothing,
}

impl Shared {
    async fn respond<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let body = body
            .map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            .map_err(Into::into)
            .boxed_unsync();
        let id = self.request_ids.of(&parts.headers);
        let method = parts.method.clone();
        let target = self.target(parts.uri.path());
        let span = tracing::debug_span!("request", id = text(&id), %method, path = self.template(&target));
        let mut response = match self.admit(&parts, &target) {
            Ok(sharing) => {
                let admitted =
                    Admitted { shared: Arc::clone(&self), target, id: id.clone(), span: span.clone() };
                let request = Request::from_parts(parts, body);
                match sharing {
                    Sharing::Own => admitted.answer(request).await,
                    Sharing::With => {
                        let Ok(response) = self.share(admitted, request).await;
                        response
                    }
                }
            }
            Err(refusal) => refusal.into_response(text(&id)),
        };
        tracing::debug!(parent: &span, status = response.status().as_u16(), "answered");
        if method == Method::HEAD {
            *response.body_mut() = body_of(Bytes::new());
        }
        finish(response.headers_mut(), id);
        response
    }

    /// Looks at the head of a request alone: is it sound, made under our name, and by a page that may ask?
    fn admit(&self, parts: &Parts, target: &Target) -> Result<Sharing, Refusal> {
        limits::check_head(parts, &self.settings.limits)?;
        self.guard.check_host(parts)?;
        let from = match target {
            Target::Call(matched) => matched.endpoint.from(),
            Target::Mounted(_) | Target::Nothing => From::Here,
        };
        self.guard.check_origin(parts, from)
    }

    async fn call(self: Arc<Self>, parts: Parts, body: Body, target: Target, id: &str) -> Answer {
        let call = match &target {
            Target::Call(matched) => matched.endpoint.call(&parts.method),
            Target::Mounted(_) | Target::Nothing => None,
        };
        let _under_way = if call.is_some_and(Call::is_vital) { None } else { Some(self.begin(&parts)?) };
        let Matched { endpoint, id } = match target {
            Target::Mounted(mounted) => {
                let response = self.pass_on(mounted, parts, body).await?;
                return held::hold(identified(response, id).await?, &self.answers);
            }
            Target::Nothing => return Err(nothing_at(parts.uri.path())),
            Target::Call(matched) => matched,
        };
        let Some(call) = call else {
            if parts.method == Method::OPTIONS {
                let mut response = empty(StatusCode::NO_CONTENT);
                response
                    .headers_mut()
                    .extend(HeaderValue::try_from(endpoint.allow()).map(|allow| (header::ALLOW, allow)));
                return Ok(response);
            }
            return Err(Refusal::method(endpoint.allow()));
        };
        let principal = self.guard.authenticate(&parts.headers);
        self.guard.authorize(&principal, call.action())?;
        if !is_acceptable(&parts.headers, call) {
            return Err(Code::NotAcceptable.into());
        }
        let request = request::Request::new(Arc::clone(&self), parts, principal, id, body)?;
        let response = calls::answer(call, request).await?;
        // A file is there anyway, however many read it.
        if matches!(call.gives(), Gives::Files) { Ok(response) } else { held::hold(response, &self.answers) }
    }

    /// A place among the calls under way.
    fn begin(&self, parts: &Parts) -> Result<(SemaphorePermit<'_>, Share), Refusal> {
        if self.closing.is_cancelled() {
            return Err(Code::ShuttingDown.into());
        }
        let place = self.calls.try_acquire().map_err(|_| Code::Overloaded)?;
        let share = self.heads.take(limits::held_by(parts)).ok_or(Code::Overloaded)?;
        Ok((place, share))
    }

    /// What a path leads to: a mounted service, or what is mounted here for good.
    fn target(&self, path: &str) -> Target {
        let below = |mount: &str| {
            path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.mounts.iter().position(|(mount, _)| below(mount)) {
            Some(mounted) => Target::Mounted(mounted),
            None => self.router.find(path).map_or(Target::Nothing, Target::Call),
        }
    }

    /// The path as the log shows it.
    fn template(&self, target: &Target) -> &str {
        match target {
            Target::Mounted(mounted) => &self.mounts[*mounted].0,
            Target::Call(matched) => matched.endpoint.template,
            Target::Nothing => "",
        }
    }

    async fn pass_on(&self, mounted: usize, parts: Parts, body: Body) -> Answer {
        let principal = self.guard.authenticate(&parts.headers);
        self.guard.authorize(&principal, Action::UseMounted)?;
        let read = self.reader.read(&parts, body).await?;
        let request = Request::from_parts(parts, body_of(read.bytes.clone()));
        let Ok(response) = self.ask(mounted, request).await;
        Ok(response)
    }

    /// Answers a page of another origin, which browsers let read no more than they are told.
    fn share(&self, admitted: Admitted, request: Request<Body>) -> Responding {
        Box::pin(self.cors.layer(admitted).oneshot(request))
    }

    /// Asks a mounted service. It is boxed so that the compiler need not look into it.
    fn ask(&self, mounted: usize, request: Request<Body>) -> Responding {
        Box::pin(self.mounts[mounted].1.clone().oneshot(request))
    }
}

/// A request that was admitted, and is answered whatever happens on the way.
#[derive(Clone)]
struct Admitted {
    shared: Arc<Shared>,
    target: Target,
    id: HeaderValue,
    span: Span,
}

impl Admitted {
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let Self { shared, target, id, span } = self;
        let (parts, body) = request.into_parts();
        let call = Arc::clone(&shared).call(parts, body, target, text(&id));
        let call = AssertUnwindSafe(call).catch_unwind().instrument(span);
        let answer = tokio::select! {
            biased;
            answer = call => answer.unwrap_or_else(|_| Err(Code::Internal.into())),
            () = shared.given_up.cancelled() => Err(Code::OutcomeUnknown.into()),
        };
        answer.unwrap_or_else(|refusal| refusal.into_response(text(&id)))
    }
}

impl Service<Request<Body>> for Admitted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Responding;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Responding {
        Box::pin(self.clone().answer(request).map(Ok))
    }
}

fn is_acceptable(headers: &HeaderMap, call: Call) -> bool {
    match call.gives() {
        Gives::Json => accepts(headers, &["application/json", "application/*", "*/*"]),
        Gives::Events => {
            accepts(headers, &["application/json", "application/*", "text/event-stream", "text/*", "*/*"])
        }
        Gives::Files => true,
    }
}

/// What browsers are told on behalf of pages of other origins that were let in.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(
            [
                "accept",
                "content-type",
                "idempotency-key",
                "last-event-id",
                "mcp-method",
                "mcp-name",
                "mcp-protocol-version",
                "mcp-session-id",
                "x-bridge-client",
                "x-request-id",
            ]
            .map(HeaderName::from_static),
        )
        .expose_headers(
            ["location", "mcp-session-id", "retry-after", "x-request-id"].map(HeaderName::from_static),
        )
        .max_age(PREFLIGHT)
        .vary([header::ORIGIN])
}

/// What every answer bears.
fn finish(headers: &mut HeaderMap, request_id: HeaderValue) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, request_id);
}

/// A request's id, which is printable whoever made it.
fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// Writes the last digits of a number, as many as there is room for.
fn put_hex(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Makes ids for requests that bring none.
#[derive(Debug)]
struct RequestIds {
    start: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // Without randomness the ids of two runs look alike; nothing depends on it.
        Self { start: getrandom::u64().unwrap_or_default(), next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The id that the request brings if it is a sane one, else a new one.
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let is_sane = |id: &&HeaderValue| {
            (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(|| {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let mut id = *b"req_000000000000000000000000";
            let (start, count) = id[4..].split_at_mut(16);
            put_hex(self.start, start);
            put_hex(next, count);
            HeaderValue::from_bytes(&id).expect("digits can stand in a header")
        })
    }
}
