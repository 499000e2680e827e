//! The socket loop: connections, their limits, an orderly end.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bridge_core::Clock;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{activity::Shares, connection::Connection, door::HttpDoor};

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
    /// Connections on which a head was longer than 8 KiB, whole or not; for the next one the first of them is ended.
    pub long_heads: usize,
    /// Connections on which the body of a request lets the server wait; for the next one the first of them is ended.
    pub bodies: usize,
    /// Connections of HTTP/2 at one time; further ones are closed.
    pub http2_connections: usize,
    /// Requests at one time on all connections of HTTP/2; further ones are refused, to be sent again.
    pub http2_requests: usize,
    /// Requests at one time on one connection of HTTP/2.
    pub streams: u32,
    /// How long requests under way may go on when the server stops.
    pub grace: Duration,
    /// How long a server that stops is there at least, to say so to who asks.
    pub linger: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_time: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(30),
            buffer: 80 << 10,
            long_heads: 256,
            bodies: 384,
            http2_connections: 256,
            http2_requests: 2_048,
            streams: 100,
            grace: Duration::from_secs(5),
            linger: Duration::from_millis(500),
        }
    }
}

/// The pause after a failed accept: the machine is out of sockets or memory, and asking again at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `door` on `listener`, in HTTP/1.1 and in HTTP/2 without TLS, until `shutdown` is ready.
///
/// Then [`HttpDoor::close`] is called, and each connection ends with the request it has under way, or at once. Who comes
/// meanwhile is told: connections are accepted while others are open, for [`linger`](ServeSettings::linger) at least. What
/// is still under way after [`grace`](ServeSettings::grace) is answered with 503 `outcome_unknown`, and what is still open
/// a `linger` later is cut. Returns when every connection has ended.
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
        shares: Arc::new(Shares::new(&settings)),
        clock,
        places: Arc::new(Semaphore::new(settings.connections)),
        connections: TaskTracker::new(),
        cut: CancellationToken::new(),
    };
    tokio::select! {
        () = server.accept(&listener) => {}
        () = shutdown => {}
    }
    server.end(listener).await;
}

/// How bytes become requests.
fn protocol(settings: &ServeSettings) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_time)
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
    shares: Arc<Shares>,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
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
            shares: Arc::clone(&self.shares),
            clock: Arc::clone(&self.clock),
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

    async fn end(self, listener: TcpListener) {
        self.door.close();
        self.connections.close();
        let now = self.clock.now();
        let ended = async {
            self.clock.sleep_until(now + self.settings.linger).await;
            self.connections.wait().await;
        };
        tokio::select! {
            () = self.accept(&listener) => {}
            () = ended => {}
            () = self.clock.sleep_until(now + self.settings.grace) => self.door.give_up(),
        }
        drop(listener);
        let told = self.clock.now() + self.settings.linger;
        tokio::select! {
            () = self.connections.wait() => return,
            () = self.clock.sleep_until(told) => self.cut.cancel(),
        }
        self.connections.wait().await;
    }
}

/// Whether a failed accept says something about the one client that wanted to connect, not about this machine.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
