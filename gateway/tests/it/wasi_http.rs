//! `wasi:http/outgoing-handler` of a step: the same way out as `sluice:step/http`.

use reqwest::Method;
use serde_json::{Value, json};
use sluice::author::cases::{File, Json, Runner};
use sluice::author::{Manifest, Prebuilt};
use sluice::config::{Config, Secrets};
use sluice::model::{Permission, PermissionKind};

use crate::host_http::{GARBAGE, SHORT};
use crate::support::upstream::{Then, nobody, saying};
use crate::support::{Answer, TestGateway, Upstream, guest};

async fn start(permissions: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> TestGateway {
    let gw = TestGateway::start_with(|config| {
        config.egress.allow_private = vec!["127.0.0.0/8".parse().unwrap()];
        config.secrets = Secrets::new([("key".to_owned(), "s3cr3t-canary".into())].into());
        change(config);
    })
    .await;
    gw.upload("wasi-http", "1.0.0", guest("wasi-http")).await.expect_status(201);
    let list: Vec<_> = permissions
        .iter()
        .map(|(permission, resource)| json!({"permission": permission, "resource": resource}))
        .collect();
    let put = gw.request(Method::PUT, "/api/v1/wasm/modules/wasi-http/permissions").json(&list);
    Answer::of(put).await.expect_status(200);
    gw
}

fn request(upstream: &Upstream, method: &str, path: &str) -> Value {
    json!({"method": method, "authority": upstream.authority(), "path": path})
}

async fn send(gw: &TestGateway, request: &Value) -> Value {
    gw.invoke("wasi-http", request.clone()).await.expect_output()[0].clone()
}

#[tokio::test]
async fn a_component_that_speaks_wasi_sends_under_the_same_permissions() {
    let upstream = Upstream::start().await;
    let permissions = [
        ("http:read", &*upstream.url("/r/*")),
        ("http:write", &*upstream.url("/w/*")),
        ("secret:use", "key@127.0.0.1"),
    ];
    let gw = start(&permissions, |_| {}).await;
    let mut post = request(&upstream, "POST", "/w/1?a=b");
    post["body"] = json!("x".repeat(100_000));
    post["headers"] = json!([["authorization", "Bearer {{secret:key}}"], ["x-a", "1"]]);
    let answer = send(&gw, &post).await;
    assert_eq!(answer["ok"]["status"], 200, "{answer}");
    assert_eq!((&answer["ok"]["body"], &answer["ok"]["end"]), (&post["body"], &json!("closed")));
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.body.len()), ("POST", "/w/1?a=b", 100_000));
    assert_eq!((seen.header("authorization"), seen.header("x-a")), ("Bearer s3cr3t-canary", "1"));
    assert_eq!(seen.header("host"), upstream.authority());

    for refused in
        [request(&upstream, "GET", "/w/1"), request(&upstream, "POST", "/r/1"), request(&upstream, "GET", "/r/1/2")]
    {
        assert_eq!(send(&gw, &refused).await["err"], "ErrorCode::HttpRequestDenied", "{refused}");
    }
    let dots = send(&gw, &request(&upstream, "GET", "/r/../w/1")).await;
    assert_eq!(dots["err"], "ErrorCode::HttpRequestUriInvalid");
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(gw.metric("sluice_permission_denials_total").await, 3);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_denied_here_too() {
    let upstream = Upstream::start().await;
    let gw = start(&[("http:read", "**")], |config| config.egress.allow_private.clear()).await;
    assert_eq!(send(&gw, &request(&upstream, "GET", "/")).await["err"], "ErrorCode::DestinationIpProhibited");
    assert_eq!(upstream.connections(), 0);
    // It is told as all denials are.
    assert_eq!(gw.metric("sluice_permission_denials_total").await, 1);
    let denials = gw.eventually("/api/v1/wasm/modules/wasi-http/denials", |answer| answer.json()["total"] == 1).await;
    assert_eq!(denials.json()["items"][0]["resource"], upstream.url("/"));
}

