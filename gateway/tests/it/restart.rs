//! What is there after a restart, and what is done about files that were changed meanwhile.

use serde_json::json;

use crate::support::component::echo;
use crate::support::files::{artifacts, blob, flip_a_bit};
use crate::support::{Answer, Raw, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";

async fn with_echo() -> TestGateway {
    let gw = TestGateway::start().await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    gw
}

/// Stops it, lets something happen to its files, and starts it again.
async fn restarted_after(mut gw: TestGateway, meanwhile: impl FnOnce(&std::path::Path)) -> TestGateway {
    gw.stop().await;
    meanwhile(gw.folder().path());
    TestGateway::start_in(gw.folder(), |_| {}).await
}

fn remove_all(files: &[std::path::PathBuf]) {
    for path in files {
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn modules_and_executions_outlive_the_process() {
    let gw = with_echo().await.module("log-spam").await;
    let module = gw.get(&format!("{MODULES}/echo")).await.json();
    let id = gw.invoke("log-spam", json!({"lines": 3, "bytes": 10})).await.expect_status(200).json()["execution_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let record = gw.ended_execution(&id).await;
    let lines = gw.lines(&id).await;
    assert_eq!(lines.len(), 3);
    let key = gw.key().to_owned();
    let gw = gw.restart().await;
    assert_eq!(gw.key(), key);
    assert_eq!(gw.get(&format!("{MODULES}/echo")).await.expect_status(200).json(), module);
    assert_eq!(gw.get(&format!("{MODULES}/echo/download")).await.expect_status(200).body, echo("a"));
    assert_eq!(gw.get(&format!("/api/v1/wasm/executions/{id}")).await.expect_status(200).json(), record);
    assert_eq!(gw.lines(&id).await, lines);
    // What was answered just before the end is there as well.
    let last = gw.invoke("echo", json!(1)).await.json()["execution_id"].as_str().unwrap().to_owned();
    let gw = gw.restart().await;
    gw.get(&format!("/api/v1/wasm/executions/{last}")).await.expect_status(200);
}

#[tokio::test]
async fn code_is_mapped_and_not_compiled_again() {
    let gw = with_echo().await;
    assert_eq!(gw.metric("sluice_module_compile_duration_seconds_count").await, 1);
    let gw = gw.restart().await;
    gw.invoke("echo", json!("x")).await.expect_status(200);
    assert_eq!(gw.metric("sluice_module_compile_duration_seconds_count").await, 0);
    assert_eq!(gw.metric("sluice_module_load_duration_seconds_count").await, 1);
    // The same bytes under another name need no compiler either.
    gw.upload("other", "1.0.0", echo("a")).await.expect_status(201);
    assert_eq!(gw.metric("sluice_module_compile_duration_seconds_count").await, 0);
}

#[tokio::test]
async fn changed_code_is_compiled_again_and_somebody_is_told() {
    type Damage = fn(&std::path::Path);
    let damages: [Damage; 3] = [
        flip_a_bit,
        |path| std::fs::write(path, "").unwrap(),
        |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        },
    ];
    for damage in damages {
        let gw = restarted_after(with_echo().await, |folder| {
            let files = artifacts(folder);
            assert_eq!(files.len(), 1);
            damage(&files[0]);
        })
        .await;
        let answer = gw.invoke("echo", json!("x")).await.expect_status(200);
        assert_eq!(answer.json()["output"], "x");
        assert_eq!(gw.metric("sluice_module_compile_duration_seconds_count").await, 1);
        assert_eq!(gw.metric("sluice_security_alerts_total{kind=\"artifact\"}").await, 1);
        // It is mended: the next start maps it.
        let gw = gw.restart().await;
        gw.invoke("echo", json!("x")).await.expect_status(200);
        assert_eq!(gw.metric("sluice_module_compile_duration_seconds_count").await, 0);
        assert_eq!(gw.metric("sluice_security_alerts_total").await, 0);
    }
}

#[tokio::test]
async fn code_of_another_component_under_a_known_name_is_not_run() {
    let gw = with_echo().await.module("leak").await;
    let gw = restarted_after(gw, |folder| {
        // Both have a code of authentication of ours; only the names are exchanged.
        let files = artifacts(folder);
        let aside = folder.join("aside");
        std::fs::rename(&files[0], &aside).unwrap();
        std::fs::rename(&files[1], &files[0]).unwrap();
        std::fs::rename(&aside, &files[1]).unwrap();
    })
    .await;
    assert_eq!(gw.invoke("echo", json!("x")).await.expect_status(200).json()["output"], "x");
    assert_eq!(gw.invoke("leak", json!(1)).await.expect_status(200).json()["output"], json!({"count": 1}));
    assert_eq!(gw.metric("sluice_security_alerts_total{kind=\"artifact\"}").await, 2);
}

#[tokio::test]
async fn another_key_of_the_node_means_compiling_again() {
    let gw = restarted_after(with_echo().await, |folder| {
        std::fs::write(folder.join("artifacts/node.key"), [7; 32]).unwrap();
    })
    .await;
    gw.invoke("echo", json!("x")).await.expect_status(200);
    assert_eq!(gw.metric("sluice_module_compile_duration_seconds_count").await, 1);
}

#[tokio::test]
async fn a_module_whose_bytes_were_changed_is_refused_and_somebody_is_told() {
    let gw = with_echo().await;
    let digest = gw.get(&format!("{MODULES}/echo")).await.json()["sha256"].as_str().unwrap().to_owned();
    let gw = restarted_after(gw, |folder| {
        flip_a_bit(&blob(folder, &digest));
        remove_all(&artifacts(folder));
    })
    .await;
    let alerts = "sluice_security_alerts_total{kind=\"integrity\"}";
    gw.invoke("echo", json!("x")).await.expect_problem(500, "integrity");
    assert_eq!(gw.metric(alerts).await, 1);
    let answer = gw.get(&format!("{MODULES}/echo/download")).await;
    answer.expect_problem(500, "integrity");
    assert_eq!(gw.metric(alerts).await, 2);
    assert!(artifacts(gw.folder().path()).is_empty());
    assert_eq!(gw.get("/api/v1/wasm/executions").await.json()["total"], 0);
    // The same module under another name brings the right bytes.
    gw.upload("again", "1.0.0", echo("a")).await.expect_status(201);
    gw.invoke("echo", json!("x")).await.expect_status(200);
    gw.get(&format!("{MODULES}/echo/download")).await.expect_status(200);
}

#[tokio::test]
async fn the_same_upload_again_brings_back_bytes_that_were_lost() {
    let gw = with_echo().await;
    let digest = gw.get(&format!("{MODULES}/echo")).await.json()["sha256"].as_str().unwrap().to_owned();
    let gw = restarted_after(gw, |folder| {
        std::fs::remove_file(blob(folder, &digest)).unwrap();
        remove_all(&artifacts(folder));
    })
    .await;
    gw.invoke("echo", json!("x")).await.expect_problem(500, "internal");
    // Deleting and uploading is always a way out.
    Answer::of(gw.request(reqwest::Method::DELETE, &format!("{MODULES}/echo"))).await.expect_status(204);
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    gw.invoke("echo", json!("x")).await.expect_status(200);
}

#[tokio::test]
async fn what_a_crash_left_is_swept_at_the_next_start() {
    let gw = with_echo().await;
    let before = gw.files();
    let gw = restarted_after(gw, |folder| {
        let digest = sluice::model::Digest::of(b"unreferenced").to_string();
        let orphan = blob(folder, &digest);
        std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
        std::fs::write(orphan, b"unreferenced").unwrap();
        std::fs::write(folder.join("blobs/tmp/half-written"), b"x").unwrap();
        std::fs::write(folder.join("artifacts/.new-half"), b"x").unwrap();
    })
    .await;
    assert_eq!(gw.files(), before);
    gw.invoke("echo", json!("x")).await.expect_status(200);
}

#[tokio::test]
async fn what_is_detached_while_the_gateway_drains_still_has_the_drain_time() {
    let mut gw = TestGateway::start().await.module("spin").await;
    let body = json!({"input": {"ms": 300}}).to_string();
    let head = format!(
        "POST {MODULES}/spin/invoke?function=sleep HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nprefer: respond-async\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        gw.key(),
        body.len()
    );
    let mut raw = Raw::send(&gw, head).await;
    // The gateway asks for the body: the request runs.
    assert_eq!(raw.answer().await.status, 100);
    let address = gw.address().to_owned();
    let asking = async {
        // Nobody is listening any more: it stops.
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        raw.more(&body).await;
        raw.answer().await
    };
    let folder = gw.folder();
    let (stopped, answer) = tokio::join!(gw.stop(), asking);
    assert_eq!((answer.status, stopped.cut), (202, 0));
    let id =
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["execution_id"].as_str().unwrap().to_owned();
    let gw = TestGateway::start_in(folder, |_| {}).await;
    let record = gw.get(&format!("/api/v1/wasm/executions/{id}")).await.expect_status(200).json();
    assert_eq!(record["status"], "completed", "{record}");
}
