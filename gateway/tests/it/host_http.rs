//! `sluice:step/http`, from a guest to a real server.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use sluice::config::{Config, Secrets};

use crate::support::otlp_receiver::OtlpReceiver;
use crate::support::upstream::{Then, nobody, saying};
use crate::support::{Answer, TestGateway, Upstream, guest, property};

/// Answers that are none, of servers that then close.
pub const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
pub const BAD_CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
pub const GARBAGE: &str = "SSH-2.0-OpenSSH_9.6\r\n";

/// A gateway that steps may reach loopback from.
async fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::start_with(|config| {
        config.egress.allow_private = vec!["127.0.0.0/8".parse().unwrap()];
        change(config);
    })
    .await
}

async fn upload(gw: &TestGateway, name: &str, permissions: &[(&str, &str)]) {
    let list: Vec<_> = permissions
        .iter()
        .map(|(permission, resource)| json!({"permission": permission, "resource": resource}))
        .collect();
    gw.upload(name, "1.0.0", guest(name)).await.expect_status(201);
    let put = gw.request(Method::PUT, &format!("/api/v1/wasm/modules/{name}/permissions")).json(&list);
    Answer::of(put).await.expect_status(200);
}

async fn send(gw: &TestGateway, request: Value) -> Value {
    gw.invoke("hosts", json!({ "http": request })).await.expect_output()["http"].clone()
}

