//! One run in memory.
//!
//! Owns the plan with what templates see of it. Invariant: what is given to be stored is all that changed since it was asked for last.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::error::Code;
use crate::jobs::data::{Difference, merge};
use crate::jobs::plan::{self, Action, Event, Plan, Rest};
use crate::jobs::revision::Revision;
use crate::jobs::runner::{Again, Task, TaskEnd, Work};
use crate::jobs::template::{Context, Resolved, RunView, StepView, TemplateError};
use crate::model::job::{Delivery, DeliveryStatus, Payload, Run, RunStatus, StepError, StepStatus};
use crate::model::{DeliveryId, JsonText};
use crate::store::{Hold, RunSaved, WorkerId};

/// Of a notification's body; the standard wants it below 20 kB. What a run holds is left out where it is more.
const NOTIFICATION_BYTES_MAX: usize = 16 * 1024;

/// What follows from an event.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Next {
    /// Attempts to be made, once it is stored that they begin.
    pub(in crate::jobs) tasks: Vec<(usize, Task)>,
    /// Attempts to be ended.
    pub(super) cuts: Vec<usize>,
}

/// A run that is being driven.
#[derive(Debug)]
pub(in crate::jobs) struct State {
    pub(in crate::jobs) run: Run,
    pub(in crate::jobs) plan: Plan,
    revision: Arc<Revision>,
    trigger: Arc<Value>,
    data: Arc<Value>,
    data_text: Option<JsonText>,
    outputs: HashMap<usize, Arc<Value>>,
    /// The data as attempts at wasm steps were given it.
    befores: HashMap<usize, Arc<Value>>,
    /// What it holds is gone or damaged: nothing begins any more.
    poison: Option<StepError>,
    pub(super) is_draining: bool,
    pub(super) clears_requests: bool,
}

/// What a run is made of in memory.
pub(in crate::jobs) struct Held {
    pub(in crate::jobs) trigger: Arc<Value>,
    pub(in crate::jobs) data: Arc<Value>,
    pub(in crate::jobs) outputs: HashMap<usize, Arc<Value>>,
    pub(in crate::jobs) poison: Option<StepError>,
}

/// What an attempt that completed would make of the data.
pub(super) struct Output {
    value: Arc<Value>,
    data: Option<(Arc<Value>, JsonText)>,
}

impl State {
    pub(in crate::jobs) fn new(run: Run, revision: Arc<Revision>, held: Held) -> Self {
        let Held { trigger, data, outputs, poison } = held;
        Self {
            plan: Plan::of(&run),
            run,
            revision,
            trigger,
            data,
            data_text: None,
            outputs,
            befores: HashMap::new(),
            poison,
            is_draining: false,
            clears_requests: false,
        }
    }

    /// Applies an event, and evaluates what begins then.
    pub(in crate::jobs) fn apply(&mut self, event: Event, at: Timestamp, next: &mut Next) {
        let actions = plan::apply(&self.revision.graph, &mut self.plan, event);
        self.follow(actions, at, next);
    }

    /// The end of an attempt that completed: the data is as it makes it before what follows is evaluated.
    pub(super) fn complete(&mut self, event: Event, (step, output): (usize, Output), at: Timestamp, next: &mut Next) {
        let actions = plan::apply(&self.revision.graph, &mut self.plan, event);
        if self.plan.step(step).is_some_and(|step| step.status == StepStatus::Completed) {
            self.outputs.insert(step, output.value);
            if let Some((data, text)) = output.data {
                self.data = data;
                self.data_text = Some(text);
            }
        }
        self.follow(actions, at, next);
    }

