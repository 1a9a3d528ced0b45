//! Modules in an object store: as it should be, and when the store is down, slow or lies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use sluice::blob::{self, Spool};
use sluice::clock::Clock;
use sluice::model::Digest;

use crate::support::component::{constant, echo, padded};
use crate::support::s3::{Fault, S3Server};
use crate::support::{Answer, Process, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";
const ALERTS: &str = "sluice_security_alerts_total{kind=\"integrity\"}";
/// Four attempts of a second each, the pauses between them, and twice that for an upload that is taken back.
const BOUNDED: Duration = Duration::from_secs(20);

async fn gateway_on(s3: &S3Server) -> TestGateway {
    TestGateway::start_with(|config| config.blobs = s3.config()).await
}

/// Another start on the same data folder, without what was compiled.
async fn restarted(mut gw: TestGateway, s3: &S3Server) -> TestGateway {
    gw.stop().await;
    std::fs::remove_dir_all(gw.folder().path().join("artifacts")).unwrap();
    TestGateway::start_in(gw.folder(), |config| config.blobs = s3.config()).await
}

async fn blobs_on(s3: &S3Server) -> (tempfile::TempDir, blob::Blobs) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blob::Blobs::open(&s3.config(), folder.path(), Clock::system()).await.unwrap();
    (folder, blobs)
}

async fn digest_of(gw: &TestGateway, name: &str) -> String {
    gw.get(&format!("{MODULES}/{name}")).await.expect_status(200).json()["sha256"].as_str().unwrap().to_owned()
}

async fn in_bounded_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUNDED, work).await.expect("an answer in bounded time")
}

/// What is said once it is this; whoever asks within a second is told what was found then.
async fn ready(gw: &TestGateway, status: u16) -> Value {
    gw.eventually("/readyz", |answer| answer.status == status).await.json()
}

#[tokio::test]
async fn a_module_lives_in_the_bucket_and_nowhere_else() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let digest = digest_of(&gw, "echo").await;
    assert_eq!(s3.digests(), std::slice::from_ref(&digest));
    assert_eq!(std::fs::read(s3.object(&digest)).unwrap(), echo("a"));
    assert!(gw.files().blobs.is_empty() && gw.files().others.is_empty(), "{:?}", gw.files());
    assert_eq!(ready(&gw, 200).await, json!({"status": "ready"}));

    let gw = restarted(gw, &s3).await;
    gw.invoke("echo", json!("x")).await.expect_status(200);
    let download = gw.get(&format!("{MODULES}/echo/download")).await.expect_status(200);
    assert_eq!((download.header("etag"), &download.body[..]), (format!("\"{digest}\"").as_str(), &echo("a")[..]));
    Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/echo"))).await.expect_status(204);
    gw.invoke("echo", json!("x")).await.expect_refusal(404, "not-found");
}

#[tokio::test]
async fn a_large_module_goes_in_parts_and_comes_back_whole() {
    let s3 = S3Server::start().await;
    let gw = TestGateway::start_with(|config| {
        config.blobs = s3.config();
        config.limits.module_bytes = 40 * 1024 * 1024;
    })
    .await;
    let component = padded(echo("large"), 20 * 1024 * 1024);
    gw.upload("large", "1.0.0", component.clone()).await.expect_status(201);
    let gw = restarted(gw, &s3).await;
    gw.invoke("large", json!("x")).await.expect_status(200);
    let download = gw.get(&format!("{MODULES}/large/download")).await.expect_status(200);
    assert!(download.body == component);
}

#[tokio::test]
async fn of_two_uploads_of_one_version_at_once_one_wins_and_the_other_is_told() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    for round in 0..4 {
        let name = format!("n{round}");
        let (first, second) =
            tokio::join!(gw.upload(&name, "1.0.0", constant("1")), gw.upload(&name, "1.0.0", constant("2")));
        let (won, lost, output) =
            if first.status == 201 { (first, second, json!(1)) } else { (second, first, json!(2)) };
        won.expect_status(201);
        lost.expect_refusal(409, "version-exists");
        assert_eq!(gw.invoke(&name, json!(null)).await.expect_output(), output);
    }
}

