//! `cargo xtask demo`: the product's main job, for somebody who sees it for the first time.
//!
//! Owns the story and what it asserts. Invariant: every answer that is shown came from the gateway
//! just now, and one that is not as told fails the demo.

mod desk;
mod job;
mod orders;
mod timing;

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway::{self, Gateway};
use crate::steps::{Paint, Step, Steps};
use crate::{guests, project, system};

/// What becomes of the gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It stops, and has to do so well.
    Stop,
    /// It runs until Ctrl-C.
    KeepRunning,
}

/// Enough for every good order, and used up by a spinning guest in a few dozen milliseconds.
const HOSTILE_FUEL: u64 = 50_000_000;
const HOSTILE_MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// What the demo looks at of an answer: an execution's or a problem.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    execution_id: Option<String>,
    code: Option<String>,
    detail: Option<String>,
    errors: Vec<Value>,
}

/// A step that does harm, and the codes of which one has to be the answer.
struct Attack {
    module: &'static str,
    input: Value,
    limits: Value,
    codes: &'static [&'static str],
}

/// Runs the demo.
pub fn run(steps: &mut Steps, listen: Option<SocketAddr>, ending: Ending) -> Result<()> {
    let paint = steps.paint();
    steps.step("programs", |step| system::ensure(step, &[system::C_COMPILER, system::POSTGRESQL]))?;
    guests::build(steps)?;
    let program =
        steps.step("the gateway, in release (minutes the first time)", |step| gateway::build(step, &["--release"]))?;
    let gateway = steps.step("start it with no configuration", |step| {
        let address = listen.map_or_else(gateway::usual_address, Ok)?;
        let gateway = Gateway::start("demo", program, address)?;
        step.note(format!("{}, its log is in {}", gateway.url(), gateway::log_file("demo").display()));
        Ok(gateway)
    })?;
    steps.step("upload a step", |_| upload(&gateway, paint))?;
    let execution = steps.step("a good order", |_| good_order(&gateway, paint))?;
    steps.step("a bad order: every mistake at once", |_| bad_order(&gateway, paint))?;
    steps.step("hostile orders", |_| hostile_orders(&gateway, paint))?;
    steps.step("hostile steps, while the good one goes on", |step| hostile_steps(step, &gateway, paint))?;
    steps.step("what the good order logged", |_| {
        shown(&gateway, paint, &["logs", &execution])?;
        Ok(())
    })?;
    steps.step("a step with two databases, an API and a secret", |step| desk::run(step, gateway.program(), paint))?;
    steps.step("a job that a webhook starts, and that survives kill -9", |step| {
        job::run(step, gateway.program(), paint)
    })?;
    steps.step("time", |_| timing::measure(&gateway))?;
    steps.step("what an operator sees", |_| metrics(&gateway))?;
    match ending {
        Ending::Stop => {
            steps.step("stop it by SIGTERM", |_| {
                let status = gateway.stop()?;
                ensure!(status.success(), "the gateway ended with {status}");
                Ok(())
            })?;
            steps.finish()
        }
        Ending::KeepRunning => {
            steps.finish()?;
            keep_running(gateway, paint)
        }
    }
}

