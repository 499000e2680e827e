//! What the protocol itself asks for, era by era.

use bridge_protocol::{Code, Problem};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Agent, LEGACY, MODERN, Server};

#[tokio::test]
async fn discover_tells_versions_tools_tasks_and_how_to_work() {
    let server = Server::start().await;
    let answer = server.modern("a").request("server/discover", json!({})).await;
    let result = answer.result();
    let versions = result["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(MODERN)) && versions.contains(&json!(LEGACY)), "{versions:?}");
    assert!(result["capabilities"]["tools"].is_object());
    assert!(result["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"].is_object());
    assert!(result["instructions"].as_str().unwrap().contains("wait_for_messages"));
    assert!(result["capabilities"].get("prompts").is_none());
}

#[tokio::test]
async fn both_eras_take_a_message_and_answer_it() {
    let server = Server::start().await;
    let session = server.open_session().await;
    for agent in [server.modern("modern"), server.legacy("legacy").await] {
        server.write(session, "question").await;
        let got = agent.call("get_pending_messages", json!({"session_id": session.to_string()})).await;
        assert_eq!(got["count"], 1);
        let message = &got["messages"][0];
        assert_eq!(message["message"], "question");
        let answer = json!({
            "message_id": message["id"], "handle": message["handle"], "response": "answer",
        });
        let sent = agent.call("send_response_to_web", answer).await;
        assert_eq!((&sent["success"], &sent["already_done"]), (&json!(true), &json!(false)));
        assert_eq!(sent["session_id"], session.to_string());
    }
    assert_eq!(server.answers(session).await, ["answer", "answer"]);
}

#[tokio::test]
async fn an_older_client_gets_the_version_it_asks_for() {
    let server = Server::start().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY] {
        let agent = server.legacy("x").await;
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
        let mut request = agent.post(body);
        request.headers_mut().remove("mcp-protocol-version");
        request.headers_mut().remove("mcp-session-id");
        let answer = agent.read(agent.send(request).await).await;
        assert_eq!(answer.result()["protocolVersion"], version);
    }
}

#[tokio::test]
async fn a_client_of_the_older_protocol_goes_on_after_a_restart() {
    let server = Server::start().await;
    let agent = server.legacy("").await;
    agent.call("mcp_warmup_ping", json!({})).await;
    let server = server.restart().await;
    let agent = server.meet(&agent);
    assert_eq!(agent.call("mcp_warmup_ping", json!({})).await["status"], "warm");
}

#[tokio::test]
async fn a_session_that_was_ended_or_never_began_is_not_found() {
    let server = Server::start().await;
    let agent = server.legacy("").await;
    let mut request = agent.post("");
    *request.method_mut() = Method::DELETE;
    assert_eq!(agent.send(request).await.status(), StatusCode::NO_CONTENT);
    let (request, _) = agent.prepare("tools/list", json!({}));
    assert_eq!(agent.send(request).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_header_that_contradicts_the_body_is_refused() {
    let server = Server::start().await;
    let agent = server.modern("a");
    for (header, value) in
        [("mcp-method", "tools/list"), ("mcp-name", "other_tool"), ("mcp-protocol-version", LEGACY)]
    {
        let (mut request, _) =
            agent.prepare("tools/call", json!({"name": "mcp_warmup_ping", "arguments": {}}));
        request.headers_mut().insert(header, value.parse().unwrap());
        let answer = agent.read(agent.send(request).await).await;
        assert_eq!((answer.status, answer.error_code()), (StatusCode::BAD_REQUEST, -32020), "{header}");
    }
}

#[tokio::test]
async fn a_version_nobody_knows_is_refused_with_those_that_are_known() {
    let server = Server::start().await;
    let agent = server.modern("a");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2099-01-01",
        "io.modelcontextprotocol/clientCapabilities": {},
    }}});
    let mut request = agent.post(body.to_string());
    request.headers_mut().insert("mcp-protocol-version", "2099-01-01".parse().unwrap());
    request.headers_mut().insert("mcp-method", "tools/list".parse().unwrap());
    let answer = agent.read(agent.send(request).await).await;
    assert_eq!((answer.status, answer.error_code()), (StatusCode::BAD_REQUEST, -32022));
}

