//! The body of a request on its way in.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bridge_core::Clock;
use bytes::Bytes;
use http::{Request, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use super::{activity::UnderWay, places::Place};

/// Bytes that are read on of what nobody wants.
pub(super) const UNWANTED: usize = 8 << 20;

/// The longest pause in a body that nobody wants.
const PAUSE: Duration = Duration::from_secs(2);

/// How long it may take in all.
const TIME: Duration = Duration::from_secs(10);

/// A body that is read on for a while when its reader leaves it: its sender may still be writing, and gets to read the
/// answer only from a connection that is not closed with bytes unread.
pub(crate) struct Arriving {
    /// None once it has ended.
    body: Option<Incoming>,
    /// Whether its sender sends it anyway, rather than wait until somebody begins to read.
    is_sent: bool,
    /// Needed once it lets somebody wait, until it has ended.
    place: Option<Place>,
    /// The request is under way until it has come.
    under_way: Arc<UnderWay>,
    clock: Arc<dyn Clock>,
}

impl Arriving {
    pub(crate) fn of(
        request: Request<Incoming>,
        under_way: Arc<UnderWay>,
        clock: Arc<dyn Clock>,
    ) -> Request<Self> {
        let is_sent = !request.headers().contains_key(EXPECT);
        request.map(|body| Self { body: Some(body), is_sent, place: None, under_way, clock })
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_sent = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        match polled {
            Poll::Ready(None | Some(Err(_))) => (self.body, self.place) = (None, None),
            Poll::Pending if self.place.is_none() => self.place = Some(self.under_way.await_body()),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.is_end_stream() || !self.is_sent {
            return;
        }
        if let (Some(body), Ok(runtime)) = (self.body.take(), Handle::try_current()) {
            let (under_way, clock) = (Arc::clone(&self.under_way), Arc::clone(&self.clock));
            let place = self.place.take();
            runtime.spawn(async move {
                read_on(body, clock).await;
                drop((under_way, place));
            });
        }
    }
}

async fn read_on(mut body: Incoming, clock: Arc<dyn Clock>) {
    let mut read = 0;
    let end = clock.now() + TIME;
    while read < UNWANTED {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = clock.sleep_until(end.min(clock.now() + PAUSE)) => return,
        };
        let Some(Ok(frame)) = frame else { return };
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}
