//! What modules tried and may not: recorded, listed, and gone with the module.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::keys::make;
use crate::support::{Answer, TestGateway, guest};

const DENIALS: &str = "/api/v1/wasm/modules/hosts/denials";

/// Has a step ask for this, which is denied.
pub async fn denied(gw: &TestGateway, input: Value) {
    let output = gw.invoke("hosts", input).await.expect_output();
    assert!(output.to_string().contains("permission-denied"), "{output}");
}

pub fn request(method: &str, url: &str) -> Value {
    json!({"http": {"method": method, "url": url}})
}

/// The list once it has so many items.
pub async fn listed(gw: &TestGateway, total: u64) -> Vec<Value> {
    let page = gw.eventually(DENIALS, |answer| answer.json()["total"] == total).await.json();
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_was_denied_is_listed_with_how_often_and_stays_over_a_restart() {
    let gw = TestGateway::start().await.module("hosts").await;
    assert_eq!(gw.get(DENIALS).await.expect_status(200).json()["total"], 0);
    for _ in 0..3 {
        denied(&gw, request("GET", "https://api.example.com/orders/1?key=hidden")).await;
    }
    denied(&gw, request("DELETE", "https://api.example.com/orders/1")).await;
    denied(&gw, json!({"db": ["orders", "select 1", []]})).await;
    gw.eventually(DENIALS, |answer| answer.json()["total"] == 4 && answer.json()["items"][3]["count"] == 3).await;
    let items = listed(&gw, 4).await;
    let column = |name: &str| items.iter().map(|item| item[name].clone()).collect::<Vec<_>>();
    // Both of the last one were denied to one execution.
    assert_eq!(column("permission"), ["database:write", "database:read", "http:write", "http:read"]);
    let url = "https://api.example.com/orders/1";
    assert_eq!(column("resource"), ["orders", "orders", url, url]);
    assert_eq!(column("count"), [1, 1, 1, 3]);
    assert_eq!(items[0]["execution_id"], items[1]["execution_id"]);
    assert!(items[3]["first_at"].as_str() < items[3]["last_at"].as_str(), "{}", items[3]);
    let execution = gw.ended_execution(items[3]["execution_id"].as_str().unwrap()).await;
    assert_eq!((&execution["module"], &execution["started_at"]), (&json!("hosts"), &items[3]["last_at"]));

    let second = gw.get(&format!("{DENIALS}?page=2&limit=3")).await.expect_status(200).json();
    assert_eq!(second, json!({"items": items[3..], "page": 2, "limit": 3, "total": 4}));
    let gw = gw.restart().await;
    assert_eq!(listed(&gw, 4).await, items);
}

#[tokio::test]
async fn one_execution_tells_a_denial_once() {
    let gw = TestGateway::start().await.module("hosts").await;
    let ops =
        [json!(["query", "orders", "select 1", []]), json!(["http", {"method": "GET", "url": "https://a.example/"}])];
    let answer = gw.invoke("hosts", json!({"ops": ops, "repeat": 5})).await.expect_status(200).json();
    let told = answer["output"]["ops"].as_array().unwrap();
    assert_eq!(told.iter().filter(|one| one["err"][0] == "permission-denied").count(), 10, "{answer}");
    assert!(listed(&gw, 2).await.iter().all(|item| item["count"] == 1));
    assert_eq!(gw.lines(answer["execution_id"].as_str().unwrap()).await.len(), 2);
    // Each is counted.
    assert_eq!(gw.metric("sluice_permission_denials_total").await, 10);
}

#[tokio::test]
async fn a_denial_is_told_once_over_whichever_interfaces_it_was_asked() {
    const DENIALS: &str = "/api/v1/wasm/modules/wasi-http/denials";
    let gw = TestGateway::start().await.module("wasi-http").await;
    let input = json!({"authority": "127.0.0.1:9", "path": "/x", "method": "GET", "repeat": 2, "both": true});
    // What no permission covers, and then what the operator has closed.
    for (number, permissions) in [(1, json!([])), (2, json!([{"permission": "http:read", "resource": "**"}]))] {
        let put = gw.request(Method::PUT, "/api/v1/wasm/modules/wasi-http/permissions").json(&permissions);
        Answer::of(put).await.expect_status(200);
        let answer = gw.invoke("wasi-http", input.clone()).await.expect_status(200).json();
        let told = answer["output"].as_array().unwrap();
        assert!(told.len() == 3 && told.iter().all(|one| one["err"].is_string()), "{answer}");
        let lines = gw.lines(answer["execution_id"].as_str().unwrap()).await;
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        assert_eq!(line["message"], "permission denied: http:read http://127.0.0.1:9/x");
        let items = gw.eventually(DENIALS, |answer| answer.json()["items"][0]["count"] == number).await.json();
        assert_eq!(items["total"], 1, "{items}");
        assert_eq!(gw.metric("sluice_permission_denials_total").await, 3 * number);
    }
}

#[tokio::test]
async fn denials_go_with_their_version() {
    let gw = TestGateway::start().await.module("hosts").await;
    denied(&gw, request("GET", "https://a.example/")).await;
    listed(&gw, 1).await;
    Answer::of(gw.request(Method::DELETE, "/api/v1/wasm/modules/hosts@1.0.0")).await.expect_status(204);
    gw.get(DENIALS).await.expect_refusal(404, "not-found");
    gw.upload("hosts", "1.0.0", guest("hosts")).await.expect_status(201);
    assert_eq!(gw.get(DENIALS).await.expect_status(200).json()["total"], 0);
}

#[tokio::test]
async fn denials_are_shown_to_who_sees_the_module() {
    let gw = TestGateway::start().await.module("hosts").await;
    let sees = make(&gw, json!({"name": "a", "role": "viewer", "modules": ["ho*"]})).await;
    let blind = make(&gw, json!({"name": "b", "role": "viewer", "modules": ["echo"]})).await;
    sees.get(&gw, DENIALS).await.expect_status(200);
    blind.get(&gw, DENIALS).await.expect_refusal(404, "not-found");
    gw.get("/api/v1/wasm/modules/hosts@2.0.0/denials").await.expect_refusal(404, "not-found");
    gw.get(&format!("{DENIALS}?limit=201")).await.expect_refusal(400, "bad-request");
    gw.get(&format!("{DENIALS}?permission=http:read")).await.expect_refusal(400, "unknown-field");
}
