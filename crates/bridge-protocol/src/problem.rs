//! An error as clients see it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::code::Code;

/// What went wrong, in the form of RFC 9457.
///
/// # Shape
/// ```json
/// {"type": "urn:bridge:error:lease_lost", "title": "The lease is lost", "status": 409, "code": "lease_lost",
///  "detail": "the lease is lost: the delivery is pending", "state": "pending"}
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:bridge:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short sentence, the same for each error of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable name; see [`Code`].
    pub code: String,
    /// What went wrong this time, with the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The id of the request, to find it in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Further members, such as `state` or `depth`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// An error of this code.
    pub fn new(code: Code) -> Self {
        Self {
            kind: format!("urn:bridge:error:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: None,
            request_id: None,
            more: Map::new(),
        }
    }

    /// Says what went wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}
