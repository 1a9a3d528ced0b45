//! The limits of an execution: exact, its own, and no neighbour's business.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use crate::support::{TestGateway, component, property};

const PAGE: u64 = 65_536;

#[test]
fn p07_fuel_limit_enforcement() {
    let start = async { TestGateway::start().await.module("spin").await };
    property::check(24, (0_u64..20_000, 0_u64..50_000), start, async |gw, (iterations, less)| {
        let call = async |limits| {
            gw.invoke_with("spin", "busy", json!({"input": {"iterations": iterations}, "limits": limits})).await
        };
        // Without a lower limit it tells what it needs; with exactly that it completes.
        let used = call(json!({})).await.expect_status(200).json()["metrics"]["fuel"].as_u64().unwrap();
        assert!(used > iterations, "each turn costs something");
        let exact = call(json!({ "fuel": used })).await.expect_status(200).json();
        assert_eq!(exact["metrics"]["fuel"], used);
        // Fuel is looked at where functions and loops begin: what comes after the last
        // of them is a few instructions over, at most.
        let limit = used.saturating_sub(1_000 + less).max(1);
        let problem = call(json!({ "fuel": limit })).await.expect_guest_problem(502, "fuel-exhausted");
        assert_eq!((&problem["limit"], &problem["used"]), (&json!(limit), &json!(limit)));
    });
}

#[test]
fn p08_memory_limit_enforcement() {
    let start = async { TestGateway::start().await.module("grow").await };
    property::check(24, (0_u64..24, 0_u64..4_000_000), start, async |gw, (mebibytes, less)| {
        let call = async |limits| {
            gw.invoke_with("grow", "run", json!({"input": {"bytes": mebibytes << 20}, "limits": limits})).await
        };
        let peak = call(json!({})).await.expect_status(200).json()["metrics"]["memory_bytes"].as_u64().unwrap();
        assert!(peak >= mebibytes << 20);
        let exact = call(json!({ "memory_bytes": peak })).await.expect_status(200).json();
        assert_eq!(exact["metrics"]["memory_bytes"], peak);
        let limit = peak.saturating_sub(1 + less).max(1);
        let problem = call(json!({ "memory_bytes": limit })).await.expect_guest_problem(502, "memory-exceeded");
        assert_eq!(problem["limit"], limit);
        assert!(problem["used"].as_u64().unwrap() > limit, "{problem}");
    });
}

