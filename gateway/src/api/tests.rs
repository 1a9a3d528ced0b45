use std::collections::HashSet;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::clock::Clock;
use crate::http::auth::{Keys, generate_key};
use crate::jobs::runner::{Notifier, Posted, StepRunner, Task, TaskEnd};
use crate::model::{Digest, ExecutionId, ExecutionRecord, JsonObject, Level, LogLine, Module, NewKey, Role, Status};
use crate::registry::fixtures::step_component;
use crate::registry::{CompileError, Compiler, Parts, Trust};
use crate::store::sqlite::SqliteStore;

/// Compiling is the runtime's part, and has tests there.
struct NotCompiled;

#[async_trait]
impl Compiler for NotCompiled {
    async fn compile(&self, _digest: Digest, _component: crate::blob::Spool) -> Result<(), CompileError> {
        Ok(())
    }

    async fn forget(&self, _digest: Digest) {}

    async fn retain(&self, _digests: HashSet<Digest>) {}
}

/// No run goes on here: the engine is opened, and not run.
struct Nobody;

#[async_trait]
impl StepRunner for Nobody {
    async fn run(&self, _: Task) -> TaskEnd {
        std::future::pending().await
    }
}

#[async_trait]
impl Notifier for Nobody {
    async fn post(&self, _: &str, _: Vec<(String, String)>, _: String) -> Posted {
        std::future::pending().await
    }

    fn secret(&self, _: &str) -> Option<secrecy::SecretString> {
        None
    }
}

/// The control plane on a real store and a real folder, with a key of each of two roles.
struct Gateway {
    router: Router,
    readiness: Readiness,
    store: SharedStore,
    admin: String,
    viewer: String,
    _folder: TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::in_folder(folder.path().to_owned());
        let clock = Clock::system();
        let store: SharedStore = Arc::new(SqliteStore::open(&folder.path().join("sluice.db")).await.unwrap());
        let blobs = Blobs::open(&config.blobs, &config.data_dir, clock.clone()).await.unwrap();
        let metrics = Metrics::new();
        let parts = Parts {
            store: Arc::clone(&store),
            blobs: blobs.clone(),
            compiler: Arc::new(NotCompiled),
            limits: config.limits.clone(),
            trust: Trust::new(config.signatures.clone(), metrics.clone()),
            metrics: metrics.clone(),
            clock: clock.clone(),
            changes: tokio_util::task::TaskTracker::new(),
        };
        let registry = Registry::open(parts).await.unwrap();
        let (admin, admin_key) = generate_key(NewKey::unrestricted("admin", Role::Admin), clock.now()).unwrap();
        let (viewer, viewer_key) = generate_key(NewKey::unrestricted("viewer", Role::Viewer), clock.now()).unwrap();
        let keys = Keys::new(&[admin_key, viewer_key], clock.clone());
        let readiness = Readiness::default();
        let engine = crate::jobs::open(crate::jobs::Parts {
            store: Arc::clone(&store),
            blobs: blobs.clone(),
            registry: Arc::clone(&registry),
            runner: Arc::new(Nobody),
            notifier: Arc::new(Nobody),
            clock: clock.clone(),
            metrics: metrics.clone(),
            config: &config,
        })
        .await
        .unwrap();
        let services = Services {
            jobs: engine.0,
            circuits: crate::circuit::Circuits::unwatched(),
            listeners: Listeners::default(),
            registry,
            store: Arc::clone(&store),
            blobs,
            clock,
            keys,
            metrics,
            config: Arc::new(config),
            readiness: readiness.clone(),
            transfers: Transfers::default(),
            changes: tokio_util::task::TaskTracker::new(),
        };
        Self { router: router(services), readiness, store, admin, viewer, _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer(self.router.clone().oneshot(request).await.unwrap())
    }

