//! `sluice logs`: what one execution logged, or what a module does from now on.
//!
//! Owns the shape of log lines on a terminal and the polling of `--follow`. Does
//! not own which lines are kept. Invariant: a followed execution is printed once,
//! when it has ended, in the order in which executions started within a poll.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Answer, Client, Error, Remote};
use super::invoke::duration;
use super::modules::{self, View};
use super::output::{self, Out, Paint};
use super::pages::Page;
use crate::model::{ExecutionId, ModuleRef};
use crate::store::PageRequest;

/// Often enough to feel immediate, seldom enough to cost a gateway nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long an execution that was seen starting may run and still be followed to
/// its end; longer than any step's default limit by far.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// What a poll reads at most: 5 000 executions. A busier module is followed in part.
const PAGES_MAX: u32 = 25;
/// A record is readable within a second of its execution's end.
const RECORD_DELAY: Duration = Duration::from_millis(1500);
const EXECUTIONS: [&str; 2] = ["wasm", "executions"];

/// Whose log.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["execution", "follow"]))]
pub(super) struct Args {
    /// The execution's id, as an invoke and its errors show it.
    #[arg(value_parser = execution_id)]
    execution: Option<ExecutionId>,
    /// Print what executions of a module log from now on, until Ctrl-C.
    #[arg(long, value_name = "MODULE")]
    follow: Option<ModuleRef>,
    /// Leave out lines below this level.
    #[arg(long, value_enum, default_value_t = Level::Debug)]
    level: Level,
    #[command(flatten)]
    remote: Remote,
}

fn execution_id(text: &str) -> Result<ExecutionId, String> {
    text.parse().map_err(|_| format!("it is no execution's id; what a module logs from now on: --follow {text}"))
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// An entry as it is shown; of a list of executions without lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    execution_id: String,
    module: String,
    version: String,
    function: String,
    status: String,
    started_at: Timestamp,
    duration_us: Option<u64>,
    error: Option<Failure>,
    lines: Vec<Line>,
    lines_dropped: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    code: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    at: Timestamp,
    level: String,
    message: String,
    fields: serde_json::Map<String, Value>,
}

/// Shows or follows.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    let client = Client::new(&args.remote, out)?;
    match (args.execution, args.follow) {
        (Some(execution), _) => show(&client, &execution.to_string(), args.level, out).await,
        (None, Some(module)) => Follower::start(client, module.to_string(), args.level, out).await?.follow().await,
        (None, None) => Err(super::failure::Usage("an execution or --follow MODULE is needed".to_owned()).into()),
    }
}

/// All pages of one execution's log; with `--json` each page is a document.
pub(super) async fn show(client: &Client, id: &str, level: Level, out: Out) -> anyhow::Result<()> {
    let mut seen = 0_u64;
    for number in 1.. {
        let answer = log_page(client, id, level, number).await?;
        let page: Page<Entry> = answer.read()?;
        if !out.when_json(&answer.body)? {
            for entry in &page.items {
                print(entry, out)?;
            }
        }
        seen += page.items.len() as u64;
        if page.items.is_empty() || seen >= page.total {
            break;
        }
    }
    Ok(())
}

/// One page, with patience for a record that is not written yet.
async fn log_page(client: &Client, id: &str, level: Level, page: u32) -> Result<Answer, Error> {
    let query = [
        ("level", level.as_str().to_owned()),
        ("page", page.to_string()),
        ("limit", PageRequest::LIMIT_MAX.to_string()),
    ];
    let path = [EXECUTIONS.as_slice(), &[id, "logs"]].concat();
    let asked = Instant::now();
    loop {
        match client.get(&path, &query).await {
            Err(error) if error.is_not_found() && asked.elapsed() < RECORD_DELAY => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            result => return result,
        }
    }
}

/// Follows all versions that a reference has meant since the start.
struct Follower {
    client: Client,
    module: String,
    level: Level,
    out: Out,
    /// The gateway's time when following began.
    since: Timestamp,
    began: Instant,
    module_ids: Vec<String>,
    printed: HashMap<String, Timestamp>,
}

impl Follower {
    async fn start(client: Client, module: String, level: Level, out: Out) -> anyhow::Result<Self> {
        let answer = client.get(&modules::path(&module, &[]), &[]).await?;
        let view: View = answer.read()?;
        out.note(&format!("following {} {}; Ctrl-C ends", view.name, view.version));
        Ok(Self {
            client,
            module,
            level,
            out,
            since: date(&answer.headers).unwrap_or_else(Timestamp::now),
            began: Instant::now(),
            module_ids: vec![view.id],
            printed: HashMap::new(),
        })
    }

