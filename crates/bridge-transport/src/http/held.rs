//! Answers, which are held until their readers have taken them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bridge_protocol::Code;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use super::{
    limits::{Budget, Share},
    response::{Answer, Body, BoxError, Refusal},
};

/// An answer that is not larger is not counted, so that there is always one.
const SMALL: usize = 1 << 10;

/// Beyond this an answer is one of many messages, or of large ones.
const LARGE: usize = 64 << 10;

/// As much as a server takes off our hands at once, uncounted from then on: a frame of HTTP/2.
pub(crate) const PART: usize = 16 << 10;

/// Takes the share of an answer, which is refused if too much is held already.
pub(crate) fn hold(response: Response<Body>, budget: &Budget) -> Answer {
    let size = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
    if size <= SMALL {
        return Ok(response);
    }
    check(size, budget)?;
    let share = budget.take(size).ok_or(Code::Overloaded)?;
    Ok(response.map(|body| UnsyncBoxBody::new(Held { body, rest: Bytes::new(), _share: share })))
}

/// Refuses an answer of at least this size, if possible before it is made, for which there is no room. Large ones leave
/// some for the others.
pub(crate) fn check(size: usize, budget: &Budget) -> Result<(), Refusal> {
    let rest = if size > LARGE { budget.all() / 4 } else { 0 };
    if size <= SMALL || budget.has(size + rest) { Ok(()) } else { Err(Code::Overloaded.into()) }
}

/// A body with its share, handed out in small parts: of one large part a server would hold all that its reader does not
/// take, uncounted.
struct Held {
    body: Body,
    rest: Bytes,
    _share: Share,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        let part = self.rest.len().min(PART);
        let part = self.rest.split_to(part);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
