//! From `init` to `delete` with a step that was just made.

use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Author, PATIENCE, Ran};

pub(super) const GOOD: &str = r#"{"order": {"id": "A-17", "customer": "ada@example.com", "country": "DE", "items": [{"sku": "pen", "quantity": 2, "price_cents": 1250}]}}"#;
pub(super) const BAD: &str = r#"{"order": {"id": "", "items": []}}"#;

/// Builds as an author does, but where `cargo xtask guests` has compiled the same
/// dependencies already, and without a network.
pub(super) fn building(mut command: Command) -> Command {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests-build/rust");
    command.env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    // They would take the place of the flags in the step's own `.cargo/config.toml`.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

#[tokio::test]
async fn a_new_step_is_made_built_stored_run_looked_at_fetched_and_deleted() {
    let author = Author::new().await;
    let made = author.run(&["init", "price-check"]).await.done().says(&["cd price-check", "sluice build"]);
    assert_eq!(made.stdout, "made the step price-check in price-check\n");
    author.run(&["upload", "price-check"]).await.failed().says(&["build it first", "sluice build price-check"]);

    let built = Ran::of(building(author.command(&["build", "price-check"]))).await.done();
    assert_eq!(built.value("component"), "price-check/target/price-check.wasm");
    assert_eq!((built.value("kind"), built.value("functions")), ("job-step", "run"));
    let built = built.says(&["sluice upload price-check\n"]);

    let stored = author.run(&["upload", "price-check"]).await.done().says(&["sluice invoke price-check"]);
    assert!(stored.stdout.starts_with("uploaded price-check 0.1.0: "), "{stored:?}");
    let again = author.run(&["upload", "price-check"]).await.done();
    assert!(again.stdout.starts_with("these bytes are stored already as price-check 0.1.0"), "{again:?}");

    let source = author.folder.path().join("price-check/src/lib.rs");
    std::fs::File::options().append(true).open(&source).unwrap().set_modified(SystemTime::now()).unwrap();
    let stale = author.run(&["upload", "price-check"]).await.done();
    stale.says(&["price-check/src/lib.rs has changed since this was built", "sluice build price-check"]);

    let listed = author.run(&["list"]).await.done();
    let cells: Vec<&str> = listed.stdout.trim_end().split('\t').collect();
    assert_eq!((cells[0], cells[1], cells[2], cells[4]), ("price-check", "0.1.0", "job-step", "run"));
    let shown = author.run(&["show", "price-check"]).await.done();
    assert_eq!((shown.value("name"), shown.value("version")), ("price-check", "0.1.0"));
    assert_eq!(shown.value("sha256"), built.value("sha256"));

    let ran = author.run(&["invoke", "price-check", "--input", GOOD]).await.done().says(&["completed in", "fuel"]);
    assert_eq!(ran.json()["total_cents"], 2500);
    let execution = ran.stderr.trim_end().rsplit(' ').next().unwrap().to_owned();
    let log = author.run(&["logs", &execution]).await.done();
    assert!(log.stdout.contains("price-check@0.1.0 run") && log.stdout.contains("order accepted"), "{log:?}");

    let refused = author.run(&["invoke", "price-check", "--input", BAD]).await.failed();
    let refused = refused.says(&["/order/id: ", "/order/items: ", "code: invalid-data", "its log: sluice logs "]);
    assert_eq!(refused.stdout, "", "there is no output to pipe on");
    let execution = refused.stderr.trim_end().rsplit(' ').next().unwrap().to_owned();
    let log = author.run(&["logs", &execution, "--level", "warn"]).await.done();
    assert!(log.stdout.starts_with("invalid ") && log.stdout.contains("warn"), "{log:?}");

    author.run(&["download", "price-check@^0.1", "--output", "copy.wasm"]).await.done();
    let (copy, original) = (author.path("copy.wasm"), author.path("price-check/target/price-check.wasm"));
    assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(original).unwrap());

    author.run(&["delete", "price-check"]).await.ended(2).says(&["--yes"]);
    let deleted = author.run(&["delete", "price-check", "--yes"]).await.done();
    assert_eq!(deleted.stdout, "deleted price-check 0.1.0\n");
    author.run(&["show", "price-check"]).await.failed().says(&["there is no module price-check", "sluice list"]);
    author.run(&["logs", &execution]).await.failed().says(&["goes with its module"]);
    author.run(&["list"]).await.done().says(&["no modules"]);
}

