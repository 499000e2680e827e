//! Calls to a running bridge over HTTP.

use std::{fmt, str::FromStr, time::Duration};

use bridge_protocol::Problem;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};

/// How long an answer may take, besides what the call itself asks to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Where a bridge is: `http://`, a host, a port, and a path if it is mounted below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base(String);

impl FromStr for Base {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "an address reads like http://127.0.0.1:8765")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err("this program speaks http only; use the bridge's own address, or a tunnel to it");
            }
            _ => return Err("an address begins with http://, as in http://127.0.0.1:8765"),
        }
        if uri.query().is_some() {
            return Err("an address ends before the `?`");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There is nobody.
    #[error("The bridge at {0} does not answer. Start it with `bridge serve`, or say where it is with --url")]
    Absent(Base),
    /// The connection was lost, or nothing came for too long.
    #[error("The bridge at {0} took the call and gave no answer, so it is unknown whether it took effect")]
    Silent(Base),
    /// It said no.
    #[error("{} ({})", .0.title, .0.code)]
    Refused(Box<Problem>),
    /// The answer is not one that a bridge gives.
    #[error("What answers at {0} is not a bridge of this version (it said {1}); see --url")]
    Foreign(Base, StatusCode),
}

impl ClientError {
    /// Whether the call may have taken effect.
    pub(crate) fn is_unknown(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Refused(problem) => problem.code == bridge_protocol::Code::OutcomeUnknown.as_str(),
            Self::Absent(_) | Self::Foreign(..) => false,
        }
    }
}

/// Speaks to one bridge.
#[derive(Debug)]
pub(crate) struct Client {
    base: Base,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    pub(crate) fn new(base: Base) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PATIENCE));
        Self { base, http: legacy::Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// A client of the same bridge with connections of its own.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.base.clone())
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path);
        self.call(request.body(Full::default()), PATIENCE).await
    }

    /// Gets what is no JSON.
    pub(crate) async fn text(&self, path: &str) -> Result<String, ClientError> {
        let request = self.request(Method::GET, path);
        let (status, body) = self.exchange(request.body(Full::default()), PATIENCE).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.post_with(path, body, None, Duration::ZERO).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("a call has string keys and finite numbers");
        let request = self.request(Method::PUT, path).header(header::CONTENT_TYPE, "application/json");
        self.call(request.body(Full::from(body)), PATIENCE).await
    }

    /// Asks for something to be removed; there is no answer but that it is.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, path);
        let (status, body) = self.exchange(request.body(Full::default()), PATIENCE).await?;
        if status.is_success() { Ok(()) } else { Err(self.refused(status, &body)) }
    }

    /// Posts with one more header, to an endpoint that may wait for so long before it answers.
    pub(crate) async fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        header: Option<(HeaderName, HeaderValue)>,
        wait: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("a call has string keys and finite numbers");
        let mut request = self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.call(request.body(Full::from(body)), PATIENCE + wait).await
    }

    /// Opens a stream of server-sent events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Incoming, ClientError> {
        let request = self.request(Method::GET, path).header(header::ACCEPT, "text/event-stream");
        let response = self.send(request.body(Full::default())).await?;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        let (parts, body) = response.into_parts();
        Err(self.refused(parts.status, &self.read(body).await?))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.base))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let (status, body) = self.exchange(request, patience).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|_| ClientError::Foreign(self.base.clone(), status))
    }

    /// A call and its whole answer, in time.
    async fn exchange(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let exchange = async {
            let (parts, body) = self.send(request).await?.into_parts();
            Ok((parts.status, self.read(body).await?))
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn send(
        &self,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let request = request.expect("the base and the path were checked when they were parsed");
        self.http.request(request).await.map_err(|error| {
            if error.is_connect() { ClientError::Absent(self.base.clone()) } else { self.silent() }
        })
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let whole = Limited::new(body, MAX_ANSWER).collect().await;
        whole.map(http_body_util::Collected::to_bytes).map_err(|_| self.silent())
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent(self.base.clone())
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => ClientError::Foreign(self.base.clone(), status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_a_host() {
        for good in ["http://127.0.0.1:8765", "http://localhost:1/", "http://[::1]:8765/bridge/"] {
            assert!(good.parse::<Base>().is_ok(), "{good}");
        }
        for bad in
            ["127.0.0.1:8765", "https://bridge.example", "http://a/?b=c", "ftp://a", "http://", "http://a b"]
        {
            assert!(bad.parse::<Base>().is_err(), "{bad}");
        }
        assert_eq!(
            "http://[::1]:8765/bridge/".parse::<Base>().unwrap().to_string(),
            "http://[::1]:8765/bridge"
        );
    }
}
