//! What every backend has to do with who works at which run: the contract's part on claims and sessions.
//!
//! A store that is one process's has one session at a time, one that is shared has many: [`begin`] ends the others of the
//! former. What holds of both is tried here with one session after the other.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::contract_jobs::at;
use super::contract_runs::{create, ended, new_run, saved, step, store_of};
use super::{Beat, Hold, NewRun, RunChange, RunChanged, RunSaved, Store, WorkerId};
use crate::model::RunId;
use crate::model::job::{RunStatus, RunStep, StepStatus};

/// As [`super::contract::contract_tests`], which calls it.
macro_rules! contract_tests {
    ($open:path) => {
        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

            #[test]
            fn a_run_is_one_sessions_whatever_becomes_of_sessions(
                moves in crate::store::contract_claims::any_moves()
            ) {
                tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
                    let (_kept, store) = $open().await;
                    crate::store::contract_claims::a_run_is_one_sessions(&store, moves).await;
                })
            }
        }
        crate::store::contract_claims::contract_tests!(@sentences $open,
            a_job_with_very_many_runs_keeps_no_other_waiting
            of_more_jobs_than_may_be_taken_those_that_wait_longest_are
            jobs_whose_runs_wait_hide_none_that_is_due
            a_run_is_claimed_when_it_is_due_with_all_that_was_stored
            what_is_claimed_together_is_claimed_once
            what_a_session_held_that_ended_is_the_next_ones
            a_session_that_is_over_takes_and_changes_nothing
            a_run_made_for_a_session_that_is_over_is_nobodys
            a_session_that_leaves_lets_go_at_once
            who_does_not_hold_a_run_changes_nothing_of_it
        );
    };
    (@sentences $open:path, $($property:ident)*) => {
        $(#[tokio::test]
        async fn $property() {
            let (_kept, store) = $open().await;
            crate::store::contract_claims::$property(&store).await;
        })*
    };
}
pub(crate) use contract_tests;

/// Longer than any test.
const LEASE_MS: u64 = 600_000;

/// A session.
pub(super) async fn begin(store: &dyn Store) -> WorkerId {
    let worker = WorkerId(Uuid::now_v7());
    assert_eq!(store.worker_beat(worker, LEASE_MS, true).await.unwrap(), Beat::Alive { cancel: Vec::new() });
    worker
}

/// The session after one that ended without a word.
pub(super) async fn next_after(store: &dyn Store, worker: WorkerId) -> WorkerId {
    // Where leases have an end, this one's is now; where they have none, the next session ends it.
    store.worker_beat(worker, 0, false).await.unwrap();
    begin(store).await
}

pub(super) async fn change(store: &dyn Store, changes: Vec<RunChange>) -> Vec<RunChanged> {
    store.change_runs(changes).await.unwrap()
}

async fn make(store: &dyn Store, news: &[NewRun]) {
    for batch in news.chunks(500) {
        let changed = change(store, batch.iter().map(create).collect()).await;
        assert!(changed.iter().all(|changed| *changed == RunChanged::Done));
    }
}

async fn claim(store: &dyn Store, worker: WorkerId, now: i64, max: u32) -> Vec<RunId> {
    let claimed = store.claim_runs(worker, at(now), max).await.unwrap();
    let mut ids: Vec<_> = claimed.into_iter().map(|held| held.run.id).collect();
    ids.sort_unstable();
    ids
}

fn ids(news: &[NewRun]) -> Vec<RunId> {
    news.iter().map(|new| new.id).collect()
}

pub(crate) async fn a_job_with_very_many_runs_keeps_no_other_waiting(store: &dyn Store) {
    let worker = begin(store).await;
    let many: Vec<_> = (0..10_000).map(|_| new_run("many", 1)).collect();
    let few: Vec<_> = (0..3).map(|second| new_run("few", 5 + second)).collect();
    make(store, &many).await;
    make(store, &few).await;
    // One of each in turn, in the order in which they were due, and then what is left.
    assert_eq!(claim(store, worker, 9, 4).await, [ids(&many[..2]), ids(&few[..2])].concat());
    assert_eq!(claim(store, worker, 9, 10).await, [ids(&many[2..11]), ids(&few[2..])].concat());
    assert_eq!(claim(store, worker, 9, 64).await, ids(&many[11..75]));
}

