//! A stdio front for clients that speak nothing else: it relays to a running server.

use std::io;

use bridge_core::Name;
use tokio::io::{AsyncRead, AsyncWrite};

/// Relays the protocol between `input`, `output` and the server at `url`, until `input` ends.
///
/// # Errors
/// The address is not one of HTTP, or `input` or `output` failed.
pub async fn proxy<R, W>(url: &str, agent: Option<&Name>, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let _ = (url, agent, input, output);
    Err(io::Error::other("not yet"))
}
