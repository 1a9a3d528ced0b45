//! Steps of jobs, by the runner that the engine has, against real servers, databases and guests.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use local_servers::postgres;
use serde_json::{Value, json};
use sluice::blob::{Blobs, Spool};
use sluice::circuit::{Circuits, Position};
use sluice::clock::{Clock, ManualClock};
use sluice::config::{Config, Database, DatabaseUrl, Secrets};
use sluice::jobs::runner::{Again, HttpBody, Notifier as _, Posted, StepRunner as _, Task, TaskEnd, Work};
use sluice::model::job::{DatabaseMode, StepError};
use sluice::model::{AuditEntry, Digest, ExecutionRecord, JsonText, Limits, Permission, PermissionKind, RunId, action};
use sluice::registry::{self, CompileError, Compiler, Registry, Trust, Upload};
use sluice::runtime::{self, Outside, Runtime};
use sluice::steps::{Parts, Steps};
use sluice::store::recorder::{self, Recorder};
use sluice::store::sqlite::SqliteStore;
use sluice::store::{ExecutionFilter, PageRequest, SharedStore};
use sluice::telemetry::{Metrics, Sampler};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::support::upstream::{Then, nobody, saying};
use crate::support::{Upstream, compile_in, guest};

/// As `app` has it.
struct RealCompiler(Arc<Runtime>);

#[async_trait]
impl Compiler for RealCompiler {
    async fn compile(&self, digest: Digest, component: Spool) -> Result<(), CompileError> {
        self.0.compile(digest, component).await.map_err(|error| CompileError::Failed(error.to_string()))
    }

    async fn forget(&self, digest: Digest) {
        self.0.forget(digest).await;
    }

    async fn retain(&self, digests: HashSet<Digest>) {
        self.0.retain(digests).await;
    }
}

/// A runner with all that is behind it. Circuits open at the third failure, for a second of the clock that `hand` moves.
struct Set {
    steps: Steps,
    outside: Arc<Outside>,
    registry: Arc<Registry>,
    store: SharedStore,
    hand: ManualClock,
    stop: oneshot::Sender<()>,
    recording: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn set(permissions: &[(PermissionKind, &str)], change: impl FnOnce(&mut Config)) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::in_folder(folder.path().to_owned());
    config.egress.allow_private = vec!["127.0.0.0/8".parse().unwrap()];
    config.jobs.circuits.failures = 3;
    config.jobs.circuits.open_ms = 1_000;
    config.jobs.permissions = permissions
        .iter()
        .map(|(permission, resource)| Permission { permission: *permission, resource: (*resource).to_owned() })
        .collect();
    change(&mut config);
    let (clock, hand) = Clock::manual(Timestamp::now());
    let metrics = Metrics::new();
    let store: SharedStore = Arc::new(SqliteStore::open(&folder.path().join("sluice.db")).await.unwrap());
    let blobs = Blobs::open(&config.blobs, &config.data_dir, clock.clone()).await.unwrap();
    let circuits = Circuits::new(&config.jobs.circuits, clock.clone(), metrics.clone());
    let outside = Arc::new(Outside::open(&config, circuits).unwrap());
    let runtime = Runtime::open(runtime::Parts {
        config: &config,
        blobs: blobs.clone(),
        outside: Arc::clone(&outside),
        metrics: metrics.clone(),
        clock: clock.clone(),
        compile_in: compile_in(),
    });
    let runtime = Arc::new(runtime.unwrap());
    let registry = Registry::open(registry::Parts {
        store: Arc::clone(&store),
        blobs,
        compiler: Arc::new(RealCompiler(Arc::clone(&runtime))),
        limits: config.limits.clone(),
        trust: Trust::new(config.signatures.clone(), metrics.clone()),
        metrics: metrics.clone(),
        clock: clock.clone(),
        changes: TaskTracker::new(),
    });
    let registry = registry.await.unwrap();
    let (recorder, service) = Recorder::new(recorder::Config::default(), Arc::clone(&store), |_| {});
    let (stop, stopped) = oneshot::channel();
    let recording = tokio::spawn(service.run(async {
        let _ = stopped.await;
    }));
    let steps = Steps::new(Parts {
        registry: Arc::clone(&registry),
        runtime,
        outside: Arc::clone(&outside),
        recorder,
        sampler: Sampler::new(&config.telemetry),
        metrics,
        clock,
        config: &config,
    });
    Set { steps, outside, registry, store, hand, stop, recording, _folder: folder }
}

