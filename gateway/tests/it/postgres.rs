//! Gateways on a real PostgreSQL: several on one database, and a database that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice::config::{Config, Postgres, Store};

use crate::support::component::echo;
use crate::support::files::{Files, blob};
use crate::support::keys::{KEYS, of_role};
use crate::support::process::output;
use crate::support::s3::S3Server;
use crate::support::{Answer, Process, TestGateway, compile_in, guest};
use local_servers::postgres::{Database, Server, database};

const MODULES: &str = "/api/v1/wasm/modules";

fn on(url: &str) -> impl FnOnce(&mut Config) {
    let mut postgres = Postgres::parse(url).unwrap();
    postgres.timeout_ms = 2_000;
    postgres.connect_timeout_ms = 1_000;
    |config: &mut Config| config.store = Store::Postgres(Box::new(postgres))
}

/// Copies the bytes of modules from one gateway's folder to another's, as shared storage would have them.
fn replicate(from: &TestGateway, to: &TestGateway) {
    let (from, to) = (from.folder(), to.folder());
    for digest in Files::of(from.path()).blobs {
        let (from, to) = (blob(from.path(), &digest), blob(to.path(), &digest));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

/// Two gateways on one database.
async fn two(database: &Database) -> (TestGateway, TestGateway) {
    let first = TestGateway::start_with(on(&database.url())).await;
    let second = first.start_beside(on(&database.url())).await;
    (first, second)
}

async fn delete(gateway: &TestGateway, module: &str) -> Answer {
    Answer::of(gateway.request(Method::DELETE, &format!("{MODULES}/{module}"))).await
}

/// Sooner than a gateway asks by itself whether anything changed, which it does every five seconds: so it was
/// told. It takes some hundredths of a second; the rest is for machines that are busy.
const TOLD: Duration = Duration::from_secs(4);

/// Until it is so.
async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn a_module_of_one_gateway_answers_on_the_other_at_once_and_goes_with_it() {
    let database = database();
    let (first, second) = two(&database).await;
    for (here, there) in [(&first, &second), (&second, &first)] {
        here.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
        let found = format!("{MODULES}/echo");
        let took = soon("the module", async || there.get(&found).await.status == 200).await;
        assert!(took < TOLD, "{took:?}");
        replicate(here, there);
        assert_eq!(there.invoke("echo", json!([1])).await.expect_output(), json!([1]));
        // A later version takes over, on both.
        here.upload("echo", "1.1.0", echo("b")).await.expect_status(201);
        soon("the version", async || there.get(&found).await.json()["version"] == "1.1.0").await;
        delete(here, "echo@1.1.0").await.expect_status(204);
        delete(here, "echo@1.0.0").await.expect_status(204);
        let took = soon("the deletion", async || there.get(&found).await.status == 404).await;
        assert!(took < TOLD, "{took:?}");
        there.invoke("echo", json!(1)).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn gateways_on_one_database_and_one_bucket_follow_each_other_in_everything() {
    let (database, s3) = (database(), S3Server::start().await);
    let url = database.url();
    let on_both = || {
        let (change, blobs) = (on(&url), s3.config());
        move |config: &mut Config| {
            change(config);
            config.blobs = blobs;
        }
    };
    let first = TestGateway::start_with(on_both()).await;
    let second = first.start_beside(on_both()).await;
    first.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let path = format!("{MODULES}/echo");
    soon("the module", async || second.get(&path).await.status == 200).await;
    assert_eq!(second.invoke("echo", json!([1])).await.expect_output(), json!([1]));

    let permissions = json!([{"permission": "http:read", "resource": "*"}]);
    let put = |gateway: &TestGateway, member: &str, body: &Value| {
        Answer::of(gateway.request(Method::PUT, &format!("{path}/{member}")).json(body))
    };
    put(&second, "permissions", &permissions).await.expect_status(200);
    soon("the permissions", async || first.get(&path).await.json()["permissions"] == permissions).await;
    put(&first, "limits", &json!({"timeout_ms": 4000})).await.expect_status(200);
    soon("the limits", async || second.get(&path).await.json()["limits"]["timeout_ms"] == 4000).await;
    assert_eq!(second.get(&path).await.json()["permissions"], permissions);

    let key = of_role(&second, "viewer").await;
    soon("the key", async || key.get(&first, &path).await.status == 200).await;
    Answer::of(first.request(Method::DELETE, &format!("{KEYS}/{}", key.id))).await.expect_status(204);
    soon("the end of the key", async || key.get(&second, &path).await.status == 401).await;
    // What either did is in one audit.
    let made = first.get("/api/v1/audit?action=key.create").await.expect_status(200).json();
    assert_eq!(made["total"], 2, "{made}");

    delete(&second, "echo").await.expect_status(204);
    soon("the deletion", async || first.get(&path).await.status == 404).await;
}

#[tokio::test]
async fn no_request_fails_while_another_gateway_changes_the_modules() {
    let database = database();
    let (first, second) = two(&database).await;
    first.upload("stays", "1.0.0", echo("stays")).await.expect_status(201);
    replicate(&first, &second);
    soon("the module", async || second.get(&format!("{MODULES}/stays")).await.status == 200).await;
    let (done, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    let changing = async {
        for round in 0..20 {
            first.upload("comes", "1.0.0", echo(&round.to_string())).await.expect_status(201);
            delete(&first, "comes").await.expect_status(204);
        }
        done.store(true, Ordering::Relaxed);
    };
    let calling = async {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(second.invoke("stays", json!("x")).await.expect_output(), "x");
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::join!(changing, calling);
    assert!(calls.load(Ordering::Relaxed) > 20, "{calls:?} calls say nothing");
}

#[tokio::test]
async fn a_second_gateway_makes_no_new_admin_key() {
    let database = database();
    let (_first, second) = two(&database).await;
    assert!(!second.folder().path().join("admin.key").exists());
    // It is the first one's that is sent.
    second.get(MODULES).await.expect_status(200);
}

#[tokio::test]
async fn gateways_that_start_together_agree_on_one_admin_key() {
    let database = database();
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let starting = folders.iter().map(|folder| {
        let mut config = Config::in_folder(folder.path().to_owned());
        on(&database.url())(&mut config);
        sluice::app::App::start(config, compile_in())
    });
    let apps = futures_util::future::try_join_all(starting).await.unwrap();
    let keys: Vec<_> = apps.iter().filter_map(sluice::app::App::first_key).collect();
    assert_eq!(keys.len(), 1);
    for app in &apps {
        let client = reqwest::Client::new();
        let url = format!("http://{}{MODULES}", app.address());
        // The others hear of it as of every change.
        soon("the key", async || client.get(&url).bearer_auth(keys[0]).send().await.unwrap().status() == 200).await;
    }
    for app in apps {
        app.stop().await;
    }
}

#[tokio::test]
async fn a_start_leaves_what_runs_on_other_gateways_alone() {
    let database = database();
    let (first, mut second) = two(&database).await;
    first.upload("spin", "1.0.0", guest("spin")).await.expect_status(201);
    let call = first.request(Method::POST, &format!("{MODULES}/spin/invoke?function=sleep"));
    let call = tokio::spawn(call.json(&json!({"input": {"ms": 3000}})).send());
    first.eventually("/api/v1/wasm/executions?status=running", |answer| answer.json()["total"] == 1).await;
    // Neither a stop nor a start of another one is the end of it.
    second.stop().await;
    let third = first.start_beside(on(&database.url())).await;
    let running = third.get("/api/v1/wasm/executions?status=running").await.json();
    assert_eq!(running["total"], 1, "{running}");
    let answer: Value = call.await.unwrap().unwrap().json().await.unwrap();
    let ended = third.ended_execution(answer["execution_id"].as_str().unwrap()).await;
    assert_eq!(ended["status"], "completed", "{ended}");
}

fn configuration(database: &Database) -> String {
    format!("[store]\nurl = \"{}\"\ntimeout_ms = 2000\nconnect_timeout_ms = 1000\n", database.url())
}

#[tokio::test]
async fn what_a_killed_gateway_ran_has_failed_when_it_is_back() {
    let database = database();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let process = Process::start_with(&folder, &configuration(&database)).await;
    process.gateway.upload("spin", "1.0.0", guest("spin")).await.expect_status(201);
    let call = process.gateway.request(Method::POST, &format!("{MODULES}/spin/invoke?function=sleep"));
    let call = tokio::spawn(call.json(&json!({"input": {"ms": 25000}})).send());
    let running = "/api/v1/wasm/executions?status=running";
    process.gateway.eventually(running, |answer| answer.json()["total"] == 1).await;
    process.kill().await;
    call.await.unwrap().unwrap_err();
    let process = Process::start_with(&folder, &configuration(&database)).await;
    let listed = process.gateway.get("/api/v1/wasm/executions").await.json();
    assert_eq!(listed["items"][0]["status"], "failed", "{listed}");
    assert_eq!(listed["items"][0]["error"]["code"], "internal", "{listed}");
    process.stop().await;
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_is_named_and_the_exit_code_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("[store]\nurl = \"postgres://sluice:hunter2@{nobody}/rows\"\nconnect_timeout_ms = 1000\n");
    std::fs::write(folder.path().join("sluice.toml"), text).unwrap();
    let ended = output(folder.path(), &["serve", "--data-dir", "data", "--listen", "127.0.0.1:0"]).await;
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &[][..]), "{said}");
    assert!(said.contains(&nobody.to_string()) && said.contains("can't be reached"), "{said}");
    for hidden in ["hunter2", "SELECT", "CREATE", "SET "] {
        assert!(!said.contains(hidden), "{said}");
    }
}

#[tokio::test]
async fn a_gateway_outlives_its_database_and_loses_no_record() {
    let mut server = Server::start().unwrap();
    let database = server.database().unwrap();
    let (first, second) = two(&database).await;
    first.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    soon("the module", async || second.get(&format!("{MODULES}/echo")).await.status == 200).await;
    replicate(&first, &second);
    second.invoke("echo", json!(0)).await.expect_status(200);
    server.stop().unwrap();

    let unready = first.eventually("/readyz", |answer| answer.status == 503).await.json();
    assert_eq!(unready["checks"], json!({"store": "failed", "blobs": "ok"}));
    first.get("/healthz").await.expect_status(200);
    let mut ids = Vec::new();
    for gateway in [&first, &second] {
        for number in 0..50 {
            let answer = gateway.invoke("echo", json!(number)).await.expect_status(200).json();
            assert_eq!(answer["output"], number);
            ids.push(answer["execution_id"].as_str().unwrap().to_owned());
        }
    }
    // What needs the database says so, in time, and nothing of it.
    let started = Instant::now();
    let refused = first.get(MODULES).await.expect_problem(500, "internal");
    assert!(started.elapsed() < Duration::from_secs(8));
    assert!(!refused.to_string().contains("127.0.0.1"), "{refused}");

    // An answer that tells where to look would be wrong; and nothing is run.
    let path = "/api/v1/wasm/modules/echo/invoke";
    let unseen = first.request(Method::POST, path).header("prefer", "respond-async").json(&json!({}));
    let unseen = Answer::of(unseen).await;
    assert_eq!((unseen.header("location"), unseen.header("retry-after")), ("", "1"));
    unseen.expect_refusal(503, "overloaded");

    server.start_again().unwrap();
    first.eventually("/readyz", |answer| answer.status == 200).await;
    first.eventually("/api/v1/wasm/executions?status=canceled", |answer| answer.json()["total"] == 1).await;
    for id in &ids {
        assert_eq!(first.execution(id).await["status"], "completed");
    }
    assert_eq!(first.metric("sluice_execution_records_dropped_total").await, 0);
    // The gateways hear of each other again.
    first.upload("later", "1.0.0", echo("b")).await.expect_status(201);
    soon("the module", async || second.get(&format!("{MODULES}/later")).await.status == 200).await;
    replicate(&first, &second);
    second.invoke("later", json!(1)).await.expect_status(200);
}

#[tokio::test]
async fn a_change_is_taken_over_whose_telling_was_lost() {
    let database = database();
    let (first, second) = two(&database).await;
    first.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let client = database.connect().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        client.execute(end, &[]).await.unwrap();
        first.upload("echo", version, echo(version)).await.expect_status(201);
        soon("the version", async || second.get(&format!("{MODULES}/echo")).await.json()["version"] == version).await;
    }
}

#[tokio::test]
async fn a_database_that_hangs_holds_up_lists_for_a_time_and_calls_for_none() {
    let database = database();
    let gateway = TestGateway::start_with(on(&database.url())).await;
    gateway.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    gateway.invoke("echo", json!(1)).await.expect_status(200);
    let mut client = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE modules, executions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let started = Instant::now();
    let mut ids = Vec::new();
    for number in 0..20 {
        let answer = gateway.invoke("echo", json!(number)).await.expect_status(200).json();
        ids.push(answer["execution_id"].as_str().unwrap().to_owned());
    }
    // One that waited for the database would have taken two seconds.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    gateway.get(MODULES).await.expect_problem(503, "overloaded");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    lock.rollback().await.unwrap();
    gateway.get(MODULES).await.expect_status(200);
    for id in &ids {
        gateway.execution(id).await;
    }
}

/// The same bytes under many names, some of them.
fn upload_of(name: &str, number: usize) -> reqwest::multipart::Form {
    let seed = if number.is_multiple_of(2) { format!("shared-{number}") } else { name.to_owned() };
    reqwest::multipart::Form::new()
        .part("module", reqwest::multipart::Part::bytes(echo(&seed)))
        .text("name", name.to_owned())
        .text("version", "1.0.0")
}

#[tokio::test]
async fn two_gateways_survive_the_death_of_one_in_the_middle_of_uploads() {
    let (database, s3) = (database(), S3Server::start().await);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let configuration = format!("{}{}", configuration(&database), s3.toml());
    let process = Process::start_with(&folder, &configuration).await;
    let other_folder = tempfile::tempdir().unwrap();
    let mut config = Config::in_folder(other_folder.path().to_owned());
    on(&database.url())(&mut config);
    config.blobs = s3.config();
    let other = sluice::app::App::start(config, compile_in()).await.unwrap();
    let gateway = &process.gateway;
    let uploading = futures_util::future::join_all((0..4).map(|client| async move {
        let mut stored = Vec::new();
        for number in 0_usize.. {
            let name = format!("m{client}-{number}");
            let form = upload_of(&name, number);
            match gateway.request(Method::POST, MODULES).multipart(form).send().await {
                Ok(answer) if answer.status() == 201 => stored.push(name),
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => break,
            }
        }
        stored
    }));
    let killing = async {
        gateway.eventually(MODULES, |answer| answer.json()["total"].as_u64() > Some(6)).await;
        process.signal(rustix::process::Signal::KILL);
    };
    let (stored, ()) = tokio::join!(uploading, killing);
    let key = std::fs::read_to_string(folder.path().join("admin.key")).unwrap();
    let client = reqwest::Client::new();
    let base = format!("http://{}{MODULES}", other.address());
    for name in stored.iter().flatten() {
        let invoke = client.post(format!("{base}/{name}/invoke?function=run")).bearer_auth(key.trim());
        let answer = Answer::of(invoke.json(&json!({"input": name}))).await;
        assert_eq!(answer.expect_output(), name.as_str());
    }
    // All that is listed has its bytes, answered or not.
    let listed = Answer::of(client.get(format!("{base}?limit=200")).bearer_auth(key.trim())).await.json();
    for module in listed["items"].as_array().unwrap() {
        let url = format!("{base}/{}/download", module["id"].as_str().unwrap());
        Answer::of(client.get(url).bearer_auth(key.trim())).await.expect_status(200);
    }
    // What was cut off is uploaded again, on the gateway that is left; what was stored, is.
    for (uploader, number) in stored.iter().map(Vec::len).enumerate() {
        for (number, statuses) in [(number.saturating_sub(1), [200, 201]), (number, [200, 201])] {
            let name = format!("m{uploader}-{number}");
            let form = upload_of(&name, number);
            let again = client.post(&base).bearer_auth(key.trim()).multipart(form).send().await.unwrap();
            assert!(statuses.contains(&again.status().as_u16()), "{name}: {}", again.text().await.unwrap());
        }
    }
    let listed = Answer::of(client.get(format!("{base}?limit=200")).bearer_auth(key.trim())).await.json();
    other.stop().await;
    process.kill().await;
    let process = Process::start_with(&folder, &configuration).await;
    assert_eq!(process.gateway.get(MODULES).await.json()["total"], listed["total"]);
    process.stop().await;
}
