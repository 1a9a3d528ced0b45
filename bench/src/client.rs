//! What is asked of the gateway before and after a load, over its HTTP API.
//!
//! Does not own the load itself (`load`).

use anyhow::{Context as _, Result, bail};
use reqwest::header::AUTHORIZATION;
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

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

/// What the gateway's admin says in `Authorization`.
///
/// # Errors
/// When the gateway made no key.
pub fn bearer(gateway: &Server) -> Result<String> {
    Ok(format!("Bearer {}", gateway.key().context("the gateway made no admin key")?))
}
