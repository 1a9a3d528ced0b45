//! What breaks: gateways, stores, clocks. Nothing is lost and nothing recorded twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use local_servers::postgres::{Database, database};
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::harness::{Act, Moment, World, assert_completed, codes, completed, failed, job, step, step_of, told, until};
use crate::config::Postgres;
use crate::model::job::{Payload, StepStatus};
use crate::model::{JsonText, RunId};
use crate::store::postgres::PostgresStore;
use crate::store::{NewRun, RunChange, WorkerId};

/// Short, so that a session that nobody ended is over soon; a machine with other work still beats in time.
const LEASE_MS: u64 = 1_500;

#[tokio::test]
async fn runs_that_a_kill_cut_end_on_another_engine_and_no_result_is_recorded_twice() {
    let mut world = World::new().await;
    world.config.jobs.lease_ms = LEASE_MS;
    let gate = Arc::new(Semaphore::new(45));
    let held = Arc::clone(&gate);
    let first = world
        .engine(move |task| Act::Once(Arc::clone(&held), completed(json!({task.step.as_str(): task.attempt}))))
        .await;
    first.save(job("three", vec![step("a"), step("b"), step("c")])).await;
    let mut all = Vec::new();
    for _ in 0..40 {
        all.push(first.start("three", json!({})).await);
    }
    until("45 steps ended", || gate.available_permits() == 0).await;
    first.kill();

    let second = world.engine(told).await;
    for id in all {
        let run = second.ended(id).await;
        assert_completed(&run);
        let data = second.value(id, &run.data).await;
        for step in &run.steps {
            // What counts is of the one attempt that is recorded as completed, and no other.
            let last = step.attempts.last().unwrap();
            assert_eq!(data[step.id.as_str()], json!(last.number), "{run:#?}");
            let others = step.attempts.iter().rev().skip(1);
            assert!(others.into_iter().all(|other| other.error.as_ref().unwrap().code == "interrupted"), "{run:#?}");
            assert_eq!(step.tries, 0, "an interruption counts against nobody: {run:#?}");
        }
    }
}

/// A gateway on a database that others may share.
async fn world_on(database: &Database) -> World {
    let mut config = Postgres::parse(&database.url()).unwrap();
    config.pool = 8;
    let store = PostgresStore::open(&config, Uuid::now_v7()).await.unwrap();
    World::on(tempfile::tempdir().unwrap(), Arc::new(store)).await
}

// Not on SQLite: one process has the file, and nobody could take its runs.
#[tokio::test]
async fn what_a_step_returns_after_its_session_was_lost_does_not_count() {
    let database = database();
    let mut world = world_on(&database).await;
    world.config.jobs.lease_ms = LEASE_MS;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let engine = world
        .engine(move |task| match task.attempt {
            1 => Act::Once(Arc::clone(&held), completed(json!({"a": 1}))),
            _ => told(task),
        })
        .await;
    engine.save(job("one", vec![step("a")])).await;
    let id = engine.start("one", json!({})).await;
    until("a began", || world.ledger.began("a") == 1).await;
    // No session can be extended, and none begun.
    let outage = database.connect().await.unwrap();
    outage.batch_execute("BEGIN; LOCK TABLE workers IN EXCLUSIVE MODE").await.unwrap();
    // The gateway has to know by itself that it may be over.
    until("the session was lost", || engine.counter("sluice_job_sessions_lost_total") >= 1).await;
    gate.add_permits(1);
    outage.batch_execute("ROLLBACK").await.unwrap();
    let run = engine.ended(id).await;
    assert_completed(&run);
    assert_eq!(codes(&run, "a"), ["interrupted", ""]);
    assert_eq!(engine.value(id, &run.data).await, json!({"a": 2}));
    assert_eq!(world.ledger.of(Moment::Ended, "a").len(), 1, "the attempt of the lost session was not ended");
}

