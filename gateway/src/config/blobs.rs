//! `[blobs]`: where components' bytes are kept.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::print::{Printer, path_url};
use super::reader::Section;
use super::store::path_of;

/// `[blobs]`, as its `url` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blobs {
    /// `fs:PATH`.
    Folder {
        /// The folder; made where it is missing.
        path: PathBuf,
    },
    /// `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`.
    S3(S3),
}

/// A bucket of an object store that speaks S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// Its name.
    pub bucket: String,
    /// What all keys begin with, without slashes around it; may be empty.
    pub prefix: String,
    /// Where it is; `None` is AWS, or what `AWS_ENDPOINT_URL` says.
    pub endpoint: Option<String>,
    /// `None` is what `AWS_REGION` says, or `us-east-1`.
    pub region: Option<String>,
    /// `None` looks where AWS' own programs do: variables, files, the machine's role.
    pub credentials: Option<Credentials>,
    /// How long one request may take.
    pub timeout_ms: u64,
    /// How long a component may take, with all its requests and retries.
    pub total_timeout_ms: u64,
}

/// Who asks. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Not secret by itself, but nobody else's business.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: String,
    /// With temporary credentials.
    pub session_token: Option<String>,
}

/// A part of an upload has 8 MiB: 3 Mbit/s are enough. A store that is up answers within a second.
const TIMEOUT_MS: u64 = 20_000;
/// 50 MiB at 1.4 Mbit/s.
const TOTAL_TIMEOUT_MS: u64 = 300_000;
const TIMEOUT_MS_MAX: u64 = 86_400_000;

/// How a secret is shown.
const HIDDEN: &str = "***";

impl Blobs {
    pub(super) fn default_in(data_dir: &Path) -> Self {
        Self::Folder { path: data_dir.join("blobs") }
    }

    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        // Also where the URL has a mistake: the other keys then have none for that.
        let is_s3 = Cell::new(false);
        let mut blobs = section.text("url", Self::default_in(data_dir), |url| {
            is_s3.set(url.starts_with("s3:"));
            match url.split_once(':') {
                Some(("fs", path)) => Ok(Self::Folder { path: path_of(path, data_dir)? }),
                Some(("s3", _)) => S3::parse(url).map(Self::S3),
                _ => Err("expected `fs:PATH` or `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`"),
            }
        });
        let only_s3 = || if is_s3.get() { Ok(()) } else { Err("goes with a `url` of `s3://` only") };
        let credentials = Credentials::read(section, only_s3);
        for key in ["timeout_ms", "total_timeout_ms"] {
            if section.has(key)
                && let Err(message) = only_s3()
            {
                section.mistake(key, message);
            }
        }
        let timeout_ms = section.integer("timeout_ms", TIMEOUT_MS, 1..=TIMEOUT_MS_MAX);
        let total_timeout_ms = section.integer("total_timeout_ms", TOTAL_TIMEOUT_MS, 1..=TIMEOUT_MS_MAX);
        if let Self::S3(s3) = &mut blobs {
            *s3 = S3 { credentials, timeout_ms, total_timeout_ms, ..s3.clone() };
        }
        blobs
    }

    pub(super) fn print(&self, printer: &mut Printer, data_dir: &Path) {
        printer.section("blobs");
        match self {
            Self::Folder { path } => printer.string("url", &path_url("fs", path, data_dir)),
            Self::S3(s3) => s3.print(printer),
        }
    }
}

impl S3 {
    /// The messages never repeat the URL: whoever writes a key into it has made a mistake already.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "expected `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`")?;
        let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or("the bucket is missing")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("keys are not part of the URL: there are `access_key_id` and `secret_access_key`");
        }
        if url.port().is_some() || url.fragment().is_some() {
            return Err("a bucket has no port, and the URL no fragment: the store's address is `endpoint`");
        }
        let prefix = url.path().trim_matches('/').to_owned();
        if prefix.split('/').any(|part| part.is_empty() && !prefix.is_empty()) || prefix.contains('%') {
            return Err("the prefix has parts of plain characters with single slashes between them");
        }
        let (mut endpoint, mut region) = (None, None);
        for (name, value) in url.query_pairs() {
            let taken = match &*name {
                "endpoint" => endpoint.replace(checked_endpoint(&value)?),
                "region" if !value.is_empty() => region.replace(value.into_owned()),
                _ => return Err("there are the parameters `endpoint` and `region`, each with a value"),
            };
            if taken.is_some() {
                return Err("a parameter is given twice");
            }
        }
        let bucket = bucket.to_owned();
        let (timeout_ms, total_timeout_ms) = (TIMEOUT_MS, TOTAL_TIMEOUT_MS);
        Ok(Self { bucket, prefix, endpoint, region, credentials: None, timeout_ms, total_timeout_ms })
    }

    fn url(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let mut text = format!("s3://{}{slash}{}", self.bucket, self.prefix);
        let mut separator = '?';
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                // A URL may stand in a query as it is, but for what would end it.
                let value = value.replace('%', "%25").replace('&', "%26").replace('+', "%2B").replace('#', "%23");
                text.push_str(&format!("{separator}{name}={value}"));
                separator = '&';
            }
        }
        text
    }

    fn print(&self, printer: &mut Printer) {
        printer.string("url", &self.url());
        let token = self.credentials.as_ref().is_some_and(|credentials| credentials.session_token.is_some());
        let given = self.credentials.is_some();
        for (key, given) in [("access_key_id", given), ("secret_access_key", given), ("session_token", token)] {
            if given {
                printer.string(key, HIDDEN);
            } else {
                printer.unset(key);
            }
        }
        printer.number("timeout_ms", self.timeout_ms);
        printer.number("total_timeout_ms", self.total_timeout_ms);
    }
}

impl Credentials {
    fn read(section: &mut Section<'_>, allowed: impl Fn() -> Result<(), &'static str>) -> Option<Self> {
        let complete = section.has("access_key_id") && section.has("secret_access_key");
        let mut text = |key| {
            section.text(key, None, |text| {
                allowed()?;
                match text {
                    "" => Err("is empty"),
                    _ if !complete => Err("`access_key_id` and `secret_access_key` go together"),
                    _ => Ok(Some(text.to_owned())),
                }
            })
        };
        let (access_key_id, secret_access_key) = (text("access_key_id"), text("secret_access_key"));
        let session_token = text("session_token");
        Some(Self { access_key_id: access_key_id?, secret_access_key: secret_access_key?, session_token })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

fn checked_endpoint(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "`endpoint` is a URL such as http://127.0.0.1:9000")?;
    let bare = url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !bare || !url.username().is_empty() || url.password().is_some() {
        return Err("`endpoint` is a URL with http:// or https://, a host and perhaps a port and a path");
    }
    Ok(text.trim_end_matches('/').to_owned())
}
