//! The real client of Standard Webhooks signs what starts a run, and verifies what tells of its end.

use reqwest::Method;
use serde_json::json;

use crate::support::standard_webhooks::{sign, verifies};
use crate::support::{Answer, TestGateway, Upstream, guest};
use sluice::model::{Permission, PermissionKind};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn gateway(upstream: &Upstream) -> TestGateway {
    let resource = upstream.resource();
    let gw = TestGateway::start_with(|config| {
        config.egress.allow_private = vec!["127.0.0.0/8".parse().unwrap()];
        config.jobs.permissions = vec![Permission { permission: PermissionKind::HttpWrite, resource }];
    })
    .await;
    gw.upload("echo", "1.0.0", guest("echo")).await.expect_status(201);
    let job = json!({
        "name": "hooked", "hook": {"secrets": [OTHER, SECRET]},
        "notify": [{"url": upstream.url("/told"), "secret": SECRET, "on": ["completed"]}],
        "steps": [{"id": "only", "type": "wasm", "module": "echo@1.0.0"}],
    });
    Answer::of(gw.request(Method::POST, "/api/v1/jobs").json(&job)).await.expect_status(201);
    gw
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

async fn post(gw: &TestGateway, id: &str, seconds: i64, signature: &str, body: &str) -> Answer {
    let request = gw.anonymous(Method::POST, "/hooks/hooked").header("content-type", "application/json");
    let request = request.header("webhook-id", id).header("webhook-timestamp", seconds.to_string());
    Answer::of(request.header("webhook-signature", signature).body(body.to_owned())).await
}

#[tokio::test]
async fn what_the_reference_client_signs_starts_a_run_and_it_verifies_what_we_send() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let (at, body) = (now(), r#"{"type": "order.placed", "data": {"id": "A-17", "text": "ünïcode"}}"#);
    let signature = sign(SECRET, "msg_1", at, body).await;
    let started = post(&gw, "msg_1", at, &signature, body).await.expect_status(202).json();
    let path = format!("/api/v1/runs/{}", started["run_id"].as_str().unwrap());
    let run = gw.eventually(&path, |answer| answer.json()["status"] == "completed").await.json();
    assert_eq!(run["trigger"]["data"]["text"], "ünïcode");

    upstream.until_asked().await;
    let seen = upstream.seen();
    let [told] = &seen[..] else { panic!("{} notifications", seen.len()) };
    assert_eq!((told.method.as_str(), told.path.as_str()), ("POST", "/told"));
    assert_eq!(verifies(SECRET, told).await, Ok(()));
    // The client does look: with another secret it refuses the same.
    assert!(verifies(OTHER, told).await.unwrap_err().contains("No matching signature"));
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["type"], "run.completed", "{told}");
}

#[tokio::test]
async fn a_webhook_is_refused_that_is_not_signed_so_or_not_now_and_one_that_comes_again_starts_nothing() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let (at, body) = (now(), "{}");
    let foreign = sign("whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", "msg_1", at, body).await;
    post(&gw, "msg_1", at, &foreign, body).await.expect_refusal(401, "unauthenticated");
    for old in [at - 301, at + 301] {
        let signature = sign(SECRET, "msg_1", old, body).await;
        post(&gw, "msg_1", old, &signature, body).await.expect_refusal(401, "unauthenticated");
    }
    let signature = sign(SECRET, "msg_1", at, body).await;
    post(&gw, "msg_2", at, &signature, body).await.expect_refusal(401, "unauthenticated");
    post(&gw, "msg_1", at, &signature, "{ }").await.expect_refusal(401, "unauthenticated");
    for malformed in ["", "v1", "v1,", "v1,!!!", "v2,AAAA", &signature[3..]] {
        post(&gw, "msg_1", at, malformed, body).await.expect_refusal(401, "unauthenticated");
    }
    let several = format!("v1a,AAAA {foreign} {signature}");
    let first = post(&gw, "msg_1", at, &several, body).await.expect_status(202).json();
    let again = post(&gw, "msg_1", at, &signature, body).await.expect_status(202).json();
    assert_eq!(first["run_id"], again["run_id"]);
    assert_eq!(gw.get("/api/v1/runs").await.json()["total"], 1);
}
