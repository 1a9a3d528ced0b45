//! An attempt at a wasm step: a function of a module, recorded as any other execution.
//!
//! Owns the order of the checks before it runs, as of a request to invoke it, and what its end means for the run.
//! Invariant: an execution that started leaves a record, also where its run is canceled in the middle.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, OVERLOADED_WAIT, again, failed, parked, trace_context, trace_headers};
use crate::circuit::{Key, Permit};
use crate::error::{Code, shortened};
use crate::execution::{self, Running};
use crate::jobs::runner::{Again, Task, TaskEnd};
use crate::model::job::StepError;
use crate::model::{EffectiveLimits, ExecutionId, JsonText, Limits, ModuleRef};
use crate::registry::Revision;
use crate::runtime::{self, Call, Execution, Failure, InRun, LoadError, Outcome, StepFailure, Witness};
use crate::{blob, telemetry};

/// Of a guest's own code: it is a label for people and dashboards.
const CODE_CHARACTERS_MAX: usize = 100;

/// Of what a guest says besides: it is kept with each attempt.
const DETAILS_BYTES_MAX: usize = 16 * 1024;

/// What is called.
pub(super) struct Called {
    pub(super) module: ModuleRef,
    pub(super) function: String,
    pub(super) input: JsonText,
    pub(super) data: JsonText,
    pub(super) env: Vec<(String, String)>,
    pub(super) limits: Limits,
}

pub(super) async fn run(inner: &Inner, task: &Task, called: Called) -> TaskEnd {
    let Some(revision) = inner.registry.snapshot().resolve(&called.module).cloned() else {
        let message = format!("there is no module {}", called.module);
        return failed(Code::NotFound.as_str(), message, Again::Never);
    };
    let limits = match limits(&revision, &called.limits, task.timeout) {
        Ok(limits) => limits,
        Err(message) => return failed(Code::BadRequest.as_str(), message, Again::Never),
    };
    if let Err(refusal) = revision.verify() {
        return failed(refusal.code().as_str(), refusal.to_string(), Again::Never);
    }
    let permit = match inner.circuits().ask(&Key::module(&revision.module)) {
        Ok(permit) => permit,
        Err(open) => return parked(open),
    };
    let trace = inner.sampler.sample(&trace_headers(task)).map(|trace| trace.about(&revision.module));
    let prepare = inner.runtime.prepare(&revision.module, &called.function, trace.as_ref());
    let prepared = match task.timeout {
        Some(timeout) => tokio::time::timeout(timeout, prepare).await,
        None => Ok(prepare.await),
    };
    let ready = match prepared {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return refused(inner, &called.module, permit, error),
        Err(_) => {
            let message = "the module's code could not be had in time";
            return failed(Code::TimedOut.as_str(), message, Again::Policy);
        }
    };
    let given = called.data.clone();
    let call = call(inner, task, &revision, called, Known { limits, trace });
    let mut running = Running::new(&inner.recorder, &call);
    let execution = execution::run(&inner.runtime, ready, call, &mut running).await;
    let end = ended(inner, permit, &execution, &given);
    // The pool had no room after all: it never started.
    if matches!(&execution.result, Err(failure) if failure.code == Code::Overloaded) {
        running.never_started(execution);
    } else {
        running.ended(execution);
    }
    end
}

/// What was found out before the call.
struct Known {
    limits: EffectiveLimits,
    trace: Option<telemetry::Sampled>,
}

fn call(inner: &Inner, task: &Task, revision: &Arc<Revision>, called: Called, known: Known) -> Call {
    let started_at = inner.clock.now();
    let execution_id = ExecutionId::starting(started_at);
    let in_run = InRun {
        run_id: task.run_id,
        job: task.job.clone(),
        step: task.step.clone(),
        attempt: task.attempt,
        idempotency_key: task.idempotency_key.clone(),
    };
    Call {
        execution_id,
        started_at,
        module: Arc::clone(&revision.module),
        permissions: Arc::clone(revision.permission_set()),
        metrics: revision.metrics.clone(),
        trace: known.trace.map(|trace| trace.execute(&called.function, execution_id)),
        function: called.function,
        in_run: Some(Arc::new(in_run)),
        input: called.input,
        data: Some(called.data),
        env: called.env,
        limits: known.limits,
        trace_context: trace_context(task),
        witness: Witness::default(),
    }
}

