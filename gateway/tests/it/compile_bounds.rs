//! Components that are hostile to the compiler cost a child process, and nobody else.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary as _, Unstructured};
use proptest::prelude::*;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::component::{echo, echo_with};
use crate::support::{Process, TestGateway, guest, property};

/// Far longer than anything takes that is waited for here.
const PATIENCE: Duration = Duration::from_mins(1);

/// A core module beside a step that works.
fn with_function(locals: usize, body: &str) -> Vec<u8> {
    let locals = " i32".repeat(locals);
    echo_with(&format!("(core module (global (mut i32) (i32.const 0)) (func (local{locals}) {body}))"))
}

/// The values of all locals are used.
fn use_all(locals: usize) -> String {
    (0..locals).map(|index| format!("local.get {index} global.set 0 ")).collect()
}

/// Some 30 KB. Each end of a block joins all locals that were set on one of two ways to it: the
/// number of values that the compiler makes grows with the square of the blocks.
fn many_phis(blocks: usize) -> Vec<u8> {
    let mut body = "block ".repeat(blocks);
    let targets: String = (0..blocks).map(|index| format!("{index} ")).collect();
    write!(body, "local.get 0 br_table {targets}").unwrap();
    for index in 0..blocks {
        write!(body, "end local.get {index} i32.const 1 i32.add local.set {index} ").unwrap();
    }
    with_function(blocks, &(body + &use_all(blocks)))
}

/// Loops in loops, as deep as the intake lets them be, each of which changes a local of its own.
fn deep_nesting(depth: usize) -> Vec<u8> {
    let mut body: String =
        (0..depth).map(|index| format!("loop local.get {index} i32.const 1 i32.add local.set {index} ")).collect();
    for index in 0..depth {
        write!(body, "local.get {index} br_if 0 end ").unwrap();
    }
    with_function(depth, &(body + &use_all(depth)))
}

/// A body just below the bound of one function, all of it live.
fn huge_function() -> Vec<u8> {
    let body = "local.get 0 local.get 1 i32.mul local.get 2 i32.rotl local.set 0 ".repeat(90_000);
    with_function(3, &(body + &use_all(3)))
}

/// The one reason of a refusal.
fn reason(problem: &Value) -> String {
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{problem}");
    assert_eq!((&errors[0]["path"], &errors[0]["code"]), (&json!("module"), &json!("not-compilable")), "{problem}");
    errors[0]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_components_end_within_bounds_while_another_module_keeps_answering() {
    let gw = TestGateway::start_with(|config| {
        config.runtime.compile_memory_bytes = 1024 * 1024 * 1024;
        config.runtime.compile_timeout_ms = 5_000;
    })
    .await
    .module("echo")
    .await;
    for (what, component) in
        [("phis", many_phis(1_900)), ("nesting", deep_nesting(1_900)), ("function", huge_function())]
    {
        let before = gw.files();
        let upload = gw.upload(what, "1.0.0", component);
        let mut upload = std::pin::pin!(upload);
        let mut calls = 0;
        let answer = loop {
            tokio::select! {
                answer = upload.as_mut() => break answer,
                called = gw.invoke("echo", json!(calls)) => assert_eq!(called.expect_output(), calls),
            }
            calls += 1;
        };
        assert!(calls > 0, "{what}: nobody else was served");
        if answer.status == 201 {
            continue;
        }
        let reason = reason(&answer.expect_problem(422, "invalid-module"));
        assert!(reason.contains("compiling it takes"), "{what}: {reason}");
        assert_eq!(gw.files(), before, "{what}");
    }
    gw.upload("after", "1.0.0", echo("after")).await.expect_status(201);
    assert_eq!(gw.invoke("after", json!(7)).await.expect_output(), 7);
}

#[tokio::test]
async fn a_bomb_is_told_the_bound_it_hit_and_goes_off_once() {
    // A second of a processor is four by the clock where others want it, too.
    for (memory_bytes, timeout_ms, told) in [
        (256 * 1024 * 1024, 60_000, &["bytes of memory"][..]),
        (8 << 30, 1_000, &["1 s of a processor", "longer than 4000 ms"]),
    ] {
        let gw = TestGateway::start_with(|config| {
            config.runtime.compile_memory_bytes = memory_bytes;
            config.runtime.compile_timeout_ms = timeout_ms;
        })
        .await;
        let bomb = many_phis(1_900);
        let started = Instant::now();
        let first = reason(&gw.upload("bomb", "1.0.0", bomb.clone()).await.expect_problem(422, "invalid-module"));
        assert!(told.iter().any(|told| first.contains(told)), "{first}");
        let first_took = started.elapsed();
        let started = Instant::now();
        let again = reason(&gw.upload("other", "2.0.0", bomb).await.expect_problem(422, "invalid-module"));
        assert_eq!(again, first);
        assert!(started.elapsed() < first_took / 2, "{:?} and then {:?}", first_took, started.elapsed());
        gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    }
}

#[tokio::test]
async fn a_program_that_does_not_compile_is_our_fault_and_not_the_modules() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    for program in ["/bin/false", "/nowhere/sluice"] {
        let mut gw = TestGateway::start_with_compiler(&folder, PathBuf::from(program)).await;
        gw.upload("echo", "1.0.0", echo("a")).await.expect_problem(500, "internal");
        assert_eq!(gw.files().others, Vec::<PathBuf>::new());
        gw.stop().await;
    }
    let gw = TestGateway::start_in(folder, |_| {}).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
}

