//! What happens to some modules is not noticed by those who call others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestGateway, guest};

const CONNECTIONS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_uploaded_while_16_connections_call_another_does_not_fail_one_of_their_requests() {
    let gw = TestGateway::start().await.module("echo").await;
    let done = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    let url = format!("http://{}/api/v1/wasm/modules/echo/invoke", gw.address());
    let caller = |index: usize| {
        let (done, calls, url, key) = (&done, &calls, &url, gw.key());
        // A client of its own is a connection of its own, which is kept.
        let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
        async move {
            let mut own = 0;
            while !done.load(Ordering::Relaxed) || own == 0 {
                let input = json!({"input": {"caller": index, "call": own}});
                let answer = Answer::of(client.post(url).bearer_auth(key).json(&input)).await.expect_status(200);
                assert_eq!(answer.json()["output"], input["input"]);
                own += 1;
            }
            calls.fetch_add(own, Ordering::Relaxed);
        }
    };
    let uploader = async {
        for round in 0..2 {
            for name in ["spin", "grow", "outcomes", "leak"] {
                let version = format!("1.{round}.0");
                gw.upload(name, &version, guest(name)).await.expect_status(201);
                gw.upload(name, "not a version", guest(name)).await.expect_problem(400, "bad-request");
                gw.upload(name, "9.0.0", guest("unknown-import")).await.expect_problem(422, "invalid-module");
                let path = format!("/api/v1/wasm/modules/{name}@{version}");
                Answer::of(gw.request(Method::DELETE, &path)).await.expect_status(204);
            }
            // The one that is called gets a newer version, and loses it.
            gw.upload("echo", "2.0.0", guest("echo")).await.expect_status(201);
            Answer::of(gw.request(Method::DELETE, "/api/v1/wasm/modules/echo@2.0.0")).await.expect_status(204);
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all((0..CONNECTIONS).map(caller)), uploader);
    assert!(calls.load(Ordering::Relaxed) >= CONNECTIONS);
    let listed: Value = gw.get("/api/v1/wasm/modules").await.json();
    assert_eq!(listed["total"], 1);
    assert_eq!(gw.metric("sluice_overloaded_total").await, 0);
}
