//! The query of a request: each parameter by its name, the first of its name.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use bridge_core::Seq;
use bridge_protocol::Code;
use http::Uri;
use percent_encoding::percent_decode_str;

use super::response::{NO_CURSOR, Place, Refusal};

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let query = uri.query().unwrap_or_default();
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(Refusal::new(Code::BadRequest).detail("the query is not UTF-8"));
        }
        // Every text is a form: what is no pair is a name without a value.
        Ok(Self(serde_html_form::from_str(query).unwrap_or_default()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A whole number within `bounds`.
    pub(crate) fn number(&self, name: &str, bounds: RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if bounds.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = bounds.into_inner();
                Err(Refusal::parameter(name, format_args!("a whole number from {least} to {most}")))
            }
        }
    }

    /// Where a page begins, if it is not the first, as the page before it told.
    pub(crate) fn cursor<T: FromStr>(&self) -> Result<Option<T>, Refusal> {
        let wrong = |_| Refusal::cursor(Place::Parameter("cursor"), NO_CURSOR);
        self.get("cursor").map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// The same, where it is a place in the log.
    pub(crate) fn place(&self) -> Result<Option<Seq>, Refusal> {
        self.get("cursor").map(|text| place(Place::Parameter("cursor"), text)).transpose()
    }

    /// Something that is read from text.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let parse = |text: &str| text.parse().map_err(|error| Refusal::parameter(name, error));
        self.get(name).map(parse).transpose()
    }
}

/// The place that a cursor is, within what a store can hold.
pub(crate) fn place(at: Place<'_>, text: &str) -> Result<Seq, Refusal> {
    const LAST: u64 = i64::MAX as u64;
    match text.parse() {
        Ok(seq @ 1..=LAST) => Ok(Seq(seq)),
        _ => Err(Refusal::cursor(at, NO_CURSOR)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(uri: &str) -> Query {
        Query::of(&uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_parameter_is_decoded_and_the_first_of_its_name_counts() {
        let query = query("/x?a=1+2%203&a=no&b&%zz=%e2%82%ac");
        assert_eq!(query.get("a"), Some("1 2 3"));
        assert_eq!(query.get("b"), Some(""));
        assert_eq!(query.get("c"), None);
        assert_eq!(query.get("%zz"), Some("€"));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bad in ["/x?a=%ff", "/x?%e2%82=1", "/x?a=%ed%a0%80"] {
            assert_eq!(Query::of(&bad.parse().unwrap()).unwrap_err().code(), "bad_request", "{bad}");
        }
    }

    #[test]
    fn a_number_keeps_to_its_bounds() {
        for bad in ["", "x", "-1", "0", "101", "1e1", "99999999999999999999999"] {
            assert!(query(&format!("/?n={bad}")).number("n", 1..=100).is_err(), "{bad}");
        }
        assert_eq!(query("/?n=100").number("n", 1..=100).unwrap(), Some(100));
        assert_eq!(query("/").number("n", 1..=100).unwrap(), None);
    }
}
