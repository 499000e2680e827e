//! Content that is given as JSON.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The bytes of a payload that is given as JSON.
///
/// # Errors
/// Some readers could not read it: half of a surrogate pair stands alone in a string, or a number is larger than any of
/// them holds.
///
/// # Example
/// ```
/// let raw = |json: &str| serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
/// assert_eq!(bridge_protocol::payload_of(raw(r#"{"n": 1}"#)).unwrap(), br#"{"n": 1}"#);
/// assert!(bridge_protocol::payload_of(raw(r#""\ud800""#)).is_err());
/// ```
pub fn payload_of(json: Box<RawValue>) -> serde_json::Result<Vec<u8>> {
    serde_json::from_str::<Readable>(json.get())?;
    Ok(Box::<str>::from(json).into_boxed_bytes().into_vec())
}

/// Content that is there, be it `null`; absent only if its member is.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

/// JSON that was read to its last string and number, and of which nothing is kept.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Readable, A::Error> {
        while items.next_element::<Readable>()?.is_some() {}
        Ok(Readable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Readable, A::Error> {
        while members.next_entry::<Readable, Readable>()?.is_some() {}
        Ok(Readable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_some_readers_cannot_read_is_no_payload() {
        let is_payload = |json: &str| payload_of(RawValue::from_string(json.to_owned()).unwrap()).is_ok();
        for good in [
            "null",
            "true",
            "-1",
            "1e308",
            "18446744073709551616",
            r#""😀\ud83d\ude00""#,
            r#"{"a":[1,{"b":""}]}"#,
        ] {
            assert!(is_payload(good), "{good}");
        }
        for bad in
            [r#""\ud800""#, r#""\udc00\ud800""#, "1e999", "-1e999", r#"[[{"a":1e999}]]"#, r#"{"\ud800":1}"#]
        {
            assert!(!is_payload(bad), "{bad}");
        }
    }
}
