//! The files of the page, as they are embedded elsewhere.

use std::{fmt, sync::Arc};

use bridge_protocol::Code;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};

use super::response::{Answer, Body, Refusal, body_of, empty, nothing_at};

/// Scripts, styles, pictures and calls from here and nowhere else; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// The content.
    pub body: Bytes,
    /// Its media type: `text/html; charset=utf-8`.
    pub content_type: String,
    /// What changes with the content, without quotes: a digest of it.
    pub etag: String,
}

pub(crate) type Lookup = Arc<dyn Fn(&str) -> Option<Asset> + Send + Sync>;

/// The files of the page, if there is one.
pub(crate) struct Files(Option<Lookup>);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.0.is_some()).finish()
    }
}

impl Files {
    pub(crate) fn new(lookup: Option<Lookup>) -> Self {
        Self(lookup)
    }

    /// The file at the path of a request, `/` being `index.html`.
    pub(crate) fn at(&self, path: &str, headers: &HeaderMap) -> Answer {
        let name = match path.trim_start_matches('/') {
            "" => "index.html",
            name => name,
        };
        let asset = self.0.as_ref().and_then(|lookup| lookup(name)).ok_or_else(|| nothing_at(path))?;
        let (Ok(etag), Ok(kind)) = (
            HeaderValue::try_from(format!("\"{}\"", asset.etag)),
            HeaderValue::try_from(&asset.content_type),
        ) else {
            return Err(Refusal::new(Code::Internal));
        };
        let mut response: Response<Body> = if is_known(headers, &etag) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            let mut response = Response::new(body_of(asset.body));
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        };
        let caching =
            if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
        response.headers_mut().extend([
            (ETAG, etag),
            (CACHE_CONTROL, HeaderValue::from_static(caching)),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        ]);
        Ok(response)
    }
}

/// Whether the caller has the file already.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}
