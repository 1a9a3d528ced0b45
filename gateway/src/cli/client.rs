//! The client of a gateway's HTTP API.
//!
//! Owns the connection, the key that is sent, and what can go wrong between here
//! and the gateway. Does not own what commands ask for. Invariant: the key goes to
//! the server that was named and nowhere else: redirects are not followed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{RequestBuilder, Response, Url, multipart};
use serde::de::DeserializeOwned;

use super::failure::Usage;
use super::key::{Key, Server};
use super::output::Out;
use super::problem::Problem;
use crate::config;

/// A gateway in the same network answers within milliseconds; ten seconds bear a
/// lost packet or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two bytes of an answer. Longer than compiling the largest module and
/// than any step's default limit; whoever has more patience uses the API.
const READ_TIMEOUT: Duration = Duration::from_mins(5);
/// Of an answer that is no Sluice gateway's.
const EXCERPT_LENGTH: usize = 200;

/// A gateway that was not told where to listen.
static DEFAULT_SERVER: LazyLock<String> = LazyLock::new(|| format!("http://{}", config::Server::LISTEN_DEFAULT));

/// Which gateway, and who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub(super) struct Remote {
    /// The gateway's address.
    #[arg(long, value_name = "URL", env = "SLUICE_SERVER", hide_env_values = true, default_value = DEFAULT_SERVER.as_str())]
    server: String,
    /// The API key; without one, `admin.key` of the data folder is used.
    #[arg(long, env = "SLUICE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The gateway's data folder, where its admin key is; for a gateway on this machine ./data, or the nearest one above, unless given.
    #[arg(long, value_name = "DIR", env = "SLUICE_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
    /// Do not warn when the key is sent unencrypted over a network.
    #[arg(long)]
    insecure_http: bool,
}

fn parse_server(text: &str) -> Result<Url, Usage> {
    let wrong = |why: &str| Usage(format!("--server or SLUICE_SERVER is {text}; {why}"));
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| wrong("it has to be a URL such as http://127.0.0.1:8080"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has to be a URL without a user, a query or a fragment"));
    }
    Ok(url)
}

/// Why a gateway did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is no connection.
    #[error("no connection to {url}: {reason}")]
    Unreachable {
        /// The server that was tried.
        url: Url,
        /// The innermost cause.
        reason: String,
    },
    /// The connection was lost in the middle.
    #[error("the connection to {url} broke: {reason}")]
    Broken {
        /// The server.
        url: Url,
        /// The innermost cause.
        reason: String,
    },
    /// The gateway said no, and why.
    #[error("{}", .0.problem.headline())]
    Refused(Box<Refusal>),
    /// Something else answers there.
    #[error("{url} does not answer like a Sluice gateway ({status}): {excerpt}")]
    Foreign {
        /// What was asked for.
        url: Url,
        /// What was answered.
        status: StatusCode,
        /// The beginning of its body.
        excerpt: String,
    },
}

/// A problem, and what is known about the request that met it.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the gateway says.
    pub(super) problem: Problem,
    /// As it came, for `--json`.
    pub(super) body: Bytes,
    retry_after: Option<String>,
    key_advice: String,
}

impl Refusal {
    /// Details and advice.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.problem.lines();
        lines.extend(match self.problem.code.as_str() {
            "unauthenticated" => Some(self.key_advice.clone()),
            "forbidden" => Some("give a key with a higher role, with --key or SLUICE_KEY".to_owned()),
            "version-exists" => {
                Some("versions never change: give this one another, with --version or in sluice.step.toml".to_owned())
            }
            "not-found" if self.problem.detail.contains("no such key") => {
                Some("`sluice key list` shows the keys that there are".to_owned())
            }
            "not-found" if self.problem.detail.contains("execution") => {
                Some("an execution's record goes with its module".to_owned())
            }
            "not-found" if self.problem.detail.contains("no such job") => {
                Some("`sluice job list` shows the jobs that there are".to_owned())
            }
            "not-found" if self.problem.detail.contains("no such run") => {
                Some("`sluice job runs` shows the runs that there are".to_owned())
            }
            "not-found" => Some("`sluice list` shows the modules that there are".to_owned()),
            "internal" => Some("the gateway's own log has the cause under this request id".to_owned()),
            _ => self.retry_after.as_ref().map(|seconds| format!("try again in {seconds} s")),
        });
        lines
    }
}

