//! The process: how it starts, what it says when it can't, and how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::component::echo;
use crate::support::process::output;
use crate::support::{Answer, Process, guest};

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

/// What it said, if it ended with this code and said nothing where answers are.
#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    said
}

/// A call that sleeps in the guest, and runs when this returns.
async fn slow_call(process: &Process, ms: u64) -> JoinHandle<Result<reqwest::Response, reqwest::Error>> {
    let gateway = &process.gateway;
    gateway.upload("spin", "1.0.0", guest("spin")).await.expect_status(201);
    let request = gateway.request(Method::POST, "/api/v1/wasm/modules/spin/invoke?function=sleep");
    let call = tokio::spawn(request.json(&json!({"input": {"ms": ms}})).send());
    let running = |answer: &Answer| answer.json()["total"] == 1;
    gateway.eventually("/api/v1/wasm/executions?status=running", running).await;
    call
}

#[tokio::test]
async fn the_first_start_prints_the_key_once_and_keeps_it_for_its_owner() {
    let folder = folder();
    let process = Process::start(&folder).await;
    let key = process.gateway.key().to_owned();
    assert!(key.starts_with("sk_"), "{key}");
    assert_eq!(process.said.iter().filter(|line| line.contains(&key)).count(), 1, "{:?}", process.said);
    let file = folder.path().join("admin.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    process.gateway.get("/api/v1/wasm/modules").await.expect_status(200);
    process.stop().await;
    let process = Process::start(&folder).await;
    assert_eq!(process.said.len(), 1, "{:?}", process.said);
    assert_eq!(process.gateway.key(), key);
    process.gateway.get("/api/v1/wasm/modules").await.expect_status(200);
    process.stop().await;
}

#[tokio::test]
async fn a_data_folder_that_it_makes_is_its_owners_only() {
    let folder = folder();
    let mut child = crate::support::process::command(
        folder.path(),
        &["serve", "--data-dir", "new/data", "--listen", "127.0.0.1:0"],
    )
    .stdout(std::process::Stdio::null())
    .stderr(std::process::Stdio::null())
    .spawn()
    .unwrap();
    let made = folder.path().join("new/data");
    let key = async {
        while !made.join("admin.key").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), key).await.unwrap();
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_in_use_is_named_with_what_to_do() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = output(folder.path(), &["serve", "--data-dir", "data", "--listen", &address]).await;
    let said = failed(&ended, 1);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    // Nothing has been touched by then.
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn a_data_folder_that_can_not_be_made_or_written_is_named() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for path in ["file", "file/data"] {
        let ended = output(folder.path(), &["serve", "--data-dir", path, "--listen", "127.0.0.1:0"]).await;
        let said = failed(&ended, 1);
        assert!(said.contains(path) && said.contains("data folder"), "{said}");
    }
}

#[tokio::test]
async fn a_data_folder_of_another_process_is_left_alone() {
    let folder = folder();
    let process = Process::start(&folder).await;
    process.gateway.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let before = process.gateway.files();
    let ended = output(folder.path(), &["serve", "--data-dir", ".", "--listen", "127.0.0.1:0"]).await;
    let said = failed(&ended, 1);
    assert!(said.contains("in use by another process") && said.contains("data folder"), "{said}");
    assert_eq!(process.gateway.files(), before);
    process.gateway.invoke("echo", json!(1)).await.expect_status(200);
    process.stop().await;
}

#[tokio::test]
async fn five_mistakes_in_a_configuration_are_told_together() {
    let folder = folder();
    let text = "[server]\nlisten = \"nowhere\"\ndrain_ms = -1\n[limits]\nfuell = 1\nmemory_bytes = \"64\"\n[shop]\nopen = true\n";
    std::fs::write(folder.path().join("sluice.toml"), text).unwrap();
    for arguments in [["serve", "--data-dir", "data"].as_slice(), &["config", "check"]] {
        let said = failed(&output(folder.path(), arguments).await, 1);
        for (line, what) in [(2, "listen"), (3, "drain_ms"), (5, "fuel"), (6, "memory_bytes"), (7, "shop")] {
            let place = format!("sluice.toml:{line}");
            assert!(said.lines().any(|told| told.contains(&place) && told.contains(what)), "{place} {what}: {said}");
        }
    }
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn wrong_usage_is_2() {
    let folder = folder();
    for arguments in [["serve", "--colour"].as_slice(), &["serve", "--listen"], &["frobnicate"], &[]] {
        let said = failed(&output(folder.path(), arguments).await, 2);
        assert!(said.contains("Usage") || said.contains("--help"), "{said}");
    }
    let version = output(folder.path(), &["--version"]).await;
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("sluice "));
}

#[tokio::test]
async fn sigterm_lets_a_call_in_flight_end_and_exits_0() {
    let folder = folder();
    let process = Process::start(&folder).await;
    let call = slow_call(&process, 3000).await;
    process.signal(Signal::TERM);
    process.refuses_connections().await;
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.json::<serde_json::Value>().await.unwrap()["execution_id"].as_str().unwrap().to_owned();
    let mut process = process;
    assert_eq!(process.ended().await.code(), Some(0));
    let process = Process::start(&folder).await;
    assert_eq!(process.gateway.execution(&id).await["status"], "completed");
    process.stop().await;
}

#[tokio::test]
async fn a_signal_ends_a_start_that_hangs() {
    // A database that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("[store]\nurl = \"postgres://u:p@{}/db\"\n", silent.local_addr().unwrap());
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder();
        std::fs::write(folder.path().join("sluice.toml"), &url).unwrap();
        let arguments = ["serve", "--data-dir", "data", "--listen", "127.0.0.1:0"];
        let mut child = crate::support::process::command(folder.path(), &arguments);
        let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let _waiting = silent.accept().await.unwrap();
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        let ended = tokio::time::timeout(Duration::from_mins(1), child.wait()).await.expect("an end in time").unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

#[tokio::test]
async fn what_has_not_ended_when_the_time_to_drain_is_over_is_cut_and_recorded() {
    let folder = folder();
    let mut process = Process::start_with(&folder, "[server]\ndrain_ms = 200\n").await;
    let call = slow_call(&process, 29_000).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    call.await.unwrap().unwrap_err();
    let process = Process::start(&folder).await;
    let listed = process.gateway.get("/api/v1/wasm/executions").await.json();
    assert_eq!(listed["items"][0]["status"], "canceled", "{listed}");
    process.stop().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let folder = folder();
    for second in [Signal::TERM, Signal::INT] {
        let mut process = Process::start_with(&folder, "[server]\ndrain_ms = 60000\n").await;
        let call = slow_call(&process, 29_000).await;
        process.signal(Signal::TERM);
        process.refuses_connections().await;
        process.signal(second);
        assert_eq!(process.ended().await.code(), Some(130));
        call.await.unwrap().unwrap_err();
        let process = Process::start(&folder).await;
        Answer::of(process.gateway.request(Method::DELETE, "/api/v1/wasm/modules/spin")).await.expect_status(204);
        process.stop().await;
    }
}