#[tokio::test]
async fn a_step_sends_what_it_may_and_gets_the_answer() {
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    upload(&gw, "hosts", &[("http:read", &upstream.resource()), ("http:write", &upstream.url("/orders/*"))]).await;
    let request = json!({
        "method": "POST", "url": upstream.url("/orders/1?a=b"), "body": "{\"n\":1}",
        "headers": [["content-type", "application/json"], ["x-a", "1"], ["x-a", "2"]],
    });
    let answer = send(&gw, request).await;
    assert_eq!((&answer["ok"]["status"], &answer["ok"]["body"]), (&json!(200), &json!("{\"n\":1}")));
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/orders/1?a=b"));
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(seen.header("user-agent").starts_with("sluice/"), "{seen:?}");
    assert_eq!((seen.header("content-length"), seen.header("host")), ("7", upstream.authority().as_str()));
    // Redirects are answers.
    let moved = send(&gw, json!({"method": "GET", "url": upstream.url("/status/302")})).await;
    assert_eq!(moved["ok"]["status"], 302);
    // Connections are shared by executions.
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn what_no_permission_covers_is_denied_told_and_counted() {
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    upload(&gw, "hosts", &[("http:read", &upstream.url("/public/*"))]).await;
    let ops = json!({"ops": [
        ["http", {"method": "GET", "url": upstream.url("/public/1")}],
        ["http", {"method": "GET", "url": upstream.url("/private?token=1")}],
        ["http", {"method": "DELETE", "url": upstream.url("/public/1")}],
        ["http", {"method": "GET", "url": upstream.url("/private")}],
        ["http", {"method": "GET", "url": upstream.url("/public/%2e%2e/private")}],
        ["http", {"method": "GET", "url": upstream.url("/public/1").replace("http://", "http://user@")}],
    ]});
    let answer = gw.invoke("hosts", ops).await.expect_status(200).json();
    let ops = &answer["output"]["ops"];
    assert_eq!(ops[0]["ok"]["status"], 200);
    let denied =
        |permission: &str, path: &str| json!(["permission-denied", format!("{permission} {}", upstream.url(path))]);
    assert_eq!(ops[1]["err"], denied("http:read", "/private"));
    assert_eq!(ops[2]["err"], denied("http:write", "/public/1"));
    assert_eq!(ops[3]["err"], denied("http:read", "/private"));
    assert_eq!((&ops[4]["err"][0], &ops[5]["err"][0]), (&json!("invalid-argument"), &json!("invalid-argument")));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(gw.metric("sluice_permission_denials_total").await, 3);
    // Each is told once.
    let lines = gw.lines(answer["execution_id"].as_str().unwrap()).await;
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let told = |permission: &str, path: &str| format!("permission denied: {permission} {}", upstream.url(path));
    assert_eq!(messages, [told("http:read", "/private"), told("http:write", "/public/1")]);
    assert!(lines.iter().all(|line| line["level"] == "warn"), "{lines:?}");
}

#[tokio::test]
async fn what_is_not_public_is_denied_unless_the_operator_opened_it() {
    let upstream = Upstream::start().await;
    let gw = TestGateway::start().await;
    upload(&gw, "hosts", &[("http:read", "**")]).await;
    let port = upstream.authority().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "0177.1", "169.254.169.254"] {
        let answer =
            send(&gw, json!({"method": "GET", "url": format!("http://{host}:{port}/"), "timeout_ms": 5000})).await;
        assert_eq!(answer["err"][0], "permission-denied", "{host}: {answer}");
        assert!(answer["err"][1].as_str().unwrap().contains("not public"), "{answer}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_secret_goes_to_the_hosts_it_is_bound_to_and_nowhere_else() {
    let upstream = Upstream::start().await;
    let gw = gateway(|config| {
        config.egress.request_bytes = 100_000;
        let long = "l".repeat(1_000);
        let values =
            [("key", "s3cr3t-canary"), ("other", "other-canary"), ("broken", "a\r\nx-injected: 1"), ("long", &long)];
        config.secrets = Secrets::new(values.map(|(name, value)| (name.to_owned(), value.into())).into());
    })
    .await;
    let permissions = [
        ("http:write", "**"),
        ("secret:use", "key@127.0.0.1"),
        ("secret:use", "broken@**"),
        ("secret:use", "long@**"),
        ("secret:use", "none@127.0.0.1"),
        ("secret:use", "other@api.example.com"),
    ];
    upload(&gw, "hosts", &permissions).await;
    let request = |name: &str| {
        json!({
            "method": "POST", "url": upstream.url("/x"), "body": format!("b={{{{secret:{name}}}}}"),
            "headers": [["authorization", format!("Bearer {{{{secret:{name}}}}}")]],
        })
    };
    let answer = send(&gw, request("key")).await;
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!(seen.header("authorization"), "Bearer s3cr3t-canary");
    assert_eq!(seen.body, "b=s3cr3t-canary");
    assert_eq!(answer["ok"]["status"], 200);
    assert_eq!(send(&gw, request("other")).await["err"], json!(["permission-denied", "secret:use other@127.0.0.1"]));
    assert_eq!(send(&gw, request("none")).await["err"][0], "not-found");
    // A secret that can't be a header is an error that doesn't show it.
    let broken = send(&gw, request("broken")).await;
    assert_eq!(broken["err"][0], "invalid-argument", "{broken}");
    assert!(!broken.to_string().contains("injected"), "{broken}");
    // A short name may stand for a long value: what is made of a text is bounded as it is made.
    let mut many = request("key");
    many["body"] = json!("{{secret:long}}".repeat(200));
    assert_eq!(send(&gw, many).await["err"][0], "limit-exceeded");
    // In the name of a header, and in the URL, it is only text.
    let odd = json!({"method": "POST", "url": upstream.url("/{{secret:key}}"), "headers": []});
    assert_eq!(send(&gw, odd).await["ok"]["status"], 200);
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert!(seen.path.contains("secret:key") && !seen.path.contains("canary"), "{seen:?}");
    let odd = json!({"method": "POST", "url": upstream.url("/x"), "headers": [["{{secret:key}}", "x"]]});
    assert_eq!(send(&gw, odd).await["err"][0], "invalid-argument");
    // Where the gateway compares the value with something, a refusal would tell what the secret is.
    for name in ["content-length", "Host", "connection", "Transfer-Encoding"] {
        let compared = json!({"method": "POST", "url": upstream.url("/x"), "headers": [[name, "{{secret:key}}"]]});
        let said = format!("the header {name} can't have a secret");
        assert_eq!(send(&gw, compared).await["err"], json!(["invalid-argument", said]));
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn headers_are_bounded_before_anything_is_made_of_them() {
    let upstream = Upstream::start().await;
    let gw = gateway(|config| {
        config.secrets = Secrets::new([("long".to_owned(), "l".repeat(10_000).into())].into());
    })
    .await;
    upload(&gw, "hosts", &[("http:read", "**"), ("secret:use", "long@**")]).await;
    let with = |headers: Value| json!({"method": "GET", "url": upstream.url("/x"), "headers": headers});
    let plain = |count: usize| vec![json!(["x", "y"]); count];
    // The server takes a hundred, with those that are the gateway's.
    assert_eq!(send(&gw, with(json!(plain(90)))).await["ok"]["status"], 200);
    assert_eq!(upstream.seen().len(), 1);
    // Of one that is too many, no secret is asked for.
    let many = [plain(100), vec![json!(["x", "{{secret:other}}"])]].concat();
    for headers in [json!(many), json!([["x", "y".repeat(65_536)]]), json!(vec![json!(["x", "{{secret:long}}"]); 7])] {
        let answer = send(&gw, with(headers)).await;
        assert_eq!(answer["err"][0], "limit-exceeded", "{answer}");
    }
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(gw.metric("sluice_permission_denials_total").await, 0);
}

#[tokio::test]
async fn a_header_that_makes_a_write_of_a_get_needs_the_permission_to_write() {
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    let url = upstream.url("/x");
    upload(&gw, "hosts", &[("http:read", &url)]).await;
    let with = |name: &str| json!({"method": "GET", "url": url, "headers": [[name, "DELETE"]]});
    for name in ["x-http-method-override", "X-HTTP-Method", "x_method_override"] {
        let answer = send(&gw, with(name)).await;
        assert_eq!(answer["err"], json!(["permission-denied", format!("http:write {url}")]), "{name}");
    }
    assert_eq!(upstream.seen().len(), 0);
    let both = json!([{"permission": "http:read", "resource": url}, {"permission": "http:write", "resource": url}]);
    Answer::of(gw.request(Method::PUT, "/api/v1/wasm/modules/hosts/permissions").json(&both)).await.expect_status(200);
    assert_eq!(send(&gw, with("x-http-method-override")).await["ok"]["status"], 200);
    assert_eq!(upstream.seen()[0].header("x-http-method-override"), "DELETE");
}

#[tokio::test]
async fn whatever_is_wrong_with_the_other_side_is_said() {
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    upload(&gw, "hosts", &[("http:read", "**")]).await;
    let large = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(50_000));
    for (url, said) in [
        (format!("http://{}/", nobody().await), "the host can't be connected to"),
        ("http://no-such-host.invalid/".to_owned(), "there is no such host"),
        (format!("http://{}/", saying("", Then::Close).await), "the host closed the connection"),
        (format!("http://{}/", saying(SHORT, Then::Close).await), "the answer broke off"),
        (format!("http://{}/", saying(BAD_CHUNK, Then::Close).await), "the answer broke off"),
        (format!("http://{}/", saying(GARBAGE, Then::Close).await), "the answer is not HTTP"),
        (format!("http://{}/", saying(large, Then::Close).await), "the head of the answer is too large"),
        (upstream.url("/").replace("http://", "https://"), "TLS with the host failed"),
    ] {
        assert_eq!(send(&gw, json!({"method": "GET", "url": url})).await["err"], json!(["failed", said]), "{url}");
    }
}

#[tokio::test]
async fn a_step_makes_so_many_calls_and_no_more() {
    let upstream = Upstream::start().await;
    let gw = gateway(|config| config.limits.host_calls = 3).await;
    upload(&gw, "hosts", &[("http:read", "**")]).await;
    let op = json!(["http", {"method": "GET", "url": upstream.url("/x"), "quiet": true}]);
    let told = gw.invoke("hosts", json!({"ops": [op], "repeat": 5})).await.expect_output()["ops"].clone();
    let too_many = json!({"err": ["limit-exceeded", "an execution may make 3 host calls"]});
    assert_eq!(told.as_array().unwrap()[3..], [too_many.clone(), too_many], "{told}");
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn no_proxy_of_the_gateways_environment_is_asked() {
    let (upstream, proxy) = (Upstream::start().await, Upstream::start().await);
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("sluice.toml"), "[egress]\nallow_private = [\"127.0.0.0/8\"]").unwrap();
    let process = crate::support::Process::start_changed(&folder, |command| {
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, proxy.url(""));
        }
        command.env_remove("NO_PROXY").env_remove("no_proxy");
    })
    .await;
    upload(&process.gateway, "hosts", &[("http:read", "**")]).await;
    let answer = send(&process.gateway, json!({"method": "GET", "url": upstream.url("/x")})).await;
    assert_eq!(answer["ok"]["status"], 200, "{answer}");
    process.stop().await;
    assert_eq!((upstream.seen().len(), proxy.connections()), (1, 0));
}

#[tokio::test]
async fn another_attempt_is_known_by_a_key_that_is_the_hosts_unless_the_step_has_one() {
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    upload(&gw, "hosts", &[("http:read", "**"), ("http:write", "**")]).await;
    let op = |method: &str, headers: Value| json!(["http", {"method": method, "url": upstream.url("/x"), "headers": headers}]);
    let ops = [
        op("POST", json!([])),
        op("GET", json!([])),
        op("DELETE", json!([])),
        op("PATCH", json!([["Idempotency-Key", "own"]])),
    ];
    let answer = gw.invoke("hosts", json!({ "ops": ops })).await.expect_status(200).json();
    let id = answer["execution_id"].as_str().unwrap();
    let keys: Vec<_> = upstream.seen().iter().map(|seen| seen.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, [&*format!("\"{id}\""), "", &format!("\"{id}-2\""), "own"]);
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_here_is_passed_on_as_it_came() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let upstream = Upstream::start().await;
    let gw = gateway(|_| {}).await;
    upload(&gw, "hosts", &[("http:read", "**")]).await;
    let invoke = async |flags: &str, url: String| {
        let request = gw.request(Method::POST, "/api/v1/wasm/modules/hosts/invoke");
        let request = request.header("traceparent", format!("{PARENT}-{flags}")).header("tracestate", "a=1");
        let body = json!({"input": {"http": {"method": "GET", "url": url}}});
        Answer::of(request.json(&body)).await.expect_output()
    };
    // Nobody listens here, so nothing is traced: it is passed on.
    invoke("00", upstream.url("/x")).await;
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (&*format!("{PARENT}-00"), "a=1"));
}

