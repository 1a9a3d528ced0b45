//! Compilers that are missing or too old, and manifests with mistakes: told before anything is made.

use std::os::unix::fs::PermissionsExt as _;

use super::{Author, entries, put_step};

/// A folder as the whole `PATH`, with programs that say of themselves what they are told to.
fn tools(author: &Author, programs: &[(&str, &str)]) -> std::path::PathBuf {
    let folder = author.path("tools");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, said) in programs {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

#[tokio::test]
async fn what_a_language_needs_and_is_not_there_is_named_with_the_way_to_get_it() {
    let go = ("go", "go version go1.26.0 linux/amd64");
    for (language, programs, words) in [
        ("rust", &[][..], ["`rustc` is not on PATH", "curl https://sh.rustup.rs"]),
        ("rust", &[("rustc", "/")], ["`cargo` is not on PATH", "curl https://sh.rustup.rs"]),
        ("tinygo", &[], ["Go is not installed", "curl -fsSL https://go.dev/dl/go1.26.0.linux-"]),
        ("tinygo", &[("go", "go version go1.24.9 linux/amd64")], ["this is go version go1.24.9", "Go 1.25 or later"]),
        ("tinygo", &[go], ["TinyGo is not installed", "curl -fsSL https://github.com/tinygo-org/tinygo/releases/"]),
        ("tinygo", &[go, ("tinygo", "tinygo version 0.30.0 linux/amd64")], ["tinygo version 0.30.0", "0.41 or later"]),
        ("assemblyscript", &[], ["Node.js is not installed", "curl -fsSL https://nodejs.org/dist/v24"]),
        ("assemblyscript", &[("node", "v14.21.3")], ["Node.js is v14.21.3", "20 or later"]),
        (
            "assemblyscript",
            &[("node", "v20.0.0")],
            ["npm is not installed", "from Debian 13 on: sudo apt-get install nodejs npm"],
        ),
    ] {
        let author = Author::new().await;
        author.run(&["init", "my-step", "--lang", language]).await.done();
        let before = entries(&author.path("my-step"));
        for command in ["build", "test"] {
            let mut command = author.command(&[command, "my-step"]);
            command.env("PATH", tools(&author, programs));
            let ran = super::Ran::of(command).await.failed().says(&words);
            assert_eq!(ran.stdout, "");
        }
        assert_eq!(entries(&author.path("my-step")), before, "{language}: nothing was made");
    }
}

#[tokio::test]
async fn all_mistakes_of_a_manifest_are_told_at_once_by_every_command_that_reads_it() {
    let author = Author::new().await;
    author.run(&["init", "my-step"]).await.done();
    let mistakes = "nam = \"x\"\nversion = \"1\"\n[limits]\nfuel = -1\n[[permissions]]\npermission = \"all\"\n";
    std::fs::write(author.path("my-step/sluice.step.toml"), mistakes).unwrap();
    let told = ["nam: ", "version: ", "limits.fuel: ", "permissions[0].permission: ", "permissions[0].resource: "];
    for command in
        [&["build", "my-step"][..], &["test", "my-step"], &["upload", "my-step"], &["invoke", "--local=my-step"]]
    {
        author.run(command).await.failed().says(&["sluice.step.toml has 5 mistakes"]).says(&told);
    }
    std::fs::write(author.path("my-step/sluice.step.toml"), "# a step\nname = \n").unwrap();
    author.run(&["build", "my-step"]).await.failed().says(&["has a mistake\n", "line 2, column 8"]);
}

#[tokio::test]
async fn limits_over_a_gateways_defaults_are_all_told_with_the_file_and_the_reason() {
    let author = Author::new().await;
    put_step(&author, "echo");
    let manifest = author.path("step/sluice.step.toml");
    let limits = "[limits]\nfuel = 1000000001\nmemory_bytes = 65536\ntimeout_ms = 30001\n";
    std::fs::write(&manifest, std::fs::read_to_string(&manifest).unwrap() + limits).unwrap();
    let case =
        r#"{"input": 1, "limits": {"fuel": 2000000000, "timeout_ms": 40000}, "expect": {"status": "completed"}}"#;
    std::fs::write(author.path("step/tests/case.json"), case).unwrap();
    author.run(&["build", "step"]).await.done();
    let told = "limits.fuel: may be at most 1000000000; limits.timeout_ms: may be at most 30000";
    for command in [["test", "step"], ["invoke", "--local=step"]] {
        let refused = author.run(&command).await.failed();
        refused.says(&[&format!("sluice.step.toml: {told}"), "the limits that a gateway has by default"]);
    }
    std::fs::write(&manifest, std::fs::read_to_string(&manifest).unwrap().replace(limits, "")).unwrap();
    let ran = author.run(&["test", "step"]).await.ended(1);
    assert!(ran.stdout.contains(&format!("FAILED  case\n        {told}")), "{ran:?}");
}
