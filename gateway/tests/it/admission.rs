//! Slots: who gets one, who is told to come again, and when they come back.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use crate::support::{Answer, TestGateway, property};

async fn gateway(instances: u32, wait_ms: u64) -> TestGateway {
    let gw = TestGateway::start_with(|config| {
        config.runtime.instances = instances;
        config.runtime.wait_ms = wait_ms;
        config.limits.fuel = None;
    })
    .await;
    gw.module("spin").await.module("echo").await.module("trap").await
}

/// A slow call, begun and not waited for.
fn sleep(gw: &TestGateway, ms: u64) -> tokio::task::JoinHandle<Answer> {
    let request = gw.request(reqwest::Method::POST, "/api/v1/wasm/modules/spin/invoke?function=sleep");
    tokio::spawn(Answer::of(request.json(&json!({"input": {"ms": ms}}))))
}

async fn until_running(gw: &TestGateway, count: u64) {
    gw.eventually("/api/v1/wasm/executions?status=running", |answer| answer.json()["total"] == count).await;
}

#[tokio::test]
async fn without_a_slot_a_call_waits_and_is_told_to_come_again() {
    let gw = gateway(2, 300).await;
    let slow = [sleep(&gw, 3_000), sleep(&gw, 3_000)];
    until_running(&gw, 2).await;
    let started = Instant::now();
    let answer = gw.invoke("echo", json!(null)).await;
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    let retry_after: u32 = answer.header("retry-after").parse().unwrap();
    assert!(retry_after >= 1);
    answer.expect_refusal(503, "overloaded");
    for slow in slow {
        slow.await.unwrap().expect_status(200);
    }
    gw.invoke("echo", json!(null)).await.expect_status(200);
    let ended = |answer: &Answer| answer.json()["total"] == 3;
    gw.eventually("/api/v1/wasm/executions?status=completed", ended).await;
    assert_eq!(gw.get("/api/v1/wasm/executions").await.json()["total"], 3, "what was refused leaves no record");
}

#[tokio::test]
async fn a_call_that_waits_gets_the_slot_that_comes_free() {
    let gw = gateway(1, 20_000).await;
    let calls: Vec<_> = (0..5).map(|_| sleep(&gw, 50)).collect();
    for call in calls {
        call.await.unwrap().expect_status(200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_execution_and_gives_the_slot_back() {
    let gw = gateway(1, 0).await;
    let computing = gw.request(reqwest::Method::POST, "/api/v1/wasm/modules/spin/invoke");
    let computing = tokio::spawn(Answer::of(computing.json(&json!({}))));
    until_running(&gw, 1).await;
    computing.abort();
    let canceled = |answer: &Answer| answer.json()["total"] == 1;
    let record = gw.eventually("/api/v1/wasm/executions?status=canceled", canceled).await.json()["items"][0].clone();
    assert!(record["duration_us"].as_u64().unwrap() > 0 && record["error"] == json!(null), "{record}");
    gw.invoke("echo", json!(null)).await.expect_status(200);

    let sleeping = sleep(&gw, 60_000);
    until_running(&gw, 1).await;
    sleeping.abort();
    gw.eventually("/api/v1/wasm/executions?status=canceled", |answer| answer.json()["total"] == 2).await;
    gw.invoke("echo", json!(null)).await.expect_status(200);
}

#[tokio::test]
async fn a_cancelled_execution_keeps_its_log_and_what_it_used() {
    let gw = TestGateway::start().await.module("log-spam").await;
    let flood = gw.request(reqwest::Method::POST, "/api/v1/wasm/modules/log-spam/invoke");
    let call = tokio::spawn(flood.json(&json!({"input": {"bytes": 10, "lines": 4_000_000_000_u64}})).send());
    until_running(&gw, 1).await;
    call.abort();
    let canceled = |answer: &Answer| answer.json()["total"] == 1;
    let listed = gw.eventually("/api/v1/wasm/executions?status=canceled", canceled).await.json();
    let record = &listed["items"][0];
    assert!(record["fuel"].as_u64().unwrap() > 0 && record["memory_bytes"].as_u64().unwrap() > 0, "{record}");
    let lines = gw.lines(record["execution_id"].as_str().unwrap()).await;
    assert_eq!((lines.len(), &lines[999]["message"]), (1000, &json!("x".repeat(10))));
}

#[test]
fn slots_come_back_however_executions_end() {
    // With one slot and no wait, a single one that is lost refuses all that follow.
    let ends = vec![
        ("trap", "unreachable", json!({}), 502),
        ("trap", "exit", json!({}), 502),
        ("spin", "run", json!({"limits": {"timeout_ms": 10}}), 504),
        ("spin", "sleep", json!({"input": {"ms": 60_000}, "limits": {"timeout_ms": 10}}), 504),
        ("echo", "run", json!({"limits": {"memory_bytes": 1}}), 502),
        ("echo", "run", json!({"input": 1}), 200),
        ("echo", "helper", json!({}), 404),
        ("echo", "run", json!({"unknown": 1}), 400),
    ];
    let ends = prop::collection::vec(prop::sample::select(ends), 1..8);
    property::check(16, ends, gateway(1, 0), async |gw, ends| {
        for (module, function, body, status) in ends {
            gw.invoke_with(module, function, body).await.expect_status(status);
        }
    });
}

#[tokio::test]
async fn an_execution_that_is_not_waited_for_keeps_its_slot() {
    let gw = gateway(1, 0).await;
    let request = gw.request(reqwest::Method::POST, "/api/v1/wasm/modules/spin/invoke?function=sleep");
    let request = request.header("prefer", "respond-async").json(&json!({"input": {"ms": 1_000}}));
    let id = Answer::of(request).await.expect_status(202).json()["execution_id"].as_str().unwrap().to_owned();
    gw.invoke("echo", json!(null)).await.expect_refusal(503, "overloaded");
    assert_eq!(gw.ended_execution(&id).await["status"], "completed");
    gw.invoke("echo", json!(null)).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_slots_are_all_answered() {
    let gw = gateway(4, 30_000).await;
    let calls = (0..200).map(|number| {
        let gw = &gw;
        async move {
            match number % 4 {
                0 => drop(gw.invoke_with("trap", "unreachable", json!({})).await.expect_guest_problem(502, "trap")),
                _ => assert_eq!(gw.invoke("echo", json!(number)).await.expect_output(), number),
            }
        }
    });
    futures_util::future::join_all(calls).await;
    gw.eventually("/api/v1/wasm/executions", |answer| answer.json()["total"] == 200).await;
}
