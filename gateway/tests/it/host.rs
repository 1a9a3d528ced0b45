//! The host functions of a step: `log` and `context`.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{TestGateway, component, property};

const MIB: u64 = 1024 * 1024;

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[test]
fn p03_context_serialization() {
    let start = async { TestGateway::start().await.module("echo").await };
    let any_text = (property::any_json(), any::<bool>()).prop_map(|(value, pretty)| {
        if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() }
    });
    property::check(48, any_text, start, async |gw, text| {
        let path = "/api/v1/wasm/modules/echo/invoke";
        let request = gw.request(reqwest::Method::POST, path).header("content-type", "application/json");
        let answer = crate::support::Answer::of(request.body(format!("{{\"input\": {text} }}"))).await;
        assert_eq!(answer.expect_status(200).raw("output"), text);
    });
}

#[tokio::test]
async fn numbers_reach_the_step_as_they_are_written() {
    let gw = TestGateway::start().await.module("echo").await;
    for text in
        ["1.50", "-0", "1E2", "12345678901234567890123", "0.1000000000000000055511151231257827", "\"\\u00e9\\/\""]
    {
        let request = gw.request(reqwest::Method::POST, "/api/v1/wasm/modules/echo/invoke");
        let answer = crate::support::Answer::of(request.body(format!("{{\"input\":{text}}}"))).await;
        assert_eq!(answer.expect_status(200).raw("output"), text);
    }
}

#[tokio::test]
async fn the_last_errors_of_a_log_that_is_full_are_kept_without_their_fields() {
    let gw = TestGateway::start_with(|config| config.limits.log_lines = 0).await.module("log-spam").await;
    let log = async |level: &str, message: String| {
        let input = json!({"level": level, "message": message, "fields": [["a", "1"]]});
        let body = json!({ "input": input });
        let answer = gw.invoke_with("log-spam", "fields", body).await.expect_status(200).json();
        let id = answer["execution_id"].as_str().unwrap().to_owned();
        let dropped = gw.ended_execution(&id).await["lines_dropped"].clone();
        (gw.lines(&id).await, dropped)
    };
    assert_eq!(log("warn", "no room".to_owned()).await, (vec![], json!(1)));
    let (lines, dropped) = log("error", "panicked at src/lib.rs:1:1".to_owned()).await;
    assert_eq!((lines.len(), dropped), (1, json!(0)));
    assert_eq!((&lines[0]["message"], &lines[0]["level"]), (&json!("panicked at src/lib.rs:1:1"), &json!("error")));
    assert_eq!(lines[0]["fields"], json!({}));
    // It has a bound of its own.
    let (lines, _) = log("error", "ä".repeat(10_000)).await;
    assert_eq!(lines[0]["message"], "ä".repeat(4064));
}

#[test]
fn p04_output_parsing_and_context_update() {
    let start = async { TestGateway::start().await.module("context").await };
    let sets = prop::collection::vec(("[a-z]{1,3}", property::any_json()), 0..6);
    property::check(32, (property::any_object("[a-z]{1,3}"), sets), start, async |gw, (data, sets)| {
        let ops: Vec<_> = sets.iter().map(|(key, value)| json!(["set", key, value.to_string()])).collect();
        let answer = gw.invoke_with("context", "run", json!({"data": data, "input": {"ops": ops}})).await;
        let answer = answer.expect_status(200).json();
        assert_eq!(answer["output"], Value::from(vec![json!({"ok": null}); sets.len()]));
        let mut expected = data;
        expected.extend(sets);
        assert_eq!(answer["data"], json!(expected));
    });
}

#[test]
fn p14_log_host_function() {
    let start = async { TestGateway::start().await.module("log-spam").await };
    let level = prop::sample::select(vec!["debug", "info", "warn", "error"]);
    let raw = prop_oneof![property::any_json().prop_map(|value| value.to_string()), any::<String>()];
    let fields = prop::collection::btree_map(any::<String>(), raw, 0..5);
    property::check(24, (level, any::<String>(), fields), start, async |gw, (level, message, fields)| {
        let pairs: Vec<_> = fields.iter().collect();
        let body = json!({"input": {"level": level, "message": message, "fields": pairs}});
        let answer = gw.invoke_with("log-spam", "fields", body).await.expect_status(200).json();
        let lines = gw.lines(answer["execution_id"].as_str().unwrap()).await;
        let expected: Map<_, _> = fields
            .into_iter()
            .map(|(name, raw)| (name, serde_json::from_str(&raw).unwrap_or(Value::String(raw))))
            .collect();
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(
            (&line["level"], &line["message"], &line["fields"]),
            (&json!(level), &json!(message), &json!(expected))
        );
        assert!(line["at"].as_str().unwrap().ends_with('Z'), "{line}");
    });
}

