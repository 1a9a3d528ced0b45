//! Runs of jobs, and `kill -9` at any moment: every run that was answered ends, no recorded result ever changes, and
//! what a step was told by the one before it is what that one's recorded result says.

mod ledger;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::RwLock;

use self::ledger::Ledger;
use crate::support::s3::S3Server;
use crate::support::{Answer, Process, guest};
use local_servers::postgres::database;

/// Runs of one round, unless `SLUICE_CHAOS_RUNS` says another number.
const RUNS: usize = 1_000;
/// Who starts them, at once.
const CLIENTS: usize = 16;
/// Kills of one round at least, over all gateways.
const KILLS: usize = 12;
/// From the last kill on, for what is left: leases have to end first.
const ENDS_WITHIN: Duration = Duration::from_mins(2);

/// `first` → (`left`, `right`) → `joined` → `pause` → `checked` (wasm) → `flaky`.
fn definition(ledger: &Ledger) -> Value {
    let http = |id: &str, body: Value, next: Value| {
        json!({
            "id": id, "type": "http", "method": "POST", "url": format!("http://127.0.0.1:{}/{id}", ledger.port),
            "body": body, "next": next,
            "retry": {"max_attempts": 20, "initial_interval_ms": 5, "max_interval_ms": 50},
        })
    };
    json!({
        "name": "chaos",
        "steps": [
            http("first", json!({"order": "{{ trigger.order }}"}), json!(["left", "right"])),
            http("left", json!({"first": "{{ steps.first.output.body.number }}"}), json!(["joined"])),
            http("right", json!({"first": "{{ steps.first.output.body.number }}"}), json!(["joined"])),
            http(
                "joined",
                json!({
                    "left": "{{ steps.left.output.body.number }}", "right": "{{ steps.right.output.body.number }}",
                }),
                json!(["pause"]),
            ),
            {"id": "pause", "type": "wait", "duration_ms": 20},
            {
                "id": "checked", "type": "wasm", "module": "echo@1.0.0", "function": "run",
                "input": {"joined": "{{ steps.joined.output.body.number }}"},
            },
            http("flaky", json!({"checked": "{{ steps.checked.output.joined }}"}), json!([])),
        ],
    })
}

/// The steps that have effects, with the member of their body that tells of an earlier step.
const EFFECTS: [(&str, &[(&str, &str)]); 5] = [
    ("first", &[]),
    ("left", &[("first", "first")]),
    ("right", &[("first", "first")]),
    ("joined", &[("left", "left"), ("right", "right")]),
    ("flaky", &[("checked", "joined")]),
];

/// A gateway that is killed and started again, and how to reach it while it is there.
struct Place {
    folder: Arc<tempfile::TempDir>,
    configuration: String,
    process: RwLock<Option<Process>>,
}

impl Place {
    async fn start(&self) {
        let process = Process::start_with(&self.folder, &self.configuration).await;
        *self.process.write().await = Some(process);
    }

    /// Lives for a while, dies, and comes back.
    async fn is_killed_after(&self, life: Duration) {
        tokio::time::sleep(life).await;
        // Whoever asks it something at this moment gets no answer: the signal does not wait for the lock.
        self.process.read().await.as_ref().unwrap().signal(Signal::KILL);
        let process = self.process.write().await.take().unwrap();
        process.kill().await;
        self.start().await;
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, String)], body: Option<Value>) -> Option<Answer> {
        let request = {
            let process = self.process.read().await;
            let mut request = process.as_ref()?.gateway.request(method, path);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            match body {
                Some(body) => request.json(&body),
                None => request,
            }
        };
        let response = tokio::time::timeout(Duration::from_secs(30), request.send()).await.ok()?.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.ok()?;
        Some(Answer { status, headers, body })
    }
}

/// What was seen of runs while they ran, by run and step: it may never change.
type Recorded = Mutex<HashMap<(String, String), Value>>;

fn remember(recorded: &Recorded, run: &Value) {
    let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
    let id = run["id"].as_str().unwrap();
    for step in run["steps"].as_array().unwrap() {
        if step["status"] == "completed" {
            let key = (id.to_owned(), step["id"].as_str().unwrap().to_owned());
            let before = recorded.entry(key).or_insert_with(|| step["output"].clone());
            assert_eq!(*before, step["output"], "a recorded result changed: {run}");
        }
    }
}