pub(crate) async fn of_more_jobs_than_may_be_taken_those_that_wait_longest_are(store: &dyn Store) {
    let worker = begin(store).await;
    // By name, the last waits longest.
    let news: Vec<_> = (0..30)
        .flat_map(|number| [1, 2].map(|later| new_run(&format!("job-{number:02}"), 100 * later - number)))
        .collect();
    make(store, &news).await;
    let mut taken = Vec::new();
    for _ in 0..6 {
        let claimed = store.claim_runs(worker, at(900), 10).await.unwrap();
        let mut jobs: Vec<_> = claimed.iter().map(|held| held.run.job.to_string()).collect();
        jobs.sort_unstable();
        jobs.dedup();
        assert_eq!((claimed.len(), jobs.len()), (10, 10));
        taken.push((claimed.iter().map(|held| held.run.created_at).max(), jobs));
    }
    let names = |range: std::ops::Range<usize>| range.map(|number| format!("job-{number:02}")).collect::<Vec<_>>();
    for (place, (latest, jobs)) in taken.into_iter().enumerate() {
        // Whose first was taken comes again when the others' firsts were.
        let from = 20 - place % 3 * 10;
        assert_eq!(jobs, names(from..from + 10), "the {place}th claim, {latest:?}");
    }
}

pub(crate) async fn jobs_whose_runs_wait_hide_none_that_is_due(store: &dyn Store) {
    let worker = begin(store).await;
    let waiting: Vec<_> = (0..1_500).map(|number| new_run(&format!("job-{number:04}"), 1_000)).collect();
    let due = new_run("zero", 1);
    make(store, &waiting).await;
    make(store, std::slice::from_ref(&due)).await;
    assert_eq!(claim(store, worker, 9, 64).await, [due.id]);
    assert_eq!(store.next_run_due().await.unwrap(), Some(at(1_000)));
}

pub(crate) async fn a_run_is_claimed_when_it_is_due_with_all_that_was_stored(store: &dyn Store) {
    let worker = begin(store).await;
    assert_eq!(store.next_run_due().await.unwrap(), None);
    let new = NewRun { worker: Some(worker), ..new_run("intake", 1) };
    make(store, std::slice::from_ref(&new)).await;
    assert_eq!((claim(store, worker, 99, 9).await, store.next_run_due().await.unwrap()), (Vec::new(), None));
    let waits = RunSaved {
        steps: vec![RunStep { status: StepStatus::Completed, is_taken: true, completion: Some(1), ..step("a") }],
        ..saved(new.id, worker, RunStatus::Running, Hold::Until(at(50)))
    };
    assert_eq!(change(store, vec![store_of(waits.clone())]).await, [RunChanged::Done]);
    assert_eq!(store.next_run_due().await.unwrap(), Some(at(50)));
    assert_eq!(claim(store, worker, 49, 9).await, []);
    // Who let it go does not hold it, also where nobody else does.
    assert_eq!(change(store, vec![store_of(waits.clone())]).await, [RunChanged::Lost]);
    let claimed = store.claim_runs(worker, at(50), 9).await.unwrap();
    assert_eq!(claimed[0].run, store.run(new.id).await.unwrap().unwrap());
    assert_eq!(claimed[0].run.steps, [step("z"), waits.steps[0].clone()]);
    assert_eq!(
        change(store, vec![store_of(ended(new.id, worker, RunStatus::Completed, 60))]).await,
        [RunChanged::Done]
    );
    assert_eq!((claim(store, worker, 99, 9).await, store.next_run_due().await.unwrap()), (Vec::new(), None));
}

