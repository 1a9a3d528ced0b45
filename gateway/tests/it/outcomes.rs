//! How an execution can end, as its caller and its record tell it.

use serde_json::{Value, json};

use crate::support::{Answer, TestGateway, component};

/// Checks that the record tells the same end as the problem, and gives its lines.
async fn lines_of(gw: &TestGateway, problem: &Value) -> Vec<Value> {
    let id = problem["execution_id"].as_str().unwrap();
    let record = gw.ended_execution(id).await;
    let status = if problem["code"] == "invalid-data" { "invalid" } else { "failed" };
    assert_eq!(record["status"], status, "{record}");
    assert_eq!(
        record["error"],
        json!({"code": problem["code"], "message": problem["detail"], "origin": problem["origin"]})
    );
    gw.lines(id).await
}

async fn call(gw: &TestGateway, module: &str, function: &str, input: Value) -> Answer {
    gw.invoke_with(module, function, json!({ "input": input })).await
}

/// The members that only some problems have.
fn has(problem: &Value, members: &[&str]) {
    for member in ["errors", "limit", "used", "failure"] {
        assert_eq!(problem.get(member).is_some(), members.contains(&member), "{member}: {problem}");
    }
}

#[tokio::test]
async fn a_panic_is_a_trap_with_its_message_among_the_log_lines() {
    let gw = TestGateway::start().await.module("trap").await;
    let problem = gw.invoke("trap", json!({"message": "no such order"})).await.expect_guest_problem(502, "trap");
    has(&problem, &[]);
    let lines = lines_of(&gw, &problem).await;
    let said = |line: &Value| line["level"] == "error" && line["message"].as_str().unwrap().contains("no such order");
    assert!(lines.iter().any(said), "{lines:?}");
}

