//! What needs no gateway: `init`, `build`, `config`, help, and wrong usage.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::life::building;
use super::{Author, PATIENCE, Ran, entries, interrupt, put_step};
use crate::support::process::command;

async fn run(folder: &std::path::Path, arguments: &[&str]) -> Ran {
    Ran::of(command(folder, arguments)).await
}

#[tokio::test]
async fn help_lists_every_command_and_each_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), &["--help"]).await.done().stdout;
    for name in [
        "serve",
        "init",
        "build",
        "test",
        "upload",
        "list",
        "show",
        "download",
        "delete",
        "permissions",
        "invoke",
        "logs",
        "key",
        "keygen",
        "sign",
        "migrate",
        "completions",
        "man",
        "config",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))), "no {name} in {help}");
        let own = run(folder.path(), &[name, "--help"]).await.done().stdout;
        assert!(own.contains("Usage: sluice"), "{own}");
    }
    assert!(run(folder.path(), &["--version"]).await.done().stdout.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(entries(folder.path()), Vec::<String>::new(), "nothing is left behind");
}

#[tokio::test]
async fn wrong_usage_is_2_and_says_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.wasm"), "a file").unwrap();
    std::fs::create_dir(folder.path().join("step")).unwrap();
    std::fs::write(folder.path().join("step/go.mod"), "module example.com/step").unwrap();
    for (arguments, words) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["invoke"], "<MODULE>"),
        (&["invoke", "a", "--input", "hello"], "needs quotes"),
        (&["invoke", "a", "--input", "-", "--data", "-"], "only one of"),
        (&["list", "--server", "127.0.0.1:8080"], "http://127.0.0.1:8080"),
        (&["logs"], "<EXECUTION|--follow <MODULE>>"),
        (&["upload", "nowhere"], "there is no nowhere; name a component, or the folder of a step"),
        (&["upload", "a.wasm"], "--name and --version"),
        (&["upload"], "there is no step in this folder: it has none of Cargo.toml, go.mod, asconfig.json"),
        (&["build", "nowhere"], "sluice init NAME"),
        (&["test", "nowhere"], "there is no step in nowhere"),
        (&["init", "a", "--lang", "python"], "rust, tinygo, assemblyscript"),
        (&["init", "a", "--lang", "as", "--example", "http-function"], "it is there in Rust and TinyGo"),
        (&["init", "vendor", "--lang", "tinygo"], "choose another name"),
        (&["invoke", "--local", "--data", "[1]"], "--data has to be an object"),
        (&["invoke", "--local", "--fuel", "0"], "--fuel"),
        (&["invoke", "--local", "--timeout-ms", "0"], "--timeout-ms"),
        (&["invoke", "--local", "--memory-bytes", "0"], "--memory-bytes"),
        (&["test", "--record", "a"], "--input <JSON|@FILE|->"),
        (&["test", "step", "--record", "a/b", "--input", "1"], "a/b can't be a case's name"),
        (&["completions", "dosh"], "bash"),
        (&["delete", "a"], "--yes"),
        (&["init", "Bad_Name"], "Bad_Name"),
    ] {
        let ran = run(folder.path(), arguments).await.ended(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn a_folder_with_something_in_it_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/notes"), "x").unwrap();
    run(folder.path(), &["init", "mine"]).await.failed().says(&["mine exists and is not an empty folder", "--path"]);
    assert_eq!(entries(&folder.path().join("mine")), ["notes"]);
    run(folder.path(), &["init", "mine", "--path", "other"]).await.done();
    assert!(folder.path().join("other/Cargo.toml").is_file());
}

#[tokio::test]
async fn a_step_that_does_not_compile_or_would_be_refused_is_told_at_the_build() {
    let author = Author::new().await;
    let step = author.path("empty");
    std::fs::create_dir_all(step.join("src")).unwrap();
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(step.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(step.join("src/lib.rs"), "this is not Rust").unwrap();
    let build = || building(author.command(&["build", "empty"]));
    Ran::of(build()).await.failed().says(&["the step does not compile", "src/lib.rs"]);

    std::fs::write(step.join("src/lib.rs"), "").unwrap();
    Ran::of(build()).await.failed().says(&["cargo made no module", "crate-type = [\"cdylib\"]"]);

    std::fs::write(step.join("Cargo.toml"), format!("{manifest}[lib]\ncrate-type = [\"cdylib\"]\n")).unwrap();
    let refused = Ran::of(build()).await.failed();
    refused.says(&["the gateway would refuse", "exports no step function", "func(input: string) -> variant"]);
    assert!(!step.join("target").exists(), "what would be refused is not put where an upload finds it");

    put_step(&author, "wrong-type");
    let refused = author.run(&["build", "step"]).await.failed();
    refused.says(&["the gateway would refuse", "func(n: u32) -> u32", "func(input: string) -> variant { completed("]);
    assert!(!author.path("step/build").exists());
}

#[tokio::test]
async fn a_target_that_is_not_installed_is_named_with_the_command_that_helps() {
    use std::os::unix::fs::PermissionsExt as _;

    let author = Author::new().await;
    author.run(&["init", "price-check"]).await.done();
    // A compiler without the target's library, as a fresh Rust is.
    let tools = author.path("tools");
    std::fs::create_dir(&tools).unwrap();
    std::fs::write(tools.join("rustc"), "#!/bin/sh\necho /nowhere/lib\n").unwrap();
    std::fs::set_permissions(tools.join("rustc"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut build = author.command(&["build", "price-check"]);
    build.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    Ran::of(build).await.failed().says(&["wasm32-wasip2", "rustup target add wasm32-wasip2"]);
    let mut build = author.command(&["build", "price-check"]);
    build.env("PATH", "/nowhere");
    Ran::of(build).await.failed().says(&["Rust is not installed", "https://sh.rustup.rs"]);
}

#[tokio::test]
async fn a_shell_takes_its_completions_and_a_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let script = run(folder.path(), &["completions", "bash"]).await.done().stdout;
    std::fs::write(folder.path().join("sluice.bash"), script).unwrap();
    let asked = "source ./sluice.bash && COMP_WORDS=(sluice perm) COMP_CWORD=1 && _sluice sluice perm sluice && echo ${COMPREPLY[@]}";
    let completed =
        Command::new("bash").args(["--norc", "-c", asked]).current_dir(folder.path()).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "permissions\n", "{completed:?}");
    std::fs::remove_file(folder.path().join("sluice.bash")).unwrap();

    let page = run(folder.path(), &["man"]).await.done().stdout;
    assert!(page.contains(".SH NAME") && page.contains(".SH SUBCOMMANDS"), "{page}");
    let wrote = run(folder.path(), &["man", "--dir", "man1"]).await.done().stdout;
    let pages = entries(&folder.path().join("man1"));
    assert_eq!(wrote, format!("wrote {} pages into man1\n", pages.len()));
    for page in ["sluice.1", "sluice-init.1", "sluice-test.1", "sluice-permissions-set.1"] {
        assert!(pages.iter().any(|name| name == page), "no {page} in {pages:?}");
        let text = std::fs::read_to_string(folder.path().join("man1").join(page)).unwrap();
        assert!(text.contains(".TH sluice") && text.contains(".SH SYNOPSIS"), "{text}");
    }
}

#[tokio::test]
async fn a_configuration_is_checked_as_a_whole_and_printed_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["config", "check"]).await.done().says(&["good"]);
    let printed = run(folder.path(), &["config", "print"]).await.done().stdout;
    assert!(printed.contains("listen = \"127.0.0.1:8080\"") && printed.contains("timeout_ms = 30000"), "{printed}");
    std::fs::write(folder.path().join("printed.toml"), &printed).unwrap();
    run(folder.path(), &["config", "check", "--config", "printed.toml"]).await.done();

    let mistakes = "[server]\nlisten = 5\nfoo = 1\n[limits]\ntimeout_ms = -1\n[nope]\n";
    std::fs::write(folder.path().join("sluice.toml"), mistakes).unwrap();
    for arguments in [&["config", "check"][..], &["config", "print"], &["serve"]] {
        let ran = run(folder.path(), arguments).await.failed();
        ran.says(&["sluice.toml:2", "listen", "foo", "timeout_ms", "nope"]);
    }
    assert_eq!(entries(folder.path()), ["printed.toml", "sluice.toml"], "no data folder was made");

    std::fs::remove_file(folder.path().join("sluice.toml")).unwrap();
    let mut print = command(folder.path(), &["config", "print"]);
    print.env("SLUICE__TELEMETRY__OTLP_ENDPOINT", "http://ann:pa55word@127.0.0.1:4318");
    let printed = Ran::of(print).await.done();
    assert!(printed.stdout.contains("127.0.0.1:4318") && !format!("{printed:?}").contains("pa55word"), "{printed:?}");
}

