//! What is asked of the gateway before and after a load, over its HTTP API.
//!
//! Does not own the load itself (`load`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::future::join_all;
use reqwest::header::AUTHORIZATION;
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::server::Server;

/// A client of one gateway.
pub struct Client {
    http: reqwest::Client,
    tokio: tokio::runtime::Runtime,
    url: String,
    bearer: String,
}

impl Client {
    /// A client that uses the gateway's admin key.
    ///
    /// # Errors
    /// When it has none.
    pub fn new(gateway: &Server) -> Result<Self> {
        // reqwest wants it even where no request is encrypted; an error means it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            tokio: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            url: gateway.url(),
            bearer: bearer(gateway)?,
        })
    }

    /// Uploads a component as version 1.0.0 of `name`.
    ///
    /// # Errors
    /// What the gateway answers other than 201.
    pub fn upload(&self, name: &str, component: Vec<u8>) -> Result<()> {
        let module = Part::bytes(component).file_name(format!("{name}.wasm")).mime_str("application/wasm")?;
        let form = Form::new().text("name", name.to_owned()).text("version", "1.0.0").part("module", module);
        let request = self.http.post(format!("{}/api/v1/wasm/modules", self.url)).multipart(form);
        self.send(request, StatusCode::CREATED).map(|_| ())
    }

    /// Invokes, expects `completed`, and tells the length of the answer's body.
    ///
    /// # Errors
    /// When it was answered otherwise.
    pub fn invoke(&self, path: &str, body: &str) -> Result<usize> {
        let request = self.http.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let answer = self.send(request.body(body.to_owned()), StatusCode::OK)?;
        let value: Value = serde_json::from_str(&answer).context("the answer is not JSON")?;
        if value.get("status").and_then(Value::as_str) != Some("completed") {
            bail!("the call before the load did not complete: {answer}");
        }
        Ok(answer.len())
    }

    /// The value of a metric without labels.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.send(self.http.get(format!("{}/metrics", self.url)), StatusCode::OK)?;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(values.next().with_context(|| format!("the gateway has no metric {name}"))?.parse()?)
    }

    /// Stores a job.
    ///
    /// # Errors
    /// What is answered other than 201.
    pub fn put(&self, path: &str, body: &Value) -> Result<()> {
        self.send(self.http.put(format!("{}{path}", self.url)).json(body), StatusCode::CREATED).map(|_| ())
    }

    /// Starts a run, waits for its end, and gives it.
    ///
    /// # Errors
    /// What is answered other than 200: the run did not end in time.
    pub fn run(&self, path: &str) -> Result<Value> {
        let answer = self.send(self.http.post(format!("{}{path}", self.url)).json(&json!({})), StatusCode::OK)?;
        serde_json::from_str(&answer).context("the answer is not JSON")
    }

    /// Starts runs from `callers` sides, one after the other each, for so long, and waits for the ends.
    ///
    /// # Errors
    /// When none could be started at all.
    pub fn runs(&self, path: &str, callers: usize, seconds: Duration) -> Result<Runs> {
        let url = format!("{}{path}", self.url);
        let started = Instant::now();
        let caller = async || {
            let (mut completed, mut errors) = (0, 0);
            while started.elapsed() < seconds {
                let request = self.http.post(&url).header(AUTHORIZATION, &self.bearer).json(&json!({}));
                match completes(request).await {
                    Ok(true) => completed += 1,
                    Ok(false) | Err(_) => errors += 1,
                }
            }
            (completed, errors)
        };
        let counts = self.tokio.block_on(join_all((0..callers).map(|_| caller())));
        let seconds = started.elapsed().as_secs_f64();
        let (completed, errors) = counts.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if completed == 0 {
            bail!("no run completed");
        }
        Ok(Runs { completed, errors, seconds })
    }

    /// Starts so many runs and waits for none.
    ///
    /// # Errors
    /// What is answered other than 202.
    pub fn start_many(&self, path: &str, count: usize, callers: usize) -> Result<()> {
        let url = format!("{}{path}", self.url);
        let caller = async |share: usize| -> Result<()> {
            for _ in 0..share {
                let request = self.http.post(&url).header(AUTHORIZATION, &self.bearer).json(&json!({}));
                let status = request.send().await?.status();
                if status != StatusCode::ACCEPTED {
                    bail!("a start was answered {status}");
                }
            }
            Ok(())
        };
        let ends = self.tokio.block_on(join_all((0..callers).map(|_| caller(count / callers))));
        ends.into_iter().collect()
    }

    fn send(&self, request: RequestBuilder, expected: StatusCode) -> Result<String> {
        self.tokio.block_on(async {
            let response = request.header(AUTHORIZATION, &self.bearer).send().await?;
            let (status, body) = (response.status(), response.text().await?);
            if status != expected {
                bail!("the gateway answered {status}, not {expected}: {body}");
            }
            Ok(body)
        })
    }
}

/// What came of many runs.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Those that completed.
    pub completed: u64,
    /// Those that did not.
    pub errors: u64,
    /// How long it took.
    pub seconds: f64,
}

async fn completes(request: RequestBuilder) -> Result<bool> {
    let run: Value = request.send().await?.json().await?;
    Ok(run.get("status").and_then(Value::as_str) == Some("completed"))
}

/// What the gateway's admin says in `Authorization`.
///
/// # Errors
/// When the gateway made no key.
pub fn bearer(gateway: &Server) -> Result<String> {
    Ok(format!("Bearer {}", gateway.key().context("the gateway made no admin key")?))
}
