//! Who may call: the name the request was made under, the page that made it, the principal behind it, and what that
//! principal wants to do.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use bridge_core::Name;
use bridge_protocol::Code;
use http::{
    HeaderMap, HeaderValue, Uri,
    header::{HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};

use super::{
    response::Refusal,
    settings::{Access, InvalidSetting, Settings},
};

/// Decides who may call what.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<Host>,
    origins: Vec<Origin>,
    access: Access,
    /// Whoever shows no credential.
    nobody: Name,
}

/// Who a credential says the caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) name: Name,
    /// Whether a credential proves it.
    pub(crate) verified: bool,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// See whether the server works, and what it shows to everybody.
    Look,
    /// Begin a conversation.
    OpenSession,
    /// See a conversation or the list of them.
    ReadSession,
    /// Rename or end a conversation.
    ChangeSession,
    /// Put a message into a conversation.
    Send,
    /// See what a message says, whoever it is for.
    ReadMessage,
    /// Read the log of all conversations.
    ReadLog,
    /// Take deliveries.
    Receive,
    /// Settle deliveries.
    Settle,
    /// See how a delivery fares.
    ReadDelivery,
    /// Withdraw a delivery, or give it another life.
    ChangeDelivery,
    /// See how mailboxes stand.
    ReadMailbox,
    /// Make, change, pause, empty or remove a mailbox.
    ChangeMailbox,
    /// Look after conversations that are not one's own.
    Administer,
    /// Use a service that decides for itself.
    UseMounted,
}

/// Where a request may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A link on any page may lead there.
    Anywhere,
    /// Only this server's own pages may ask for it, allowed ones, and callers that are no pages.
    Here,
}

/// What a request is to be told about sharing its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The caller is no page, or one of this server's own.
    Own,
    /// The caller is a page of an origin that is allowed.
    With,
}

impl Guard {
    pub(crate) fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let hosts = settings.allowed_hosts.iter().map(|host| {
            Host::parse(host).ok_or_else(|| InvalidSetting {
                value: host.clone(),
                expected: "host such as bridge.example",
            })
        });
        let origin = |text: &String| {
            Origin::parse(text).ok_or_else(|| InvalidSetting {
                value: text.clone(),
                expected: "origin such as https://notes.example",
            })
        };
        let origins = settings.allowed_origins.iter().map(origin);
        let mut guard = Self {
            hosts: hosts.collect::<Result<_, _>>()?,
            origins: origins.collect::<Result<_, _>>()?,
            access: settings.access,
            nobody: Name::from_static(Name::NOBODY),
        };
        if let Some(url) = &settings.public_url {
            let origin = origin(&url.trim_end_matches('/').to_owned())?;
            guard.hosts.push(origin.host.clone());
            guard.origins.push(origin);
        }
        Ok(guard)
    }

    /// Checks the name the request was made under.
    pub(crate) fn check_host(&self, parts: &Parts) -> Result<(), Refusal> {
        let mut named = false;
        for host in hosts_of(parts) {
            named = true;
            if host.is_some_and(is_loopback_socket) {
                continue;
            }
            let host = host.and_then(Host::parse).ok_or_else(|| bad_request("the Host is not one"))?;
            if !self.is_ours(&host) {
                return Err(
                    Refusal::new(Code::UnknownHost).detail(format!("{host} is not allowed as a host"))
                );
            }
        }
        if !named || parts.headers.get_all(HOST).iter().count() > 1 {
            return Err(bad_request("a request names its Host, once"));
        }
        Ok(())
    }

    /// Checks the page that made the request, if a page did.
    pub(crate) fn check_origin(&self, parts: &Parts, from: From) -> Result<Sharing, Refusal> {
        let refused = |detail: String| Err(Refusal::new(Code::ForbiddenOrigin).detail(detail));
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        if let Some(given) = origins.next() {
            let origin = given.to_str().ok().and_then(Origin::parse).filter(|_| origins.next().is_none());
            return match origin {
                Some(origin) if is_same(parts, &origin) => Ok(Sharing::Own),
                Some(origin) if self.origins.contains(&origin) => Ok(Sharing::With),
                Some(origin) => refused(format!("{origin} is not allowed as an origin")),
                None => refused("the Origin is not one that can be allowed".to_owned()),
            };
        }
        let site = parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        // Another port of this machine is the same site, and another program.
        let is_foreign = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        if from == From::Here && is_foreign {
            refused("a page of another origin may not ask for this".to_owned())
        } else {
            Ok(Sharing::Own)
        }
    }

    /// Tells who calls, from the credential alone.
    pub(crate) fn authenticate(&self, _headers: &HeaderMap) -> Principal {
        match self.access {
            Access::Open => Principal { name: self.nobody.clone(), verified: false },
        }
    }

    /// Decides whether a principal may do something: the one place where that is decided.
    pub(crate) fn authorize(&self, principal: &Principal, action: Action) -> Result<(), Refusal> {
        match self.access {
            Access::Open => {
                tracing::trace!(principal = principal.name.as_str(), ?action, "allowed, as everything is");
                Ok(())
            }
        }
    }

    fn is_ours(&self, host: &Host) -> bool {
        let matches = |ours: &Host| ours.name == host.name && (ours.port.is_none() || ours.port == host.port);
        host.is_loopback() || self.hosts.iter().any(matches)
    }
}

fn bad_request(detail: &str) -> Refusal {
    Refusal::new(Code::BadRequest).detail(detail)
}

