//! The files of the page.

use bridge_transport::{Asset, ServeSettings};
use bytes::Bytes;
use http::Method;

use crate::support::{Server, request, with};

async fn server() -> Server {
    let lookup = |path: &str| {
        let (body, content_type) = match path {
            "index.html" => ("<!doctype html>", "text/html; charset=utf-8"),
            "assets/app-1.js" => ("run()", "text/javascript; charset=utf-8"),
            "favicon.svg" => ("<svg/>", "image/svg+xml"),
            _ => return None,
        };
        let body = Bytes::from_static(body.as_bytes());
        Some(Asset { body, content_type: content_type.into(), etag: format!("tag-{path}") })
    };
    Server::with(|door| door.page(lookup), ServeSettings::default()).await
}

#[tokio::test]
async fn the_page_is_at_the_root_and_at_every_session() {
    let server = server().await;
    let session = server.session().await;
    for path in ["/".to_owned(), format!("/dashboard/{session}"), "/?x=1".to_owned()] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"<!doctype html>"[..]), "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "no-cache");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"));
    }
    // A link on another page may lead here.
    let linked = with(request(Method::GET, "/", ""), "sec-fetch-site", "cross-site");
    assert_eq!(server.send(linked).await.status, 200);
}

#[tokio::test]
async fn files_with_a_digest_in_their_name_never_change() {
    let server = server().await;
    let script = server.get("/assets/app-1.js").await;
    assert_eq!(
        (script.status.as_u16(), script.header("cache-control")),
        (200, "public, max-age=31536000, immutable")
    );
    assert_eq!(server.get("/favicon.svg").await.header("cache-control"), "no-cache");
    for path in
        ["/assets/app-2.js", "/assets/../index.html", "/assets/", "/index.html/", "/%2e%2e/index.html"]
    {
        server.get(path).await.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let server = server().await;
    let etag = server.get("/").await.header("etag").to_owned();
    for known in [&*etag, &format!("\"x\", W/{etag}"), "*"] {
        let answer = server.send(with(request(Method::GET, "/", ""), "if-none-match", known)).await;
        assert_eq!((answer.status.as_u16(), answer.body.len(), answer.header("etag")), (304, 0, &*etag));
    }
    let stale = server.send(with(request(Method::GET, "/", ""), "if-none-match", "\"old\"")).await;
    assert_eq!(stale.status, 200);
}

#[tokio::test]
async fn the_addresses_of_the_old_pages_lead_to_this_one() {
    let server = server().await;
    let session = server.session().await;
    for (path, place) in [
        ("/api/conversation".to_owned(), "/".to_owned()),
        ("/api/heartbeat-test".to_owned(), "/".to_owned()),
        (format!("/api/conversation?session={session}"), format!("/dashboard/{session}")),
        ("/api/conversation?session=//evil.example".to_owned(), "/".to_owned()),
    ] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (302, &*place));
    }
}
