//! JSON-RPC on a stream of bytes: one message per line.

use std::io;

use serde_json::Value;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::front::MAX_BODY;

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// What it holds, never empty.
    Text(Vec<u8>),
    /// It was longer than a message may be, and is gone.
    TooLong,
}

/// The next line that is not empty; none at the end.
pub(super) async fn next<R: AsyncBufRead + Unpin>(input: &mut R) -> io::Result<Option<Line>> {
    let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    loop {
        let mut text = Vec::new();
        if input.take(most + 1).read_until(b'\n', &mut text).await? == 0 {
            return Ok(None);
        }
        if text.len() > MAX_BODY && text.last() != Some(&b'\n') {
            skip_line(input).await?;
            return Ok(Some(Line::TooLong));
        }
        let line = text.trim_ascii();
        if !line.is_empty() {
            return Ok(Some(Line::Text(line.to_vec())));
        }
    }
}

async fn skip_line<R: AsyncBufRead + Unpin>(input: &mut R) -> io::Result<()> {
    loop {
        let part = input.fill_buf().await?;
        let end = part.iter().position(|byte| *byte == b'\n');
        let len = end.map_or(part.len(), |at| at + 1);
        input.consume(len);
        if end.is_some() || len == 0 {
            return Ok(());
        }
    }
}

/// Writes each message as a line, until no more can come.
pub(super) async fn write<W>(mut output: W, mut messages: mpsc::Receiver<Value>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    while let Some(message) = messages.recv().await {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        output.write_all(&line).await?;
        output.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let mut input = vec![b'x'; MAX_BODY + 10];
        input.extend(b"\n\n  {}\r\nlast");
        let mut input = &input[..];
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::TooLong));
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::Text(b"{}".to_vec())));
        assert_eq!(next(&mut input).await.unwrap(), Some(Line::Text(b"last".to_vec())));
        assert_eq!(next(&mut input).await.unwrap(), None);
    }
}