/// Two instances of one core module with a page each, and `$m`, which lets each of them
/// grow, has a second memory and two tables of its own.
fn several_memories(first: u64, second: u64, own: u64, table: u64) -> Vec<u8> {
    let imports = r#"
        (import "first" "grow" (func $first (param i32) (result i32)))
        (import "second" "grow" (func $second (param i32) (result i32)))
        (memory $other 1) (table $one 0 funcref) (table $two 0 funcref)"#;
    let body = format!(
        "(drop (call $first (i32.const {first})))
         (drop (call $second (i32.const {second})))
         (drop (memory.grow $other (i32.const {own})))
         (drop (table.grow $one (ref.null func) (i32.const {table})))
         (drop (table.grow $two (ref.null func) (i32.const {table})))"
    );
    component::component(&format!(
        r#"(core module $pages (memory 1)
             (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
           (core instance $first (instantiate $pages))
           (core instance $second (instantiate $pages))
           {}
           (core instance $i (instantiate $m
             (with "first" (instance $first)) (with "second" (instance $second))))"#,
        component::module(1, imports, &body)
    ))
}

#[test]
fn p08_memory_limit_enforcement_over_all_memories_and_tables() {
    let sizes = (0_u64..40, 0_u64..40, 0_u64..40, 0_u64..50_000);
    property::check(16, sizes, TestGateway::start(), async |gw, (first, second, own, table)| {
        let name = format!("m{}", uuid::Uuid::now_v7().simple());
        gw.upload(&name, "1.0.0", several_memories(first, second, own, table)).await.expect_status(201);
        let sum = (4 + first + second + own) * PAGE + 2 * table * 8;
        let limited = async |memory_bytes: u64| {
            gw.invoke_with(&name, "run", json!({"limits": {"memory_bytes": memory_bytes}})).await
        };
        let answer = limited(sum).await.expect_status(200).json();
        assert_eq!(answer["metrics"]["memory_bytes"], sum);
        let problem = limited(sum - 1).await.expect_guest_problem(502, "memory-exceeded");
        assert_eq!(problem["limit"], sum - 1);
        assert_eq!(problem["used"], sum);
    });
}

#[tokio::test]
async fn a_growth_past_a_memorys_own_maximum_fails_as_the_specification_says() {
    let items = "(memory $small 1 3)";
    let body = "
        (local.set $n (memory.grow $small (i32.const 3)))
        (if (i32.ne (local.get $n) (i32.const -1)) (then unreachable))
        (local.set $n (memory.grow $small (i32.const 2)))
        (if (i32.ne (local.get $n) (i32.const 1)) (then unreachable))";
    let gw = TestGateway::start().await;
    gw.upload("small", "1.0.0", component::step(1, items, body)).await.expect_status(201);
    let answer = gw.invoke("small", json!(null)).await.expect_status(200).json();
    assert_eq!(answer["metrics"]["memory_bytes"], 4 * PAGE);
}

#[test]
fn p09_timeout_enforcement() {
    let start = async { TestGateway::start_with(|config| config.limits.fuel = None).await.module("spin").await };
    let function = prop::sample::select(vec!["run", "sleep"]);
    property::check(16, (function, 1_u64..120), start, async |gw, (function, timeout_ms)| {
        let started = Instant::now();
        let body = json!({"input": {"ms": 60_000}, "limits": {"timeout_ms": timeout_ms}});
        let problem = gw.invoke_with("spin", function, body).await.expect_guest_problem(504, "timed-out");
        assert_eq!(problem["limit"], timeout_ms);
        assert!(problem["used"].as_u64().unwrap() >= timeout_ms, "{problem}");
        assert!(started.elapsed() >= Duration::from_millis(timeout_ms));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    });
}

#[tokio::test]
async fn a_sleep_that_ends_in_time_is_no_timeout() {
    let gw = TestGateway::start().await.module("spin").await;
    let answer = gw.invoke_with("spin", "sleep", json!({"input": {"ms": 30}})).await.expect_status(200).json();
    assert!(answer["metrics"]["duration_us"].as_u64().unwrap() >= 29_000, "{answer}");
}

/// An excess, and the problem that it ends with.
const EXCESSES: [(&str, &str, &str, u16, &str); 7] = [
    ("spin", "run", r#"{"limits": {"fuel": 500000}}"#, 502, "fuel-exhausted"),
    ("spin", "run", r#"{"limits": {"timeout_ms": 50}}"#, 504, "timed-out"),
    ("spin", "sleep", r#"{"input": {"ms": 60000}, "limits": {"timeout_ms": 50}}"#, 504, "timed-out"),
    ("grow", "run", r#"{"input": {"bytes": 16777216}, "limits": {"memory_bytes": 4194304}}"#, 502, "memory-exceeded"),
    ("recurse", "run", r#"{"input": {"depth": 10000000}}"#, 502, "stack-exhausted"),
    ("big-output", "run", r#"{"input": {"bytes": 2097152}}"#, 502, "output-too-large"),
    ("trap", "unreachable", "{}", 502, "trap"),
];

#[test]
fn p11_resource_limit_termination() {
    let start = async {
        // A tight loop uses up the default fuel in the time of a short timeout.
        let mut gw = TestGateway::start_with(|config| config.limits.fuel = Some(1 << 50)).await;
        for module in ["spin", "grow", "recurse", "big-output", "trap", "echo"] {
            gw = gw.module(module).await;
        }
        gw
    };
    let excesses = prop::collection::vec(prop::sample::select(EXCESSES.to_vec()), 1..5);
    property::check(16, (excesses, property::any_json()), start, async |gw, (excesses, value)| {
        let ends = excesses.iter().map(|(module, function, body, status, code)| async move {
            let body = serde_json::from_str(body).unwrap();
            let problem = gw.invoke_with(module, function, body).await.expect_guest_problem(*status, code);
            let record = gw.ended_execution(problem["execution_id"].as_str().unwrap()).await;
            assert_eq!((&record["status"], &record["error"]["code"]), (&json!("failed"), &json!(code)));
        });
        let neighbours = (0..4).map(|_| async {
            let body = json!({"input": {"iterations": 20_000}});
            gw.invoke_with("spin", "busy", body).await.expect_status(200);
            assert_eq!(gw.invoke("echo", value.clone()).await.expect_output(), value);
        });
        futures_util::future::join(futures_util::future::join_all(ends), futures_util::future::join_all(neighbours))
            .await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_compute_on_every_worker_leave_room_for_others() {
    let gw =
        TestGateway::start_with(|config| config.limits.fuel = None).await.module("spin").await.module("echo").await;
    let spinning = (0..8).map(|_| gw.invoke_with("spin", "run", json!({"limits": {"timeout_ms": 3_000}})));
    let spinning = futures_util::future::join_all(spinning);
    let calling = async {
        let started = Instant::now();
        for number in 0..10 {
            assert_eq!(gw.invoke("echo", json!(number)).await.expect_output(), number);
        }
        started.elapsed()
    };
    let (ends, elapsed) = futures_util::future::join(spinning, calling).await;
    assert!(elapsed < Duration::from_millis(2_500), "the neighbours waited for those who compute: {elapsed:?}");
    for end in ends {
        end.expect_guest_problem(504, "timed-out");
    }
}

#[tokio::test]
async fn limits_of_a_module_hold_for_its_calls_and_can_be_lowered_only() {
    let gw = TestGateway::start().await;
    let form = reqwest::multipart::Form::new()
        .part("module", reqwest::multipart::Part::bytes(crate::support::guest("spin")).file_name("spin.wasm"))
        .text("name", "spin")
        .text("version", "1.0.0")
        .text("limits", r#"{"fuel": 2000000, "timeout_ms": 1000}"#);
    gw.upload_form(form).await.expect_status(201);
    let problem = gw.invoke("spin", json!(null)).await.expect_guest_problem(502, "fuel-exhausted");
    assert_eq!(problem["limit"], 2_000_000);
    let problem = gw.invoke_with("spin", "run", json!({"limits": {"fuel": 2_000_001}})).await;
    let problem = problem.expect_refusal(400, "bad-request");
    assert_eq!(problem["errors"][0]["path"], "/limits/fuel");
}
