//! What one execution can know of another, and of the host.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{TestGateway, property};

/// What may happen between two calls.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Trap,
    Timeout,
    FuelExhausted,
}

async fn perform(gw: &TestGateway, between: Between) {
    match between {
        Between::Nothing => {}
        Between::Trap => {
            gw.invoke("trap", json!({"message": "between"})).await.expect_guest_problem(502, "trap");
        }
        Between::Timeout => {
            let body = json!({"limits": {"timeout_ms": 20}});
            gw.invoke_with("spin", "run", body).await.expect_guest_problem(504, "timed-out");
        }
        Between::FuelExhausted => {
            let body = json!({"limits": {"fuel": 100_000}});
            gw.invoke_with("spin", "run", body).await.expect_guest_problem(502, "fuel-exhausted");
        }
    }
}

fn any_between() -> impl Strategy<Value = Between> {
    prop::sample::select(vec![Between::Nothing, Between::Trap, Between::Timeout, Between::FuelExhausted])
}

/// One slot, so that every call gets the place of the one before.
async fn gateway_with_one_slot() -> TestGateway {
    let gw = TestGateway::start_with(|config| {
        config.runtime.instances = 1;
        // So that it is the timeout that ends what computes, on any machine.
        config.limits.fuel = Some(1 << 50);
    })
    .await;
    gw.module("canary").await.module("environ").await.module("leak").await.module("spin").await.module("trap").await
}

#[test]
fn p10_isolation() {
    let start = async {
        let gw = gateway_with_one_slot().await;
        let both = gw.invoke_with("canary", "both", json!({"input": {"seed": 1}})).await.expect_output();
        assert!(both["found"].as_u64().unwrap() > 0, "a canary that nobody can find proves nothing: {both}");
        gw
    };
    property::check(16, (any::<u64>(), any_between()), start, async |gw, (seed, between)| {
        let seed = json!({"input": {"seed": seed}});
        gw.invoke_with("canary", "plant", seed.clone()).await.expect_status(200);
        perform(gw, between).await;
        let found = gw.invoke_with("canary", "look", seed).await.expect_output();
        assert_eq!(found, json!({"found": 0}));
        assert_eq!(gw.invoke("leak", json!(null)).await.expect_output(), json!({"count": 1}));
    });
}

#[test]
fn p10_isolation_of_the_environment() {
    let env = || prop::collection::btree_map("[A-Za-z_é ]{1,12}", "[^\0]{0,20}", 0..6);
    property::check(24, (env(), env()), gateway_with_one_slot(), async |gw, (one, other)| {
        for env in [one, BTreeMap::new(), other] {
            let seen = gw.invoke_with("environ", "run", json!({"env": env})).await.expect_output();
            assert_eq!(seen, json!({"env": env, "args": []}));
        }
    });
}

#[test]
fn p10_isolation_of_calls_at_the_same_time() {
    let start = async { TestGateway::start().await.module("context").await.module("environ").await };
    let values = prop::collection::vec("[a-z]{0,8}", 2..8);
    property::check(16, values, start, async |gw, values| {
        let calls = values.iter().map(|value| async move {
            let data = json!({ "own": value });
            let ops = json!({"ops": [["get", "own"], ["set", "mine", json!(value).to_string()], ["get", "mine"]]});
            let answer = gw.invoke_with("context", "run", json!({"data": data, "input": ops})).await;
            let answer = answer.expect_status(200).json();
            let text = json!(value).to_string();
            assert_eq!(answer["output"], json!([{"ok": text}, {"ok": null}, {"ok": text}]));
            assert_eq!(answer["data"], json!({"own": value, "mine": value}));
        });
        futures_util::future::join_all(calls).await;
    });
}

#[tokio::test]
async fn wasi_gives_no_files_no_sockets_and_no_names() {
    let gw = TestGateway::start().await.module("wasi").await;
    let seen = gw.invoke("wasi", json!(null)).await.expect_output();
    for denied in ["read_dir", "read_file", "create_file", "tcp_connect", "tcp_listen", "udp_bind", "resolve"] {
        assert!(seen[denied]["err"].is_string(), "{denied}: {seen}");
    }
    assert_eq!(seen["random"]["ok"].as_array().unwrap().len(), 16);
}

#[tokio::test]
async fn clocks_tell_whole_milliseconds_and_random_numbers_differ() {
    let gw = TestGateway::start().await.module("wasi").await;
    let one = gw.invoke("wasi", json!(null)).await.expect_output();
    let other = gw.invoke("wasi", json!(null)).await.expect_output();
    for seen in [&one, &other] {
        for clock in ["system_clock", "monotonic_clock"] {
            let smallest_ns = seen[clock]["ok"]["smallest_step_ns"].as_u64().expect("the clock moved");
            assert!(smallest_ns >= 1_000_000 && smallest_ns.is_multiple_of(1_000_000), "{clock}: {seen}");
        }
    }
    assert_ne!(one["random"], other["random"]);
    assert_ne!(one["hash_seed"], other["hash_seed"]);
}

#[tokio::test]
async fn http_and_databases_are_denied_with_the_permission_that_is_missing() {
    let gw = TestGateway::start().await.module("hosts").await;
    let send = |method: &str| json!({"http": {"method": method, "url": "https://example.com/orders?token=1"}});
    for (method, permission) in
        [("GET", "http:read"), ("HEAD", "http:read"), ("POST", "http:write"), ("PUT", "http:write")]
    {
        let output = gw.invoke("hosts", send(method)).await.expect_output();
        let expected = format!("{permission} https://example.com/orders");
        assert_eq!(output["http"]["err"], json!(["permission-denied", expected]), "{method}");
    }
    let output = gw.invoke("hosts", json!({"db": ["orders", "select 1", []]})).await.expect_output();
    let denied = |permission: &str| -> Value { json!({"err": ["permission-denied", format!("{permission} orders")]}) };
    assert_eq!(output, json!({"query": denied("database:read"), "execute": denied("database:write")}));
}
