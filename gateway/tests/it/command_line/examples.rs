//! Each example of `sluice init` in each language, in a folder outside of the repository.

use std::path::PathBuf;

use super::life::building;
use super::{Author, Ran};
use crate::support::http_function::HttpFunction;
use crate::support::toolchain::with_tinygo;

/// A step that was just made, called as its example is: no other test may write the same file into the folder that the
/// compilers share.
pub(super) struct Step {
    author: Author,
    name: &'static str,
}

impl Step {
    async fn new(language: &str, example: &'static str) -> Self {
        Self::made(language, example, &["--example", example]).await
    }

    /// The template itself.
    pub(super) async fn of_template(language: &str, name: &'static str) -> Self {
        Self::made(language, name, &[]).await
    }

    async fn made(language: &str, name: &'static str, more: &[&str]) -> Self {
        let author = Author::new().await;
        let made = author.run(&[&["init", name, "--lang", language], more].concat()).await.done();
        made.says(&[&format!("cd {name}"), "sluice build"]);
        Self { author, name }
    }

    /// A file of it.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.author.path(self.name).join(file)
    }

    /// Runs `sluice` in the step's folder, with the compilers that an author has.
    pub(super) async fn sluice(&self, arguments: &[&str]) -> Ran {
        let mut command = self.author.command(arguments);
        with_tinygo(&mut command);
        command.current_dir(self.author.path(self.name));
        Ran::of(building(command)).await
    }

    /// What a build has made.
    pub(super) fn component(&self, built: &Ran) -> Vec<u8> {
        std::fs::read(self.author.path(self.name).join(built.value("component"))).unwrap()
    }
}

/// A small component is loaded and instantiated faster: what a step of each language may weigh that uses no http and no db.
pub(super) fn bytes_max(language: &str) -> usize {
    match language {
        "rust" => 80_000,
        "tinygo" => 120_000,
        _ => 20_000,
    }
}

async fn a_step_builds_and_passes_its_cases(language: &str, example: &'static str) {
    let step = Step::new(language, example).await;
    let cases = std::fs::read_dir(step.author.path(example).join("tests")).unwrap().count();
    assert!(cases > 0, "{language} {example}");
    let built = step.sluice(&["build"]).await.done();
    assert_eq!((built.value("kind"), built.value("functions")), ("job-step", "run"), "{language} {example}");
    let bytes = step.component(&built).len();
    assert!(bytes <= bytes_max(language), "{language} {example}: {bytes} bytes");
    let tested = step.sluice(&["test"]).await.done();
    assert!(tested.stdout.ends_with(&format!("\n{cases} passed, 0 failed\n")), "{language} {example}: {tested:?}");
}

/// One after another: each of them keeps a core busy with its compiler.
async fn the_examples_build_and_pass_their_cases(language: &str) {
    for example in ["transform", "validate", "route"] {
        a_step_builds_and_passes_its_cases(language, example).await;
    }
}

#[tokio::test]
async fn the_examples_in_rust_build_and_pass_their_cases() {
    the_examples_build_and_pass_their_cases("rust").await;
}

#[tokio::test]
async fn the_examples_in_tinygo_build_and_pass_their_cases() {
    the_examples_build_and_pass_their_cases("tinygo").await;
}

#[tokio::test]
async fn the_examples_in_assemblyscript_build_and_pass_their_cases() {
    the_examples_build_and_pass_their_cases("assemblyscript").await;
}

async fn an_http_function_builds_and_answers(language: &str) {
    let step = Step::new(language, "http-function").await;
    let built = step.sluice(&["build"]).await.done();
    assert_eq!(built.value("kind"), "http");
    assert!(!built.stdout.contains("functions\t"), "{built:?}");
    answers_as_it_says(&HttpFunction::of(&step.component(&built))).await;

    for arguments in [&["test"][..], &["invoke", "--local", "--input", "1"]] {
        let refused = step.sluice(arguments).await.failed();
        refused.says(&["this is an HTTP function", "cases and --local are for steps", "wasmtime serve"]);
    }
    let stored = step.sluice(&["upload"]).await.done();
    assert!(stored.stdout.starts_with("uploaded http-function 0.1.0: ") && stored.stdout.contains("functions none"));
    let listed = step.author.run(&["list", "--kind", "http"]).await.done();
    assert!(listed.stdout.starts_with("http-function\t0.1.0\thttp\t"), "{listed:?}");
    step.author.run(&["invoke", "http-function"]).await.failed().says(&["it is an HTTP function"]);
}

async fn answers_as_it_says(function: &HttpFunction) {
    let counted = function.ask("POST", "/words?unused", "  zwei Wörter\n".into()).await;
    assert_eq!((counted.status(), &**counted.body()), (http::StatusCode::OK, &br#"{"words":2,"characters":14}"#[..]));
    for (name, value) in [("content-type", "application/json"), ("content-length", "27")] {
        assert_eq!(counted.headers()[name], value);
    }
    // More than a server takes, or a function reads, at once.
    let large = function.ask("POST", "/words", "word ".repeat(200_000).into()).await;
    assert_eq!(&**large.body(), br#"{"words":200000,"characters":1000000}"#);
    let head = function.ask("HEAD", "/", Vec::new()).await;
    assert!(head.body().is_empty() && !head.headers().contains_key("content-length"), "{head:?}");
    for (method, path, body, status) in [
        ("GET", "/", Vec::new(), 200),
        ("GET", "", Vec::new(), 200),
        ("GET", "/nothing", Vec::new(), 404),
        ("BREW", "/words", Vec::new(), 405),
        ("POST", "/words", b"\xff".to_vec(), 415),
        ("POST", "/words", vec![b'a'; 1024 * 1024 + 1], 413),
    ] {
        assert_eq!(function.ask(method, path, body).await.status(), status, "{method} {path}");
    }
}

#[tokio::test]
async fn the_http_function_in_rust_builds_and_answers() {
    an_http_function_builds_and_answers("rust").await;
}

#[tokio::test]
async fn the_http_function_in_tinygo_builds_and_answers() {
    an_http_function_builds_and_answers("tinygo").await;
}

#[tokio::test]
async fn an_example_that_a_language_has_not_is_refused_with_those_that_have_it() {
    let author = Author::new().await;
    let refused = author.run(&["init", "x", "--lang", "assemblyscript", "--example", "http-function"]).await.ended(2);
    refused.says(&["there is no example http-function in AssemblyScript", "it is there in Rust and TinyGo"]);
    assert!(!author.path("x").exists());
}

#[tokio::test]
async fn the_examples_are_named_in_the_help_and_in_completions() {
    let author = Author::new().await;
    let help = author.run(&["init", "--help"]).await.done();
    let completions = author.run(&["completions", "bash"]).await.done();
    for example in ["order", "transform", "validate", "route", "http-function"] {
        assert!(help.stdout.contains(&format!("- {example}:")), "{example}: {help:?}");
        assert!(completions.stdout.contains(example), "{example}");
    }
}