/// The names a request was made under: in its address, in its header; none where one cannot be read.
fn hosts_of(parts: &Parts) -> impl Iterator<Item = Option<&str>> {
    let address = parts.uri.authority().map(|authority| Some(authority.as_str()));
    let header = parts.headers.get_all(HOST).iter().map(|host| host.to_str().ok());
    address.into_iter().chain(header)
}

/// Whether a text is an address of this machine with its port, which needs no closer look.
fn is_loopback_socket(text: &str) -> bool {
    text.parse().is_ok_and(|address: SocketAddr| address.ip().to_canonical().is_loopback())
}

/// Whether a page of `origin` was served under the name that the request was made under.
fn is_same(parts: &Parts, origin: &Origin) -> bool {
    let host = hosts_of(parts).next().flatten().and_then(Host::parse);
    host.is_some_and(|host| {
        let default = origin.default_port();
        host.name == origin.host.name && host.port.or(default) == origin.host.port.or(default)
    })
}

/// A name or address with its port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        // What is left of the host and its port would be a user, or a port that is none.
        let port = match text.strip_prefix(authority.host())? {
            "" => None,
            rest => Some(rest.strip_prefix(':')?.parse().ok()?),
        };
        let name = authority.host().to_ascii_lowercase();
        // A wildcard would be taken for one, and match nothing.
        (!name.is_empty() && !name.contains('*')).then_some(Self { name, port })
    }

    fn is_loopback(&self) -> bool {
        let name = self.name.as_str();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match bare.parse() {
            Ok(IpAddr::V6(address)) => address.to_canonical().is_loopback(),
            Ok(IpAddr::V4(address)) => address.is_loopback(),
            Err(_) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Where a page was served from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let (_, host) = text.split_once("://")?;
        let mut origin = Self { scheme, host: Host::parse(host)? };
        if origin.host.port == origin.default_port() {
            origin.host.port = None;
        }
        Some(origin)
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let settings = Settings {
            allowed_hosts: vec!["bridge.example".into(), "other.example:8443".into()],
            allowed_origins: vec!["https://notes.example".into()],
            public_url: Some("https://public.example/".into()),
            ..Settings::default()
        };
        Guard::new(&settings).unwrap()
    }

    fn parts(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_loopback_and_allowed_names_are_hosts() {
        let check = |host: &str| guard().check_host(&parts("/", &[("host", host)]));
        for good in [
            "localhost",
            "LOCALHOST:8765",
            "a.localhost",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "bridge.example",
            "bridge.example:1",
            "other.example:8443",
            "public.example",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "other.example",
            "other.example:1",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "127.0.0.1.nip.io",
        ] {
            assert_eq!(check(bad).unwrap_err().code(), "unknown_host", "{bad}");
        }
        for bad in
            ["", "a b", "user@localhost", "localhost:", "localhost:x", "localhost:99999", "localhost/x"]
        {
            assert_eq!(check(bad).unwrap_err().code(), "bad_request", "{bad}");
        }
    }

    #[test]
    fn the_host_in_the_address_counts_as_much_as_the_one_in_the_header() {
        let check = |uri: &str, headers: &[_]| guard().check_host(&parts(uri, headers));
        assert!(check("http://localhost/", &[]).is_ok());
        assert!(check("http://evil.example/", &[("host", "localhost")]).is_err());
        assert!(check("http://localhost/", &[("host", "evil.example")]).is_err());
        assert!(check("/", &[]).is_err());
        assert!(check("/", &[("host", "localhost"), ("host", "localhost")]).is_err());
    }

    #[test]
    fn a_page_is_heard_if_it_is_ours_or_allowed() {
        let check = |origin: &str| {
            guard().check_origin(&parts("/", &[("host", "localhost:80"), ("origin", origin)]), From::Here)
        };
        assert_eq!(check("http://localhost").unwrap(), Sharing::Own);
        assert_eq!(check("HTTP://LOCALHOST:80").unwrap(), Sharing::Own);
        for good in ["https://notes.example", "https://notes.example:443", "https://public.example"] {
            assert_eq!(check(good).unwrap(), Sharing::With);
        }
        for bad in [
            "null",
            "http://localhost:81",
            "http://127.0.0.1",
            "http://notes.example",
            "https://notes.example.evil.example",
            "https://a@notes.example",
            "https://notes.example:1",
            "notes.example",
            "",
            "https://localhost",
        ] {
            assert_eq!(check(bad).unwrap_err().code(), "forbidden_origin", "{bad}");
        }
    }

    #[test]
    fn what_a_browser_says_of_the_site_counts_where_no_origin_is_given() {
        let check = |site: &str, from| {
            let parts = parts("/", &[("host", "localhost"), ("sec-fetch-site", site)]);
            guard().check_origin(&parts, from).is_ok()
        };
        for (site, here) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            assert!(check(site, From::Anywhere));
            assert_eq!(check(site, From::Here), here, "{site}");
        }
    }

    #[test]
    fn a_setting_that_is_no_host_or_origin_is_named() {
        let refused = |settings: Settings| Guard::new(&settings).unwrap_err().value;
        let settings = Settings::default();
        assert_eq!(refused(Settings { allowed_hosts: vec!["a b".into()], ..settings.clone() }), "a b");
        assert_eq!(refused(Settings { allowed_hosts: vec!["*".into()], ..settings.clone() }), "*");
        assert_eq!(refused(Settings { allowed_origins: vec!["*".into()], ..settings.clone() }), "*");
        let any = "https://*.example";
        assert_eq!(refused(Settings { allowed_origins: vec![any.into()], ..settings.clone() }), any);
        assert_eq!(
            refused(Settings { public_url: Some("bridge.example".into()), ..settings }),
            "bridge.example"
        );
    }
}
