//! One connection: its requests, and how long it may do nothing.

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bridge_core::{Clock, Timestamp};
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;
use tower::Service;

use super::{
    activity::{Activity, Progress, Rest, Shares, UnderWay},
    arriving::Arriving,
    door::HttpDoor,
    impatient::Impatient,
    response::{Body, BoxError},
    serve::ServeSettings,
    unparsed::{End, Stream},
};

/// One client.
pub(crate) struct Connection {
    pub(crate) door: HttpDoor,
    pub(crate) settings: ServeSettings,
    pub(crate) protocol: Arc<auto::Builder<TokioExecutor>>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Connection {
    pub(crate) async fn run(self, stream: TcpStream) {
        // Small answers leave at once; a failure only makes them slower.
        let _ = stream.set_nodelay(true);
        let stream = Impatient::new(stream, self.settings.stalled, Arc::clone(&self.clock));
        let mut stream = Stream::new(stream);
        let activity = Arc::new(Activity::new(Arc::clone(&self.shares), Arc::clone(&self.clock)));
        let reads = Arc::clone(&activity);
        let inspected = InspectReader::new(stream.clone(), move |bytes: &[u8]| reads.read(bytes));
        let service = service_fn(|request: Request<Incoming>| {
            let answer = UnderWay::begin(&activity).map(Arc::new).map(|under_way| {
                let request = Arriving::of(request, Arc::clone(&under_way), Arc::clone(&self.clock));
                (request.version(), self.door.clone().call(request), under_way)
            });
            let closing = self.door.closing().clone();
            async move {
                // It was not looked at, so the client may send it again.
                let (version, answer, under_way) = answer.ok_or(h2::Reason::REFUSED_STREAM)?;
                let Ok(mut response) = answer.await;
                if version < Version::HTTP_2 && closing.is_cancelled() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                under_way.note(Progress::Offered);
                Ok::<Response<Answered>, h2::Error>(response.map(|body| Answered { body, under_way }))
            }
        });
        let mut connection = pin!(self.protocol.serve_connection(TokioIo::new(inspected), service));
        // When the client was told to go.
        let mut told = None;
        loop {
            // Looked at when something of it has happened, not with each part of a request.
            let mut ends = FuturesUnordered::from_iter([self.end(&activity, told)]);
            let running = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                if polled.is_pending() {
                    stream.release(cx);
                }
                polled
            });
            tokio::select! {
                biased;
                result = running => {
                    let end = match &result {
                        Ok(()) => End::Other,
                        Err(error) => {
                            tracing::debug!(error, "a connection ended early");
                            match error.downcast_ref::<hyper::Error>() {
                                Some(error) if error.is_timeout() && activity.is_begun() => End::TimedOut,
                                Some(error) if error.is_parse() => End::Unparsed,
                                _ => End::Other,
                            }
                        }
                    };
                    return stream.end(end, &self.door, &*self.clock).await;
                }
                Some(why) = ends.next() => match why {
                    Why::Displaced => {
                        tracing::debug!("a connection was ended, as too much is held for connections like it");
                        return;
                    }
                    Why::Closing => {}
                    Why::AtRest(rest) => {
                        if rest == Rest::Fresh && activity.is_begun() {
                            stream.end(End::TimedOut, &self.door, &*self.clock).await;
                        }
                        // Nothing has come at all, what was offered is not taken, or the client was told to go and did not.
                        if rest != Rest::Between || told.is_some() {
                            return;
                        }
                    }
                },
            }
            told = Some(self.clock.now());
            connection.as_mut().graceful_shutdown();
        }
    }

    /// Returns when the connection should end although its client does not end it.
    async fn end(&self, activity: &Activity, told: Option<Timestamp>) -> Why {
        tokio::select! {
            () = activity.displaced.cancelled() => Why::Displaced,
            () = self.last_request(activity), if told.is_none() => Why::Closing,
            rest = self.too_long(activity, told) => Why::AtRest(rest),
        }
    }

    /// Returns when the door is closed, and the client can be told so without an answer.
    ///
    /// A client of HTTP/1 that is between two requests may be sending the next one just now. It would be cut off: for a
    /// while each answer says that it is the last one instead. HTTP/2 tells a client what was not looked at.
    async fn last_request(&self, activity: &Activity) {
        self.door.closing().cancelled().await;
        let deadline = self.clock.now() + self.settings.linger;
        let asked = async {
            activity.asked.cancelled().await;
            if !activity.is_http2() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = asked => {}
            () = self.clock.sleep_until(deadline) => {}
        }
    }

    /// Returns when the connection has been at rest for too long, or was told to go and has been for a while.
    async fn too_long(&self, activity: &Activity, told: Option<Timestamp>) -> Rest {
        loop {
            let now = self.clock.now();
            let deadline = activity.at_rest().map(|(rest, since)| {
                let told = told.filter(|_| rest == Rest::Between);
                (
                    rest,
                    told.map_or(since + self.limit(rest), |told| told.max(since) + self.settings.header_time),
                )
            });
            let deadline = match deadline {
                Some((rest, deadline)) if deadline <= now => return rest,
                Some((_, deadline)) => deadline,
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

/// Why a connection should end.
enum Why {
    /// Others need its place.
    Displaced,
    /// The door is closed.
    Closing,
    AtRest(Rest),
}

/// The body of an answer, which is under way until it is dropped.
struct Answered {
    body: Body,
    under_way: Arc<UnderWay>,
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