impl Set {
    async fn upload(&self, name: &str, permissions: &[(PermissionKind, &str)]) {
        let permissions = permissions
            .iter()
            .map(|(permission, resource)| Permission { permission: *permission, resource: (*resource).to_owned() });
        let upload = Upload {
            component: Spool::of(&guest(name)).unwrap(),
            name: name.parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            description: String::new(),
            permissions: permissions.collect(),
            limits: Limits::default(),
            signature: None,
            created_by: "tests".to_owned(),
        };
        let audit = AuditEntry::by_gateway(Timestamp::now(), action::MODULE_UPLOAD, name);
        self.registry.upload(upload, audit).await.unwrap();
    }

    async fn run(&self, work: Work) -> TaskEnd {
        self.steps.run(task(work)).await
    }

    /// What is stored once all was.
    async fn records(self) -> Vec<ExecutionRecord> {
        let _ = self.stop.send(());
        self.recording.await.unwrap();
        let page = PageRequest { page: 1, limit: PageRequest::LIMIT_MAX };
        let records = self.store.list_executions(&ExecutionFilter::default(), page).await.unwrap().items;
        self.store.close().await;
        records
    }
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn task(work: Work) -> Task {
    let run_id: RunId = "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d".parse().unwrap();
    Task {
        run_id,
        job: "orders".parse().unwrap(),
        step: "price".parse().unwrap(),
        attempt: 2,
        idempotency_key: format!("{run_id}:price"),
        traceparent: Some(PARENT.to_owned()),
        work,
        timeout: None,
    }
}

fn get(url: impl Into<String>) -> Work {
    Work::Http { method: "GET".to_owned(), url: url.into(), headers: Vec::new(), body: None, success: None }
}

fn wasm(module: &str, function: &str, input: impl std::borrow::Borrow<Value>) -> Work {
    Work::Wasm {
        module: module.parse().unwrap(),
        function: function.to_owned(),
        input: JsonText::of(input.borrow()),
        data: JsonText::of(&json!({"kept": 1})),
        env: Vec::new(),
        limits: Limits::default(),
    }
}

fn statement(connection: &str, mode: DatabaseMode, sql: &str, params: Vec<Value>) -> Work {
    Work::Database { connection: connection.to_owned(), mode, sql: sql.to_owned(), params }
}

#[track_caller]
fn output(end: TaskEnd) -> Value {
    let TaskEnd::Completed { output, .. } = end else { panic!("{end:?}") };
    serde_json::from_str(output.as_str()).unwrap()
}

#[track_caller]
fn failure(end: TaskEnd) -> (StepError, Again) {
    let TaskEnd::Failed { error, again } = end else { panic!("{end:?}") };
    (error, again)
}

#[track_caller]
fn expect_failed(end: TaskEnd, code: &str, again: Again) -> String {
    let (error, found) = failure(end);
    assert_eq!((error.code.as_str(), found), (code, again), "{error:?}");
    error.message
}

#[tokio::test]
async fn an_http_step_sends_what_it_says_with_its_key_and_trace_and_gives_the_answer() {
    let upstream = Upstream::start().await;
    let permissions =
        [(PermissionKind::HttpWrite, &*upstream.url("/orders/*")), (PermissionKind::SecretUse, "prices@127.0.0.1")];
    let set = set(&permissions, |config| {
        config.secrets = Secrets::new([("prices".to_owned(), "k\"3y".into())].into());
    })
    .await;
    let work = Work::Http {
        method: "POST".to_owned(),
        url: upstream.url("/orders/1"),
        headers: vec![("Authorization".to_owned(), "Bearer {{secret:prices}}".to_owned())],
        body: Some(HttpBody::Json(json!({"n": 1, "key": "{{secret:prices}}"}))),
        success: None,
    };
    let answer = output(set.run(work).await);
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!({"n": 1, "key": "k\"3y"})));
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!(seen.header("authorization"), "Bearer k\"3y");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("idempotency-key"), "\"019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d:price\"");
    assert_eq!(seen.header("traceparent"), PARENT);

    let denied = expect_failed(set.run(get(upstream.url("/orders/1"))).await, "permission-denied", Again::Never);
    assert!(denied.contains(&format!("http:read {}", upstream.url("/orders/1"))), "{denied}");
    let other = Work::Http {
        method: "PUT".to_owned(),
        url: upstream.url("/orders/1"),
        headers: vec![("x".to_owned(), "{{secret:other}}".to_owned())],
        body: Some(HttpBody::Text("as it is".to_owned())),
        success: None,
    };
    let denied = expect_failed(set.run(other).await, "permission-denied", Again::Never);
    assert!(denied.contains("secret:use other@127.0.0.1"), "{denied}");
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn an_answer_is_json_text_or_base64_and_its_status_says_whether_it_is_tried_again() {
    let upstream = Upstream::start().await;
    let set = set(&[(PermissionKind::HttpRead, "http://127.0.0.1:*/**")], |config| {
        config.jobs.circuits.failures = 1_000;
    })
    .await;
    let says =
        |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{head}\r\n{body}", body.len());
    for (head, body, expected) in [
        ("content-type: application/problem+json; charset=utf-8\r\n", "12", json!(12)),
        ("content-type: text/plain\r\n", "12", json!("12")),
        ("content-type: text/plain\r\n", "{\"a\":1.50}", json!({"a": 1.5})),
        ("content-type: application/json\r\n", "{", json!("{")),
        ("", "", json!(null)),
        ("x-a: 1\r\nX-A: 2\r\n", "null", json!(null)),
    ] {
        let address = saying(says(head, body), Then::Close).await;
        let answer = output(set.run(get(format!("http://{address}/"))).await);
        assert_eq!(answer["body"], expected, "{head} {body}");
        assert!(!head.contains("x-a") || answer["headers"]["x-a"] == "1, 2", "{answer}");
    }
    let raw = |status: u16, head: &str| format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n{head}\r\nno");
    for (status, head, again) in [
        (503, "", Again::Policy),
        (429, "retry-after: 7\r\n", Again::NotBefore(Duration::from_secs(7))),
        (425, "", Again::Policy),
        (404, "retry-after: 7\r\n", Again::Never),
        (302, "location: http://127.0.0.1/\r\n", Again::Never),
    ] {
        let address = saying(raw(status, head), Then::Close).await;
        let (error, found) = failure(set.run(get(format!("http://{address}/"))).await);
        assert_eq!((error.code.as_str(), found), ("http-status", again), "{status}");
        assert_eq!(error.details, Some(json!({"status": status, "body": "no"})));
    }
    let url = upstream.url("/status/404");
    let expected =
        Work::Http { method: "GET".to_owned(), url, headers: Vec::new(), body: None, success: Some([404].into()) };
    assert_eq!(output(set.run(expected).await)["status"], 404);
    let too_large = set.run(get(upstream.url("/big/10485761"))).await;
    expect_failed(too_large, "output-too-large", Again::Never);
}

