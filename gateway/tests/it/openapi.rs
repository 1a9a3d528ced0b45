//! The document of the API: served, complete, and the same as the committed copy.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, TestGateway};

const PATH: &str = "/api/v1/openapi.json";

async fn served() -> Answer {
    let gw = TestGateway::start().await;
    Answer::of(gw.anonymous(Method::GET, PATH)).await.expect_status(200)
}

#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let served = String::from_utf8(served().await.body.to_vec()).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == served, "docs/openapi.json is not what the code says: run `cargo xtask openapi`");
}

#[tokio::test]
async fn the_document_is_json_and_needs_no_key() {
    let answer = served().await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1."));
}

#[tokio::test]
async fn every_operation_of_the_document_asks_for_a_key_unless_it_says_otherwise() {
    let gw = TestGateway::start().await;
    let document = served().await.json();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{module}", "order-rules").replace("{execution_id}", "1").replace("{key}", "1");
            let answer = Answer::of(gw.anonymous(method.clone(), &path)).await;
            let needs_no_key = operation.get("security").is_some();
            assert_eq!(answer.status == 401, !needs_no_key, "{method} {path}: {answer:?}");
            assert!(needs_no_key || operation["responses"].get("401").is_some(), "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked > 16, "{asked}");
}

#[tokio::test]
async fn a_method_that_a_path_of_the_document_lacks_is_told_which_there_are() {
    let gw = TestGateway::start().await;
    let document = served().await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{module}", "order-rules").replace("{execution_id}", "1").replace("{key}", "1");
        let answer = Answer::of(gw.request(Method::PATCH, &path)).await;
        let allowed = answer.header("allow").to_owned();
        answer.expect_refusal(405, "method-not-allowed");
        let Value::Object(operations) = item else { panic!("{item}") };
        for method in operations.keys() {
            assert!(allowed.split(',').any(|one| one.trim().eq_ignore_ascii_case(method)), "{path}: {allowed}");
        }
    }
}
