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

use crate::calls::UnderWay;

/// Ties what a call hands over to the answer that carries it: it is complete when the answer was taken to be written, and
/// lost when the reader went away before.
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
pub(crate) struct Guard {
    passage: Passage,
    _under_way: Option<UnderWay>,
}

impl Guard {
    pub(crate) fn new(passage: Passage, under_way: Option<UnderWay>) -> Self {
        Self { passage, _under_way: under_way }
    }

    /// Whether something is on the way.
    fn carries(&self) -> bool {
        matches!(*self.passage.cargo.lock().unwrap_or_else(PoisonError::into_inner), Cargo::Some(_))
    }

    fn arrived(&self) {
        if let Cargo::Some(handover) = self.passage.end() {
            handover.complete();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.passage.lost.cancel();
        drop(self.passage.end());
    }
}

/// A body that tells its passage whether the answer in it was taken.
///
/// It was when somebody asks for what follows. To wait for the end instead would be wrong: clients close a stream of events
/// as soon as they have their answer.
#[derive(Debug)]
pub(crate) struct Watched<B> {
    body: B,
    guard: Guard,
    answered: bool,
}

impl<B> Watched<B> {
    pub(crate) const fn new(body: B, guard: Guard) -> Self {
        Self { body, guard, answered: false }
    }
}

/// Whether this part of an answer holds the result; notifications come before it.
fn holds_result(frame: &Frame<Bytes>) -> bool {
    const RESULT: &[u8] = b"\"result\":";
    frame.data_ref().is_some_and(|data| data.windows(RESULT.len()).any(|part| part == RESULT))
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.answered {
            self.guard.arrived();
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // A body of known length is not polled again once its last byte is out.
        if frame.is_none() || self.body.is_end_stream() {
            self.guard.arrived();
        }
        self.answered |= matches!(&frame, Some(Ok(frame)) if self.guard.carries() && holds_result(frame));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    type Part = Result<Frame<Bytes>, std::convert::Infallible>;

    fn part(text: &'static str) -> Part {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    /// An answer on its way, with its passage and what is written into it.
    fn answer() -> (Passage, mpsc::Sender<Part>, impl Body<Data = Bytes> + Unpin) {
        let (parts, body) = mpsc::channel(4);
        let passage = Passage::default();
        let guard = Guard::new(passage.clone(), None);
        (passage, parts, Watched::new(StreamBody::new(ReceiverStream::new(body)), guard))
    }

    fn is_on_the_way(passage: &Passage) -> bool {
        matches!(*passage.cargo.lock().unwrap(), Cargo::Some(_))
    }

    #[tokio::test]
    async fn an_answer_is_taken_when_more_is_asked_for_though_its_stream_goes_on() {
        let (passage, parts, mut body) = answer();
        passage.carry(HandOver::default());
        for text in [r#"data: {"method":"notifications/progress"}"#, r#"data: {"id":1,"result":{}}"#] {
            parts.send(part(text)).await.unwrap();
            assert!(body.frame().await.is_some());
            assert!(is_on_the_way(&passage), "nobody has asked for more since {text}");
        }
        assert!(tokio::time::timeout(std::time::Duration::ZERO, body.frame()).await.is_err());
        assert!(!is_on_the_way(&passage));
    }

    #[tokio::test]
    async fn who_goes_away_is_missed_at_once() {
        let (passage, _parts, body) = answer();
        drop(body);
        passage.lost().await;
        passage.carry(HandOver::default());
        assert!(!is_on_the_way(&passage), "what comes too late is lost at once");
    }
}