/// The children of a process that compile.
fn compilers_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let arguments = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        arguments.contains("compile-worker") && stat(*id).is_some_and(|(_, of)| of == parent)
    })
    .collect()
}

/// State and parent of a process.
fn stat(id: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

async fn eventually<T>(wanted: impl Fn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = wanted() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("what is waited for in time")
}

#[tokio::test]
async fn the_compiling_process_has_its_bounds_and_nothing_of_the_gateways() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let secret = "sk_not_for_compilers";
    let process = Process::start_changed(&folder, |command| {
        command.env("SLUICE_TEST_SECRET", secret);
    })
    .await;
    let form = Form::new().part("module", Part::bytes(many_phis(1_900))).text("name", "bomb").text("version", "1.0.0");
    let upload = tokio::spawn(process.gateway.request(Method::POST, "/api/v1/wasm/modules").multipart(form).send());
    // It gives its rights away before it reads anything, and that to open files among the last.
    let read = |id: u32, file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).ok();
    let (id, limits) = eventually(|| {
        let id = *compilers_of(process.id()).first()?;
        let limits = read(id, "limits")?;
        let bounded = limits.lines().any(|line| {
            line.strip_prefix("Max open files").is_some_and(|rest| rest.split_whitespace().next() == Some("16"))
        });
        bounded.then_some((id, limits))
    })
    .await;
    let soft_and_hard = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(soft_and_hard("Max address space"), [2 << 30; 2]);
    assert_eq!(soft_and_hard("Max cpu time"), [60, 61]);
    assert_eq!(soft_and_hard("Max processes"), [0; 2]);
    assert_eq!(soft_and_hard("Max file size"), [1 << 30; 2]);
    // What keeps the allocator within the bound on memory, and nothing else.
    assert_eq!(read(id, "environ").as_deref(), Some("MIMALLOC_ARENA_RESERVE=32768\0"));
    assert_eq!(std::fs::read_dir(format!("/proc/{id}/task")).unwrap().count(), 1);

    // Nobody is left to end it when the gateway is killed.
    process.kill().await;
    eventually(|| stat(id).is_none_or(|(state, _)| matches!(state, 'Z' | 'X')).then_some(())).await;
    upload.await.unwrap().unwrap_err();
    let process = Process::start(&folder).await;
    assert_eq!(process.gateway.files().others, Vec::<PathBuf>::new());
    process.stop().await;
}

#[tokio::test]
async fn a_stopped_gateway_leaves_no_compiling_process() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut process = Process::start_with(&folder, "[server]\ndrain_ms = 1\n").await;
    let form = Form::new().part("module", Part::bytes(many_phis(1_900))).text("name", "bomb").text("version", "1.0.0");
    let upload = tokio::spawn(process.gateway.request(Method::POST, "/api/v1/wasm/modules").multipart(form).send());
    let id = eventually(|| compilers_of(process.id()).first().copied()).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    eventually(|| stat(id).is_none_or(|(state, _)| matches!(state, 'Z' | 'X')).then_some(())).await;
    upload.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn the_compiler_takes_what_it_is_given_on_its_standard_input_only() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = r#"{"metering": "fuel", "compatibility": "00", "memory_bytes": 1073741824, "cpu_s": 10}"#;
    for (argument, code, told) in [(wrong, 1, "restart the gateway"), ("{}", 2, "missing field")] {
        let output = crate::support::process::output(folder.path(), &["compile-worker", argument]).await;
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(told), "{said}");
    }
}

