//! The socket loop: connections, their limits, an orderly end.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bridge_core::{Clock, Timestamp};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::{
    door::HttpDoor,
    response::{Body, BoxError},
};

/// What a server lets connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeSettings {
    /// Connections at one time; further ones wait to be accepted.
    pub connections: usize,
    /// From the beginning of a connection, or the end of a request, to the end of the next request's head.
    pub header_time: Duration,
    /// How long a connection of HTTP/2 may stay without a request.
    pub idle: Duration,
    /// How long a client may take nothing of what it is sent.
    pub stalled: Duration,
    /// Bytes of a request's head and of its parts that are held for a connection.
    pub buffer: usize,
    /// Requests at one time on one connection of HTTP/2.
    pub streams: u32,
    /// How long requests under way may go on when the server stops.
    pub grace: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_time: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(30),
            buffer: 80 << 10,
            streams: 100,
            grace: Duration::from_secs(5),
        }
    }
}

/// Header fields that the parser takes. More than a door takes, so that the door can say what is wrong.
const PARSED_HEADERS: usize = 256;

/// The pause after a failed accept: the machine is out of sockets or memory, and asking again at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `door` on `listener`, in HTTP/1.1 and in HTTP/2 without TLS, until `shutdown` is ready.
///
/// Then nothing new is accepted, [`HttpDoor::close`] is called, and requests under way have
/// [`grace`](ServeSettings::grace) to end; what is still open after that is cut. Returns when every connection has ended.
///
/// # Example
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let bridge = bridge_runtime::Bridge::builder(bridge_store::MemoryStore::new()).start().await.unwrap();
/// use bridge_transport::{HttpDoor, ServeSettings, serve};
///
/// let door = HttpDoor::builder(bridge).build().unwrap();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// serve(listener, door, ServeSettings::default(), async { /* the signal to stop */ }).await;
/// # });
/// ```
pub async fn serve(
    listener: TcpListener,
    door: HttpDoor,
    settings: ServeSettings,
    shutdown: impl Future<Output = ()> + Send,
) {
    let clock = Arc::clone(door.bridge().clock());
    let server = Server {
        door,
        settings,
        protocol: Arc::new(protocol(&settings)),
        clock,
        places: Arc::new(Semaphore::new(settings.connections)),
        connections: TaskTracker::new(),
        ending: CancellationToken::new(),
        cut: CancellationToken::new(),
    };
    tokio::select! {
        () = server.accept(&listener) => {}
        () = shutdown => {}
    }
    drop(listener);
    server.end().await;
}

/// How bytes become requests.
fn protocol(settings: &ServeSettings) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_time)
        .max_headers(PARSED_HEADERS)
        .max_buf_size(settings.buffer.max(8 << 10));
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams)
        .max_header_list_size(u32::try_from(settings.buffer).unwrap_or(u32::MAX))
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(settings.stalled)
        .keep_alive_timeout(settings.stalled);
    protocol
}

struct Server {
    door: HttpDoor,
    settings: ServeSettings,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    /// Requests under way may end, no other begins.
    ending: CancellationToken,
    /// Everything ends.
    cut: CancellationToken,
}

