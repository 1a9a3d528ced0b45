//! Runs from their start to their end, where nothing breaks.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::harness::{
    Act, Engine, Moment, World, assert_completed, audit, codes, completed, failed, failed_for_good, job, statuses,
    step, step_of, step_with, told, until,
};
use crate::jobs::runner::TaskEnd;
use crate::jobs::{Error, Started};
use crate::model::job::{Payload, RunStatus, StepStatus};
use crate::model::{Digest, JsonText};
use crate::store::{IdempotencyKey, Requested};

const MINUTE_MS: i64 = 60_000;

#[tokio::test]
async fn a_run_goes_from_step_to_step_and_its_outputs_are_merged() {
    let world = World::new().await;
    let engine = world.engine(told).await;
    engine.save(job("three", vec![step("a"), step("b"), step("c")])).await;
    let id = engine.start("three", json!({"order": {"id": 7}})).await;
    let run = engine.ended(id).await;
    assert_completed(&run);
    assert_eq!(engine.value(id, &run.data).await, json!({"order": {"id": 7}, "a": 1, "b": 1, "c": 1}));
    assert_eq!(engine.value(id, &run.trigger).await, json!({"order": {"id": 7}}));
    assert!(world.ledger.place(Moment::Ended, "a") < world.ledger.place(Moment::Began, "b"));
    assert!(world.ledger.place(Moment::Ended, "b") < world.ledger.place(Moment::Began, "c"));
    let keys: Vec<_> = world.ledger.of(Moment::Began, "b").into_iter().map(|task| task.idempotency_key).collect();
    assert_eq!(keys, [format!("{id}:b")]);
}

#[tokio::test]
async fn a_run_alone_takes_a_commit_for_its_beginning_and_one_for_each_step() {
    let world = World::new().await;
    let engine = world.engine(told).await;
    engine.save(job("three", vec![step("a"), step("b"), step("c")])).await;
    // A place is there as soon as there is a session, which the first run waits for.
    let first = engine.start("three", json!({})).await;
    engine.ended(first).await;
    let before = engine.counter("sluice_job_commits_total");
    let id = engine.start("three", json!({})).await;
    engine.ended(id).await;
    assert_eq!(engine.counter("sluice_job_commits_total") - before, 4);
}

#[tokio::test]
async fn a_step_that_two_branches_name_waits_for_both() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let engine = world
        .engine(move |task| match task.step.as_str() {
            "slow" => Act::Once(Arc::clone(&held), completed(json!({"slow": true}))),
            _ => told(task),
        })
        .await;
    let steps = vec![
        step_with("a", json!({"next": ["slow", "quick"]})),
        step_with("slow", json!({"next": ["join"]})),
        step_with("quick", json!({"next": ["join"]})),
        step("join"),
    ];
    engine.save(job("branches", steps)).await;
    let id = engine.start("branches", json!({})).await;
    let run = engine.once(id, |run| step_of(run, "quick").status == StepStatus::Completed).await;
    assert_eq!(step_of(&run, "join").status, StepStatus::Pending);
    gate.add_permits(1);
    assert_completed(&engine.ended(id).await);
    assert_eq!(world.ledger.began("join"), 1);
    assert!(world.ledger.place(Moment::Ended, "slow") < world.ledger.place(Moment::Began, "join"));
}

fn wasm(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "type": "wasm", "module": "order-rules", "function": "run"});
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

fn routed(next: &str) -> TaskEnd {
    TaskEnd::Completed {
        output: JsonText::of(&json!({"said": next})),
        data: Some(JsonText::of(&json!({"kept": 1, "new": 2}))),
        next: Some(vec![next.to_owned()]),
    }
}

#[tokio::test]
async fn a_wasm_step_says_where_to_go_on_and_what_the_data_is() {
    let world = World::new().await;
    let engine =
        world.engine(|task| if task.step.as_str() == "ask" { Act::End(routed("review")) } else { told(task) }).await;
    let steps = vec![
        wasm("ask", json!({"routes": ["store", "review"], "next": ["store"]})),
        step_with("store", json!({"next": []})),
        step_with("review", json!({"next": []})),
    ];
    engine.save(job("routing", steps)).await;
    let id = engine.start("routing", json!({"kept": 1, "dropped": 3})).await;
    let run = engine.ended(id).await;
    assert_completed(&run);
    assert_eq!(statuses(&run), [StepStatus::Completed, StepStatus::Skipped, StepStatus::Completed]);
    assert_eq!(engine.value(id, &run.data).await, json!({"kept": 1, "new": 2, "said": "review", "review": 1}));
}

