//! `kill -9`: what was answered is there afterwards, and what was not is there whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use rustix::process::Signal;
use serde_json::{Value, json};
use sluice::model::Digest;
use tokio::sync::Mutex;

use crate::support::component::echo;
use crate::support::{Answer, Process, TestGateway, guest};

const ROUNDS: usize = 20;
const CLIENTS: usize = 8;
const MODULES: &str = "/api/v1/wasm/modules";

/// What was answered, by name: the digest of what is stored, or that it is gone.
type Promises = BTreeMap<String, Option<String>>;

/// Uploads and deletes until the gateway is gone.
async fn client(gw: &TestGateway, round: usize, number: usize, promises: &Mutex<Promises>) {
    for index in 0.. {
        // Every third one has bytes that others have too.
        let seed = if index % 3 == 0 { format!("shared-{round}") } else { format!("{round}-{number}-{index}") };
        let (name, component) = (format!("m{round}-{number}-{index}"), echo(&seed));
        let form = Form::new()
            .part("module", Part::bytes(component.clone()))
            .text("name", name.clone())
            .text("version", "1.0.0");
        match gw.request(Method::POST, MODULES).multipart(form).send().await {
            Ok(response) => {
                assert_eq!(response.status(), 201);
                promises.lock().await.insert(name.clone(), Some(Digest::of(&component).to_string()));
            }
            Err(_) => return,
        }
        if index % 2 == 0 {
            // While it is asked for and not answered both outcomes are right.
            let kept = promises.lock().await.remove(&name);
            match gw.request(Method::DELETE, &format!("{MODULES}/{name}")).send().await {
                Ok(response) => {
                    assert_eq!((response.status().as_u16(), kept.is_some()), (204, true));
                    promises.lock().await.insert(name, None);
                }
                Err(_) => return,
            }
        }
    }
}

/// Uploads and deletes from all sides, and kills it in the middle.
async fn killed_in_the_middle(process: Process, round: usize, promises: &Mutex<Promises>) {
    let clients = join_all((0..CLIENTS).map(|number| client(&process.gateway, round, number, promises)));
    let killer = async {
        // Another moment each round, from the first bytes on.
        tokio::time::sleep(Duration::from_millis(10 + 17 * round as u64)).await;
        process.signal(Signal::KILL);
    };
    tokio::join!(clients, killer);
    process.kill().await;
}

async fn all_modules(gw: &TestGateway) -> Vec<Value> {
    let mut modules = Vec::new();
    for page in 1.. {
        let listing = gw.get(&format!("{MODULES}?limit=200&page={page}")).await.expect_status(200).json();
        let items = listing["items"].as_array().unwrap();
        if items.is_empty() {
            assert_eq!(listing["total"], modules.len());
            break;
        }
        modules.extend(items.iter().cloned());
    }
    modules
}

/// Every promise is kept, every module is whole, and nothing else is there.
async fn is_consistent(gw: &TestGateway, promises: &Promises) {
    let modules = all_modules(gw).await;
    let digests: BTreeSet<_> = modules.iter().map(|module| module["sha256"].as_str().unwrap().to_owned()).collect();
    let files = gw.files();
    if !modules.is_empty() {
        // An empty store sweeps nothing: it may be the wrong store for these blobs.
        assert_eq!(files.blobs, digests);
        assert!(files.artifacts.len() <= digests.len(), "{files:?}");
    }
    assert_eq!(files.others, Vec::<std::path::PathBuf>::new());
    for module in &modules {
        let name = module["name"].as_str().unwrap();
        let download = gw.get(&format!("{MODULES}/{name}/download")).await.expect_status(200);
        assert_eq!(Digest::of(&download.body).to_string(), module["sha256"].as_str().unwrap());
        let answer = gw.invoke(name, json!({"name": name})).await.expect_status(200);
        assert_eq!(answer.json()["output"]["name"], name);
    }
    let listed: BTreeMap<_, _> =
        modules.iter().map(|module| (module["name"].as_str().unwrap(), module["sha256"].as_str().unwrap())).collect();
    for (name, promised) in promises {
        assert_eq!(listed.get(name.as_str()).copied(), promised.as_deref(), "{name}");
    }
    assert_eq!(gw.metric("sluice_security_alerts_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_consistent_after_every_one_of_many_kills_among_uploads() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut stored = 0;
    for round in 0..ROUNDS {
        let promises = Mutex::default();
        let process = Process::start(&folder).await;
        killed_in_the_middle(process, round, &promises).await;
        let promises = promises.into_inner();
        let process = Process::start(&folder).await;
        is_consistent(&process.gateway, &promises).await;
        stored += promises.len();
        // The next round begins with an empty store, so that it does not take longer.
        for module in all_modules(&process.gateway).await {
            let path = format!("{MODULES}/{}", module["id"].as_str().unwrap());
            Answer::of(process.gateway.request(Method::DELETE, &path)).await.expect_status(204);
        }
        process.kill().await;
    }
    assert!(stored > ROUNDS, "only {stored} answers in all: the kills came too early to prove anything");
}

#[tokio::test]
async fn executions_that_ran_at_the_kill_are_failed_afterwards() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let process = Process::start(&folder).await;
    let gw = &process.gateway;
    gw.upload("spin", "1.0.0", guest("spin")).await.expect_status(201);
    let path = format!("{MODULES}/spin/invoke?function=sleep");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let call =
            gw.request(Method::POST, &path).header("prefer", "respond-async").json(&json!({"input": {"ms": 20_000}}));
        let answer = Answer::of(call).await.expect_status(202);
        let shown = gw.get(answer.header("location")).await.expect_status(200).json();
        assert_eq!(shown["status"], "running");
        ids.push(shown["execution_id"].as_str().unwrap().to_owned());
    }
    process.kill().await;
    let process = Process::start(&folder).await;
    for id in ids {
        let shown = process.gateway.get(&format!("/api/v1/wasm/executions/{id}")).await.expect_status(200).json();
        assert_eq!((&shown["status"], &shown["error"]["code"]), (&json!("failed"), &json!("internal")), "{shown}");
        assert_eq!(shown["error"]["origin"], "gateway");
    }
    let running = process.gateway.get("/api/v1/wasm/executions?status=running").await.json();
    assert_eq!(running["total"], 0);
    process.stop().await;
}