impl Error {
    /// What to do about it.
    pub(super) fn advice(&self) -> Vec<String> {
        let advice = match self {
            Self::Unreachable { reason, .. } if reason.contains("certificate") => {
                "it runs, but this machine does not trust it: SSL_CERT_FILE names the certificate of the authority that signed its own"
            }
            Self::Unreachable { .. } => {
                "is it running? `sluice serve` starts a gateway; another is named with --server or SLUICE_SERVER"
            }
            Self::Broken { .. } => {
                "what was asked for may have been done all the same; the gateway also hangs up on what is over its bounds"
            }
            Self::Foreign { .. } => "name the gateway's own address with --server or SLUICE_SERVER",
            Self::Refused(refusal) => return refusal.lines(),
        };
        vec![advice.to_owned()]
    }

    /// Whether it may go away by waiting.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused(refusal) => refusal.problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            Self::Foreign { .. } => false,
        }
    }

    /// Whether the gateway says that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.problem.code == "not-found")
    }
}

/// An answer that is a success.
#[derive(Debug)]
pub(super) struct Answer {
    url: Url,
    /// Its status.
    pub(super) status: StatusCode,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body.
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON of a known shape.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|_| foreign(self.url.clone(), self.status, &self.body))
    }
}

/// A client of one gateway. Dropping a call closes its connection.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    server: Url,
    key: Key,
}

impl Client {
    /// Finds the key and prepares the client; nothing is sent yet.
    pub(super) fn new(remote: &Remote, out: Out) -> anyhow::Result<Self> {
        // An error means that the process has a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Not before: some commands that have it may do without a gateway.
        let address = parse_server(&remote.server)?;
        let plain = address.scheme() == "http";
        let local = is_loopback(&address);
        let server = if local { Server::ThisMachine } else { Server::AnotherMachine };
        let key = Key::find(remote.key.as_deref(), remote.data_dir.as_deref(), server)?;
        if plain && !local && !remote.insecure_http && matches!(key, Key::Found { .. }) {
            out.warn(&format!(
                "the key is sent to {address} unencrypted: use https, or --insecure-http where the network is trusted"
            ));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT);
        if plain {
            // Loading the system's certificates takes longer than the call, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        if local {
            // A proxy would look for the gateway on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder.build().context("the HTTP client can't be set up (are CA certificates installed?)")?;
        Ok(Self { http, server: address, key })
    }

    /// Reads a resource below `/api/v1`.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Error> {
        self.collect(self.request(Method::GET, path).query(query)).await
    }