/// A component that works, with a core module or a component of wasm-smith's behind it.
#[derive(Debug)]
enum Addition {
    Module(Vec<u8>),
    Component(Vec<u8>),
}

impl Addition {
    fn of(bytes: &[u8], is_component: bool) -> Option<Self> {
        let config = wasm_smith::Config {
            gc_enabled: false,
            memory64_enabled: false,
            threads_enabled: false,
            exceptions_enabled: false,
            max_instructions: 2_000,
            max_memory32_bytes: 1024 * 1024,
            max_table_elements: 1_000,
            ..wasm_smith::Config::arbitrary(&mut Unstructured::new(bytes)).ok()?
        };
        let mut source = Unstructured::new(bytes);
        if is_component {
            wasm_smith::Component::new(config, &mut source).ok().map(|made| Self::Component(made.to_bytes()))
        } else {
            wasm_smith::Module::new(config, &mut source).ok().map(|made| Self::Module(made.to_bytes()))
        }
    }

    /// As one more section.
    fn appended_to(&self, mut component: Vec<u8>) -> Vec<u8> {
        let (id, bytes) = match self {
            Self::Module(bytes) => (1, bytes),
            Self::Component(bytes) => (4, bytes),
        };
        component.push(id);
        let mut length = bytes.len();
        while length >= 0x80 {
            component.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        component.push(u8::try_from(length).unwrap());
        component.extend(bytes);
        component
    }
}

/// What no author would write is compiled or refused, and the gateway goes on.
#[test]
fn p19_module_format_validation_and_the_compiler_survive_whatever_wasm_smith_makes() {
    let start = async { TestGateway::start().await.module("echo").await };
    let bytes = prop::collection::vec(any::<u8>(), 2_000..20_000);
    let (made, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    property::check(20, (bytes, any::<bool>()), start, async |gw, (bytes, is_component)| {
        let Some(addition) = Addition::of(&bytes, is_component) else { return };
        made.fetch_add(1, Ordering::Relaxed);
        let answer = gw.upload("made", "1.0.0", addition.appended_to(echo("base"))).await;
        match answer.status.as_u16() {
            201 => {
                taken.fetch_add(1, Ordering::Relaxed);
                // Nothing instantiates the addition, so the step is what it was.
                assert_eq!(gw.invoke("made", json!(1)).await.expect_output(), 1);
                gw.request(Method::DELETE, "/api/v1/wasm/modules/made@1.0.0").send().await.unwrap();
            }
            _ => drop(answer.expect_problem(422, "invalid-module")),
        }
        assert_eq!(gw.invoke("echo", json!(2)).await.expect_output(), 2);
    });
    let (made, taken) = (made.into_inner(), taken.into_inner());
    assert!(made >= 10 && taken > 0, "{made} were made, {taken} of them compiled: this proves nothing");
}

#[tokio::test]
async fn one_caller_compiles_one_module_at_a_time() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let process = Process::start_with(&folder, "[runtime]\ncompile_timeout_ms = 2000\n").await;
    let gw = &process.gateway;
    let uploads = async {
        let bombs = [1_900, 1_899, 1_898].map(|blocks| gw.upload("bomb", "1.0.0", many_phis(blocks)));
        futures_util::future::join_all(bombs).await
    };
    let mut uploads = Box::pin(uploads);
    let mut most = 0;
    let answers = loop {
        tokio::select! {
            answers = uploads.as_mut() => break answers,
            () = tokio::time::sleep(Duration::from_millis(10)) => most = most.max(compilers_of(process.id()).len()),
        }
    };
    drop(uploads);
    assert_eq!(most, 1);
    for answer in answers {
        answer.expect_problem(422, "invalid-module");
    }
    gw.upload("echo", "1.0.0", guest("echo")).await.expect_status(201);
    process.stop().await;
}
