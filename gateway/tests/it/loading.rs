//! The way of code: from an upload to the blob store, the compiler and an instance.

use proptest::prelude::*;
use serde_json::json;

use crate::support::{Answer, Raw, TestGateway, component, property};

/// Stops a gateway, removes its compiled code, and starts another on its folder.
async fn restart_without_artifacts(mut gw: TestGateway) -> TestGateway {
    gw.stop().await;
    let folder = gw.folder();
    std::fs::remove_dir_all(folder.path().join("artifacts")).unwrap();
    TestGateway::start_in(folder, |_| {}).await
}

#[test]
fn p01_module_loading() {
    let outputs = prop::collection::vec(property::any_object("[a-z]{0,3}"), 1..4)
        .prop_filter("fits the component", |all| all.iter().all(|one| json!(one).to_string().len() < 900));
    let start = async { TestGateway::start().await };
    property::check(8, outputs, start, async |_, outputs| {
        let gw = TestGateway::start().await;
        for (number, output) in outputs.iter().enumerate() {
            let component = component::constant(&json!(output).to_string());
            gw.upload(&format!("module-{number}"), "1.0.0", component).await.expect_status(201);
        }
        let gw = restart_without_artifacts(gw).await;
        for (number, output) in outputs.iter().enumerate() {
            let answer = gw.invoke(&format!("module-{number}"), json!(null)).await.expect_status(200);
            assert_eq!(answer.raw("output"), json!(output).to_string());
        }
    });
}

#[tokio::test]
async fn code_that_left_the_cache_is_found_again() {
    let gw = TestGateway::start_with(|config| config.runtime.cache_modules = 1).await;
    for number in 0..4 {
        let component = component::constant(&number.to_string());
        gw.upload(&format!("module-{number}"), "1.0.0", component).await.expect_status(201);
    }
    for _ in 0..2 {
        for number in 0..4 {
            let output = gw.invoke(&format!("module-{number}"), json!(null)).await.expect_output();
            assert_eq!(output, number);
        }
    }
}

#[tokio::test]
async fn many_first_calls_at_once_all_get_the_code() {
    let gw = TestGateway::start().await;
    gw.upload("seven", "1.0.0", component::constant("7")).await.expect_status(201);
    let gw = restart_without_artifacts(gw).await;
    let calls = (0..16).map(|_| gw.invoke("seven", json!(null)));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.expect_output(), 7);
    }
}

#[tokio::test]
async fn stored_bytes_that_changed_are_refused_and_leave_no_record() {
    let mut gw = TestGateway::start().await;
    let uploaded = gw.upload("seven", "1.0.0", component::constant("7")).await.expect_status(201).json();
    gw.stop().await;
    let folder = gw.folder();
    std::fs::remove_dir_all(folder.path().join("artifacts")).unwrap();
    let digest = uploaded["sha256"].as_str().unwrap();
    let blob = file_named(folder.path(), digest).expect("the blob is named by its digest");
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();

    let gw = TestGateway::start_in(folder, |_| {}).await;
    let problem = gw.invoke("seven", json!(null)).await.expect_refusal(500, "integrity");
    assert!(!problem.to_string().contains(digest), "{problem}");
    assert_eq!(gw.get("/api/v1/wasm/executions").await.json()["total"], 0);
}

fn file_named(folder: &std::path::Path, ending: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() {
            return file_named(&path, ending);
        }
        path.to_str().unwrap().ends_with(ending).then_some(path)
    })
}

/// A computation on 32-bit numbers.
#[derive(Debug, Clone)]
enum Term {
    Number(i32),
    Binary(&'static str, Box<Term>, Box<Term>),
}

impl Term {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => format!("(i32.const {number})"),
            Self::Binary(operator, left, right) => format!("(i32.{operator} {} {})", left.text(), right.text()),
        }
    }

    fn value(&self) -> i32 {
        match self {
            Self::Number(number) => *number,
            Self::Binary(operator, left, right) => {
                let (left, right) = (left.value(), right.value());
                match *operator {
                    "add" => left.wrapping_add(right),
                    "sub" => left.wrapping_sub(right),
                    "mul" => left.wrapping_mul(right),
                    "xor" => left ^ right,
                    "shl" => left.wrapping_shl(right.cast_unsigned()),
                    "rotr" => left.rotate_right(right.cast_unsigned() & 31),
                    "lt_s" => i32::from(left < right),
                    other => panic!("{other}"),
                }
            }
        }
    }
}

