//! Times on the wire: RFC 3339 in UTC, with milliseconds and `Z`.

use std::fmt;

use bridge_core::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time as JSON carries it.
///
/// # Example
/// ```
/// use bridge_protocol::Time;
/// let time: Time = serde_json::from_str("\"2026-11-21T15:03:07.12+01:00\"").unwrap();
/// assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-21T14:03:07.120Z\"");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{at:.3}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: jiff::Timestamp =
            text.parse().map_err(|_| de::Error::custom("a time reads like 2026-11-21T14:03:07.120Z"))?;
        let millis =
            u64::try_from(at.as_millisecond()).map_err(|_| de::Error::custom("a time is after 1970"))?;
        Ok(Self(Timestamp::from_millis(millis)))
    }
}