#[tokio::test]
async fn bodies_and_the_number_of_requests_are_bounded() {
    let mut upstream = Upstream::start().await;
    let gw = start(&[("http:read", "**"), ("http:write", "**")], |config| {
        config.egress.response_bytes = 10_000;
        config.egress.request_bytes = 10_000;
        config.limits.host_calls = 3;
    })
    .await;
    let large = send(&gw, &request(&upstream, "GET", "/big/10001")).await;
    assert_eq!(large["ok"]["end"], "HTTP response body size exceeds limit: 10000 bytes", "{large}");
    let mut post = request(&upstream, "POST", "/x");
    post["body"] = json!("x".repeat(10_001));
    let long = send(&gw, &post).await;
    assert_eq!(long["err"], "ErrorCode::HttpRequestBodySize(Some(10000))", "{long}");
    let mut many = request(&upstream, "GET", "/x");
    many["repeat"] = json!(5);
    let told = gw.invoke("wasi-http", many).await.expect_output();
    let ended: Vec<_> = told.as_array().unwrap().iter().map(|one| one["ok"]["status"] == 200).collect();
    assert_eq!(ended, [true, true, true, false, false], "{told}");
    // The execution's end is the exchange's.
    let body = json!({"input": request(&upstream, "GET", "/hang"), "limits": {"timeout_ms": 200}});
    gw.invoke_with("wasi-http", "run", body).await.expect_guest_problem(504, "timed-out");
    upstream.until_hung_up().await;
}

#[tokio::test]
async fn a_call_over_either_interface_is_one_of_the_executions() {
    let upstream = Upstream::start().await;
    let gw = start(&[("http:read", "**")], |config| config.limits.host_calls = 2).await;
    let mut input = request(&upstream, "GET", "/x");
    (input["repeat"], input["both"]) = (json!(2), json!(true));
    let told = gw.invoke("wasi-http", input).await.expect_output();
    assert_eq!((&told[0]["ok"]["status"], &told[1]["ok"]["status"]), (&json!(200), &json!(200)), "{told}");
    assert!(told[2]["err"].as_str().unwrap().contains("an execution may make 2 host calls"), "{told}");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn what_the_interface_of_steps_refuses_is_refused_here_too() {
    const INVALID_SYNTAX: &str = "ErrorCode::InternalError(Some(\"HeaderError::InvalidSyntax\"))";
    let upstream = Upstream::start().await;
    let permissions = [("http:read", "**"), ("secret:use", "other@127.0.0.1"), ("secret:use", "key@api.example.com")];
    let gw = start(&permissions, |_| {}).await;
    let url = upstream.url("/x");
    let many = vec![json!(["x", "y"]); 100];
    let many = [many, vec![json!(["x", "{{secret:key}}"])]].concat();
    for (headers, told, denials) in [
        (json!([["x-http-method-override", "DELETE"]]), "ErrorCode::HttpRequestDenied", 1),
        // Bound to another host, and one that is not there.
        (json!([["authorization", "{{secret:key}}"]]), "ErrorCode::HttpRequestDenied", 2),
        (json!([["authorization", "{{secret:other}}"]]), "ErrorCode::HttpRequestDenied", 2),
        (json!([["te", "{{secret:key}}"]]), "ErrorCode::HttpProtocolError", 2),
        // This one by the interface itself.
        (json!([["content-length", "{{secret:key}}"]]), INVALID_SYNTAX, 2),
        (json!([["x-original-url", "/admin"]]), "ErrorCode::HttpProtocolError", 2),
        // Of one that is too many, no secret is asked for.
        (json!(many), "ErrorCode::HttpRequestHeaderSectionSize(None)", 2),
    ] {
        let mut refused = request(&upstream, "GET", "/x");
        refused["headers"] = headers;
        assert_eq!(send(&gw, &refused).await["err"], told, "{refused}");
        assert_eq!(gw.metric("sluice_permission_denials_total").await, denials, "{refused}");
    }
    assert_eq!(send(&gw, &request(&upstream, "CONNECT", "/x")).await["err"], "ErrorCode::HttpRequestMethodInvalid");
    assert_eq!(upstream.seen().len(), 0);
    let both = json!([{"permission": "http:read", "resource": url}, {"permission": "http:write", "resource": url}]);
    let put = gw.request(Method::PUT, "/api/v1/wasm/modules/wasi-http/permissions").json(&both);
    Answer::of(put).await.expect_status(200);
    let mut allowed = request(&upstream, "GET", "/x");
    allowed["headers"] = json!([["x-http-method-override", "DELETE"]]);
    assert_eq!(send(&gw, &allowed).await["ok"]["status"], 200);
    assert_eq!(upstream.seen()[0].header("x-http-method-override"), "DELETE");
}

#[tokio::test]
async fn whatever_is_wrong_with_the_other_side_has_its_code() {
    let (upstream, gw) = (Upstream::start().await, start(&[("http:read", "**")], |_| {}).await);
    let large = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(50_000));
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    for (scheme, authority, option, told) in [
        ("http", nobody().await, "", "ConnectionRefused"),
        ("http", "no-such-host.invalid".to_owned(), "", "DestinationNotFound"),
        ("http", saying("", Then::Close).await, "", "ConnectionTerminated"),
        ("http", saying(SHORT, Then::Close).await, "", "incomplete HTTP response"),
        ("http", saying(GARBAGE, Then::Close).await, "", "HttpProtocolError"),
        ("http", saying(large, Then::Close).await, "", "HttpResponseHeaderSectionSize"),
        ("https", upstream.authority(), "", "TlsProtocolError"),
        // It takes no part in TLS.
        ("https", saying("", Then::Wait).await, "connect_ms", "ConnectionTimeout"),
        ("http", saying("", Then::Wait).await, "first_byte_ms", "HttpResponseTimeout"),
        ("http", saying(slow, Then::Wait).await, "between_bytes_ms", "connection read timeout"),
    ] {
        let mut input = json!({"method": "GET", "scheme": scheme, "authority": authority, "path": "/"});
        if !option.is_empty() {
            input[option] = json!(200);
        }
        let answer = send(&gw, &input).await;
        let said = answer["err"].as_str().or(answer["ok"]["end"].as_str()).unwrap();
        assert!(said.contains(told), "{told}: {answer}");
    }
}

