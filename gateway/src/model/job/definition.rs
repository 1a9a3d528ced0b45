//! What a job is: its steps and how they follow each other.
//!
//! Serialized, a definition is what `jobs::definition` reads; templates are in it as they were written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{JobName, StepId};
use crate::model::{Limits, ModuleRef};

/// One revision of a job, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Unique among the jobs that are there.
    pub name: JobName,
    /// From 1; each save that changes something is a new one. It goes on when a job is deleted and made again.
    pub revision: u64,
    /// The definition as JSON, as [`Definition`] serializes.
    pub definition: crate::model::JsonText,
    /// When the first revision was saved.
    pub created_at: Timestamp,
    /// When this revision was saved.
    pub updated_at: Timestamp,
    /// The name of the key that saved it.
    pub updated_by: String,
}

/// What is to be done, step by step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Definition {
    /// What the job is called.
    pub name: JobName,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of steps that have none of their own.
    pub retry: RetryPolicy,
    /// In templates `env`, and of each wasm step, whose own `env` wins. Plain texts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// In order; the first is where a run begins.
    pub steps: Vec<StepDefinition>,
    /// Where it can be started by a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// Who is told when a run ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

/// How often and when an attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// Before the second attempt.
    pub initial_interval_ms: u64,
    /// From one interval to the next.
    pub multiplier: f64,
    /// No interval is longer.
    pub max_interval_ms: u64,
    /// Whether an interval is drawn between zero and what it would be (full jitter).
    pub jitter: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, initial_interval_ms: 200, multiplier: 2.0, max_interval_ms: 10_000, jitter: true }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepDefinition {
    /// Unique within the job.
    pub id: StepId,
    /// What it does.
    #[serde(flatten)]
    pub kind: StepKind,
    /// A template; the step is skipped where it is not true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// `None`: the step after it in the list. Empty: nothing. Several run side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Vec<StepId>>,
    /// `None`: the job's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Of one attempt; `None`: the kind's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// The kinds of steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum StepKind {
    /// A function of a module.
    Wasm(WasmStep),
    /// A request.
    Http(HttpStep),
    /// A statement.
    Database(DatabaseStep),
    /// Time that passes.
    Wait(WaitStep),
}

/// A call of a module's function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WasmStep {
    /// Resolved when an attempt begins.
    #[serde(serialize_with = "as_text")]
    pub module: ModuleRef,
    /// Its step function.
    pub function: String,
    /// Texts in it are templates; `None`: the run's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Values are templates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// They may only lower the module's.
    pub limits: Limits,
    /// What the function's `next` may name; `None`: what `next` of the definition names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<StepId>>,
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HttpStep {
    /// In upper case.
    pub method: String,
    /// A template.
    pub url: String,
    /// Values are templates, and may have `{{secret:NAME}}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Texts in it are templates, and may have `{{secret:NAME}}`. An object or a list goes out as JSON, a text as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Statuses that are no failure; `None`: 200 to 299.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<Vec<u16>>,
}

/// A statement on one of the operator's databases.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseStep {
    /// `[databases.NAME]`.
    pub connection: String,
    /// Whether it reads or changes.
    pub mode: DatabaseMode,
    /// No template: values go into `params`.
    pub sql: String,
    /// Texts in them are templates.
    pub params: Vec<Value>,
}

/// What a statement is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseMode {
    /// Reads only.
    Query,
    /// Changes.
    Execute,
}

/// A wait. One of the two is given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitStep {
    /// So long. A number, or a template that becomes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Value>,
    /// Until this time (RFC 3339). A template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A webhook that starts runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// `whsec_…`, or `{{secret:NAME}}` of `[secrets]`. One of them has to have signed.
    pub secrets: Vec<String>,
}

/// Somebody who is told of ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// `http` or `https`, under the operator's `[jobs] permissions`.
    pub url: String,
    /// `whsec_…`, or `{{secret:NAME}}`.
    pub secret: String,
    /// Of which ends: `completed`, `failed`, `canceled`.
    pub on: Vec<super::RunStatus>,
}

fn as_text<S: serde::Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}