#[tokio::test]
async fn each_command_of_that_life_answers_in_json_when_asked() {
    let author = Author::new().await;
    let json = async |arguments: &[&str]| author.run(&[arguments, &["--json"]].concat()).await.done().json();

    let made = json(&["init", "tax-check"]).await;
    assert_eq!((&made["name"], &made["path"]), (&json!("tax-check"), &json!("tax-check")));
    assert!(made["files"].as_array().unwrap().contains(&json!("src/lib.rs")), "{made}");
    let built = Ran::of(building(author.command(&["build", "tax-check", "--json"]))).await.done().json();
    assert_eq!((&built["functions"], &built["version"]), (&json!(["run"]), &json!("0.1.0")));
    let stored = json(&["upload", "tax-check"]).await;
    assert_eq!((&stored["name"], &stored["sha256"]), (&json!("tax-check"), &built["sha256"]));
    assert_eq!(stored["imports"], built["imports"]);
    assert_eq!(json(&["list"]).await["items"], json!([stored]));
    assert_eq!(json(&["show", stored["id"].as_str().unwrap()]).await, stored);

    let ran = json(&["invoke", "tax-check", "--input", GOOD, "--data", r#"{"region": "eu"}"#]).await;
    assert_eq!((&ran["status"], &ran["output"]["total_cents"]), (&json!("completed"), &json!(2500)));
    let logs = json(&["logs", ran["execution_id"].as_str().unwrap()]).await;
    assert_eq!(logs["items"][0]["execution_id"], ran["execution_id"]);
    let fetched = json(&["download", "tax-check", "--output", "copy.wasm"]).await;
    assert_eq!((&fetched["sha256"], &fetched["path"]), (&stored["sha256"], &json!("copy.wasm")));

    // A refusal is the problem as it came, where a script looks for the answer.
    let refused = author.run(&["invoke", "tax-check", "--input", BAD, "--json"]).await.failed().json();
    assert_eq!((&refused["code"], &refused["status"]), (&json!("invalid-data"), &json!(422)));
    let deleted = author.run(&["delete", "tax-check", "--yes", "--json"]).await.done();
    assert_eq!(deleted.stdout, "", "a deletion has no body");
    assert_eq!(json(&["list"]).await["items"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn an_input_comes_from_a_file_or_a_pipe_and_its_digits_and_order_stay() {
    use tokio::io::AsyncWriteExt as _;

    let author = Author::with(crate::support::TestGateway::start().await.module("echo").await);
    let (given, shown) = ("{\"b\": 1.50, \"a\": [1e2]}\n", "{\n  \"b\": 1.50,\n  \"a\": [\n    1e2\n  ]\n}\n");
    std::fs::write(author.path("order.json"), given).unwrap();
    let from_file = author.run(&["invoke", "echo", "--input", "@order.json"]).await.done();
    assert_eq!(from_file.stdout, shown);

    let mut command = author.command(&["invoke", "echo", "--input", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    let from_pipe: Ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into();
    assert_eq!(from_pipe.done().stdout, shown);
}

#[tokio::test]
async fn followed_executions_are_printed_as_they_end() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let author = Author::with(crate::support::TestGateway::start().await.module("log-spam").await);
    let mut command = author.command(&["logs", "--follow", "log-spam", "--level", "warn"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, notes.next_line()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with("following log-spam 1.0.0"), "{first}");

    let line = json!({"level": "warn", "message": "half\nand half", "fields": [["n", "1"]]});
    let body = json!({ "input": line });
    author.gateway.invoke_with("log-spam", "fields", body).await.expect_status(200);
    let mut said = Vec::new();
    while said.len() < 3 {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a line in time");
        said.push(line.unwrap().expect("it goes on"));
    }
    assert!(said[0].starts_with("completed ") && said[0].contains("log-spam@1.0.0 fields"), "{said:?}");
    assert!(said[1].ends_with(" warn  half"), "{said:?}");
    assert_eq!(said[2], "      and half n=1");
    child.kill().await.unwrap();
}
