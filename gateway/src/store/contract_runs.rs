//! What every backend has to do with runs: the contract's part on what is stored of them.

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::contract::{FIRST, audit_entry, insert_all, line, module, pages, record, record_all};
use super::contract_claims::{begin, change};
use super::contract_jobs::{at, name, save};
use super::{
    AuditFilter, Hold, IdempotencyKey, NewRun, Page, PageRequest, Requested, RunChange, RunChanged, RunFilter,
    RunSaved, Store, WorkerId,
};
use crate::error::FieldError;
use crate::model::action::{RUN_CANCEL, RUN_RETRY};
use crate::model::job::{Attempt, AttemptStatus, Payload, Run, RunEvent, RunStatus, RunStep, StepError, StepStatus};
use crate::model::{Digest, ExecutionId, ExecutionRecord, JsonText, Level, NameGlobs, RunId, Status};

/// As [`super::contract::contract_tests`], which calls it.
macro_rules! contract_tests {
    ($open:path) => {
        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

            #[test]
            fn runs_are_listed_newest_first_as_they_are_narrowed(
                runs in crate::store::contract_runs::any_runs(), narrowed in crate::store::contract_runs::any_run_filter(),
                limit in 1..5_u32
            ) {
                tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
                    let (_kept, store) = $open().await;
                    crate::store::contract_runs::runs_are_listed(&store, runs, narrowed, limit).await;
                })
            }
        }
        crate::store::contract_runs::contract_tests!(@sentences $open,
            a_run_comes_back_as_it_was_saved
            events_come_in_order_from_where_they_are_asked
            a_batch_that_comes_again_is_stored_once
            of_starts_with_one_key_one_makes_a_run
            a_key_stands_for_one_body_until_it_ends
            a_key_of_a_run_that_failed_is_free_where_it_may_be
            requests_to_cancel_are_taken_while_a_run_goes_on
            requests_to_retry_are_taken_of_what_failed
            the_backlog_is_what_has_not_ended
            ended_runs_are_swept_with_all_that_is_theirs
            revisions_that_nobody_needs_are_swept
            logs_of_a_run_are_those_of_its_steps
            executions_are_narrowed_to_a_job
        );
    };
    (@sentences $open:path, $($property:ident)*) => {
        $(#[tokio::test]
        async fn $property() {
            let (_kept, store) = $open().await;
            crate::store::contract_runs::$property(&store).await;
        })*
    };
}
pub(crate) use contract_tests;

// --- Data ---

fn inline(text: &str) -> Payload {
    Payload::Inline(JsonText::parse(text).unwrap())
}

pub(super) fn step(id: &str) -> RunStep {
    RunStep::untouched(id.parse().unwrap())
}

