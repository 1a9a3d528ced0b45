//! A gateway for one test: a free port, a folder that goes away, its own admin key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sluice::app::{App, Stopped};
use sluice::config::Config;
use sluice::runtime::CompileIn;

use super::{Files, documented};

/// How long a test waits for what is promised within a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes of a guest, by the name of its file.
///
/// # Panics
/// Says how to build it when it isn't there.
pub fn guest(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
}

/// The program of this build, for gateways that a test starts by itself.
pub fn compile_in() -> CompileIn {
    CompileIn::Child { program: env!("CARGO_BIN_EXE_sluice").into() }
}

/// A gateway that serves in this process.
pub struct TestGateway {
    app: Option<App>,
    folder: Arc<tempfile::TempDir>,
    base: String,
    key: String,
    client: reqwest::Client,
}

impl TestGateway {
    /// With the defaults of tests.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With what `change` makes of the configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(folder, change).await
    }

    /// On a folder that a gateway had before.
    pub async fn start_in(folder: Arc<tempfile::TempDir>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::in_folder(folder.path().to_owned());
        change(&mut config);
        Self::start_of(folder, config, env!("CARGO_BIN_EXE_sluice").into()).await
    }

    /// On a folder, with another program than `sluice` to compile with.
    pub async fn start_with_compiler(folder: &Arc<tempfile::TempDir>, program: PathBuf) -> Self {
        Self::start_of(Arc::clone(folder), Config::in_folder(folder.path().to_owned()), program).await
    }

    async fn start_of(folder: Arc<tempfile::TempDir>, config: Config, program: PathBuf) -> Self {
        let app = App::start(config, CompileIn::Child { program }).await.unwrap();
        let key = std::fs::read_to_string(folder.path().join("admin.key")).unwrap().trim().to_owned();
        let base = format!("http://{}", app.address());
        Self { app: Some(app), folder, base, key, client: client() }
    }

    /// One more on the store of this one, with a data folder of its own.
    pub async fn start_beside(&self, change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = Config::in_folder(folder.path().to_owned());
        change(&mut config);
        let app = App::start(config, compile_in()).await.unwrap();
        let base = format!("http://{}", app.address());
        Self { app: Some(app), folder, base, key: self.key.clone(), client: client() }
    }

    /// One that serves in another process.
    pub fn attached(folder: Arc<tempfile::TempDir>, address: &str) -> Self {
        let key = std::fs::read_to_string(folder.path().join("admin.key")).unwrap().trim().to_owned();
        Self { app: None, folder, base: format!("http://{address}"), key, client: client() }
    }

    /// What is stored in its data folder now.
    pub fn files(&self) -> Files {
        Files::of(self.folder.path())
    }

    /// What all series of a counter add up to; 0 where there are none.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.expect_status(200);
        let text = String::from_utf8(text.body.to_vec()).unwrap();
        let samples = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{')));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// With a guest uploaded under its own name, version 1.0.0.
    pub async fn module(self, name: &str) -> Self {
        self.upload(name, "1.0.0", guest(name)).await.expect_status(201);
        self
    }

    /// Stops it gracefully and starts another on the same folder.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        Self::start_in(Arc::clone(&self.folder), |_| {}).await
    }

    /// Stops it gracefully.
    pub async fn stop(&mut self) -> Stopped {
        self.app.take().unwrap().stop().await
    }

    /// The data folder.
    pub fn folder(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.folder)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// The admin key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A request to `path` without a key.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request to `path` with the admin key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.key)
    }

    /// GET with the admin key.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// Uploads a component.
    pub async fn upload(&self, name: &str, version: &str, component: Vec<u8>) -> Answer {
        let form = Form::new()
            .part("module", Part::bytes(component).file_name("module.wasm"))
            .text("name", name.to_owned())
            .text("version", version.to_owned());
        self.upload_form(form).await
    }

    /// Uploads whatever parts a test thinks of.
    pub async fn upload_form(&self, form: Form) -> Answer {
        Answer::of(self.request(Method::POST, "/api/v1/wasm/modules").multipart(form)).await
    }

    /// Invokes `run` with an input.
    pub async fn invoke(&self, module: &str, input: Value) -> Answer {
        self.invoke_with(module, "run", json!({ "input": input })).await
    }

    /// Invokes a function with a whole request body.
    pub async fn invoke_with(&self, module: &str, function: &str, body: Value) -> Answer {
        let path = format!("/api/v1/wasm/modules/{module}/invoke?function={function}");
        Answer::of(self.request(Method::POST, &path).json(&body)).await
    }

    /// The record of an execution, once it is there.
    pub async fn execution(&self, id: &str) -> Value {
        self.eventually(&format!("/api/v1/wasm/executions/{id}"), |answer| answer.status == StatusCode::OK).await.json()
    }

    /// The record of an execution, once it has ended.
    pub async fn ended_execution(&self, id: &str) -> Value {
        let ended = |answer: &Answer| answer.status == StatusCode::OK && answer.json()["status"] != "running";
        self.eventually(&format!("/api/v1/wasm/executions/{id}"), ended).await.json()
    }

    /// The log lines of an execution, once it has ended.
    pub async fn lines(&self, id: &str) -> Vec<Value> {
        self.ended_execution(id).await;
        let logs = self.get(&format!("/api/v1/wasm/executions/{id}/logs")).await.expect_status(200);
        logs.json()["items"][0]["lines"].as_array().unwrap().clone()
    }

    /// The first answer to GET `path` that is as wanted; asked again until then.
    pub async fn eventually(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if wanted(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never was as wanted"))
    }
}

fn client() -> reqwest::Client {
    // Several tests may try to be first; any of them is.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_mins(2)).build().unwrap()
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: bytes::Bytes,
}

impl Answer {
    /// Sends a request. The answer is one that the document of the API has.
    ///
    /// # Panics
    /// Where it is not.
    pub async fn of(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Self { status, headers, body: response.bytes().await.unwrap() };
        documented::check(&method, &path, &answer);
        answer
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member of the body, as the text that was sent.
    pub fn raw(&self, member: &str) -> String {
        let members: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        members[member].get().to_owned()
    }

    /// A header's text; empty where it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Itself, if the status is as wanted.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The output of an execution that completed.
    #[track_caller]
    pub fn expect_output(self) -> Value {
        let answer = self.expect_status(200).json();
        assert_eq!(answer["status"], "completed", "{answer}");
        answer["output"].clone()
    }

    /// The problem, if it is of origin `guest`, the one that is wanted, and tells its execution.
    #[track_caller]
    pub fn expect_guest_problem(self, status: u16, code: &str) -> Value {
        let problem = self.expect_problem(status, code);
        assert_eq!(problem["origin"], "guest", "{problem}");
        assert!(problem["execution_id"].is_string(), "{problem}");
        problem
    }

    /// The problem, if it is of origin `gateway` and nothing was executed.
    #[track_caller]
    pub fn expect_refusal(self, status: u16, code: &str) -> Value {
        let problem = self.expect_problem(status, code);
        assert_eq!(problem["origin"], "gateway", "{problem}");
        assert!(problem.get("execution_id").is_none(), "{problem}");
        problem
    }

    /// The problem, if it is the one that is wanted and says all that every problem says.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let answer = self.expect_status(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:sluice:error:{code}"));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        assert!(["gateway", "guest"].contains(&problem["origin"].as_str().unwrap()), "{problem}");
        problem
    }
}