#[tokio::test]
async fn who_fails_is_left_alone_by_jobs_and_guests_and_nobody_else_is() {
    let upstream = Upstream::start().await;
    let dead = nobody().await;
    let set = set(&[(PermissionKind::HttpRead, "**"), (PermissionKind::HttpWrite, "**")], |_| {}).await;
    set.upload("hosts", &[(PermissionKind::HttpRead, "**")]).await;
    let url = format!("http://{dead}/");
    for _ in 0..3 {
        let message = expect_failed(set.run(get(&*url)).await, "connection-failed", Again::Policy);
        assert!(!message.contains("127.0.0.1"), "{message}");
    }
    let TaskEnd::Parked { circuit, after } = set.run(get(&*url)).await else { panic!("not parked") };
    assert_eq!((circuit, after), (format!("http://{dead}"), Duration::from_secs(1)));
    let posted = set.steps.post(&url, Vec::new(), "{}".to_owned()).await;
    assert!(matches!(&posted, Posted::Failed { code, .. } if code == "circuit-open"), "{posted:?}");
    let send = json!({"http": {"method": "GET", "url": url}});
    let told = output(set.run(wasm("hosts", "run", &send)).await);
    assert_eq!(told["http"]["err"], json!(["failed", format!("http://{dead} is failing and is left alone for 1 s")]));
    assert_eq!(output(set.run(get(upstream.url("/"))).await)["status"], 200);

    // A guest's own failures are its own: it goes there when it may be probed, and so does a job.
    set.hand.advance_ms(1_000);
    for _ in 0..3 {
        let told = output(set.run(wasm("hosts", "run", &send)).await);
        assert_eq!(told["http"]["err"][1], "the host can't be connected to");
    }
    expect_failed(set.run(get(&*url)).await, "connection-failed", Again::Policy);
    let open: Vec<_> = set.outside.circuits().list().into_iter().map(|one| (one.module, one.state)).collect();
    assert_eq!(open, [(None, Position::Open), (Some("hosts".to_owned()), Position::Open)]);
}

