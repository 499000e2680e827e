//! A socket that does not wait for ever for its client, and reads no more of it than is looked at.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bridge_core::Clock;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take},
    net::TcpStream,
};

/// Bytes read at one time. A server that reads more, once it was sent a lot, would keep a buffer for as much.
const PART: u64 = 4 << 10;

/// A stream that fails when its other end takes nothing for too long.
pub(crate) struct Impatient {
    /// Gives [`PART`] at most at one time.
    stream: Take<TcpStream>,
    limit: Duration,
    clock: Arc<dyn Clock>,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Impatient {
    pub(crate) fn new(stream: TcpStream, limit: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { stream: stream.take(0), limit, clock, timer: None }
    }

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
        self.stream.set_limit(PART);
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write(cx, buf);
        self.watch(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write_vectored(cx, bufs);
        self.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}