#[tokio::test]
async fn a_store_that_is_down_stops_uploads_and_no_module_that_runs() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    for fault in [Fault::Refuses, Fault::Hangs, Fault::Errors(usize::MAX)] {
        s3.break_with(fault);
        let said = ready(&gw, 503).await;
        assert_eq!(said["checks"], json!({"store": "ok", "blobs": "failed"}), "{fault:?}");
        gw.invoke("echo", json!("x")).await.expect_status(200);
        gw.get(MODULES).await.expect_status(200);
        let refused = in_bounded_time(gw.upload("other", "1.0.0", echo("b"))).await.expect_refusal(500, "internal");
        assert!(!refused.to_string().contains("127.0.0.1") && !refused.to_string().contains("modules/"), "{refused}");
        in_bounded_time(gw.get(&format!("{MODULES}/echo/download"))).await.expect_refusal(500, "internal");
        assert!(gw.files().others.is_empty(), "{:?}", gw.files());

        s3.break_with(Fault::None);
        ready(&gw, 200).await;
        gw.get(&format!("{MODULES}/echo/download")).await.expect_status(200);
    }
    gw.upload("other", "1.0.0", echo("b")).await.expect_status(201);
    assert_eq!(gw.metric(ALERTS).await, 0);
}

#[tokio::test]
async fn asking_for_readiness_asks_the_bucket_once_a_second_whoever_asks() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    ready(&gw, 200).await;
    for fault in [Fault::None, Fault::Hangs] {
        s3.break_with(fault);
        let (before, began) = (s3.lists(), Instant::now());
        let asking = (0..100).map(|_| async { Answer::of(gw.anonymous(Method::GET, "/readyz")).await.status });
        in_bounded_time(futures_util::future::join_all(asking)).await;
        let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
        assert!(s3.lists() - before <= most, "{fault:?}: {} in {:?}", s3.lists() - before, began.elapsed());
    }
}

#[tokio::test]
async fn a_start_does_not_wait_for_a_bucket_that_hangs() {
    let s3 = S3Server::start().await;
    s3.break_with(Fault::Hangs);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // With the times for real work: four tries of 20 s.
    let process = Process::start_with(&folder, &s3.toml()).await;
    process.gateway.get(MODULES).await.expect_status(200);
    process.stop().await;
}

#[tokio::test]
async fn a_gateway_starts_while_the_store_is_down_and_serves_when_it_is_back() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    s3.break_with(Fault::Refuses);
    let gw = restarted(gw, &s3).await;
    ready(&gw, 503).await;
    in_bounded_time(gw.invoke("echo", json!("x"))).await.expect_refusal(500, "internal");
    s3.break_with(Fault::None);
    gw.invoke("echo", json!("x")).await.expect_status(200);
}

#[tokio::test]
async fn errors_and_half_bodies_that_pass_are_tried_again_until_all_is_there() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    s3.break_with(Fault::Errors(2));
    let component = padded(echo("a"), 100_000);
    gw.upload("echo", "1.0.0", component.clone()).await.expect_status(201);
    s3.break_with(Fault::HalfBodies(2));
    let download = gw.get(&format!("{MODULES}/echo/download")).await.expect_status(200);
    assert!(download.body == component);
    s3.break_with(Fault::None);
    let gw = restarted(gw, &s3).await;
    s3.break_with(Fault::HalfBodies(1));
    gw.invoke("echo", json!("x")).await.expect_status(200);
    assert_eq!(gw.metric(ALERTS).await, 0);
}

#[tokio::test]
async fn wrong_bytes_are_refused_with_an_alert_and_not_asked_for_again() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let gw = restarted(gw, &s3).await;
    s3.break_with(Fault::WrongBytes);
    let before = s3.objects_read();
    gw.invoke("echo", json!("x")).await.expect_refusal(500, "integrity");
    assert_eq!((s3.objects_read() - before, gw.metric(ALERTS).await), (1, 1));
    gw.get(&format!("{MODULES}/echo/download")).await.expect_refusal(500, "integrity");
    assert_eq!((s3.objects_read() - before, gw.metric(ALERTS).await), (2, 2));
    assert!(gw.files().artifacts.is_empty(), "{:?}", gw.files());
    // An upload whose bytes can't be read back was not stored.
    gw.upload("other", "1.0.0", echo("b")).await.expect_refusal(500, "integrity");
    gw.get(&format!("{MODULES}/other")).await.expect_refusal(404, "not-found");
    assert_eq!(gw.metric(ALERTS).await, 3);
    s3.break_with(Fault::None);
    gw.invoke("echo", json!("x")).await.expect_status(200);
    // The stop writes the alerts that are left of this minute.
    let gw = restarted(gw, &s3).await;
    let rows = gw.get("/api/v1/audit?action=security.alert").await.expect_status(200).json();
    let uploaded = Digest::of(&echo("b")).to_string();
    let row = rows["items"].as_array().unwrap().iter().find(|row| row["resource"] == uploaded.as_str());
    assert_eq!(row.unwrap_or_else(|| panic!("{rows}"))["detail"], json!({"kind": "integrity", "count": 1}));
}