#[tokio::test]
async fn a_route_that_is_not_declared_fails_the_run_and_is_named() {
    let world = World::new().await;
    let engine = world.engine(|_| Act::End(routed("elsewhere"))).await;
    engine.save(job("routing", vec![wasm("ask", json!({"routes": ["store"]})), step("store")])).await;
    let id = engine.start("routing", json!({"kept": 1})).await;
    let run = engine.ended(id).await;
    let error = run.error.clone().unwrap();
    assert_eq!((run.status, error.code.as_str()), (RunStatus::Failed, "invalid-route"));
    assert!(error.message.contains("elsewhere"), "{error:?}");
    assert_eq!(engine.value(id, &run.data).await, json!({"kept": 1}));
    assert_eq!(world.ledger.began("store"), 0);
}

#[tokio::test]
async fn an_attempt_that_failed_is_made_again_when_it_is_due_and_not_before() {
    let world = World::new().await;
    let engine = world.engine(|task| if task.attempt < 3 { Act::End(failed()) } else { told(task) }).await;
    engine.save(job("one", vec![step("a")])).await;
    let id = engine.start("one", json!({})).await;
    let run = engine.once(id, |run| step_of(run, "a").due_at.is_some()).await;
    let wait = step_of(&run, "a").due_at.unwrap().duration_since(world.clock.now());
    assert!((55..=61).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(world.ledger.began("a"), 1);
    world.hand.advance_ms(MINUTE_MS);
    engine.once(id, |run| step_of(run, "a").tries == 2 && step_of(run, "a").due_at.is_some()).await;
    world.hand.advance_ms(MINUTE_MS);
    engine.once(id, |run| step_of(run, "a").due_at.is_some()).await;
    assert_eq!(world.ledger.began("a"), 2);
    world.hand.advance_ms(MINUTE_MS);
    let run = engine.ended(id).await;
    assert_completed(&run);
    assert_eq!(codes(&run, "a"), ["upstream-status", "upstream-status", ""]);
    let keys: Vec<_> = world.ledger.of(Moment::Began, "a").into_iter().map(|task| task.idempotency_key).collect();
    assert_eq!(keys, vec![format!("{id}:a"); 3]);
}

#[tokio::test]
async fn a_step_that_meets_an_open_circuit_uses_up_no_attempt() {
    let world = World::new().await;
    let parks = Arc::new(Semaphore::new(5));
    let left = Arc::clone(&parks);
    let engine = world
        .engine(move |task| match left.try_acquire() {
            Ok(park) => {
                park.forget();
                let circuit = "https://effects.test".to_owned();
                Act::End(TaskEnd::Parked { circuit, after: Duration::from_millis(20) })
            }
            Err(_) => told(task),
        })
        .await;
    engine.save(job("one", vec![step("a")])).await;
    let id = engine.start("one", json!({})).await;
    let run = engine.ended(id).await;
    assert_completed(&run);
    assert_eq!((step_of(&run, "a").attempts.len(), world.ledger.began("a")), (1, 6));
}

#[tokio::test]
async fn a_wait_ends_when_its_time_has_come() {
    let world = World::new().await;
    let engine = world.engine(told).await;
    let wait = json!({"id": "pause", "type": "wait", "duration_ms": 3_600_000});
    engine.save(job("waits", vec![step("a"), wait, step("b")])).await;
    let id = engine.start("waits", json!({})).await;
    let run = engine.once(id, |run| step_of(run, "pause").due_at.is_some()).await;
    assert_eq!(run.status, RunStatus::Running);
    assert_eq!(world.ledger.began("b"), 0);
    world.hand.advance_ms(60 * MINUTE_MS);
    assert_completed(&engine.ended(id).await);
    assert_eq!(world.ledger.began("b"), 1);
}

#[tokio::test]
async fn a_run_that_is_canceled_ends_its_step_and_goes_on_only_when_somebody_wants_it() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let engine = world
        .engine(move |task| match task.step.as_str() {
            "b" if task.attempt == 1 => Act::Hang,
            "b" => Act::Once(Arc::clone(&held), completed(json!({"b": 2}))),
            _ => told(task),
        })
        .await;
    engine.save(job("three", vec![step("a"), step("b"), step("c")])).await;
    let id = engine.start("three", json!({})).await;
    until("b began", || world.ledger.began("b") == 1).await;
    assert_eq!(engine.handle.cancel(id, audit()).await.unwrap(), Requested::Accepted);
    let run = engine.ended(id).await;
    assert_eq!(run.status, RunStatus::Canceled);
    assert!(!run.cancel_requested && run.ended_at.is_some());
    assert_eq!(world.ledger.began("c"), 0);
    assert_eq!(engine.handle.cancel(id, audit()).await.unwrap(), Requested::Refused(RunStatus::Canceled));

    gate.add_permits(1);
    assert_eq!(engine.handle.retry(id, audit()).await.unwrap(), Requested::Accepted);
    let run = engine.once(id, |run| run.status == RunStatus::Completed).await;
    assert_completed(&run);
    assert_eq!((world.ledger.began("a"), world.ledger.began("b"), world.ledger.began("c")), (1, 2, 1));
}

