//! `wasi:http/outgoing-handler` of a step: the same way out as `sluice:step/http`.

use reqwest::Method;
use serde_json::{Value, json};
use sluice::config::{Config, Secrets};

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
    assert!(large["err"].as_str().is_some() || large["ok"]["end"] != "closed", "{large}");
    let mut post = request(&upstream, "POST", "/x");
    post["body"] = json!("x".repeat(10_001));
    let long = send(&gw, &post).await;
    assert!(long["err"].as_str().is_some(), "{long}");
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
