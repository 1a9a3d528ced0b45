//! The task of one run: attempts, their ends, and what is stored of them.
//!
//! Owns the order: stored, then begun; ended, then stored. Invariant: dropped at any moment, what is stored is enough to go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::context::{Held, Next, State, later};
use super::session::Session;
use super::{REVISION_AGAIN, Worker, revision_of};
use crate::blob;
use crate::error::Code;
use crate::jobs::plan::Event;
use crate::jobs::runner::{Again, TaskEnd};
use crate::model::job::{AttemptStatus, RunStatus, StepError, StepStatus};
use crate::store::{HeldRun, Hold, RunChange, RunChanged, RunSaved};

/// Where a run is driven from.
pub(in crate::jobs) enum Begun {
    /// Made here just now; its first attempts are stored as begun.
    New(Box<State>, Next),
    /// As it was stored.
    Claimed(Box<HeldRun>),
}

impl Begun {
    pub(super) fn id(&self) -> crate::model::RunId {
        match self {
            Self::New(state, _) => state.run.id,
            Self::Claimed(held) => held.run.id,
        }
    }
}

/// Drives a run until it ends, waits for a time, or is another's.
pub(super) async fn run(worker: &Arc<Worker>, session: &Session, begun: Begun, cancel: &Notify) {
    let (state, next, is_stored) = match begun {
        Begun::New(state, next) => (*state, next, true),
        Begun::Claimed(held) => match claimed(worker, session, *held).await {
            Some((state, next)) => (state, next, false),
            None => return,
        },
    };
    let mut driver = Driver { worker, session, state, attempts: JoinSet::new(), running: HashMap::new() };
    driver.drive(next, is_stored, cancel).await;
}

/// A run as it was stored, with what it holds; told what happened meanwhile.
async fn claimed(worker: &Worker, session: &Session, held: HeldRun) -> Option<(State, Next)> {
    let Some(revision) = revision_of(worker, &held).await else {
        let again = later(worker.clock.now(), REVISION_AGAIN);
        let _ = worker.committer.commit(vec![RunChange::Save(Box::new(unchanged(session, &held, again)))]).await;
        return None;
    };
    let values = values(worker, &held).await;
    if held.run.status.is_end() && !held.retry_requested {
        // Nothing is left to do, and its end is not told a second time.
        let ended =
            RunSaved { hold: Hold::Ended, clears_requests: true, ..unchanged(session, &held, worker.clock.now()) };
        let _ = worker.committer.commit(vec![RunChange::Save(Box::new(ended))]).await;
        return None;
    }
    let HeldRun { run, retry_requested } = held;
    let (was, wants_end) = (run.status, run.cancel_requested);
    let is_cut = run.steps.iter().any(|step| step.status == StepStatus::Running && step.due_at.is_none());
    let (mut state, mut next) = (State::new(run, revision, values), Next::default());
    state.clears_requests = retry_requested || wants_end;
    let at = worker.clock.now();
    if is_cut {
        state.apply(Event::Interrupted { at }, at, &mut next);
    }
    if was.is_end() {
        if retry_requested {
            state.apply(Event::RetryRequested { at }, at, &mut next);
        }
    } else if wants_end {
        state.apply(Event::CancelRequested { at }, at, &mut next);
    } else {
        state.apply(Event::Begin { at }, at, &mut next);
        state.apply(Event::Due { now: at }, at, &mut next);
    }
    Some((state, next))
}

/// Lets a run go as it is.
fn unchanged(session: &Session, held: &HeldRun, again: jiff::Timestamp) -> RunSaved {
    let run = &held.run;
    RunSaved {
        id: run.id,
        worker: session.id,
        status: run.status,
        data: None,
        error: run.error.clone(),
        started_at: run.started_at,
        ended_at: run.ended_at,
        hold: Hold::Until(again),
        steps: Vec::new(),
        events: Vec::new(),
        deliveries: Vec::new(),
        clears_requests: false,
    }
}