/// A run that nobody holds, due at once.
pub(super) fn new_run(job: &str, second: i64) -> NewRun {
    NewRun {
        id: RunId::generate(),
        job: name(job),
        revision: 1,
        trigger: inline(r#"{"a": 1.0}"#),
        data: inline(r#"{"a": 1.0}"#),
        steps: vec![step("z"), step("a")],
        created_at: at(second),
        traceparent: None,
        idempotency: None,
        worker: None,
    }
}

/// A change of nothing but how far it is.
pub(super) fn saved(id: RunId, worker: WorkerId, status: RunStatus, hold: Hold) -> RunSaved {
    RunSaved {
        id,
        worker,
        status,
        data: None,
        error: None,
        started_at: None,
        ended_at: None,
        hold,
        steps: Vec::new(),
        events: Vec::new(),
        deliveries: Vec::new(),
        clears_requests: false,
    }
}

pub(super) fn ended(id: RunId, worker: WorkerId, status: RunStatus, second: i64) -> RunSaved {
    RunSaved { ended_at: Some(at(second)), ..saved(id, worker, status, Hold::Ended) }
}

pub(super) fn create(new: &NewRun) -> RunChange {
    RunChange::Create(Box::new(new.clone()))
}

pub(super) fn store_of(saved: RunSaved) -> RunChange {
    RunChange::Save(Box::new(saved))
}

fn event(id: u64, of: Option<&str>) -> RunEvent {
    let step = of.map(|of| of.parse().unwrap());
    RunEvent { id, step, status: "running".to_owned(), attempts: 2, at: at(9) }
}

fn key(body: &str, is_free_after_failure: bool) -> IdempotencyKey {
    IdempotencyKey {
        scope: "a key/intake".to_owned(),
        key: "ä 'key'".to_owned(),
        fingerprint: Digest::of(body.as_bytes()),
        expires_at: at(100),
        is_free_after_failure,
    }
}

fn keyed(second: i64, key: IdempotencyKey) -> NewRun {
    NewRun { idempotency: Some(key), ..new_run("intake", second) }
}

fn as_made(new: &NewRun) -> Run {
    Run {
        id: new.id,
        job: new.job.clone(),
        revision: new.revision,
        status: RunStatus::Queued,
        trigger: new.trigger.clone(),
        data: new.data.clone(),
        error: None,
        steps: new.steps.clone(),
        last_event: 0,
        cancel_requested: false,
        created_at: new.created_at,
        started_at: None,
        ended_at: None,
        traceparent: new.traceparent.clone(),
    }
}

/// A run that a worker holds, and has brought so far.
async fn run_of(store: &dyn Store, worker: WorkerId, status: RunStatus) -> RunId {
    let new = NewRun { worker: Some(worker), ..new_run("intake", 1) };
    assert_eq!(change(store, vec![create(&new)]).await, [RunChanged::Done]);
    let to = if status.is_end() { ended(new.id, worker, status, 2) } else { saved(new.id, worker, status, Hold::Keep) };
    assert_eq!(change(store, vec![store_of(to)]).await, [RunChanged::Done]);
    new.id
}

async fn found(store: &dyn Store, id: RunId) -> Run {
    store.run(id).await.unwrap().unwrap()
}

// --- Properties ---

pub(crate) async fn a_run_comes_back_as_it_was_saved(store: &dyn Store) {
    let worker = begin(store).await;
    let digest = Digest::of(b"a long text");
    let blob = Payload::Blob { digest, size_bytes: 70_000 };
    let parent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let new = NewRun { trigger: blob.clone(), traceparent: parent, worker: Some(worker), ..new_run("intake", 1) };
    assert_eq!(change(store, vec![create(&new)]).await, [RunChanged::Done]);
    let mut expected = as_made(&new);
    assert_eq!(found(store, new.id).await, expected);
    let error = |of: Option<&str>| StepError {
        code: "timeout".to_owned(),
        message: "it took \u{0} too long".to_owned(),
        origin: "guest".to_owned(),
        step: of.map(|of| of.parse().unwrap()),
        details: Some(serde_json::json!({"ms": 5, "text": "\u{0}"})),
    };
    let attempt = |number, status| Attempt {
        number,
        status,
        started_at: at(3),
        ended_at: (number == 1).then(|| at(4)),
        error: (number == 1).then(|| error(None)),
    };
    let failing = RunStep {
        status: StepStatus::Running,
        error: Some(error(None)),
        errors: vec![FieldError::new("/a", "required", "is missing")],
        next: Some(vec!["a".parse().unwrap()]),
        is_taken: true,
        due_at: Some(at(70)),
        tries: 2,
        attempts: vec![attempt(1, AttemptStatus::Failed), attempt(2, AttemptStatus::Running)],
        ..step("z")
    };
    let done = RunStep { status: StepStatus::Completed, output: Some(blob.clone()), completion: Some(1), ..step("a") };
    let change_of = RunSaved {
        data: Some(blob.clone()),
        error: Some(error(Some("z"))),
        started_at: Some(at(3)),
        steps: vec![done.clone(), failing.clone()],
        events: vec![event(1, None), event(2, Some("z"))],
        ..saved(new.id, worker, RunStatus::Running, Hold::Keep)
    };
    (expected.status, expected.data, expected.error) = (RunStatus::Running, blob, Some(error(Some("z"))));
    (expected.started_at, expected.last_event) = (Some(at(3)), 2);
    // In the order of the definition, whatever order they were stored in.
    expected.steps = vec![failing.clone(), done.clone()];
    assert_eq!(change(store, vec![store_of(change_of)]).await, [RunChanged::Done]);
    assert_eq!(found(store, new.id).await, expected);
    // Two changes of one run in one batch: what is not in them stays.
    let again = RunStep { output: Some(inline("[1]")), next: None, error: None, errors: Vec::new(), ..failing };
    let first = RunSaved {
        steps: vec![again.clone()],
        started_at: Some(at(3)),
        ..saved(new.id, worker, RunStatus::Running, Hold::Keep)
    };
    let last = RunSaved { started_at: Some(at(3)), ..ended(new.id, worker, RunStatus::Completed, 8) };
    let batch = vec![store_of(first), store_of(last)];
    assert_eq!(change(store, batch).await, [RunChanged::Done, RunChanged::Done]);
    (expected.status, expected.error, expected.ended_at) = (RunStatus::Completed, None, Some(at(8)));
    expected.steps = vec![again, done];
    assert_eq!(found(store, new.id).await, expected);
    assert_eq!(store.run(RunId::generate()).await.unwrap(), None);
}

pub(crate) async fn events_come_in_order_from_where_they_are_asked(store: &dyn Store) {
    let worker = begin(store).await;
    let (id, other) =
        (run_of(store, worker, RunStatus::Running).await, run_of(store, worker, RunStatus::Running).await);
    let all: Vec<_> = (1..=12).map(|id| event(id, (id % 2 == 0).then_some("z"))).collect();
    for events in all.chunks(5) {
        let with = |id| {
            let events = events.to_vec();
            store_of(RunSaved { events, ..saved(id, worker, RunStatus::Running, Hold::Keep) })
        };
        assert_eq!(change(store, vec![with(id), with(other)]).await, [RunChanged::Done, RunChanged::Done]);
    }
    for (after, max, expected) in [(0, 50, &all[..]), (0, 3, &all[..3]), (7, 2, &all[7..9]), (12, 9, &[])] {
        assert_eq!(store.run_events(id, after, max).await.unwrap(), expected);
    }
    assert_eq!(store.run_events(RunId::generate(), 0, 9).await.unwrap(), []);
    assert_eq!(found(store, id).await.last_event, 12);
}

/// Whoever does not know whether a commit reached the database sends it again.
pub(crate) async fn a_batch_that_comes_again_is_stored_once(store: &dyn Store) {
    let worker = begin(store).await;
    let new = NewRun { worker: Some(worker), ..keyed(1, key("a", true)) };
    let events = vec![event(1, None), event(2, Some("z"))];
    let steps = vec![RunStep { status: StepStatus::Running, is_taken: true, ..step("z") }];
    let batch = vec![
        create(&new),
        store_of(RunSaved { events: events.clone(), steps, ..saved(new.id, worker, RunStatus::Running, Hold::Keep) }),
    ];
    assert_eq!(change(store, batch.clone()).await, [RunChanged::Done, RunChanged::Done]);
    let before = found(store, new.id).await;
    assert_eq!(change(store, batch).await, [RunChanged::Done, RunChanged::Done]);
    assert_eq!(found(store, new.id).await, before);
    assert_eq!(store.run_events(new.id, 0, 9).await.unwrap(), events);
    assert_eq!(store.list_runs(&RunFilter::default(), FIRST).await.unwrap().total, 1);
}

pub(crate) async fn of_starts_with_one_key_one_makes_a_run(store: &dyn Store) {
    // In one batch, and in several that come together.
    for (is_free, batches) in [(true, 1), (false, 1), (true, 4), (false, 4)] {
        let key = IdempotencyKey { key: format!("{is_free} {batches}"), ..key("a", is_free) };
        let news: Vec<_> = (0..8).map(|_| keyed(1, key.clone())).collect();
        let batch = |of: &[NewRun]| change(store, of.iter().map(create).collect());
        let changed = futures_util::future::join_all(news.chunks(8 / batches).map(batch)).await.concat();
        let made: Vec<_> = news
            .iter()
            .zip(&changed)
            .filter(|(_, changed)| **changed == RunChanged::Done)
            .map(|(new, _)| new.id)
            .collect();
        assert_eq!(made.len(), 1, "{changed:?}");
        for (new, changed) in news.iter().zip(changed) {
            let is_made = new.id == made[0];
            assert_eq!(changed, if is_made { RunChanged::Done } else { RunChanged::Existing(made[0]) });
            assert_eq!(store.run(new.id).await.unwrap().is_some(), is_made);
        }
    }
}

pub(crate) async fn a_key_stands_for_one_body_until_it_ends(store: &dyn Store) {
    let (first, other, late) = (keyed(1, key("a", true)), keyed(2, key("b", true)), keyed(100, key("b", true)));
    let unkeyed = new_run("intake", 1);
    assert_eq!(change(store, vec![create(&first)]).await, [RunChanged::Done]);
    // What is refused keeps nothing else of the batch out.
    assert_eq!(change(store, vec![create(&other), create(&unkeyed)]).await, [RunChanged::Mismatch, RunChanged::Done]);
    assert_eq!((store.run(other.id).await.unwrap(), found(store, unkeyed.id).await), (None, as_made(&unkeyed)));
    let another = IdempotencyKey { scope: "another key/intake".to_owned(), ..key("b", true) };
    assert_eq!(change(store, vec![create(&keyed(2, another))]).await, [RunChanged::Done]);
    assert_eq!(change(store, vec![create(&late)]).await, [RunChanged::Done]);
    assert_eq!(store.delete_expired_keys(at(100), 1).await.unwrap(), 1);
    assert_eq!(change(store, vec![create(&keyed(3, key("c", true)))]).await.len(), 1);
}

pub(crate) async fn a_key_of_a_run_that_failed_is_free_where_it_may_be(store: &dyn Store) {
    for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Canceled] {
        for is_free in [true, false] {
            let worker = begin(store).await;
            let key = IdempotencyKey { key: format!("{status:?} {is_free}"), ..key("a", is_free) };
            let first = NewRun { worker: Some(worker), ..keyed(1, key.clone()) };
            change(store, vec![create(&first), store_of(ended(first.id, worker, status, 2))]).await;
            let again = keyed(3, key);
            let makes_way = is_free && status != RunStatus::Completed;
            let expected = if makes_way { RunChanged::Done } else { RunChanged::Existing(first.id) };
            assert_eq!(change(store, vec![create(&again)]).await, [expected], "{status:?} {is_free}");
        }
    }
}

pub(crate) async fn requests_to_cancel_are_taken_while_a_run_goes_on(store: &dyn Store) {
    let worker = begin(store).await;
    let cancel = |id| async move { store.request_cancel(id, &audit_entry(RUN_CANCEL)).await.unwrap() };
    let running = run_of(store, worker, RunStatus::Running).await;
    let done = run_of(store, worker, RunStatus::Completed).await;
    assert_eq!(cancel(running).await, Requested::Accepted);
    assert_eq!(cancel(done).await, Requested::Refused(RunStatus::Completed));
    assert_eq!(cancel(RunId::generate()).await, Requested::NotFound);
    let rows = store.list_audit(&AuditFilter::default(), FIRST).await.unwrap();
    assert_eq!(rows.total, 1);
    let beat = store.worker_beat(worker, 60_000, false).await.unwrap();
    assert_eq!(beat, super::Beat::Alive { cancel: vec![running] });
    assert!(found(store, running).await.cancel_requested);
    // Let go with the request unanswered it is due at once, whatever it waits for.
    let let_go = saved(running, worker, RunStatus::Running, Hold::Until(at(9_000)));
    assert_eq!(change(store, vec![store_of(let_go)]).await, [RunChanged::Done]);
    let claimed = store.claim_runs(worker, at(5), 9).await.unwrap();
    assert_eq!(claimed.iter().map(|held| held.run.id).collect::<Vec<_>>(), [running]);
    let answer = RunSaved { clears_requests: true, ..ended(running, worker, RunStatus::Canceled, 6) };
    assert_eq!(change(store, vec![store_of(answer)]).await, [RunChanged::Done]);
    assert!(!found(store, running).await.cancel_requested);
    assert_eq!(cancel(running).await, Requested::Refused(RunStatus::Canceled));
}

pub(crate) async fn requests_to_retry_are_taken_of_what_failed(store: &dyn Store) {
    let worker = begin(store).await;
    let retry = |id| async move { store.request_retry(id, &audit_entry(RUN_RETRY)).await.unwrap() };
    for status in RunStatus::ALL.iter().copied().filter(|status| *status != RunStatus::Queued) {
        let id = run_of(store, worker, status).await;
        let may = matches!(status, RunStatus::Failed | RunStatus::Canceled);
        assert_eq!(retry(id).await, if may { Requested::Accepted } else { Requested::Refused(status) });
        let claimed = store.claim_runs(worker, at(5), 9).await.unwrap();
        let claimed: Vec<_> = claimed.iter().map(|held| (held.run.id, held.retry_requested)).collect();
        assert_eq!(claimed, if may { vec![(id, true)] } else { Vec::new() });
        if may {
            // Nobody sweeps what goes on, however long ago it ended.
            assert_eq!(store.delete_ended_runs(at(1_000), 1).await.unwrap(), 0);
            let goes_on = saved(id, worker, RunStatus::Running, Hold::Until(at(70)));
            let answer = RunSaved { clears_requests: true, ..goes_on };
            assert_eq!(change(store, vec![store_of(answer)]).await, [RunChanged::Done]);
            let found = found(store, id).await;
            assert_eq!((found.status, found.ended_at), (RunStatus::Running, None));
            let claimed = store.claim_runs(worker, at(70), 9).await.unwrap();
            assert!(!claimed[0].retry_requested);
            change(store, vec![store_of(saved(id, worker, RunStatus::Running, Hold::Keep))]).await;
        } else if status == RunStatus::Completed {
            assert_eq!(store.delete_ended_runs(at(1_000), 1).await.unwrap(), 1);
        }
    }
    assert_eq!(retry(RunId::generate()).await, Requested::NotFound);
}

pub(crate) async fn the_backlog_is_what_has_not_ended(store: &dyn Store) {
    let worker = begin(store).await;
    assert_eq!(store.run_backlog(at(9)).await.unwrap(), super::Backlog::default());
    for status in [RunStatus::Running, RunStatus::Completed, RunStatus::Failed] {
        run_of(store, worker, status).await;
    }
    change(store, vec![create(&new_run("intake", 4)), create(&new_run("intake", 3)), create(&new_run("b", 50))]).await;
    let backlog = store.run_backlog(at(9)).await.unwrap();
    assert_eq!((backlog.queued, backlog.running, backlog.oldest_due), (3, 1, Some(at(3))));
    assert_eq!(store.run_backlog(at(2)).await.unwrap().oldest_due, None);
}

pub(crate) async fn ended_runs_are_swept_with_all_that_is_theirs(store: &dyn Store) {
    let worker = begin(store).await;
    let mut runs = Vec::new();
    for second in 1..=5 {
        let new = NewRun { worker: Some(worker), ..new_run("intake", second) };
        let end = RunSaved {
            steps: vec![RunStep { is_taken: true, ..step("z") }],
            events: vec![event(1, None)],
            ..ended(new.id, worker, RunStatus::Completed, second * 10)
        };
        assert_eq!(change(store, vec![create(&new), store_of(end)]).await, [RunChanged::Done, RunChanged::Done]);
        runs.push(new.id);
    }
    let going = run_of(store, worker, RunStatus::Running).await;
    assert_eq!(store.delete_ended_runs(at(40), 2).await.unwrap(), 2);
    assert_eq!(store.delete_ended_runs(at(40), 2).await.unwrap(), 1);
    assert_eq!(store.delete_ended_runs(at(40), 2).await.unwrap(), 0);
    for (id, stays) in runs.iter().zip([false, false, false, true, true]) {
        assert_eq!(store.run(*id).await.unwrap().is_some(), stays);
        assert_eq!(store.run_events(*id, 0, 9).await.unwrap().len(), usize::from(stays));
    }
    assert!(store.run(going).await.unwrap().is_some());
    let mut gone = store.runs_without_rows(9).await.unwrap();
    gone.sort_unstable();
    assert_eq!((gone.as_slice(), store.runs_without_rows(2).await.unwrap().len()), (&runs[..3], 2));
    store.forget_runs(&gone[1..]).await.unwrap();
    assert_eq!(store.runs_without_rows(9).await.unwrap(), gone[..1]);
    store.forget_runs(&gone).await.unwrap();
    assert_eq!(store.runs_without_rows(9).await.unwrap(), []);
}

pub(crate) async fn revisions_that_nobody_needs_are_swept(store: &dyn Store) {
    let worker = begin(store).await;
    for (step, second) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        save(store, "intake", step, second).await;
    }
    let new = NewRun { revision: 2, worker: Some(worker), ..new_run("intake", 1) };
    change(store, vec![create(&new)]).await;
    let left = async || {
        let mut left = Vec::new();
        for revision in 1..=4 {
            left.extend(store.job_revision(&name("intake"), revision).await.unwrap().map(|_| revision));
        }
        left
    };
    assert_eq!(store.delete_expired_keys(at(9), 1).await.unwrap(), 1);
    assert_eq!(store.delete_expired_keys(at(9), 9).await.unwrap(), 1);
    assert_eq!(left().await, [2, 4]);
    change(store, vec![store_of(ended(new.id, worker, RunStatus::Completed, 2))]).await;
    assert_eq!((store.delete_expired_keys(at(9), 9).await.unwrap(), left().await), (0, vec![2, 4]));
    store.delete_ended_runs(at(9), 9).await.unwrap();
    assert_eq!((store.delete_expired_keys(at(9), 9).await.unwrap(), left().await), (1, vec![4]));
}

