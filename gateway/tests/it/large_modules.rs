//! Modules at the bound: on disk on their way, and never whole in the gateway's memory.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sluice::model::Digest;
use tokio::process::Command;

use crate::support::component::{echo, padded};
use crate::support::s3::S3Server;
use crate::support::{Answer, Process, Raw, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";
const MIB: usize = 1024 * 1024;
const LARGE_BYTES: usize = 100 * MIB;
/// What the peak may grow by while 100 MiB pass in and out: buffers, the parts of an upload to a
/// bucket, and what the allocator keeps of buffers that one thread made and another freed (15 to 60
/// MiB were seen). Below the component, so that it can't have been there whole.
const GROWTH_MAX: u64 = 80 * MIB as u64;

/// Uploads, loads and downloads 100 MiB; the peak of the process' memory hardly moves.
async fn memory_is_flat_with(configuration: &str) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let configuration = format!("[limits]\nmodule_bytes = 110000000\n{configuration}");
    let process = Process::start_with(&folder, &configuration).await;
    // What compiling and answering need in any case.
    process.gateway.upload("small", "1.0.0", echo("small")).await.expect_status(201);
    process.gateway.invoke("small", json!("x")).await.expect_status(200);
    let before = process.memory_peak_bytes();
    let component = padded(echo("large"), LARGE_BYTES);
    process.gateway.upload("large", "1.0.0", component.clone()).await.expect_status(201);
    let download = process.gateway.get(&format!("{MODULES}/large/download")).await.expect_status(200);
    assert!(download.body == component);
    let grown = process.memory_peak_bytes() - before;
    assert!(grown < GROWTH_MAX, "uploading and downloading took {} MiB", grown / MIB as u64);
    process.stop().await;

    // Loaded again, and compiled, from the blobs.
    std::fs::remove_dir_all(folder.path().join("artifacts")).unwrap();
    let process = Process::start_with(&folder, &configuration).await;
    process.gateway.invoke("small", json!("x")).await.expect_status(200);
    let before = process.memory_peak_bytes();
    process.gateway.invoke("large", json!("x")).await.expect_status(200);
    let grown = process.memory_peak_bytes() - before;
    assert!(grown < GROWTH_MAX, "loading took {} MiB", grown / MIB as u64);
    process.stop().await;
}

#[tokio::test]
async fn memory_is_flat_for_a_component_of_100_mib_in_a_folder() {
    memory_is_flat_with("").await;
}

#[tokio::test]
async fn memory_is_flat_for_a_component_of_100_mib_in_a_bucket() {
    let s3 = S3Server::start().await;
    memory_is_flat_with(&s3.toml()).await;
}

/// A module is deleted while its download has only begun.
async fn a_download_survives_its_module(gw: &TestGateway) {
    let component = padded(echo("large"), 24 * MIB);
    gw.upload("large", "1.0.0", component.clone()).await.expect_status(201);
    let mut download = gw.request(Method::GET, &format!("{MODULES}/large/download")).send().await.unwrap();
    assert_eq!(download.status(), 200);
    let mut received = download.chunk().await.unwrap().unwrap().to_vec();
    assert!(received.len() < component.len());
    Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/large"))).await.expect_status(204);
    // Another takes its place, under its name.
    gw.upload("large", "1.0.0", echo("other")).await.expect_status(201);
    while let Some(chunk) = download.chunk().await.unwrap() {
        received.extend_from_slice(&chunk);
    }
    assert_eq!(Digest::of(&received), Digest::of(&component));
    assert!(gw.files().others.is_empty(), "{:?}", gw.files());
}

#[tokio::test]
async fn a_download_from_a_folder_that_a_deletion_overtakes_ends_as_it_began() {
    a_download_survives_its_module(&TestGateway::start().await).await;
}

#[tokio::test]
async fn a_download_from_a_bucket_that_a_deletion_overtakes_ends_as_it_began() {
    let s3 = S3Server::start().await;
    a_download_survives_its_module(&TestGateway::start_with(|config| config.blobs = s3.config()).await).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let process = Process::start(&folder).await;
    let gw = &process.gateway;
    let before = (gw.files(), process.open_files());
    // More than the turns that uploads have.
    for _ in 0..6 {
        let part = "--X\r\ncontent-disposition: form-data; name=\"module\"; filename=\"m\"\r\n\r\n";
        let head = format!(
            "POST {MODULES} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: multipart/form-data; boundary=X\r\ncontent-length: 30000000\r\n\r\n{part}",
            gw.key()
        );
        let mut raw = Raw::send(gw, head).await;
        raw.more(vec![7; 4 * MIB]).await;
        drop(raw);
    }
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/echo"))).await.expect_status(204);
    let freed = async {
        // The database's own files come and go.
        while process.open_files().iter().any(|file| file.contains("(deleted)")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.expect("no spooled file that somebody holds");
    assert_eq!(gw.files(), before.0);
    process.stop().await;
}

/// No file of the process may grow over 4 MiB: what a full disk is to whoever writes, but for the number of
/// the error, and it needs no privilege.
fn on_a_small_disk(command: &mut Command) {
    let inner = command.as_std();
    let mut small = Command::new("sh");
    // In blocks of 512 bytes. The signal would end the process where the write should fail.
    small.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"]);
    small.arg(inner.get_program()).args(inner.get_args()).current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => small.env(name, value),
            None => small.env_remove(name),
        };
    }
    small.kill_on_drop(true).stdin(std::process::Stdio::null());
    small.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    *command = small;
}

#[tokio::test]
async fn an_upload_that_the_disk_has_no_room_for_is_answered_and_leaves_nothing() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let process = Process::start_changed(&folder, on_a_small_disk).await;
    let gw = &process.gateway;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let before = gw.files();
    for _ in 0..6 {
        let refused = gw.upload("large", "1.0.0", padded(echo("b"), 6 * MIB)).await.expect_refusal(500, "internal");
        assert!(!refused.to_string().contains(folder.path().to_str().unwrap()), "{refused}");
    }
    assert_eq!(gw.files(), before);
    assert!(process.open_files().iter().all(|file| !file.contains("(deleted)")), "{:?}", process.open_files());
    gw.upload("other", "1.0.0", padded(echo("c"), MIB)).await.expect_status(201);
    gw.invoke("echo", json!("x")).await.expect_status(200);
    process.stop().await;
}