/// Everything that a run holds. What is gone or damaged ends the run, which is told when its next step would begin.
async fn values(worker: &Worker, held: &HeldRun) -> Held {
    let run = &held.run;
    let mut found = Held { trigger: Arc::default(), data: Arc::default(), outputs: HashMap::new(), poison: None };
    let load = async {
        found.trigger = worker.payloads.value_whenever(run.id, &run.trigger).await?;
        found.data = worker.payloads.value_whenever(run.id, &run.data).await?;
        for (index, step) in run.steps.iter().enumerate() {
            if let Some(output) = &step.output {
                found.outputs.insert(index, worker.payloads.value_whenever(run.id, output).await?);
            }
        }
        Ok::<_, blob::Error>(())
    };
    if let Err(error) = load.await {
        tracing::error!(run_id = %run.id, error = &error as &dyn std::error::Error, "what a run holds is gone or damaged");
        let code = Code::Integrity;
        found.poison = Some(StepError {
            code: code.as_str().to_owned(),
            message: "what the run holds is gone, or is not what was stored".to_owned(),
            origin: code.origin().as_str().to_owned(),
            step: None,
            details: None,
        });
    }
    found
}

struct Driver<'a> {
    worker: &'a Arc<Worker>,
    session: &'a Session,
    state: State,
    attempts: JoinSet<(usize, TaskEnd)>,
    running: HashMap<usize, AbortHandle>,
}