#[tokio::test]
async fn a_traced_call_tells_the_server_its_own_span() {
    let upstream = Upstream::start().await;
    let mut receiver = OtlpReceiver::start().await;
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let configuration = format!(
        "[telemetry]\notlp_endpoint = \"{}\"\nsample_ratio = 1\n[egress]\nallow_private = [\"127.0.0.0/8\"]",
        receiver.endpoint()
    );
    let process = crate::support::Process::start_with(&folder, &configuration).await;
    upload(&process.gateway, "hosts", &[("http:read", "**")]).await;
    send(&process.gateway, json!({"method": "GET", "url": upstream.url("/x")})).await;
    process.stop().await;
    let spans = receiver.next(1).await.into_iter().chain(receiver.rest()).collect::<Vec<_>>();
    let call = spans.iter().find(|received| received.span.name == "http.send").expect("the call's span");
    let expected = format!("00-{}-{}-01", hex::encode(&call.span.trace_id), hex::encode(&call.span.span_id));
    assert_eq!(upstream.seen()[0].header("traceparent"), expected);
}

#[tokio::test]
async fn time_and_size_are_bounded_and_a_call_ends_with_its_execution() {
    let mut upstream = Upstream::start().await;
    let gw = gateway(|config| {
        config.egress.response_bytes = 1_000;
        config.egress.request_bytes = 2_000;
    })
    .await;
    upload(&gw, "hosts", &[("http:read", "**"), ("http:write", "**")]).await;
    let answer = send(&gw, json!({"method": "GET", "url": upstream.url("/hang"), "timeout_ms": 50})).await;
    assert_eq!(answer["err"][0], "timed-out");
    upstream.until_hung_up().await;
    assert_eq!(send(&gw, json!({"method": "GET", "url": upstream.url("/big/1000")})).await["ok"]["status"], 200);
    // What is a byte over, and what is not taken to its end.
    for path in ["/big/1001", "/big/50000000"] {
        let large = send(&gw, json!({"method": "GET", "url": upstream.url(path)})).await;
        assert_eq!(large["err"][0], "limit-exceeded", "{large}");
    }
    let long = send(&gw, json!({"method": "POST", "url": upstream.url("/x"), "body": 2_001})).await;
    assert_eq!(long["err"][0], "limit-exceeded", "{long}");
    // The execution's time is over first: the server sees the connection go.
    let body =
        json!({"input": {"http": {"method": "GET", "url": upstream.url("/hang")}}, "limits": {"timeout_ms": 100}});
    gw.invoke_with("hosts", "run", body).await.expect_guest_problem(504, "timed-out");
    upstream.until_hung_up().await;
    // The caller leaves.
    let body = json!({"input": {"http": {"method": "GET", "url": upstream.url("/hang")}}});
    let request = gw.request(Method::POST, "/api/v1/wasm/modules/hosts/invoke").json(&body);
    let left = tokio::time::timeout(std::time::Duration::from_millis(300), request.send()).await;
    assert!(left.is_err());
    upstream.until_hung_up().await;
}

