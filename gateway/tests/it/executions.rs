//! What is kept of executions, and how it is read.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Answer, TestGateway, component, guest, property};

const EXECUTIONS: &str = "/api/v1/wasm/executions";

/// Some call and the status of its record.
type Case = (&'static str, &'static str, Value, &'static str);

fn any_case() -> impl Strategy<Value = Case> {
    prop::sample::select(vec![
        ("echo", "run", json!({"input": [1, 2]}), "completed"),
        ("echo", "shout", json!({"input": "a"}), "completed"),
        ("outcomes", "run", json!({"input": {"invalid": [{"path": "/a", "code": "b", "message": "c"}]}}), "invalid"),
        ("outcomes", "run", json!({"input": {"failed": {"code": "a", "message": "b"}}}), "failed"),
        ("outcomes", "run", json!({"input": {"text": "nope"}}), "failed"),
        ("trap", "unreachable", json!({}), "failed"),
        ("spin", "run", json!({"limits": {"fuel": 100_000}}), "failed"),
        ("spin", "run", json!({"limits": {"timeout_ms": 10}}), "failed"),
        ("spin", "busy", json!({"input": {"iterations": 1_000}}), "completed"),
    ])
}

async fn gateway() -> TestGateway {
    // So that it is the timeout that ends what computes, on any machine.
    let gw = TestGateway::start_with(|config| config.limits.fuel = Some(1 << 50)).await;
    gw.module("echo").await.module("outcomes").await.module("trap").await.module("spin").await
}

/// The answer of a call, and the record that it left.
async fn record_of(gw: &TestGateway, (module, function, body, _): &Case) -> (Value, Value) {
    let answer = gw.invoke_with(module, function, body.clone()).await.json();
    let record = gw.ended_execution(answer["execution_id"].as_str().unwrap()).await;
    (answer, record)
}

#[test]
fn p31_executions_are_logged_with_their_id_and_module() {
    property::check(24, any_case(), gateway(), async |gw, case| {
        let (answer, record) = record_of(gw, &case).await;
        let (module, function, _, status) = case;
        let shown = gw.get(&format!("/api/v1/wasm/modules/{module}")).await.json();
        assert_eq!(record["execution_id"], answer["execution_id"]);
        assert_eq!(record["module_id"], shown["id"]);
        assert_eq!(
            json!([record["module"], record["version"], record["function"], record["status"]]),
            json!([module, "1.0.0", function, status])
        );
        let names: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "execution_id",
            "module_id",
            "module",
            "version",
            "function",
            "status",
            "started_at",
            "duration_us",
            "fuel",
            "memory_bytes",
            "error",
            "lines_dropped",
        ];
        expected.sort_unstable();
        assert_eq!(names, expected);
        let started_at: jiff::Timestamp = record["started_at"].as_str().unwrap().parse().unwrap();
        assert!(jiff::Timestamp::now().duration_since(started_at).as_secs() < 60, "{started_at}");
    });
}

#[test]
fn p32_executions_are_logged_with_their_fuel() {
    let start = async { TestGateway::start().await.module("spin").await };
    property::check(16, (0_u64..5_000, any::<bool>()), start, async |gw, (iterations, cut)| {
        let limits = if cut { json!({"fuel": 5_000}) } else { json!({}) };
        let body = json!({"input": {"iterations": iterations}, "limits": limits});
        let (answer, record) = record_of(gw, &("spin", "busy", body, "")).await;
        match answer["code"].as_str() {
            None => assert_eq!(record["fuel"], answer["metrics"]["fuel"]),
            Some(_) => assert_eq!((&record["fuel"], &record["fuel"]), (&answer["used"], &json!(5_000))),
        }
    });
}