impl Driver<'_> {
    async fn drive(&mut self, mut next: Next, mut is_stored: bool, cancel: &Notify) {
        loop {
            for step in std::mem::take(&mut next.cuts) {
                if let Some(attempt) = self.running.remove(&step) {
                    attempt.abort();
                }
            }
            let is_idle = self.running.is_empty() && next.tasks.is_empty();
            let hold = self.state.hold(self.worker.clock.now(), is_idle);
            if !std::mem::take(&mut is_stored) && !self.store(hold).await {
                return;
            }
            if hold != Hold::Keep {
                return;
            }
            self.begin(next);
            next = self.happens(cancel).await;
        }
    }

    /// Begins the attempts that are stored as begun.
    fn begin(&mut self, next: Next) {
        for (step, task) in next.tasks {
            let runner = Arc::clone(&self.worker.runner);
            let attempt = self.attempts.spawn(async move { (step, runner.run(task).await) });
            self.running.insert(step, attempt);
        }
    }

    /// Waits for the next thing that happens.
    async fn happens(&mut self, cancel: &Notify) -> Next {
        let mut next = Next::default();
        let due = self.state.plan.due_at();
        let left = due.map(|due| Duration::try_from(due.duration_since(self.worker.clock.now())).unwrap_or_default());
        tokio::select! {
            Some(ended) = self.attempts.join_next_with_id() => match ended {
                Ok((_, (step, end))) => self.ended(step, end, &mut next).await,
                Err(error) if error.is_cancelled() => {}
                Err(error) => self.panicked(&error, &mut next),
            },
            () = cancel.notified() => {
                self.state.clears_requests = true;
                let at = self.worker.clock.now();
                self.state.apply(Event::CancelRequested { at }, at, &mut next);
            }
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {
                let at = self.worker.clock.now();
                self.state.apply(Event::Due { now: at }, at, &mut next);
            }
            () = self.worker.draining.cancelled(), if !self.state.is_draining => self.state.is_draining = true,
        }
        next
    }

    async fn ended(&mut self, step: usize, end: TaskEnd, next: &mut Next) {
        self.running.remove(&step);
        let bytes_max = self.worker.config.data_bytes_max;
        let jobs = self.worker.metrics.jobs();
        match end {
            TaskEnd::Completed { output, data, next: route } => {
                match self.state.output(step, (&output, data.as_ref()), bytes_max) {
                    Ok(found) => {
                        let payload = self.worker.payloads.put_whenever(self.state.run.id, &output).await;
                        let at = self.worker.clock.now();
                        jobs.attempt_ended(AttemptStatus::Completed.as_str());
                        let event = Event::Completed { step, output: Some(payload), next: route, at };
                        self.state.complete(event, (step, found), at, next);
                    }
                    Err(end) => Box::pin(self.ended(step, *end, next)).await,
                }
            }
            TaskEnd::Invalid(errors) => {
                jobs.attempt_ended(AttemptStatus::Invalid.as_str());
                let at = self.worker.clock.now();
                self.state.apply(Event::Invalid { step, errors, at }, at, next);
            }
            TaskEnd::Failed { error, again } => {
                jobs.attempt_ended(AttemptStatus::Failed.as_str());
                let (at, random) = (self.worker.clock.now(), fraction());
                self.state.apply(Event::Failed { step, error, again, random, at }, at, next);
            }
            TaskEnd::Parked { after, .. } => {
                jobs.attempt_ended("parked");
                let at = self.worker.clock.now();
                self.state.apply(Event::Parked { step, until: later(at, after), at }, at, next);
            }
        }
    }

    /// A runner never panics for what a step does: it is ours, and the same would come of it.
    fn panicked(&mut self, error: &tokio::task::JoinError, next: &mut Next) {
        tracing::error!(run_id = %self.state.run.id, %error, "an attempt at a step panicked");
        let Some(step) = self.running.iter().find(|(_, attempt)| attempt.id() == error.id()).map(|(step, _)| *step)
        else {
            return;
        };
        self.running.remove(&step);
        let code = Code::Internal;
        let error = StepError {
            code: code.as_str().to_owned(),
            message: "something went wrong here".to_owned(),
            origin: code.origin().as_str().to_owned(),
            step: None,
            details: None,
        };
        let at = self.worker.clock.now();
        self.state.apply(Event::Failed { step, error, again: Again::Never, random: 0.0, at }, at, next);
    }

    /// Stores what changed; tells whether the run is still this session's.
    async fn store(&mut self, hold: Hold) -> bool {
        let data = match self.state.take_data() {
            Some(text) => Some(self.worker.payloads.put_whenever(self.state.run.id, &text).await),
            None => None,
        };
        let saved = self.state.saved(self.session.id, data, hold);
        let is_same =
            saved.steps.is_empty() && saved.events.is_empty() && saved.data.is_none() && !saved.clears_requests;
        if is_same && hold == Hold::Keep {
            return true;
        }
        let id = saved.id;
        let (has_deliveries, told) = (!saved.deliveries.is_empty(), Told::of(&saved));
        match self.worker.committer.commit(vec![RunChange::Save(Box::new(saved))]).await.as_deref() {
            Ok([RunChanged::Done]) => {}
            Ok(_) => {
                tracing::warn!(run_id = %id, "a run is another session's by now: what was done here is not recorded");
                return false;
            }
            // It was told; the run is claimed again when this session ends.
            Err(_) => return false,
        }
        told.count(self.worker);
        self.worker.watchers.tell(id);
        if has_deliveries {
            self.worker.wake_deliveries.notify_one();
        }
        true
    }
}

/// What of a change is counted, once it is stored.
pub(in crate::jobs) struct Told {
    steps: Vec<&'static str>,
    ended: Option<RunStatus>,
}

impl Told {
    pub(in crate::jobs) fn of(saved: &RunSaved) -> Self {
        let is_end = |status: StepStatus| !matches!(status, StepStatus::Pending | StepStatus::Running);
        let steps = saved.steps.iter().map(|step| step.status).filter(|status| is_end(*status));
        Self {
            steps: steps.map(StepStatus::as_str).collect(),
            ended: (saved.hold == Hold::Ended).then_some(saved.status),
        }
    }

    pub(in crate::jobs) fn count(self, worker: &Worker) {
        let jobs = worker.metrics.jobs();
        self.steps.into_iter().for_each(|status| jobs.step_ended(status));
        if let Some(status) = self.ended {
            jobs.run_ended(status.as_str());
        }
    }
}

/// From 0 to 1.
pub(in crate::jobs) fn fraction() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}
