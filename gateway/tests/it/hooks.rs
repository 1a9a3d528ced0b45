//! Webhooks that start runs.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sluice::jobs::webhook::{Secret, sign};

use crate::support::{Answer, TestGateway};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn gateway() -> TestGateway {
    let gw = TestGateway::start().await;
    let job = json!({"name": "intake", "hook": {"secrets": [SECRET]},
                     "steps": [{"id": "pause", "type": "wait", "duration_ms": 1}]});
    let saved = Answer::of(gw.request(Method::POST, "/api/v1/jobs").json(&job)).await.expect_status(201);
    assert!(!String::from_utf8_lossy(&saved.body).contains(SECRET), "{saved:?}");
    gw
}

async fn send(gw: &TestGateway, id: &str, at: i64, body: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let signature = sign(&Secret::parse(SECRET).unwrap(), id, at, body.as_bytes());
    let mut request = gw.anonymous(Method::POST, "/hooks/intake").body(body.to_owned());
    for (name, value) in [("webhook-id", id), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)]
    {
        request = request.header(name, value);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[tokio::test]
async fn a_signed_webhook_starts_one_run_however_often_it_comes() {
    let gw = gateway().await;
    let first = send(&gw, "msg_1", now(), r#"{"order": 1}"#, &[]).await;
    assert_eq!(first.status(), 202);
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let first: Value = first.json().await.unwrap();
    let second: Value = send(&gw, "msg_1", now(), r#"{"order": 1}"#, &[]).await.json().await.unwrap();
    assert_eq!(first["run_id"], second["run_id"]);
    assert_eq!(gw.get(&location).await.json()["trigger"], json!({"order": 1}));
    assert_eq!(gw.get("/api/v1/runs").await.json()["total"], 1);
}

#[tokio::test]
async fn what_is_not_signed_or_old_starts_nothing() {
    let gw = gateway().await;
    assert_eq!(send(&gw, "msg_1", now() - 301, "{}", &[]).await.status(), 401);
    let unsigned = gw.anonymous(Method::POST, "/hooks/intake").body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    let unknown = gw.anonymous(Method::POST, "/hooks/nothing").body("{}").send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(gw.anonymous(Method::GET, "/hooks/intake").send().await.unwrap().status(), 405);
    assert_eq!(gw.get("/api/v1/runs").await.json()["total"], 0);
}

#[tokio::test]
async fn an_event_is_a_trigger_of_attributes_and_data() {
    let gw = gateway().await;
    let event = json!({"specversion": "1.0", "id": "7", "source": "/shop", "type": "order", "data": {"total": 3}});
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = send(&gw, "msg_2", now(), &event.to_string(), &headers).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let trigger = gw.get(&location).await.json()["trigger"].clone();
    assert_eq!((&trigger["event"]["type"], &trigger["data"]), (&json!("order"), &json!({"total": 3})));
}
