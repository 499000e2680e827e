//! One connection: its requests, and how long it may do nothing.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bridge_core::{Clock, Timestamp};
use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{
    arriving::Arriving,
    door::HttpDoor,
    impatient::Impatient,
    response::{Body, BoxError},
    serve::ServeSettings,
};

/// One client.
pub(crate) struct Connection {
    pub(crate) door: HttpDoor,
    pub(crate) settings: ServeSettings,
    pub(crate) protocol: Arc<auto::Builder<TokioExecutor>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Connection {
    pub(crate) async fn run(self, stream: TcpStream) {
        // Small answers leave at once; a failure only makes them slower.
        let _ = stream.set_nodelay(true);
        let stream = Impatient::new(stream, self.settings.stalled, Arc::clone(&self.clock));
        let activity = Arc::new(Activity::new(Arc::clone(&self.clock)));
        let door = self.door.clone();
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = UnderWay::begin(&activity);
            let is_told_to_close = request.version() < Version::HTTP_2;
            let answer = door.clone().call(Arriving::of(request, &self.clock));
            let closing = door.closing().clone();
            async move {
                let Ok(mut response) = answer.await;
                if is_told_to_close && closing.is_cancelled() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
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
                () = self.last_request(&activity), if !ended => {}
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

    /// Returns when the door is closed, and the connection had a request to be told so or made none for a while.
    async fn last_request(&self, activity: &Activity) {
        self.door.closing().cancelled().await;
        let deadline = self.clock.now() + self.settings.linger;
        tokio::select! {
            () = activity.asked.cancelled() => {}
            () = self.clock.sleep_until(deadline) => {}
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
    /// Set by the first request.
    asked: CancellationToken,
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
        Self { asked: CancellationToken::new(), state: Mutex::new(state), clock }
    }

    /// In what way the connection is at rest, and since when; nothing while it is at work.
    fn at_rest(&self) -> Option<(Rest, Timestamp)> {
        let state = self.lock();
        if state.under_way.is_empty() {
            return Some((if self.asked.is_cancelled() { Rest::Between } else { Rest::Fresh }, state.since));
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
        activity.asked.cancel();
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
