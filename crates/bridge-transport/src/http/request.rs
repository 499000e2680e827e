//! A request as a call sees it: its parts by name, its body as a type.

use std::sync::Arc;

use bridge_core::{Name, SessionId};
use bridge_protocol::Code;
use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE},
    request::Parts,
};
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::{
    door::Shared,
    guard::Principal,
    limits::{Read, is_deeper},
    query::Query,
    response::{Body, Refusal},
};

/// The header with the name a caller gives itself.
pub(crate) const CLIENT: &str = "x-bridge-client";

/// A request that was let in.
pub(crate) struct Request {
    pub(crate) shared: Arc<Shared>,
    pub(crate) parts: Parts,
    pub(crate) principal: Principal,
    pub(crate) query: Query,
    id: Option<String>,
    /// Until it is read.
    body: Option<Body>,
    /// Kept for its share of what may be held.
    read: Read,
}

impl Request {
    pub(crate) fn new(
        shared: Arc<Shared>,
        parts: Parts,
        principal: Principal,
        id: Option<String>,
        body: Body,
    ) -> Result<Self, Refusal> {
        let query = Query::of(&parts.uri)?;
        Ok(Self { shared, parts, principal, query, id, body: Some(body), read: Read::default() })
    }

    /// The parameter in the path.
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// The session in the path.
    pub(crate) fn session(&self) -> Result<SessionId, Refusal> {
        self.id().parse().map_err(|_| unknown_session(self.id()))
    }

    /// The text of a header that can be there once; none if it is not.
    pub(crate) fn header(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut values = self.parts.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::header(name, "it is there more than once"));
        }
        let text =
            std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::header(name, "text in UTF-8"))?;
        Ok(Some(text.trim()))
    }

    /// What the caller calls itself in the header; it proves nothing.
    pub(crate) fn client(&self) -> Result<Option<Name>, Refusal> {
        let name = self.header(CLIENT)?.filter(|name| !name.is_empty());
        name.map(|name| name.parse().map_err(|error| Refusal::header(CLIENT, error))).transpose()
    }

    /// The body, which must be there.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        decode(self.body().await?)
    }

    /// The body; none if it is empty.
    pub(crate) async fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Refusal> {
        let bytes = self.optional_body().await?;
        if bytes.is_empty() { Ok(None) } else { decode(bytes).map(Some) }
    }

    /// The body as it was sent, JSON that is not too deep, to be read with [`decode`].
    pub(crate) async fn body(&mut self) -> Result<&[u8], Refusal> {
        if self.optional_body().await?.is_empty() {
            self.check_type()?;
            return Err(Refusal::new(Code::InvalidJson).detail("the body is empty"));
        }
        Ok(&self.read.bytes)
    }

    async fn optional_body(&mut self) -> Result<&[u8], Refusal> {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return Ok(&self.read.bytes);
        };
        self.check_type()?;
        self.read = self.shared.reader.read(&self.parts, body).await?;
        let most = self.shared.settings.limits.json_depth;
        if is_deeper(&self.read.bytes, most) {
            let detail = format!("it is nested deeper than {most} levels");
            return Err(Refusal::new(Code::InvalidJson).detail(detail));
        }
        Ok(&self.read.bytes)
    }

    fn check_type(&self) -> Result<(), Refusal> {
        if self.header(CONTENT_TYPE.as_str())?.is_some_and(is_json) {
            Ok(())
        } else {
            Err(Refusal::new(Code::UnsupportedMediaType).detail("send it as application/json, in UTF-8"))
        }
    }

    /// Whether the caller wants a stream of events rather than JSON.
    pub(crate) fn wants_events(&self) -> bool {
        let accepted = accepted(&self.parts.headers);
        let weight =
            |kind: &str| accepted.iter().find(|(given, _)| given == kind).map_or(0, |(_, weight)| *weight);
        let events = weight("text/event-stream");
        events > 0 && events >= weight("application/json")
    }
}

/// Reads a body of JSON.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        // What is JSON at all is told from what is not.
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => Refusal::field("", "the body is an object"),
            Err(error) => Refusal::new(Code::InvalidJson).detail(error.to_string()),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            Refusal::field(&pointer_of::<T>(bytes), in_words(&error.to_string()))
        }
        _ => Refusal::new(Code::InvalidJson).detail(error.to_string()),
    })
}

/// Where the value stands that cannot be what it is, or where it is missing. Only a body that is refused is read a second time
/// for it.
fn pointer_of<T: DeserializeOwned>(bytes: &[u8]) -> String {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else { return String::new() };
    let pointer = pointer(error.path());
    match missing(&error.inner().to_string()) {
        Some(member) => format!("{pointer}/{member}"),
        None => pointer,
    }
}

/// The member that an error misses. What holds it has no place to tell it by, only the text does.
fn missing(error: &str) -> Option<&str> {
    error.strip_prefix("missing field `")?.split_once('`').map(|(member, _)| member)
}

/// The path of a value as a JSON Pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        _ => pointer,
    })
}