#[test]
fn p15_get_context() {
    let start = async { TestGateway::start().await.module("context").await };
    let data = property::any_object("[a-z~/é]{0,4}");
    property::check(32, data, start, async |gw, data| {
        let mut ops = vec![json!(["get", "no such name"]), json!(["get", "/no/such/pointer"])];
        let mut expected = vec![json!({"ok": null}), json!({"ok": null})];
        for (name, value) in &data {
            let text = json!({"ok": value.to_string()});
            ops.push(json!(["get", format!("/{}", escaped(name))]));
            expected.push(text.clone());
            if !name.starts_with('/') {
                ops.push(json!(["get", name]));
                expected.push(text);
            }
            for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                ops.push(json!(["get", format!("/{}/{index}", escaped(name))]));
                expected.push(json!({"ok": element.to_string()}));
            }
        }
        let answer = gw.invoke_with("context", "run", json!({"data": data, "input": {"ops": ops}})).await;
        let answer = answer.expect_status(200).json();
        assert_eq!(answer["output"], json!(expected));
        assert_eq!(answer["data"], json!(data), "reading changes nothing");
    });
}

#[test]
fn p16_set_context() {
    let start = async { TestGateway::start().await.module("context").await };
    let path = prop::collection::vec("[a-z~/é]{0,4}", 1..5);
    property::check(32, (path, property::any_json()), start, async |gw, (path, value)| {
        let pointer: String = path.iter().map(|name| format!("/{}", escaped(name))).collect();
        let text = value.to_string();
        let ops = json!({"ops": [["set", pointer, text], ["get", pointer]]});
        let answer = gw.invoke_with("context", "run", json!({ "input": ops })).await.expect_status(200).json();
        assert_eq!(answer["output"], json!([{"ok": null}, {"ok": text}]));
        let expected = path.iter().rev().fold(value, |inner, name| json!({ name: inner }));
        assert_eq!(answer["data"], expected);
    });
}

#[tokio::test]
async fn a_set_that_is_refused_is_told_and_changes_nothing() {
    let gw = TestGateway::start().await.module("context").await;
    let data = json!({"number": 1, "list": [1]});
    let ops = json!([["set", "/number/x", "1"], ["set", "/list/7", "1"], ["set", "x", "{"], ["set", "x", "1e400"]]);
    let answer = gw.invoke_with("context", "run", json!({"data": data, "input": {"ops": ops}})).await;
    let answer = answer.expect_status(200).json();
    for result in answer["output"].as_array().unwrap() {
        assert_eq!(result["err"][0], "invalid-argument", "{answer}");
    }
    assert_eq!(answer["data"], data);
}

#[tokio::test]
async fn a_step_knows_which_execution_it_is() {
    let gw = TestGateway::start().await.module("context").await;
    let answer = gw.invoke("context", json!({"ops": [["current"]]})).await.expect_status(200).json();
    let id = &answer["execution_id"];
    assert_eq!(
        answer["output"][0]["ok"],
        json!({"execution_id": id, "module": "context", "version": "1.0.0", "function": "run", "job": null,
               "run_id": null, "step_id": null, "attempt": 1, "idempotency_key": id})
    );
}

#[tokio::test]
async fn a_context_that_is_full_is_an_error_that_the_step_sees() {
    let gw = TestGateway::start_with(|config| config.limits.memory_bytes = 256 * MIB).await.module("context-hog").await;
    let output = gw.invoke("context-hog", json!({"bytes": MIB, "times": 64})).await.expect_output();
    let set = output["set"].as_u64().unwrap();
    assert!((8..64).contains(&set), "{output}");
    assert_eq!(output["err"][0], "limit-exceeded", "{output}");
    let output = gw.invoke("context-hog", json!({"bytes": 40 * MIB, "times": 1})).await.expect_output();
    assert_eq!((&output["set"], &output["err"][0]), (&json!(0), &json!("limit-exceeded")));
}

#[tokio::test]
async fn calls_of_the_host_are_counted_and_bounded() {
    let gw = TestGateway::start_with(|config| config.limits.host_calls = 5).await;
    let gw = gw.module("context").await.module("hosts").await;
    let ops: Vec<_> = (0..7).map(|_| json!(["get", "a"])).collect();
    let output = gw.invoke("context", json!({ "ops": ops })).await.expect_output();
    for (index, result) in output.as_array().unwrap().iter().enumerate() {
        match index {
            0..5 => assert_eq!(result, &json!({"ok": null})),
            _ => assert_eq!(result["err"][0], "limit-exceeded"),
        }
    }
    let output = gw.invoke("hosts", json!({"db": ["orders", "select 1", []]})).await.expect_output();
    assert_eq!(output["query"]["err"][0], "permission-denied", "each execution has its own count");
}

#[tokio::test]
async fn log_lines_over_their_number_are_dropped_and_counted() {
    let gw = TestGateway::start_with(|config| config.limits.log_lines = 10).await.module("log-spam").await;
    let answer = gw.invoke("log-spam", json!({"lines": 25, "bytes": 3})).await.expect_status(200).json();
    let id = answer["execution_id"].as_str().unwrap();
    let lines = gw.lines(id).await;
    assert!(lines.len() == 10 && lines.iter().all(|line| line["message"] == "xxx"), "{lines:?}");
    assert_eq!(gw.execution(id).await["lines_dropped"], 15);
}

