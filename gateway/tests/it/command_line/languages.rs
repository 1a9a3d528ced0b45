//! From nothing to a running step in each language, in a folder outside of the repository.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use super::life::{GOOD, building};
use super::{Author, Ran};
use crate::support::toolchain::with_tinygo;

/// A program in the step's folder, with the compilers that an author has.
fn in_step(author: &Author, mut command: Command) -> Command {
    with_tinygo(&mut command);
    command.current_dir(author.path("my-step"));
    building(command)
}

async fn sluice(author: &Author, arguments: &[&str]) -> Ran {
    Ran::of(in_step(author, author.command(arguments))).await
}

async fn made(language: &str) -> Author {
    let author = Author::new().await;
    author.run(&["init", "my-step", "--lang", language]).await.done().says(&["cd my-step", "sluice test"]);
    author
}

async fn goes_from_nothing_to_a_running_step(language: &str) -> Author {
    let author = made(language).await;
    let built = sluice(&author, &["build"]).await.done();
    assert!(["target/my-step.wasm", "build/my-step.wasm"].contains(&built.value("component")), "{built:?}");
    assert_eq!((built.value("kind"), built.value("functions")), ("job-step", "run"));
    built.says(&["\n  sluice test\n  sluice upload\n"]);
    let tested = sluice(&author, &["test"]).await.done();
    assert!(tested.stdout.contains("ok      a-good-order-is-priced  (") && tested.stdout.contains(" fuel, "));
    assert!(tested.stdout.ends_with("\n6 passed, 0 failed\n"), "{tested:?}");
    let local = sluice(&author, &["invoke", "--local", "--input", GOOD, "--json"]).await.done().json();
    assert_eq!((&local["status"], &local["output"]["total_cents"]), (&json!("completed"), &json!(2500)));
    let stored = sluice(&author, &["upload"]).await.done();
    assert!(stored.stdout.starts_with("uploaded my-step 0.1.0: "), "{stored:?}");
    let ran = sluice(&author, &["invoke", "my-step", "--input", GOOD]).await.done();
    assert_eq!(ran.json(), local["output"], "a gateway answers as --local does");
    author
}

/// The tests that the template brings for its own language's tool.
async fn passes_its_own_tests(author: &Author, command: &[&str]) {
    let mut program = Command::new(command[0]);
    program.args(&command[1..]).kill_on_drop(true).stdin(Stdio::null());
    let ran = Ran::of(in_step(author, program)).await;
    assert_eq!(ran.code, Some(0), "{command:?}: {}{}", ran.stdout, ran.stderr);
}

#[tokio::test]
async fn a_step_in_rust_goes_from_nothing_to_running_and_passes_its_own_tests() {
    let author = goes_from_nothing_to_a_running_step("rust").await;
    let rustc = std::process::Command::new("rustc").arg("-vV").output().unwrap();
    let said = String::from_utf8(rustc.stdout).unwrap();
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    passes_its_own_tests(&author, &["cargo", "test", "--target", host]).await;
}

#[tokio::test]
async fn a_step_in_tinygo_goes_from_nothing_to_running_and_passes_its_own_tests() {
    let author = goes_from_nothing_to_a_running_step("tinygo").await;
    passes_its_own_tests(&author, &["go", "test", "./..."]).await;
}

#[tokio::test]
async fn a_step_in_assemblyscript_goes_from_nothing_to_running_and_passes_its_own_tests() {
    let author = goes_from_nothing_to_a_running_step("assemblyscript").await;
    passes_its_own_tests(&author, &["npm", "test"]).await;
}

/// Puts another text in the place of one that has to be there.
fn replace(author: &Author, file: &str, from: &str, to: &str) {
    let path = author.path("my-step").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file}: {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

const WANTED: &str = "func(input: string) -> variant { completed(";

#[tokio::test]
async fn a_function_of_another_type_in_assemblyscript_is_told_with_both_types() {
    let author = made("assemblyscript").await;
    let signature = "export function run(input: usize, inputBytes: usize): usize {";
    replace(
        &author,
        "assembly/exports.ts",
        signature,
        "export function run(wrong: i64): i64 { return wrong; }\nfunction other(input: usize, inputBytes: usize): usize {",
    );
    let refused = sluice(&author, &["build"]).await.failed();
    refused.says(&["`run`", "expected `[I32, I32] -> [I32]` but found `[I64] -> [I64]`", WANTED]);
    assert!(!author.path("my-step/build/my-step.wasm").exists());
}

#[tokio::test]
async fn a_step_in_tinygo_without_its_function_is_told_which_one_is_wanted() {
    let author = made("tinygo").await;
    let file = "internal/sluice/step/job-step/job-step.wasm.go";
    replace(&author, file, "//go:wasmexport run\n//export run\n", "//go:wasmexport walk\n//export walk\n");
    sluice(&author, &["build"]).await.failed().says(&["export of function `run`", WANTED]);
    assert!(!author.path("my-step/build/my-step.wasm").exists());
}