/// Starts one run, however often that has to be tried, and gives its id.
async fn start_one(places: &[Place], number: usize) -> String {
    for attempt in 0.. {
        let place = &places[(number + attempt) % places.len()];
        let headers = [("idempotency-key", format!("order-{number}"))];
        let body = json!({"order": number});
        if let Some(answer) = place.ask(Method::POST, "/api/v1/jobs/chaos/runs", &headers, Some(body)).await {
            match answer.status.as_u16() {
                202 => return answer.json()["id"].as_str().unwrap().to_owned(),
                409 | 503 => {}
                _ => panic!("{}: {}", answer.status, answer.json()),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("it is tried until it is answered")
}

/// How long a gateway lives each time: a linear congruential sequence (Knuth's MMIX), the same in every run of the test.
fn lives(seed: u64) -> impl FnMut() -> Duration {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(50 + (state >> 33) % 900)
    }
}

/// Starts the runs from all sides and kills the gateways meanwhile; gives the ids of the runs.
async fn start_and_kill(places: &[Place], runs: usize, seed: u64, recorded: &Recorded) -> Vec<String> {
    let (next, kills, is_done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let clients = futures_util::future::join_all((0..CLIENTS).map(|_| async {
        let mut ids = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= runs && kills.load(Ordering::Relaxed) >= KILLS {
                return ids;
            }
            if number >= runs * 5 {
                return ids;
            }
            ids.push(start_one(places, number).await);
            if number % 7 == 0 {
                let path = format!("/api/v1/runs/{}", ids.last().unwrap());
                let place = &places[number % places.len()];
                if let Some(answer) = place.ask(Method::GET, &path, &[], None).await.filter(|one| one.status == 200) {
                    remember(recorded, &answer.json());
                }
            }
        }
    }));
    let killing = futures_util::future::join_all(places.iter().enumerate().map(|(index, place)| {
        let (kills, is_done) = (&kills, &is_done);
        let mut life = lives(seed.wrapping_add(index as u64));
        async move {
            while !is_done.load(Ordering::Relaxed) {
                place.is_killed_after(life()).await;
                kills.fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    let starting = async {
        let ids = clients.await;
        is_done.store(true, Ordering::Relaxed);
        ids
    };
    let (ids, _) = tokio::join!(starting, killing);
    ids.into_iter().flatten().collect()
}

/// Waits until every run has ended.
async fn all_end(place: &Place) {
    let until = Instant::now() + ENDS_WITHIN;
    loop {
        let mut open = 0;
        for status in ["queued", "running"] {
            let path = format!("/api/v1/runs?status={status}&limit=1");
            let answer = place.ask(Method::GET, &path, &[], None).await.unwrap();
            open += answer.expect_status(200).json()["total"].as_u64().unwrap();
        }
        if open == 0 {
            return;
        }
        assert!(Instant::now() < until, "{open} runs have not ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Holds one run that ended against the ledger.
fn verify(run: &Value, ledger: &Ledger) {
    assert_eq!(run["status"], "completed", "{run}");
    let id = run["id"].as_str().unwrap();
    let steps = run["steps"].as_array().unwrap();
    let step = |id: &str| steps.iter().find(|step| step["id"] == id).unwrap();
    for one in steps {
        assert_eq!(one["status"], "completed", "{run}");
        let attempts = one["attempts"].as_array().unwrap();
        let completed = attempts.iter().filter(|attempt| attempt["status"] == "completed").count();
        assert!(
            completed == 1 || one["id"] == "pause" && completed <= 1,
            "a result was recorded {completed} times: {run}"
        );
        assert!(attempts.iter().all(|attempt| attempt["status"] != "running"), "{run}");
    }
    for (name, told) in EFFECTS {
        let effects = ledger.effects(id, name);
        let number = &step(name)["output"]["body"]["number"];
        let recorded = effects.iter().find(|effect| *number == effect.number);
        assert!(recorded.is_some(), "{name} of {id} has a result that nobody gave: {number}, {effects:?}");
        for (member, earlier) in told {
            let said = &step(earlier)["output"]["body"]["number"];
            // Each of the effects, also those whose answer was lost.
            for effect in &effects {
                assert_eq!(effect.body[member], *said, "{name} of {id} was told another result of {earlier}");
            }
        }
    }
}

async fn chaos(places: Vec<Place>, ledger: Ledger, seed: u64) {
    let runs = std::env::var("SLUICE_CHAOS_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number"));
    places[0].start().await;
    for place in &places[1..] {
        // All of one store have one key: the first gateway made it.
        std::fs::copy(places[0].folder.path().join("admin.key"), place.folder.path().join("admin.key")).unwrap();
    }
    {
        let process = places[0].process.read().await;
        let gateway = &process.as_ref().unwrap().gateway;
        gateway.upload("echo", "1.0.0", guest("echo")).await.expect_status(201);
        Answer::of(gateway.request(Method::POST, "/api/v1/jobs").json(&definition(&ledger))).await.expect_status(201);
    }
    futures_util::future::join_all(places[1..].iter().map(Place::start)).await;
    let recorded = Recorded::default();
    let ids = start_and_kill(&places, runs, seed, &recorded).await;
    all_end(&places[0]).await;
    for id in &ids {
        let answer = places[0].ask(Method::GET, &format!("/api/v1/runs/{id}"), &[], None).await.unwrap();
        let run = answer.expect_status(200).json();
        remember(&recorded, &run);
        verify(&run, &ledger);
    }
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "two orders have one run");
    let (effects, again) = ledger.totals();
    assert!(effects >= ids.len() * EFFECTS.len(), "{effects} effects");
    // Else the kills came where they hurt nobody.
    assert!(again > 0, "no effect was made again");
    for place in places {
        place.process.into_inner().unwrap().stop().await;
    }
}

fn settings(ledger: &Ledger) -> String {
    let resource = format!("http://127.0.0.1:{}/**", ledger.port);
    format!(
        "[egress]\nallow_private = [\"127.0.0.1/32\"]\n[jobs]\nlease_ms = 1000\ncircuit_failures = 1000\n\
         permissions = [{{permission = \"http:write\", resource = \"{resource}\"}}]\n"
    )
}

fn place(configuration: String) -> Place {
    Place { folder: Arc::new(tempfile::tempdir().unwrap()), configuration, process: RwLock::new(None) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_on_sqlite_survive_kills_at_any_moment() {
    let ledger = Ledger::start().await;
    chaos(vec![place(settings(&ledger))], ledger, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_three_gateways_on_postgres_survive_kills_at_any_moment() {
    let (ledger, database, s3) = (Ledger::start().await, database(), S3Server::start().await);
    let store = format!("[store]\nurl = \"{}\"\n{}", database.url(), s3.toml());
    let places = (0..3).map(|_| place(format!("{store}\n{}", settings(&ledger)))).collect();
    chaos(places, ledger, 2).await;
}
