//! What may be changed of a version after its upload: its permissions and its limits.

use std::time::Duration;

use proptest::prelude::*;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Answer, TestGateway, component};

const MODULES: &str = "/api/v1/wasm/modules";

async fn put(gw: &TestGateway, path: &str, body: Value) -> Answer {
    Answer::of(gw.request(Method::PUT, &format!("{MODULES}/{path}")).json(&body)).await
}

#[tokio::test]
async fn permissions_are_replaced_whole_and_survive_a_restart() {
    let gw = TestGateway::start().await.module("echo").await;
    let first = json!([
        {"permission": "http:write", "resource": "https://api.example.com/*"},
        {"permission": "secret:use", "resource": "stripe-key@api.stripe.com"},
    ]);
    let second = json!([{"permission": "database:read", "resource": "orders"}]);
    for list in [first, json!([]), second.clone()] {
        assert_eq!(put(&gw, "echo/permissions", list.clone()).await.expect_status(200).json(), list);
        assert_eq!(gw.get(&format!("{MODULES}/echo")).await.json()["permissions"], list);
        assert_eq!(gw.get(MODULES).await.json()["items"][0]["permissions"], list);
    }
    let gw = gw.restart().await;
    assert_eq!(gw.get(&format!("{MODULES}/echo")).await.json()["permissions"], second);
}

#[tokio::test]
async fn an_upload_takes_as_many_permissions_as_a_change() {
    let gw = TestGateway::start().await;
    // As many as there may be: 320 KiB, far over what other parts of text have.
    let resource = format!("https://api.example.com/{}", "é".repeat(800));
    let list = json!(vec![json!({"permission": "http:read", "resource": resource}); 200]);
    let form = Form::new()
        .part("module", Part::bytes(component::echo("a")).file_name("module.wasm"))
        .text("name", "echo")
        .text("version", "1.0.0")
        .text("permissions", list.to_string());
    assert_eq!(gw.upload_form(form).await.expect_status(201).json()["permissions"], list);
    assert_eq!(put(&gw, "echo/permissions", list.clone()).await.expect_status(200).json(), list);
}

#[tokio::test]
async fn one_bad_glob_refuses_the_whole_list_by_its_path() {
    let gw = TestGateway::start().await.module("echo").await;
    let good = json!([{"permission": "http:read", "resource": "*"}]);
    put(&gw, "echo/permissions", good.clone()).await.expect_status(200);
    for (list, code, path) in [
        (json!([{"permission": "http:read", "resource": "[a"}]), "bad-request", "/0/resource"),
        (json!([good[0], {"permission": "http:read", "resource": ""}]), "bad-request", "/1/resource"),
        (
            json!([good[0], {"permission": "http:read", "resource": "https://bücher.example/*"}]),
            "bad-request",
            "/1/resource",
        ),
        (json!([good[0], {"permission": "http:all", "resource": "*"}]), "bad-request", "/1/permission"),
        (json!([{"permission": "http:read"}]), "bad-request", "/0/resource"),
        (json!([{"permission": "http:read", "resource": "*", "a/b": 1}]), "unknown-field", "/0/a~1b"),
        (json!({"permissions": []}), "bad-request", ""),
        (json!(vec![good[0].clone(); 201]), "bad-request", ""),
        (
            json!(vec![
                json!({"permission": "http:read", "resource": format!("https://a.example/{}", "?".repeat(2030))});
                200
            ]),
            "bad-request",
            "",
        ),
    ] {
        let problem = put(&gw, "echo/permissions", list).await.expect_refusal(400, code);
        assert_eq!(problem["errors"][0]["path"], path, "{problem}");
        assert_eq!(gw.get(&format!("{MODULES}/echo")).await.json()["permissions"], good);
    }
}

#[tokio::test]
async fn limits_are_replaced_and_the_next_call_has_them() {
    let gw = TestGateway::start().await.module("spin").await;
    let asked = json!({"fuel": 1_000_000, "timeout_ms": 5000.0});
    let stored = json!({"fuel": 1_000_000, "memory_bytes": null, "timeout_ms": 5000});
    assert_eq!(put(&gw, "spin/limits", asked).await.expect_status(200).json(), stored);
    assert_eq!(gw.get(&format!("{MODULES}/spin")).await.json()["limits"], stored);
    let problem = gw.invoke("spin", json!(null)).await.expect_guest_problem(502, "fuel-exhausted");
    assert_eq!(problem["limit"], 1_000_000);
    let above = json!({"limits": {"fuel": 1_000_001}});
    let problem = gw.invoke_with("spin", "run", above).await.expect_refusal(400, "bad-request");
    assert_eq!(problem["errors"][0]["path"], "/limits/fuel");

    let none = json!({"fuel": null, "memory_bytes": null, "timeout_ms": null});
    assert_eq!(put(&gw, "spin/limits", json!({})).await.expect_status(200).json(), none);
    for (limits, path) in [
        (json!({"fuel": 0}), "/fuel"),
        (json!({"timeout_ms": u64::MAX}), "/timeout_ms"),
        (json!({"memory_bytes": "1"}), "/memory_bytes"),
        (json!([]), ""),
    ] {
        let problem = put(&gw, "spin/limits", limits).await.expect_refusal(400, "bad-request");
        assert_eq!(problem["errors"][0]["path"], path, "{problem}");
    }
    put(&gw, "spin/limits", json!({"instances": 1})).await.expect_refusal(400, "unknown-field");
}

