//! The service behind `/mcp`.

use std::{
    convert::Infallible, error::Error, fmt, future::Future, pin::Pin, sync::Arc, task, time::Duration,
};

use bridge_core::{Clock, HandshakeStore};
use bridge_runtime::Bridge;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::{
    front::{Front, MAX_BODY},
    handler::{Handler, SharedSession},
    handshake::Handshakes,
    tools::Toolset,
};

/// A client of the older protocol that says nothing for this long is put away; its handshake brings it back. Longer than
/// any wait.
const IDLE: Duration = Duration::from_secs(150);

/// How long calls may take to be answered when the endpoint is closed.
const GRACE: Duration = Duration::from_millis(500);

/// What can go wrong while a body is read or written.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of an answer.
pub type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

/// Chooses how an [`Endpoint`] behaves.
#[derive(Debug)]
pub struct Builder {
    bridge: Bridge,
    handshakes: Arc<dyn HandshakeStore>,
    shared: SharedSession,
    tools: Toolset,
    callers: Callers,
}

/// Who sees to it that neither another name nor a foreign page gets in.
#[derive(Debug)]
enum Callers {
    CheckedHere { hosts: Vec<String>, origins: Vec<String> },
    CheckedInFront,
}

impl Default for Callers {
    fn default() -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"];
        Self::CheckedHere {
            hosts: loopback.map(str::to_owned).into(),
            origins: loopback.map(|host| format!("http://{host}:*")).into(),
        }
    }
}

impl Builder {
    /// Offers the session called `default` to callers that name no other; it is opened when it is first named.
    ///
    /// For servers without authentication only: whoever reaches the server shares that session.
    #[must_use]
    pub const fn shared_session(mut self) -> Self {
        self.shared = SharedSession::Offered;
        self
    }

    /// Offers the tools of an operator, who looks after mailboxes and dead letters, in place of those of a conversation.
    ///
    /// Whoever reaches such an endpoint may use them all; mount it where agents that only answer do not come.
    #[must_use]
    pub const fn operator_tools(mut self) -> Self {
        self.tools = Toolset::Operator;
        self
    }

    /// Answers under these names, each with or without a port; loopback names unless set.
    #[must_use]
    pub fn allowed_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        if let Callers::CheckedHere { hosts: all, .. } = &mut self.callers {
            *all = hosts.into_iter().map(Into::into).collect();
        }
        self
    }

    /// Leaves hosts and origins to the service that this one is mounted in, which must check them.
    #[must_use]
    pub fn checked_in_front(mut self) -> Self {
        self.callers = Callers::CheckedInFront;
        self
    }

    /// Lets pages of these origins call, such as `https://app.example:443`; pages from loopback unless set. Callers that
    /// are no pages send no origin and are not affected.
    #[must_use]
    pub fn allowed_origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        if let Callers::CheckedHere { origins: all, .. } = &mut self.callers {
            *all = origins.into_iter().map(Into::into).collect();
        }
        self
    }

    /// The endpoint.
    pub fn build(self) -> Endpoint {
        let Self { bridge, handshakes, shared, tools, callers } = self;
        let closed = CancellationToken::new();
        let config = StreamableHttpServerConfig::default();
        let config = match callers {
            Callers::CheckedHere { hosts, origins } => {
                config.with_allowed_hosts(hosts).with_allowed_origins(origins).enforce_origin_validation()
            }
            Callers::CheckedInFront => config.disable_allowed_hosts().disable_allowed_origins(),
        };
        let mut config = config.with_max_request_body_bytes(MAX_BODY).with_cancellation_token(closed.clone());
        config.session_store = Some(Arc::new(Handshakes::new(handshakes, bridge.clone())));
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(IDLE);
        let sessions = Arc::new(sessions);
        let clock = Arc::clone(bridge.clock());
        let handler = Handler::new(bridge, shared, tools, Arc::clone(&sessions));
        let protocol = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        Endpoint { front: Front::new(protocol), closed, clock }
    }
}

/// The MCP door: a cloneable [`tower::Service`] for any HTTP stack that speaks `http` 1.
///
/// It serves the protocol without sessions (2026-07-28) and the older ones with `initialize` (2025-11-25 and before)
/// under one path. It never fails; errors are answers.
///
/// # Example
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use bridge_mcp::Endpoint;
/// use bridge_runtime::Bridge;
/// use http_body_util::Full;
/// use tower::Service;
///
/// let store = bridge_store::MemoryStore::new();
/// let bridge = Bridge::builder(store.clone()).start().await.unwrap();
/// let mut endpoint = Endpoint::builder(bridge, Arc::new(store)).shared_session().build();
///
/// let request = http::Request::post("/mcp").header("host", "localhost").body(Full::new(bytes::Bytes::new())).unwrap();
/// assert_eq!(endpoint.call(request).await.unwrap().status(), 406);
/// # });
/// ```
#[derive(Clone)]
pub struct Endpoint {
    front: Front<StreamableHttpService<Handler, LocalSessionManager>>,
    closed: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("closed", &self.closed.is_cancelled()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Begins to choose how an endpoint over `bridge` behaves; `handshakes` keeps what clients of the older protocol
    /// agreed on, so that they go on after a restart.
    pub fn builder(bridge: Bridge, handshakes: Arc<dyn HandshakeStore>) -> Builder {
        Builder {
            bridge,
            handshakes,
            shared: SharedSession::Withheld,
            tools: Toolset::Conversation,
            callers: Callers::default(),
        }
    }

    /// Lets calls that are under way be answered, for half a second, and ends the streams that are still open: for a
    /// server that stops. Shut the bridge down first: then calls that wait have something to answer.
    pub async fn close(&self) {
        let deadline = self.clock.now() + GRACE;
        tokio::select! {
            () = self.front.answered() => {}
            () = self.clock.sleep_until(deadline) => {}
        }
        self.closed.cancel();
    }
}

impl<B> Service<Request<B>> for Endpoint
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<BoxBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.front.call(request)
    }
}
