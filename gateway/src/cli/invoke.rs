//! `sluice invoke`: runs a function and shows what it returned.
//!
//! Invariant: standard output is the step's output and nothing else, so that it
//! can be another command's input; with `--json` it is the whole answer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indicatif::{BinaryBytes, HumanCount};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::{Client, Remote};
use super::failure::Usage;
use super::output::Out;
use super::{input, modules};
use crate::author::Called;
use crate::model::{JsonText, Limits, ModuleRef};

/// What to run, on what.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An id, `name`, `name@1.2.3` or `name@^1.2`; or --local.
    #[arg(required_unless_present = "local")]
    module: Option<ModuleRef>,
    /// Build the step of this folder and run it in this process, without a gateway and without http and db.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with = "module")]
    local: Option<PathBuf>,
    /// The step function.
    #[arg(long, default_value = "run")]
    function: String,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// The job's data, which the step reads and writes through its context: JSON, @FILE, or -.
    #[arg(long, value_name = "JSON|@FILE|-")]
    data: Option<String>,
    /// A variable of the step's environment; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::variable)]
    env: Vec<(String, String)>,
    /// Lower the time limit.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: Option<u64>,
    /// Lower the fuel.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    fuel: Option<u64>,
    /// Lower the memory limit.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    memory_bytes: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<JsonText>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

#[derive(Deserialize)]
struct Completed {
    execution_id: String,
    output: Box<RawValue>,
    #[serde(default)]
    next: Option<Vec<String>>,
    #[serde(default)]
    metrics: Metrics,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    fuel: Option<u64>,
    memory_bytes: u64,
    duration_us: u64,
    instance: String,
}

/// Runs. A signal closes the connection, which cancels the execution.
pub(super) async fn run(args: Args, out: Out) -> anyhow::Result<()> {
    if args.input.as_deref() == Some("-") && args.data.as_deref() == Some("-") {
        return Err(Usage("only one of --input and --data can be standard input".to_owned()).into());
    }
    let Some(module) = &args.module else {
        let dir = args.local.clone().unwrap_or_default();
        return super::local::run(&dir, called(args).await?, out).await;
    };
    let body = body(&args).await?;
    let client = Client::new(&args.remote, out)?;
    let module = module.to_string();
    let answer = client.post_json(&modules::path(&module, &["invoke"]), &[("function", args.function)], body).await?;
    if out.when_json(&answer.body)? {
        return Ok(());
    }
    let completed: Completed = answer.read()?;
    let text = completed.output.get();
    out.line(super::pretty::json(text.as_bytes()).as_deref().unwrap_or(text))?;
    for line in completed.notes() {
        out.note(&line);
    }
    Ok(())
}

async fn called(args: Args) -> anyhow::Result<Called> {
    Ok(Called {
        input: json("--input", args.input.as_ref()).await?.unwrap_or_else(JsonText::null),
        data: json("--data", args.data.as_ref()).await?.map(object).transpose()?,
        limits: limits(&args),
        function: args.function,
        env: args.env,
    })
}

/// As a gateway would have it.
fn object(data: JsonText) -> Result<JsonText, Usage> {
    if data.as_str().trim_start().starts_with('{') {
        return Ok(data);
    }
    Err(Usage("--data has to be an object, such as '{\"customer\": \"A-17\"}'".to_owned()))
}

fn limits(args: &Args) -> Limits {
    Limits { fuel: args.fuel, memory_bytes: args.memory_bytes, timeout_ms: args.timeout_ms }
}

async fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let input = json("--input", args.input.as_ref()).await?;
    let data = json("--data", args.data.as_ref()).await?;
    let limits = limits(args);
    let request = Request {
        input,
        data,
        env: args.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        limits: (limits != Limits::default()).then_some(limits),
    };
    Ok(serde_json::to_vec(&request)?)
}

async fn json(flag: &str, argument: Option<&String>) -> anyhow::Result<Option<crate::model::JsonText>> {
    match argument {
        Some(argument) => input::json(flag, argument.clone()).await.map(Some),
        None => Ok(None),
    }
}

impl Completed {
    fn notes(&self) -> Vec<String> {
        let next = self.next.as_ref().map(|steps| {
            if steps.is_empty() { "next: the job ends here".to_owned() } else { format!("next: {}", steps.join(", ")) }
        });
        let metrics = &self.metrics;
        let mut parts = vec![format!("completed in {}", duration(metrics.duration_us))];
        parts.extend(metrics.fuel.map(|fuel| format!("fuel {}", HumanCount(fuel))));
        parts.push(format!("memory {}", BinaryBytes(metrics.memory_bytes)));
        parts.push(format!("{} instance", metrics.instance));
        parts.push(format!("execution {}", self.execution_id));
        next.into_iter().chain([parts.join(" · ")]).collect()
    }
}

/// Microseconds in the unit that people read best.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    async fn sent(line: &[&str]) -> String {
        let cli = Cli::try_parse_from(["sluice", "invoke", "order-check"].iter().chain(line)).unwrap();
        let Command::Invoke(args) = cli.command else { panic!("another command") };
        String::from_utf8(body(&args).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn only_what_was_given_is_sent() {
        assert_eq!(sent(&[]).await, "{}");
        assert_eq!(
            sent(&["--timeout-ms", "5"]).await,
            r#"{"limits":{"fuel":null,"memory_bytes":null,"timeout_ms":5}}"#
        );
    }

    #[tokio::test]
    async fn input_goes_out_digit_by_digit_and_variables_by_name() {
        let body = sent(&["--input", r#"{"b":1.50,"a":2}"#, "--data", "{}", "--env", "B=2=3", "--env", "A=1"]).await;
        assert_eq!(body, r#"{"input":{"b":1.50,"a":2},"data":{},"env":{"A":"1","B":"2=3"}}"#);
    }

    #[test]
    fn people_read_metrics_without_counting_digits() {
        let answer = r#"{"execution_id":"e-1","status":"completed","output":1,"next":["review"],"data":{},
            "metrics":{"fuel":12345,"memory_bytes":1179648,"duration_us":1840,"instance":"fresh"}}"#;
        let completed: Completed = serde_json::from_str(answer).unwrap();
        assert_eq!(
            completed.notes(),
            ["next: review", "completed in 1.8 ms · fuel 12,345 · memory 1.12 MiB · fresh instance · execution e-1"]
        );
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        assert_eq!([999, 1_000, 999_999, 1_000_000].map(duration), ["999 µs", "1.0 ms", "999.9 ms", "1.0 s"]);
    }
}