#[tokio::test]
async fn a_call_that_runs_keeps_the_limits_that_it_started_with() {
    let gw = TestGateway::start().await.module("spin").await;
    let (answer, ()) = tokio::join!(gw.invoke_with("spin", "sleep", json!({"input": {"ms": 1500}})), async {
        let running = |answer: &Answer| answer.json()["total"] == 1;
        gw.eventually("/api/v1/wasm/executions?status=running", running).await;
        put(&gw, "spin/limits", json!({"timeout_ms": 1})).await.expect_status(200);
    });
    answer.expect_status(200);
    gw.invoke_with("spin", "sleep", json!({"input": {"ms": 1500}})).await.expect_guest_problem(504, "timed-out");
}

#[tokio::test]
async fn a_warning_about_a_permission_that_is_missing_goes_with_the_permission() {
    let gw = TestGateway::start().await.module("hosts").await;
    let warned = async |what: &str| {
        let module = gw.get(&format!("{MODULES}/hosts")).await.json();
        module["warnings"].as_array().unwrap().iter().filter(|text| text.as_str().unwrap().contains(what)).count()
    };
    let (http, database) = (warned("http:read").await, warned("database:read").await);
    assert!(http > 0 && database > 0);
    let list = json!([{"permission": "http:read", "resource": "https://api.example.com/*"}]);
    put(&gw, "hosts/permissions", list).await.expect_status(200);
    assert_eq!((warned("http:read").await, warned("database:read").await), (0, database));
    put(&gw, "hosts/permissions", json!([])).await.expect_status(200);
    assert_eq!((warned("http:read").await, warned("database:read").await), (http, database));
}

#[tokio::test]
async fn a_change_has_its_own_bounds_and_asks_for_an_admin() {
    let gw = TestGateway::start().await.module("echo").await;
    for (resource, bytes_max) in [("permissions", 1024 * 1024), ("limits", 4 * 1024)] {
        let path = format!("{MODULES}/echo/{resource}");
        let long = gw.request(Method::PUT, &path).body(" ".repeat(bytes_max + 1));
        let problem = Answer::of(long).await.expect_refusal(413, "too-large");
        assert_eq!(problem["limit"], bytes_max);
        let text = gw.request(Method::PUT, &path).header("content-type", "text/plain").body("[]");
        Answer::of(text).await.expect_refusal(415, "unsupported-media-type");
        let broken = gw.request(Method::PUT, &path).body("[");
        Answer::of(broken).await.expect_refusal(400, "bad-request");
        let unknown = gw.request(Method::PUT, &format!("{path}?dry=1")).body("[]");
        Answer::of(unknown).await.expect_refusal(400, "unknown-field");
        let anonymous = gw.anonymous(Method::PUT, &path).body("[]");
        Answer::of(anonymous).await.expect_refusal(401, "unauthenticated");
    }
    put(&gw, "other/permissions", json!([])).await.expect_refusal(404, "not-found");
    put(&gw, "echo@2.0.0/limits", json!({})).await.expect_refusal(404, "not-found");
}

#[tokio::test]
async fn changes_made_at_once_are_all_whole() {
    let gw = TestGateway::start().await;
    gw.upload("echo", "1.0.0", component::echo("a")).await.expect_status(201);
    let changes = (1..=8_u64).map(|number| {
        let gw = &gw;
        async move {
            let list = json!([{"permission": "http:read", "resource": format!("https://{number}.example.com/")}]);
            put(gw, "echo/permissions", list).await.expect_status(200);
            put(gw, "echo/limits", json!({"timeout_ms": number})).await.expect_status(200);
        }
    });
    let all = futures_util::future::join_all(changes);
    tokio::time::timeout(Duration::from_mins(1), all).await.unwrap();
    let module = gw.get(&format!("{MODULES}/echo")).await.json();
    assert_eq!(module["permissions"].as_array().unwrap().len(), 1);
    assert!((1..=8).contains(&module["limits"]["timeout_ms"].as_u64().unwrap()));
    let listed = gw.get(MODULES).await.json();
    assert_eq!(listed["items"][0], module, "the rows and the snapshot");
}

fn permissions() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let kinds = vec!["http:read", "http:write", "database:read", "database:write", "secret:use"];
    let permission = (prop::sample::select(kinds), "[a-z*/:.-]{1,30}").prop_map(|(kind, text)| {
        let resource = if kind.starts_with("http:") { format!("https://a.example/{text}") } else { text };
        (kind, resource)
    });
    prop::collection::vec(permission, 0..6)
}

/// P26: what is put is what is there, also for the next gateway on the same data.
#[test]
fn p26_permission_update_persistence() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let gw = runtime.block_on(async {
        let gw = TestGateway::start().await;
        let form = Form::new().part("module", Part::bytes(component::echo("p26")));
        gw.upload_form(form.text("name", "echo").text("version", "1.0.0")).await.expect_status(201);
        gw
    });
    let kept = std::cell::RefCell::new(json!([]));
    proptest!(ProptestConfig::with_cases(32), |(permissions in permissions())| {
        let list: Value = permissions
            .iter()
            .map(|(permission, resource)| json!({"permission": permission, "resource": resource}))
            .collect();
        runtime.block_on(async {
            assert_eq!(put(&gw, "echo/permissions", list.clone()).await.expect_status(200).json(), list);
            assert_eq!(gw.get(&format!("{MODULES}/echo")).await.json()["permissions"], list);
        });
        kept.replace(list);
    });
    runtime.block_on(async {
        let gw = gw.restart().await;
        assert_eq!(gw.get(&format!("{MODULES}/echo")).await.json()["permissions"], *kept.borrow());
    });
}
