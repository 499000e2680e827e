//! Reading what was sent, within bounds: the head is measured, the body is counted as it comes.

use std::{error::Error, io, sync::Arc, time::Duration};

use bridge_core::Timestamp;
use bridge_protocol::Code;
use bridge_runtime::Clock;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{
    header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    response::{Body, BoxError, Refusal},
    settings::Limits,
};

/// What a header field takes besides its text.
const FIELD: usize = 128;

/// What the head of a request takes while it is held.
pub(crate) fn held_by(parts: &Parts) -> usize {
    let text: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    text + parts.headers.len() * FIELD
}

/// Measures the head of a request.
pub(crate) fn check_head(parts: &Parts, limits: &Limits) -> Result<(), Refusal> {
    let uri = parts.uri.path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri > limits.uri {
        return Err(Refusal::new(Code::UriTooLong).detail(format!("at most {} bytes", limits.uri)));
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if parts.headers.len() > limits.headers || bytes > limits.header_bytes {
        let most = format!("at most {} header fields and {} bytes", limits.headers, limits.header_bytes);
        return Err(Refusal::new(Code::HeadersTooLarge).detail(most));
    }
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    // The parser undoes this one, and leaves the others to us.
    let is_other = codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if is_other || codings.next().is_some() {
        return Err(
            Refusal::new(Code::BadRequest).detail("the only transfer coding that is taken is chunked")
        );
    }
    Ok(())
}

/// Bytes that may be held at one time, by all callers together.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    left: Arc<Semaphore>,
    all: usize,
}

/// A part of a budget, given back when it is dropped.
pub(crate) type Share = OwnedSemaphorePermit;

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = bytes.min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(all)), all }
    }

    /// So many bytes of it; none if they are not left.
    pub(crate) fn take(&self, bytes: usize) -> Option<Share> {
        Arc::clone(&self.left).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    /// How many bytes it is in all.
    pub(crate) fn all(&self) -> usize {
        self.all
    }

    /// Whether so many bytes of it are left now.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        self.left.available_permits() >= bytes
    }

    /// So many bytes of it, or all of it, as soon as they are left.
    pub(crate) async fn wait(&self, bytes: usize) -> Option<Share> {
        let bytes = u32::try_from(bytes.min(self.all)).unwrap_or(u32::MAX);
        Arc::clone(&self.left).acquire_many_owned(bytes).await.ok()
    }
}

/// A body as it was read, and its share of what may be held.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    share: Option<Share>,
}

/// A body on its way.
struct Coming {
    body: Body,
    /// When it must have come.
    until: Timestamp,
}

/// Reads bodies, all of them together within one bound.
#[derive(Debug)]
pub(crate) struct Reader {
    limit: usize,
    idle: Duration,
    time: Duration,
    held: Budget,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
}

impl Reader {
    pub(crate) fn new(limits: &Limits, clock: Arc<dyn Clock>, closing: CancellationToken) -> Self {
        let held = Budget::new(limits.bodies);
        Self { limit: limits.body, idle: limits.body_idle, time: limits.body_time, held, clock, closing }
    }

    /// Reads a body to its end, or until the door is closed.
    pub(crate) async fn read(&self, parts: &Parts, body: Body) -> Result<Read, Refusal> {
        let encoded = parts.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
        if encoded {
            return Err(Refusal::new(Code::UnsupportedMediaType).detail("compressed bodies are not taken"));
        }
        let told = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if told.is_some_and(|length: usize| length > self.limit) {
            return Err(self.too_large());
        }
        tokio::select! {
            biased;
            read = self.gather(body) => read,
            () = self.closing.cancelled() => Err(Code::ShuttingDown.into()),
        }
    }

    async fn gather(&self, body: Body) -> Result<Read, Refusal> {
        let mut body = Coming { body, until: self.clock.now() + self.time };
        let mut read = Read::default();
        let mut rest = BytesMut::new();
        while let Some(data) = self.next(&mut body).await? {
            if rest.len() + data.len() > self.limit {
                return Err(self.too_large());
            }
            self.take_share(&mut read, data.len())?;
            // One part is the rule, and kept as it is; of several each would keep what it was read into.
            if rest.is_empty() && body.body.is_end_stream() {
                read.bytes = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if !rest.is_empty() {
            read.bytes = rest.freeze();
        }
        Ok(read)
    }

    async fn next(&self, coming: &mut Coming) -> Result<Option<Bytes>, Refusal> {
        loop {
            // Mostly it is there already, and needs no timer.
            let frame = match coming.body.frame().now_or_never() {
                Some(frame) => frame,
                None => self.wait(coming).await?,
            };
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Trailers say nothing that is asked for here.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    let detail = if is_malformed(&*error) {
                        "the chunks of the body are malformed"
                    } else {
                        "the request ended before its body did"
                    };
                    return Err(Refusal::new(Code::BadRequest).detail(detail));
                }
            }
        }
    }

    async fn wait(&self, coming: &mut Coming) -> Result<Option<Result<Frame<Bytes>, BoxError>>, Refusal> {
        let deadline = coming.until.min(self.clock.now() + self.idle);
        tokio::select! {
            biased;
            frame = coming.body.frame() => Ok(frame),
            () = self.clock.sleep_until(deadline) => Err(Code::RequestTimeout.into()),
        }
    }

    fn take_share(&self, read: &mut Read, bytes: usize) -> Result<(), Refusal> {
        let share = self.held.take(bytes).ok_or(Code::Overloaded)?;
        match &mut read.share {
            Some(held) => held.merge(share),
            None => read.share = Some(share),
        }
        Ok(())
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(Code::BodyTooLarge).detail(format!("at most {} bytes", self.limit))
    }
}

/// Whether a body came to an end because its chunks cannot be read: then whoever takes them apart says that the input is wrong.
fn is_malformed(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.any(|kind| matches!(kind, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// Whether the arrays and objects of `json` are nested deeper than `most`; of what is no JSON it says something.
pub(crate) fn is_deeper(json: &[u8], most: usize) -> bool {
    let mut depth = 0usize;
    let mut rest = json;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match byte {
            b'"' => rest = behind_string(rest),
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What lies behind the string that `rest` is in.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    while let Some(found) = memchr::memchr2(b'"', b'\\', rest) {
        // A backslash takes what it stands before with it.
        let length = if rest[found] == b'"' { 1 } else { 2 };
        rest = rest.get(found + length..).unwrap_or_default();
        if length == 1 {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(!is_deeper(br#"{"a": "[[[[\"[[[", "b": [1]}"#, 2));
        assert!(is_deeper(br#"{"a": [[1]]}"#, 2));
        assert!(is_deeper(br#"{"a\\": [[1]]}"#, 2));
        assert!(!is_deeper(br#"{"a\\\": [[1]]}"#, 2));
        assert!(!is_deeper(br#"{"a\"#, 2));
        assert!(!is_deeper(br#"{"[[["#, 2));
        assert!(!is_deeper(br#"[[],[],[],[]]"#, 2));
        assert!(!is_deeper(b"]]]]", 1));
    }
}
