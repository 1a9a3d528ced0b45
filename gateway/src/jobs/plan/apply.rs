//! What an event makes of a run.
//!
//! Owns the transitions. An event that does not fit the step's state (an end that comes after a cancel) changes nothing.
//! What a run's end leaves behind: a step that failed for good is `failed` or `invalid`; one that was cut, or had attempts
//! left, is `pending` again with its attempts kept, which is what lets a retry go on there; on completion what was
//! never reached is `skipped`.

use jiff::{SignedDuration, Timestamp};

use super::graph::Graph;
use super::routing;
use super::state::{Plan, is_live};
use crate::error::FieldError;
use crate::jobs::retry;
use crate::jobs::runner::Again;
use crate::model::job::{AttemptStatus, Payload, RunStatus, RunStep, StepError, StepStatus};

/// Attempts in a row that a crash may cut. A step that brings the gateway down would do so for ever; ten restarts
/// in a row happen to a step that is innocent only where nothing else works either.
const INTERRUPTIONS_MAX: usize = 10;
const INTERRUPTED: &str = "interrupted";

/// What happened to a run. Steps are their places in the definition.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker has it: it begins, or goes on with every step that could start.
    Begin {
        /// When.
        at: Timestamp,
    },
    /// `when` of a step was not true.
    Skipped {
        /// Which step.
        step: usize,
        /// When.
        at: Timestamp,
    },
    /// An attempt began.
    Started {
        /// Which step.
        step: usize,
        /// When.
        at: Timestamp,
    },
    /// A step did its work; `next` is what a wasm step said.
    Completed {
        /// Which step.
        step: usize,
        /// What it returned, where it is kept.
        output: Option<Payload>,
        /// Where it said to go on.
        next: Option<Vec<String>>,
        /// When.
        at: Timestamp,
    },
    /// A step found its data invalid.
    Invalid {
        /// Which step.
        step: usize,
        /// What it found.
        errors: Vec<FieldError>,
        /// When.
        at: Timestamp,
    },
    /// An attempt failed, or could not begin. `random`, from 0 to 1, is for the jitter.
    Failed {
        /// Which step.
        step: usize,
        /// Why.
        error: StepError,
        /// Whether it is worth another attempt.
        again: Again,
        /// From 0 to 1, for the jitter.
        random: f64,
        /// When.
        at: Timestamp,
    },
    /// A circuit was open: the attempt does not count, and leaves no trace.
    Parked {
        /// Which step.
        step: usize,
        /// When to go on.
        until: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// A wait began. `Due` ends it.
    Waiting {
        /// Which step.
        step: usize,
        /// When to go on.
        until: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// So late it is.
    Due {
        /// The time.
        now: Timestamp,
    },
    /// Every attempt that ran was cut by a crash.
    Interrupted {
        /// When.
        at: Timestamp,
    },
    /// Somebody wants the run to end.
    CancelRequested {
        /// When.
        at: Timestamp,
    },
    /// Somebody wants a run that failed or was canceled to go on.
    RetryRequested {
        /// When.
        at: Timestamp,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Evaluate `when` (where the step has no attempts yet) and templates; then `Skipped`, `Started`, `Waiting`, or `Failed`.
    Start(usize),
    /// End the attempt that runs, or that a `Start` before this was to begin; what it would have returned is not wanted.
    Cancel(usize),
    /// The run has ended.
    End(RunStatus),
}

/// Applies one event, and tells what is to be done.
pub fn apply(graph: &Graph, plan: &mut Plan, event: Event) -> Vec<Action> {
    match event {
        Event::Begin { at } => begin(graph, plan, at),
        Event::Skipped { step, at } => skipped(graph, plan, step, at),
        Event::Started { step, at } => started(plan, step, at),
        Event::Waiting { step, until, at } => waiting(plan, step, until, at),
        Event::Completed { step, output, next, at } => {
            if !is_open(plan, step) {
                return Vec::new();
            }
            match next.map(|names| routing::resolve(graph, step, &names)).transpose() {
                Ok(next) => completed(graph, plan, Done { step, output, next }, at),
                Err(error) => failed_for_good(plan, step, error, at),
            }
            go_on(graph, plan, at)
        }
        Event::Invalid { step, errors, at } => {
            if is_open(plan, step) {
                invalid(plan, step, errors, at);
            }
            go_on(graph, plan, at)
        }
        Event::Failed { step, error, again, random, at } => {
            if is_open(plan, step) {
                failed(graph, plan, Failure { step, error, again, random }, at);
            }
            go_on(graph, plan, at)
        }
        Event::Parked { step, until, at } => {
            if is_open(plan, step) {
                parked(plan, step, until, at);
            }
            go_on(graph, plan, at)
        }
        Event::Due { now } => due(graph, plan, now),
        Event::Interrupted { at } => interrupted(graph, plan, at),
        Event::CancelRequested { at } => cancel(plan, at),
        Event::RetryRequested { at } => retry_run(graph, plan, at),
    }
}

struct Done {
    step: usize,
    output: Option<Payload>,
    next: Option<Vec<usize>>,
}

struct Failure {
    step: usize,
    error: StepError,
    again: Again,
    random: f64,
}

/// Whether an attempt at a step may end: it runs, or is being started and fails before it does.
fn is_open(plan: &Plan, step: usize) -> bool {
    plan.status == RunStatus::Running && (plan.is_in_flight(step) || plan.starting.has(step))
}

fn begin(graph: &Graph, plan: &mut Plan, at: Timestamp) -> Vec<Action> {
    if plan.status == RunStatus::Queued {
        plan.set_run_status(RunStatus::Running, at);
        take(plan, &[0]);
    }
    go_on(graph, plan, at)
}

fn skipped(graph: &Graph, plan: &mut Plan, step: usize, at: Timestamp) -> Vec<Action> {
    if plan.status == RunStatus::Running && plan.starting.has(step) {
        plan.starting.remove(step);
        plan.set_status(step, StepStatus::Skipped, at);
        if let Some(step) = plan.change(step) {
            step.due_at = None;
        }
        take(plan, graph.next(step));
    }
    go_on(graph, plan, at)
}

fn started(plan: &mut Plan, step: usize, at: Timestamp) -> Vec<Action> {
    if plan.status != RunStatus::Running || !plan.starting.has(step) {
        return Vec::new();
    }
    plan.starting.remove(step);
    plan.begin_attempt(step, at);
    if let Some(step) = plan.change(step) {
        step.due_at = None;
    }
    plan.set_status(step, StepStatus::Running, at);
    Vec::new()
}

fn waiting(plan: &mut Plan, step: usize, until: Timestamp, at: Timestamp) -> Vec<Action> {
    if !plan.starting.has(step) {
        return Vec::new();
    }
    started(plan, step, at);
    if let Some(step) = plan.change(step) {
        step.due_at = Some(until);
    }
    Vec::new()
}

fn completed(graph: &Graph, plan: &mut Plan, done: Done, at: Timestamp) {
    let Done { step, output, next } = done;
    let completion = plan.next_completion();
    close(plan, step, at);
    plan.end_attempt(step, AttemptStatus::Completed, None, at);
    let named = next.as_ref().map(|next| next.iter().filter_map(|&index| graph.id(index).cloned()).collect());
    if let Some(step) = plan.change(step) {
        step.output = output;
        step.completion = Some(completion);
        step.next = named;
        step.due_at = None;
    }
    plan.set_status(step, StepStatus::Completed, at);
    take(plan, next.as_deref().unwrap_or_else(|| graph.next(step)));
}

fn invalid(plan: &mut Plan, step: usize, errors: Vec<FieldError>, at: Timestamp) {
    let error = StepError {
        code: "invalid-data".to_owned(),
        message: format!("the step found its data invalid ({} mistakes)", errors.len()),
        origin: "guest".to_owned(),
        step: None,
        details: None,
    };
    close(plan, step, at);
    plan.end_attempt(step, AttemptStatus::Invalid, Some(error.clone()), at);
    if let Some(step) = plan.change(step) {
        step.errors = errors;
    }
    give_up(plan, step, error, StepStatus::Invalid, at);
}

fn failed(graph: &Graph, plan: &mut Plan, failure: Failure, at: Timestamp) {
    let Failure { step, error, again, random } = failure;
    close(plan, step, at);
    plan.end_attempt(step, AttemptStatus::Failed, Some(error.clone()), at);
    let Some(held) = plan.change(step) else { return };
    held.tries = held.tries.saturating_add(1);
    match retry::interval(&graph.retry(step), held.tries, again, random) {
        Some(interval) => {
            held.due_at = Some(later(at, interval));
            plan.set_status(step, StepStatus::Pending, at);
        }
        None => give_up(plan, step, error, StepStatus::Failed, at),
    }
}

fn failed_for_good(plan: &mut Plan, step: usize, error: StepError, at: Timestamp) {
    close(plan, step, at);
    plan.end_attempt(step, AttemptStatus::Failed, Some(error.clone()), at);
    if let Some(step) = plan.change(step) {
        step.tries = step.tries.saturating_add(1);
    }
    give_up(plan, step, error, StepStatus::Failed, at);
}

fn parked(plan: &mut Plan, step: usize, until: Timestamp, at: Timestamp) {
    plan.starting.remove(step);
    let Some(held) = plan.change(step) else { return };
    // A circuit may be open for days: an attempt for each probe would grow without bound.
    if held.attempts.last().is_some_and(|last| last.status == AttemptStatus::Running) {
        held.attempts.pop();
    }
    held.due_at = Some(until);
    plan.set_status(step, StepStatus::Pending, at);
}

fn due(graph: &Graph, plan: &mut Plan, now: Timestamp) -> Vec<Action> {
    if plan.status != RunStatus::Running {
        return Vec::new();
    }
    for index in 0..plan.steps.len() {
        let is_due = |step: &&RunStep| is_live(step) && step.due_at.is_some_and(|due_at| due_at <= now);
        match plan.steps.get(index).filter(is_due).map(|step| step.status) {
            Some(StepStatus::Running) => completed(graph, plan, Done { step: index, output: None, next: None }, now),
            Some(_) => {
                if let Some(step) = plan.change(index) {
                    step.due_at = None;
                }
            }
            None => {}
        }
    }
    go_on(graph, plan, now)
}

fn interrupted(graph: &Graph, plan: &mut Plan, at: Timestamp) -> Vec<Action> {
    for index in 0..plan.steps.len() {
        plan.starting.remove(index);
        if plan.status != RunStatus::Running || !plan.is_in_flight(index) {
            continue;
        }
        let count = plan.steps.get(index).map_or(0, interruptions).saturating_add(1);
        let error = StepError {
            code: INTERRUPTED.to_owned(),
            message: "the gateway stopped while the attempt ran".to_owned(),
            origin: "gateway".to_owned(),
            step: None,
            // Marks where the count ended, so that a retry of the run begins a new one.
            details: (count >= INTERRUPTIONS_MAX).then(|| serde_json::json!({"interruptions": count})),
        };
        plan.end_attempt(index, AttemptStatus::Failed, Some(error.clone()), at);
        if count >= INTERRUPTIONS_MAX {
            give_up(plan, index, error, StepStatus::Failed, at);
        } else {
            plan.set_status(index, StepStatus::Pending, at);
        }
    }
    go_on(graph, plan, at)
}

/// The last attempts that were interrupted, one after the other.
fn interruptions(step: &RunStep) -> usize {
    let ended = step.attempts.iter().rev().skip_while(|attempt| attempt.status == AttemptStatus::Running);
    let errors = ended.map(|attempt| attempt.error.as_ref());
    errors.take_while(|error| error.is_some_and(|error| error.code == INTERRUPTED && error.details.is_none())).count()
}

fn cancel(plan: &mut Plan, at: Timestamp) -> Vec<Action> {
    if plan.status.is_end() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    for index in 0..plan.steps.len() {
        if plan.starting.has(index) || plan.is_in_flight(index) {
            actions.push(Action::Cancel(index));
        }
    }
    cut(plan, at);
    plan.error = None;
    plan.set_run_status(RunStatus::Canceled, at);
    actions.push(Action::End(RunStatus::Canceled));
    actions
}

fn retry_run(graph: &Graph, plan: &mut Plan, at: Timestamp) -> Vec<Action> {
    if !matches!(plan.status, RunStatus::Failed | RunStatus::Canceled) {
        return Vec::new();
    }
    plan.error = None;
    plan.set_run_status(RunStatus::Running, at);
    for index in 0..plan.steps.len() {
        let Some(status) = plan.steps.get(index).filter(|step| step.is_taken).map(|step| step.status) else { continue };
        match status {
            StepStatus::Completed | StepStatus::Skipped => continue,
            StepStatus::Failed | StepStatus::Invalid => plan.set_status(index, StepStatus::Pending, at),
            StepStatus::Pending | StepStatus::Running => {}
        }
        if let Some(step) = plan.change(index) {
            step.error = None;
            step.errors = Vec::new();
            step.tries = 0;
            step.due_at = None;
        }
    }
    // It may have been canceled before it began.
    if !plan.steps.iter().any(|step| step.is_taken) {
        take(plan, &[0]);
    }
    go_on(graph, plan, at)
}

/// Starts what can start, or ends the run.
fn go_on(graph: &Graph, plan: &mut Plan, at: Timestamp) -> Vec<Action> {
    if plan.status != RunStatus::Running {
        return Vec::new();
    }
    if plan.is_failing() {
        return settle(plan, at);
    }
    let live: Vec<usize> =
        plan.steps.iter().enumerate().filter(|(_, step)| is_live(step)).map(|(index, _)| index).collect();
    if live.is_empty() {
        for index in 0..plan.steps.len() {
            if plan.steps.get(index).is_some_and(|step| step.status == StepStatus::Pending) {
                plan.set_status(index, StepStatus::Skipped, at);
            }
        }
        plan.set_run_status(RunStatus::Completed, at);
        return vec![Action::End(RunStatus::Completed)];
    }
    let mut actions = Vec::new();
    for &index in &live {
        let is_waiting =
            plan.steps.get(index).is_some_and(|step| step.status == StepStatus::Pending && step.due_at.is_none());
        let is_free = is_waiting && !plan.starting.has(index);
        if is_free && !live.iter().any(|&other| other != index && graph.reaches(other, index)) {
            plan.starting.add(index);
            actions.push(Action::Start(index));
        }
    }
    actions
}

/// Ends a run that fails, as soon as nothing of it is in flight. What was being started does not begin any more.
fn settle(plan: &mut Plan, at: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    for index in 0..plan.steps.len() {
        if plan.starting.has(index) {
            plan.starting.remove(index);
            actions.push(Action::Cancel(index));
        }
    }
    if !(0..plan.steps.len()).any(|index| plan.is_in_flight(index)) {
        cut(plan, at);
        plan.set_run_status(RunStatus::Failed, at);
        actions.push(Action::End(RunStatus::Failed));
    }
    actions
}

/// Makes of every step that has not ended one that can be begun again.
fn cut(plan: &mut Plan, at: Timestamp) {
    for index in 0..plan.steps.len() {
        plan.starting.remove(index);
        let Some(step) = plan.steps.get(index).filter(|step| is_live(step)) else { continue };
        let (is_running, has_due) = (step.status == StepStatus::Running, step.due_at.is_some());
        if is_running {
            plan.end_attempt(index, AttemptStatus::Canceled, None, at);
            plan.set_status(index, StepStatus::Pending, at);
        }
        if let Some(step) = has_due.then(|| plan.change(index)).flatten() {
            step.due_at = None;
        }
    }
}

/// The end of an attempt that may not have been told to begin.
fn close(plan: &mut Plan, step: usize, at: Timestamp) {
    plan.starting.remove(step);
    plan.begin_attempt(step, at);
}

/// A step ends the run. The run's error is that of the first that did.
fn give_up(plan: &mut Plan, step: usize, error: StepError, status: StepStatus, at: Timestamp) {
    let Some(held) = plan.change(step) else { return };
    held.error = Some(error.clone());
    held.due_at = None;
    let id = held.id.clone();
    plan.error.get_or_insert(StepError { step: Some(id), ..error });
    plan.set_status(step, status, at);
}

fn take(plan: &mut Plan, steps: &[usize]) {
    for &index in steps {
        let is_new = plan.steps.get(index).is_some_and(|step| !step.is_taken);
        if let Some(step) = is_new.then(|| plan.change(index)).flatten() {
            step.is_taken = true;
        }
    }
}

fn later(at: Timestamp, interval: std::time::Duration) -> Timestamp {
    let interval = SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX);
    at.checked_add(interval).unwrap_or(Timestamp::MAX)
}