#[tokio::test]
async fn text_that_is_no_json_is_a_parse_error() {
    let server = Server::start().await;
    for agent in [server.modern("a"), server.legacy("a").await] {
        for (body, code) in
            [("{", -32700), ("", -32700), ("[]", -32600), ("7", -32600), ("{\"id\": 7}", -32600)]
        {
            let answer = agent.read(agent.send(agent.post(body)).await).await;
            assert_eq!((answer.status, answer.error_code()), (StatusCode::BAD_REQUEST, code), "{body}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_type_is_refused() {
    let server = Server::start().await;
    let agent = server.modern("a");
    let answer = agent.send(agent.post(vec![b' '; (1 << 20) + 1])).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let nested = (0..64).fold(json!(0), |inner, _| json!([inner]));
    let (request, _) =
        agent.prepare("tools/call", json!({"name": "mcp_warmup_ping", "arguments": {"x": nested}}));
    let answer = agent.read(agent.send(request).await).await;
    assert_eq!((answer.status, answer.error_code()), (StatusCode::BAD_REQUEST, -32600));
    let mut request = agent.post("{}");
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(agent.send(request).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let server = Server::start().await;
    let agent = server.modern("a");
    for (header, value) in
        [("host", "evil.example"), ("origin", "http://evil.example"), ("origin", "null"), ("origin", "x")]
    {
        let (mut request, _) = agent.prepare("tools/list", json!({}));
        request.headers_mut().insert(header, value.parse().unwrap());
        assert_eq!(agent.send(request).await.status(), StatusCode::FORBIDDEN, "{header}: {value}");
    }
}

#[tokio::test]
async fn a_refusal_below_the_protocol_is_a_problem_that_programs_read() {
    type Headers<'a> = &'a [(&'static str, &'a [u8])];
    const LATIN: &[u8] = b"\xff";

    let server = Server::start().await;
    let (modern, legacy) = (server.modern("a"), server.legacy("a").await);
    let version: &[u8] = LEGACY.as_bytes();
    let nobody: Headers = &[("mcp-session-id", b"nobody"), ("mcp-protocol-version", version)];
    let cases: &[(&Agent, Method, Headers, u16, &str, &str)] = &[
        (&modern, Method::PUT, &[], 405, "method_not_allowed", "Method Not Allowed"),
        (&modern, Method::OPTIONS, &[], 405, "method_not_allowed", "Method Not Allowed"),
        (&modern, Method::GET, &[], 405, "method_not_allowed", "Method Not Allowed"),
        (&modern, Method::DELETE, &[], 405, "method_not_allowed", "Method Not Allowed"),
        (&modern, Method::GET, &[("accept", b"text/html")], 406, "not_acceptable", "text/event-stream"),
        (&modern, Method::POST, &[("accept", b"*/*")], 406, "not_acceptable", "application/json"),
        (
            &modern,
            Method::POST,
            &[("content-type", b"text/plain")],
            415,
            "unsupported_media_type",
            "Content-Type",
        ),
        (&modern, Method::POST, &[("host", b"evil.example")], 403, "forbidden", "Host"),
        (&modern, Method::POST, &[("host", b"")], 400, "bad_request", "missing Host"),
        (&modern, Method::POST, &[("host", b"a b")], 400, "bad_request", "Host"),
        (&modern, Method::POST, &[("host", LATIN)], 400, "bad_request", "Host"),
        (&modern, Method::POST, &[("origin", b"http://evil.example")], 403, "forbidden", "Origin"),
        (&modern, Method::POST, &[("origin", b"x")], 403, "forbidden", "Origin"),
        (&modern, Method::POST, &[("origin", LATIN)], 403, "forbidden", "Origin"),
        (&legacy, Method::POST, &[("mcp-session-id", b"")], 400, "bad_request", "Session ID is required"),
        (&legacy, Method::GET, &[("mcp-session-id", b"")], 400, "bad_request", "Session ID is required"),
        (&legacy, Method::DELETE, &[("mcp-session-id", b"")], 400, "bad_request", "Session ID is required"),
        (&legacy, Method::POST, nobody, 404, "not_found", "Session not found"),
        (&legacy, Method::GET, nobody, 404, "not_found", "Session not found"),
        (&legacy, Method::POST, &[("mcp-protocol-version", b"1999")], 400, "bad_request", "Version: 1999"),
        (&legacy, Method::GET, &[("mcp-protocol-version", b"1999")], 400, "bad_request", "Version: 1999"),
        (&legacy, Method::DELETE, &[("mcp-protocol-version", b"1999")], 400, "bad_request", "Version: 1999"),
    ];
    for (agent, method, headers, status, code, says) in cases {
        let (mut request, _) = agent.prepare("tools/list", json!({}));
        *request.method_mut() = method.clone();
        for (name, value) in *headers {
            request.headers_mut().remove(*name);
            if !value.is_empty() {
                request.headers_mut().insert(*name, HeaderValue::from_bytes(value).unwrap());
            }
        }
        // Without a socket, so that the request may lack what every client sends.
        let (told, body) = server.endpoint.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let case = format!("{method} {headers:?}: {}", String::from_utf8_lossy(&body));
        assert_eq!(told.status, *status, "{case}");
        assert_eq!(told.headers["content-type"], "application/problem+json", "{case}");
        let problem: Problem = serde_json::from_slice(&body).expect(&case);
        let detail = problem.detail.clone().expect(&case);
        assert!(detail.contains(says), "{case}");
        let known = Code::ALL.iter().find(|known| known.as_str() == *code).unwrap();
        assert_eq!(problem, Problem::new(*known).detail(detail), "{case}");
        assert_eq!(told.headers.contains_key("allow"), *status == 405, "{case}");
    }
}

#[tokio::test]
async fn what_is_not_offered_is_unknown() {
    let server = Server::start().await;
    let (modern, legacy) = (server.modern("a"), server.legacy("a").await);
    for method in ["prompts/list", "resources/list", "resources/templates/list", "no/such"] {
        let answer = modern.request(method, json!({})).await;
        assert_eq!((answer.status, answer.error_code()), (StatusCode::NOT_FOUND, -32601), "{method}");
        let answer = legacy.request(method, json!({})).await;
        assert_eq!((answer.status, answer.error_code()), (StatusCode::OK, -32601), "{method}");
    }
    assert_eq!(legacy.request("ping", json!({})).await.result(), &json!({}));
}

#[tokio::test]
async fn somebody_who_opens_the_address_in_a_browser_is_told_what_it_is() {
    let server = Server::start().await;
    let agent = server.legacy("a").await;
    let mut request = agent.post("");
    *request.method_mut() = Method::GET;
    request.headers_mut().insert("accept", "text/html".parse().unwrap());
    let answer = agent.read(agent.send(request).await).await;
    assert_eq!(
        (answer.status, &answer.last()["protocol"]),
        (StatusCode::OK, &json!("Model Context Protocol"))
    );

    let agent = server.modern("a");
    for method in [Method::GET, Method::DELETE] {
        let mut request = agent.post("");
        *request.method_mut() = method;
        let status = agent.send(request).await.status();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "there are no streams and sessions in this era");
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let server = Server::start().await;
    let (request, _) = server.modern("a%00b").prepare("tools/list", json!({}));
    let agent = server.modern("a");
    let answer = agent.read(agent.send(request).await).await;
    assert_eq!((answer.status, answer.error_code()), (StatusCode::BAD_REQUEST, -32600));
}

#[tokio::test]
async fn a_flood_of_connecting_clients_takes_no_more_than_its_share() {
    let server = Server::start().await;
    let first = server.legacy("first").await;
    let mut refused = 0;
    for _ in 0..1_010 {
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
        let mut request = first.post(body);
        request.headers_mut().remove("mcp-protocol-version");
        request.headers_mut().remove("mcp-session-id");
        let answer = server.endpoint.clone().oneshot(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        refused += usize::from(String::from_utf8_lossy(&body).contains("Too many clients"));
    }
    assert!((5..=15).contains(&refused), "{refused}");
    assert_eq!(first.call("mcp_warmup_ping", json!({})).await["status"], "warm");
}
