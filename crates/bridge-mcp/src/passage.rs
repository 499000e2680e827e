//! The way of one HTTP answer to its reader, and what is lost if it does not arrive.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bridge_runtime::HandOver;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

/// Ties what a call hands over to the answer that carries it: it is complete when the answer was written to its end,
/// and lost when the reader went away before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passage {
    cargo: Arc<Mutex<Cargo>>,
    lost: CancellationToken,
}

#[derive(Debug, Default)]
enum Cargo {
    /// Nothing is on the way yet.
    #[default]
    None,
    /// On the way.
    Some(HandOver),
    /// The reader is gone, or has everything.
    Ended,
}

impl Passage {
    /// Sends a hand-over the way of the answer; it counts as lost if the reader is gone already.
    pub(crate) fn carry(&self, handover: HandOver) {
        let mut cargo = self.cargo.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*cargo, Cargo::Ended) {
            drop(handover);
        } else {
            *cargo = Cargo::Some(handover);
        }
    }

    /// Returns when the reader has gone away.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    fn end(&self) -> Cargo {
        std::mem::replace(&mut *self.cargo.lock().unwrap_or_else(PoisonError::into_inner), Cargo::Ended)
    }
}

/// The writing end of a passage: dropping it before the end says that the reader is gone.
#[derive(Debug)]
pub(crate) struct Guard(Passage);

impl Guard {
    pub(crate) fn new(passage: Passage) -> Self {
        Self(passage)
    }

    fn arrived(&self) {
        if let Cargo::Some(handover) = self.0.end() {
            handover.complete();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.lost.cancel();
        drop(self.0.end());
    }
}

/// A body that tells its passage whether it was read to its end.
#[derive(Debug)]
pub(crate) struct Watched<B> {
    body: B,
    guard: Guard,
}

impl<B> Watched<B> {
    pub(crate) const fn new(body: B, guard: Guard) -> Self {
        Self { body, guard }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // A body of known length is not polled again once its last byte is out.
        if frame.is_none() || self.body.is_end_stream() {
            self.guard.arrived();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
