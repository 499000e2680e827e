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
use tower::{Service, ServiceExt, util::BoxCloneSyncService};
use tracing::Instrument;

use super::{
    calls::{self, heartbeat::Polls},
    guard::{Action, From, Guard, Sharing},
    held,
    limits::{self, Budget, Reader, Share},
    page::{Asset, Files, Lookup},
    request::{self, accepts},
    response::{Answer, Body, BoxError, Refusal, body_of, empty},
    router::{Call, Gives, Matched, Router},
    settings::{InvalidSetting, Settings},
    watchers::Watchers,
};

/// A service that answers everything below a path of its own.
pub type Mounted = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

type Responding = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Pages of messages that are made at one time.
const PAGES: usize = 2;

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
            reader: Reader::new(limits, Arc::clone(bridge.clock()), closing.clone()),
            heads: Budget::new(limits.heads),
            answers: Budget::new(limits.answers),
            calls: Semaphore::new(limits.calls),
            pages: Semaphore::new(PAGES),
            streams: Arc::new(Semaphore::new(limits.streams)),
            closing,
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
    pub(crate) watchers: Watchers,
    pub(crate) polls: Polls,
    guard: Guard,
    router: Router,
    mounts: Vec<(String, Mounted)>,
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
        let request_id = self.request_ids.of(&parts.headers);
        let method = parts.method.clone();
        let matched = self.router.find(parts.uri.path());
        let mounted = self.mounted(parts.uri.path());
        let path = match (mounted, &matched) {
            (Some(mounted), _) => &self.mounts[mounted].0,
            (None, Some(matched)) => matched.endpoint.template,
            (None, None) => "",
        };
        let span = tracing::info_span!("request", id = request_id, %method, path);
        let mut sharing = Sharing::Own;
        let admitted = Arc::clone(&self).admit(parts, body, mounted, matched, &mut sharing);
        let answer = AssertUnwindSafe(admitted).catch_unwind().instrument(span.clone()).await;
        let answer = answer.unwrap_or_else(|_| Err(Code::Internal.into()));
        let mut response = answer.unwrap_or_else(|refusal| refusal.into_response(&request_id));
        tracing::debug!(parent: &span, status = response.status().as_u16(), "answered");
        if method == Method::HEAD {
            *response.body_mut() = body_of(Bytes::new());
        }
        finish(response.headers_mut(), &request_id, sharing);
        response
    }

    /// Lets a request in, or refuses it.
    async fn admit(
        self: Arc<Self>,
        parts: Parts,
        body: Body,
        mounted: Option<usize>,
        matched: Option<Matched>,
        sharing: &mut Sharing,
    ) -> Answer {
        limits::check_head(&parts, &self.settings.limits)?;
        self.guard.check_host(&parts)?;
        let from = match (&mounted, &matched) {
            (None, Some(matched)) => matched.endpoint.from(),
            _ => From::Here,
        };
        *sharing = self.guard.check_origin(&parts, from)?;
        if let Some(response) = preflight(&parts, sharing) {
            return Ok(response);
        }
        let call = match (&mounted, &matched) {
            (None, Some(matched)) => matched.endpoint.call(&parts.method),
            _ => None,
        };
        let _under_way = if call.is_some_and(Call::is_vital) { None } else { Some(self.begin(&parts)?) };
        if let Some(mounted) = mounted {
            return held::hold(self.pass_on(mounted, parts, body).await?, &self.answers);
        }
        let Some(Matched { endpoint, id }) = matched else { return Err(Code::NotFound.into()) };
        let Some(call) = call else {
            if parts.method == Method::OPTIONS {
                let mut response = empty(StatusCode::NO_CONTENT);
                response
                    .headers_mut()
                    .extend(HeaderValue::try_from(endpoint.allow()).map(|allow| (header::ALLOW, allow)));
                return Ok(response);
            }
            return Err(Refusal::new(Code::MethodNotAllowed).allow(endpoint.allow()));
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

    /// The position of the service that is mounted at or above `path`.
    fn mounted(&self, path: &str) -> Option<usize> {
        let below = |mount: &str| {
            path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.mounts.iter().position(|(mount, _)| below(mount))
    }

    async fn pass_on(&self, mounted: usize, parts: Parts, body: Body) -> Answer {
        let principal = self.guard.authenticate(&parts.headers);
        self.guard.authorize(&principal, Action::UseMounted)?;
        let read = self.reader.read(&parts, body).await?;
        let request = Request::from_parts(parts, body_of(read.bytes.clone()));
        let Ok(response) = self.ask(mounted, request).await;
        Ok(response)
    }

    /// Asks a mounted service. It is boxed so that the compiler need not look into it.
    fn ask(&self, mounted: usize, request: Request<Body>) -> Responding {
        Box::pin(self.mounts[mounted].1.clone().oneshot(request))
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

/// The answer to a browser that asks whether a page of another origin may call.
fn preflight(parts: &Parts, sharing: &Sharing) -> Option<Response<Body>> {
    let asked = parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if parts.method != Method::OPTIONS || !asked || *sharing == Sharing::Own {
        return None;
    }
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().extend([
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PATCH, DELETE")),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "accept, content-type, idempotency-key, last-event-id, mcp-method, mcp-name, mcp-protocol-version, \
                 mcp-session-id, x-bridge-client, x-request-id",
            ),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ]);
    Some(response)
}

/// What every answer bears.
fn finish(headers: &mut HeaderMap, request_id: &str, sharing: Sharing) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Sharing::With(origin) = sharing {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("location, mcp-session-id, retry-after, x-request-id"),
        );
        headers.append(header::VARY, HeaderValue::from_static("origin"));
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
    fn of(&self, headers: &HeaderMap) -> String {
        let is_sane = |id: &&[u8]| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        match headers.get(REQUEST_ID).map(HeaderValue::as_bytes).filter(is_sane) {
            Some(id) => String::from_utf8_lossy(id).into_owned(),
            None => format!("req_{:016x}{:08x}", self.start, self.next.fetch_add(1, Ordering::Relaxed)),
        }
    }
}
