//! Jobs and runs over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::keys::{make, of_role};
use crate::support::{Answer, TestGateway};

const JOBS: &str = "/api/v1/jobs";

/// A job that waits for a moment and ends.
fn brief(name: &str) -> Value {
    json!({"name": name, "steps": [{"id": "pause", "type": "wait", "duration_ms": 1}]})
}

async fn save(gw: &TestGateway, job: &Value) -> Answer {
    Answer::of(gw.request(Method::POST, JOBS).json(job)).await
}

async fn start(gw: &TestGateway, job: &str, query: &str, trigger: &Value) -> Answer {
    Answer::of(gw.request(Method::POST, &format!("{JOBS}/{job}/runs{query}")).json(trigger)).await
}

#[tokio::test]
async fn a_job_is_saved_shown_listed_and_deleted() {
    let gw = TestGateway::start().await;
    let made = save(&gw, &brief("intake")).await.expect_status(201);
    assert_eq!(made.header("location"), "/api/v1/jobs/intake");
    assert_eq!(made.json()["revision"], 1);
    save(&gw, &brief("intake")).await.expect_status(200);
    let yaml = "description: Takes orders.\nsteps:\n  - {id: pause, type: wait, duration_ms: 2}\n";
    let put = gw.request(Method::PUT, "/api/v1/jobs/intake").header("content-type", "application/yaml").body(yaml);
    assert_eq!(Answer::of(put).await.expect_status(200).json()["revision"], 2);
    let shown = gw.get("/api/v1/jobs/intake").await.expect_status(200).json();
    assert_eq!((&shown["description"], &shown["updated_by"]), (&json!("Takes orders."), &json!("admin")));
    assert_eq!(gw.get("/api/v1/jobs?q=TAKES").await.expect_status(200).json()["total"], 1);
    assert_eq!(gw.get("/api/v1/jobs?q=nothing").await.expect_status(200).json()["total"], 0);
    gw.get("/api/v1/jobs/schema.json").await.expect_status(200);
    Answer::of(gw.request(Method::DELETE, "/api/v1/jobs/intake")).await.expect_status(204);
    gw.get("/api/v1/jobs/intake").await.expect_refusal(404, "not-found");
    let audit = gw.get("/api/v1/audit?action=job.save").await.json();
    assert!(audit["total"].as_u64().unwrap() >= 2, "{audit}");
}

#[tokio::test]
async fn every_mistake_of_a_definition_has_its_path() {
    let gw = TestGateway::start().await;
    let wrong = json!({"name": "intake", "steps": [
        {"id": "a", "type": "wait", "duration_ms": 1, "next": ["nowhere"]}, {"id": "B", "type": "wait", "until": 3},
    ]});
    for path in [JOBS, "/api/v1/jobs/validate"] {
        let answer = Answer::of(gw.request(Method::POST, path).json(&wrong)).await;
        let problem = answer.expect_refusal(422, "invalid-job");
        let paths: Vec<&str> =
            problem["errors"].as_array().unwrap().iter().map(|error| error["path"].as_str().unwrap()).collect();
        assert!(paths.iter().any(|path| path.starts_with("/steps/0/next")), "{paths:?}");
        assert!(paths.iter().any(|path| path.starts_with("/steps/1/id")), "{paths:?}");
    }
    let text = gw.request(Method::POST, JOBS).header("content-type", "text/plain").body("name: a");
    Answer::of(text).await.expect_refusal(415, "unsupported-media-type");
    let put = gw.request(Method::PUT, "/api/v1/jobs/other").json(&brief("intake"));
    Answer::of(put).await.expect_refusal(422, "invalid-job");
    let valid = gw.request(Method::POST, "/api/v1/jobs/validate").json(&brief("intake"));
    assert_eq!(Answer::of(valid).await.expect_status(200).json()["valid"], true);
    gw.get("/api/v1/jobs/intake").await.expect_refusal(404, "not-found");
}

#[tokio::test]
async fn a_run_is_waited_for_and_listed() {
    let gw = TestGateway::start().await;
    save(&gw, &brief("intake")).await.expect_status(201);
    let started = start(&gw, "intake", "", &json!({"order": 1})).await.expect_status(202);
    let run = started.json();
    assert_eq!(started.header("location"), format!("/api/v1/runs/{}", run["id"].as_str().unwrap()));
    assert_eq!(run["trigger"], json!({"order": 1}));
    let waited = start(&gw, "intake", "?wait_ms=10000", &json!(7)).await.expect_status(200).json();
    assert_eq!((&waited["status"], &waited["steps"][0]["status"]), (&json!("completed"), &json!("completed")));
    assert_eq!(gw.get("/api/v1/runs?job=intake").await.expect_status(200).json()["total"], 2);
    assert_eq!(gw.get("/api/v1/runs?job=other").await.expect_status(200).json()["total"], 0);
    let id = waited["id"].as_str().unwrap();
    let cancel = gw.request(Method::POST, &format!("/api/v1/runs/{id}/cancel"));
    Answer::of(cancel).await.expect_refusal(409, "run-ended");
    let retry = gw.request(Method::POST, &format!("/api/v1/runs/{id}/retry"));
    Answer::of(retry).await.expect_refusal(409, "run-ended");
    start(&gw, "nothing", "", &json!(null)).await.expect_refusal(404, "not-found");
    start(&gw, "intake", "?wait_ms=60001", &json!(null)).await.expect_refusal(400, "bad-request");
}