#[tokio::test]
async fn log_lines_over_their_bytes_are_dropped_and_counted() {
    let gw = TestGateway::start_with(|config| config.limits.log_bytes = 10_000).await.module("log-spam").await;
    for (bytes, lines_max) in [(1_000, 10), (0, 200), (20_000, 0)] {
        let input = json!({"lines": 1_000, "bytes": bytes});
        let answer = gw.invoke("log-spam", input).await.expect_status(200).json();
        let id = answer["execution_id"].as_str().unwrap();
        let kept = gw.lines(id).await.len();
        assert!(kept <= lines_max && (kept > 0 || lines_max == 0), "{kept} lines of {bytes} bytes");
        assert_eq!(gw.execution(id).await["lines_dropped"], 1_000 - kept);
    }
}

#[tokio::test]
async fn a_log_message_of_sixty_mebibytes_does_not_fail_the_step() {
    let gw = TestGateway::start().await.module("log-spam").await;
    let answer = gw.invoke("log-spam", json!({"lines": 2, "bytes": 60 * MIB})).await.expect_status(200).json();
    let record = gw.ended_execution(answer["execution_id"].as_str().unwrap()).await;
    assert_eq!((&record["status"], &record["lines_dropped"]), (&json!("completed"), &json!(2)));
}

#[tokio::test]
async fn fields_that_share_their_memory_fill_nothing_of_the_host() {
    // A line whose hundred thousand fields are all the same megabyte, and one with ten of them.
    let body = "
      (local.set $at (i32.const 1048576))
      (loop $fields
        (i32.store (local.get $at) (i32.const 32))
        (i32.store offset=4 (local.get $at) (i32.const 0))
        (i32.store offset=8 (local.get $at) (i32.const 65536))
        (i32.store offset=12 (local.get $at) (i32.const 900000))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $fields (i32.lt_u (local.get $at) (i32.const 2648576))))
      (call $log (i32.const 1) (i32.const 64) (i32.const 4) (i32.const 1048576) (i32.const 100000))
      (call $log (i32.const 1) (i32.const 64) (i32.const 4) (i32.const 1048576) (i32.const 10))";
    let core = format!(
        r#"
        (import "sluice:step/log@0.1.0" (instance $log
          (type $level' (enum "debug" "info" "warn" "error"))
          (export "level" (type $level (eq $level')))
          (export "write" (func (param "level" $level) (param "message" string)
            (param "fields" (list (tuple string string)))))))
        (core module $store (memory (export "memory") 300))
        (core instance $store (instantiate $store))
        (core func $log (canon lower (func $log "write") (memory $store "memory")))
        {}
        (core instance $i (instantiate $m (with "host" (instance (export "log" (func $log)) (export "memory" (memory $store "memory"))))))
        "#,
        component::module_on_memory(
            r#"(import "host" "memory" (memory $memory 300))
               (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))"#,
            body
        )
    );
    let gw = TestGateway::start().await;
    gw.upload("fields", "1.0.0", component::component(&core)).await.expect_status(201);
    let answer = gw.invoke("fields", json!(null)).await.expect_status(200).json();
    let record = gw.ended_execution(answer["execution_id"].as_str().unwrap()).await;
    assert_eq!(record["lines_dropped"], 2);
}

#[tokio::test]
async fn the_ends_of_stdout_and_stderr_are_log_lines() {
    let gw = TestGateway::start().await.module("log-spam").await;
    let body = json!({"input": {"stdout": "to out\n", "stderr": "to err\n\nand more\n"}});
    let answer = gw.invoke_with("log-spam", "stdio", body).await.expect_status(200).json();
    let lines = gw.lines(answer["execution_id"].as_str().unwrap()).await;
    let told: Vec<_> = lines.iter().map(|line| json!([line["level"], line["message"], line["fields"]])).collect();
    assert_eq!(
        told,
        [
            json!(["info", "to out", {"stream": "stdout"}]),
            json!(["error", "to err", {"stream": "stderr"}]),
            json!(["error", "and more", {"stream": "stderr"}]),
        ]
    );
}

#[tokio::test]
async fn of_much_output_the_end_is_kept_and_the_rest_counted() {
    let gw = TestGateway::start().await.module("log-spam").await;
    for (line, count) in [("y".repeat(99) + "\n", 5_000), ("z\n".to_owned(), 3_000)] {
        let body = json!({"input": {"stdout": line, "stderr": "", "repeat": count}});
        let answer = gw.invoke_with("log-spam", "stdio", body).await.expect_status(200).json();
        let id = answer["execution_id"].as_str().unwrap();
        let lines = gw.lines(id).await;
        assert!((50..=100).contains(&lines.len()), "{}", lines.len());
        let dropped = gw.execution(id).await["lines_dropped"].as_u64().unwrap();
        // The first line that is kept may have lost its beginning, and is one of both.
        let told = dropped + lines.len() as u64;
        assert!((count..=count + 1).contains(&told), "{dropped} dropped, {} kept of {count}", lines.len());
        assert_eq!(lines.last().unwrap()["message"], line.trim_end());
    }
}
