//! Uploads that are no component that can run here: each is told why, and none leaves a trace.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::component::{echo, echo_with, parse};
use crate::support::{TestGateway, guest};

/// The errors of an upload that must be refused, and leave nothing behind.
async fn refused(gw: &TestGateway, component: Vec<u8>) -> Vec<Value> {
    let before = gw.files();
    let problem = gw.upload("hostile", "1.0.0", component).await.expect_problem(422, "invalid-module");
    assert_eq!(gw.files(), before, "{problem}");
    assert_eq!(gw.get("/api/v1/wasm/modules").await.json()["total"], 0);
    problem["errors"].as_array().unwrap().clone()
}

/// The one error there must be.
async fn refused_for(gw: &TestGateway, component: Vec<u8>, path: &str, code: &str) -> String {
    let errors = refused(gw, component).await;
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!((&error["path"], &error["code"]), (&json!(path), &json!(code)), "{error}");
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_no_component_is_told_what_it_is() {
    let gw = TestGateway::start().await;
    let component = echo("a");
    let mut compressed = b"\x1f\x8b\x08\x00".to_vec();
    compressed.extend(&component);
    let mut precompiled = b"\x7fELF\x02\x01\x01".to_vec();
    precompiled.extend(&component);
    for (bytes, code) in [
        (b"hello".to_vec(), "not-wasm"),
        (vec![0xff; 1000], "not-wasm"),
        (b"#!/bin/sh\nrm -rf /\n".to_vec(), "not-wasm"),
        (b"\0as".to_vec(), "malformed"),
        (b"\0asm\x0d\0".to_vec(), "malformed"),
        (b"\0asm\x0e\0\x01\0".to_vec(), "malformed"),
        (b"(component)".to_vec(), "text-format"),
        (b";; a comment\n(module)".to_vec(), "text-format"),
        (compressed, "compressed"),
        (precompiled, "precompiled"),
        (parse("(module (memory 1))"), "core-module"),
    ] {
        let message = refused_for(&gw, bytes.clone(), "module", code).await;
        assert!(!message.is_empty(), "{code}: {bytes:02x?}");
    }
}

#[tokio::test]
async fn an_artefact_of_our_own_is_refused_like_any_machine_code() {
    let gw = TestGateway::start().await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let artifact = crate::support::files::artifacts(gw.folder().path()).pop().unwrap();
    let bytes = std::fs::read(artifact).unwrap();
    let before = gw.files();
    let problem = gw.upload("hostile", "1.0.0", bytes).await.expect_problem(422, "invalid-module");
    assert_eq!(problem["errors"][0]["code"], "precompiled", "{problem}");
    assert_eq!(gw.files(), before);
}

#[tokio::test]
async fn a_component_that_is_cut_off_or_damaged_is_never_stored() {
    let gw = TestGateway::start().await;
    let component = guest("echo");
    for length in [8, 9, 20, 100, component.len() / 3, component.len() / 2, component.len() - 1] {
        let errors = refused(&gw, component[..length].to_vec()).await;
        assert_eq!(errors[0]["path"], "module", "{length}: {errors:?}");
    }
    // A wrong opcode in the middle of the code of a small component.
    let mut damaged = echo("a");
    let at = damaged.windows(3).position(|window| window == [0x41, 0x10, 0x0b]).unwrap();
    damaged[at] = 0xff;
    refused(&gw, damaged).await;
}

#[tokio::test]
async fn a_component_without_a_step_function_is_shown_what_one_is() {
    let gw = TestGateway::start().await;
    let message = refused_for(&gw, parse("(component)"), "module", "no-step-function").await;
    assert!(message.contains("func(input: string) -> variant {"), "{message}");
    assert!(message.contains("wasi:http/incoming-handler"), "{message}");
    let errors = refused(&gw, guest("wrong-type")).await;
    let codes: Vec<_> = errors.iter().map(|error| (&error["path"], &error["code"])).collect();
    assert_eq!(codes, [(&json!("module"), &json!("no-step-function")), (&json!("run"), &json!("wrong-type"))]);
    let message = errors[1]["message"].as_str().unwrap();
    assert!(message.contains("func(n: u32) -> u32"), "{message}");
    assert!(message.contains("func(input: string) -> variant {"), "{message}");
}

#[tokio::test]
async fn an_unknown_import_is_named_with_what_this_host_has() {
    let gw = TestGateway::start().await;
    let path = "acme:mystery/thing@1.0.0";
    let message = refused_for(&gw, guest("unknown-import"), path, "unknown-import").await;
    for part in ["acme:mystery/thing@1.0.0", "sluice:step/{types,log,context,http,db}@0.1.0", "wasi:{cli,io,"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    for (import, message) in [
        ("sluice:step/mail@0.1.0", "no interface `mail`"),
        ("sluice:step/log@0.2.0", "sluice:step/log@0.1"),
        ("wasi:cli/environment@0.3.0", "wasi:cli/environment@0.2"),
    ] {
        let component = echo_with(&format!("(import \"{import}\" (instance))"));
        let told = refused_for(&gw, component, import, "unknown-import").await;
        assert!(told.contains(message), "{told}");
    }
}

#[tokio::test]
async fn a_function_that_a_known_interface_does_not_have_is_named() {
    let gw = TestGateway::start().await;
    let step = r#"(import "sluice:step/context@0.1.0" (instance (export "frobnicate" (func))))"#;
    let path = "sluice:step/context@0.1.0#frobnicate";
    let message = refused_for(&gw, echo_with(step), path, "unknown-import").await;
    assert!(message.contains("current, get, set"), "{message}");
    // These are the linker's to find, after the component was compiled.
    for (items, told) in [
        (r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "frobnicate" (func))))"#, "frobnicate"),
        (
            r#"(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result string)))))"#,
            "random",
        ),
        (r#"(import "wasi:cli/nowhere@0.2.0" (instance (export "run" (func))))"#, "nowhere"),
        (r#"(import "sluice:step/log@0.1.0" (instance (export "write" (func (param "x" u8)))))"#, "log"),
    ] {
        let errors = refused(&gw, echo_with(items)).await;
        assert!(errors[0]["message"].as_str().unwrap().contains(told), "{errors:?}");
    }
}

#[tokio::test]
async fn a_component_that_no_slot_of_the_pool_can_hold_is_refused_at_upload() {
    let gw = TestGateway::start().await;
    let instances = "(core instance (instantiate $n))".repeat(300);
    let many =
        |item: &str, count: usize| format!("(core module $n {}) (core instance (instantiate $n))", item.repeat(count));
    for (items, what) in [
        (many("(table 200000 funcref)", 1), "table"),
        (many("(table 1 funcref)", 65), "tables"),
        (many("(memory 1)", 33), "memories"),
        (format!("(core module $n) {instances}"), "core module instances"),
    ] {
        let message = refused_for(&gw, echo_with(&items), "module", "not-compilable").await;
        assert!(message.contains(what), "{what}: {message}");
    }
}

#[tokio::test]
async fn a_gateway_with_one_slot_runs_or_refuses_every_component() {
    let gw = TestGateway::start_with(|config| config.runtime.instances = 1).await;
    let instances = "(core instance (instantiate $n))".repeat(50);
    let wide = echo_with(&format!("(core module $n (table 1 funcref)) {instances}"));
    gw.upload("wide", "1.0.0", wide).await.expect_status(201);
    gw.invoke("wide", json!(1)).await.expect_status(200);
    // Its own memory and this one are one more than there will ever be.
    let two = echo_with("(core module $n (memory 1)) (core instance (instantiate $n))");
    let problem = gw.upload("two", "1.0.0", two).await.expect_problem(422, "invalid-module");
    assert_eq!(problem["errors"][0]["code"], "not-compilable", "{problem}");
    gw.invoke("wide", json!(1)).await.expect_status(200);
}

#[tokio::test]
async fn a_component_that_needs_more_than_an_execution_may_have_is_warned_of_and_ends_at_the_bound() {
    let gw = TestGateway::start().await;
    // 128 MiB, and 64 are the ceiling.
    let component = echo_with("(core module $n (memory 2048)) (core instance (instantiate $n))");
    let module = gw.upload("large", "1.0.0", component).await.expect_status(201).json();
    assert!(module["warnings"].to_string().contains("initial memory"), "{module}");
    let problem = gw.invoke("large", json!(1)).await.expect_problem(502, "memory-exceeded");
    assert_eq!(problem["limit"], 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_component_that_is_too_complex_is_refused_before_it_costs() {
    let gw = TestGateway::start().await;
    let nested = |depth: usize| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
    let mut imports = String::new();
    for index in 0..1001 {
        write!(imports, "(import \"a:b/i{index}@1.0.0\" (instance))").unwrap();
    }
    let blocks = format!("(core module (func {} {}))", "block ".repeat(3000), "end ".repeat(3000));
    let locals = format!("(core module (func {}))", "(local i64) ".repeat(6000));
    let long = format!("(import \"a:b/{}@1.0.0\" (instance))", "x".repeat(300));
    for items in [nested(9), imports, "(core module)".repeat(65), blocks, locals, long] {
        let message = refused_for(&gw, echo_with(&items), "module", "too-complex").await;
        assert!(message.contains("at most"), "{message}");
    }
    for items in ["(core module (memory i64 1))", "(core module (type (struct)))", "(core module (tag))"] {
        let errors = refused(&gw, echo_with(items)).await;
        assert_eq!(errors[0]["code"], "unsupported-feature", "{errors:?}");
    }
}

#[tokio::test]
async fn a_start_function_that_never_ends_does_not_hold_up_the_upload() {
    // Nothing of a guest runs before it is invoked.
    let gw = TestGateway::start().await;
    let spin = "(core module $n (func $f (loop (br 0))) (start $f)) (core instance (instantiate $n))";
    gw.upload("spin", "1.0.0", echo_with(spin)).await.expect_status(201);
    let body = json!({"input": 1, "limits": {"fuel": 1_000_000}});
    gw.invoke_with("spin", "run", body).await.expect_problem(502, "fuel-exhausted");
}

#[tokio::test]
async fn nothing_in_an_errors_message_is_longer_than_people_read() {
    let gw = TestGateway::start().await;
    let name = "x".repeat(100_000);
    let wide: String = (0..200).fold(String::new(), |mut text, index| {
        write!(text, "(import \"a:b/i{index}@1.0.0\" (instance))").unwrap();
        text
    });
    for items in [
        format!("(core module (import \"{name}\" \"{name}\" (func)) (func (call 7)))"),
        format!("(import \"sluice:step/log@0.1.0\" (instance (export \"{name}\" (func))))"),
        wide,
    ] {
        let answer = gw.upload("hostile", "1.0.0", echo_with(&items)).await;
        assert!(answer.body.len() < 20_000, "{}", answer.body.len());
        answer.expect_problem(422, "invalid-module");
    }
}