#[tokio::test]
async fn what_is_malformed_is_said_to_be_and_nothing_is_sent() {
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    upload(&gw, "hosts", &[("http:read", "**"), ("http:write", "**")]).await;
    let url = upstream.url("/x");
    for request in [
        json!({"method": "GET", "url": "ftp://127.0.0.1/"}),
        json!({"method": "GET", "url": "http://[fe80::1%25eth0]/"}),
        json!({"method": "G ET", "url": url}),
        json!({"method": "CONNECT", "url": url}),
        json!({"method": "GET", "url": url, "headers": [["x", "a\r\nhost: evil"]]}),
        json!({"method": "GET", "url": url, "headers": [["a b", "c"]]}),
        json!({"method": "GET", "url": url, "headers": [["host", "evil.example"]]}),
        json!({"method": "GET", "url": url, "headers": [["transfer-encoding", "chunked"]]}),
        // Behind some servers it is another path.
        json!({"method": "GET", "url": url, "headers": [["X-Original-URL", "/admin"]]}),
        json!({"method": "POST", "url": url, "headers": [["x_rewrite_url", "/admin"]]}),
        json!({"method": "POST", "url": url, "body": "abc", "headers": [["content-length", "1"]]}),
    ] {
        let answer = send(&gw, request.clone()).await;
        assert_eq!(answer["err"][0], "invalid-argument", "{request}: {answer}");
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn thousands_of_requests_use_no_more_connections_than_a_host_has_turns() {
    const AT_ONCE: usize = 50;
    let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
    upload(&gw, "hosts", &[("http:read", "**")]).await;
    let op = json!(["http", {"method": "GET", "url": upstream.url("/x"), "quiet": true}]);
    let calls = (0..AT_ONCE).map(|_| gw.invoke("hosts", json!({"ops": [op], "repeat": 100})));
    for answer in futures_util::future::join_all(calls).await {
        let output = answer.expect_output();
        assert!(output["ops"].as_array().unwrap().iter().all(|one| one["ok"]["status"] == 200), "{output}");
    }
    assert_eq!(upstream.seen().len(), AT_ONCE * 100);
    let turns = Config::in_folder(std::path::PathBuf::new()).egress.connections_per_host;
    assert!(upstream.connections() <= turns, "{} connections", upstream.connections());
}

#[test]
fn p17_http_request() {
    let start = async {
        let (upstream, gw) = (Upstream::start().await, gateway(|_| {}).await);
        upload(&gw, "hosts", &[("http:read", &upstream.url("/r/**")), ("http:write", &upstream.url("/w/**"))]).await;
        (upstream, gw)
    };
    let method = prop::sample::select(vec!["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE"]);
    let headers = prop::collection::btree_map("x-[a-z]{1,8}", "[!-~]([ -~]{0,20}[!-~])?", 0..4);
    let request = (method, "/[rw]/[a-z0-9]{0,8}", headers, "[ -~]{0,200}");
    property::check(
        48,
        request,
        start,
        async |(upstream, gw): &(Upstream, TestGateway), (method, path, headers, body)| {
            let headers: BTreeMap<String, String> = headers;
            let list: Vec<_> = headers.iter().collect();
            let answer =
                send(gw, json!({"method": method, "url": upstream.url(&path), "headers": list, "body": body})).await;
            let is_read = ["GET", "HEAD", "OPTIONS"].contains(&method);
            let seen = upstream.seen();
            if is_read != path.starts_with("/r/") {
                let needed = if is_read { "http:read" } else { "http:write" };
                assert_eq!(answer["err"], json!(["permission-denied", format!("{needed} {}", upstream.url(&path))]));
                assert!(seen.is_empty());
                return;
            }
            assert_eq!(answer["ok"]["status"], 200, "{answer}");
            assert_eq!(answer["ok"]["body"], if method == "HEAD" { "" } else { &body });
            assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), (method, path.as_str()));
            assert_eq!(seen[0].body, body);
            for (name, value) in &headers {
                assert_eq!(seen[0].header(name), value);
            }
        },
    );
}