    fn follow(&mut self, actions: Vec<Action>, at: Timestamp, next: &mut Next) {
        let mut open = VecDeque::from(actions);
        while let Some(action) = open.pop_front() {
            match action {
                Action::Start(step) if !self.is_draining => {
                    let event = self.begin(step, at, next);
                    open.extend(plan::apply(&self.revision.graph, &mut self.plan, event));
                }
                Action::Start(_) | Action::End(_) => {}
                Action::Cancel(step) => {
                    next.tasks.retain(|(begun, _)| *begun != step);
                    next.cuts.push(step);
                }
            }
        }
    }

    /// Evaluates a step that may begin.
    fn begin(&mut self, step: usize, at: Timestamp, next: &mut Next) -> Event {
        let never = |error| Event::Failed { step, error, again: Again::Never, random: 0.0, at };
        if let Some(error) = self.poison.clone() {
            return never(error);
        }
        let context = self.context();
        let is_first = self.plan.step(step).is_none_or(|step| step.attempts.is_empty());
        let when = if is_first { self.revision.templates.when(step, &context) } else { Ok(true) };
        match when {
            Ok(true) => {}
            Ok(false) => return Event::Skipped { step, at },
            Err(error) => return never(template_failed(&error)),
        }
        match self.revision.templates.work(step, &context) {
            Err(error) => never(template_failed(&error)),
            Ok(Resolved::Wait(wait)) => Event::Waiting { step, until: later(at, wait), at },
            Ok(Resolved::WaitUntil(until)) => Event::Waiting { step, until, at },
            Ok(Resolved::Work(work)) => {
                if matches!(work, Work::Wasm { .. }) {
                    self.befores.insert(step, Arc::clone(&self.data));
                }
                let Some(task) = self.task(step, work) else { return Event::Skipped { step, at } };
                next.tasks.push((step, task));
                Event::Started { step, at }
            }
        }
    }

    fn task(&self, step: usize, work: Work) -> Option<Task> {
        let definition = self.revision.definition.steps.get(step)?;
        Some(Task {
            run_id: self.run.id,
            job: self.run.job.clone(),
            step: definition.id.clone(),
            attempt: self.plan.next_attempt(step),
            idempotency_key: format!("{}:{}", self.run.id, definition.id),
            traceparent: self.run.traceparent.clone(),
            work,
            timeout: definition.timeout_ms.map(Duration::from_millis),
        })
    }

    fn context(&self) -> Context {
        let view = |(index, step): (usize, &crate::model::job::RunStep)| {
            (step.id.clone(), StepView { status: step.status, output: self.outputs.get(&index).cloned() })
        };
        let steps: BTreeMap<_, _> = self.plan.steps().iter().enumerate().map(view).collect();
        Context {
            trigger: Arc::clone(&self.trigger),
            data: Arc::clone(&self.data),
            steps: Arc::new(steps),
            run: RunView {
                id: self.run.id,
                job: self.run.job.clone(),
                revision: self.run.revision,
                created_at: self.run.created_at,
            },
        }
    }

    /// What an output makes of the data.
    ///
    /// # Errors
    /// When it is more than a run may hold.
    pub(super) fn output(
        &self,
        step: usize,
        (output, data): (&JsonText, Option<&JsonText>),
        bytes_max: u64,
    ) -> Result<Output, Box<TaskEnd>> {
        let too_large = |what: &str, length: usize| {
            let code = Code::OutputTooLarge;
            let message = format!("{what} has {length} bytes, and a run's has at most {bytes_max}");
            Box::new(TaskEnd::failed(code.as_str(), code.origin().as_str(), message, Again::Never))
        };
        let is_over = |text: &JsonText| text.as_str().len() as u64 > bytes_max;
        if is_over(output) {
            return Err(too_large("the output", output.as_str().len()));
        }
        let value: Value = serde_json::from_str(output.as_str()).unwrap_or_default();
        if !value.is_object() && data.is_none() {
            return Ok(Output { value: Arc::new(value), data: None });
        }
        let mut merged = Value::clone(&self.data);
        if let Some(Ok(Value::Object(after))) = data.map(|data| serde_json::from_str(data.as_str())) {
            let empty = Map::new();
            let before = self.befores.get(&step).and_then(|before| before.as_object()).unwrap_or(&empty);
            let difference = Difference::between(before, after);
            if let Value::Object(merged) = &mut merged {
                difference.apply(merged);
            }
        }
        if value.is_object() {
            merge(&mut merged, value.clone());
        }
        let text = JsonText::of(&merged);
        if is_over(&text) {
            return Err(too_large("the data with it", text.as_str().len()));
        }
        Ok(Output { value: Arc::new(value), data: Some((Arc::new(merged), text)) })
    }