#[tokio::test]
async fn the_same_key_and_body_are_one_run() {
    let gw = TestGateway::start().await;
    save(&gw, &brief("intake")).await.expect_status(201);
    let send = async |body: &Value| {
        let request = gw.request(Method::POST, "/api/v1/jobs/intake/runs").header("idempotency-key", "k1");
        Answer::of(request.json(body)).await
    };
    let first = send(&json!(1)).await.expect_status(202).json();
    let second = send(&json!(1)).await.expect_status(202).json();
    assert_eq!(first["id"], second["id"]);
    send(&json!(2)).await.expect_refusal(422, "idempotency-mismatch");
    assert_eq!(gw.get("/api/v1/runs").await.json()["total"], 1);
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_run_and_goes_on_where_it_was() {
    let gw = TestGateway::start().await;
    save(&gw, &brief("intake")).await.expect_status(201);
    let id = start(&gw, "intake", "", &json!(null)).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/runs/{id}/events");
    let text = gw.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    let ids: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() >= 2 && ids.is_sorted() && text.contains("event: step"), "{text}");
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["status"], "completed");
    let rest =
        gw.request(Method::GET, &path).header("last-event-id", ids[0]).send().await.unwrap().text().await.unwrap();
    assert!(!rest.contains(&format!("id: {}\n", ids[0])) && rest.contains(&format!("id: {}\n", ids[1])), "{rest}");
    let over = gw.get(&format!("{path}?last_event_id={}", ids.last().unwrap())).await;
    over.expect_status(204);
}

#[tokio::test]
async fn a_run_that_waits_is_canceled_and_retried() {
    let gw = TestGateway::start().await;
    let slow = json!({"name": "slow", "steps": [{"id": "pause", "type": "wait", "duration_ms": 600_000}]});
    save(&gw, &slow).await.expect_status(201);
    let id = start(&gw, "slow", "?wait_ms=1", &json!(null)).await.expect_status(202).json()["id"].clone();
    let path = format!("/api/v1/runs/{}", id.as_str().unwrap());
    Answer::of(gw.request(Method::POST, &format!("{path}/retry"))).await.expect_refusal(409, "in-use");
    Answer::of(gw.request(Method::POST, &format!("{path}/cancel"))).await.expect_status(202);
    gw.eventually(&path, |answer| answer.json()["status"] == "canceled").await;
    Answer::of(gw.request(Method::POST, &format!("{path}/retry"))).await.expect_status(202);
    gw.eventually(&path, |answer| answer.json()["status"] == "running").await;
}

#[tokio::test]
async fn a_key_sees_the_jobs_of_its_globs_and_no_others() {
    let gw = TestGateway::start().await;
    for name in ["order-intake", "billing"] {
        save(&gw, &brief(name)).await.expect_status(201);
    }
    let other = start(&gw, "billing", "", &json!(null)).await.json()["id"].as_str().unwrap().to_owned();
    let key = make(&gw, json!({"name": "ci", "role": "editor", "jobs": ["order-*"]})).await;
    assert_eq!(key.get(&gw, JOBS).await.json()["total"], 1);
    assert_eq!(key.get(&gw, "/api/v1/runs").await.json()["total"], 0);
    for path in
        ["/api/v1/jobs/billing".to_owned(), format!("/api/v1/runs/{other}"), format!("/api/v1/runs/{other}/events")]
    {
        key.get(&gw, &path).await.expect_refusal(404, "not-found");
    }
    let start = key.request(&gw, Method::POST, "/api/v1/jobs/billing/runs");
    Answer::of(start).await.expect_refusal(404, "not-found");
    let save = key.request(&gw, Method::POST, JOBS).json(&brief("billing"));
    Answer::of(save).await.expect_refusal(404, "not-found");
    let viewer = of_role(&gw, "viewer").await;
    let start = viewer.request(&gw, Method::POST, "/api/v1/jobs/billing/runs");
    Answer::of(start).await.expect_refusal(403, "forbidden");
}
