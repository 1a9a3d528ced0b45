//! From a call to its record, whoever asked for it: a request or a step of a run.
//!
//! Owns what is remembered of an execution, and when. Does not own how it runs (`runtime`), rows (`store`) nor what
//! who asked is told. Invariant: an execution that started leaves a record, whoever leaves or fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::Code;
use crate::model::{ExecutionError, ExecutionId, ExecutionRecord, Module, Status};
use crate::runtime::{Call, Cancelled, Execution, InRun, Outcome, Ready, Runtime, StepFailure, Usage, Witness};
use crate::store::recorder::Recorder;
use crate::telemetry::{ModuleMetrics, Sampled};

/// How much of an error's text is kept.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// An execution that takes longer is shown as `running`; most are over long before.
const SHOWN_AS_RUNNING_AFTER: Duration = Duration::from_millis(250);

/// An execution that started. Dropped without having ended, it is recorded as
/// canceled: the client left, or the gateway stops.
pub struct Running {
    recorder: Recorder,
    metrics: ModuleMetrics,
    trace: Option<Sampled>,
    witness: Witness,
    id: ExecutionId,
    module: Arc<Module>,
    function: String,
    in_run: Option<Arc<InRun>>,
    started_at: Timestamp,
    started: Instant,
    /// Recorded as running already.
    shown: bool,
    ended: bool,
}

impl Running {
    /// That of a call that is about to run.
    #[must_use]
    pub fn new(recorder: &Recorder, call: &Call) -> Self {
        Self {
            recorder: recorder.clone(),
            metrics: call.metrics.clone(),
            trace: call.trace.clone(),
            witness: call.witness.clone(),
            id: call.execution_id,
            module: Arc::clone(&call.module),
            function: call.function.clone(),
            in_run: call.in_run.clone(),
            started_at: call.started_at,
            started: Instant::now(),
            shown: false,
            ended: false,
        }
    }

    /// The record of an execution that runs.
    #[must_use]
    pub fn record(&self) -> ExecutionRecord {
        self.record_of(self.function.clone())
    }

    /// The same for the last time.
    fn take_record(&mut self) -> ExecutionRecord {
        let function = std::mem::take(&mut self.function);
        self.record_of(function)
    }

    fn record_of(&self, function: String) -> ExecutionRecord {
        ExecutionRecord {
            execution_id: self.id,
            module_id: self.module.id,
            module: self.module.name.clone(),
            version: self.module.version.clone(),
            function,
            status: Status::Running,
            started_at: self.started_at,
            duration_us: None,
            fuel: None,
            memory_bytes: None,
            error: None,
            lines: Vec::new(),
            lines_dropped: 0,
            run_id: self.in_run.as_ref().map(|run| run.run_id),
            job: self.in_run.as_ref().map(|run| run.job.clone()),
        }
    }

    /// Records that it runs.
    pub fn show(&mut self) {
        self.shown = true;
        self.recorder.record(self.record());
    }

    /// The id of the record that was seen running already, if one was.
    #[must_use]
    pub fn shown_as(&self) -> Option<ExecutionId> {
        self.shown.then_some(self.id)
    }

    /// Leaves no record, since nothing of the guest ran; but one that was seen running
    /// has to end.
    pub fn never_started(mut self, execution: Execution) {
        if self.shown {
            self.ended(execution);
        } else {
            self.ended = true;
        }
    }

    /// Leaves no record, since there was no place for the one that it runs.
    pub fn unrecorded(mut self) {
        self.ended = true;
    }

    /// Records how it ended, and counts it.
    pub fn ended(mut self, execution: Execution) {
        self.ended = true;
        let (status, code) = status(&execution);
        let usage = execution.usage;
        self.metrics.execution_ended(status, code, usage.duration_us, usage.fuel, Some(usage.memory_bytes));
        if execution.lines_dropped > 0 {
            self.metrics.log_lines_dropped(execution.lines_dropped);
        }
        if let Some(trace) = &self.trace {
            trace.record_outcome(status, code);
        }
        let record = ExecutionRecord {
            status,
            duration_us: Some(usage.duration_us),
            fuel: usage.fuel,
            memory_bytes: Some(usage.memory_bytes),
            error: code.map(|code| error(code, &execution)),
            lines: execution.lines,
            lines_dropped: execution.lines_dropped,
            ..self.take_record()
        };
        self.recorder.record_with_denials(record, execution.denials);
    }
}