pub(crate) async fn what_is_claimed_together_is_claimed_once(store: &dyn Store) {
    let mut workers = vec![begin(store).await];
    if store.shared().is_some() {
        workers.extend([begin(store).await, begin(store).await]);
    }
    let news: Vec<_> = (0..60).map(|number| new_run(["a", "b", "c"][number % 3], 1)).collect();
    make(store, &news).await;
    let mut all = Vec::new();
    // What another takes at the moment is passed over, so it may take some looks.
    for _ in 0..60 {
        let claims = workers.iter().cycle().take(6).map(|worker| claim(store, *worker, 9, 7));
        all.extend(futures_util::future::join_all(claims).await.concat());
    }
    all.sort_unstable();
    assert_eq!(all, ids(&news));
}

pub(crate) async fn what_a_session_held_that_ended_is_the_next_ones(store: &dyn Store) {
    let first = begin(store).await;
    let news: Vec<_> = (0..3).map(|_| new_run("intake", 1)).collect();
    let held = NewRun { worker: Some(first), ..new_run("intake", 1) };
    make(store, &news).await;
    make(store, std::slice::from_ref(&held)).await;
    assert_eq!(claim(store, first, 9, 2).await, ids(&news[..2]));
    let next = next_after(store, first).await;
    assert_eq!(claim(store, next, 9, 9).await, [ids(&news), vec![held.id]].concat());
    assert_eq!(store.worker_beat(first, LEASE_MS, false).await.unwrap(), Beat::Over);
    assert_eq!(store.worker_beat(next, LEASE_MS, false).await.unwrap(), Beat::Alive { cancel: Vec::new() });
}

pub(crate) async fn a_session_that_is_over_takes_and_changes_nothing(store: &dyn Store) {
    let first = begin(store).await;
    let (held, free) = (NewRun { worker: Some(first), ..new_run("intake", 1) }, new_run("intake", 1));
    make(store, &[held.clone(), free.clone()]).await;
    let before = store.run(held.id).await.unwrap();
    let next = next_after(store, first).await;
    // Before anybody took what it held, too.
    let late = ended(held.id, first, RunStatus::Completed, 5);
    assert_eq!(change(store, vec![store_of(late.clone())]).await, [RunChanged::Lost]);
    assert_eq!(claim(store, first, 9, 9).await, []);
    assert_eq!(store.worker_beat(first, LEASE_MS, false).await.unwrap(), Beat::Over);
    assert_eq!(store.run(held.id).await.unwrap(), before);
    assert_eq!(claim(store, next, 9, 9).await, ids(&[held.clone(), free]));
    assert_eq!(change(store, vec![store_of(late)]).await, [RunChanged::Lost]);
    assert_eq!(store.run(held.id).await.unwrap(), before);
    assert_eq!(change(store, vec![store_of(ended(held.id, next, RunStatus::Failed, 5))]).await, [RunChanged::Done]);
}

pub(crate) async fn a_run_made_for_a_session_that_is_over_is_nobodys(store: &dyn Store) {
    let first = begin(store).await;
    let next = next_after(store, first).await;
    let gone = begin_and_leave(store, next).await;
    let next = begin(store).await;
    let late = [first, gone].map(|worker| NewRun { worker: Some(worker), ..new_run("intake", 1) });
    make(store, &late).await;
    let unheld = ended(late[0].id, first, RunStatus::Completed, 5);
    assert_eq!(change(store, vec![store_of(unheld)]).await, [RunChanged::Lost]);
    assert_eq!(claim(store, next, 9, 9).await, ids(&late));
}

async fn begin_and_leave(store: &dyn Store, before: WorkerId) -> WorkerId {
    let worker = next_after(store, before).await;
    store.worker_left(worker).await.unwrap();
    worker
}

pub(crate) async fn a_session_that_leaves_lets_go_at_once(store: &dyn Store) {
    let first = begin(store).await;
    let held = NewRun { worker: Some(first), ..new_run("intake", 1) };
    make(store, std::slice::from_ref(&held)).await;
    store.worker_left(first).await.unwrap();
    assert_eq!(store.next_run_due().await.unwrap(), Some(at(1)));
    assert_eq!(store.worker_beat(first, LEASE_MS, false).await.unwrap(), Beat::Over);
    let next = begin(store).await;
    assert_eq!(claim(store, next, 9, 9).await, [held.id]);
}