fn any_term() -> impl Strategy<Value = Term> {
    let operator = prop::sample::select(vec!["add", "sub", "mul", "xor", "shl", "rotr", "lt_s"]);
    any::<i32>().prop_map(Term::Number).prop_recursive(5, 40, 2, move |inner| {
        (operator.clone(), inner.clone(), inner)
            .prop_map(|(operator, left, right)| Term::Binary(operator, Box::new(left), Box::new(right)))
    })
}

/// Writes the number as a JSON string of ten digits.
fn compute(term: &Term) -> Vec<u8> {
    let body = format!(
        r"(local.set $n {})
          (i32.store8 (i32.const 64) (i32.const 34))
          (i32.store8 (i32.const 75) (i32.const 34))
          (local.set $at (i32.const 74))
          (loop $digits
            (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
            (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
            (local.set $at (i32.sub (local.get $at) (i32.const 1)))
            (br_if $digits (i32.gt_u (local.get $at) (i32.const 64))))
          (global.set $output_bytes (i32.const 12))",
        term.text()
    );
    component::step(1, "", &body)
}

/// What was compiled computes what its text says.
async fn compiled_code_computes(gw: &TestGateway, term: Term) {
    let name = format!("m{}", uuid::Uuid::now_v7().simple());
    gw.upload(&name, "1.0.0", compute(&term)).await.expect_status(201);
    let output = gw.invoke(&name, json!(null)).await.expect_output();
    assert_eq!(output, format!("{:010}", term.value().cast_unsigned()));
}

#[test]
fn p02_module_compilation() {
    property::check(24, any_term(), TestGateway::start(), compiled_code_computes);
}

#[test]
fn p02_module_compilation_without_metering() {
    let start = TestGateway::start_with(|config| config.limits.fuel = None);
    property::check(16, any_term(), start, compiled_code_computes);
}

#[tokio::test]
async fn the_smallest_pool_has_room_for_a_component_of_many_instances() {
    let mut core = component::module(1, "", "");
    core.push_str("(core module $small (table 1 funcref))");
    for number in 0..40 {
        core.push_str(&format!("(core instance $i{number} (instantiate $small))"));
    }
    core.push_str("(core instance $i (instantiate $m))");
    let gw = TestGateway::start_with(|config| config.runtime.instances = 1).await;
    gw.upload("many", "1.0.0", component::component(&core)).await.expect_status(201);
    gw.invoke("many", json!(null)).await.expect_status(200);
}

#[tokio::test]
async fn what_no_pool_has_room_for_is_an_invalid_module() {
    let gw = TestGateway::start().await;
    let memories = "(memory 0) ".repeat(40);
    let tables = "(table 0 funcref) ".repeat(70);
    for (name, items) in [("memories", memories.as_str()), ("tables", &tables), ("table", "(table 200000 funcref)")] {
        let answer = gw.upload(name, "1.0.0", component::step(1, items, "")).await;
        answer.expect_refusal(422, "invalid-module");
        gw.invoke(name, json!(null)).await.expect_refusal(404, "not-found");
    }
}

#[tokio::test]
async fn a_call_that_a_deletion_overtakes_finds_no_module() {
    let gw = TestGateway::start().await.module("echo").await;
    let body = json!({"input": 1}).to_string();
    let head = format!(
        "POST /api/v1/wasm/modules/echo/invoke HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        gw.key(),
        body.len()
    );
    let mut raw = Raw::send(&gw, head).await;
    // The gateway asks for the body: it has found the module.
    assert_eq!(raw.answer().await.status, 100);
    Answer::of(gw.request(reqwest::Method::DELETE, "/api/v1/wasm/modules/echo")).await.expect_status(204);
    raw.more(&body).await;
    assert_eq!(raw.answer().await.status, 404);
    assert!(gw.files().artifacts.is_empty());
}