#[tokio::test]
async fn the_instruction_unreachable_and_an_exit_are_traps() {
    let gw = TestGateway::start().await.module("trap").await;
    for (function, text) in [("unreachable", "unreachable"), ("exit", "exited with status 0")] {
        let problem = call(&gw, "trap", function, json!(null)).await.expect_guest_problem(502, "trap");
        assert!(problem["detail"].as_str().unwrap().contains(text), "{problem}");
        has(&problem, &[]);
        assert_eq!(lines_of(&gw, &problem).await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn what_is_not_json_is_bad_output() {
    let gw = TestGateway::start().await.module("outcomes").await;
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for text in ["", "{", "nope", "1 2", "NaN", "1e400", "\"\\ud800\"", "{\"a\": \"\\udc00\"}", "\u{feff}1", &deep] {
        let problem = gw.invoke("outcomes", json!({ "text": text })).await.expect_guest_problem(502, "bad-output");
        has(&problem, &[]);
        lines_of(&gw, &problem).await;
    }
}

#[tokio::test]
async fn json_text_comes_out_as_the_step_wrote_it() {
    let gw = TestGateway::start().await.module("outcomes").await;
    for text in ["1.50", "{\"b\": 1,  \"a\": [1E2]}", "\"\\ud83d\\ude00\"", "-0", "null"] {
        let answer = gw.invoke("outcomes", json!({ "text": text })).await.expect_status(200);
        assert_eq!(answer.raw("output"), text);
    }
}

#[tokio::test]
async fn what_is_not_utf_8_is_a_trap() {
    let gw = TestGateway::start().await.module("outcomes").await;
    for bytes in [vec![34, 255, 34], vec![34, 0xc3, 34], vec![34, 0xed, 0xa0, 0x80, 34]] {
        let problem = gw.invoke("outcomes", json!({ "bytes": bytes })).await.expect_guest_problem(502, "trap");
        lines_of(&gw, &problem).await;
    }
}

#[tokio::test]
async fn an_outcome_outside_the_guests_memory_is_a_trap() {
    let gw = TestGateway::start().await;
    let far = [
        ("text", "(i32.store (i32.const 64) (i32.const 0)) (global.set $output_bytes (i32.const -1))"),
        (
            "list",
            "(i32.store8 (i32.const 1036) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 65532)) (i32.store (i32.const 1044) (i32.const 9))",
        ),
        ("variant", "(i32.store8 (i32.const 1024) (i32.const 9))"),
        ("misaligned", "(return (i32.const 1025))"),
        ("nowhere", "(return (i32.const -4))"),
    ];
    for (name, body) in far {
        gw.upload(name, "1.0.0", component::step(1, "", body)).await.expect_status(201);
        let problem = gw.invoke(name, json!(null)).await.expect_guest_problem(502, "trap");
        lines_of(&gw, &problem).await;
    }
}

#[tokio::test]
async fn a_failure_is_told_in_the_steps_words() {
    let gw = TestGateway::start().await.module("outcomes").await;
    let failed = json!({"code": "upstream-down", "message": "no answer", "retryable": true, "retry_after_ms": 1500,
                        "details": {"status": 503, "tries": [1, 2]}});
    let problem = gw.invoke("outcomes", json!({ "failed": failed })).await.expect_guest_problem(502, "step-failed");
    has(&problem, &["failure"]);
    assert_eq!(problem["failure"], failed);
    assert_eq!(problem["detail"], "upstream-down: no answer");
    lines_of(&gw, &problem).await;
}

#[tokio::test]
async fn a_failure_has_all_its_members_whatever_the_step_left_out() {
    let gw = TestGateway::start().await.module("outcomes").await;
    // What is not retryable has no time to wait; details that are no JSON are kept as a string.
    for (details, kept) in [(json!(null), json!(null)), (json!("{not json"), json!("{not json"))] {
        let failed = json!({"code": "broken", "message": "", "retry_after_ms": 5, "details": details});
        let problem = gw.invoke("outcomes", json!({ "failed": failed })).await.expect_guest_problem(502, "step-failed");
        assert_eq!(
            problem["failure"],
            json!({"code": "broken", "message": "", "retryable": false, "retry_after_ms": null, "details": kept})
        );
    }
}

#[tokio::test]
async fn invalid_data_is_told_with_every_error() {
    let gw = TestGateway::start().await.module("outcomes").await;
    let errors = json!([
        {"path": "/order/items/0/price", "code": "out-of-range", "message": "is negative"},
        {"path": "/order/id", "code": "required", "message": "is missing"},
    ]);
    let problem = gw.invoke("outcomes", json!({ "invalid": errors })).await.expect_guest_problem(422, "invalid-data");
    has(&problem, &["errors"]);
    assert_eq!(problem["errors"], errors);
    lines_of(&gw, &problem).await;
    let problem = gw.invoke("outcomes", json!({ "invalid": [] })).await.expect_guest_problem(422, "invalid-data");
    lines_of(&gw, &problem).await;
}

#[tokio::test]
async fn data_that_a_failed_step_has_set_is_not_told() {
    let gw = TestGateway::start().await.module("context").await;
    let ops = json!({"ops": [["set", "a", "1"], ["no such operation"]]});
    let problem = gw.invoke_with("context", "run", json!({"data": {}, "input": ops})).await;
    let problem = problem.expect_guest_problem(502, "trap");
    assert!(problem.get("data").is_none(), "{problem}");
}

#[tokio::test]
async fn fuel_that_is_used_up_is_told_with_its_limit() {
    let gw = TestGateway::start().await.module("spin").await;
    let body = json!({"limits": {"fuel": 1_000_000}});
    let problem = gw.invoke_with("spin", "run", body).await.expect_guest_problem(502, "fuel-exhausted");
    has(&problem, &["limit", "used"]);
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(1_000_000), &json!(1_000_000)));
    lines_of(&gw, &problem).await;
}

#[tokio::test]
async fn memory_over_the_limit_ends_the_execution_at_once() {
    let gw = TestGateway::start().await.module("grow").await;
    let body = json!({"input": {"bytes": 32 << 20}, "limits": {"memory_bytes": 8 << 20}});
    let problem = gw.invoke_with("grow", "run", body).await.expect_guest_problem(502, "memory-exceeded");
    has(&problem, &["limit", "used"]);
    assert_eq!(problem["limit"], 8 << 20);
    assert!(problem["used"].as_u64().unwrap() > 8 << 20, "{problem}");
    // Had the guest's allocator seen a failure, its panic would be here.
    assert_eq!(lines_of(&gw, &problem).await, Vec::<Value>::new());

    // A guest that doesn't look at what `memory.grow` says.
    let careless = component::step(1, "", "(drop (memory.grow (i32.const 2000)))");
    gw.upload("careless", "1.0.0", careless).await.expect_status(201);
    let problem = gw.invoke("careless", json!(null)).await.expect_guest_problem(502, "memory-exceeded");
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(64 << 20), &json!(2001 * 65_536)));
}

#[tokio::test]
async fn initial_memory_over_the_limit_is_memory_exceeded_too() {
    let gw = TestGateway::start().await;
    gw.upload("large", "1.0.0", component::step(100, "", "")).await.expect_status(201);
    gw.invoke("large", json!(null)).await.expect_status(200);
    for memory_bytes in [1, 65_536, 100 * 65_536 - 1] {
        let body = json!({"limits": {"memory_bytes": memory_bytes}});
        let problem = gw.invoke_with("large", "run", body).await.expect_guest_problem(502, "memory-exceeded");
        assert_eq!((&problem["limit"], &problem["used"]), (&json!(memory_bytes), &json!(100 * 65_536)));
        lines_of(&gw, &problem).await;
    }
    gw.upload("too-large", "1.0.0", component::step(2_000, "", "")).await.expect_status(201);
    let problem = gw.invoke("too-large", json!(null)).await.expect_guest_problem(502, "memory-exceeded");
    assert_eq!(problem["used"], 2_000 * 65_536);
}

