//! Who calls: what an HTTP request says about the agent behind it.

use bridge_core::{InvalidName, Name};
use http::{HeaderMap, Uri};

/// The header with the consumer's name.
const CLIENT: &str = "x-bridge-client";

/// The header with the session of the older protocol.
const SESSION: &str = "mcp-session-id";

/// The header with the protocol's version.
pub(crate) const VERSION: &str = "mcp-protocol-version";

/// The first version without sessions.
const STATELESS: &str = "2026-07-28";

/// The agent behind a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Who the credential says it is.
    pub(crate) principal: Name,
    /// What it calls itself; no authority.
    pub(crate) consumer: Option<Name>,
}

impl Caller {
    /// Reads the consumer's name: `?agent=` in the address, else `X-Bridge-Client`, else the session of the older
    /// protocol.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, InvalidName> {
        let said = agent(uri).or_else(|| text(headers, CLIENT));
        let consumer = match said {
            Some(name) => Some(Name::new(&name)?),
            None => text(headers, SESSION)
                .filter(|_| !is_stateless(headers))
                .and_then(|session| Name::new(&session).ok()),
        };
        Ok(Self { principal: Name::from_static("anonymous"), consumer })
    }
}

/// Whether a request is of the protocol without sessions.
pub(crate) fn is_stateless(headers: &HeaderMap) -> bool {
    headers.get(VERSION).is_some_and(|version| version.as_bytes() >= STATELESS.as_bytes())
}

fn agent(uri: &Uri) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_html_form::from_str(uri.query()?).ok()?;
    pairs.into_iter().find(|(name, value)| name == "agent" && !value.is_empty()).map(|(_, value)| value)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(uri: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let headers =
            headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Caller::of(&uri.parse().unwrap(), &headers).unwrap().consumer.as_ref().map(Into::into)
    }

    #[test]
    fn the_name_in_the_address_wins_over_the_header_and_the_session() {
        let headers = [("x-bridge-client", "header"), ("mcp-session-id", "session")];
        assert_eq!(consumer("/mcp?x=1&agent=anna%20b", &headers).as_deref(), Some("anna b"));
        assert_eq!(consumer("/mcp?agent=", &headers).as_deref(), Some("header"));
        assert_eq!(consumer("/mcp", &headers).as_deref(), Some("header"));
        assert_eq!(consumer("/mcp", &headers[1..]).as_deref(), Some("session"));
        assert_eq!(consumer("/mcp", &[]), None);
    }

    #[test]
    fn a_session_names_nobody_where_there_are_no_sessions() {
        let headers = [("mcp-session-id", "session"), ("mcp-protocol-version", "2026-07-28")];
        assert_eq!(consumer("/mcp", &headers), None);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let uri = "/mcp?agent=a%00b".parse().unwrap();
        assert!(Caller::of(&uri, &HeaderMap::new()).is_err());
    }
}
