//! Who executes the steps of jobs, and sends their notifications.
//!
//! Owns how an attempt at each kind of step goes, and whether its failure is worth another. Does not own when the next
//! one is made (`jobs`), nor how a module runs (`runtime`) or a request leaves (`egress`). Invariants: nothing is
//! asked of others that no permission covers, the module's for wasm steps and the operator's `[jobs] permissions` for
//! all others; of who is left alone nothing is asked; and no failure's words hold an address, SQL or a secret.

mod again;
mod database;
mod http;
mod notify;
mod permissions;
mod wasm;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::permissions::Allowed;
use crate::circuit::{Circuits, Open};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Code, shortened};
use crate::jobs::runner::{Again, StepRunner, Task, TaskEnd, Work};
use crate::model::JsonText;
use crate::model::job::StepError;
use crate::registry::Registry;
use crate::runtime::{Outside, Runtime};
use crate::store::recorder::Recorder;
use crate::telemetry::{Metrics, Sampler, TraceContext};

/// Of an error's text: what a person reads.
const MESSAGE_CHARACTERS_MAX: usize = 2_000;

/// Without a slot here the step comes back after so long: slots come back in milliseconds.
const OVERLOADED_WAIT: Duration = Duration::from_millis(500);

/// What steps are executed with. Cheap to clone.
#[derive(Clone)]
pub struct Steps(Arc<Inner>);

/// What it is made of.
pub struct Parts<'a> {
    /// What modules there are.
    pub registry: Arc<Registry>,
    /// What runs them.
    pub runtime: Arc<Runtime>,
    /// What others are reached through, and who of them is left alone.
    pub outside: Arc<Outside>,
    /// What remembers executions.
    pub recorder: Recorder,
    /// Who is traced.
    pub sampler: Sampler,
    /// Counters.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// `[jobs]` and `[egress]`.
    pub config: &'a Config,
}

struct Inner {
    registry: Arc<Registry>,
    runtime: Arc<Runtime>,
    outside: Arc<Outside>,
    recorder: Recorder,
    sampler: Sampler,
    metrics: Metrics,
    clock: Clock,
    allowed: Allowed,
    /// Of an output, which becomes part of the run's data.
    output_bytes_max: u64,
    http_timeout: Duration,
}

impl Steps {
    /// Nothing is asked of anybody yet.
    #[must_use]
    pub fn new(parts: Parts<'_>) -> Self {
        let Parts { registry, runtime, outside, recorder, sampler, metrics, clock, config } = parts;
        Self(Arc::new(Inner {
            registry,
            runtime,
            outside,
            recorder,
            sampler,
            metrics,
            clock,
            allowed: Allowed::new(&config.jobs.permissions),
            output_bytes_max: config.jobs.data_bytes,
            http_timeout: Duration::from_millis(config.egress.timeout_ms),
        }))
    }
}

impl Inner {
    fn circuits(&self) -> &Circuits {
        self.outside.circuits()
    }

    /// The output of a step, where it fits into a run's data.
    fn completed(&self, output: JsonText) -> TaskEnd {
        let bytes = output.as_str().len() as u64;
        if bytes > self.output_bytes_max {
            let message = format!("the output has {bytes} bytes; [jobs] data_bytes allows {}", self.output_bytes_max);
            return failed(Code::OutputTooLarge.as_str(), message, Again::Never);
        }
        TaskEnd::Completed { output, data: None, next: None }
    }
}

#[async_trait]
impl StepRunner for Steps {
    async fn run(&self, task: Task) -> TaskEnd {
        let inner = &*self.0;
        match task.work.clone() {
            Work::Wasm { module, function, input, data, env, limits } => {
                wasm::run(inner, &task, wasm::Called { module, function, input, data, env, limits }).await
            }
            Work::Http { method, url, headers, body, success } => {
                http::run(inner, &task, http::Asked { method, url, headers, body, success }).await
            }
            Work::Database { connection, mode, sql, params } => {
                database::run(inner, &task, database::Asked { connection, mode, sql, params }).await
            }
        }
    }
}

/// A failure that is not a guest's.
fn failed(code: &str, message: impl Into<String>, again: Again) -> TaskEnd {
    let message = shortened(&message.into(), MESSAGE_CHARACTERS_MAX).into_owned();
    TaskEnd::failed(code, "gateway", message, again)
}

/// The same, with what else is known.
fn failed_with(code: &str, message: impl Into<String>, again: Again, details: serde_json::Value) -> TaskEnd {
    match failed(code, message, again) {
        TaskEnd::Failed { error, again } => {
            TaskEnd::Failed { error: StepError { details: Some(details), ..error }, again }
        }
        other => other,
    }
}

/// The circuit is open, and no attempt is used up.
fn parked(open: Open) -> TaskEnd {
    TaskEnd::Parked { circuit: open.name, after: open.retry_after }
}

/// What the request that started the run said of its trace.
fn trace_headers(task: &Task) -> ::http::HeaderMap {
    let parent = task.traceparent.as_deref().and_then(|text| ::http::HeaderValue::try_from(text).ok());
    parent.into_iter().map(|parent| (::http::HeaderName::from_static("traceparent"), parent)).collect()
}

fn trace_context(task: &Task) -> TraceContext {
    TraceContext::of(&trace_headers(task))
}