impl Server {
    async fn accept(&self, listener: &TcpListener) {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let connection = self.connection(stream, peer, place);
                    self.connections.spawn(connection);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted now");
                    self.clock.sleep_until(self.clock.now() + ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connection = Connection {
            door: self.door.clone(),
            settings: self.settings,
            protocol: Arc::clone(&self.protocol),
            clock: Arc::clone(&self.clock),
            ending: self.ending.clone(),
        };
        let cut = self.cut.clone();
        async move {
            tokio::select! {
                () = connection.run(stream) => {}
                () = cut.cancelled() => tracing::info!(%peer, "a connection was cut, as its time to end is over"),
            }
            drop(place);
        }
    }

    async fn end(self) {
        self.door.close();
        self.ending.cancel();
        self.connections.close();
        let deadline = self.clock.now() + self.settings.grace;
        tokio::select! {
            () = self.connections.wait() => {}
            () = self.clock.sleep_until(deadline) => {
                self.cut.cancel();
                self.connections.wait().await;
            }
        }
    }
}

/// Whether a failed accept says something about the one client that wanted to connect, not about this machine.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One client.
struct Connection {
    door: HttpDoor,
    settings: ServeSettings,
    protocol: Arc<auto::Builder<TokioExecutor>>,
    clock: Arc<dyn Clock>,
    ending: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Small answers leave at once; a failure only makes them slower.
        let _ = stream.set_nodelay(true);
        let stream =
            Impatient { stream, limit: self.settings.stalled, clock: Arc::clone(&self.clock), timer: None };
        let activity = Arc::new(Activity::new(Arc::clone(&self.clock)));
        let door = self.door.clone();
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = UnderWay::begin(&activity);
            let answer = door.clone().call(request);
            async move {
                let Ok(response) = answer.await;
                under_way.note(Progress::Offered);
                Ok::<Response<Answered>, Infallible>(response.map(|body| Answered { body, under_way }))
            }
        });
        let mut connection = pin!(self.protocol.serve_connection(TokioIo::new(stream), service));
        let mut ended = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(error, "a connection ended early");
                    }
                    return;
                }
                () = self.ending.cancelled(), if !ended => {}
                rest = self.too_long(&activity) => {
                    // Nothing has come at all, what was offered is not taken, or the client was told to go and did not.
                    if rest != Rest::Between || ended {
                        return;
                    }
                }
            }
            ended = true;
            connection.as_mut().graceful_shutdown();
        }
    }

    /// Returns when the connection has been at rest for too long.
    async fn too_long(&self, activity: &Activity) -> Rest {
        loop {
            let now = self.clock.now();
            let deadline = match activity.at_rest() {
                Some((rest, since)) if since + self.limit(rest) <= now => return rest,
                Some((rest, since)) => since + self.limit(rest),
                None => now + self.settings.stalled.min(self.settings.idle),
            };
            self.clock.sleep_until(deadline).await;
        }
    }

    const fn limit(&self, rest: Rest) -> Duration {
        match rest {
            Rest::Fresh => self.settings.header_time,
            Rest::Between => self.settings.idle,
            Rest::Untaken => self.settings.stalled,
        }
    }
}

/// What a connection is doing that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It never had a request.
    Fresh,
    /// Its last request has ended.
    Between,
    /// A part of an answer is offered, and the client does not take it.
    Untaken,
}

/// The requests of one connection.
#[derive(Debug)]
struct Activity {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    /// Requests so far.
    count: u64,
    /// When the last one ended, or the connection began.
    since: Timestamp,
    /// Those that are not answered to their end, and since when a part of the answer is offered to the client.
    under_way: BTreeMap<u64, Option<Timestamp>>,
}

impl Activity {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State { count: 0, since: clock.now(), under_way: BTreeMap::new() };
        Self { state: Mutex::new(state), clock }
    }

    /// In what way the connection is at rest, and since when; nothing while it is at work.
    fn at_rest(&self) -> Option<(Rest, Timestamp)> {
        let state = self.lock();
        if state.under_way.is_empty() {
            return Some((if state.count == 0 { Rest::Fresh } else { Rest::Between }, state.since));
        }
        state.under_way.values().flatten().min().map(|since| (Rest::Untaken, *since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that is not answered to its end.
struct UnderWay {
    activity: Arc<Activity>,
    number: u64,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is a part of it that the client can take.
    Offered,
    /// The client has everything there is, and waits for more.
    Awaited,
}

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        let mut state = activity.lock();
        state.count += 1;
        let number = state.count;
        state.under_way.insert(number, None);
        drop(state);
        Self { activity: Arc::clone(activity), number }
    }

    fn note(&self, progress: Progress) {
        let offered = (progress == Progress::Offered).then(|| self.activity.clock.now());
        self.activity.lock().under_way.insert(self.number, offered);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.activity.clock.now();
        let mut state = self.activity.lock();
        state.under_way.remove(&self.number);
        state.since = now;
    }
}

/// The body of an answer, which is under way until it is dropped.
struct Answered {
    body: Body,
    under_way: UnderWay,
}

impl http_body::Body for Answered {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // It is asked for the next part when the client has room for it: until then this one counts as untaken.
        self.under_way.note(if polled.is_ready() { Progress::Offered } else { Progress::Awaited });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when its other end takes nothing for too long.
struct Impatient {
    stream: TcpStream,
    limit: Duration,
    clock: Arc<dyn Clock>,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Impatient {
    /// Passes on what a write came to, unless writing has come to nothing for too long.
    fn watch<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timer = self.timer.get_or_insert_with(|| {
            let clock = Arc::clone(&self.clock);
            let deadline = clock.now() + self.limit;
            Box::pin(async move { clock.sleep_until(deadline).await })
        });
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
