//! What needs no gateway: `init`, `build`, `config`, help, and wrong usage.

use super::life::building;
use super::{Author, Ran, entries};
use crate::support::process::command;

async fn run(folder: &std::path::Path, arguments: &[&str]) -> Ran {
    Ran::of(command(folder, arguments)).await
}

#[tokio::test]
async fn help_lists_every_command_and_each_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), &["--help"]).await.done().stdout;
    for name in [
        "serve", "init", "build", "upload", "list", "show", "download", "delete", "invoke", "logs", "keygen", "sign",
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
    for (arguments, words) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["invoke"], "<MODULE>"),
        (&["invoke", "a", "--input", "hello"], "needs quotes"),
        (&["invoke", "a", "--input", "-", "--data", "-"], "only one of"),
        (&["list", "--server", "127.0.0.1:8080"], "http://127.0.0.1:8080"),
        (&["logs"], "<EXECUTION|--follow <MODULE>>"),
        (&["upload", "a.wasm"], "--name and --version"),
        (&["upload"], "no Cargo.toml"),
        (&["build", "nowhere"], "sluice init NAME"),
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
    Ran::of(build()).await.failed().says(&["cargo made no component", "crate-type = [\"cdylib\"]"]);

    std::fs::write(step.join("Cargo.toml"), format!("{manifest}[lib]\ncrate-type = [\"cdylib\"]\n")).unwrap();
    let refused = Ran::of(build()).await.failed();
    refused.says(&["the gateway would refuse", "no-step-function", "func(input: string) -> variant"]);
    assert!(!step.join("target").exists(), "what would be refused is not put where an upload finds it");
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
    Ran::of(build).await.failed().says(&["Rust is not installed", "https://rustup.rs"]);
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
