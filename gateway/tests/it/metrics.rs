//! `/metrics` after calls that are known one by one.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use sluice::telemetry::METRICS_CONTENT_TYPE;

use crate::support::openmetrics::Exposition;
use crate::support::{Answer, TestGateway};

/// What a scraper without a key reads.
async fn scrape(gw: &TestGateway) -> Exposition {
    let answer = Answer::of(gw.anonymous(Method::GET, "/metrics")).await.expect_status(200);
    assert_eq!(answer.header("content-type"), METRICS_CONTENT_TYPE);
    Exposition::parse(std::str::from_utf8(&answer.body).unwrap())
}

#[track_caller]
fn expect(found: &Exposition, name: &str, labels: &[(&str, &str)], wanted: f64) {
    assert_eq!(found.value(name, labels), Some(wanted), "{name} {labels:?}");
}

/// The executions of a module that ended, by `status` and `code`, without those that never did.
fn executions(found: &Exposition, module: &str) -> BTreeMap<(String, String), f64> {
    let samples = found.families["sluice_executions"].samples.iter();
    samples
        .filter(|sample| sample.labels["module"] == module && sample.value > 0.0)
        .map(|sample| ((sample.labels["status"].clone(), sample.labels["code"].clone()), sample.value))
        .collect()
}

fn outcomes<const N: usize>(wanted: [(&str, &str, f64); N]) -> BTreeMap<(String, String), f64> {
    wanted.into_iter().map(|(status, code, count)| ((status.to_owned(), code.to_owned()), count)).collect()
}

/// Calls, with the statuses that they must have; what was answered last.
async fn call<const N: usize>(gw: &TestGateway, calls: [(&str, Value, u16); N]) -> Vec<Value> {
    let mut answers = Vec::new();
    for (module, body, status) in calls {
        answers.push(gw.invoke_with(module, "run", body).await.expect_status(status).json());
    }
    answers
}

#[tokio::test]
async fn executions_are_counted_by_their_outcome_with_their_fuel() {
    let gw = TestGateway::start().await.module("echo").await.module("outcomes").await.module("trap").await;
    let answers = call(
        &gw,
        [
            ("echo", json!({"input": 1}), 200),
            ("echo", json!({"input": [1, 2, 3]}), 200),
            ("echo", json!({"input": "x".repeat(10_000)}), 200),
        ],
    )
    .await;
    let fuel: u64 = answers.iter().map(|answer| answer["metrics"]["fuel"].as_u64().unwrap()).sum();
    call(
        &gw,
        [
            ("echo", json!({"input": 1, "limits": {"fuel": 1}}), 502),
            // Refused before they start: no executions.
            ("echo", json!({"input": 1, "limits": {"fuel": u64::MAX}}), 400),
            ("nothing-of-that-name", json!({}), 404),
            ("outcomes", json!({"input": {"invalid": [{"path": "/a", "code": "b", "message": "c"}]}}), 422),
            ("outcomes", json!({"input": {"failed": {"code": "a", "message": "b"}}}), 502),
            ("outcomes", json!({"input": {"text": "not JSON"}}), 502),
            ("outcomes", json!({"input": {"text": "1e400"}}), 502),
            ("trap", json!({"input": {"message": "quote \" and \\ and\nline"}}), 502),
        ],
    )
    .await;

    let found = scrape(&gw).await;
    let echoed = outcomes([("completed", "", 3.0), ("failed", "fuel-exhausted", 1.0)]);
    assert_eq!(executions(&found, "echo"), echoed);
    let told =
        outcomes([("invalid", "invalid-data", 1.0), ("failed", "step-failed", 1.0), ("failed", "bad-output", 2.0)]);
    assert_eq!(executions(&found, "outcomes"), told);
    assert_eq!(executions(&found, "trap"), outcomes([("failed", "trap", 1.0)]));

    let echo = [("module", "echo"), ("version", "1.0.0")];
    #[expect(clippy::cast_precision_loss, reason = "a few thousand instructions")]
    // What ran out of its one unit used that one.
    expect(&found, "sluice_execution_fuel_total", &echo, fuel as f64 + 1.0);
    expect(&found, "sluice_execution_duration_seconds_count", &echo, 4.0);
    expect(&found, "sluice_execution_memory_bytes_count", &[], 9.0);
    expect(&found, "sluice_instances_running", &[], 0.0);
    expect(&found, "sluice_execution_records_dropped_total", &[], 0.0);
}

#[tokio::test]
async fn denied_host_calls_and_dropped_log_lines_are_counted() {
    let gw = TestGateway::start_with(|config| config.limits.log_lines = 5).await;
    let gw = gw.module("hosts").await.module("log-spam").await;
    let get = json!({"method": "GET", "url": "http://example.com/"});
    let post = json!({"method": "POST", "url": "http://example.com/"});
    call(
        &gw,
        [
            ("hosts", json!({"input": {"http": get, "db": ["orders", "select 1", []]}}), 200),
            ("hosts", json!({"input": {"http": get}}), 200),
            ("hosts", json!({"input": {"http": post}}), 200),
            ("log-spam", json!({"input": {"lines": 5, "bytes": 10}}), 200),
            ("log-spam", json!({"input": {"lines": 12, "bytes": 10}}), 200),
        ],
    )
    .await;

    let found = scrape(&gw).await;
    for (permission, count) in
        [("http:read", 2.0), ("http:write", 1.0), ("database:read", 1.0), ("database:write", 1.0)]
    {
        let labels = [("module", "hosts"), ("version", "1.0.0"), ("permission", permission)];
        expect(&found, "sluice_permission_denials_total", &labels, count);
    }
    assert_eq!(found.families["sluice_permission_denials"].samples.len(), 4);
    expect(&found, "sluice_log_lines_dropped_total", &[("module", "log-spam"), ("version", "1.0.0")], 7.0);
    expect(&found, "sluice_log_lines_dropped_total", &[("module", "hosts"), ("version", "1.0.0")], 0.0);
}

