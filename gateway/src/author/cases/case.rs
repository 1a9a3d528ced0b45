//! One case of `tests/*.json`: what a step is called with, what the world answers, and what is expected.
//!
//! Owns the format. Does not run anything. Invariant: a member that is not known is a mistake, so that no misspelt
//! expectation passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::Json;
use super::shape;
use crate::author::Mistake;
use crate::model::{JsonText, Limits};

/// A case.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The exported function.
    #[serde(default = "default_function", skip_serializing_if = "is_default_function")]
    pub function: String,
    /// What it is called with, as it is written.
    pub input: Box<RawValue>,
    /// The data of the job; an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// The environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Lower than those that the gateway has by default.
    #[serde(default, skip_serializing_if = "is_default_limits")]
    pub limits: Limits,
    /// The answers of servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<Exchange>,
    /// The answers of databases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub db: Vec<Statement>,
    /// How it has to end.
    pub expect: Expect,
}

/// A request that is expected, and its answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "ExchangeMembers")]
pub struct Exchange {
    /// What the step asks.
    pub request: Request,
    /// What it is told.
    #[serde(flatten)]
    pub answer: HttpAnswer,
}

/// An exchange as it is written; `flatten` would read the answer's numbers as doubles.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeMembers {
    request: Request,
    response: Option<Response>,
    error: Option<HostError>,
}

impl TryFrom<ExchangeMembers> for Exchange {
    type Error = &'static str;

    fn try_from(members: ExchangeMembers) -> Result<Self, &'static str> {
        let answer = match (members.response, members.error) {
            (Some(response), None) => HttpAnswer::Response(response),
            (None, Some(error)) => HttpAnswer::Error(error),
            (Some(_), Some(_)) | (None, None) => return Err("exactly one of response, error is needed"),
        };
        Ok(Self { request: members.request, answer })
    }
}

/// A request as the step makes it: before secrets are put in.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// As in `GET`.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// All of them, where they are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<(String, String)>>,
    /// The body, where it is given: a string as it is (an empty one for a request without a body, too), `null` for a
    /// request without one, anything else as JSON.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// In the place of `body`: bytes that are no text. Of no bytes, it is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<Base64>,
    /// How long the exchange may take, where it is given; `null` for a request that doesn't say.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<Json>,
}

/// An answer, or the host's error.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpAnswer {
    /// The server's.
    Response(Response),
    /// The host's: `{"failed": "connection refused"}`.
    Error(HostError),
}

/// What a server answers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// As in 200.
    pub status: u16,
    /// In this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// A string as it is, anything else as JSON.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// In the place of `body`: bytes that are no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<Base64>,
}

/// Bytes, in a case as base64 with padding (RFC 4648, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

/// A statement that is expected, and its answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "StatementMembers")]
pub struct Statement {
    /// The connection's name.
    pub connection: String,
    /// The SQL, to the letter.
    pub sql: String,
    /// The parameters, where they are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Json>,
    /// What the step is told.
    #[serde(flatten)]
    pub answer: DbAnswer,
}

/// A statement as it is written, for the same reason as an exchange.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementMembers {
    connection: String,
    sql: String,
    #[serde(default, deserialize_with = "Json::given")]
    params: Option<Json>,
    rows: Option<Vec<Json>>,
    changed: Option<u32>,
    error: Option<HostError>,
}

impl TryFrom<StatementMembers> for Statement {
    type Error = &'static str;

    fn try_from(members: StatementMembers) -> Result<Self, &'static str> {
        let answer = match (members.rows, members.changed, members.error) {
            (Some(rows), None, None) => DbAnswer::Rows(rows),
            (None, Some(changed), None) => DbAnswer::Changed(changed),
            (None, None, Some(error)) => DbAnswer::Error(error),
            _ => return Err("exactly one of rows, changed, error is needed"),
        };
        Ok(Self { connection: members.connection, sql: members.sql, params: members.params, answer })
    }
}

/// An answer of a database, or the host's error.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DbAnswer {
    /// Of a query.
    Rows(Vec<Json>),
    /// Of a change: how many rows.
    Changed(u32),
    /// The host's.
    Error(HostError),
}