#[tokio::test]
async fn a_time_that_is_over_is_tried_again_and_a_future_that_is_dropped_ends_the_exchange() {
    let mut upstream = Upstream::start().await;
    let set = set(&[(PermissionKind::HttpRead, "**")], |_| {}).await;
    let hang = || Task { timeout: Some(Duration::from_millis(50)), ..task(get(upstream.url("/hang"))) };
    expect_failed(set.steps.run(hang()).await, "timed-out", Again::Policy);
    let steps = set.steps.clone();
    let endless = task(get(upstream.url("/hang")));
    upstream.until_hung_up().await;
    upstream.seen();
    let waiting = tokio::spawn(async move { steps.run(endless).await });
    upstream.until_asked().await;
    waiting.abort();
    upstream.until_hung_up().await;
}

#[tokio::test]
async fn a_database_step_gives_rows_or_a_number_and_failures_in_words_without_its_statement() {
    let permissions = [(PermissionKind::DatabaseRead, "orders"), (PermissionKind::DatabaseWrite, "*")];
    let dead = nobody().await;
    let set = set(&permissions, |config| {
        for (name, url) in [("orders", "sqlite:orders.db".to_owned()), ("gone", format!("postgres://u:pw@{dead}/d"))] {
            let url = DatabaseUrl::parse(&url, &config.data_dir).unwrap();
            config.databases.insert(name.to_owned(), Database::new(url));
        }
    })
    .await;
    let execute = |sql: &str, params: Vec<Value>| set.run(statement("orders", DatabaseMode::Execute, sql, params));
    execute("create table orders (id integer primary key, sku text)", Vec::new()).await;
    let insert = "insert into orders values ($1, $2), (2, $2)";
    assert_eq!(output(execute(insert, vec![json!(1), json!("a")]).await), json!({"changed": 2}));
    let query = "select id, sku from orders where sku = $1 order by id";
    let rows = set.run(statement("orders", DatabaseMode::Query, query, vec![json!("a")])).await;
    assert_eq!(output(rows), json!({"rows": [{"id": 1, "sku": "a"}, {"id": 2, "sku": "a"}]}));

    let message = expect_failed(
        execute("insert into nowhere values ('s3cret')", Vec::new()).await,
        "database-error",
        Again::Never,
    );
    assert!(!message.contains("s3cret"), "{message}");
    let (error, again) = failure(execute(insert, vec![json!(1), json!("a")]).await);
    assert_eq!((error.code.as_str(), again), ("database-error", Again::Never), "{error:?}");
    let message = expect_failed(execute(insert, Vec::new()).await, "bad-request", Again::Never);
    assert!(message.contains("has 2 parameters"), "{message}");
    let denied = set.run(statement("gone", DatabaseMode::Query, "select 1", Vec::new())).await;
    assert!(expect_failed(denied, "permission-denied", Again::Never).contains("database:read gone"));
    let unknown = set.run(statement("other", DatabaseMode::Execute, "select 1", Vec::new())).await;
    expect_failed(unknown, "not-found", Again::Never);

    let gone = || set.run(statement("gone", DatabaseMode::Execute, "delete from orders", Vec::new()));
    for _ in 0..3 {
        let message = expect_failed(gone().await, "connection-failed", Again::Policy);
        assert!(!message.contains("127.0.0.1") && !message.contains("pw"), "{message}");
    }
    assert!(matches!(gone().await, TaskEnd::Parked { circuit, .. } if circuit == "gone"));
    assert_eq!(output(execute("delete from orders", Vec::new()).await), json!({"changed": 2}));
}