    /// Who has it after what is stored now.
    pub(in crate::jobs) fn hold(&self, now: Timestamp, is_idle: bool) -> Hold {
        match self.plan.rest() {
            Rest::Ended => Hold::Ended,
            Rest::Until(due) if is_idle => Hold::Until(due),
            Rest::Busy if is_idle && self.is_draining => Hold::Until(now),
            Rest::Until(_) | Rest::Busy => Hold::Keep,
        }
    }

    /// The text of the data, where it changed since it was stored.
    pub(super) fn take_data(&mut self) -> Option<JsonText> {
        self.data_text.take()
    }

    /// What is to be stored.
    pub(in crate::jobs) fn saved(&mut self, worker: WorkerId, data: Option<Payload>, hold: Hold) -> RunSaved {
        let plan::Changes { steps, events } = self.plan.take_changes();
        let deliveries = if hold == Hold::Ended { self.deliveries() } else { Vec::new() };
        RunSaved {
            id: self.run.id,
            worker,
            status: self.plan.status(),
            data,
            // Before the end, too: it is how a plan that is made anew knows that it only lets things end.
            error: self.plan.error().cloned(),
            started_at: self.plan.started_at(),
            ended_at: self.plan.ended_at(),
            hold,
            steps,
            events,
            deliveries,
            clears_requests: std::mem::take(&mut self.clears_requests),
        }
    }

    fn deliveries(&self) -> Vec<Delivery> {
        let status = self.plan.status();
        let at = self.plan.ended_at().unwrap_or(self.run.created_at);
        let wanted =
            self.revision.definition.notify.iter().enumerate().filter(|(_, notify)| notify.on.contains(&status));
        let body = || self.notification(status, at);
        wanted
            .map(|(index, notify)| Delivery {
                id: DeliveryId::generate(),
                job: self.run.job.clone(),
                run_id: self.run.id,
                url: notify.url.clone(),
                notify_index: u32::try_from(index).unwrap_or(u32::MAX),
                revision: self.run.revision,
                body: body(),
                status: DeliveryStatus::Retrying,
                attempts: Vec::new(),
                tries: 0,
                due_at: Some(at),
                created_at: at,
                delivered_at: None,
            })
            .collect()
    }

    fn notification(&self, status: RunStatus, at: Timestamp) -> String {
        let with = |data: Value| {
            json!({
                "type": format!("run.{}", status.as_str()),
                "timestamp": at,
                "data": {
                    "run_id": self.run.id, "job": self.run.job, "revision": self.run.revision, "status": status,
                    "error": self.plan.error(), "created_at": self.run.created_at,
                    "started_at": self.plan.started_at(), "ended_at": at, "data": data,
                },
            })
            .to_string()
        };
        let whole = with(Value::clone(&self.data));
        if whole.len() <= NOTIFICATION_BYTES_MAX { whole } else { with(Value::Null) }
    }
}

/// A template can't be filled in: the same would come of it again.
fn template_failed(error: &TemplateError) -> StepError {
    StepError {
        code: "template-failed".to_owned(),
        message: format!("{}: {}", error.path, error.message),
        origin: Code::BadRequest.origin().as_str().to_owned(),
        step: None,
        details: None,
    }
}

/// A time that is too far away to be told is as good as never.
pub(in crate::jobs) fn later(at: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