#[tokio::test]
async fn requests_are_counted_by_their_status_and_refusals_for_want_of_a_slot() {
    let gw = TestGateway::start_with(|config| {
        config.runtime.instances = 1;
        config.runtime.wait_ms = 1;
    })
    .await;
    let gw = gw.module("echo").await.module("spin").await;
    call(&gw, [("echo", json!({}), 200), ("echo", json!({"inputs": 1}), 400)]).await;
    Answer::of(gw.anonymous(Method::GET, "/api/v1/wasm/modules")).await.expect_problem(401, "unauthenticated");
    let found = scrape(&gw).await;
    let requests = |found: &Exposition| -> BTreeMap<String, f64> {
        let samples = found.families["sluice_http_requests"].samples.iter();
        samples.map(|sample| (sample.labels["status"].clone(), sample.value)).collect()
    };
    // An answer is counted when it is made: this scrape's is not in itself.
    let wanted = [("200", 1.0), ("201", 2.0), ("400", 1.0), ("401", 1.0)];
    assert_eq!(requests(&found), wanted.map(|(status, count)| (status.to_owned(), count)).into());

    // The answer comes when the slot is taken, and the step sleeps longer than this test takes.
    let sleep = gw.request(Method::POST, "/api/v1/wasm/modules/spin/invoke?function=sleep");
    let sleep = sleep.header("prefer", "respond-async").json(&json!({"input": {"ms": 25_000}}));
    Answer::of(sleep).await.expect_status(202);
    for _ in 0..2 {
        gw.invoke("echo", json!(1)).await.expect_problem(503, "overloaded");
    }
    let found = scrape(&gw).await;
    expect(&found, "sluice_instances_running", &[], 1.0);
    expect(&found, "sluice_overloaded_total", &[], 2.0);
    let wanted = [("200", 2.0), ("201", 2.0), ("202", 1.0), ("400", 1.0), ("401", 1.0), ("503", 2.0)];
    assert_eq!(requests(&found), wanted.map(|(status, count)| (status.to_owned(), count)).into());
    assert_eq!(executions(&found, "echo"), outcomes([("completed", "", 1.0)]), "what did not start is no execution");
    assert_eq!(executions(&found, "spin"), outcomes([]), "what has not ended is not counted yet");
}

#[tokio::test]
async fn the_cache_counts_a_call_once_and_a_restart_finds_the_code_on_disk() {
    let gw = TestGateway::start().await.module("echo").await.module("trap").await;
    call(&gw, [("echo", json!({}), 200), ("echo", json!({}), 200), ("trap", json!({"input": {"message": "x"}}), 502)])
        .await;
    let found = scrape(&gw).await;
    // An upload maps what it compiled, so that the first call is a hit.
    expect(&found, "sluice_module_cache_misses_total", &[], 0.0);
    expect(&found, "sluice_module_cache_hits_total", &[], 3.0);
    expect(&found, "sluice_module_cache_modules", &[], 2.0);
    expect(&found, "sluice_module_compile_duration_seconds_count", &[], 2.0);
    assert!(found.value("sluice_module_cache_bytes", &[]).unwrap() > 0.0);

    let gw = gw.restart().await;
    call(&gw, [("echo", json!({}), 200), ("echo", json!({}), 200)]).await;
    let found = scrape(&gw).await;
    expect(&found, "sluice_module_cache_misses_total", &[], 1.0);
    expect(&found, "sluice_module_cache_hits_total", &[], 1.0);
    expect(&found, "sluice_module_cache_modules", &[], 1.0);
    expect(&found, "sluice_module_load_duration_seconds_count", &[], 1.0);
    expect(&found, "sluice_module_compile_duration_seconds_count", &[], 0.0);
    for kind in ["integrity", "artifact", "signature"] {
        expect(&found, "sluice_security_alerts_total", &[("kind", kind)], 0.0);
    }
}

#[tokio::test]
async fn a_version_that_is_deleted_takes_its_series_along_and_its_successor_begins_at_zero() {
    let gw = TestGateway::start().await.module("echo").await.module("hosts").await;
    let get = json!({"method": "GET", "url": "http://example.com/"});
    call(&gw, [("echo", json!({}), 200), ("hosts", json!({"input": {"http": get}}), 200)]).await;
    Answer::of(gw.request(Method::DELETE, "/api/v1/wasm/modules/hosts@1.0.0")).await.expect_status(204);

    let found = scrape(&gw).await;
    let all = found.families.values().flat_map(|family| &family.samples);
    let left: Vec<_> = all.filter(|sample| sample.labels.get("module").is_some_and(|name| name == "hosts")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(executions(&found, "echo"), outcomes([("completed", "", 1.0)]));
    // Of the process, not of the module: it stays.
    expect(&found, "sluice_execution_memory_bytes_count", &[], 2.0);

    let gw = gw.module("hosts").await;
    call(&gw, [("hosts", json!({"input": {}}), 200)]).await;
    assert_eq!(executions(&scrape(&gw).await, "hosts"), outcomes([("completed", "", 1.0)]));
}
