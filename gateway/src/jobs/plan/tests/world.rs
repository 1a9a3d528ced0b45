//! A world for a plan to run in: what its steps do is written down beforehand, by step and try, so that neither the order of
//! ends nor a crash changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::error::FieldError;
use crate::jobs::plan::{Action, Event, Graph, Plan, Rest, apply};
use crate::jobs::runner::Again;
use crate::model::job::{
    Definition, HttpStep, Payload, RetryPolicy, Run, RunEvent, RunStatus, RunStep, StepDefinition, StepError, StepId,
    StepKind, StepStatus, WaitStep, WasmStep,
};
use crate::model::{JsonText, Limits, RunId};

/// How long an interval, a wait or a circuit takes here.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// No run of these sizes needs as many moves: one that does never ends.
const MOVES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Wasm,
    Http,
    Wait,
}

/// How a step ends when it has failed as often as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Completes,
    FailsForGood,
    Invalid,
}

/// A step, and what it does.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) kind: Kind,
    /// By places; `None`: the step after it.
    pub(super) next: Option<Vec<usize>>,
    /// Of wasm.
    pub(super) routes: Option<Vec<usize>>,
    /// `when` is not true.
    pub(super) is_skipped: bool,
    /// How often it meets an open circuit before it is tried.
    pub(super) parks: usize,
    /// How often it fails, worth another attempt, before its ending.
    pub(super) failures: u32,
    pub(super) ending: Ending,
    /// What a wasm step names when it completes.
    pub(super) names: Option<Vec<String>>,
}

impl Script {
    pub(super) fn new(kind: Kind, next: Option<Vec<usize>>) -> Self {
        Self {
            kind,
            next,
            routes: None,
            is_skipped: false,
            parks: 0,
            failures: 0,
            ending: Ending::Completes,
            names: None,
        }
    }

    /// A wasm step that names these.
    pub(super) fn naming(routes: Option<Vec<usize>>, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Self { routes, names: Some(names), ..Self::new(Kind::Wasm, Some(Vec::new())) }
    }
}

pub(super) fn id(place: usize) -> String {
    format!("s{place}")
}

fn step_id(place: usize) -> StepId {
    id(place).parse().unwrap()
}

pub(super) fn definition(scripts: &[Script]) -> Definition {
    let ids = |places: &Vec<usize>| places.iter().map(|&place| step_id(place)).collect::<Vec<_>>();
    let step = |(place, script): (usize, &Script)| StepDefinition {
        id: step_id(place),
        kind: match script.kind {
            Kind::Wasm => StepKind::Wasm(WasmStep {
                module: "rules@1.0.0".parse().unwrap(),
                function: "run".to_owned(),
                input: None,
                env: BTreeMap::new(),
                limits: Limits { fuel: None, memory_bytes: None, timeout_ms: None },
                routes: script.routes.as_ref().map(ids),
            }),
            Kind::Http => StepKind::Http(HttpStep {
                method: "GET".to_owned(),
                url: "https://example.com/".to_owned(),
                headers: BTreeMap::new(),
                body: None,
                success: None,
            }),
            Kind::Wait => StepKind::Wait(WaitStep { duration_ms: Some(1_000.into()), until: None }),
        },
        when: None,
        next: script.next.as_ref().map(ids),
        retry: None,
        timeout_ms: None,
    };
    Definition {
        name: "job".parse().unwrap(),
        description: None,
        retry: RetryPolicy {
            max_attempts: ATTEMPTS_MAX,
            initial_interval_ms: 1_000,
            multiplier: 1.0,
            max_interval_ms: 1_000,
            jitter: false,
        },
        env: BTreeMap::new(),
        steps: scripts.iter().enumerate().map(step).collect(),
        hook: None,
        notify: Vec::new(),
    }
}

/// One run, its store, and what goes on outside.
pub(super) struct World {
    pub(super) scripts: Vec<Script>,
    pub(super) graph: Graph,
    pub(super) plan: Plan,
    /// What a crash leaves.
    pub(super) stored: Run,
    pub(super) events: Vec<RunEvent>,
    pub(super) now: Timestamp,
    pub(super) in_flight: BTreeSet<usize>,
    /// Starts in their order, those after a crash too.
    pub(super) starts: Vec<usize>,
    pub(super) ends: Vec<RunStatus>,
    pub(super) canceled: Vec<usize>,
    parked: Vec<usize>,
}