    /// Sends a JSON body.
    pub(super) async fn post_json(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Answer, Error> {
        let request = self.request(Method::POST, path).query(query);
        self.collect(request.header(header::CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Sends a body of another type.
    pub(super) async fn post_typed(&self, path: &[&str], content_type: &str, body: Vec<u8>) -> Result<Answer, Error> {
        let request = self.request(Method::POST, path).header(header::CONTENT_TYPE, content_type);
        self.collect(request.body(body)).await
    }

    /// Starts something; once, however often the same key is sent.
    pub(super) async fn start(&self, path: &[&str], key: Option<&str>, body: Vec<u8>) -> Result<Answer, Error> {
        let mut request = self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.collect(request.body(body)).await
    }

    /// Listens to server-sent events after the last that is known; 0 for all.
    pub(super) async fn events(&self, path: &[&str], after: u64) -> Result<Response, Error> {
        let request = self.request(Method::GET, path).header(header::ACCEPT, "text/event-stream");
        self.send(request.header("last-event-id", after)).await
    }

    /// Puts a JSON body in the place of what is there.
    pub(super) async fn put_json(&self, path: &[&str], body: Vec<u8>) -> Result<Answer, Error> {
        let request = self.request(Method::PUT, path);
        self.collect(request.header(header::CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Sends a form with files.
    pub(super) async fn post_form(&self, path: &[&str], form: multipart::Form) -> Result<Answer, Error> {
        self.collect(self.request(Method::POST, path).multipart(form)).await
    }

    /// Deletes a resource.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Answer, Error> {
        self.collect(self.request(Method::DELETE, path)).await
    }

    /// Reads a resource whose body is not collected.
    pub(super) async fn stream(&self, path: &[&str]) -> Result<Response, Error> {
        self.send(self.request(Method::GET, path)).await
    }

    /// The error of an answer's body that ended early.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Error {
        Error::Broken { url: self.server.clone(), reason: innermost(error) }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let request = self.http.request(method, resource(&self.server, path));
        match &self.key {
            Key::Found { header, .. } => request.header(header::AUTHORIZATION, header.clone()),
            Key::Missing { .. } | Key::Unnamed => request,
        }
    }

    async fn collect(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let response = self.send(request).await?;
        let (url, status, headers) = (response.url().clone(), response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| self.broken(&error))?;
        Ok(Answer { url, status, headers, body })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    fn unanswered(&self, error: &reqwest::Error) -> Error {
        let (url, reason) = (self.server.clone(), innermost(error));
        if error.is_connect() { Error::Unreachable { url, reason } } else { Error::Broken { url, reason } }
    }

    async fn refused(&self, response: Response) -> Error {
        let (url, status) = (response.url().clone(), response.status());
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return self.broken(&error),
        };
        let Some(mut problem) = Problem::parse(&body) else { return foreign(url, status, &body) };
        if problem.status == 0 {
            problem.status = status.as_u16();
        }
        Error::Refused(Box::new(Refusal { problem, body, retry_after, key_advice: self.key.advice() }))
    }
}

/// `path` below the API of `server`, which may itself be below a path of a proxy.
fn resource(server: &Url, path: &[&str]) -> Url {
    let mut url = server.clone();
    // Only URLs that can't be a base have no segments, and no such URL is a server.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
    }
    url
}

fn foreign(url: Url, status: StatusCode, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let excerpt: String = text.trim().chars().take(EXCERPT_LENGTH).collect();
    let excerpt = if excerpt.is_empty() { "no body".to_owned() } else { excerpt };
    Error::Foreign { url, status, excerpt }
}

fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host == "localhost" || host.ends_with(".localhost"), |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_and_not_only_an_address() {
        for bad in ["127.0.0.1:8080", "localhost:8080", "ftp://x/", "http://", "http://u:p@x/", "http://x/?a"] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
        for good in ["http://127.0.0.1:8080", "https://x.example/sluice/"] {
            assert!(parse_server(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_reference_is_one_segment_of_the_path() {
        let url = |server: &str| resource(&parse_server(server).unwrap(), &["wasm", "modules", "a@^1.2", "in/voke"]);
        assert_eq!(url("http://h:1").path().replace("%5E", "^"), "/api/v1/wasm/modules/a@^1.2/in%2Fvoke");
        assert_eq!(url("http://h:1/p/").path().replace("%5E", "^"), "/p/api/v1/wasm/modules/a@^1.2/in%2Fvoke");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for local in
            ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1", "http://localhost", "http://a.localhost"]
        {
            assert!(is_loopback(&Url::parse(local).unwrap()), "{local}");
        }
        for remote in ["http://10.0.0.1", "http://localhost.example", "http://[fe80::1]", "http://128.0.0.1"] {
            assert!(!is_loopback(&Url::parse(remote).unwrap()), "{remote}");
        }
    }

    #[test]
    fn a_gateway_that_is_not_trusted_is_not_told_to_be_down() {
        let advice = |reason: &str| {
            let url = Url::parse("https://h/").unwrap();
            Error::Unreachable { url, reason: reason.to_owned() }.advice()
        };
        assert!(advice("invalid peer certificate: UnknownIssuer")[0].contains("SSL_CERT_FILE"));
        assert!(advice("Connection refused (os error 111)")[0].contains("sluice serve"));
    }

    #[test]
    fn a_body_that_is_no_problem_is_told_as_another_server() {
        let error = foreign(Url::parse("http://h/").unwrap(), StatusCode::BAD_GATEWAY, b" <h1>nginx</h1> ");
        assert!(error.to_string().contains("502") && error.to_string().contains("nginx"), "{error}");
        assert!(error.advice()[0].contains("--server"));
    }
}
