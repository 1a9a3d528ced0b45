//! Keys over HTTP: made, listed, restricted, over, deleted.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::component::echo;
use crate::support::keys::{KEYS, Made, make, of_role};
use crate::support::{Answer, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";

async fn delete(gw: &TestGateway, id: &str) -> Answer {
    Answer::of(gw.request(Method::DELETE, &format!("{KEYS}/{id}"))).await
}

async fn listed(gw: &TestGateway) -> Vec<Value> {
    gw.get(KEYS).await.expect_status(200).json()["items"].as_array().unwrap().clone()
}

fn names(page: &Value, member: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_is_shown_where_it_is_made_and_never_again() {
    let gw = TestGateway::start().await;
    let body = json!({"name": "ci", "role": "invoker", "expires_at": "2999-01-01T00:00:00Z",
                      "modules": ["order-*"], "jobs": null});
    let answer = Answer::of(gw.request(Method::POST, KEYS).json(&body)).await.expect_status(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let made = answer.json();
    let mut members: Vec<_> = made.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["expires_at", "id", "jobs", "key", "modules", "name", "role"]);
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("sk_") && key.len() == 46, "{key}");

    let page = gw.get(&format!("{KEYS}?limit=1")).await.expect_status(200);
    assert!(!String::from_utf8_lossy(&page.body).contains(&key[3..15]), "{page:?}");
    let page = page.json();
    assert_eq!((&page["total"], &page["page"], &page["limit"]), (&json!(2), &json!(1), &json!(1)));
    let item = &page["items"][0];
    for member in ["id", "name", "role", "expires_at", "modules", "jobs"] {
        assert_eq!(item[member], made[member], "{member}");
    }
    assert!(item["last_used_at"].is_null() && item["created_at"].is_string(), "{item}");
    assert_eq!(gw.get(&format!("{KEYS}?page=3")).await.json()["items"], json!([]));
}

#[tokio::test]
async fn mistakes_in_a_key_are_told_with_their_paths() {
    let gw = TestGateway::start().await;
    let post = |body: Value| {
        let gw = &gw;
        async move { Answer::of(gw.request(Method::POST, KEYS).json(&body)).await }
    };
    let problem = post(json!({"name": "ci", "role": "viewer", "modules": ["[a"]})).await;
    assert_eq!(problem.expect_refusal(400, "bad-request")["errors"][0]["path"], "/modules/0");
    let problem = post(json!({"name": "ci", "role": "viewer", "colour": 1})).await;
    assert_eq!(problem.expect_refusal(400, "unknown-field")["errors"][0]["path"], "/colour");
    post(json!([])).await.expect_refusal(400, "bad-request");
    let many: Value = (0..5_000).map(|index| (index.to_string(), json!(0))).collect::<serde_json::Map<_, _>>().into();
    assert!(post(many).await.expect_refusal(400, "bad-request")["errors"].as_array().unwrap().len() <= 102);
    let plain = gw.request(Method::POST, KEYS).header("content-type", "text/plain").body("{}");
    Answer::of(plain).await.expect_refusal(415, "unsupported-media-type");
    let broken = gw.request(Method::POST, KEYS).header("content-type", "application/json").body("{");
    Answer::of(broken).await.expect_refusal(400, "bad-request");
    let long = gw.request(Method::POST, KEYS).body(" ".repeat(300 * 1024));
    Answer::of(long).await.expect_refusal(413, "too-large");
    assert_eq!(listed(&gw).await.len(), 1);
}

#[tokio::test]
async fn a_member_that_is_there_twice_makes_no_key() {
    let gw = TestGateway::start().await;
    let body = r#"{"name": "ci", "role": "viewer", "role": "admin"}"#;
    let request = gw.request(Method::POST, KEYS).header("content-type", "application/json").body(body);
    let problem = Answer::of(request).await.expect_refusal(400, "bad-request");
    assert_eq!(problem["errors"][0]["code"], "duplicate");
    assert!(problem["detail"].as_str().unwrap().contains("role is there twice"), "{problem}");
    assert_eq!(listed(&gw).await.len(), 1);
}

#[tokio::test]
async fn the_media_types_of_json_are_the_same_on_both_planes() {
    let gw = TestGateway::start().await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    for (media_type, is_json) in
        [("application/vnd.acme+json", true), ("application/json; charset=utf-8", true), ("text/json", false)]
    {
        for (path, status) in [(KEYS, 201), ("/api/v1/wasm/modules/echo/invoke", 200)] {
            let body = if status == 201 { r#"{"name": "ci", "role": "viewer"}"# } else { "{}" };
            let request = gw.request(Method::POST, path).header("content-type", media_type).body(body);
            Answer::of(request).await.expect_status(if is_json { status } else { 415 });
        }
    }
}

#[tokio::test]
async fn a_deleted_key_stops_at_once_and_the_others_do_not() {
    let gw = TestGateway::start().await;
    let (gone, kept) = (of_role(&gw, "viewer").await, of_role(&gw, "viewer").await);
    gone.get(&gw, MODULES).await.expect_status(200);
    delete(&gw, &gone.id).await.expect_status(204);
    gone.get(&gw, MODULES).await.expect_refusal(401, "unauthenticated");
    kept.get(&gw, MODULES).await.expect_status(200);
    delete(&gw, &gone.id).await.expect_refusal(404, "not-found");
    delete(&gw, "nothing").await.expect_refusal(404, "not-found");
    let gw = gw.restart().await;
    gone.get(&gw, MODULES).await.expect_refusal(401, "unauthenticated");
    kept.get(&gw, MODULES).await.expect_status(200);
}

#[tokio::test]
async fn a_key_that_has_expired_stops_by_itself() {
    let gw = TestGateway::start().await;
    let end = Timestamp::now() + SignedDuration::from_millis(1500);
    let key = make(&gw, json!({"name": "short", "role": "viewer", "expires_at": end.to_string()})).await;
    key.get(&gw, MODULES).await.expect_status(200);
    let detail = loop {
        let answer = key.get(&gw, MODULES).await;
        if answer.status != 200 {
            break answer.expect_refusal(401, "unauthenticated")["detail"].clone();
        }
    };
    assert!(Timestamp::now() >= end);
    assert_eq!(detail, "the key has expired");
    let past = json!({"name": "past", "role": "viewer", "expires_at": end.to_string()});
    Answer::of(gw.request(Method::POST, KEYS).json(&past)).await.expect_refusal(400, "bad-request");
}

#[tokio::test]
async fn the_last_admin_key_without_an_end_stays() {
    let gw = TestGateway::start().await;
    let first = listed(&gw).await[0]["id"].as_str().unwrap().to_owned();
    make(&gw, json!({"name": "for now", "role": "admin", "expires_at": "2999-01-01T00:00:00Z"})).await;
    delete(&gw, &first).await.expect_refusal(409, "in-use");
    let second = of_role(&gw, "admin").await;
    delete(&gw, &first).await.expect_status(204);
    gw.get(MODULES).await.expect_refusal(401, "unauthenticated");
    let path = format!("{KEYS}/{}", second.id);
    Answer::of(second.request(&gw, Method::DELETE, &path)).await.expect_refusal(409, "in-use");
}

#[tokio::test]
async fn a_restricted_key_sees_and_runs_what_its_globs_match() {
    let gw = TestGateway::start().await;
    for name in ["order-rules", "order-tax", "secret"] {
        gw.upload(name, "1.0.0", echo(name)).await.expect_status(201);
        gw.invoke(name, json!(1)).await.expect_status(200);
    }
    let key = make(&gw, json!({"name": "orders", "role": "invoker", "modules": ["order-*"]})).await;
    let page = key.get(&gw, MODULES).await.expect_status(200).json();
    assert_eq!((names(&page, "name"), &page["total"]), (vec!["order-rules".into(), "order-tax".into()], &json!(2)));
    let page = key.get(&gw, &format!("{MODULES}?q=TAX&page=1&limit=1")).await.json();
    assert_eq!((names(&page, "name"), &page["total"]), (vec!["order-tax".to_owned()], &json!(1)));
    assert_eq!(key.get(&gw, &format!("{MODULES}?name=secret")).await.json()["total"], 0);

    let id = gw.get(&format!("{MODULES}/secret")).await.json()["id"].as_str().unwrap().to_owned();
    for reference in ["secret", "secret@1.0.0", "secret@%5E1", id.as_str()] {
        key.get(&gw, &format!("{MODULES}/{reference}")).await.expect_refusal(404, "not-found");
        key.get(&gw, &format!("{MODULES}/{reference}/download")).await.expect_refusal(404, "not-found");
        key.invoke(&gw, reference).await.expect_refusal(404, "not-found");
    }
    key.get(&gw, &format!("{MODULES}/order-tax")).await.expect_status(200);
    key.invoke(&gw, "order-tax").await.expect_status(200);

    let all = gw.eventually("/api/v1/wasm/executions", |answer| answer.json()["total"] == 4).await.json();
    let page = key.get(&gw, "/api/v1/wasm/executions").await.expect_status(200).json();
    assert_eq!(page["total"], 3);
    assert!(!names(&page, "module").contains(&"secret".to_owned()));
    for item in all["items"].as_array().unwrap() {
        let expected = if item["module"] == "secret" { 404 } else { 200 };
        let path = format!("/api/v1/wasm/executions/{}", item["execution_id"].as_str().unwrap());
        key.get(&gw, &path).await.expect_status(expected);
        key.get(&gw, &format!("{path}/logs")).await.expect_status(expected);
    }
    let admin = json!({"name": "a", "role": "admin", "modules": ["order-*"]});
    Answer::of(gw.request(Method::POST, KEYS).json(&admin)).await.expect_refusal(400, "bad-request");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_told_at_once_and_outlives_the_process() {
    let gw = TestGateway::start().await;
    let (used, unused): (Made, Made) = (of_role(&gw, "viewer").await, of_role(&gw, "invoker").await);
    used.get(&gw, MODULES).await.expect_status(200);
    let find = |keys: &[Value], id: &str| keys.iter().find(|key| key["id"] == *id).unwrap()["last_used_at"].clone();
    let keys = listed(&gw).await;
    let at = find(&keys, &used.id);
    assert!(at.is_string() && find(&keys, &unused.id).is_null(), "{keys:?}");
    let gw = gw.restart().await;
    let keys = listed(&gw).await;
    assert_eq!((find(&keys, &used.id), find(&keys, &unused.id)), (at, Value::Null));
}