#[tokio::test]
async fn a_serialization_that_fails_is_tried_again_and_opens_no_circuit() {
    let server = postgres::database();
    server
        .run("create function lose() returns int language plpgsql as $$ begin raise sqlstate '40001'; end $$")
        .unwrap();
    let set = set(&[(PermissionKind::DatabaseRead, "*")], |config| {
        let url = DatabaseUrl::parse(&server.url(), &config.data_dir).unwrap();
        config.databases.insert("orders".to_owned(), Database::new(url));
    })
    .await;
    for _ in 0..5 {
        let lost = set.run(statement("orders", DatabaseMode::Query, "select lose()", Vec::new())).await;
        expect_failed(lost, "database-error", Again::Policy);
    }
    assert_eq!(set.outside.circuits().list(), []);
    let slow = Work::Database {
        connection: "orders".to_owned(),
        mode: DatabaseMode::Query,
        sql: "select pg_sleep(60)::text".to_owned(),
        params: Vec::new(),
    };
    let slow = Task { timeout: Some(Duration::from_millis(200)), ..task(slow) };
    expect_failed(set.steps.run(slow).await, "timed-out", Again::Policy);
}

#[tokio::test]
async fn a_wasm_step_ends_as_its_function_says_and_is_recorded() {
    let set = set(&[], |_| {}).await;
    for name in ["outcomes", "echo", "trap", "spin", "context"] {
        set.upload(name, &[]).await;
    }
    let end = set.run(wasm("echo", "route", json!({"next": ["store"]}))).await;
    let TaskEnd::Completed { next, data, .. } = end else { panic!("{end:?}") };
    assert_eq!((next, data), (Some(vec!["store".to_owned()]), None));

    let ops = json!({"ops": [["current"], ["set", "more", "[2]"]]});
    let end = set.run(wasm("context@^1", "run", &ops)).await;
    let TaskEnd::Completed { output, data: Some(data), .. } = end else { panic!("{end:?}") };
    assert_eq!(serde_json::from_str::<Value>(data.as_str()).unwrap(), json!({"kept": 1, "more": [2]}));
    let output: Value = serde_json::from_str(output.as_str()).unwrap();
    let told = &output[0]["ok"];
    let shown = [&told["job"], &told["run_id"], &told["step_id"], &told["attempt"], &told["idempotency_key"]];
    let key = "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d:price";
    let run = "019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d";
    assert_eq!(shown, [&json!("orders"), &json!(run), &json!("price"), &json!(2), &json!(key)]);

    let invalid = json!({"invalid": [{"path": "/a", "code": "c", "message": "m"}]});
    let TaskEnd::Invalid(errors) = set.run(wasm("outcomes", "run", invalid)).await else { panic!("not invalid") };
    assert_eq!(errors[0].path, "/a");
    for (failed, again) in [
        (json!({"retryable": false, "retry_after_ms": 5}), Again::Never),
        (json!({"retryable": true}), Again::Policy),
        (json!({"retryable": true, "retry_after_ms": 5}), Again::NotBefore(Duration::from_millis(5))),
    ] {
        let mut failed = failed;
        failed["code"] = "no-stock".into();
        failed["message"] = "none left".into();
        failed["details"] = json!({"sku": 1});
        let (error, found) = failure(set.run(wasm("outcomes", "run", json!({ "failed": failed }))).await);
        assert_eq!((error.code.as_str(), error.origin.as_str(), found), ("no-stock", "guest", again));
        assert_eq!((error.message.as_str(), error.details), ("none left", Some(json!({"sku": 1}))));
    }
    expect_failed(set.run(wasm("outcomes", "run", json!({"text": "1e400"}))).await, "bad-output", Again::Never);
    expect_failed(set.run(wasm("nobody", "run", json!(1))).await, "not-found", Again::Never);
    expect_failed(set.run(wasm("echo", "nothing-like-it", json!(1))).await, "no-such-function", Again::Never);
    let mut above = wasm("echo", "run", json!(1));
    if let Work::Wasm { limits, .. } = &mut above {
        limits.memory_bytes = Some(u64::MAX);
    }
    assert!(expect_failed(set.run(above).await, "bad-request", Again::Never).contains("memory_bytes"));
    let sleep = Task { timeout: Some(Duration::from_millis(50)), ..task(wasm("spin", "sleep", json!({"ms": 60_000}))) };
    expect_failed(set.steps.run(sleep).await, "timed-out", Again::Policy);

    for _ in 0..3 {
        expect_failed(set.run(wasm("trap", "unreachable", json!(1))).await, "trap", Again::Never);
    }
    assert!(
        matches!(set.run(wasm("trap", "run", json!(1))).await, TaskEnd::Parked { circuit, .. } if circuit == "trap@1.0.0")
    );
    let records = set.records().await;
    // What did not start leaves none.
    assert_eq!(records.len(), 2 + 1 + 3 + 1 + 1 + 3, "{records:#?}");
}