#[tokio::test]
async fn a_short_outage_of_the_database_fails_nothing_and_repeats_nothing() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let engine = world
        .engine(move |task| Act::Once(Arc::clone(&held), completed(json!({task.step.as_str(): task.attempt}))))
        .await;
    engine.save(job("two", vec![step("a"), step("b")])).await;
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(engine.start("two", json!({})).await);
    }
    until("every run began", || world.ledger.began("a") == 10).await;
    let lock = world.lock_database();
    gate.add_permits(1_000);
    until("every step ended", || world.ledger.of(Moment::Ended, "a").len() == 10).await;
    // Nothing that is not stored begins.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.ledger.began("b"), 0);
    drop(lock);
    for id in all {
        let run = engine.ended(id).await;
        assert_completed(&run);
        assert_eq!(engine.value(id, &run.data).await, json!({"a": 1, "b": 1}));
    }
    assert_eq!(world.ledger.began("a"), 10);
}

#[tokio::test]
async fn a_short_outage_of_the_blobs_fails_nothing_and_repeats_nothing() {
    let world = World::new().await;
    let engine = world.engine(|_| Act::End(completed(json!({"text": "x".repeat(100_000)})))).await;
    engine.save(job("one", vec![step("a")])).await;
    // A file where a folder has to be: nothing can be written there.
    std::fs::create_dir_all(world.run_blobs().parent().unwrap()).unwrap();
    std::fs::write(world.run_blobs(), "").unwrap();
    let id = engine.start("one", json!({})).await;
    until("a ended", || world.ledger.of(Moment::Ended, "a").len() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let run = engine.handle.run(id).await.unwrap().unwrap();
    assert_eq!(step_of(&run, "a").status, StepStatus::Running);
    std::fs::remove_file(world.run_blobs()).unwrap();
    let run = engine.ended(id).await;
    assert_completed(&run);
    assert_eq!(world.ledger.began("a"), 1);
}

#[tokio::test]
async fn what_a_run_holds_and_is_not_what_was_stored_fails_it() {
    let world = World::new().await;
    let first = world
        .engine(|task| match task.step.as_str() {
            "a" => Act::End(completed(json!({"text": "x".repeat(100_000)}))),
            _ => Act::Hang,
        })
        .await;
    first.save(job("two", vec![step("a"), step("b")])).await;
    let id = first.start("two", json!({})).await;
    until("b began", || world.ledger.began("b") == 1).await;
    first.stop().await;
    let run = world.store.run(id).await.unwrap().unwrap();
    let Some(Payload::Blob { digest, .. }) = step_of(&run, "a").output else { panic!("{run:#?}") };
    std::fs::write(world.run_blobs().join(id.to_string()).join(digest.to_string()), "{}").unwrap();
    let second = world.engine(told).await;
    let run = second.ended(id).await;
    assert_eq!(run.error.unwrap().code, "integrity");
    assert_eq!(world.ledger.began("b"), 1);
}

#[tokio::test]
async fn a_clock_that_steps_back_an_hour_delays_no_retry() {
    let world = World::new().await;
    let engine = world.engine(|task| if task.attempt == 1 { Act::End(failed()) } else { told(task) }).await;
    let mut definition = job("one", vec![step("a")]);
    definition["retry"]["initial_interval_ms"] = json!(1_500);
    engine.save(definition).await;
    let id = engine.start("one", json!({})).await;
    engine.once(id, |run| step_of(run, "a").due_at.is_some()).await;
    world.hand.advance_ms(-3_600_000);
    assert_completed(&engine.ended(id).await);
}

#[tokio::test]
async fn a_stop_records_what_ends_in_time_and_another_engine_goes_on_at_once() {
    let mut world = World::new().await;
    // So long would it take if nobody were told of the stop.
    world.config.jobs.lease_ms = 600_000;
    let is_first = Arc::new(AtomicBool::new(true));
    let gate = Arc::new(Semaphore::new(0));
    let (held, first_time) = (Arc::clone(&gate), Arc::clone(&is_first));
    let script = move |task: &crate::jobs::runner::Task| match task.job.as_str() {
        _ if !first_time.load(Ordering::SeqCst) => told(task),
        "ends" => Act::Once(Arc::clone(&held), completed(json!({"a": "in time"}))),
        _ => Act::Hang,
    };
    let first = world.engine(script.clone()).await;
    first.save(job("ends", vec![step("a"), step("b")])).await;
    first.save(job("hangs", vec![step("c")])).await;
    let ends = first.start("ends", json!({})).await;
    let hangs = first.start("hangs", json!({})).await;
    until("both began", || world.ledger.began("a") == 1 && world.ledger.began("c") == 1).await;
    let ends_meanwhile = async {
        // Well after the stop was told, and well before the drain time is over.
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.add_permits(1);
    };
    tokio::join!(first.stop(), ends_meanwhile);
    assert_eq!(world.ledger.began("b"), 0, "a gateway that stops begins nothing");

    is_first.store(false, Ordering::SeqCst);
    let since = Instant::now();
    let second = world.engine(script).await;
    let run = second.ended(ends).await;
    assert_completed(&run);
    assert_eq!(second.value(ends, &run.data).await, json!({"a": "in time", "b": 1}));
    let run = second.ended(hangs).await;
    assert_completed(&run);
    assert_eq!(codes(&run, "c"), ["interrupted", ""]);
    assert!(since.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn two_engines_on_one_database_share_the_runs_and_do_each_step_once() {
    let database = database();
    let (mut first, mut second) = (world_on(&database).await, world_on(&database).await);
    first.config.jobs.workers = 8;
    second.config.jobs.workers = 8;
    second.ledger = first.ledger.clone();
    let gate = Arc::new(Semaphore::new(0));
    let script = |name: &'static str| {
        let held = Arc::clone(&gate);
        move |_: &crate::jobs::runner::Task| Act::Once(Arc::clone(&held), completed(json!({name: true})))
    };
    let (one, other) = (first.engine(script("one")).await, second.engine(script("other")).await);
    one.save(job("two", vec![step("a"), step("b")])).await;
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(one.start("two", json!({})).await);
    }
    until("both have as many as they may", || first.ledger.began("a") == 16).await;
    gate.add_permits(1_000);
    let mut by_other = 0;
    for id in all {
        let run = other.ended(id).await;
        assert_completed(&run);
        by_other += usize::from(one.value(id, &run.data).await["other"] == json!(true));
    }
    assert_eq!((first.ledger.began("a"), first.ledger.began("b")), (100, 100));
    assert!(by_other >= 8, "the other engine did {by_other} of 100 runs");
}

#[tokio::test]
async fn a_run_that_a_lost_session_made_too_late_is_taken_by_the_next() {
    let world = World::new().await;
    let engine = world.engine(told).await;
    engine.save(job("one", vec![step("a")])).await;
    engine.stop().await;
    let (lost, next) = (WorkerId(Uuid::now_v7()), WorkerId(Uuid::now_v7()));
    for session in [lost, next] {
        world.store.worker_beat(session, LEASE_MS, true).await.unwrap();
    }
    let late = NewRun {
        id: RunId::generate(),
        job: "one".parse().unwrap(),
        revision: 1,
        trigger: Payload::Inline(JsonText::of(&json!({}))),
        data: Payload::Inline(JsonText::of(&json!({}))),
        steps: Vec::new(),
        created_at: world.clock.now(),
        traceparent: None,
        idempotency: None,
        worker: Some(lost),
    };
    let id = late.id;
    world.store.change_runs(vec![RunChange::Create(Box::new(late))]).await.unwrap();
    world.store.worker_beat(next, LEASE_MS, false).await.unwrap();
    let claimed = world.store.claim_runs(next, world.clock.now(), 10).await.unwrap();
    assert_eq!(claimed.into_iter().map(|held| held.run.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn starts_that_wait_for_the_database_are_bounded() {
    let world = World::new().await;
    let engine = world.engine(told).await;
    engine.save(job("one", vec![step("a")])).await;
    let lock = world.lock_database();
    let trigger = json!("x".repeat(8 * 1024 * 1024));
    let starts: Vec<_> = (0..10).map(|_| engine.start_with("one", trigger.clone(), None)).collect();
    let started = async {
        let all = futures_util::future::join_all(starts).await;
        all.iter().filter(|one| matches!(one, Err(crate::jobs::Error::Overloaded))).count()
    };
    let unlock = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(lock);
    };
    let (refused, ()) = tokio::join!(started, unlock);
    assert!((1..10).contains(&refused), "{refused} of 10 starts of 8 MiB were refused");
}