pub(crate) async fn who_does_not_hold_a_run_changes_nothing_of_it(store: &dyn Store) {
    let worker = begin(store).await;
    let (own, free) = (NewRun { worker: Some(worker), ..new_run("intake", 1) }, new_run("intake", 1));
    make(store, &[own.clone(), free.clone()]).await;
    let before = store.run(free.id).await.unwrap();
    let stranger = WorkerId(Uuid::now_v7());
    // One that is refused keeps nothing else of the batch out.
    let batch = vec![
        store_of(ended(free.id, worker, RunStatus::Completed, 2)),
        store_of(ended(own.id, stranger, RunStatus::Canceled, 2)),
        store_of(ended(own.id, worker, RunStatus::Completed, 3)),
        store_of(ended(RunId::generate(), worker, RunStatus::Completed, 2)),
        store_of(ended(own.id, worker, RunStatus::Failed, 4)),
    ];
    let [lost, done] = [RunChanged::Lost, RunChanged::Done];
    assert_eq!(change(store, batch).await, [lost, lost, done, lost, lost]);
    assert_eq!(store.run(free.id).await.unwrap(), before);
    let ended = store.run(own.id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.ended_at), (RunStatus::Completed, Some(at(3))));
}

// --- A model ---

/// What sessions do. Numbers pick one of those that there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Move {
    /// A run is made, for a session or for nobody.
    Make { job: usize, by: Option<usize> },
    /// A session takes some.
    Claim { by: usize, max: u32 },
    /// A session writes of a run, and goes on, waits for some seconds, or ends it.
    Save { by: usize, run: usize, then: u8 },
    /// A session ends without a word, and another begins.
    Lose { which: usize },
    /// A session ends and says so, and another begins.
    Leave { which: usize },
    /// Time passes.
    Wait,
}

pub(crate) fn any_moves() -> impl Strategy<Value = Vec<Move>> {
    use proptest::option::of;
    let number = || 0..8_usize;
    let one = prop_oneof![
        4 => (number(), of(number())).prop_map(|(job, by)| Move::Make { job, by }),
        4 => (number(), 1..4_u32).prop_map(|(by, max)| Move::Claim { by, max }),
        6 => (number(), number(), 0..4_u8).prop_map(|(by, run, then)| Move::Save { by, run, then }),
        1 => number().prop_map(|which| Move::Lose { which }),
        1 => number().prop_map(|which| Move::Leave { which }),
        2 => Just(Move::Wait),
    ];
    vec(one, 1..40)
}

/// What has to be true of a run.
#[derive(Debug, Clone)]
struct Known {
    job: usize,
    holder: Option<WorkerId>,
    due: Option<i64>,
    status: RunStatus,
    changes: i64,
}

struct Model {
    now: i64,
    /// Those that live; then those that don't.
    living: Vec<WorkerId>,
    over: Vec<WorkerId>,
    runs: BTreeMap<RunId, Known>,
}

impl Model {
    /// A session, now and then one that is over.
    fn session(&self, number: usize) -> WorkerId {
        let all: Vec<_> = self.living.iter().chain(&self.over).copied().collect();
        all[number % all.len()]
    }

    fn lives(&self, worker: WorkerId) -> bool {
        self.living.contains(&worker)
    }

    fn end(&mut self, worker: WorkerId) {
        self.living.retain(|one| *one != worker);
        self.over.push(worker);
        self.runs.values_mut().filter(|run| run.holder == Some(worker)).for_each(|run| run.holder = None);
    }

    fn free(&self) -> Vec<RunId> {
        let is_free = |run: &Known| run.holder.is_none() && run.due.is_some_and(|due| due <= self.now);
        self.runs.iter().filter(|(_, run)| is_free(run)).map(|(id, _)| *id).collect()
    }

    async fn step(&mut self, store: &dyn Store, step: Move) {
        match step {
            Move::Make { job, by } => self.make(store, job, by).await,
            Move::Claim { by, max } => self.claim(store, by, max).await,
            Move::Save { by, run, then } => self.save(store, by, (run, then)).await,
            Move::Lose { which } => {
                let worker = self.living[which % self.living.len()];
                self.end(worker);
                self.living.push(next_after(store, worker).await);
            }
            Move::Leave { which } => {
                let worker = self.living[which % self.living.len()];
                self.end(worker);
                store.worker_left(worker).await.unwrap();
                self.living.push(begin(store).await);
            }
            Move::Wait => self.now += 3,
        }
    }

