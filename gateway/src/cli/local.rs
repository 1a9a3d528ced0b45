//! `sluice invoke --local`: a step's function in this process, without a gateway.
//!
//! Owns what is printed. Does not own the runtime (`author`). Invariant: nothing leaves the process: a call of `http`
//! or `db` is told so, and how a case answers it.

use std::path::Path;
use std::sync::Arc;

use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;
use serde_json::{Value, json};

use super::build::{advised, only_a_step, open};
use super::failure::Advised;
use super::output::Out;
use super::pretty;
use crate::author::{Called, Local};
use crate::model::JsonText;
use crate::runtime::{Execution, Failure, HostError, HttpRequest, HttpResponse, Outcome, StandIn, StepFailure};

/// Who answers where nobody is.
#[derive(Debug)]
struct Nobody;

const NOBODY: &str = "nothing is reached with --local: give the answer in a case, and run `sluice test`";

impl StandIn for Nobody {
    fn send(&self, _: HttpRequest) -> Result<HttpResponse, HostError> {
        Err(HostError::Failed(NOBODY.to_owned()))
    }

    fn query(&self, _: &str, _: &str, _: &str) -> Result<String, HostError> {
        Err(HostError::Failed(NOBODY.to_owned()))
    }

    fn execute(&self, _: &str, _: &str, _: &str) -> Result<u32, HostError> {
        Err(HostError::Failed(NOBODY.to_owned()))
    }
}

/// Builds the step of the folder, calls it, and prints its output; what it logs goes to standard error.
pub(super) async fn run(dir: &Path, called: Called, out: Out) -> anyhow::Result<()> {
    let project = open(dir)?;
    // A signal must get through while it compiles.
    let built = tokio::task::spawn_blocking(move || project.build_where_changed().map(|built| (project, built)));
    let (project, built) = built.await?.map_err(advised)?;
    only_a_step(&built)?;
    let folder = project.compiled_code();
    let local = Local::open(&built.prebuilt, project.manifest(), &folder, Arc::new(Nobody)).await;
    let local = local.map_err(|error| Advised::of(&error))?;
    let execution = local.call(called).await.map_err(|error| Advised::of(&error))?;
    if out.is_json() {
        out.json(&serde_json::to_vec(&Answer::of(&execution))?)?;
    }
    for line in &execution.lines {
        let fields = if line.fields.as_str() == "{}" { String::new() } else { format!(" {}", line.fields.as_str()) };
        out.note(&format!("{} {}{fields}", line.level.as_str(), line.message));
    }
    let usage = &execution.usage;
    let fuel = usage.fuel.map_or_else(|| "no".to_owned(), |fuel| HumanCount(fuel).to_string());
    let used = format!("{} µs, {fuel} fuel, {}", usage.duration_us, BinaryBytes(usage.memory_bytes));
    end(execution.result, used, out)
}

/// How it ended, and what it used.
fn end(result: Result<Outcome, Failure>, used: String, out: Out) -> anyhow::Result<()> {
    match result {
        Ok(Outcome::Completed { output, next }) => {
            if !out.is_json() {
                let text = output.as_str();
                out.line(pretty::json(text.as_bytes()).as_deref().unwrap_or(text))?;
            }
            if let Some(next) = next {
                out.note(&format!("next: {}", next.join(", ")));
            }
            out.note(&used);
            Ok(())
        }
        Ok(Outcome::Invalid(errors)) => {
            let advice =
                errors.iter().map(|error| format!("{}: {} ({})", error.path, error.message, error.code)).collect();
            Err(Advised { message: "the step says that its input is invalid".to_owned(), advice }.into())
        }
        Ok(Outcome::Failed(failure)) => {
            let message = format!("the step failed: {}: {}", failure.code, failure.message);
            Err(Advised { message, advice: advice_of(&failure) }.into())
        }
        Err(failure) => Err(Advised::new(format!("{}: {}", failure.code.as_str(), failure.message), used).into()),
    }
}

fn advice_of(failure: &StepFailure) -> Vec<String> {
    let retry = match (failure.retryable, failure.retry_after_ms) {
        (false, _) => "another attempt will not help".to_owned(),
        (true, None) => "another attempt may succeed".to_owned(),
        (true, Some(ms)) => format!("another attempt may succeed after {ms} ms"),
    };
    let details = failure.details.as_ref().map(|details| format!("details: {}", details.as_str()));
    [retry].into_iter().chain(details).collect()
}

/// What a script is told, however the call ended.
#[derive(Serialize)]
struct Answer<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a JsonText>,
    /// Of a step that completed, as a gateway has it: `null` where it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Value>,
    data: Option<&'a JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Value>,
    metrics: Value,
}

impl<'a> Answer<'a> {
    fn of(execution: &'a Execution) -> Self {
        let usage = &execution.usage;
        let mut answer = Self {
            status: "failed",
            output: None,
            next: None,
            data: execution.data.as_ref(),
            errors: None,
            failure: None,
            metrics: json!({
                "fuel": usage.fuel, "memory_bytes": usage.memory_bytes, "duration_us": usage.duration_us,
            }),
        };
        match &execution.result {
            Ok(Outcome::Completed { output, next }) => {
                (answer.status, answer.output, answer.next) = ("completed", Some(output), Some(json!(next)));
            }
            Ok(Outcome::Invalid(errors)) => (answer.status, answer.errors) = ("invalid", Some(json!(errors))),
            Ok(Outcome::Failed(failure)) => answer.failure = Some(json!(failure)),
            Err(failure) => {
                answer.failure = Some(json!({"code": failure.code.as_str(), "message": failure.message}));
            }
        }
        answer
    }
}