    async fn ask(&self, method: &str, path: &str, key: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &self.viewer).await
    }

    async fn upload(&self, name: &str, version: &str, bytes: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (part, content) in [("name", name.as_bytes()), ("version", version.as_bytes()), ("module", bytes)] {
            body.extend(format!("--X\r\ncontent-disposition: form-data; name=\"{part}\"\r\n\r\n").bytes());
            body.extend(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--X--\r\n");
        let request = Request::post("/api/v1/wasm/modules")
            .header("authorization", format!("Bearer {}", self.admin))
            .header("content-type", "multipart/form-data; boundary=X");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// An execution of this module with a line of each level.
    async fn executed(&self, module: &Module) -> ExecutionId {
        let line = |level| LogLine {
            at: "2026-01-31T12:00:00Z".parse().unwrap(),
            level,
            message: "checked".to_owned(),
            fields: JsonObject::default(),
        };
        let record = ExecutionRecord {
            execution_id: ExecutionId::starting("2026-01-31T12:00:00Z".parse().unwrap()),
            module_id: module.id,
            module: module.name.clone(),
            version: module.version.clone(),
            function: "run".to_owned(),
            status: Status::Completed,
            started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
            duration_us: Some(184),
            fuel: Some(12345),
            memory_bytes: Some(65536),
            error: None,
            lines: [Level::Debug, Level::Info, Level::Warn, Level::Error].map(line).to_vec(),
            lines_dropped: 0,
            run_id: None,
            job: None,
        };
        self.store.record_executions([record.clone()].into()).await.unwrap();
        record.execution_id
    }
}

struct Answer(Response);

impl Answer {
    #[track_caller]
    fn expect_problem(&self, code: Code) -> &Self {
        assert_eq!(self.0.extensions().get::<Problem>().map(Problem::code), Some(code));
        assert_eq!(self.0.status().as_u16(), code.status());
        self
    }

    #[track_caller]
    fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.0.status().as_u16(), status);
        self
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.0.headers()[name].to_str().unwrap()
    }

    async fn bytes(self) -> Bytes {
        self.0.into_body().collect().await.unwrap().to_bytes()
    }

    async fn json(self) -> Value {
        serde_json::from_slice(&self.bytes().await).unwrap()
    }

    async fn module(self) -> Module {
        serde_json::from_slice(&self.bytes().await).unwrap()
    }
}

#[tokio::test]
async fn an_uploaded_module_is_shown_listed_downloaded_and_deleted() {
    let gw = Gateway::start().await;
    let bytes = step_component("one");
    let uploaded = gw.upload("rules", "1.2.0", &bytes).await.expect_status(201);
    let location = uploaded.header("location").to_owned();
    let module = uploaded.module().await;
    assert_eq!(location, format!("/api/v1/wasm/modules/{}", module.id));
    assert_eq!((module.name.as_str(), module.created_by.as_str()), ("rules", "admin"));
    gw.upload("rules", "1.2.0", &bytes).await.expect_status(200);

    for reference in ["rules", "rules@1.2.0", "rules@%5E1"] {
        let shown = gw.get(&format!("/api/v1/wasm/modules/{reference}")).await.expect_status(200);
        assert_eq!(shown.module().await, module, "{reference}");
    }
    let listed = gw.get("/api/v1/wasm/modules?q=RUL&limit=10").await.expect_status(200).json().await;
    assert_eq!((&listed["total"], &listed["page"], &listed["limit"]), (&1.into(), &1.into(), &10.into()));
    assert_eq!(listed["items"][0]["id"], module.id.to_string());

    let path = format!("{location}/download");
    let file = gw.get(&path).await.expect_status(200);
    assert_eq!(file.header("content-type"), "application/wasm");
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"rules-1.2.0.wasm\"");
    assert_eq!(file.header("etag"), format!("\"{}\"", module.sha256));
    assert_eq!(file.bytes().await, bytes);

    gw.ask("DELETE", &location, &gw.admin).await.expect_status(204);
    gw.get(&location).await.expect_problem(Code::NotFound);
    gw.get(&path).await.expect_problem(Code::NotFound);
    gw.ask("DELETE", &location, &gw.admin).await.expect_problem(Code::NotFound);
}

#[tokio::test]
async fn a_download_that_is_known_or_only_asked_about_has_no_body() {
    let gw = Gateway::start().await;
    let bytes = step_component("one");
    let module = gw.upload("rules", "1.2.0", &bytes).await.expect_status(201).module().await;
    let head = gw.ask("HEAD", "/api/v1/wasm/modules/rules/download", &gw.viewer).await.expect_status(200);
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    assert_eq!(head.bytes().await, "");
    let request = Request::get("/api/v1/wasm/modules/rules/download")
        .header("authorization", format!("Bearer {}", gw.viewer))
        .header("if-none-match", format!("\"{}\"", module.sha256));
    let known = gw.send(request.body(Body::empty()).unwrap()).await.expect_status(304);
    assert_eq!(known.bytes().await, "");
}