/// Says what was expected in words of JSON, where the text names a type of ours.
fn in_words(text: &str) -> String {
    const EXPECTED: &str = "expected ";
    let Some((before, expected)) = text.split_once(EXPECTED) else { return text.to_owned() };
    let end = expected.find([',', ' ']).unwrap_or(expected.len());
    let (word, rest) = expected.split_at(end);
    let (said, rest) = match word {
        "u8" => (up_to(u8::MAX), rest),
        "u16" => (up_to(u16::MAX), rest),
        "u32" => (up_to(u32::MAX), rest),
        "u64" => (up_to(u64::MAX), rest),
        "i8" | "i16" | "i32" | "i64" => ("a whole number".to_owned(), rest),
        "f32" | "f64" => ("a number".to_owned(), rest),
        "struct" => {
            let name = rest.trim_start();
            ("an object".to_owned(), name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
        }
        word => (word.to_owned(), rest),
    };
    format!("{before}{EXPECTED}{said}{rest}")
}

fn up_to(most: impl Into<u64>) -> String {
    format!("a whole number from 0 to {}", most.into())
}

pub(crate) fn unknown_session(id: &str) -> Refusal {
    // Not the whole of it: it may be anything.
    let shown: String = id.chars().take(64).collect();
    Refusal::new(Code::UnknownSession).detail(format!("there is no session {shown}"))
}

/// Whether a body of this type is JSON as it is exchanged between systems: in UTF-8.
fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let (kind, subtype) = essence.split_once('/').unwrap_or_default();
    let suffix = subtype.rsplit_once('+').map(|(_, suffix)| suffix);
    kind.eq_ignore_ascii_case("application")
        && suffix.unwrap_or(subtype).eq_ignore_ascii_case("json")
        && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// Whether the caller takes an answer of one of these types.
pub(crate) fn accepts(headers: &HeaderMap, kinds: &[&str]) -> bool {
    let accepted = accepted(headers);
    accepted.is_empty() && !headers.contains_key(ACCEPT)
        || accepted.iter().any(|(kind, weight)| *weight > 0 && kinds.contains(&kind.as_str()))
}

/// The types that the caller takes, in lower case, each with its weight from 0 to 1000.
fn accepted(headers: &HeaderMap) -> Vec<(String, u16)> {
    let entry = |entry: &str| {
        let mut parts = entry.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?.to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((kind, quality.map_or(1_000, weight)))
    };
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(entry).collect()
}

/// A quality value such as `0.5` in thousandths; what is none counts in full.
fn weight(quality: &str) -> u16 {
    match quality.parse::<f32>() {
        // Within bounds, so nothing is cut off.
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1_000.0) as u16,
        _ => 1_000,
    }
}

#[cfg(test)]
mod tests {
    use bridge_protocol::{Receive, SendMessage, Settle};

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(http::HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_wrong_member_is_named_by_its_pointer() {
        let refused = decode::<SendMessage>(br#"{"headers": {"a/b": 5}}"#).unwrap_err().into_problem();
        assert_eq!(refused.code, "invalid_field");
        assert_eq!(refused.more["errors"][0]["pointer"], "/headers/a~1b");
        let refused =
            decode::<Settle>(br#"{"outcome": "ack", "covers": ["a", 7]}"#).unwrap_err().into_problem();
        assert_eq!(refused.more["errors"][0]["pointer"], "/covers/1");
    }

    #[test]
    fn a_member_that_is_missing_or_not_known_is_named_by_its_pointer() {
        #[derive(Debug, serde::Deserialize)]
        struct Several {
            #[expect(dead_code, reason = "it is read to see it refused")]
            items: Vec<Settle>,
        }
        let pointer = |refused: Refusal| refused.into_problem().more["errors"][0]["pointer"].clone();
        assert_eq!(pointer(decode::<Settle>(b"{}").unwrap_err()), "/outcome");
        let several = br#"{"items": [{"outcome": "ack"}, {"token": "t"}]}"#;
        assert_eq!(pointer(decode::<Several>(several).unwrap_err()), "/items/1/outcome");
        let unknown = br#"{"filter": {"types": [], "type": "a"}}"#;
        assert_eq!(pointer(decode::<Receive>(unknown).unwrap_err()), "/filter/type");
        let list = br#"{"filter": [["a"]]}"#;
        assert_eq!(pointer(decode::<Receive>(list).unwrap_err()), "/filter");
    }

    #[test]
    fn a_body_is_one_object_and_nothing_behind_it() {
        for (body, code) in [
            ("[]", "invalid_field"),
            ("\"x\"", "invalid_field"),
            ("{", "invalid_json"),
            ("x", "invalid_json"),
            ("{} {}", "invalid_json"),
            ("[1", "invalid_json"),
            ("\u{feff}{}", "invalid_json"),
        ] {
            assert_eq!(decode::<SendMessage>(body.as_bytes()).unwrap_err().code(), code, "{body}");
        }
        assert!(decode::<SendMessage>(br#" {"text": "a", "unknown": 1} "#).is_ok());
    }

    #[test]
    fn json_in_its_many_names_is_json() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/merge-patch+json; v=1",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonp",
            "text/json",
            "",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/json; Charset=\"utf-16\"",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn what_a_caller_accepts_is_weighed() {
        let json = &["application/json", "*/*"][..];
        assert!(accepts(&HeaderMap::new(), json));
        assert!(accepts(&headers("accept", "text/html, */*;q=0.8"), json));
        assert!(!accepts(&headers("accept", "text/html"), json));
        assert!(!accepts(&headers("accept", "application/json;q=0"), json));
    }

    #[test]
    fn a_message_of_ours_names_no_type() {
        let refused =
            decode::<bridge_protocol::SettleResults>(br#"{"results": 5}"#).unwrap_err().into_problem();
        assert!(!refused.detail.unwrap().contains("Settle"));
        for (text, said) in [
            ("expected struct Settle at line 1", "expected an object at line 1"),
            (
                "invalid value: integer `-1`, expected u64 at line 1",
                "invalid value: integer `-1`, expected a whole number from 0 to 18446744073709551615 at line 1",
            ),
            ("expected a string", "expected a string"),
            ("missing field `outcome`", "missing field `outcome`"),
        ] {
            assert_eq!(in_words(text), said);
        }
    }
}