    async fn follow(mut self) -> anyhow::Result<()> {
        let mut waits = false;
        loop {
            match self.poll().await {
                Ok(()) => waits = false,
                Err(error) => {
                    let passing = error.downcast_ref::<Error>().is_some_and(Error::is_passing);
                    if !passing {
                        return Err(error);
                    }
                    if !waits {
                        self.out.warn(&format!("{error}; trying on"));
                    }
                    waits = true;
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn poll(&mut self) -> anyhow::Result<()> {
        self.notice_new_version().await?;
        let from = self.window();
        self.printed.retain(|_, started_at| *started_at >= from);
        let mut ended = Vec::new();
        for module_id in &self.module_ids {
            ended.extend(self.ended_since(module_id, from).await?);
        }
        ended.sort_by(|a, b| (a.started_at, &a.execution_id).cmp(&(b.started_at, &b.execution_id)));
        for entry in ended {
            self.print(&entry.execution_id).await?;
            self.printed.insert(entry.execution_id, entry.started_at);
        }
        Ok(())
    }

    /// `name` means another version after an upload; the old one's last calls are still of interest.
    async fn notice_new_version(&mut self) -> anyhow::Result<()> {
        let view: View = match self.client.get(&modules::path(&self.module, &[]), &[]).await {
            Ok(answer) => answer.read()?,
            // Deleted: another version may come.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !self.module_ids.contains(&view.id) {
            self.out.note(&format!("following {} {} too", view.name, view.version));
            self.module_ids.push(view.id);
        }
        Ok(())
    }

    fn window(&self) -> Timestamp {
        let now = SignedDuration::try_from(self.began.elapsed()).ok().and_then(|age| self.since.checked_add(age).ok());
        let from = now.and_then(|now| now.checked_sub(WINDOW).ok()).unwrap_or(self.since);
        from.max(self.since)
    }

    /// Executions that have ended and are not printed yet, newest first.
    async fn ended_since(&self, module_id: &str, from: Timestamp) -> anyhow::Result<Vec<Entry>> {
        let mut ended = Vec::new();
        let mut ids = HashSet::new();
        for number in 1..=PAGES_MAX {
            let query = [
                ("module_id", module_id.to_owned()),
                ("from", from.to_string()),
                ("page", number.to_string()),
                ("limit", PageRequest::LIMIT_MAX.to_string()),
            ];
            let page: Page<Entry> = self.client.get(&EXECUTIONS, &query).await?.read()?;
            let full = page.items.len() >= PageRequest::LIMIT_MAX as usize;
            let before = ids.len();
            for entry in page.items {
                // A page shifts when executions arrive between two requests.
                let is_new = entry.status != "running" && !self.printed.contains_key(&entry.execution_id);
                if is_new && ids.insert(entry.execution_id.clone()) {
                    ended.push(entry);
                }
            }
            if !full || ids.len() == before {
                break;
            }
        }
        Ok(ended)
    }

    async fn print(&self, id: &str) -> anyhow::Result<()> {
        match log_page(&self.client, id, self.level, 1).await {
            Ok(answer) if self.out.is_json() => Ok(self.out.json(&answer.body)?),
            Ok(answer) => {
                let page: Page<Entry> = answer.read()?;
                Ok(page.items.iter().try_for_each(|entry| print(entry, self.out))?)
            }
            // Its module was deleted in this moment.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The gateway's clock, so that its time zone and drift don't matter.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn print(entry: &Entry, out: Out) -> Result<(), output::Error> {
    let paint = match entry.status.as_str() {
        "completed" => Paint::Green,
        "running" => Paint::Plain,
        "invalid" | "canceled" => Paint::Yellow,
        _ => Paint::Red,
    };
    out.painted(paint, &entry.status, &headline(entry))?;
    for line in &entry.lines {
        let paint = match line.level.as_str() {
            "error" => Paint::Red,
            "warn" => Paint::Yellow,
            "debug" => Paint::Dim,
            _ => Paint::Plain,
        };
        out.painted(paint, &format!("  {} {:5} ", time(line.at), line.level), &message(line))?;
    }
    if entry.lines_dropped > 0 {
        out.painted(Paint::Dim, &format!("  {} lines over the step's bounds were dropped", entry.lines_dropped), "")?;
    }
    if let Some(error) = &entry.error {
        out.painted(Paint::Red, "  error ", &format!("{} ({})", indented(&error.message), error.code))?;
    }
    Ok(())
}

fn headline(entry: &Entry) -> String {
    let took = entry.duration_us.map(|us| format!(" in {}", duration(us))).unwrap_or_default();
    format!(
        " {} {}@{} {}{took} {}",
        time(entry.started_at),
        entry.module,
        entry.version,
        entry.function,
        entry.execution_id
    )
}

/// To the millisecond, so that the columns after it stand below each other.
fn time(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
}

fn message(line: &Line) -> String {
    let mut text = indented(&line.message);
    for (name, value) in &line.fields {
        // Writing to a string never fails.
        let _ = write!(text, " {name}={value}");
    }
    text
}

/// A message of several lines must not look like entries of the log.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n      ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_entry_tells_what_ran_and_what_it_said() {
        let entry: Entry = serde_json::from_str(
            r#"{"execution_id":"e-1","module":"order-check","version":"1.0.0","function":"run","status":"failed",
            "started_at":"2026-01-02T03:04:05Z","duration_us":184,
            "lines":[{"at":"2026-01-02T03:04:05.1Z","level":"warn","message":"two\nlines","fields":{"n":1,"s":"x"}}]}"#,
        )
        .unwrap();
        assert_eq!(headline(&entry), " 2026-01-02T03:04:05.000Z order-check@1.0.0 run in 184 µs e-1");
        assert_eq!(message(&entry.lines[0]), "two\n      lines n=1 s=\"x\"");
    }

    #[test]
    fn the_gateways_clock_is_read_from_its_answer() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(date(&headers), Some("1994-11-06T08:49:37Z".parse().unwrap()));
    }
}
