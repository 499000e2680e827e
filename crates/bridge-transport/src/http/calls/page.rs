//! The page and its files.

use bridge_protocol::{Code, Problem};
use http::{HeaderValue, Response, StatusCode, header};

use crate::http::{
    full,
    page::PageFile,
    request::Call,
    response::{Body, empty},
};

/// What the page may do: nothing but its own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn index(call: Call) -> Result<Response<Body>, Problem> {
    let mut response = file(&call, "index.html", "no-cache")?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

pub(crate) async fn asset(call: Call) -> Result<Response<Body>, Problem> {
    let path = format!("assets/{}", call.part("file"));
    // Their names are digests of their content.
    file(&call, &path, "public, max-age=31536000, immutable")
}

fn file(call: &Call, path: &str, caching: &'static str) -> Result<Response<Body>, Problem> {
    let found = call.door.page.as_ref().and_then(|page| page.file(path));
    let PageFile { content, content_type, etag } = found.ok_or_else(|| Problem::new(Code::NotFound))?;
    let etag = format!("\"{etag}\"");
    let known = call.header("if-none-match").is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag));
    let mut response = Response::new(if known { empty() } else { full(content) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    for (name, value) in [(header::CONTENT_TYPE, content_type), (header::ETAG, etag)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    Ok(response)
}
