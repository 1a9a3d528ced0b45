//! Who may do what: every endpoint, every role, and nobody.

use reqwest::Method;
use serde_json::json;

use crate::support::component::echo;
use crate::support::keys::{KEYS, of_role};
use crate::support::{Answer, TestGateway};

/// What a call needs: nothing, or a role and all above it.
const ENDPOINTS: &[(&str, &str, Option<&str>)] = &[
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", None),
    ("GET", "/api/v1/openapi.json", None),
    ("POST", "/api/v1/wasm/modules", Some("admin")),
    ("GET", "/api/v1/wasm/modules", Some("viewer")),
    ("GET", "/api/v1/wasm/modules/echo", Some("viewer")),
    ("DELETE", "/api/v1/wasm/modules/nothing", Some("admin")),
    ("PUT", "/api/v1/wasm/modules/nothing/permissions", Some("admin")),
    ("PUT", "/api/v1/wasm/modules/nothing/limits", Some("admin")),
    ("GET", "/api/v1/wasm/modules/echo/denials", Some("viewer")),
    ("GET", "/api/v1/wasm/modules/echo/download", Some("viewer")),
    ("POST", "/api/v1/wasm/modules/echo/invoke", Some("invoker")),
    ("GET", "/api/v1/wasm/executions", Some("viewer")),
    ("GET", "/api/v1/wasm/executions/nothing", Some("viewer")),
    ("GET", "/api/v1/wasm/executions/nothing/logs", Some("viewer")),
    ("POST", "/api/v1/jobs", Some("editor")),
    ("GET", "/api/v1/jobs", Some("viewer")),
    ("POST", "/api/v1/jobs/validate", Some("viewer")),
    ("GET", "/api/v1/jobs/schema.json", Some("viewer")),
    ("PUT", "/api/v1/jobs/nothing", Some("editor")),
    ("GET", "/api/v1/jobs/nothing", Some("viewer")),
    ("DELETE", "/api/v1/jobs/nothing", Some("editor")),
    ("POST", "/api/v1/jobs/nothing/runs", Some("invoker")),
    ("GET", "/api/v1/runs", Some("viewer")),
    ("GET", "/api/v1/runs/nothing", Some("viewer")),
    ("GET", "/api/v1/runs/nothing/events", Some("viewer")),
    ("POST", "/api/v1/runs/nothing/cancel", Some("editor")),
    ("POST", "/api/v1/runs/nothing/retry", Some("editor")),
    ("GET", "/api/v1/circuits", Some("viewer")),
    ("POST", "/api/v1/circuits/nothing/close", Some("editor")),
    ("GET", "/api/v1/deliveries", Some("viewer")),
    ("POST", "/api/v1/deliveries/nothing/replay", Some("editor")),
    ("POST", KEYS, Some("admin")),
    ("GET", KEYS, Some("admin")),
    ("DELETE", "/api/v1/keys/nothing", Some("admin")),
    ("GET", "/api/v1/audit", Some("admin")),
];

const ROLES: [&str; 4] = ["viewer", "invoker", "editor", "admin"];

fn rank(role: &str) -> usize {
    ROLES.iter().position(|known| *known == role).unwrap()
}

#[tokio::test]
async fn every_endpoint_lets_through_whose_role_is_high_enough_and_nobody_else() {
    let gw = TestGateway::start().await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let mut keys = Vec::new();
    for role in ROLES {
        keys.push((role, of_role(&gw, role).await));
    }
    for (method, path, needed) in ENDPOINTS {
        let method: Method = method.parse().unwrap();
        let nobody = Answer::of(gw.anonymous(method.clone(), path)).await;
        match needed {
            None => assert_eq!(nobody.status, 200, "{path}"),
            Some(_) => {
                assert_eq!(nobody.header("www-authenticate"), "Bearer", "{method} {path}");
                nobody.expect_refusal(401, "unauthenticated");
            }
        }
        for (role, key) in &keys {
            let answer = Answer::of(key.request(&gw, method.clone(), path)).await;
            let is_refused = matches!(answer.status.as_u16(), 401 | 403);
            let expected = needed.is_some_and(|needed| rank(role) < rank(needed));
            assert_eq!(is_refused, expected, "{method} {path} as {role}: {answer:?}");
            if expected {
                answer.expect_refusal(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn no_operation_of_the_document_is_missing_here() {
    let gw = TestGateway::start().await;
    let document = gw.get("/api/v1/openapi.json").await.expect_status(200).json();
    let items = document["paths"].as_object().unwrap().values();
    assert_eq!(items.map(|item| item.as_object().unwrap().len()).sum::<usize>(), ENDPOINTS.len());
}

#[tokio::test]
async fn a_key_that_was_made_up_opens_nothing_and_is_told_nothing() {
    let gw = TestGateway::start().await;
    let viewer = of_role(&gw, "viewer").await;
    let forged = format!("{}{}", &viewer.key[..40], "A".repeat(6));
    let unknown = format!("sk_{}", "A".repeat(43));
    let mut details = Vec::new();
    for key in [forged, unknown] {
        let answer = Answer::of(gw.anonymous(Method::GET, "/api/v1/wasm/modules").bearer_auth(key)).await;
        details.push(answer.expect_refusal(401, "unauthenticated")["detail"].clone());
    }
    assert_eq!(details, [json!("the key is not valid"), json!("the key is not valid")]);
}