/// Runs it to its end, and shows it as running where that takes long.
pub async fn run(runtime: &Runtime, ready: Ready, call: Call, running: &mut Running) -> Execution {
    let mut work = std::pin::pin!(runtime.run(ready, call));
    // The timer is set only when the execution has to wait, so a short one pays nothing.
    match tokio::time::timeout(SHOWN_AS_RUNNING_AFTER, work.as_mut()).await {
        Ok(execution) => execution,
        Err(_) => {
            running.show();
            work.await
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (usage, lines, lines_dropped, denials) = match self.witness.cancelled() {
            Some(Cancelled { usage, lines, lines_dropped, denials }) => (Some(usage), lines, lines_dropped, denials),
            // It was cancelled before it began.
            None => (None, Vec::new(), 0, Vec::new()),
        };
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (fuel, memory_bytes) =
            usage.map_or((None, None), |Usage { fuel, memory_bytes, .. }| (fuel, Some(memory_bytes)));
        self.metrics.execution_ended(Status::Canceled, None, duration_us, fuel, memory_bytes);
        if lines_dropped > 0 {
            self.metrics.log_lines_dropped(lines_dropped);
        }
        let record = ExecutionRecord {
            status: Status::Canceled,
            duration_us: Some(duration_us),
            fuel,
            memory_bytes,
            lines,
            lines_dropped,
            ..self.take_record()
        };
        self.recorder.record_with_denials(record, denials);
    }
}

fn status(execution: &Execution) -> (Status, Option<Code>) {
    match &execution.result {
        Ok(Outcome::Completed { .. }) => (Status::Completed, None),
        Ok(Outcome::Invalid(_)) => (Status::Invalid, Some(Code::InvalidData)),
        Ok(Outcome::Failed(_)) => (Status::Failed, Some(Code::StepFailed)),
        Err(failure) => (Status::Failed, Some(failure.code)),
    }
}

fn error(code: Code, execution: &Execution) -> ExecutionError {
    let mut message = match &execution.result {
        Ok(Outcome::Completed { .. }) => String::new(),
        Ok(Outcome::Invalid(errors)) => invalid_detail(errors.len()),
        Ok(Outcome::Failed(failure)) => failed_detail(failure),
        Err(failure) => failure.message.clone(),
    };
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    ExecutionError { code: code.as_str().to_owned(), message, origin: code.origin().as_str().to_owned() }
}

/// What is said of data that a step found invalid.
#[must_use]
pub fn invalid_detail(errors: usize) -> String {
    if errors == 1 {
        "the step found a mistake in the data".to_owned()
    } else {
        format!("the step found {errors} mistakes in the data")
    }
}

/// What is said of a step that could not do its work.
#[must_use]
pub fn failed_detail(failure: &StepFailure) -> String {
    if failure.message.is_empty() { failure.code.clone() } else { format!("{}: {}", failure.code, failure.message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::runtime::{Failure, Usage};
    use crate::store::contract::{module, row};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{SharedStore, recorder};
    use crate::telemetry::Metrics;

    fn overloaded() -> Execution {
        Execution {
            result: Err(Failure { code: Code::Overloaded, message: "no room".to_owned(), limit: None, used: None }),
            data: None,
            usage: Usage { fuel: None, memory_bytes: 0, duration_us: 1 },
            lines: Vec::new(),
            lines_dropped: 0,
            denials: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_never_started_leaves_no_record_unless_it_was_seen_running() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sluice.db");
        let store: SharedStore = Arc::new(SqliteStore::open(&path).await.unwrap());
        let module = Arc::new(module("orders", "1.0.0"));
        store.insert_module(&module, &row()).await.unwrap();
        let (recorder, service) = Recorder::new(recorder::Config::for_tests(), Arc::clone(&store), |_| {});
        let started = || Running {
            recorder: recorder.clone(),
            metrics: Metrics::new().module(&module.name, &module.version),
            trace: None,
            witness: Witness::default(),
            id: ExecutionId::starting(Timestamp::UNIX_EPOCH),
            module: Arc::clone(&module),
            function: "run".to_owned(),
            in_run: None,
            started_at: Clock::system().now(),
            started: Instant::now(),
            shown: false,
            ended: false,
        };
        let (unseen, mut seen) = (started(), started());
        let (unseen_id, seen_id) = (unseen.id, seen.id);
        seen.show();
        assert_eq!((unseen.shown_as(), seen.shown_as()), (None, Some(seen_id)));
        unseen.never_started(overloaded());
        seen.never_started(overloaded());
        service.run(std::future::ready(())).await;
        assert_eq!(store.execution(unseen_id).await.unwrap(), None);
        assert_eq!(store.execution(seen_id).await.unwrap().unwrap().status, Status::Failed);
        store.close().await;
    }
}
