//! Notifications, against receivers of every kind; and what is deleted when it is old.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::harness::{
    AT_MOST, Act, Engine, Post, Receiver, SECRET, World, answered, audit, completed, failed_for_good, job, step, told,
    until,
};
use crate::jobs::runner::Posted;
use crate::jobs::webhook::{Secret, verify};
use crate::model::RunId;
use crate::model::job::{Delivery, DeliveryStatus, RunStatus};
use crate::store::{DeliveryFilter, PageRequest, Replayed};

const ALL: PageRequest = PageRequest { page: 1, limit: 100 };
const MINUTE_MS: i64 = 60_000;

fn telling(name: &str, urls: &[&str]) -> Value {
    let mut definition = job(name, vec![step("a")]);
    let notify = |url: &&str| json!({"url": url, "secret": SECRET, "on": ["completed", "failed", "canceled"]});
    definition["notify"] = urls.iter().map(notify).collect();
    definition
}

/// The one notification of a URL, once it is as wanted.
async fn once(engine: &Engine, url: &str, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
    let end = tokio::time::Instant::now() + AT_MOST;
    loop {
        let all = engine.handle.deliveries(&DeliveryFilter::default(), ALL).await.unwrap().items;
        let found = all.into_iter().find(|delivery| delivery.url == url);
        if let Some(found) = found.as_ref().filter(|found| wanted(found)) {
            return found.clone();
        }
        assert!(tokio::time::Instant::now() < end, "{found:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn verified(post: &Post, now: Timestamp) -> Value {
    let mut headers = HeaderMap::new();
    for (name, value) in &post.headers {
        headers.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    verify(&[Secret::parse(SECRET).unwrap()], &headers, post.body.as_bytes(), now).unwrap();
    serde_json::from_str(&post.body).unwrap()
}

async fn run_to_its_end(engine: &Engine, job: &str) -> RunId {
    let id = engine.start(job, json!({})).await;
    engine.ended(id).await;
    id
}

#[tokio::test]
async fn ends_are_told_with_a_signature_and_what_came_of_the_run() {
    let world = World::new().await;
    let receiver = Receiver::new(|_, _| answered(204));
    let script = |task: &crate::jobs::runner::Task| match task.job.as_str() {
        "good" => told(task),
        "large" => Act::End(completed(json!({"text": "x".repeat(30_000)}))),
        _ => Act::End(failed_for_good()),
    };
    let engine = world.engine_with(script, Arc::clone(&receiver)).await;
    for name in ["good", "bad", "large"] {
        engine.save(telling(name, &[&format!("https://{name}.test/")])).await;
    }
    let good = run_to_its_end(&engine, "good").await;
    run_to_its_end(&engine, "bad").await;
    run_to_its_end(&engine, "large").await;
    until("three notifications", || receiver.posts().len() == 3).await;
    let body_of = |url: &str| {
        let posts = receiver.posts();
        let post = posts.iter().find(|post| post.url == url).unwrap();
        assert!(post.body.len() < 20_000);
        verified(post, world.clock.now())
    };
    let body = body_of("https://good.test/");
    assert_eq!((&body["type"], &body["data"]["run_id"]), (&json!("run.completed"), &json!(good)));
    assert_eq!(body["data"]["data"], json!({"a": 1}));
    let body = body_of("https://bad.test/");
    assert_eq!((&body["type"], &body["data"]["error"]["code"]), (&json!("run.failed"), &json!("upstream-status")));
    assert_eq!(body_of("https://large.test/")["type"], json!("run.completed"));
    let delivery = once(&engine, "https://good.test/", |one| one.status == DeliveryStatus::Delivered).await;
    assert_eq!((delivery.run_id, delivery.attempts.len()), (good, 1));
    assert!(delivery.delivered_at.is_some());
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let world = World::new().await;
    let receiver = Receiver::new(|_, url| if url.contains("hangs") { None } else { answered(200) });
    let engine = world.engine_with(told, Arc::clone(&receiver)).await;
    engine.save(telling("hangs", &["https://hangs.test/"])).await;
    engine.save(telling("good", &["https://good.test/"])).await;
    for _ in 0..100 {
        run_to_its_end(&engine, "hangs").await;
    }
    run_to_its_end(&engine, "good").await;
    once(&engine, "https://good.test/", |one| one.status == DeliveryStatus::Delivered).await;
    let at_once = receiver.posts().iter().filter(|post| post.url.contains("hangs")).count();
    assert!((1..=4).contains(&at_once), "{at_once} requests to the receiver that hangs");
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_nothing_more_until_somebody_wants_it() {
    let world = World::new().await;
    let receiver = Receiver::new(|before, _| answered(if before == 0 { 410 } else { 200 }));
    let engine = world.engine_with(told, Arc::clone(&receiver)).await;
    engine.save(telling("gone", &["https://gone.test/"])).await;
    run_to_its_end(&engine, "gone").await;
    let first = once(&engine, "https://gone.test/", |one| one.status == DeliveryStatus::Dead).await;
    let second = run_to_its_end(&engine, "gone").await;
    let second = once(&engine, "https://gone.test/", |one| one.run_id == second).await;
    assert_eq!((second.status, receiver.posts().len()), (DeliveryStatus::Dead, 1));

    assert_eq!(engine.handle.replay(first.id, audit()).await.unwrap(), Replayed::Accepted);
    until("it was sent again", || receiver.posts().len() == 2).await;
    let posts = receiver.posts();
    let id = |post: &Post| post.headers.iter().find(|(name, _)| name == "webhook-id").unwrap().1.clone();
    assert_eq!((id(&posts[0]), &posts[0].body), (id(&posts[1]), &posts[1].body));
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let world = World::new().await;
    let receiver = Receiver::new(|before, _| match before {
        0 => Some(Posted::Answered { status: 429, retry_after: Some(Duration::from_mins(10)) }),
        _ => answered(200),
    });
    let engine = world.engine_with(told, Arc::clone(&receiver)).await;
    engine.save(telling("busy", &["https://busy.test/"])).await;
    run_to_its_end(&engine, "busy").await;
    let url = "https://busy.test/";
    let waiting = once(&engine, url, |one| one.attempts.len() == 1).await;
    let wait = waiting.due_at.unwrap().duration_since(world.clock.now()).as_secs();
    assert!((595..=605).contains(&wait), "{wait} s");
    assert_eq!((waiting.status, waiting.attempts[0].status), (DeliveryStatus::Retrying, Some(429)));
    world.hand.advance_ms(10 * MINUTE_MS + 5_000);
    once(&engine, url, |one| one.status == DeliveryStatus::Delivered).await;
    assert_eq!(receiver.posts().len(), 2);
}

#[tokio::test]
async fn a_receiver_that_fails_for_an_hour_is_told_after_it() {
    let world = World::new().await;
    let begin = world.clock.now();
    let clock = world.clock.clone();
    let receiver = Receiver::new(move |_, _| {
        let is_over = clock.now().duration_since(begin).as_secs() >= 3_600;
        answered(if is_over { 200 } else { 500 })
    });
    let engine = world.engine_with(told, Arc::clone(&receiver)).await;
    engine.save(telling("fails", &["https://fails.test/"])).await;
    run_to_its_end(&engine, "fails").await;
    let url = "https://fails.test/";
    let mut attempts = 0;
    loop {
        let delivery = once(&engine, url, |one| one.attempts.len() > attempts).await;
        attempts = delivery.attempts.len();
        if delivery.status == DeliveryStatus::Delivered {
            break;
        }
        assert_eq!(delivery.status, DeliveryStatus::Retrying);
        let wait = delivery.due_at.unwrap().duration_since(world.clock.now());
        world.hand.advance_ms(i64::try_from(wait.as_millis()).unwrap() + 1_000);
    }
    // 0 s, 5 s, 5 m, 30 m fail, and two hours later it works.
    assert_eq!(attempts, 5);
    let ids: std::collections::HashSet<_> = receiver
        .posts()
        .iter()
        .map(|post| post.headers.iter().find(|(name, _)| name == "webhook-id").unwrap().1.clone())
        .collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn runs_and_what_they_hold_are_deleted_when_their_time_is_over() {
    let world = World::new().await;
    let script = |task: &crate::jobs::runner::Task| match task.job.as_str() {
        "hangs" => Act::Hang,
        _ => Act::End(completed(json!({"text": "x".repeat(100_000)}))),
    };
    let first = world.engine(script).await;
    first.save(job("large", vec![step("a")])).await;
    first.save(job("hangs", vec![step("b")])).await;
    let old = run_to_its_end(&first, "large").await;
    let unended = first.start("hangs", json!({})).await;
    let folder = world.run_blobs().join(old.to_string());
    assert!(std::fs::read_dir(&folder).unwrap().count() >= 1);
    world.hand.advance_ms(31 * 24 * 60 * MINUTE_MS);
    let young = run_to_its_end(&first, "large").await;
    first.stop().await;

    let second = world.engine(script).await;
    until("the blobs are gone", || !folder.exists()).await;
    assert!(second.handle.run(old).await.unwrap().is_none());
    assert!(second.handle.run(young).await.unwrap().is_some());
    assert_eq!(second.handle.run(unended).await.unwrap().unwrap().status, RunStatus::Running);
    assert!(world.run_blobs().join(young.to_string()).exists());
}

#[tokio::test]
async fn the_blobs_of_a_run_whose_rows_are_gone_are_deleted_by_the_next_engine() {
    let world = World::new().await;
    let script = |_: &crate::jobs::runner::Task| Act::End(completed(json!({"text": "x".repeat(100_000)})));
    let first = world.engine(script).await;
    first.save(job("large", vec![step("a")])).await;
    let id = run_to_its_end(&first, "large").await;
    first.kill();
    // As far as a gateway came that was killed between the two.
    let later: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(world.store.delete_ended_runs(later, 10).await.unwrap(), 1);
    assert_eq!(world.store.runs_without_rows(10).await.unwrap(), [id]);
    let folder = world.run_blobs().join(id.to_string());
    assert!(folder.exists());
    let _second = world.engine(script).await;
    until("the blobs are gone", || !folder.exists()).await;
}
