//! The rows of the job engine: steps a second, what one step takes and commits, and what a long queue does to others.
//!
//! Owns the jobs that are run and the two stores. Does not own Restate (`restate`). The limit is what the database
//! itself commits, one transaction after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::load::real;
use crate::machine::Cores;
use crate::options::Options;
use crate::report::{Status, Table};
use crate::server::{Kind, Server};
use crate::{guest, restate};

/// Steps of the jobs that are run.
const LENGTHS: [usize; 3] = [3, 40, 400];
/// Callers at once under load.
const CALLERS: usize = 16;
/// Runs of another job that wait while one is measured.
const QUEUED: usize = 10_000;
/// Commits a step at most, of a run alone.
const COMMITS_MAX: f64 = 1.3;
/// A single run beside the queue may take so many times what it takes alone.
const BESIDE_MAX: f64 = 2.0;

/// Where runs are kept.
#[derive(Debug, Clone, Copy)]
pub enum Store {
    /// A file.
    Sqlite,
    /// Debian's server, on loopback.
    Postgres,
}

/// One store.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Which.
    pub store: Store,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Jobs {
    /// By the job's length.
    pub lengths: Vec<Length>,
    /// Commits a second of the database alone, one after the other.
    pub commits_per_second: f64,
    /// What a run of three steps takes alone, median.
    pub alone_ms: f64,
    /// The same while ten thousand runs of another job wait, median.
    pub beside_ms: f64,
    /// Resident memory of the gateway after the first runs, and after all.
    pub resident_bytes: (u64, u64),
    /// The same jobs on Restate; `None` where its server could not be had, with the reason.
    pub restate: Result<Vec<restate::Length>, String>,
    /// Runs that did not complete.
    pub errors: u64,
}

/// A job of so many steps.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Length {
    /// So many.
    pub steps: usize,
    /// Of a run alone: what one step takes, median over runs.
    pub step_us: f64,
    /// Of runs alone: commits a step.
    pub commits_alone: f64,
    /// With sixteen callers.
    pub steps_per_second: f64,
    /// With sixteen callers.
    pub commits_loaded: f64,
}

/// Measures one store; `progress` is told each figure.
///
/// # Errors
/// When the gateway or the database can't be started or asked at all.
pub fn measure(
    plan: Plan,
    gateway: &Kind,
    cores: Cores,
    options: &Options,
    progress: &mut dyn FnMut(String),
) -> Result<Jobs> {
    let postgres = match plan.store {
        Store::Sqlite => None,
        Store::Postgres => Some(local_servers::postgres::Server::start().context("PostgreSQL can't be started")?),
    };
    let database = postgres.as_ref().map(local_servers::postgres::Server::database).transpose()?;
    let url = database.as_ref().map(local_servers::postgres::Database::url);
    let settings: Vec<_> = url.iter().map(|url| ("SLUICE__STORE__URL", url.clone())).collect();
    let server = Server::start_with(gateway, cores.server, &settings)?;
    let client = Client::new(&server)?;
    client.upload("echo", guest::read(guest::ECHO)?)?;
    let seconds = Duration::from_secs(options.seconds());
    let commits_per_second = match &url {
        None => sqlite_commits(server.folder(), seconds)?,
        Some(url) => postgres_commits(url, seconds)?,
    };
    progress(format!("the database alone: {commits_per_second:.0} commits/s"));
    let subject = Subject { client: &client, seconds };
    let mut errors = 0;
    let mut lengths = Vec::new();
    let mut first_resident = 0;
    for steps in LENGTHS {
        let length = subject.length(steps, &mut errors)?;
        progress(format!(
            "{steps} steps: {:.0} us a step alone, {:.2} commits a step; {:.0} steps/s, {:.3} commits a step",
            length.step_us, length.commits_alone, length.steps_per_second, length.commits_loaded
        ));
        lengths.push(length);
        if first_resident == 0 {
            first_resident = server.process().resident_bytes()?;
        }
    }
    let (alone_ms, beside_ms) = subject.beside(&mut errors)?;
    progress(format!("a run of three steps: {alone_ms:.2} ms alone, {beside_ms:.2} ms beside {QUEUED} that wait"));
    let resident_bytes = (first_resident, server.process().resident_bytes()?);
    drop(server);
    let restate = restate::measure(&LENGTHS, CALLERS, seconds, cores, progress).map_err(|error| format!("{error:#}"));
    Ok(Jobs { lengths, commits_per_second, alone_ms, beside_ms, resident_bytes, restate, errors })
}

/// A gateway that is asked for runs.
struct Subject<'a> {
    client: &'a Client,
    seconds: Duration,
}

