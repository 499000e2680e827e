//! What a client is told that sent no request: it cannot be read, is too large to be read, or does not end.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use bridge_core::{Clock, Timestamp};
use bridge_protocol::Code;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::{HeaderValue, Response, header::CONNECTION};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    arriving::UNWANTED,
    door::HttpDoor,
    impatient::Impatient,
    response::{Body, Refusal},
};

/// The longest answer that the parser gives by itself.
const BARE: usize = 256;

/// How long a client that goes on talking after it was refused is listened to, so that it gets to read why.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection's stream. Clones are the same stream: one is the parser's, the other has the last word.
///
/// What looks like a refusal of the parser's own is held back for a moment. If the connection ends with it, it is one, and
/// the client gets a problem instead; else it goes out as it is.
#[derive(Clone)]
pub(crate) struct Stream(Arc<Mutex<Spoken>>);

struct Spoken {
    stream: Impatient,
    held: Bytes,
}

impl Stream {
    pub(crate) fn new(stream: Impatient) -> Self {
        Self(Arc::new(Mutex::new(Spoken { stream, held: Bytes::new() })))
    }

    /// Says why the connection ends, and reads on for a while what nobody wants.
    pub(crate) async fn end(&mut self, why: End, door: &HttpDoor, clock: &dyn Clock) {
        let held = mem::take(&mut self.lock().held);
        let refusal = match why {
            End::TimedOut => {
                Some(Refusal::new(Code::RequestTimeout).detail("the head of the request did not end"))
            }
            End::Unparsed => meant(&held),
            End::Other => None,
        };
        let last = refusal.map_or(held, |refusal| written(door.refuse(refusal), clock.now()));
        if why == End::Other && last.is_empty() {
            return;
        }
        let mut nowhere = tokio::io::sink();
        let told = async {
            self.lock().held = last;
            poll_fn(|cx| self.lock().poll_release(cx)).await?;
            self.shutdown().await?;
            tokio::io::copy(&mut self.take(UNWANTED as u64), &mut nowhere).await
        };
        // Who does not listen is left alone.
        tokio::select! {
            _ = told => {}
            () = clock.sleep_until(clock.now() + PATIENCE) => {}
        }
    }

    /// Lets out what was held back: the connection goes on.
    pub(crate) fn release(&self, cx: &mut Context<'_>) {
        // The next write says what is wrong, or goes on with it.
        let _ = self.lock().poll_release(cx);
    }

    fn lock(&self) -> MutexGuard<'_, Spoken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a head that did not come to its end.
    TimedOut,
    /// With something that the parser did not take.
    Unparsed,
    Other,
}

impl Spoken {
    /// Lets out what was held back.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.has_remaining() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            self.held.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn hold_back(&mut self, said: &[u8]) -> Option<Poll<io::Result<usize>>> {
        meant(said)?;
        self.held = Bytes::copy_from_slice(said);
        Some(Poll::Ready(Ok(said.len())))
    }
}

/// What the parser means by an answer of its own: a head without a body, and without an id, which all of ours have.
fn meant(said: &[u8]) -> Option<Refusal> {
    let status = said.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    if said.len() > BARE
        || !said.ends_with(b"\r\n\r\n")
        || said.windows(12).any(|part| part == b"x-request-id")
    {
        return None;
    }
    match status {
        b"400" => Some(Refusal::new(Code::BadRequest).detail("this is no request of HTTP")),
        b"414" => Some(Code::UriTooLong.into()),
        b"431" => Some(Code::HeadersTooLarge.into()),
        _ => None,
    }
}

/// The bytes of an answer with which a connection ends.
fn written(mut response: Response<Body>, now: Timestamp) -> Bytes {
    let now = UNIX_EPOCH + Duration::from_millis(now.as_millis());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let (parts, body) = response.into_parts();
    let body = body.collect().now_or_never().and_then(Result::ok).unwrap_or_default().to_bytes();
    let mut bytes = format!(
        "HTTP/1.1 {}\r\ndate: {}\r\ncontent-length: {}\r\n",
        parts.status,
        httpdate::fmt_http_date(now),
        body.len()
    )
    .into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes.into()
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut spoken = self.lock();
        ready!(spoken.poll_release(cx))?;
        spoken.hold_back(buf).unwrap_or_else(|| Pin::new(&mut spoken.stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut spoken = self.lock();
        ready!(spoken.poll_release(cx))?;
        let only = match bufs {
            [only] => spoken.hold_back(only),
            _ => None,
        };
        only.unwrap_or_else(|| Pin::new(&mut spoken.stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut spoken = self.lock();
        if spoken.held.is_empty() {
            Pin::new(&mut spoken.stream).poll_shutdown(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE_431: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
        content-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

    #[test]
    fn only_a_bare_refusal_is_held_back() {
        assert_eq!(meant(BARE_431).unwrap().code(), "headers_too_large");
        let ours = String::from_utf8(BARE_431.to_vec()).unwrap().replace("date:", "x-request-id: r\r\ndate:");
        assert!(meant(ours.as_bytes()).is_none());
        assert!(meant(&BARE_431[..BARE_431.len() - 1]).is_none());
        assert!(meant(b"HTTP/1.1 200 OK\r\n\r\n").is_none());
        assert!(meant(b"HTTP/1.1 4").is_none());
    }
}