/// An error of the interface's, with its text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostError {
    /// No permission.
    PermissionDenied(String),
    /// Malformed.
    InvalidArgument(String),
    /// No such connection or secret.
    NotFound(String),
    /// A bound.
    LimitExceeded(String),
    /// No time left.
    TimedOut(String),
    /// The other side.
    Failed(String),
}

/// How an execution has to end. What is absent is not compared.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How.
    pub status: Status,
    /// Of one that completed.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Of one that completed: the next steps; `null` for as the job is defined.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub next: Option<Json>,
    /// The job's data afterwards.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Of one that is invalid.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub errors: Option<Json>,
    /// Of one that failed: the members that matter.
    #[serde(default, deserialize_with = "Json::given", skip_serializing_if = "Option::is_none")]
    pub failure: Option<Json>,
    /// What it logs, line by line: level, message and fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Vec<Json>>,
}

/// How an execution ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did its work.
    Completed,
    /// Its input is wrong.
    Invalid,
    /// It couldn't, or was ended: its failure has the code.
    Failed,
}

fn default_function() -> String {
    "run".to_owned()
}

fn is_default_function(function: &str) -> bool {
    function == "run"
}

fn is_default_limits(limits: &Limits) -> bool {
    *limits == Limits::default()
}

/// A file of one case.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its name without the ending: what the case is called.
    pub name: String,
}

/// Inputs and answers of a megabyte are cases, too.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a folder can't be read.
    #[error("{} can't be read", path.display())]
    Read {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It isn't a case: a line for each mistake.
    #[error("{}", lines(path, mistakes))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where: at least one.
        mistakes: Vec<Mistake>,
    },
}

/// As compilers tell mistakes, so that an editor finds the place.
fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect::<Vec<_>>().join("\n")
}

/// The cases below `tests` in a step's folder, in the order of their names; none where there is no such folder.
///
/// # Errors
/// The folder can't be read.
pub fn files(folder: &Path) -> Result<Vec<File>, Error> {
    let folder = folder.join("tests");
    let failed = |source| Error::Read { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "json") && !path.is_dir() {
            files.push(File { path, name });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

impl File {
    /// Reads it.
    ///
    /// # Errors
    /// It can't be read, or is no case.
    pub fn read(&self) -> Result<Case, Error> {
        let failed = |source| Error::Read { path: self.path.clone(), source };
        let wrong = |mistakes| Error::Malformed { path: self.path.clone(), mistakes };
        let malformed = |message: String| wrong(vec![Mistake { path: String::new(), message }]);
        if std::fs::metadata(&self.path).map_err(failed)?.len() > BYTES_MAX {
            return Err(malformed(format!("a case has at most {BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(&self.path).map_err(failed)?;
        text.parse().map_err(wrong)
    }
}

impl FromStr for Case {
    /// What is wrong, and where: at least one.
    type Err = Vec<Mistake>;

    fn from_str(text: &str) -> Result<Self, Vec<Mistake>> {
        let malformed = |message: String| vec![Mistake { path: String::new(), message }];
        // Some editors begin each file with a byte order mark, which is no part of the document.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = Json::parse(text).map_err(|error| malformed(error.to_string()))?;
        let mistakes = shape::mistakes(&document);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let case: Self = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        case.http.iter().try_for_each(Exchange::check).map_err(malformed)?;
        case.check()?;
        Ok(case)
    }
}

impl Case {
    /// Whether a gateway would take what the step is called with.
    fn check(&self) -> Result<(), Vec<Mistake>> {
        let data = self.data.as_ref().map(ToString::to_string);
        let given = [("input", Some(self.input.get())), ("data", data.as_deref())];
        let mistakes: Vec<_> = given
            .into_iter()
            .filter_map(|(path, text)| Some((path, JsonText::parse(text?).err()?)))
            .map(|(path, error)| Mistake { path: path.to_owned(), message: format!("no gateway takes it: {error}") })
            .collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

impl Exchange {
    /// What a body is, is said once.
    fn check(&self) -> Result<(), String> {
        let of_request = (&self.request.body, &self.request.body_base64);
        let of_response = match &self.answer {
            HttpAnswer::Response(response) => (&response.body, &response.body_base64),
            HttpAnswer::Error(_) => (&None, &None),
        };
        match (of_request, of_response) {
            ((Some(_), Some(_)), _) | (_, (Some(_), Some(_))) => {
                Err(format!("{} {}: a body is either `body` or `body_base64`", self.request.method, self.request.url))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
