//! What is sent: JSON that carries the time it should have been sent at.

use std::{sync::LazyLock, time::Instant};

/// The shortest payload: the time, and an empty text.
pub(crate) const LEAST: usize = HEAD.len() + DIGITS + MIDDLE.len() + TAIL.len();

const HEAD: &str = r#"{"at":1"#;
const DIGITS: usize = 18;
const MIDDLE: &str = r#","text":""#;
const TAIL: &str = r#""}"#;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this program first asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// This moment.
    pub(crate) fn now() -> Self {
        Self::of(Instant::now())
    }

    /// The stamp of a moment.
    pub(crate) fn of(instant: Instant) -> Self {
        let began = *BEGAN;
        Self(instant.saturating_duration_since(began).as_nanos() as u64)
    }
}

/// A payload of `bytes` bytes with its stamp. The digit 1 before it keeps the number one of JSON, whose first digit is not 0.
pub(crate) fn payload(stamp: Stamp, bytes: usize) -> Vec<u8> {
    let text = "x".repeat(bytes.saturating_sub(LEAST));
    format!("{HEAD}{:0DIGITS$}{MIDDLE}{text}{TAIL}", stamp.0).into_bytes()
}

/// The stamp of a payload, or of what it is embedded in.
pub(crate) fn stamp_of(bytes: &[u8]) -> Option<Stamp> {
    let at = bytes.windows(HEAD.len()).position(|window| window == HEAD.as_bytes())? + HEAD.len();
    let digits = std::str::from_utf8(bytes.get(at..at + DIGITS)?).ok()?;
    digits.parse().ok().map(Stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_length_and_gives_its_stamp_back() {
        for bytes in [LEAST, 200, 5_000] {
            let payload = payload(Stamp(1_234_567_890), bytes);
            assert_eq!(payload.len(), bytes);
            assert_eq!(stamp_of(&payload), Some(Stamp(1_234_567_890)));
            let read: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(read["at"], 1_000_000_001_234_567_890_u64);
        }
        assert_eq!(stamp_of(b"{}"), None);
    }
}