impl Subject<'_> {
    fn define(&self, name: &str, steps: usize) -> Result<()> {
        let steps: Vec<_> = (0..steps)
            .map(|number| json!({"id": format!("s{number}"), "type": "wasm", "module": "echo@1.0.0", "input": {"n": number}}))
            .collect();
        self.client.put(&format!("/api/v1/jobs/{name}"), &json!({"name": name, "steps": steps}))
    }

    fn length(&self, steps: usize, errors: &mut u64) -> Result<Length> {
        let name = format!("steps-{steps}");
        self.define(&name, steps)?;
        let path = format!("/api/v1/jobs/{name}/runs?wait_ms=60000");
        // Compiled, mapped, and the statements prepared.
        self.client.run(&path)?;
        let before = self.client.metric("sluice_job_commits_total")?;
        let (started, mut runs, mut times) = (Instant::now(), 0, Vec::new());
        while started.elapsed() < self.seconds || runs < 3 {
            let run = self.client.run(&path)?;
            *errors += u64::from(!has_completed(&run));
            times.push(took_us(&run)? / real(steps as u64));
            runs += 1;
        }
        let commits = self.client.metric("sluice_job_commits_total")? - before;
        let commits_alone = commits / real((runs * steps) as u64);
        let before = self.client.metric("sluice_job_commits_total")?;
        let loaded = self.client.runs(&path, CALLERS, self.seconds)?;
        *errors += loaded.errors;
        let commits = self.client.metric("sluice_job_commits_total")? - before;
        let done = real(loaded.completed) * real(steps as u64);
        Ok(Length {
            steps,
            step_us: median(&mut times),
            commits_alone,
            steps_per_second: done / loaded.seconds,
            commits_loaded: commits / done.max(1.0),
        })
    }

    /// What a run takes alone, and while very many of another job wait.
    fn beside(&self, errors: &mut u64) -> Result<(f64, f64)> {
        self.define("alone", 3)?;
        self.define("many", 3)?;
        let path = "/api/v1/jobs/alone/runs?wait_ms=60000";
        let mut several = |count: usize| -> Result<f64> {
            let mut times = Vec::new();
            for _ in 0..count {
                let started = Instant::now();
                let run = self.client.run(path)?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
                *errors += u64::from(!has_completed(&run));
            }
            Ok(median(&mut times))
        };
        several(5)?;
        let alone = several(50)?;
        self.client.start_many("/api/v1/jobs/many/runs", QUEUED, CALLERS)?;
        let beside = several(20)?;
        Ok((alone, beside))
    }
}

fn has_completed(run: &Value) -> bool {
    run.get("status").and_then(Value::as_str) == Some("completed")
}

/// From a run's start to its end.
fn took_us(run: &Value) -> Result<f64> {
    let at = |member: &str| -> Result<jiff::Timestamp> {
        let text =
            run.get(member).and_then(Value::as_str).with_context(|| format!("the run has no {member}: {run}"))?;
        Ok(text.parse()?)
    };
    let took = at("ended_at")?.duration_since(at("created_at")?);
    Ok(took.as_secs_f64() * 1e6)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One row a transaction, as durable as a run's changes are.
fn sqlite_commits(folder: &Path, seconds: Duration) -> Result<f64> {
    let connection = rusqlite::Connection::open(folder.join("commits.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)", [])?;
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < seconds {
        connection.prepare_cached("INSERT INTO t (b) VALUES ('a step and what it returned')")?.execute([])?;
        count += 1;
    }
    Ok(real(count) / started.elapsed().as_secs_f64())
}

fn postgres_commits(url: &str, seconds: Duration) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        client.execute("CREATE TABLE bench_commits (a BIGSERIAL PRIMARY KEY, b TEXT)", &[]).await?;
        let insert = client.prepare("INSERT INTO bench_commits (b) VALUES ('a step and what it returned')").await?;
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < seconds {
            client.execute(&insert, &[]).await?;
            count += 1;
        }
        let rate = real(count) / started.elapsed().as_secs_f64();
        client.execute("DROP TABLE bench_commits", &[]).await?;
        drop(client);
        if let Err(error) = connection.await? {
            bail!("the connection broke: {error}");
        }
        Ok(rate)
    })
}

impl Jobs {
    /// Whether the goals were reached: commits, the queue, and Restate where it ran.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.errors > 0 {
            return Status::Failed { errors: self.errors };
        }
        let commits = self.lengths.iter().all(|length| length.commits_alone <= COMMITS_MAX);
        let faster = match &self.restate {
            Ok(restate) => {
                self.lengths.iter().zip(restate).all(|(ours, theirs)| ours.steps_per_second > theirs.steps_per_second)
            }
            Err(_) => true,
        };
        if commits && faster && self.beside_ms <= self.alone_ms * BESIDE_MAX { Status::Reached } else { Status::Missed }
    }

    /// The figures that count, in a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        let most = self.lengths.iter().map(|length| length.commits_alone).fold(0.0, f64::max);
        let (first, last) = self.resident_bytes;
        let restate = match &self.restate {
            Ok(_) => String::new(),
            Err(reason) => format!(" Restate was not measured: {reason}."),
        };
        format!(
            "at most {most:.2} commits a step (goal {COMMITS_MAX}); a run of three steps takes {:.2} ms alone and {:.2} ms beside \
             {QUEUED} that wait (goal {BESIDE_MAX}×); {:.1} MB resident, {:.1} MB in the end; the database alone commits \
             {:.0} times a second.{restate}",
            self.alone_ms,
            self.beside_ms,
            real(first) / 1e6,
            real(last) / 1e6,
            self.commits_per_second,
        )
    }

    /// The raw figures.
    #[must_use]
    pub fn table(&self) -> Table {
        let header = [
            "steps",
            "a step alone",
            "commits a step alone",
            "steps/s, 16 callers",
            "commits a step, 16 callers",
            "Restate: a step alone",
            "Restate: steps/s",
        ];
        let rows = self.lengths.iter().enumerate().map(|(index, length)| {
            let restate = self.restate.as_ref().ok().and_then(|lengths| lengths.get(index));
            let theirs = |figure: &dyn Fn(&restate::Length) -> String| restate.map_or_else(|| "–".to_owned(), figure);
            vec![
                length.steps.to_string(),
                format!("{:.0} µs", length.step_us),
                format!("{:.2}", length.commits_alone),
                format!("{:.0}", length.steps_per_second),
                format!("{:.3}", length.commits_loaded),
                theirs(&|length| format!("{:.0} µs", length.step_us)),
                theirs(&|length| format!("{:.0}", length.steps_per_second)),
            ]
        });
        Table { header: header.map(str::to_owned).to_vec(), rows: rows.collect() }
    }
}
