//! What the engine asks of whoever executes a step.
//!
//! Owns the shape of a task and of how it ends. The runners are in `steps`, so that the engine knows neither
//! wasmtime nor sockets. Invariant: dropping the future of a task ends it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::model::job::{DatabaseMode, JobName, StepError, StepId};
use crate::model::{JsonText, Limits, ModuleRef, RunId};

/// One attempt at one step, with its templates resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Of which run.
    pub run_id: RunId,
    /// Of which job.
    pub job: JobName,
    /// Which step.
    pub step: StepId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The same for each attempt at this step in this run: `{run id}:{step id}`.
    pub idempotency_key: String,
    /// `traceparent` of the request that started the run.
    pub traceparent: Option<String>,
    /// What to do.
    pub work: Work,
    /// How long it may take, all in all; `None`: the kind's own default.
    pub timeout: Option<Duration>,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Calls a function.
    Wasm {
        /// Resolved by the runner, in its snapshot.
        module: ModuleRef,
        /// The step function.
        function: String,
        /// Handed to it.
        input: JsonText,
        /// What `context` reads and writes.
        data: JsonText,
        /// What its environment tells.
        env: Vec<(String, String)>,
        /// They may only lower the module's.
        limits: Limits,
    },
    /// Sends a request.
    Http {
        /// In upper case.
        method: String,
        /// Where.
        url: String,
        /// `{{secret:NAME}}` still in them.
        headers: Vec<(String, String)>,
        /// `{{secret:NAME}}` still in it.
        body: Option<HttpBody>,
        /// Statuses that are no failure; `None`: 200 to 299.
        success: Option<Arc<[u16]>>,
    },
    /// Runs a statement.
    Database {
        /// `[databases.NAME]`.
        connection: String,
        /// Whether it changes.
        mode: DatabaseMode,
        /// One statement.
        sql: String,
        /// Its parameters.
        params: Vec<Value>,
    },
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpBody {
    /// Sent as `application/json`, unless the headers say otherwise.
    Json(Value),
    /// Sent as it is, as `text/plain; charset=utf-8` unless the headers say otherwise.
    Text(String),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEnd {
    /// It did its work.
    Completed {
        /// What it returned. For `http` `{status, headers, body}`, for a database `{rows}` or `{changed}`.
        output: JsonText,
        /// The data as a wasm step left it, where it changed it.
        data: Option<JsonText>,
        /// Where a wasm step said to go on.
        next: Option<Vec<String>>,
    },
    /// The step found its data invalid: the run fails with these, and nothing is tried again.
    Invalid(Vec<FieldError>),
    /// It did not do its work.
    Failed {
        /// Why.
        error: StepError,
        /// Whether it is worth another attempt.
        again: Again,
    },
    /// The circuit of what it needs is open: nothing was tried, and no attempt is used up.
    Parked {
        /// For people: which circuit.
        circuit: String,
        /// When to ask again.
        after: Duration,
    },
}

/// Whether a failure is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No: the same would come of it.
    Never,
    /// As the policy has it.
    Policy,
    /// As the policy has it, and not before so long: the other side said so.
    NotBefore(Duration),
}

impl TaskEnd {
    /// A failure of this gateway's or the other side's making.
    #[must_use]
    pub fn failed(code: &str, origin: &str, message: impl Into<String>, again: Again) -> Self {
        let error = StepError {
            code: code.to_owned(),
            message: message.into(),
            origin: origin.to_owned(),
            step: None,
            details: None,
        };
        Self::Failed { error, again }
    }
}

/// Executes steps.
#[async_trait]
pub trait StepRunner: Send + Sync + 'static {
    /// Runs one attempt to its end, within its time. Never panics for what a step does.
    async fn run(&self, task: Task) -> TaskEnd;
}

/// The notifications' way out.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// POSTs `body`, under the operator's `[jobs] permissions` for `http:write`, with these headers.
    async fn post(&self, url: &str, headers: Vec<(String, String)>, body: String) -> Posted;
    /// The value of a secret of `[secrets]`, for the signature of a notification or a hook.
    fn secret(&self, name: &str) -> Option<secrecy::SecretString>;
}

/// What became of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// The other side answered.
    Answered {
        /// With which status.
        status: u16,
        /// `Retry-After`, in whichever form.
        retry_after: Option<Duration>,
    },
    /// It did not.
    Failed {
        /// A code: `timed-out`, `connection-failed`, `permission-denied`, `circuit-open`.
        code: String,
        /// For people, without addresses.
        message: String,
    },
}

/// An object's members, as templates see them.
pub type Members = Map<String, Value>;