#[tokio::test]
async fn a_trace_is_passed_on_and_a_caller_that_leaves_ends_the_exchange() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let mut upstream = Upstream::start().await;
    let gw = start(&[("http:read", "**")], |_| {}).await;
    let call = gw.request(Method::POST, "/api/v1/wasm/modules/wasi-http/invoke").header("traceparent", PARENT);
    let call = tokio::spawn(call.json(&json!({"input": request(&upstream, "GET", "/hang")})).send());
    upstream.until_asked().await;
    assert_eq!(upstream.seen()[0].header("traceparent"), PARENT);
    call.abort();
    upstream.until_hung_up().await;
}

/// A case of `sluice test`, with the fixture's request and what the server answers.
fn case(folder: &std::path::Path, answer: &Value) -> File {
    let request = json!({
        "method": "POST", "url": "https://prices.example.com/v1?item=pen", "headers": [["x-a", "b"]], "body": {"n": 1},
    });
    let mut exchange = json!({ "request": request });
    exchange.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    let input = json!({
        "scheme": "https", "authority": "prices.example.com", "path": "/v1?item=pen", "method": "POST",
        "headers": [["x-a", "b"]], "body": r#"{"n": 1}"#,
    });
    let case = json!({"input": input, "http": [exchange], "expect": {"status": "completed"}});
    let path = folder.join("case.json");
    std::fs::write(&path, case.to_string()).unwrap();
    File { name: "case".to_owned(), path }
}

#[tokio::test]
async fn a_case_answers_in_the_place_of_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let component = Prebuilt::of(guest("wasi-http")).unwrap();
    let permission =
        Permission { permission: PermissionKind::HttpWrite, resource: "https://prices.example.com/v1*".to_owned() };
    let manifest = Manifest { permissions: vec![permission], ..Manifest::default() };
    let runner = Runner::open(&component, &manifest, folder.path()).await.unwrap();
    for (answer, told) in [
        (
            json!({"response": {"status": 201, "headers": [["x-b", "c"]], "body": "ok"}}),
            json!({"ok": {"status": 201, "headers": [["x-b", "c"]], "body": "ok", "end": "closed"}}),
        ),
        (json!({"error": {"timed-out": "x"}}), json!({"err": "ErrorCode::HttpResponseTimeout"})),
        (json!({"error": {"permission-denied": "x"}}), json!({"err": "ErrorCode::HttpRequestDenied"})),
        (
            json!({"response": {"status": 200, "headers": [["a b", "c"]]}}),
            json!({"err": "ErrorCode::HttpProtocolError"}),
        ),
    ] {
        let mut case = case(folder.path(), &answer).read().unwrap();
        case.expect.output = Some(Json::of(&json!([told])));
        let report = runner.run(&case).await.unwrap();
        assert!(report.has_passed(), "{answer}: {report:?}");
    }
    let mut other = case(folder.path(), &json!({"response": {"status": 200}})).read().unwrap();
    other.http[0].request.url = "https://prices.example.com/v2".to_owned();
    let report = runner.run(&other).await.unwrap();
    assert_eq!(report.host_calls.len(), 2, "one that nobody answers, and one that nobody asks for: {report:?}");

    // As on a gateway: without the permission nobody is asked.
    let other_folder = tempfile::tempdir().unwrap();
    let runner = Runner::open(&component, &Manifest::default(), other_folder.path()).await.unwrap();
    let mut denied = case(folder.path(), &json!({"response": {"status": 200}})).read().unwrap();
    denied.expect.output = Some(Json::of(&json!([{"err": "ErrorCode::HttpRequestDenied"}])));
    let report = runner.run(&denied).await.unwrap();
    assert!(report.differences.is_empty(), "{report:?}");
    assert_eq!(report.denials, ["http:write https://prices.example.com/v1"]);
}
