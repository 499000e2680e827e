//! Times on the wire: RFC 3339 in UTC, with milliseconds and `Z`.

use std::{fmt, ops::Range, str};

use bridge_core::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

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
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl Time {
    /// The last time that has a text, in milliseconds; later ones are written as this one.
    const LAST: u64 = 253_402_207_200_999;

    /// The text, in one piece: a page of messages has hundreds of times.
    fn text(self) -> [u8; 24] {
        let millis = self.0.as_millis().min(Self::LAST);
        let (day, time) = (millis / 86_400_000, millis % 86_400_000);
        let (year, month, day) = date(day);
        let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1_000 % 60);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |digits: Range<usize>, mut number: u64| {
            for digit in text[digits].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, hour);
        put(14..16, minute);
        put(17..19, second);
        put(20..23, time % 1_000);
        text
    }
}

/// Year, month and day of a day since 1970, counted in years that begin in March: theirs is the day that is not always there.
/// The algorithm is Howard Hinnant's `civil_from_days`.
const fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (400 * era + year + (month < 3) as u64, month, day)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text();
        serializer.serialize_str(str::from_utf8(&text).map_err(ser::Error::custom)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_calendars_have_it() {
        const DAY: u64 = 86_400_000;
        let end = jiff::Timestamp::MAX.as_millisecond().unsigned_abs();
        assert_eq!(Time::LAST, end);
        // Each day of more than four hundred years, at another time of it, and the last ones that there are.
        let days = (0..150_000).map(|day| day * DAY + day * 7_919_993 % DAY);
        for millis in days.chain([DAY - 1, DAY, end - 999]) {
            let at = jiff::Timestamp::from_millisecond(millis.cast_signed()).unwrap();
            assert_eq!(Time(Timestamp::from_millis(millis)).to_string(), format!("{at:.3}"));
        }
        assert_eq!(Time(Timestamp::MAX).to_string(), "9999-12-30T22:00:00.999Z");
    }
}