#[tokio::test]
async fn a_version_that_is_taken_and_bytes_that_are_no_component_are_refused() {
    let gw = Gateway::start().await;
    gw.upload("rules", "1.2.0", &step_component("one")).await.expect_status(201);
    gw.upload("rules", "1.2.0", &step_component("two")).await.expect_problem(Code::VersionExists);
    gw.upload("other", "1.0.0", b"\0asm\x01\0\0\0").await.expect_problem(Code::InvalidModule);
    gw.upload("Other", "one", b"").await.expect_problem(Code::BadRequest);
    assert_eq!(gw.get("/api/v1/wasm/modules").await.json().await["total"], 1);
}

#[tokio::test]
async fn executions_are_listed_without_lines_and_logs_have_them_by_level() {
    let gw = Gateway::start().await;
    let module = gw.upload("rules", "1.2.0", &step_component("one")).await.module().await;
    let id = gw.executed(&module).await;

    let listed = gw.get(&format!("/api/v1/wasm/executions?module_id={}", module.id)).await.json().await;
    assert_eq!((&listed["total"], &listed["items"][0]["execution_id"]), (&1.into(), &id.to_string().into()));
    assert!(listed["items"][0].get("lines").is_none());
    assert_eq!(gw.get("/api/v1/wasm/executions?status=failed").await.json().await["total"], 0);
    assert_eq!(gw.get("/api/v1/wasm/executions?job=intake").await.json().await["total"], 0);

    let shown = gw.get(&format!("/api/v1/wasm/executions/{id}")).await.expect_status(200).json().await;
    assert_eq!(shown, listed["items"][0]);
    for (query, lines) in [("", 4), ("?level=warn", 2)] {
        let logs = gw.get(&format!("/api/v1/wasm/executions/{id}/logs{query}")).await.expect_status(200).json().await;
        assert_eq!(logs["items"][0]["lines"].as_array().unwrap().len(), lines, "{query}");
    }
}

#[tokio::test]
async fn what_is_unknown_or_malformed_in_a_path_is_not_found() {
    let gw = Gateway::start().await;
    let unknown = ExecutionId::starting(jiff::Timestamp::now());
    for path in [
        "/api/v1/wasm/modules/nothing".to_owned(),
        "/api/v1/wasm/modules/No%20Name".to_owned(),
        "/api/v1/wasm/modules/a%ff".to_owned(),
        "/api/v1/wasm/modules/nothing/download".to_owned(),
        "/api/v1/wasm/executions/1".to_owned(),
        format!("/api/v1/wasm/executions/{unknown}"),
        format!("/api/v1/wasm/executions/{unknown}/logs"),
        "/api/v1/nothing".to_owned(),
        "/api/v1/wasm/modules/".to_owned(),
    ] {
        gw.get(&path).await.expect_problem(Code::NotFound);
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_which_there_are() {
    let gw = Gateway::start().await;
    let answer = gw.ask("PATCH", "/api/v1/wasm/modules/rules", &gw.admin).await;
    answer.expect_problem(Code::MethodNotAllowed);
    let allowed = answer.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("DELETE"), "{allowed}");
}

#[tokio::test]
async fn every_resource_asks_for_its_role_first() {
    let gw = Gateway::start().await;
    for (method, path) in [
        ("POST", "/api/v1/wasm/modules"),
        ("GET", "/api/v1/wasm/modules?limit=0"),
        ("GET", "/api/v1/wasm/modules/nothing"),
        ("DELETE", "/api/v1/wasm/modules/nothing"),
        ("GET", "/api/v1/wasm/modules/nothing/download"),
        ("GET", "/api/v1/wasm/executions?limit=0"),
        ("GET", "/api/v1/wasm/executions/1"),
        ("GET", "/api/v1/wasm/executions/1/logs"),
    ] {
        gw.ask(method, path, "sk_none").await.expect_problem(Code::Unauthenticated);
    }
    for (method, path) in [("POST", "/api/v1/wasm/modules"), ("DELETE", "/api/v1/wasm/modules/nothing")] {
        gw.ask(method, path, &gw.viewer).await.expect_problem(Code::Forbidden);
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_key() {
    let gw = Gateway::start().await;
    for path in ["/healthz", "/readyz"] {
        gw.ask("GET", path, "").await.expect_status(200);
    }
    let metrics = gw.ask("GET", "/metrics", "").await.expect_status(200);
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert!(metrics.bytes().await.ends_with(b"# EOF\n"));
    gw.readiness.drain();
    gw.ask("GET", "/readyz", "").await.expect_status(503);
    gw.ask("GET", "/healthz", "").await.expect_status(200);
}

#[test]
fn the_router_is_a_control_plane_for_the_data_plane() {
    fn serves<S: crate::http::Service>() {}
    serves::<crate::http::service::Handler<Router>>();
}
