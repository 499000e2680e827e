//! Bounds of the numbers in requests. Who gives what is no such number is told them; whether one is within them, the door judges.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};

/// The longest time that a message can wait or live, in milliseconds: ten years.
pub const MAX_SPAN_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// The longest time that a call waits, in milliseconds: a minute.
pub const MAX_WAIT_MS: u64 = 60_000;

/// The shortest lease, in milliseconds: a second.
pub const MIN_LEASE_MS: u64 = 1_000;

/// The longest lease, in milliseconds, and the longest time that a consumer can hold back what it gives back: 12 hours.
pub const MAX_LEASE_MS: u64 = 12 * 3_600_000;

/// The most deliveries that one call takes.
pub const MAX_RECEIVED: u64 = 100;

/// The most dead letters that one call gives another life.
pub const MAX_REDRIVEN: u64 = 1_000;

/// The most dead letters that are given another life in a second.
pub const MAX_REDRIVEN_PER_S: u64 = 1_000;

/// The most bytes that a mailbox can be told to hold: as many as a store can count.
pub const MAX_BYTES: u64 = i64::MAX as u64;

/// The largest count that a limit can be.
pub const MAX_COUNT: u64 = u32::MAX as u64;

/// Reads a number, if it is there; what cannot be one of `T` is refused with the bounds that it has.
pub(crate) fn number<'de, D, T, const LEAST: u64, const MOST: u64>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let Some(Number(number)) = Option::<Number<LEAST, MOST>>::deserialize(from)? else { return Ok(None) };
    let wrong = |_| de::Error::invalid_value(Unexpected::Unsigned(number), &Bounds::<LEAST, MOST>);
    T::try_from(number).map(Some).map_err(wrong)
}

/// The same, and `null` is there too.
pub(crate) fn named_number<'de, D, T, const LEAST: u64, const MOST: u64>(
    from: D,
) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    number::<D, T, LEAST, MOST>(from).map(Some)
}

/// A number that is to be within these bounds, and can be beyond them.
struct Number<const LEAST: u64, const MOST: u64>(u64);

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Number<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_u64(Bounds::<LEAST, MOST>).map(Self)
    }
}

struct Bounds<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> Visitor<'_> for Bounds<LEAST, MOST> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        number.try_into().map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Receive, Redrive, RedriveDead, SendMessage, SetMailbox, SetTtl, Settle};

    /// What is said of a member that is read as `T`.
    fn refusal<T: serde::de::DeserializeOwned>(json: &str) -> String {
        serde_json::from_str::<T>(json).err().expect("it is refused").to_string()
    }

    #[test]
    fn what_is_no_such_number_is_told_the_bounds_it_has() {
        let spans = "a whole number from 0 to 315360000000";
        let lives = "a whole number from 1 to 315360000000";
        let leases = "a whole number from 1000 to 43200000";
        let delays = "a whole number from 0 to 43200000";
        for (said, bounds) in [
            (refusal::<SendMessage>(r#"{"priority": -1}"#), "a whole number from 1 to 9"),
            (refusal::<SendMessage>(r#"{"priority": 256}"#), "a whole number from 1 to 9"),
            (refusal::<SendMessage>(r#"{"priority": "5"}"#), "a whole number from 1 to 9"),
            (refusal::<SendMessage>(r#"{"priority": 5.5}"#), "a whole number from 1 to 9"),
            (refusal::<SendMessage>(r#"{"ttl_ms": -1}"#), lives),
            (refusal::<SendMessage>(r#"{"delay_ms": -1}"#), spans),
            (refusal::<SetTtl>(r#"{"ttl_ms": -1}"#), lives),
            (refusal::<Redrive>(r#"{"ttl_ms": -1}"#), lives),
            (refusal::<Receive>(r#"{"max": -1}"#), "a whole number from 1 to 100"),
            (refusal::<Receive>(r#"{"max_bytes": -1}"#), "a whole number from 1 to 18446744073709551615"),
            (refusal::<Receive>(r#"{"wait_ms": -1}"#), "a whole number from 0 to 60000"),
            (refusal::<Receive>(r#"{"linger_ms": true}"#), "a whole number from 0 to 60000"),
            (refusal::<Receive>(r#"{"lease_ms": -1}"#), leases),
            (refusal::<Settle>(r#"{"outcome": "nack", "delay_ms": -1}"#), delays),
            (refusal::<Settle>(r#"{"outcome": "extend", "by_ms": -1}"#), delays),
            (refusal::<RedriveDead>(r#"{"limit": -1}"#), "a whole number from 1 to 1000"),
            (refusal::<RedriveDead>(r#"{"rate_per_s": 4294967296}"#), "a whole number from 1 to 1000"),
            (refusal::<SetMailbox>(r#"{"max_pending": -3}"#), "a whole number from 1 to 4294967295"),
            (refusal::<SetMailbox>(r#"{"max_failures": []}"#), "a whole number from 1 to 4294967295"),
            (refusal::<SetMailbox>(r#"{"lease_ms": -1}"#), leases),
            (
                refusal::<SetMailbox>(r#"{"max_pending_bytes": -1}"#),
                "a whole number from 1 to 9223372036854775807",
            ),
        ] {
            assert!(said.contains(&format!("expected {bounds} at line")), "{said}");
        }
    }

    #[test]
    fn a_number_is_there_or_null_or_absent() {
        let send = |json| serde_json::from_str::<SendMessage>(json).unwrap();
        assert_eq!(send(r#"{"priority": 0, "ttl_ms": 7}"#).priority, Some(0), "the door judges bounds");
        assert_eq!((send("{}").ttl_ms, send(r#"{"ttl_ms": null}"#).ttl_ms), (None, None));
        let set = |json| serde_json::from_str::<SetMailbox>(json).unwrap().max_pending;
        assert_eq!(
            (set("{}"), set(r#"{"max_pending": null}"#), set(r#"{"max_pending": 3}"#)),
            (None, Some(None), Some(Some(3)))
        );
    }
}
