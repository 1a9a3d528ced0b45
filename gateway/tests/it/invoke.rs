//! The request and the answer of an invocation.

use proptest::prelude::*;
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, TestGateway, component, property};

const ECHO: &str = "/api/v1/wasm/modules/echo/invoke";

async fn echo() -> TestGateway {
    TestGateway::start().await.module("echo").await
}

/// Nothing ran, so nothing is on record.
async fn expect_no_records(gw: &TestGateway) {
    // Recorded is in order: what comes after would be found after it.
    let id = gw.invoke("echo", json!("last")).await.expect_status(200).json()["execution_id"].clone();
    gw.ended_execution(id.as_str().unwrap()).await;
    let all = gw.get("/api/v1/wasm/executions").await.json();
    assert_eq!(all["total"], 1, "{all}");
}

fn paths(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["path"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_answer_has_exactly_the_members_of_the_contract() {
    let gw = echo().await;
    let answer = gw.invoke_with("echo", "run", json!({"input": {"a": 1}, "data": {"b": 2}})).await.expect_status(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.header("x-request-id").is_empty());
    let mut answer = answer.json();
    let metrics = answer["metrics"].take();
    let id = answer["execution_id"].take();
    assert_eq!(
        answer,
        json!({"execution_id": null, "status": "completed", "output": {"a": 1}, "next": null, "data": {"b": 2}, "metrics": null})
    );
    assert_eq!(uuid::Uuid::parse_str(id.as_str().unwrap()).unwrap().get_version_num(), 7);
    let names: Vec<_> = metrics.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["duration_us", "fuel", "instance", "memory_bytes"]);
    assert_eq!(metrics["instance"], "fresh");
    for name in ["duration_us", "fuel", "memory_bytes"] {
        assert!(metrics[name].as_u64().unwrap() > 0, "{name}: {metrics}");
    }
}

#[tokio::test]
async fn an_empty_body_asks_for_run_with_null() {
    let gw = echo().await;
    for body in ["", "{}", r#"{"data": null, "env": null, "limits": null}"#] {
        let answer = Answer::of(gw.request(Method::POST, ECHO).body(body)).await.expect_status(200).json();
        assert_eq!((&answer["output"], &answer["data"]), (&json!(null), &json!({})));
    }
}

#[tokio::test]
async fn functions_are_called_by_their_name() {
    let gw = echo().await;
    assert_eq!(gw.invoke_with("echo", "shout", json!({"input": "abc"})).await.expect_output(), "ABC");
    assert_eq!(gw.invoke_with("echo", "twice", json!({"input": 1})).await.expect_output(), json!([1, 1]));
    assert_eq!(gw.invoke_with("echo", "nothing", json!({"input": 1})).await.expect_output(), json!(null));
    for (next, told) in [(json!(null), json!(null)), (json!([]), json!([])), (json!(["a", "b"]), json!(["a", "b"]))] {
        let answer = gw.invoke_with("echo", "route", json!({"input": {"next": next}})).await.expect_status(200).json();
        assert_eq!(answer["next"], told);
    }
}

#[tokio::test]
async fn what_is_no_step_function_is_not_found() {
    let gw = echo().await;
    // `helper` is exported, with another type.
    for function in ["helper", "Run", "no-such", "sluice:step/log@0.1.0", "%72un"] {
        gw.invoke_with("echo", function, json!({})).await.expect_refusal(404, "no-such-function");
    }
    for query in ["function=", "function=run&function=run", "function=run&other=1", "fun=run"] {
        let answer = Answer::of(gw.request(Method::POST, &format!("{ECHO}?{query}")).json(&json!({}))).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    expect_no_records(&gw).await;
}

#[tokio::test]
async fn modules_are_referred_to_by_name_version_range_and_id() {
    let gw = TestGateway::start().await;
    let mut ids = Vec::new();
    for version in ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1"] {
        let uploaded = gw.upload("rules", version, component::constant(&json!(version).to_string())).await;
        ids.push(uploaded.expect_status(201).json()["id"].as_str().unwrap().to_owned());
    }
    for (reference, version) in [
        ("rules", "1.10.0"),
        ("rules@1.0.0", "1.0.0"),
        ("rules%401.2.0", "1.2.0"),
        ("rules@%5E1", "1.10.0"),
        ("rules%40%5E1.2", "1.10.0"),
        ("rules@~1.2", "1.2.0"),
        ("rules@2.0.0-rc.1", "2.0.0-rc.1"),
        (&ids[1], "1.2.0"),
    ] {
        assert_eq!(gw.invoke(reference, json!(null)).await.expect_output(), version, "{reference}");
    }
    for reference in ["rule", "rules@3.0.0", "rules@%5E2", "rules@", "Rules", "rules@one", "%ff", &ids[1][1..]] {
        gw.invoke(reference, json!(null)).await.expect_refusal(404, "not-found");
    }
    gw.upload("rules", "2.0.0", component::constant("\"2.0.0\"")).await.expect_status(201);
    assert_eq!(gw.invoke("rules", json!(null)).await.expect_output(), "2.0.0");
    assert_eq!(gw.invoke("rules@%5E1", json!(null)).await.expect_output(), "1.10.0");
}

#[tokio::test]
async fn limits_may_only_lower() {
    let gw = echo().await;
    for (field, ceiling) in [("fuel", 1_000_000_000_u64), ("memory_bytes", 64 << 20), ("timeout_ms", 30_000)] {
        gw.invoke_with("echo", "run", json!({"limits": {field: ceiling}})).await.expect_status(200);
        for wrong in [json!(ceiling + 1), json!(0), json!(-1), json!(1.5), json!("1"), json!(u64::MAX)] {
            let answer = gw.invoke_with("echo", "run", json!({"limits": {field: wrong}})).await;
            let problem = answer.expect_refusal(400, "bad-request");
            assert_eq!(paths(&problem), [format!("/limits/{field}")], "{problem}");
        }
    }
}

#[tokio::test]
async fn without_metering_fuel_is_null_and_can_not_be_limited() {
    let gw = TestGateway::start_with(|config| config.limits.fuel = None).await.module("echo").await;
    let answer = gw.invoke("echo", json!(1)).await.expect_status(200).json();
    assert_eq!(answer["metrics"]["fuel"], json!(null));
    assert_eq!(gw.ended_execution(answer["execution_id"].as_str().unwrap()).await["fuel"], json!(null));
    let problem = gw.invoke_with("echo", "run", json!({"limits": {"fuel": 1}})).await;
    assert_eq!(paths(&problem.expect_refusal(400, "bad-request")), ["/limits/fuel"]);
}

#[tokio::test]
async fn fields_that_are_not_known_are_refused_by_name() {
    let gw = echo().await;
    for (body, path) in [
        (json!({"inputs": 1}), "/inputs"),
        (json!({"limits": {"memory": 1}}), "/limits/memory"),
        (json!({"input": 1, "": 2}), "/"),
    ] {
        let problem = gw.invoke_with("echo", "run", body).await.expect_refusal(400, "unknown-field");
        assert_eq!(paths(&problem), [path]);
    }
    expect_no_records(&gw).await;
}

#[tokio::test]
async fn every_mistake_of_a_body_is_told() {
    let gw = echo().await;
    let body = json!({"data": [], "env": {"A": 1, "B=": "b", "": "c", "N": "a\u{0}b"}, "limits": 7});
    let problem = gw.invoke_with("echo", "run", body).await.expect_refusal(400, "bad-request");
    let mut found = paths(&problem);
    found.sort_unstable();
    assert_eq!(found, ["/data", "/env/", "/env/A", "/env/B=", "/env/N", "/limits"]);
    let many: serde_json::Map<_, _> = (0..201).map(|number| (format!("V{number}"), json!(""))).collect();
    for env in [json!(many), json!({"A": "x".repeat(65_536)}), json!([]), json!("A=1")] {
        let problem = gw.invoke_with("echo", "run", json!({ "env": env })).await.expect_refusal(400, "bad-request");
        assert_eq!(paths(&problem), ["/env"]);
    }
    expect_no_records(&gw).await;
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_malformed() {
    let gw = echo().await;
    for body in [
        "[]",
        "1",
        "null",
        "{",
        "{\"input\": }",
        "{\"input\": 1e400}",
        "{\"input\": \"\\ud800\"}",
        "{} {}",
        "\u{feff}{}",
    ] {
        let answer = Answer::of(gw.request(Method::POST, ECHO).body(body)).await;
        answer.expect_refusal(400, "bad-request");
    }
    let answer = Answer::of(gw.request(Method::POST, ECHO).body(vec![b'{', 0xff, b'}'])).await;
    answer.expect_refusal(400, "bad-request");
    expect_no_records(&gw).await;
}

#[tokio::test]
async fn json_may_be_deep_but_not_without_end() {
    let gw = echo().await;
    let nested = |depth: usize| format!("{{\"input\": {}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let answer = Answer::of(gw.request(Method::POST, ECHO).body(nested(120))).await;
    assert_eq!(answer.expect_status(200).raw("output").len(), 241);
    for depth in [128, 1_000, 1_000_000] {
        let answer = Answer::of(gw.request(Method::POST, ECHO).body(nested(depth))).await;
        assert_eq!(paths(&answer.expect_refusal(400, "bad-request")), ["/input"]);
    }
}

#[tokio::test]
async fn content_types_that_are_not_json_are_refused() {
    let gw = echo().await;
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"] {
        let request = gw.request(Method::POST, ECHO).header(header::CONTENT_TYPE, wrong).body("{}");
        Answer::of(request).await.expect_refusal(415, "unsupported-media-type");
    }
    for right in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
        let request = gw.request(Method::POST, ECHO).header(header::CONTENT_TYPE, right).body("{}");
        Answer::of(request).await.expect_status(200);
    }
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_told() {
    let gw = echo().await;
    let wrong_secret = format!("Bearer {}{}", &gw.key()[..20], "A".repeat(gw.key().len() - 20));
    let admin = format!("Bearer {}", gw.key());
    let basic = admin.replace("Bearer", "Basic");
    for path in [ECHO, "/api/v1/wasm/modules/no-such-module/invoke"] {
        for authorization in ["", "Bearer", "Bearer ", "Bearer sk_x", &wrong_secret, &basic, &admin[..admin.len() - 1]]
        {
            let mut request = gw.anonymous(Method::POST, path).body("{}");
            if !authorization.is_empty() {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let answer = Answer::of(request).await;
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            answer.expect_refusal(401, "unauthenticated");
        }
    }
    expect_no_records(&gw).await;
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let gw = echo().await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = Answer::of(gw.request(method, ECHO)).await;
        assert_eq!(answer.header("allow"), "POST");
        answer.expect_refusal(405, "method-not-allowed");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_too_large() {
    let gw = TestGateway::start_with(|config| config.server.body_bytes = 10_000).await.module("echo").await;
    let body = format!("{{\"input\": \"{}\"}}", "x".repeat(9_000));
    Answer::of(gw.request(Method::POST, ECHO).body(body)).await.expect_status(200);
    let body = format!("{{\"input\": \"{}\"}}", "x".repeat(10_000));
    Answer::of(gw.request(Method::POST, ECHO).body(body)).await.expect_refusal(413, "too-large");
    expect_no_records_besides(&gw, 1).await;
}

async fn expect_no_records_besides(gw: &TestGateway, known: u64) {
    let total = |answer: &Answer| answer.json()["total"].as_u64().unwrap();
    let answer = gw.eventually("/api/v1/wasm/executions", |answer| total(answer) >= known).await;
    assert_eq!(total(&answer), known);
}

#[tokio::test]
async fn a_body_that_says_it_is_huge_is_refused_before_it_is_sent() {
    let gw = echo().await;
    for length in ["content-length: 1000000000000", "transfer-encoding: chunked"] {
        let mut stream = tokio::net::TcpStream::connect(gw.address()).await.unwrap();
        let head = format!("POST {ECHO} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{length}\r\n\r\n", gw.key());
        stream.write_all(head.as_bytes()).await.unwrap();
        if length.starts_with("transfer") {
            let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
            for _ in 0..11 {
                // It may have answered and closed already.
                if stream.write_all(chunk.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413", "{length}");
    }
}

#[tokio::test]
async fn an_execution_that_is_not_waited_for_is_readable_at_once_and_completes() {
    let gw = TestGateway::start().await.module("spin").await;
    let path = "/api/v1/wasm/modules/spin/invoke?function=sleep";
    for preference in ["respond-async", "wait=5, Respond-Async"] {
        let request = gw.request(Method::POST, path).header("prefer", preference).json(&json!({"input": {"ms": 400}}));
        let answer = Answer::of(request).await.expect_status(202);
        let id = answer.json()["execution_id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), format!("/api/v1/wasm/executions/{id}"));
        let record = gw.get(answer.header("location")).await.expect_status(200).json();
        assert_eq!((&record["status"], &record["duration_us"]), (&json!("running"), &json!(null)));
        let record = gw.ended_execution(&id).await;
        assert_eq!((&record["status"], &record["error"]), (&json!("completed"), &json!(null)));
        assert!(record["duration_us"].as_u64().unwrap() >= 390_000, "{record}");
    }
}

#[tokio::test]
async fn an_execution_that_is_not_waited_for_may_fail_and_is_checked_before() {
    let gw = TestGateway::start().await.module("trap").await;
    let post = |function: &str| {
        let path = format!("/api/v1/wasm/modules/trap/invoke?function={function}");
        gw.request(Method::POST, &path).header("prefer", "respond-async")
    };
    let answer = Answer::of(post("unreachable").json(&json!({}))).await.expect_status(202);
    let record = gw.ended_execution(answer.json()["execution_id"].as_str().unwrap()).await;
    assert_eq!((&record["status"], &record["error"]["code"]), (&json!("failed"), &json!("trap")));
    Answer::of(post("no-such").json(&json!({}))).await.expect_refusal(404, "no-such-function");
    Answer::of(post("unreachable").json(&json!({"x": 1}))).await.expect_refusal(400, "unknown-field");
}

#[test]
fn data_that_no_step_touched_comes_back_as_it_was_given() {
    property::check(24, property::any_object(".{0,6}"), echo(), async |gw, data| {
        let text = serde_json::to_string_pretty(&data).unwrap();
        let request = gw.request(Method::POST, ECHO).body(format!("{{\"data\": {text}}}"));
        assert_eq!(Answer::of(request).await.expect_status(200).raw("data"), text);
    });
}

#[test]
fn no_body_whatever_makes_the_gateway_fail() {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "\\{\"(input|data|env|limits)\": [\\[\\]{}\",:0-9a-z]{0,20}\\}".prop_map(String::into_bytes),
    ];
    property::check(48, bytes, echo(), async |gw, body| {
        let status = Answer::of(gw.request(Method::POST, ECHO).body(body)).await.status;
        assert!([200, 400].contains(&status.as_u16()), "{status}");
    });
}