#[tokio::test]
async fn an_object_that_was_cut_short_in_the_store_is_refused() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let object = s3.object(&digest_of(&gw, "echo").await);
    let bytes = std::fs::read(&object).unwrap();
    std::fs::write(&object, &bytes[..bytes.len() / 2]).unwrap();
    let gw = restarted(gw, &s3).await;
    gw.invoke("echo", json!("x")).await.expect_refusal(500, "integrity");
    std::fs::remove_file(&object).unwrap();
    gw.invoke("echo", json!("x")).await.expect_refusal(500, "internal");
    // The same bytes under another name bring them back.
    gw.upload("again", "1.0.0", echo("a")).await.expect_status(201);
    gw.invoke("echo", json!("x")).await.expect_status(200);
}

#[tokio::test]
async fn a_sweep_takes_what_is_old_and_leaves_what_another_gateway_may_be_uploading() {
    let s3 = S3Server::start().await;
    let gw = gateway_on(&s3).await;
    gw.upload("kept", "1.0.0", echo("kept")).await.expect_status(201);
    let kept = digest_of(&gw, "kept").await;
    let (_folder, other) = blobs_on(&s3).await;
    let mut forgotten = Vec::new();
    for bytes in [b"old", b"new"] {
        let component = Spool::of(bytes).unwrap();
        other.put(&component).await.unwrap();
        forgotten.push(component.digest().to_string());
    }
    s3.age(&forgotten[0]);
    s3.age(&kept);
    let gw = restarted(gw, &s3).await;
    let mut expected = [kept.clone(), forgotten[1].clone()];
    expected.sort();
    // No start waits for its sweep.
    let swept = async {
        while s3.digests() != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_bounded_time(swept).await;
    gw.invoke("kept", json!("x")).await.expect_status(200);
    // What is old goes with its row.
    Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/kept"))).await.expect_status(204);
    assert_eq!(s3.digests(), [forgotten[1].clone()]);
}

#[tokio::test]
async fn a_gateway_removes_nothing_from_a_bucket_of_another_store() {
    let s3 = S3Server::start().await;
    let first = gateway_on(&s3).await;
    first.upload("first", "1.0.0", echo("first")).await.expect_status(201);
    let theirs = digest_of(&first, "first").await;
    let second = gateway_on(&s3).await;
    // The same bytes, and others.
    second.upload("same", "1.0.0", echo("first")).await.expect_status(201);
    second.upload("second", "1.0.0", echo("second")).await.expect_status(201);
    let own = digest_of(&second, "second").await;
    s3.age(&theirs);
    Answer::of(second.request(Method::DELETE, &format!("{MODULES}/same"))).await.expect_status(204);
    let second = restarted(second, &s3).await;
    let mut expected = [theirs.clone(), own];
    expected.sort();
    assert_eq!(s3.digests(), expected);
    assert_eq!(second.invoke("second", json!("x")).await.expect_output(), "x");
    // The owner has it in hand, over a restart too.
    let first = restarted(first, &s3).await;
    first.invoke("first", json!("x")).await.expect_status(200);
    Answer::of(first.request(Method::DELETE, &format!("{MODULES}/first"))).await.expect_status(204);
    assert!(!s3.digests().contains(&theirs), "{:?}", s3.digests());
}

#[tokio::test]
async fn of_stores_that_claim_a_bucket_at_once_one_has_it() {
    let s3 = S3Server::start().await;
    let (_folder, blobs) = blobs_on(&s3).await;
    let ids: Vec<_> = (0..8).map(|_| uuid::Uuid::new_v4()).collect();
    futures_util::future::join_all(ids.iter().map(|id| blobs.claim(*id))).await.into_iter().for_each(|one| {
        one.unwrap();
    });
    let mut owners = 0;
    for id in &ids {
        owners += usize::from(blobs.claim(*id).await.unwrap() == blob::Owner::This);
    }
    assert_eq!((owners, blobs.list().await.unwrap().len()), (1, 0));
}

#[tokio::test]
async fn bytes_that_are_put_again_are_young_again() {
    let s3 = S3Server::start().await;
    let (_folder, blobs) = blobs_on(&s3).await;
    let component = Spool::of(b"shared").unwrap();
    blobs.put(&component).await.unwrap();
    s3.age(&component.digest().to_string());
    blobs.put(&component).await.unwrap();
    assert_eq!(blobs.delete(component.digest()).await.unwrap(), blob::Deleted::Kept);
    s3.age(&component.digest().to_string());
    assert_eq!(blobs.delete(component.digest()).await.unwrap(), blob::Deleted::Gone);
    assert!(matches!(blobs.get(component.digest()).await, Err(blob::Error::Missing(_))));
    assert_eq!(blobs.delete(component.digest()).await.unwrap(), blob::Deleted::Gone);
}

#[tokio::test]
async fn a_key_that_is_wrong_is_told_as_a_store_that_does_not_answer() {
    let s3 = S3Server::start().await;
    let gw = TestGateway::start_with(|config| {
        let sluice::config::Blobs::S3(mut bucket) = s3.config() else { panic!("no bucket") };
        bucket.credentials.as_mut().unwrap().secret_access_key.push('x');
        config.blobs = sluice::config::Blobs::S3(bucket);
    })
    .await;
    assert_eq!(ready(&gw, 503).await["checks"]["blobs"], "failed");
    gw.upload("echo", "1.0.0", echo("a")).await.expect_refusal(500, "internal");
}

/// Checks that `holds` for components of any bytes and a place in them, on one server.
#[expect(clippy::needless_pass_by_value, reason = "a closure reads best where it is passed")]
fn with_a_bucket(holds: impl AsyncFn(&S3Server, &blob::Blobs, Vec<u8>, prop::sample::Index)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (s3, (_folder, blobs)) = runtime.block_on(async {
        let s3 = S3Server::start().await;
        let blobs = blobs_on(&s3).await;
        (s3, blobs)
    });
    let config = proptest::test_runner::Config { cases: 24, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let strategy = (prop::collection::vec(any::<u8>(), 1..200_000), any::<prop::sample::Index>());
    let result = runner.run(&strategy, |(bytes, place)| {
        runtime.block_on(holds(&s3, &blobs, bytes, place));
        Ok(())
    });
    let _guard = runtime.enter();
    drop(s3);
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn p20_module_hash_calculation_in_a_bucket() {
    with_a_bucket(async |s3, blobs, bytes, _| {
        let component = Spool::of(&bytes).unwrap();
        blobs.put(&component).await.unwrap();
        assert_eq!(component.digest(), Digest::of(&bytes));
        assert!(std::fs::read(s3.object(&component.digest().to_string())).unwrap() == bytes);
    });
}

#[test]
fn p21_module_storage_in_a_bucket() {
    with_a_bucket(async |s3, blobs, bytes, _| {
        let component = Spool::of(&bytes).unwrap();
        let digest = component.digest();
        // Twice is once.
        for _ in 0..2 {
            blobs.put(&component).await.unwrap();
            assert!(s3.digests().contains(&digest.to_string()) && blobs.list().await.unwrap().contains(&digest));
            assert!(*blobs.get(digest).await.unwrap().map().unwrap() == bytes);
        }
        assert_eq!(s3.digests().iter().filter(|stored| **stored == digest.to_string()).count(), 1);
    });
}

#[test]
fn p52_hash_verification_on_load_from_a_bucket() {
    with_a_bucket(async |s3, blobs, bytes, place| {
        let component = Spool::of(&bytes).unwrap();
        blobs.put(&component).await.unwrap();
        let loaded = blobs.get(component.digest()).await.unwrap();
        assert!(*loaded.map().unwrap() == bytes);
        let mut damaged = bytes.clone();
        damaged[place.index(bytes.len())] ^= 1;
        std::fs::write(s3.object(&component.digest().to_string()), &damaged).unwrap();
        let error = blobs.get(component.digest()).await.unwrap_err();
        let found_damage = matches!(error, blob::Error::Integrity { found, .. } if found == Digest::of(&damaged));
        assert!(found_damage, "{error}");
    });
}

#[test]
fn p53_hash_verification_failure_response() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (s3, gw) = runtime.block_on(async {
        let s3 = S3Server::start().await;
        let gw = TestGateway::start_with(|config| config.blobs = s3.config()).await;
        (Arc::new(s3), gw)
    });
    let store = Arc::clone(&s3);
    let strategy = (any::<prop::sample::Index>(), 0..8_u32, any::<u32>());
    crate::support::property::check(
        12,
        strategy,
        async { gw },
        async |gw: &TestGateway, (place, bit, seed): (prop::sample::Index, u32, u32)| {
            let name = format!("m{}", uuid::Uuid::now_v7().simple());
            gw.upload(&name, "1.0.0", echo(&format!("{seed}-{name}"))).await.expect_status(201);
            let object = store.object(&digest_of(gw, &name).await);
            let mut bytes = std::fs::read(&object).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            std::fs::write(&object, bytes).unwrap();
            let before = gw.metric(ALERTS).await;
            let problem = gw.get(&format!("{MODULES}/{name}/download")).await.expect_refusal(500, "integrity");
            assert!(!problem.to_string().contains(object.to_str().unwrap()), "{problem}");
            assert_eq!(gw.metric(ALERTS).await, before + 1);
            // The code was compiled of the right bytes.
            gw.invoke(&name, json!("x")).await.expect_status(200);
        },
    );
    drop(s3);
}
