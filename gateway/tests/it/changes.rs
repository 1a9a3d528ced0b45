//! Changes while the machine is busy: compilations that are slow, callers that leave, a gateway that stops.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::support::component::echo;
use crate::support::{Answer, TestGateway};

/// Far longer than anything takes that is waited for here.
const PATIENCE: Duration = Duration::from_mins(1);

/// A compiler that says in `folder` that it has started, and does `then`.
fn compiler(folder: &Path, then: &str) -> PathBuf {
    let program = folder.join("compiler.sh");
    let started = folder.join("started");
    std::fs::write(&program, format!("#!/bin/sh\n: > {}\n{then}\n", started.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    program
}

/// What the real one does, once `folder` has the file `go`.
fn once_told(folder: &Path) -> String {
    let go = folder.join("go");
    format!("while [ ! -e {} ]; do /bin/sleep 0.02; done\nexec {} \"$@\"", go.display(), env!("CARGO_BIN_EXE_sluice"))
}

async fn exists(path: PathBuf) {
    let waiting = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the file in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_an_upload_whose_caller_has_left() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let tools = tempfile::tempdir().unwrap();
    let mut gw = TestGateway::start_with_compiler(&folder, compiler(tools.path(), &once_told(tools.path()))).await;
    let form = Form::new()
        .part("module", Part::bytes(echo("a")).file_name("module.wasm"))
        .text("name", "echo")
        .text("version", "1.0.0");
    let upload = tokio::spawn(gw.request(Method::POST, "/api/v1/wasm/modules").multipart(form).send());
    exists(tools.path().join("started")).await;
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    let mut stop = std::pin::pin!(gw.stop());
    // Longer than it takes when there is nothing to wait for, and shorter than it may take.
    tokio::time::timeout(Duration::from_secs(2), stop.as_mut()).await.expect_err("a stop that waits");
    std::fs::write(tools.path().join("go"), []).unwrap();
    tokio::time::timeout(PATIENCE, stop).await.expect("the stop in time");

    let gw = TestGateway::start_in(folder, |_| {}).await;
    assert_eq!(gw.invoke("echo", json!(1)).await.expect_output(), 1);
    let rows = gw.get("/api/v1/audit?action=module.upload").await.expect_status(200).json();
    assert_eq!((&rows["total"], &rows["items"][0]["resource"]), (&json!(1), &json!("echo@1.0.0")));
}

#[tokio::test]
async fn a_stored_module_that_was_not_compiled_in_time_is_tried_again_at_the_next_call() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let tools = tempfile::tempdir().unwrap();
    let mut gw = TestGateway::start_in(Arc::clone(&folder), |_| {}).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    gw.stop().await;
    std::fs::remove_dir_all(folder.path().join("artifacts")).unwrap();

    // Killed, as by a kernel that has no memory left: at the first call, and at the upload of the same bytes.
    let killed = format!("[ -e {} ] || kill -9 $$\n", tools.path().join("go").display());
    let program = compiler(tools.path(), &(killed + &once_told(tools.path())));
    let gw = TestGateway::start_with_compiler(&folder, program).await;
    gw.invoke("echo", json!(1)).await.expect_refusal(500, "internal");
    let again = || gw.upload("other", "1.0.0", echo("a"));
    again().await.expect_problem(422, "invalid-module");
    gw.invoke("echo", json!(1)).await.expect_refusal(500, "internal");
    std::fs::write(tools.path().join("go"), []).unwrap();
    // What an upload was told is remembered for uploads.
    again().await.expect_problem(422, "invalid-module");
    assert_eq!(gw.invoke("echo", json!(1)).await.expect_output(), 1);
    again().await.expect_status(201);
    Answer::of(gw.request(Method::DELETE, "/api/v1/wasm/modules/other")).await.expect_status(204);
}