#[tokio::test]
async fn a_run_that_failed_goes_on_at_the_step_that_failed() {
    let world = World::new().await;
    let engine =
        world
            .engine(|task| {
                if task.step.as_str() == "b" && task.attempt == 1 { Act::End(failed_for_good()) } else { told(task) }
            })
            .await;
    engine.save(job("three", vec![step("a"), step("b"), step("c")])).await;
    let id = engine.start("three", json!({})).await;
    let run = engine.ended(id).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.as_ref().unwrap().step.as_ref().unwrap().as_str(), "b");
    assert_eq!(statuses(&run), [StepStatus::Completed, StepStatus::Failed, StepStatus::Pending]);
    assert_eq!(engine.handle.retry(id, audit()).await.unwrap(), Requested::Accepted);
    let run = engine.once(id, |run| run.status == RunStatus::Completed).await;
    assert!(run.error.is_none());
    assert_eq!(engine.value(id, &run.data).await, json!({"a": 1, "b": 2, "c": 1}));
    assert_eq!(engine.handle.retry(id, audit()).await.unwrap(), Requested::Refused(RunStatus::Completed));
}

async fn start_with_key(engine: &Engine, key: &str, body: &str) -> Started {
    let key = IdempotencyKey {
        scope: "tests/one".to_owned(),
        key: key.to_owned(),
        fingerprint: Digest::of(body.as_bytes()),
        expires_at: engine.handle.idempotency_until(),
        is_free_after_failure: true,
    };
    engine.start_with("one", json!({"body": body}), Some(key)).await.unwrap()
}

#[tokio::test]
async fn a_key_starts_one_run_however_often_it_comes() {
    let world = World::new().await;
    let engine = world.engine(told).await;
    engine.save(job("one", vec![step("a")])).await;
    let Started::New(id) = start_with_key(&engine, "k", "x").await else { panic!("it was not started") };
    engine.ended(id).await;
    assert_eq!(start_with_key(&engine, "k", "x").await, Started::Before(id));
    assert_eq!(start_with_key(&engine, "k", "y").await, Started::Mismatch);
    assert!(matches!(start_with_key(&engine, "other", "y").await, Started::New(_)));
    until("the second run's step began", || world.ledger.began("a") == 2).await;
}

#[tokio::test]
async fn what_is_large_is_in_the_blobs_and_what_is_too_large_fails_the_step() {
    let mut world = World::new().await;
    world.config.jobs.data_bytes = 200_000;
    let engine = world
        .engine(|task| {
            let length = if task.step.as_str() == "large" { 100_000 } else { 300_000 };
            Act::End(completed(json!({"text": "x".repeat(length)})))
        })
        .await;
    engine.save(job("large", vec![step("large"), step("too-large")])).await;
    let id = engine.start("large", json!({})).await;
    let run = engine.ended(id).await;
    let output = step_of(&run, "large").output.clone().unwrap();
    assert!(matches!(output, Payload::Blob { .. }), "{output:?}");
    assert_eq!(engine.value(id, &output).await["text"].as_str().unwrap().len(), 100_000);
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(codes(&run, "too-large"), ["output-too-large"]);
    let refused = engine.start_with("large", json!("x".repeat(200_000)), None).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: 200_000 })), "{refused:?}");
}