impl World {
    /// A run that is queued.
    pub(super) fn new(scripts: &[Script]) -> Self {
        let graph = Graph::of(&definition(scripts));
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let stored = Run {
            id: RunId::generate(),
            job: "job".parse().unwrap(),
            revision: 1,
            status: RunStatus::Queued,
            trigger: Payload::Inline(JsonText::null()),
            data: Payload::Inline(JsonText::null()),
            error: None,
            steps: Plan::first_steps(&graph),
            last_event: 0,
            cancel_requested: false,
            created_at: now,
            started_at: None,
            ended_at: None,
            traceparent: None,
        };
        Self {
            scripts: scripts.to_vec(),
            plan: Plan::of(&stored),
            graph,
            stored,
            events: Vec::new(),
            now,
            in_flight: BTreeSet::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            canceled: Vec::new(),
            parked: vec![0; scripts.len()],
        }
    }

    /// One that has begun.
    pub(super) fn begun(scripts: &[Script]) -> Self {
        let mut world = Self::new(scripts);
        world.apply(Event::Begin { at: world.now });
        world
    }

    /// One that went to its end, what began first ending first.
    pub(super) fn ended(scripts: &[Script]) -> Self {
        let mut world = Self::begun(scripts);
        world.finish();
        world
    }

    /// Applies an event and does what is to be done, as the worker does it, in order.
    pub(super) fn apply(&mut self, event: Event) {
        let mut open = std::collections::VecDeque::from(self.told(event));
        while let Some(action) = open.pop_front() {
            match action {
                Action::Start(step) => {
                    let event = self.answer(step);
                    if matches!(event, Event::Started { .. }) {
                        self.in_flight.insert(step);
                    }
                    open.extend(self.told(event));
                }
                Action::Cancel(step) => {
                    self.in_flight.remove(&step);
                    self.canceled.push(step);
                }
                Action::End(status) => self.ends.push(status),
            }
        }
        assert_eq!(self.in_flight, self.running(), "what runs is what the plan takes for running");
    }

    /// The plan's answer, held against the rules that hold whatever happens.
    #[expect(clippy::needless_pass_by_value, reason = "an event is made for the call")]
    fn told(&mut self, event: Event) -> Vec<Action> {
        let before = self.plan.clone();
        let actions = apply(&self.graph, &mut self.plan, event.clone());
        let is_retry = matches!(event, Event::RetryRequested { .. });
        for (was, is) in before.steps().iter().zip(self.plan.steps()) {
            if was.status == StepStatus::Completed {
                assert_eq!(was, is, "a step completes once, and stays as it is: {event:?}");
            }
        }
        if before.status().is_end() && !is_retry {
            assert_eq!(actions, [], "after the end nothing starts: {event:?}");
            assert_eq!((before.steps(), before.last_event()), (self.plan.steps(), self.plan.last_event()));
        }
        for action in &actions {
            if let Action::Start(step) = action {
                self.check_start(*step);
                self.starts.push(*step);
            }
        }
        actions
    }

    fn check_start(&self, step: usize) {
        let held = &self.plan.steps()[step];
        assert_eq!((held.status, held.is_taken, held.due_at), (StepStatus::Pending, true, None));
        assert!(self.plan.error().is_none(), "nothing starts in a run that fails");
        for (other, found) in self.plan.steps().iter().enumerate() {
            let is_live = found.is_taken && matches!(found.status, StepStatus::Pending | StepStatus::Running);
            assert!(!is_live || !may_follow(&self.scripts, other, step), "{other} may still lead to {step}");
        }
    }

    /// What comes of a start.
    fn answer(&mut self, step: usize) -> Event {
        let (at, script) = (self.now, &self.scripts[step]);
        if script.is_skipped && self.plan.steps()[step].attempts.is_empty() {
            return Event::Skipped { step, at };
        }
        match script.kind {
            Kind::Wait => Event::Waiting { step, until: at + INTERVAL, at },
            Kind::Wasm | Kind::Http => Event::Started { step, at },
        }
    }

    /// Ends the attempt that runs at a step, as it is written.
    pub(super) fn end(&mut self, step: usize) {
        assert!(self.in_flight.remove(&step), "{step} is not in flight");
        let (at, script) = (self.now, self.scripts[step].clone());
        let failure = |again| Event::Failed { step, error: error("broken"), again, random: 0.5, at };
        let event = if self.parked[step] < script.parks {
            self.parked[step] += 1;
            Event::Parked { step, until: at + INTERVAL, at }
        } else if self.plan.steps()[step].tries < script.failures {
            failure(Again::Policy)
        } else {
            match script.ending {
                Ending::Completes => {
                    Event::Completed { step, output: Some(output(step)), next: script.names.clone(), at }
                }
                Ending::FailsForGood => failure(Again::Never),
                Ending::Invalid => Event::Invalid { step, errors: findings(step), at },
            }
        };
        self.apply(event);
    }