#[test]
fn p33_executions_are_logged_with_their_memory() {
    let start = async { TestGateway::start().await.module("grow").await };
    property::check(16, 0_u64..16, start, async |gw, mebibytes| {
        let body = json!({"input": {"bytes": mebibytes << 20}, "limits": {"memory_bytes": 10 << 20}});
        let (answer, record) = record_of(gw, &("grow", "run", body, "")).await;
        match answer["code"].as_str() {
            None => assert_eq!(record["memory_bytes"], answer["metrics"]["memory_bytes"]),
            // The peak is what it had, not what it was refused.
            Some(_) => assert!((1..=10 << 20).contains(&record["memory_bytes"].as_u64().unwrap()), "{record}"),
        }
    });
}

#[test]
fn p34_executions_are_logged_with_their_duration() {
    let start = async { TestGateway::start().await.module("spin").await };
    property::check(16, (1_u64..60, any::<bool>()), start, async |gw, (ms, cut)| {
        let limits = if cut { json!({"timeout_ms": 20}) } else { json!({}) };
        let started = Instant::now();
        let (answer, record) =
            record_of(gw, &("spin", "sleep", json!({"input": {"ms": ms}, "limits": limits}), "")).await;
        let duration_us = record["duration_us"].as_u64().unwrap();
        let least_ms = match answer["code"].as_str() {
            None => {
                assert_eq!(answer["metrics"]["duration_us"], duration_us);
                ms
            }
            Some(code) => {
                assert_eq!(code, "timed-out");
                20
            }
        };
        // The guest's clock tells whole milliseconds, so that it may wake one early.
        assert!(u128::from(duration_us) <= started.elapsed().as_micros() && duration_us + 1_000 >= least_ms * 1_000);
    });
}

#[test]
fn p35_executions_are_logged_with_their_error() {
    property::check(24, any_case(), gateway(), async |gw, case| {
        let (answer, record) = record_of(gw, &case).await;
        let expected = match answer["code"].as_str() {
            None => json!(null),
            Some(code) => json!({"code": code, "message": answer["detail"], "origin": "guest"}),
        };
        assert_eq!(record["error"], expected);
    });
}

#[tokio::test]
async fn records_are_readable_within_a_second() {
    let gw = TestGateway::start().await.module("echo").await;
    let mut waits = Vec::new();
    for number in 0..9 {
        let id = gw.invoke("echo", json!(number)).await.expect_status(200).json()["execution_id"].clone();
        let started = Instant::now();
        gw.ended_execution(id.as_str().unwrap()).await;
        waits.push(started.elapsed());
    }
    waits.sort();
    // The median, since the machine may have other work for one or two of them.
    assert!(waits[4] < Duration::from_secs(1), "{waits:?}");
}