    async fn make(&mut self, store: &dyn Store, job: usize, by: Option<usize>) {
        let worker = by.map(|by| self.session(by));
        let new = NewRun { worker, ..new_run(["a", "b", "c"][job % 3], self.now) };
        assert_eq!(change(store, vec![create(&new)]).await, [RunChanged::Done]);
        let holder = worker.filter(|worker| self.lives(*worker));
        let known = Known { job: job % 3, holder, due: Some(self.now), status: RunStatus::Queued, changes: 0 };
        self.runs.insert(new.id, known);
    }

    async fn claim(&mut self, store: &dyn Store, by: usize, max: u32) {
        let (worker, free) = (self.session(by), self.free());
        let claimed = claim(store, worker, self.now, max).await;
        if !self.lives(worker) {
            assert_eq!(claimed, []);
            return;
        }
        assert_eq!(claimed.len(), free.len().min(max as usize));
        let jobs = |ids: &[RunId]| {
            let mut jobs: Vec<_> = ids.iter().map(|id| self.runs[id].job).collect();
            jobs.sort_unstable();
            jobs.dedup();
            jobs.len()
        };
        // One in turn of each.
        assert_eq!(jobs(&claimed), jobs(&free).min(max as usize));
        for id in claimed {
            assert!(free.contains(&id));
            self.runs.get_mut(&id).unwrap().holder = Some(worker);
        }
    }

    async fn save(&mut self, store: &dyn Store, by: usize, (run, then): (usize, u8)) {
        let worker = self.session(by);
        let Some((id, known)) = self.runs.iter_mut().nth(run) else { return };
        let (status, hold) = match then {
            0 | 1 => (RunStatus::Running, Hold::Keep),
            2 => (RunStatus::Running, Hold::Until(at(self.now + 4))),
            _ => (RunStatus::Completed, Hold::Ended),
        };
        let saved = RunSaved { started_at: Some(at(known.changes + 1)), ..saved(*id, worker, status, hold) };
        let changed = change(store, vec![store_of(saved)]).await;
        if known.holder != Some(worker) {
            assert_eq!(changed, [RunChanged::Lost]);
            return;
        }
        assert_eq!(changed, [RunChanged::Done]);
        (known.status, known.changes) = (status, known.changes + 1);
        match hold {
            Hold::Keep => {}
            Hold::Until(_) => (known.holder, known.due) = (None, Some(self.now + 4)),
            Hold::Ended => (known.holder, known.due) = (None, None),
        }
    }

    /// Nothing that was answered is lost, and nothing that was refused is there.
    async fn check(&self, store: &dyn Store) {
        for (id, known) in &self.runs {
            let found = store.run(*id).await.unwrap().unwrap();
            let started_at = (known.changes > 0).then(|| at(known.changes));
            assert_eq!((found.status, found.started_at), (known.status, started_at));
        }
    }
}

pub(crate) async fn a_run_is_one_sessions(store: &dyn Store, moves: Vec<Move>) {
    let mut living = vec![begin(store).await];
    if store.shared().is_some() {
        living.push(begin(store).await);
    }
    let mut model = Model { now: 10, living, over: vec![WorkerId(Uuid::now_v7())], runs: BTreeMap::new() };
    for step in moves {
        model.step(store, step).await;
    }
    model.check(store).await;
    // In the end, whoever is left can have all that has not ended.
    while model.living.len() > 1 {
        let worker = model.living[0];
        store.worker_left(worker).await.unwrap();
        model.end(worker);
    }
    let last = next_after(store, model.living[0]).await;
    let open: Vec<_> = model.runs.iter().filter(|(_, run)| !run.status.is_end()).map(|(id, _)| *id).collect();
    assert_eq!(claim(store, last, model.now + 9, 100).await, open);
}