#[tokio::test]
async fn output_is_measured_to_the_byte() {
    let gw = TestGateway::start_with(|config| config.limits.output_bytes = 100_000).await.module("big-output").await;
    let output = gw.invoke("big-output", json!({"bytes": 100_000})).await.expect_output();
    assert_eq!(output.as_str().unwrap().len(), 99_998);
    let problem = gw.invoke("big-output", json!({"bytes": 100_001})).await;
    let problem = problem.expect_guest_problem(502, "output-too-large");
    has(&problem, &["limit", "used"]);
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(100_000), &json!(100_001)));
    lines_of(&gw, &problem).await;
}

#[tokio::test]
async fn next_steps_errors_and_failures_are_output_too() {
    let gw = TestGateway::start_with(|config| config.limits.output_bytes = 10_000).await;
    let gw = gw.module("big-output").await.module("outcomes").await;
    assert_eq!(call(&gw, "big-output", "wide", json!({"count": 10})).await.expect_output(), json!(null));
    let long = "x".repeat(11_000);
    let error = json!({"path": "/", "code": "c", "message": "m"});
    for answer in [
        call(&gw, "big-output", "wide", json!({"count": 1_000})).await,
        gw.invoke("outcomes", json!({"invalid": vec![error; 1_000]})).await,
        gw.invoke("outcomes", json!({"failed": {"code": "c", "message": long}})).await,
        gw.invoke("outcomes", json!({"failed": {"code": "c", "message": "m", "details": {"long": long}}})).await,
    ] {
        let problem = answer.expect_guest_problem(502, "output-too-large");
        assert!(problem["used"].as_u64() > problem["limit"].as_u64() && problem["limit"] == 10_000, "{problem}");
    }
}

#[tokio::test]
async fn output_that_shares_its_memory_does_not_fill_the_hosts() {
    // The second half of the memory is zeroes; the first a list of the same string in it.
    let entries = |count: u32, length: u32| {
        format!(
            "(local.set $at (i32.const 65536))
             (loop $entries
               (i32.store (local.get $at) (i32.const 33554432))
               (i32.store offset=4 (local.get $at) (i32.const {length}))
               (local.set $at (i32.add (local.get $at) (i32.const 8)))
               (br_if $entries (i32.lt_u (local.get $at) (i32.const {end}))))
             (i32.store8 (i32.const 1036) (i32.const 1))
             (i32.store (i32.const 1040) (i32.const 65536))
             (i32.store (i32.const 1044) (i32.const {count}))",
            end = 65_536 + 8 * count
        )
    };
    let gw = TestGateway::start().await;
    // 512 MiB of text in long strings, and three million empty ones.
    for (name, count, length) in [("long", 512, 1 << 20), ("empty", 3_000_000, 0)] {
        gw.upload(name, "1.0.0", component::step(1_000, "", &entries(count, length))).await.expect_status(201);
        let problem = gw.invoke(name, json!(null)).await.expect_guest_problem(502, "output-too-large");
        has(&problem, &["limit", "used"]);
        assert!(problem["used"].as_u64() > problem["limit"].as_u64() && problem["limit"] == 1 << 20, "{problem}");
        lines_of(&gw, &problem).await;
    }
}

#[tokio::test]
async fn calls_that_nest_too_deep_exhaust_the_stack() {
    let gw = TestGateway::start().await.module("recurse").await;
    let problem = gw.invoke("recurse", json!({"depth": 10_000_000})).await.expect_guest_problem(502, "stack-exhausted");
    has(&problem, &["limit"]);
    assert!(problem["limit"].as_u64().unwrap() >= 65_536, "{problem}");
    lines_of(&gw, &problem).await;
    call(&gw, "recurse", "shadow", json!({"depth": 1_000_000})).await.expect_guest_problem(502, "trap");
    gw.invoke("recurse", json!({"depth": 10})).await.expect_status(200);
}

#[tokio::test]
async fn time_runs_out_while_a_step_computes_and_while_it_sleeps() {
    let gw = TestGateway::start_with(|config| config.limits.fuel = None).await.module("spin").await;
    for function in ["run", "sleep"] {
        let body = json!({"input": {"ms": 60_000}, "limits": {"timeout_ms": 100}});
        let problem = gw.invoke_with("spin", function, body).await.expect_guest_problem(504, "timed-out");
        has(&problem, &["limit", "used"]);
        let used_ms = problem["used"].as_u64().unwrap();
        assert!(problem["limit"] == 100 && (100..10_000).contains(&used_ms), "{function}: {problem}");
        lines_of(&gw, &problem).await;
    }
}