#[tokio::test]
async fn three_hundred_runs_of_one_job_do_not_keep_one_of_another_waiting() {
    let mut world = World::new().await;
    world.config.jobs.workers = 4;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let engine = world
        .engine(move |task| match task.job.as_str() {
            "many" => Act::Once(Arc::clone(&held), completed(json!({}))),
            _ => told(task),
        })
        .await;
    engine.save(job("many", vec![step("a")])).await;
    engine.save(job("one", vec![step("b")])).await;
    let mut all = Vec::new();
    for _ in 0..300 {
        all.push(engine.start("many", json!({})).await);
    }
    let single = engine.start("one", json!({})).await;
    // All places are taken: whoever is first at the next ones is what is asked.
    gate.add_permits(12);
    let run = engine.ended(single).await;
    assert_completed(&run);
    let before = world.ledger.of(Moment::Ended, "a").len();
    assert!(before <= 12, "{before} runs of the other job ended first");
    gate.add_permits(300);
    for id in all {
        assert_completed(&engine.ended(id).await);
    }
    assert_eq!(world.ledger.began("a"), 300);
}

/// What a step of the property does.
#[derive(Debug, Clone)]
enum Fate {
    Output(Value),
    Again(Value),
    Fails,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let output = proptest::collection::btree_map("[a-c]", 0..100_u32, 0..3).prop_map(|members| json!(members));
    prop_oneof![
        5 => output.clone().prop_map(Fate::Output),
        2 => output.prop_map(Fate::Again),
        1 => Just(Fate::Fails),
    ]
}

async fn status_updates_and_outputs_are_persisted(fates: Vec<Fate>) {
    let world = World::new().await;
    let script = fates.clone();
    let engine = world
        .engine(move |task| {
            let index: usize = task.step.as_str()[1..].parse().unwrap();
            match &script[index] {
                Fate::Again(_) if task.attempt == 1 => Act::End(failed()),
                Fate::Output(output) | Fate::Again(output) => Act::End(completed(output.clone())),
                Fate::Fails => Act::End(failed_for_good()),
            }
        })
        .await;
    let mut definition = job("random", (0..fates.len()).map(|index| step(&format!("s{index}"))).collect());
    definition["retry"]["initial_interval_ms"] = json!(1);
    engine.save(definition).await;
    let id = engine.start("random", json!({"trigger": true})).await;
    let run = engine.ended(id).await;

    let end = fates.iter().position(|fate| matches!(fate, Fate::Fails));
    let mut data = json!({"trigger": true});
    for (index, (step, fate)) in run.steps.iter().zip(&fates).enumerate() {
        let is_reached = end.is_none_or(|end| index <= end);
        match fate {
            _ if !is_reached => assert_eq!((step.status, step.attempts.len()), (StepStatus::Pending, 0)),
            Fate::Fails => assert_eq!((step.status, step.attempts.len()), (StepStatus::Failed, 1)),
            Fate::Output(output) | Fate::Again(output) => {
                let attempts = if matches!(fate, Fate::Again(_)) { 2 } else { 1 };
                assert_eq!((step.status, step.attempts.len()), (StepStatus::Completed, attempts));
                assert_eq!(&engine.value(id, step.output.as_ref().unwrap()).await, output);
                data.as_object_mut().unwrap().extend(output.as_object().unwrap().clone());
            }
        }
    }
    assert_eq!(run.status, if end.is_some() { RunStatus::Failed } else { RunStatus::Completed });
    assert_eq!(engine.value(id, &run.data).await, data);

    let events = engine.handle.events(id, 0, 1_000).await.unwrap();
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=run.last_event).collect::<Vec<_>>());
    for step in run.steps.iter().filter(|step| step.is_taken) {
        let last = events.iter().rfind(|event| event.step.as_ref() == Some(&step.id)).unwrap();
        assert_eq!(last.status, step.status.as_str());
    }
    assert_eq!(events.iter().rfind(|event| event.step.is_none()).unwrap().status, run.status.as_str());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn p50_status_updates_and_outputs_are_persisted(fates in proptest::collection::vec(any_fate(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(status_updates_and_outputs_are_persisted(fates));
    }
}
