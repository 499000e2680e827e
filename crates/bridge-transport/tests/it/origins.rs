//! Pages of other sites, and names that are not ours.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use crate::support::{Answer, Server, request, with};

const FOREIGN: &str = "https://evil.example";

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let body = if method == Method::POST { "{}" } else { "" };
    let said = |request, (name, value): &(&'static str, &str)| with(request, name, value);
    server.send(headers.iter().fold(request(method, path, body), said)).await
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_421_at_every_path() {
    let server = Server::start().await;
    for path in ["/api/sessions", "/health", "/", "/api/nothing", "/mcp"] {
        ask(&server, Method::GET, path, &[("host", "evil.example")]).await.is_problem(421, "unknown_host");
    }
    let nameless = server.raw("GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(nameless.starts_with("HTTP/1.1 400 ") && nameless.contains("bad_request"), "{nameless}");
    let twice = "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(server.raw(twice).await.starts_with("HTTP/1.1 400 "));
    let absolute = "GET http://evil.example/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(server.raw(absolute).await.starts_with("HTTP/1.1 421 "));
    let request = Request::get("http://evil.example/health").body(Full::<Bytes>::default()).unwrap();
    server.send_h2(request).await.is_problem(421, "unknown_host");
    let server = Server::with_settings(|settings| settings.allowed_hosts.push("bridge.example".into())).await;
    assert_eq!(ask(&server, Method::GET, "/health", &[("host", "bridge.example:80")]).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_origin_is_403_at_every_path_and_method() {
    let server = Server::start().await;
    for origin in [FOREIGN, "null", "http://localhost:1", "http://127.0.0.1", ""] {
        for (method, path) in [
            (Method::GET, "/api/sessions"),
            (Method::POST, "/api/sessions"),
            (Method::OPTIONS, "/api/sessions"),
            (Method::GET, "/health"),
            (Method::GET, "/"),
        ] {
            let answer = ask(&server, method, path, &[("origin", origin)]).await;
            answer.is_problem(403, "forbidden_origin");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
    }
    let own = ask(&server, Method::POST, "/api/sessions", &[("origin", "http://localhost")]).await;
    assert_eq!((own.status.as_u16(), own.header("access-control-allow-origin")), (201, ""));
    assert_eq!(server.get("/api/sessions").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_browser_that_says_another_origin_asks_is_not_let_in() {
    let server = Server::start().await;
    let session = server.session().await;
    let latest = format!("/api/get_latest_response/{session}");
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        for path in ["/api/sessions", &latest] {
            let answer = ask(&server, Method::GET, path, &[("sec-fetch-site", site)]).await;
            assert_eq!(answer.status.as_u16(), status, "{site} {path}");
        }
        let health = ask(&server, Method::GET, "/health", &[("sec-fetch-site", site)]).await;
        assert_eq!(health.status, 200, "{site}");
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_and_read_the_answer() {
    const FRIEND: &str = "https://notes.example";
    let server = Server::with_settings(|settings| settings.allowed_origins.push(FRIEND.into())).await;
    let headers = [
        ("origin", FRIEND),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type, idempotency-key"),
        ("sec-fetch-site", "cross-site"),
    ];
    let preflight = ask(&server, Method::OPTIONS, "/api/sessions", &headers).await;
    assert_eq!((preflight.status.as_u16(), preflight.header("access-control-allow-origin")), (200, FRIEND));
    let methods = preflight.header("access-control-allow-methods");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(methods.contains(method), "{method} is not among {methods}");
    }
    assert!(preflight.header("access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(preflight.header("access-control-allow-credentials"), "");
    let opened = ask(&server, Method::POST, "/api/sessions", &[headers[0], headers[3]]).await;
    assert_eq!((opened.status.as_u16(), opened.header("access-control-allow-origin")), (201, FRIEND));
    assert_eq!(opened.header("vary"), "origin");
    // So that the page can tell its user what was wrong.
    let refused = ask(&server, Method::GET, "/api/nothing", &[headers[0]]).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (404, FRIEND));
    ask(&server, Method::OPTIONS, "/api/sessions", &[("origin", FOREIGN), headers[1]])
        .await
        .is_problem(403, "forbidden_origin");
}
