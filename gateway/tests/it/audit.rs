//! The audit: a row for every change and every refusal.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::component::echo;
use crate::support::files::{artifacts, blob, flip_a_bit};
use crate::support::keys::{KEYS, of_role};
use crate::support::{Answer, TestGateway};

const AUDIT: &str = "/api/v1/audit";
const MODULES: &str = "/api/v1/wasm/modules";

async fn rows(gw: &TestGateway, query: &str) -> Vec<Value> {
    gw.get(&format!("{AUDIT}{query}")).await.expect_status(200).json()["items"].as_array().unwrap().clone()
}

/// The refusals, once there are so many rows of them.
async fn refusals(gw: &TestGateway, count: usize) -> Vec<Value> {
    let path = format!("{AUDIT}?action=request");
    gw.eventually(&path, |answer| answer.json()["total"] == count).await.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_change_leaves_a_row_that_says_who_what_and_from_where() {
    let gw = TestGateway::start().await;
    let first = &rows(&gw, "").await[0];
    assert_eq!(
        (&first["action"], &first["actor"], &first["address"]),
        (&json!("key.create"), &json!(null), &json!(null))
    );

    let uploaded = gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let id = uploaded.json()["id"].clone();
    let row = &rows(&gw, "").await[0];
    let mut members: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["action", "actor", "address", "at", "detail", "id", "outcome", "request_id", "resource"]);
    assert_eq!((&row["action"], &row["resource"]), (&json!("module.upload"), &json!("echo@1.0.0")));
    assert_eq!((&row["actor"], &row["outcome"]), (&json!("admin"), &json!("done")));
    assert_eq!((&row["address"], &row["detail"]["id"]), (&json!("127.0.0.1"), &id));
    assert_eq!(row["request_id"], uploaded.header("x-request-id"));

    // Nothing was changed by these.
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(200);
    gw.upload("echo", "1.0.0", echo("b")).await.expect_status(409);
    gw.get(MODULES).await.expect_status(200);
    assert_eq!(rows(&gw, "").await.len(), 2);

    let key = of_role(&gw, "viewer").await;
    Answer::of(gw.request(Method::DELETE, &format!("{KEYS}/{}", key.id))).await.expect_status(204);
    Answer::of(gw.request(Method::DELETE, &format!("{MODULES}/echo"))).await.expect_status(204);
    let actions: Vec<_> = rows(&gw, "").await.into_iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["module.delete", "key.delete", "key.create", "module.upload", "key.create"]);
    let text = gw.get(AUDIT).await;
    assert!(!String::from_utf8_lossy(&text.body).contains("sk_"), "a key is in the audit");

    let gw = gw.restart().await;
    assert_eq!(rows(&gw, "").await.len(), 5);
    assert_eq!(rows(&gw, "?actor=admin&action=key.create").await.len(), 1);
    assert_eq!(rows(&gw, "?actor=nobody").await.len(), 0);
    assert_eq!(rows(&gw, "?to=2000-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(rows(&gw, "?from=2000-01-01T00:00:00Z&limit=2&page=3").await.len(), 1);
    gw.get(&format!("{AUDIT}?from=yesterday")).await.expect_refusal(400, "bad-request");
    gw.get(&format!("{AUDIT}?colour=red")).await.expect_refusal(400, "unknown-field");
}

#[tokio::test]
async fn refusals_leave_rows_that_count_them() {
    let mut gw = TestGateway::start().await;
    let viewer = of_role(&gw, "viewer").await;
    // Nobody who is anybody: that fills no disk.
    for key in ["sk_short".to_owned(), format!("sk_{}", "A".repeat(43))] {
        Answer::of(gw.anonymous(Method::GET, MODULES).bearer_auth(key)).await.expect_status(401);
    }
    viewer.invoke(&gw, "echo").await.expect_refusal(403, "forbidden");
    let row = &refusals(&gw, 1).await[0];
    assert_eq!((&row["actor"], &row["outcome"]), (&json!("viewer"), &json!("refused")));
    assert_eq!(row["resource"], format!("{MODULES}/echo/invoke"));
    assert_eq!(row["detail"], json!({"code": "forbidden", "method": "POST", "count": 1, "key_id": viewer.id}));
    assert_eq!(row["address"], "127.0.0.1");

    let forged = format!("{}{}", &viewer.key[..40], "A".repeat(6));
    for _ in 0..20 {
        Answer::of(gw.anonymous(Method::GET, MODULES).bearer_auth(&forged)).await.expect_status(401);
        viewer.get(&gw, KEYS).await.expect_status(403);
    }
    gw.stop().await;
    let gw = TestGateway::start_in(gw.folder(), |_| {}).await;
    let rows = rows(&gw, "?action=request").await;
    assert!(rows.len() <= 4, "{rows:?}");
    let count = |code: &str| -> u64 {
        let of_code = rows.iter().filter(|row| row["detail"]["code"] == code);
        of_code.map(|row| row["detail"]["count"].as_u64().unwrap()).sum()
    };
    assert_eq!((count("forbidden"), count("unauthenticated")), (21, 20));
    let forged = rows.iter().find(|row| row["detail"]["code"] == "unauthenticated").unwrap();
    assert_eq!((&forged["actor"], &forged["detail"]["key"]), (&Value::Null, &json!("viewer")));
    assert_eq!(forged["detail"]["key_id"], viewer.id);
}

#[tokio::test]
async fn two_keys_of_one_name_are_told_apart() {
    let gw = TestGateway::start().await;
    let keys = [of_role(&gw, "admin").await, of_role(&gw, "admin").await];
    for key in &keys {
        Answer::of(key.request(&gw, Method::POST, KEYS).json(&json!({"name": "new", "role": "viewer"})))
            .await
            .expect_status(201);
    }
    let rows = rows(&gw, "?actor=admin&action=key.create&limit=2").await;
    let told: Vec<_> = rows.iter().map(|row| row["detail"]["key_id"].as_str().unwrap()).collect();
    assert_eq!(told, [&keys[1].id, &keys[0].id]);
}

#[tokio::test]
async fn the_refusal_to_delete_the_last_admin_leaves_a_row() {
    let gw = TestGateway::start().await;
    let first = gw.get(KEYS).await.json()["items"][0].clone();
    let path = format!("{KEYS}/{}", first["id"].as_str().unwrap());
    Answer::of(gw.request(Method::DELETE, &path)).await.expect_refusal(409, "in-use");
    let row = &rows(&gw, "?action=key.delete").await[0];
    assert_eq!((&row["outcome"], &row["resource"]), (&json!("refused"), &first["id"]));
    let expected = json!({"code": "in-use", "key_id": first["id"], "name": "admin", "role": "admin"});
    assert_eq!((&row["actor"], &row["detail"]), (&json!("admin"), &expected));
}

#[tokio::test]
async fn bytes_that_were_changed_are_in_the_audit() {
    let mut gw = TestGateway::start().await;
    let uploaded = gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201).json();
    gw.stop().await;
    let folder = gw.folder();
    flip_a_bit(&blob(folder.path(), uploaded["sha256"].as_str().unwrap()));
    for path in artifacts(folder.path()) {
        std::fs::remove_file(path).unwrap();
    }
    let mut gw = TestGateway::start_in(folder, |_| {}).await;
    gw.invoke("echo", json!(1)).await.expect_problem(500, "integrity");
    let row = &refusals(&gw, 1).await[0];
    assert_eq!((&row["detail"]["code"], &row["outcome"]), (&json!("integrity"), &json!("refused")));
    assert!(row["resource"].as_str().unwrap().contains("echo"), "{row}");
    let path = format!("{AUDIT}?action=security.alert");
    let alerts = gw.eventually(&path, |answer| answer.json()["total"] == 1).await.json();
    let row = &alerts["items"][0];
    assert_eq!((&row["resource"], &row["outcome"]), (&uploaded["sha256"], &json!("refused")));
    assert_eq!((&row["actor"], &row["detail"]), (&json!(null), &json!({"kind": "integrity", "count": 1})));

    // More of them within the minute are one row more, which the stop does not lose.
    for _ in 0..3 {
        gw.invoke("echo", json!(1)).await.expect_problem(500, "integrity");
    }
    gw.stop().await;
    let gw = TestGateway::start_in(gw.folder(), |_| {}).await;
    let counts = rows(&gw, "?action=security.alert").await;
    let counts: Vec<_> = counts.iter().map(|row| row["detail"]["count"].clone()).collect();
    assert_eq!(counts, [json!(3), json!(1)]);
}

#[tokio::test]
async fn a_change_is_audited_though_its_caller_has_left() {
    let gw = TestGateway::start().await;
    let body = json!({"name": "left", "role": "viewer"}).to_string();
    let head = format!(
        "POST {KEYS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        gw.key(),
        body.len()
    );
    // Leaves as soon as the request is written; whether the gateway saw it whole is its luck, but
    // a key and its row are both there or both not.
    for _ in 0..20 {
        drop(crate::support::Raw::send(&gw, head.clone()).await);
    }
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let keys = gw.get(&format!("{KEYS}?limit=200")).await.json()["total"].as_u64().unwrap();
            let made = rows(&gw, "?action=key.create&limit=200").await.len() as u64;
            // Between the two lists another may have been made.
            if keys == made && gw.get(&format!("{KEYS}?limit=200")).await.json()["total"] == keys {
                break;
            }
        }
    })
    .await
    .expect("as many rows as keys");
}