fn upload(gateway: &Gateway, paint: Paint) -> Result<()> {
    for name in ["order-check", "spin", "grow"] {
        let file = guests::file(name);
        let file = file.strip_prefix(project::root()).unwrap_or(&file).to_string_lossy().into_owned();
        let arguments = ["upload", &file, "--name", name, "--version", "0.1.0"];
        if name == "order-check" {
            shown(gateway, paint, &arguments)?;
        } else {
            let output = gateway.command().args(arguments).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    shown(gateway, paint, &["list"])?;
    Ok(())
}

fn good_order(gateway: &Gateway, paint: Paint) -> Result<String> {
    let output = shown(gateway, paint, &["--json", "invoke", "order-check", "--input", orders::GOOD])?;
    let told: Told = serde_json::from_slice(&output.stdout).context("the answer is not JSON")?;
    told.execution_id.context("the answer names no execution")
}

fn bad_order(gateway: &Gateway, paint: Paint) -> Result<()> {
    let output = ran(gateway, paint, &["invoke", "order-check", "--input", orders::BAD])?;
    ensure!(output.status.code() == Some(1), "a refused order should exit with 1, not {}", output.status);
    let answer = gateway.connect()?.post(&invoke("order-check"), &with_input(orders::BAD))?;
    let told: Told = serde_json::from_str(&answer.body)?;
    let as_told = answer.status == 422 && told.code.as_deref() == Some("invalid-data") && told.errors.len() > 1;
    ensure!(as_told, "a bad order was answered with {}: {}", answer.status, answer.body);
    Ok(())
}

/// Orders that try to break the reader, not the rules.
fn hostile_orders(gateway: &Gateway, paint: Paint) -> Result<()> {
    let mut connection = gateway.connect()?;
    for order in orders::hostile() {
        let answer = connection.post(&invoke("order-check"), &with_input(&order.input))?;
        say(paint, order.what, answer.status, &answer.body);
        ensure!(answer.status == order.status, "{} should be answered with {}", order.what, order.status);
    }
    Ok(())
}

/// Steps that never end or eat memory are cut off, one by one, and their neighbour doesn't notice.
fn hostile_steps(step: &mut Step, gateway: &Gateway, paint: Paint) -> Result<()> {
    let attacks = [
        Attack {
            module: "spin",
            input: Value::Null,
            limits: json!({"fuel": HOSTILE_FUEL}),
            codes: &["fuel-exhausted"],
        },
        Attack {
            module: "spin",
            input: Value::Null,
            limits: json!({"timeout_ms": 20}),
            // A fast machine uses up the default fuel before the time.
            codes: &["timed-out", "fuel-exhausted"],
        },
        Attack {
            module: "grow",
            input: json!({"bytes": 4 * HOSTILE_MEMORY_BYTES}),
            limits: json!({"memory_bytes": HOSTILE_MEMORY_BYTES}),
            codes: &["memory-exceeded"],
        },
    ];
    let mut neighbour = gateway.connect()?;
    let answered = thread::scope(|scope| -> Result<usize> {
        let attackers: Vec<_> =
            attacks.iter().map(|attack| scope.spawn(move || attack_with(gateway, attack))).collect();
        let mut answered = 0;
        // At least a few, and as many as fit while the attacks last.
        while answered < 10 || attackers.iter().any(|attacker| !attacker.is_finished()) {
            let answer = neighbour.post(&invoke("order-check"), &with_input(orders::GOOD))?;
            ensure!(answer.status == 200, "a good order was answered with {}: {}", answer.status, answer.body);
            answered += 1;
        }
        for attacker in attackers {
            let (what, status, body) = attacker.join().map_err(|_| anyhow::anyhow!("an attack panicked"))??;
            say(paint, &what, status, &body);
        }
        Ok(answered)
    })?;
    step.note(format!("{answered} good orders answered meanwhile, none refused"));
    Ok(())
}

fn attack_with(gateway: &Gateway, attack: &Attack) -> Result<(String, u16, String)> {
    let what = format!("{} with {}", attack.module, attack.limits);
    let body = json!({"input": attack.input, "limits": attack.limits}).to_string();
    let answer = gateway.connect()?.post(&invoke(attack.module), &body)?;
    let told: Told = serde_json::from_str(&answer.body)?;
    let as_told = told.code.is_some_and(|code| attack.codes.contains(&code.as_str()));
    ensure!(as_told, "{what} was answered with {}: {}", answer.status, answer.body);
    Ok((what, answer.status, answer.body))
}

fn metrics(gateway: &Gateway) -> Result<()> {
    let answer = gateway.connect()?.get("/metrics")?;
    ensure!(answer.status == 200, "/metrics answered {}", answer.status);
    let about_steps = |line: &&str| !line.starts_with('#') && line.contains("order-check") && !line.contains("_bucket");
    let lines: Vec<_> = answer.body.lines().filter(about_steps).take(12).collect();
    ensure!(!lines.is_empty(), "/metrics says nothing of order-check");
    println!("    GET /metrics has {} lines, among them:", answer.body.lines().count());
    for line in lines {
        println!("    {line}");
    }
    Ok(())
}

fn keep_running(gateway: Gateway, paint: Paint) -> Result<()> {
    let program = gateway.program().display();
    println!("\n{}", paint.bold(&format!("The gateway runs on {}. In another terminal:", gateway.url())));
    println!("    export SLUICE_SERVER={} SLUICE_KEY={}", gateway.url(), gateway.key());
    println!("    alias sluice={program}");
    println!("    sluice list");
    println!("    sluice invoke order-check --input '{}'", orders::GOOD);
    println!("    sluice init my-step && cd my-step && sluice build && sluice upload");
    println!("    sluice invoke my-step --input '{}'", orders::GOOD);
    println!("    curl -s $SLUICE_SERVER/metrics");
    println!("Ctrl-C stops it.");
    let status = gateway.wait()?;
    if !status.success() {
        bail!("the gateway ended with {status}");
    }
    Ok(())
}

/// Runs `sluice` in front of the reader; it has to succeed.
fn shown(gateway: &Gateway, paint: Paint, arguments: &[&str]) -> Result<Output> {
    let output = ran(gateway, paint, arguments)?;
    ensure!(output.status.success(), "sluice {} ended with {}", arguments.join(" "), output.status);
    Ok(output)
}

/// Runs `sluice` in front of the reader.
fn ran(gateway: &Gateway, paint: Paint, arguments: &[&str]) -> Result<Output> {
    let mut command: Command = gateway.command();
    let output = command.args(arguments).output().context("can't start sluice")?;
    println!("    {}", paint.bold(&format!("$ sluice {}", quoted(arguments))));
    for text in [&output.stdout, &output.stderr] {
        for line in pretty(&String::from_utf8_lossy(text)).lines() {
            println!("    {line}");
        }
    }
    Ok(output)
}

fn say(paint: Paint, what: &str, status: u16, body: &str) {
    println!("    {}", paint.bold(what));
    let told: Told = serde_json::from_str(body).unwrap_or_default();
    let (code, detail) = (told.code.unwrap_or_default(), told.detail.unwrap_or_default());
    println!("      {status} {} {}", paint.red(&code), paint.dim(&detail));
}

fn invoke(module: &str) -> String {
    format!("/api/v1/wasm/modules/{module}/invoke")
}

/// The body of an invocation. As text, because some inputs are such that no JSON library would write them.
fn with_input(input: &str) -> String {
    format!("{{\"input\": {input}}}")
}

fn quoted(arguments: &[&str]) -> String {
    let plain = |argument: &str| !argument.contains([' ', '"', '{', '*', '$', '\'']);
    let words =
        arguments.iter().map(|argument| if plain(argument) { (*argument).to_owned() } else { format!("'{argument}'") });
    words.collect::<Vec<_>>().join(" ")
}

/// JSON on several lines; other text as it is.
fn pretty(text: &str) -> String {
    let value = serde_json::from_str::<Value>(text).and_then(|value| serde_json::to_string_pretty(&value));
    value.unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_are_shown_can_be_pasted() {
        assert_eq!(quoted(&["invoke", "a", "--input", r#"{"a": 1}"#]), r#"invoke a --input '{"a": 1}'"#);
    }

    #[test]
    fn the_orders_that_should_be_json_are() {
        for order in [orders::GOOD, orders::BAD] {
            serde_json::from_str::<Value>(&with_input(order)).unwrap();
            assert!(!order.contains('\''), "it could not be quoted in a shell");
        }
    }
}