// --- Lists ---

/// A run by its job, how far it is, and the second it was made in.
pub(crate) type AnyRun = (&'static str, RunStatus, i64);

pub(crate) fn any_runs() -> impl Strategy<Value = Vec<AnyRun>> {
    vec((select(&["a", "a-b", "b"][..]), select(RunStatus::ALL), 0..6_i64), 0..12)
}

pub(crate) fn any_run_filter() -> impl Strategy<Value = RunFilter> {
    use proptest::option::of;
    let globs = select(&["a*", "b", "x", "*"][..]);
    let time = || of((0..13_i64).prop_map(|half| Timestamp::UNIX_EPOCH + SignedDuration::from_millis(half * 500)));
    (of(select(&["a", "b", "c"][..])), of(select(RunStatus::ALL)), of(globs), time(), time()).prop_map(
        |(job, status, glob, from, to)| RunFilter {
            job: job.map(name),
            status,
            visible: glob.map(|glob| NameGlobs::new(vec![glob.to_owned()]).expect("a glob")),
            from,
            to,
        },
    )
}

pub(crate) async fn runs_are_listed(store: &dyn Store, runs: Vec<AnyRun>, narrowed: RunFilter, limit: u32) {
    let worker = begin(store).await;
    let mut expected = Vec::new();
    for (job, status, second) in runs {
        let new = NewRun { worker: Some(worker), ..new_run(job, second) };
        let mut changes = vec![create(&new)];
        let mut run = Run { status, steps: Vec::new(), ..as_made(&new) };
        if status.is_end() {
            changes.push(store_of(ended(new.id, worker, status, 70)));
            run.ended_at = Some(at(70));
        } else {
            changes.push(store_of(saved(new.id, worker, status, Hold::Keep)));
        }
        change(store, changes).await;
        let is_found = narrowed.job.as_ref().is_none_or(|job| *job == run.job)
            && narrowed.status.is_none_or(|status| status == run.status)
            && narrowed.visible.as_ref().is_none_or(|globs| globs.is_match(run.job.as_str()))
            && narrowed.from.is_none_or(|from| run.created_at >= from)
            && narrowed.to.is_none_or(|to| run.created_at < to);
        expected.extend(is_found.then_some(run));
    }
    expected.reverse();
    for (request, page) in pages(&expected, limit) {
        assert_eq!(store.list_runs(&narrowed, request).await.unwrap(), page);
    }
}

pub(crate) async fn logs_of_a_run_are_those_of_its_steps(store: &dyn Store) {
    let modules = [module("a", "1.0.0"), module("b", "1.0.0")];
    insert_all(store, &modules).await;
    let (run, silent) = (new_run("intake", 1), new_run("intake", 1));
    change(store, vec![create(&run), create(&silent)]).await;
    let of = |second: i64, place: usize, run: Option<&NewRun>| ExecutionRecord {
        execution_id: ExecutionId::starting(at(second)),
        started_at: at(second),
        lines: vec![line(Level::Debug, "few read it"), line(Level::Warn, "all do")],
        run_id: run.map(|run| run.id),
        job: run.map(|run| run.job.clone()),
        ..record(&modules[place], Status::Completed)
    };
    let steps = [of(3, 0, Some(&run)), of(4, 1, Some(&run)), of(5, 0, Some(&run))];
    record_all(store, &[vec![of(2, 0, None)], steps.to_vec()].concat()).await;
    let logs = |run: RunId, module_id, level, page| async move {
        store.execution_logs(ExecutionId::from_uuid(*run.as_uuid()), module_id, level, page).await.unwrap()
    };
    let all = Page { items: steps.to_vec(), total: 3 };
    assert_eq!(logs(run.id, None, Level::Debug, FIRST).await, Some(all));
    let second = PageRequest { page: 2, limit: 2 };
    let last = Page { items: steps[2..].to_vec(), total: 3 };
    assert_eq!(logs(run.id, None, Level::Debug, second).await, Some(last));
    let mut of_b = steps[1].clone();
    of_b.lines.remove(0);
    let only_b = Page { items: vec![of_b], total: 1 };
    assert_eq!(logs(run.id, Some(modules[1].id), Level::Warn, FIRST).await, Some(only_b));
    let none = Some(Page { items: Vec::new(), total: 0 });
    assert_eq!(logs(silent.id, None, Level::Debug, FIRST).await, none);
    assert_eq!(logs(RunId::generate(), None, Level::Debug, FIRST).await, None);
}

pub(crate) async fn executions_are_narrowed_to_a_job(store: &dyn Store) {
    let module = module("a", "1.0.0");
    insert_all(store, std::slice::from_ref(&module)).await;
    let of = |job: Option<&str>, status| ExecutionRecord {
        run_id: job.map(|_| RunId::generate()),
        job: job.map(name),
        ..record(&module, status)
    };
    let steps = [of(Some("intake"), Status::Failed), of(Some("intake"), Status::Completed)];
    record_all(store, &[steps.to_vec(), vec![of(Some("other"), Status::Failed), of(None, Status::Failed)]].concat())
        .await;
    for (status, expected) in [(None, &steps[..]), (Some(Status::Failed), &steps[..1]), (Some(Status::Running), &[])] {
        let filter = super::ExecutionFilter { job: Some(name("intake")), status, ..Default::default() };
        let mut page = store.list_executions(&filter, FIRST).await.unwrap();
        page.items.sort_by_key(|item| item.status == Status::Completed);
        assert_eq!((page.items.as_slice(), page.total), (expected, expected.len() as u64));
    }
    let running = ExecutionRecord { status: Status::Running, ..of(Some("intake"), Status::Running) };
    let end = ExecutionRecord { status: Status::Completed, ..running.clone() };
    record_all(store, &[running]).await;
    record_all(store, std::slice::from_ref(&end)).await;
    assert_eq!(store.execution(end.execution_id).await.unwrap(), Some(end));
}