#[tokio::test]
async fn a_local_call_ends_at_a_signal_while_its_step_is_compiled() {
    let author = Author::new().await;
    std::fs::create_dir(author.path("step")).unwrap();
    // A compiler that takes as long as the test lets it.
    let build = r#"command = ["sh", "-c", "mkfifo gate && mkdir has-begun && cat gate"]"#;
    let manifest = format!("name = \"slow\"\n[build]\n{build}\noutput = \"out.wasm\"\n");
    std::fs::write(author.path("step/sluice.step.toml"), manifest).unwrap();
    let mut command = author.command(&["invoke", "--local=step"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let has_begun = async {
        while !author.path("step/has-begun").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, has_begun).await.expect("the beginning of the build");
    interrupt(&child);
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("the end of the command").unwrap();
    std::fs::File::options().write(true).open(author.path("step/gate")).unwrap();
    assert_eq!(ended.code(), Some(130));
}

#[tokio::test]
async fn a_local_call_tells_all_that_a_gateway_would() {
    let author = Author::new().await;
    put_step(&author, "outcomes");
    let local = async |input: &str, more: &[&str]| {
        author.run(&[&["invoke", "--local=step", "--input", input], more].concat()).await
    };
    let failure = r#"{"failed": {"code": "busy", "message": "later", "retryable": true, "retry_after_ms": 250,
        "details": {"queue": 7}}}"#;
    let told = ["the step failed: busy: later", "another attempt may succeed after 250 ms", r#"details: {"queue":7}"#];
    local(failure, &[]).await.failed().says(&told);
    let missing = local("1", &["--function", "nope"]).await.failed();
    missing.says(&["no function nope; it has ", "run"]);
    put_step(&author, "echo");
    let completed = local("1", &["--json"]).await.done().json();
    assert_eq!(completed.get("next"), Some(&serde_json::Value::Null), "{completed}");
}