/// The module's, lowered by the step's, and its time by that of the attempt.
fn limits(revision: &Revision, asked: &Limits, timeout: Option<Duration>) -> Result<EffectiveLimits, String> {
    let limits = revision.limits.lowered_by(asked).map_err(|above| format!("limits: {above}"))?;
    let timeout_ms = timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1));
    Ok(limits.clamped_by(&Limits { timeout_ms, ..Limits::default() }))
}

/// Nothing was run.
fn refused(inner: &Inner, module: &ModuleRef, permit: Permit, error: runtime::Error) -> TaskEnd {
    let code = error.code();
    match error {
        runtime::Error::Overloaded { .. } => {
            inner.metrics.overloaded();
            overloaded()
        }
        runtime::Error::NoSuchFunction(name) => {
            let name = shortened(&name, CODE_CHARACTERS_MAX).into_owned();
            failed(code.as_str(), format!("the module {module} has no function {name}"), Again::Never)
        }
        // It was deleted after it had been found: bytes go after their row.
        runtime::Error::Load(LoadError::Blob(source))
            if matches!(*source, blob::Error::Missing(_)) && inner.registry.snapshot().resolve(module).is_none() =>
        {
            failed(Code::NotFound.as_str(), format!("there is no module {module}"), Again::Never)
        }
        runtime::Error::Load(error) => {
            tracing::warn!(%module, cause = %error, "the code of a step's module can't be had");
            let (again, what) = match &error {
                LoadError::Integrity(_) => (Again::Never, "the stored bytes of the module are not what was uploaded"),
                LoadError::Rejected(_) => (Again::Never, "the module can't be compiled here"),
                LoadError::Blob(_) => (Again::Policy, "the module's bytes can't be had"),
                LoadError::Starved(_) | LoadError::Failed(_) => (Again::Policy, "the module could not be compiled"),
            };
            // Where its bytes can't be had, that is not the module's fault.
            if !matches!(error, LoadError::Blob(_)) {
                permit.failed();
            }
            failed(code.as_str(), what, again)
        }
        runtime::Error::Engine(error) => {
            tracing::error!(%module, cause = %error, "the engine can't run a step");
            failed(code.as_str(), "the engine can't run it", again::of_code(code))
        }
    }
}

/// What the end of an execution means for the run.
fn ended(inner: &Inner, permit: Permit, execution: &Execution, given: &JsonText) -> TaskEnd {
    match &execution.result {
        Ok(outcome) => {
            permit.succeeded();
            match outcome {
                Outcome::Completed { output, next } => {
                    let data = execution.data.clone().filter(|data| data != given);
                    TaskEnd::Completed { output: output.clone(), data, next: next.clone() }
                }
                Outcome::Invalid(errors) => TaskEnd::Invalid(errors.clone()),
                Outcome::Failed(failure) => of_guest(failure),
            }
        }
        Err(failure) if failure.code == Code::Overloaded => {
            inner.metrics.overloaded();
            drop(permit);
            overloaded()
        }
        Err(failure) => {
            // What reaches its bounds may have been given much.
            if failure.code == Code::Trap {
                permit.failed();
            }
            of_failure(failure)
        }
    }
}

fn of_guest(failure: &StepFailure) -> TaskEnd {
    let code = if failure.code.is_empty() { Code::StepFailed.as_str() } else { &failure.code };
    let details = failure.details.as_ref().filter(|details| details.as_str().len() <= DETAILS_BYTES_MAX);
    let error = StepError {
        code: shortened(code, CODE_CHARACTERS_MAX).into_owned(),
        message: shortened(&failure.message, super::MESSAGE_CHARACTERS_MAX).into_owned(),
        origin: Code::StepFailed.origin().as_str().to_owned(),
        step: None,
        details: details.and_then(|details| serde_json::from_str(details.as_str()).ok()),
    };
    TaskEnd::Failed { error, again: again::of_guest(failure.retryable, failure.retry_after_ms) }
}

fn of_failure(failure: &Failure) -> TaskEnd {
    let bound = [("limit", failure.limit), ("used", failure.used)];
    let details: serde_json::Map<_, _> =
        bound.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
    let error = StepError {
        code: failure.code.as_str().to_owned(),
        message: shortened(&failure.message, super::MESSAGE_CHARACTERS_MAX).into_owned(),
        origin: failure.code.origin().as_str().to_owned(),
        step: None,
        details: (!details.is_empty()).then_some(details.into()),
    };
    TaskEnd::Failed { error, again: again::of_code(failure.code) }
}

/// It uses no attempt up.
fn overloaded() -> TaskEnd {
    TaskEnd::Parked { circuit: "a slot of this gateway".to_owned(), after: OVERLOADED_WAIT }
}