    /// Lets time pass, to what is due next.
    pub(super) fn pass(&mut self) -> bool {
        let Some(due_at) = self.plan.due_at().filter(|_| !self.plan.status().is_end()) else { return false };
        self.now = self.now.max(due_at);
        self.apply(Event::Due { now: self.now });
        true
    }

    /// Stores what changed, as one transaction.
    pub(super) fn save(&mut self) {
        let changes = self.plan.take_changes();
        for step in changes.steps {
            let held = self.stored.steps.iter_mut().find(|held| held.id == step.id).unwrap();
            *held = step;
        }
        self.events.extend(changes.events);
        self.stored.status = self.plan.status();
        self.stored.error = self.plan.error().cloned();
        self.stored.started_at = self.plan.started_at();
        self.stored.ended_at = self.plan.ended_at();
        self.stored.last_event = self.plan.last_event();
    }

    /// Loses what was not stored, and everything in flight; another worker goes on, as it does.
    pub(super) fn crash(&mut self) {
        self.plan = Plan::of(&self.stored);
        self.in_flight.clear();
        let at = self.now;
        // What was running is in flight no more; the check after an event would look for it.
        let mut open = self.told(Event::Interrupted { at });
        open.retain(|action| matches!(action, Action::Start(_) | Action::End(_)));
        for action in open {
            match action {
                Action::Start(step) => {
                    let event = self.answer(step);
                    if matches!(event, Event::Started { .. }) {
                        self.in_flight.insert(step);
                    }
                    self.apply(event);
                }
                Action::End(status) => self.ends.push(status),
                Action::Cancel(_) => {}
            }
        }
        self.apply(Event::Begin { at });
        self.apply(Event::Due { now: at });
    }

    /// Goes on until the run has ended.
    pub(super) fn finish(&mut self) {
        for _ in 0..MOVES_MAX {
            if self.plan.rest() == Rest::Ended {
                return self.save();
            }
            match self.in_flight.first().copied() {
                Some(step) => self.end(step),
                None => assert!(self.pass(), "nothing runs, nothing is due, and the run has not ended"),
            }
        }
        panic!("the run does not end");
    }

    /// Makes moves as they are drawn: an end, time, a store, a crash.
    pub(super) fn wander(&mut self, draws: &[u16], mut crashes: usize) {
        for &draw in draws {
            if self.plan.status().is_end() {
                return;
            }
            let (which, pick) = (draw % 8, usize::from(draw / 8));
            match which {
                0 | 1 => self.save(),
                2 => {
                    self.pass();
                }
                3 if crashes > 0 => {
                    crashes -= 1;
                    self.crash();
                }
                _ => {
                    if let Some(&step) = self.in_flight.iter().nth(pick % self.in_flight.len().max(1)) {
                        self.end(step);
                    }
                }
            }
        }
    }

    pub(super) fn step(&self, place: usize) -> &RunStep {
        &self.plan.steps()[place]
    }

    pub(super) fn statuses(&self) -> Vec<StepStatus> {
        self.plan.steps().iter().map(|step| step.status).collect()
    }

    fn running(&self) -> BTreeSet<usize> {
        let runs = |step: &RunStep| step.status == StepStatus::Running && step.due_at.is_none();
        self.plan.steps().iter().enumerate().filter(|(_, step)| runs(step)).map(|(place, _)| place).collect()
    }
}

pub(super) fn error(code: &str) -> StepError {
    StepError { code: code.to_owned(), message: String::new(), origin: "guest".to_owned(), step: None, details: None }
}

pub(super) fn output(step: usize) -> Payload {
    Payload::Inline(JsonText::of(&serde_json::json!({ "of": step })))
}

pub(super) fn findings(step: usize) -> Vec<FieldError> {
    vec![
        FieldError::new(format!("/{step}"), "wrong", "it is wrong"),
        FieldError::new("/b", "required", "it is missing"),
    ]
}

/// What a step leads to unless it says otherwise.
pub(super) fn default_next(scripts: &[Script], step: usize) -> Vec<usize> {
    let after = || (step + 1 < scripts.len()).then_some(step + 1).into_iter().collect();
    scripts[step].next.clone().unwrap_or_else(after)
}

/// What a wasm step may name.
pub(super) fn allowed(script: &Script) -> Vec<usize> {
    if script.kind != Kind::Wasm {
        return Vec::new();
    }
    script.routes.clone().or_else(|| script.next.clone()).unwrap_or_default()
}

/// Whether there is a way from one step to another, by the scripts alone.
pub(super) fn may_follow(scripts: &[Script], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(step) = open.pop() {
        for next in default_next(scripts, step).into_iter().chain(allowed(&scripts[step])) {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}
