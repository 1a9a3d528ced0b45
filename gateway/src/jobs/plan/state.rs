//! The state of a run.
//!
//! Owns what is known of each step, and what of it is not stored yet. Invariant: all that matters is in the steps as
//! they are stored; only which steps are being started is forgotten, and they are started again.

use jiff::Timestamp;

use super::graph::{Bits, Graph};
use crate::model::job::{Attempt, AttemptStatus, Run, RunEvent, RunStatus, RunStep, StepError, StepId, StepStatus};

/// A run as far as its way is concerned.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) status: RunStatus,
    pub(super) error: Option<StepError>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) steps: Vec<RunStep>,
    /// Started by an action, and not told of since.
    pub(super) starting: Bits,
    last_event: u64,
    changed: Bits,
    events: Vec<RunEvent>,
}

/// What a plan has that is not stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Steps that changed, whole.
    pub steps: Vec<RunStep>,
    /// For listeners.
    pub events: Vec<RunEvent>,
}

/// Whether anything is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// An attempt runs, or a step is being started.
    Busy,
    /// Nothing, until a retry or the end of a wait is due.
    Until(Timestamp),
    /// The run has ended.
    Ended,
}

impl Plan {
    /// The plan of a stored run. What was running when it was stored runs still, as far as the plan knows: after a crash
    /// `Event::Interrupted` is next, and `Event::Begin` goes on with everything else.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self {
            status: run.status,
            error: run.error.clone(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            steps: run.steps.clone(),
            starting: Bits::new(run.steps.len()),
            last_event: run.last_event,
            changed: Bits::new(run.steps.len()),
            events: Vec::new(),
        }
    }

    /// The steps of a run that has not begun.
    #[must_use]
    pub fn first_steps(graph: &Graph) -> Vec<RunStep> {
        (0..graph.len()).filter_map(|index| graph.id(index)).map(|id| RunStep::untouched(id.clone())).collect()
    }

    /// How far the run is.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        self.status
    }

    /// Why it failed. There is one before it has ended, too: what is in flight ends first.
    #[must_use]
    pub const fn error(&self) -> Option<&StepError> {
        self.error.as_ref()
    }

    /// When its first step began.
    #[must_use]
    pub const fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    #[must_use]
    pub const fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// All steps, as the definition has them.
    #[must_use]
    pub fn steps(&self) -> &[RunStep] {
        &self.steps
    }

    /// One step.
    #[must_use]
    pub fn step(&self, step: usize) -> Option<&RunStep> {
        self.steps.get(step)
    }

    /// The id of the last event.
    #[must_use]
    pub const fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Which attempt the next one at a step is, from 1.
    #[must_use]
    pub fn next_attempt(&self, step: usize) -> u32 {
        self.steps.get(step).map_or(1, |step| attempts(step).saturating_add(1))
    }

    /// Whether the run may be let go.
    #[must_use]
    pub fn rest(&self) -> Rest {
        if self.status.is_end() {
            return Rest::Ended;
        }
        if (0..self.steps.len()).any(|index| self.starting.has(index) || self.is_in_flight(index)) {
            return Rest::Busy;
        }
        self.due_at().map_or(Rest::Busy, Rest::Until)
    }

    /// When the next retry or the end of a wait is due.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.steps.iter().filter(|step| is_live(step)).filter_map(|step| step.due_at).min()
    }

    /// What is not stored yet; from now on it counts as stored.
    #[must_use]
    pub fn take_changes(&mut self) -> Changes {
        let changed = std::mem::replace(&mut self.changed, Bits::new(self.steps.len()));
        let steps = self.steps.iter().enumerate().filter(|(index, _)| changed.has(*index));
        Changes { steps: steps.map(|(_, step)| step.clone()).collect(), events: std::mem::take(&mut self.events) }
    }

    /// Whether an attempt at a step runs. A wait runs nowhere.
    pub(super) fn is_in_flight(&self, index: usize) -> bool {
        self.steps.get(index).is_some_and(|step| step.status == StepStatus::Running && step.due_at.is_none())
    }

    /// Whether the run only waits for what is in flight, because a step failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.error.is_some()
    }

    /// A step, to be changed.
    pub(super) fn change(&mut self, index: usize) -> Option<&mut RunStep> {
        self.changed.add(index);
        self.steps.get_mut(index)
    }

    /// Gives a step a status, and tells of it.
    pub(super) fn set_status(&mut self, index: usize, status: StepStatus, at: Timestamp) {
        let Some(step) = self.change(index) else { return };
        step.status = status;
        let (id, attempts) = (step.id.clone(), attempts(step));
        self.tell(Some(id), status.as_str(), attempts, at);
    }

    /// Gives the run a status, and tells of it.
    pub(super) fn set_run_status(&mut self, status: RunStatus, at: Timestamp) {
        self.status = status;
        self.ended_at = status.is_end().then_some(at);
        self.tell(None, status.as_str(), 0, at);
    }

    /// Begins an attempt, unless one runs.
    pub(super) fn begin_attempt(&mut self, index: usize, at: Timestamp) {
        self.started_at.get_or_insert(at);
        let Some(step) = self.change(index) else { return };
        let is_running = step.attempts.last().is_some_and(|last| last.status == AttemptStatus::Running);
        if !is_running {
            let number = attempts(step).saturating_add(1);
            let status = AttemptStatus::Running;
            step.attempts.push(Attempt { number, status, started_at: at, ended_at: None, error: None });
        }
    }

    /// Ends the attempt that runs, if one does.
    pub(super) fn end_attempt(&mut self, index: usize, status: AttemptStatus, error: Option<StepError>, at: Timestamp) {
        let Some(step) = self.change(index) else { return };
        if let Some(last) = step.attempts.last_mut().filter(|last| last.status == AttemptStatus::Running) {
            last.status = status;
            last.ended_at = Some(at);
            last.error = error;
        }
    }

    /// The place in the order of completion that is next.
    pub(super) fn next_completion(&self) -> u32 {
        self.steps.iter().filter_map(|step| step.completion).max().unwrap_or(0).saturating_add(1)
    }

    fn tell(&mut self, step: Option<StepId>, status: &str, attempts: u32, at: Timestamp) {
        self.last_event = self.last_event.saturating_add(1);
        self.events.push(RunEvent { id: self.last_event, step, status: status.to_owned(), attempts, at });
    }
}

/// Whether a step is taken and has not ended.
pub(super) fn is_live(step: &RunStep) -> bool {
    step.is_taken && matches!(step.status, StepStatus::Pending | StepStatus::Running)
}

pub(super) fn attempts(step: &RunStep) -> u32 {
    u32::try_from(step.attempts.len()).unwrap_or(u32::MAX)
}