#[tokio::test]
async fn the_log_of_an_execution_is_one_entry_with_its_lines() {
    let gw = TestGateway::start().await.module("log-spam").await;
    let body = json!({"input": {"level": "warn", "message": "careful", "fields": [["order", "{\"id\": 7}"]]}});
    let answer = gw.invoke_with("log-spam", "fields", body).await.expect_status(200).json();
    let id = answer["execution_id"].as_str().unwrap();
    let record = gw.ended_execution(id).await;
    let mut logs = gw.get(&format!("{EXECUTIONS}/{id}/logs")).await.expect_status(200).json();
    let line = logs["items"][0]["lines"][0].take();
    assert_eq!(
        json!([line["level"], line["message"], line["fields"]]),
        json!(["warn", "careful", {"order": {"id": 7}}])
    );
    line["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let mut entry = record;
    entry["lines"] = json!([null]);
    assert_eq!(logs, json!({"items": [entry], "page": 1, "limit": 50, "total": 1}));
}

#[tokio::test]
async fn log_lines_are_filtered_by_their_level() {
    let core = r#"
        (import "sluice:step/log@0.1.0" (instance $log
          (type $level' (enum "debug" "info" "warn" "error"))
          (export "level" (type $level (eq $level')))
          (export "write" (func (param "level" $level) (param "message" string)
            (param "fields" (list (tuple string string)))))))
        (core module $store (memory (export "memory") 1))
        (core instance $store (instantiate $store))
        (core func $log (canon lower (func $log "write") (memory $store "memory")))"#;
    let imports = r#"(import "host" "memory" (memory $memory 1))
                     (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))"#;
    let body = "(loop $levels
        (call $log (local.get $n) (i32.const 64) (i32.const 4) (i32.const 0) (i32.const 0))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $levels (i32.lt_u (local.get $n) (i32.const 4))))";
    let with = r#"(core instance $i (instantiate $m
        (with "host" (instance (export "log" (func $log)) (export "memory" (memory $store "memory"))))))"#;
    let component = component::component(&format!("{core} {} {with}", component::module_on_memory(imports, body)));
    let gw = TestGateway::start().await;
    gw.upload("levels", "1.0.0", component).await.expect_status(201);
    let answer = gw.invoke("levels", json!(null)).await.expect_status(200).json();
    let id = answer["execution_id"].as_str().unwrap();
    gw.ended_execution(id).await;
    let all = ["debug", "info", "warn", "error"];
    for (from, level) in all.iter().enumerate() {
        let logs = gw.get(&format!("{EXECUTIONS}/{id}/logs?level={level}")).await.expect_status(200).json();
        let lines = logs["items"][0]["lines"].as_array().unwrap();
        let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
        assert_eq!(levels, all[from..], "{level} and above");
    }
    for wrong in ["level=loud", "level=WARN", "page=0", "limit=201", "module_id=x", "level=info&level=warn"] {
        gw.get(&format!("{EXECUTIONS}/{id}/logs?{wrong}")).await.expect_refusal(400, "bad-request");
    }
    gw.get(&format!("{EXECUTIONS}/{id}/logs?status=failed")).await.expect_refusal(400, "unknown-field");
    let module_id = gw.execution(id).await["module_id"].as_str().unwrap().to_owned();
    for (module_id, total) in [(module_id, 1), (uuid::Uuid::now_v7().to_string(), 0)] {
        let logs = gw.get(&format!("{EXECUTIONS}/{id}/logs?module_id={module_id}")).await.expect_status(200).json();
        assert_eq!(logs["total"], total);
    }
    let behind = gw.get(&format!("{EXECUTIONS}/{id}/logs?page=2")).await.expect_status(200).json();
    assert_eq!(behind, json!({"items": [], "page": 2, "limit": 50, "total": 1}));
}

/// A gateway with seven executions: echo 1.0.0 three times, 2.0.0 once, three failures.
async fn seven() -> (TestGateway, Vec<String>) {
    let gw = TestGateway::start().await.module("echo").await.module("trap").await;
    gw.upload("echo", "2.0.0", guest("echo")).await.expect_status(201);
    let mut ids = Vec::new();
    for (module, function) in [
        ("echo@1.0.0", "run"),
        ("echo@1.0.0", "twice"),
        ("trap", "unreachable"),
        ("echo@1.0.0", "run"),
        ("trap", "exit"),
        ("echo@2.0.0", "run"),
        ("trap", "unreachable"),
    ] {
        let answer = gw.invoke_with(module, function, json!({})).await.json();
        ids.push(answer["execution_id"].as_str().unwrap().to_owned());
    }
    gw.eventually(EXECUTIONS, |answer| answer.json()["total"] == 7).await;
    (gw, ids)
}

