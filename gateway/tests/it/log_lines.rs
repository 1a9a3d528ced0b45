//! The gateway's own log, on the standard error of the real binary.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::process::{Process, command};
use crate::support::{Answer, files, guest};

/// In every text that a caller or a guest chooses.
const CANARY: &str = "canary-b81c";

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("stderr.txt")
}

/// The gateway with its standard error in a file, which is no terminal.
async fn start(folder: &Arc<tempfile::TempDir>, env: &[(&str, &str)]) -> Process {
    let log = File::options().create(true).append(true).open(log_file(folder.path())).unwrap();
    Process::start_changed(folder, |command| {
        command.stderr(log).envs(env.iter().copied());
    })
    .await
}

/// The lines of the log, each of which must be an object.
fn lines(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log_file(folder)).unwrap();
    let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    parsed.collect()
}

async fn log_a_line(process: &Process) -> String {
    process.gateway.upload("log-spam", "1.0.0", guest("log-spam")).await.expect_status(201);
    let input = json!({"level": "warn", "message": CANARY, "fields": []});
    let body = json!({ "input": input });
    let answer = process.gateway.invoke_with("log-spam", "fields", body).await.expect_status(200).json();
    answer["execution_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn lines_are_objects_with_a_time_a_level_and_a_message() {
    let folder = folder();
    start(&folder, &[]).await.stop().await;
    let lines = lines(folder.path());
    assert!(!lines.is_empty());
    for line in &lines {
        line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(line["level"].is_string() && line["target"].is_string(), "{line}");
        assert!(!line["message"].as_str().unwrap().is_empty(), "{line}");
    }
    let serving = lines.iter().find(|line| line["message"] == "serving").unwrap();
    assert!(serving["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{serving}");
}

#[tokio::test]
async fn neither_keys_nor_bodies_nor_guests_words_are_in_the_log() {
    let folder = folder();
    let process = start(&folder, &[]).await;
    let gw = &process.gateway;
    log_a_line(&process).await;
    let form = Form::new()
        .part("module", Part::bytes(guest("trap")).file_name(CANARY))
        .text("name", "trap")
        .text("version", "1.0.0")
        .text("description", CANARY);
    gw.upload_form(form).await.expect_status(201);
    gw.upload("outcomes", "1.0.0", guest("outcomes")).await.expect_status(201);
    gw.upload("broken", "1.0.0", CANARY.as_bytes().to_vec()).await.expect_problem(422, "invalid-module");
    gw.invoke("trap", json!({ "message": CANARY })).await.expect_problem(502, "trap");
    gw.invoke("outcomes", json!({"failed": {"code": CANARY, "message": CANARY}}))
        .await
        .expect_problem(502, "step-failed");
    gw.invoke("outcomes", json!({ "text": CANARY })).await.expect_problem(502, "bad-output");
    gw.invoke_with("trap", "run", json!({"input": 1, "env": {"A": CANARY}, "data": {"a": CANARY}})).await;
    let path = "/api/v1/wasm/modules/trap/invoke";
    let torn = gw.request(Method::POST, path).header("content-type", "application/json").body(format!("{{{CANARY}"));
    Answer::of(torn).await.expect_problem(400, "bad-request");
    let wrong_key = gw.anonymous(Method::GET, "/api/v1/wasm/modules").bearer_auth(format!("sk_{CANARY}"));
    Answer::of(wrong_key).await.expect_problem(401, "unauthenticated");
    let key = gw.key().to_owned();
    process.stop().await;

    let text = std::fs::read_to_string(log_file(folder.path())).unwrap();
    assert!(!text.contains(CANARY), "{text}");
    assert!(!text.contains(&key) && !text.contains("sk_"), "{text}");
    assert!(!lines(folder.path()).is_empty());
}

#[tokio::test]
async fn guests_lines_are_in_the_log_where_they_are_asked_for() {
    let folder = folder();
    let process = start(&folder, &[("SLUICE_LOG", "info")]).await;
    let execution = log_a_line(&process).await;
    process.stop().await;

    let lines = lines(folder.path());
    let line = lines.iter().find(|line| line["message"] == CANARY).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!((&line["target"], &line["level"]), (&json!("sluice::guest"), &json!("WARN")));
    assert_eq!((&line["module"], &line["version"]), (&json!("log-spam"), &json!("1.0.0")));
    assert_eq!(line["execution_id"], execution.as_str());
}

#[tokio::test]
async fn the_cause_of_an_internal_error_is_in_the_log_once_under_the_requests_id() {
    let folder = folder();
    let process = start(&folder, &[]).await;
    process.gateway.upload("echo", "1.0.0", guest("echo")).await.expect_status(201);
    process.stop().await;
    for artifact in files::artifacts(folder.path()) {
        std::fs::remove_file(artifact).unwrap();
    }
    for digest in files::Files::of(folder.path()).blobs {
        std::fs::remove_file(files::blob(folder.path(), &digest)).unwrap();
    }
    let process = start(&folder, &[]).await;
    let problem = process.gateway.invoke("echo", json!(1)).await.expect_problem(500, "internal");
    process.stop().await;

    let lines = lines(folder.path());
    let told: Vec<_> = lines.iter().filter(|line| line["request_id"] == problem["request_id"]).collect();
    assert!(matches!(&*told, [line] if line["level"] == "ERROR"), "{lines:#?}");
}

#[tokio::test]
async fn text_is_written_where_it_is_configured() {
    let folder = folder();
    start(&folder, &[("SLUICE__TELEMETRY__LOG_FORMAT", "text")]).await.stop().await;
    let text = std::fs::read_to_string(log_file(folder.path())).unwrap();
    assert!(text.contains("INFO sluice::app: serving address=127.0.0.1:"), "{text}");
    assert!(!text.contains('\u{1b}'), "a file has no colours: {text}");
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_at_the_start() {
    let folder = folder();
    let mut serve = command(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let output = serve.env("SLUICE_LOG", "=x=").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SLUICE_LOG"), "{output:?}");
}

#[tokio::test]
async fn what_is_denied_is_logged_with_who_asked_and_what_would_allow_it() {
    let folder = folder();
    let process = start(&folder, &[]).await;
    process.gateway.upload("hosts", "1.2.3", guest("hosts")).await.expect_status(201);
    let input = json!({"http": {"method": "GET", "url": format!("https://a.example/x?key={CANARY}")}});
    let answer = process.gateway.invoke("hosts", input).await.expect_status(200).json();
    process.stop().await;
    let lines = lines(folder.path());
    let denied: Vec<_> = lines.iter().filter(|line| line["message"] == "a step was denied something").collect();
    let [line] = &denied[..] else { panic!("one line: {denied:?}") };
    assert_eq!((&line["level"], &line["module"], &line["version"]), (&json!("WARN"), &json!("hosts"), &json!("1.2.3")));
    assert_eq!(line["execution_id"], answer["execution_id"]);
    assert_eq!((&line["permission"], &line["resource"]), (&json!("http:read"), &json!("https://a.example/x")));
    assert_eq!(line["why"], "none of its permissions covers it");
}
