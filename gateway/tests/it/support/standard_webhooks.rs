//! The reference client of Standard Webhooks, from npm.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::upstream::Seen;

/// What it signs with this secret.
pub async fn sign(secret: &str, id: &str, seconds: i64, body: &str) -> String {
    run(&["sign", secret, id, &seconds.to_string()], body).await.expect("a signature")
}

/// Whether it takes a request for one that was signed with this secret.
pub async fn verifies(secret: &str, request: &Seen) -> Result<(), String> {
    let headers: serde_json::Map<_, _> =
        request.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    let body = std::str::from_utf8(&request.body).unwrap();
    run(&["verify", secret], &json!({"headers": headers, "body": body}).to_string()).await.map(|_| ())
}

async fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/standard-webhooks");
    let client = folder.join("client.js");
    assert!(client.exists(), "the client of Standard Webhooks is not installed: run `cargo xtask guests`");
    let mut command = Command::new("node");
    command.arg(client).args(arguments).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("node");
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(told(&output.stdout)) } else { Err(told(&output.stderr)) }
}