fn ids_of(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["execution_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn executions_are_listed_from_the_newest_page_by_page() {
    let (gw, ids) = seven().await;
    let newest_first: Vec<_> = ids.iter().rev().map(String::as_str).collect();
    let list = gw.get(EXECUTIONS).await.expect_status(200).json();
    assert_eq!(ids_of(&list), newest_first);
    assert_eq!((&list["page"], &list["limit"], &list["total"]), (&json!(1), &json!(50), &json!(7)));
    assert!(list["items"][0].get("lines").is_none(), "lines have an address of their own");
    for (page, expected) in newest_first.chunks(3).enumerate() {
        let list = gw.get(&format!("{EXECUTIONS}?limit=3&page={}", page + 1)).await.expect_status(200).json();
        assert_eq!((ids_of(&list), &list["total"]), (expected.to_vec(), &json!(7)));
    }
    let behind = gw.get(&format!("{EXECUTIONS}?limit=3&page=4")).await.expect_status(200).json();
    assert_eq!(behind, json!({"items": [], "page": 4, "limit": 3, "total": 7}));
    let far = gw.get(&format!("{EXECUTIONS}?limit=200&page=4294967295")).await.expect_status(200).json();
    assert_eq!((ids_of(&far), &far["total"]), (vec![], &json!(7)));
}

#[tokio::test]
async fn executions_are_filtered_by_module_status_and_time() {
    let (gw, ids) = seven().await;
    let all = gw.get(EXECUTIONS).await.json();
    let started_at = |index: usize| all["items"][6 - index]["started_at"].as_str().unwrap().to_owned();
    let module_id = |index: usize| all["items"][6 - index]["module_id"].as_str().unwrap().to_owned();
    for (query, expected) in [
        ("status=failed".to_owned(), vec![6, 4, 2]),
        ("status=completed".to_owned(), vec![5, 3, 1, 0]),
        ("status=running".to_owned(), vec![]),
        ("status=canceled".to_owned(), vec![]),
        (format!("module_id={}", module_id(0)), vec![3, 1, 0]),
        (format!("module_id={}", module_id(5)), vec![5]),
        (format!("module_id={}&status=failed", module_id(0)), vec![]),
        (format!("module_id={}&status=failed&limit=1&page=2", module_id(2)), vec![4]),
        (format!("module_id={}", uuid::Uuid::now_v7()), vec![]),
        // From is part of the time, to is not.
        (format!("from={}", started_at(4)), vec![6, 5, 4]),
        (format!("to={}", started_at(2)), vec![1, 0]),
        (format!("from={}&to={}", started_at(1), started_at(3)), vec![2, 1]),
        (format!("from={}&to={}", started_at(3), started_at(1)), vec![]),
        ("from=2100-01-01T00:00:00%2B01:00".to_owned(), vec![]),
        ("job=intake".to_owned(), vec![]),
    ] {
        let list = gw.get(&format!("{EXECUTIONS}?{query}")).await.expect_status(200).json();
        let expected: Vec<_> = expected.into_iter().map(|index: usize| ids[index].as_str()).collect();
        assert_eq!(ids_of(&list), expected, "{query}");
    }
}

#[tokio::test]
async fn parameters_that_are_wrong_are_refused_by_name() {
    let gw = TestGateway::start().await;
    for (query, name) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("status=done", "status"),
        ("status=failed&status=failed", "status"),
        ("module_id=echo", "module_id"),
        ("from=yesterday", "from"),
        ("to=2026-13-01T00:00:00Z", "to"),
    ] {
        let problem = gw.get(&format!("{EXECUTIONS}?{query}")).await.expect_refusal(400, "bad-request");
        assert_eq!(problem["errors"][0]["path"], name, "{problem}");
    }
    let problem = gw.get(&format!("{EXECUTIONS}?module=echo")).await.expect_refusal(400, "unknown-field");
    assert_eq!(problem["errors"][0]["path"], "module");
}

#[tokio::test]
async fn executions_that_never_were_are_not_found() {
    let gw = TestGateway::start().await;
    for id in [uuid::Uuid::now_v7().to_string(), "1".to_owned(), "%ff".to_owned(), "x".repeat(1_000)] {
        gw.get(&format!("{EXECUTIONS}/{id}")).await.expect_refusal(404, "not-found");
        gw.get(&format!("{EXECUTIONS}/{id}/logs")).await.expect_refusal(404, "not-found");
    }
    let anonymous = gw.anonymous(reqwest::Method::GET, EXECUTIONS);
    Answer::of(anonymous).await.expect_refusal(401, "unauthenticated");
}