#[tokio::test]
async fn a_wasm_step_whose_run_is_canceled_is_recorded_as_canceled() {
    let upstream = Upstream::start().await;
    let set = set(&[], |_| {}).await;
    set.upload("hosts", &[(PermissionKind::HttpWrite, "**")]).await;
    let hang = json!({"http": {"method": "POST", "url": upstream.url("/hang")}});
    let steps = set.steps.clone();
    let waiting = tokio::spawn(async move { steps.run(task(wasm("hosts", "run", hang))).await });
    upstream.until_asked().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!(seen.header("idempotency-key"), "\"019ab3f0-5c1e-7d42-9a61-2f8e6f0c4b7d:price\"");
    let records = set.records().await;
    assert_eq!(records.iter().map(|record| record.status.as_str()).collect::<Vec<_>>(), ["canceled"]);
}

#[tokio::test]
async fn a_notification_is_posted_as_it_is_under_the_operators_permissions() {
    let upstream = Upstream::start().await;
    let set = set(&[(PermissionKind::HttpWrite, &upstream.url("/**"))], |config| {
        config.secrets = Secrets::new([("hook".to_owned(), "whsec_x".into())].into());
    })
    .await;
    let headers =
        vec![("webhook-id".to_owned(), "msg_1".to_owned()), ("content-type".to_owned(), "application/json".to_owned())];
    let body = r#"{"type":"run.completed","x":"{{secret:hook}}"}"#.to_owned();
    let posted = set.steps.post(&upstream.url("/told"), headers, body.clone()).await;
    assert_eq!(posted, Posted::Answered { status: 200, retry_after: None });
    let [seen] = &upstream.seen()[..] else { unreachable!("one request") };
    assert_eq!((seen.method.as_str(), seen.header("webhook-id"), &seen.body[..]), ("POST", "msg_1", body.as_bytes()));
    let busy = "HTTP/1.1 503 x\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n";
    let busy = saying(busy, Then::Close).await;
    let posted = set.steps.post(&format!("http://{busy}/"), Vec::new(), String::new()).await;
    assert!(matches!(&posted, Posted::Failed { code, .. } if code == "permission-denied"), "{posted:?}");
    let gone = set.steps.post(&upstream.url("/status/410"), Vec::new(), String::new()).await;
    assert_eq!(gone, Posted::Answered { status: 410, retry_after: None });
    assert!(set.steps.secret("hook").is_some() && set.steps.secret("other").is_none());
}
