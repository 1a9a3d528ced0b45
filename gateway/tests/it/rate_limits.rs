//! Rate limits over real sockets, on both planes.

use std::num::NonZeroU32;

use sluice::config::{Config, RateLimit};

use crate::support::component::echo;
use crate::support::keys::of_role;
use crate::support::{Answer, TestGateway};

const MODULES: &str = "/api/v1/wasm/modules";

fn limit(requests: u32, window_s: u32) -> RateLimit {
    let number = |number| NonZeroU32::new(number).unwrap();
    RateLimit { requests: number(requests), window_s: number(window_s) }
}

#[tokio::test]
async fn without_limits_no_answer_tells_of_any() {
    let gw = TestGateway::start().await;
    let answer = gw.get(MODULES).await.expect_status(200);
    assert!(!answer.headers.contains_key("ratelimit") && !answer.headers.contains_key("ratelimit-policy"));
}

#[tokio::test]
async fn a_key_over_its_limit_is_told_when_to_come_back_and_others_go_on() {
    let mut gw = TestGateway::start_with(|config: &mut Config| config.rate_limits.key = Some(limit(5, 3600))).await;
    gw.upload("echo", "1.0.0", echo("a")).await.expect_status(201);
    let (invoker, other) = (of_role(&gw, "invoker").await, of_role(&gw, "viewer").await);
    for remaining in [4, 3, 2, 1, 0] {
        // Both planes take from the same bucket.
        let answer =
            if remaining % 2 == 0 { invoker.invoke(&gw, "echo").await } else { invoker.get(&gw, MODULES).await };
        let answer = answer.expect_status(200);
        assert_eq!(answer.header("ratelimit-policy"), "\"key\";q=5;w=3600");
        let seconds = (5 - remaining) * 720;
        assert_eq!(answer.header("ratelimit"), format!("\"key\";r={remaining};t={seconds}"));
    }
    for answer in [invoker.invoke(&gw, "echo").await, invoker.get(&gw, MODULES).await] {
        let retry_after: u32 = answer.header("retry-after").parse().unwrap();
        assert!((600..=720).contains(&retry_after), "{retry_after}");
        assert!(answer.header("ratelimit").starts_with("\"key\";r=0;t="), "{answer:?}");
        assert_eq!(answer.header("ratelimit-policy"), "\"key\";q=5;w=3600");
        assert_eq!(answer.expect_refusal(429, "rate-limited")["limit"], 5);
    }
    other.get(&gw, MODULES).await.expect_status(200);
    // Nobody has no key's limit.
    let nobody = Answer::of(gw.anonymous(reqwest::Method::GET, MODULES)).await.expect_status(401);
    assert!(!nobody.headers.contains_key("ratelimit"));
    gw.stop().await;
    let gw = TestGateway::start_in(gw.folder(), |_| {}).await;
    let rows = gw.get("/api/v1/audit?actor=invoker").await.expect_status(200).json();
    assert_eq!(rows["items"][0]["detail"]["code"], "rate-limited");
    let counts = rows["items"].as_array().unwrap().iter().map(|row| row["detail"]["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 2);
}

#[tokio::test]
async fn an_address_over_its_limit_is_refused_with_any_key_and_none_and_probes_are_not() {
    let gw = TestGateway::start_with(|config: &mut Config| {
        config.rate_limits.address = Some(limit(3, 3600));
        config.rate_limits.key = Some(limit(100, 60));
    })
    .await;
    let answer = gw.get(MODULES).await.expect_status(200);
    assert_eq!(answer.header("ratelimit-policy"), "\"address\";q=3;w=3600, \"key\";q=100;w=60");
    for _ in 0..2 {
        let nobody = Answer::of(gw.anonymous(reqwest::Method::GET, "/nothing")).await.expect_status(404);
        assert!(nobody.header("ratelimit").starts_with("\"address\";r="), "{nobody:?}");
    }
    gw.get(MODULES).await.expect_refusal(429, "rate-limited");
    Answer::of(gw.anonymous(reqwest::Method::GET, MODULES)).await.expect_refusal(429, "rate-limited");
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = Answer::of(gw.anonymous(reqwest::Method::GET, path)).await.expect_status(200);
        assert!(!answer.headers.contains_key("ratelimit"), "{path}");
    }
}
