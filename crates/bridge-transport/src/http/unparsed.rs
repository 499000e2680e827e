//! What a client is told that sent no request: it cannot be read, is too large to be read, or does not end.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bridge_core::Clock;
use bridge_protocol::Code;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use http::{HeaderValue, Response, header::CONNECTION};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    door::HttpDoor,
    impatient::Impatient,
    response::{Body, Refusal},
};

/// The longest answer that the parser gives by itself.
const BARE: usize = 256;

/// What is read of a client that goes on talking after it was refused, so that it gets to read why.
const UNWANTED: u64 = 8 << 20;

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection's stream, on which the parser's refusals leave as problems. Clones are the same stream: one is the
/// parser's, the other has the last word.
#[derive(Clone)]
pub(crate) struct Stream(Arc<Mutex<Spoken>>);

struct Spoken {
    stream: Impatient,
    door: HttpDoor,
    /// The rest of a problem that is being written in place of a bare refusal.
    instead: Bytes,
}

impl Stream {
    pub(crate) fn new(stream: Impatient, door: HttpDoor) -> Self {
        Self(Arc::new(Mutex::new(Spoken { stream, door, instead: Bytes::new() })))
    }

    /// Says that the request did not come to its end in time.
    pub(crate) async fn time_out(&mut self, clock: &dyn Clock) {
        let refusal = Refusal::new(Code::RequestTimeout).detail("the head of the request did not end");
        let problem = written(self.lock().door.refuse(refusal));
        let told = async {
            self.write_all(&problem).await?;
            self.shutdown().await
        };
        // Who does not listen is left alone.
        tokio::select! {
            _ = told => {}
            () = clock.sleep_until(clock.now() + PATIENCE) => {}
        }
    }

    /// Reads on for a while what nobody wants.
    pub(crate) async fn read_on(&mut self, clock: &dyn Clock) {
        let mut rest = pin!(self.take(UNWANTED));
        let mut nowhere = tokio::io::sink();
        tokio::select! {
            _ = tokio::io::copy(&mut rest, &mut nowhere) => {}
            () = clock.sleep_until(clock.now() + PATIENCE) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Spoken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spoken {
    /// Writes what stands in for a bare refusal, if this is one.
    fn poll_instead(&mut self, cx: &mut Context<'_>, said: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_empty() {
            self.instead = written(self.door.refuse(meant(said)?));
        }
        while self.instead.has_remaining() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.instead) {
                Poll::Ready(Ok(count)) => self.instead.advance(count),
                other => return Some(other),
            }
        }
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
fn written(mut response: Response<Body>) -> Bytes {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let (parts, body) = response.into_parts();
    let body = body.collect().now_or_never().and_then(Result::ok).unwrap_or_default().to_bytes();
    let mut bytes = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len()).into_bytes();
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
        match spoken.poll_instead(cx, buf) {
            Some(polled) => polled,
            None => Pin::new(&mut spoken.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut spoken = self.lock();
        let only = match bufs {
            [only] => spoken.poll_instead(cx, only),
            _ => None,
        };
        match only {
            Some(polled) => polled,
            None => Pin::new(&mut spoken.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE_431: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
        content-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

    #[test]
    fn only_a_bare_refusal_is_spoken_over() {
        assert_eq!(meant(BARE_431).unwrap().code(), "headers_too_large");
        let ours = String::from_utf8(BARE_431.to_vec()).unwrap().replace("date:", "x-request-id: r\r\ndate:");
        assert!(meant(ours.as_bytes()).is_none());
        assert!(meant(&BARE_431[..BARE_431.len() - 1]).is_none());
        assert!(meant(b"HTTP/1.1 200 OK\r\n\r\n").is_none());
        assert!(meant(b"HTTP/1.1 4").is_none());
    }
}
