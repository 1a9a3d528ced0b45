//! A step that works with the world: a price from `PostgreSQL`, a discount from an API, a line in `SQLite`.
//!
//! Owns a gateway of its own, since this one has a configuration, and the world around it. Invariant: what the
//! API was told is checked where it arrives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_servers::postgres;
use serde_json::{Value, json};

use super::{ran, shown};
use crate::gateway::{self, Gateway};
use crate::http::Answer;
use crate::steps::{Paint, Step};
use crate::{guests, project};

const CATALOGUE: &str =
    "create table products (sku text primary key, title text not null, price_cents bigint not null);
insert into products values ('pen', 'A fountain pen', 2450), ('ink', 'Blue ink', 890);";

/// A second, and what a busy machine adds.
const READABLE_WITHIN: Duration = Duration::from_secs(5);

/// What the step never sees.
const SECRET: &str = "sk-demo-discounts-1f6b";

/// Shows it.
pub fn run(step: &mut Step, program: &Path, paint: Paint) -> Result<()> {
    let server = postgres::Server::start()?;
    let catalogue = server.database()?;
    catalogue.run(CATALOGUE)?;
    let (api, told) = api()?;
    let variables = [
        ("SLUICE__DATABASES__CATALOGUE__URL", catalogue.url()),
        ("SLUICE__DATABASES__CATALOGUE__READ_ONLY", "true".to_owned()),
        ("SLUICE__DATABASES__CATALOGUE__TIMEOUT_MS", "500".to_owned()),
        ("SLUICE__DATABASES__LEDGER__URL", "sqlite:ledger.db".to_owned()),
        ("SLUICE__SECRETS__DISCOUNTS", SECRET.to_owned()),
        // The API is on this machine, which steps reach only where an operator says so.
        ("SLUICE__EGRESS__ALLOW_PRIVATE", "127.0.0.1".to_owned()),
    ];
    let gateway = Gateway::start_configured("demo-desk", program.to_owned(), gateway::any_address()?, &variables)?;
    upload(&gateway, "order-desk")?;
    upload(&gateway, "hosts")?;

    let input = json!({"sku": "pen", "quantity": 4, "api": api}).to_string();
    let order = ["--json", "invoke", "order-desk", "--input", &input];
    let refused = ran(&gateway, paint, &order)?;
    ensure!(!refused.status.success(), "a step without permissions reached a database");
    allow(&gateway, &api)?;
    println!("    (an admin allows it the two databases, the API and the secret)");
    let answer = shown(&gateway, paint, &order)?;
    let answer: Value = serde_json::from_slice(&answer.stdout).context("the answer is not JSON")?;
    ensure!(
        answer.pointer("/output/total_cents") == Some(&json!(8_820)),
        "10 % off 4 × 24.50 was answered with {answer}"
    );
    ensure!(
        answer.pointer("/output/ledger/orders") == Some(&json!(1)),
        "the ledger has another number of orders: {answer}"
    );
    let request = told.recv().context("the API was not asked")?;
    ensure!(request.contains(SECRET), "the API was not told the secret: {request}");
    ensure!(!answer.to_string().contains(SECRET), "the step's answer shows the secret");
    let id = answer.pointer("/execution_id").and_then(Value::as_str).context("the execution has no id")?;
    for path in [format!("/api/v1/wasm/executions/{id}"), format!("/api/v1/wasm/executions/{id}/logs")] {
        let told = readable(&gateway, &path)?;
        ensure!(told.status == 200 && !told.body.contains(SECRET), "{path} was answered with {}", told.status);
    }
    let log = std::fs::read_to_string(gateway::log_file("demo-desk"))?;
    ensure!(!log.contains(SECRET), "the gateway's log shows the secret");
    println!("    the API was told the secret, which is in no answer, log or record");

    let errors = hostile(&gateway, paint, &api)?;
    let status = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    step.note(format!("{errors} hostile calls, each with an error"));
    Ok(())
}

/// A record is stored in a batch with others, and readable within a second of its execution's end.
fn readable(gateway: &Gateway, path: &str) -> Result<Answer> {
    let until = Instant::now() + READABLE_WITHIN;
    loop {
        let answer = gateway.connect()?.get(path)?;
        if answer.status != 404 || Instant::now() > until {
            return Ok(answer);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn upload(gateway: &Gateway, name: &str) -> Result<()> {
    let file = guests::file(name);
    let file = file.strip_prefix(project::root()).unwrap_or(&file).to_string_lossy().into_owned();
    let output = gateway.command().args(["upload", &file, "--name", name, "--version", "0.1.0"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn allow(gateway: &Gateway, api: &str) -> Result<()> {
    let permissions = json!([
        {"permission": "database:read", "resource": "catalogue"},
        {"permission": "database:read", "resource": "ledger"},
        {"permission": "database:write", "resource": "ledger"},
        {"permission": "http:write", "resource": format!("{api}/discounts")},
        {"permission": "secret:use", "resource": "discounts@127.0.0.1"},
    ]);
    put_permissions(gateway, "order-desk", &permissions)
}

fn put_permissions(gateway: &Gateway, module: &str, permissions: &Value) -> Result<()> {
    let path = format!("/api/v1/wasm/modules/{module}/permissions");
    let answer = gateway.connect()?.put(&path, &permissions.to_string())?;
    ensure!(answer.status == 200, "PUT {path} was answered with {}: {}", answer.status, answer.body);
    Ok(())
}

/// A step that may use everything tries what nobody may; how many calls were errors.
fn hostile(gateway: &Gateway, paint: Paint, api: &str) -> Result<usize> {
    let everything = ["http:read", "http:write", "database:read", "database:write", "secret:use"];
    let everything: Vec<_> =
        everything.iter().map(|permission| json!({"permission": permission, "resource": "**"})).collect();
    put_permissions(gateway, "hosts", &everything.into())?;
    let get = |url: &str| json!(["http", {"method": "GET", "url": url}]);
    let header = json!([["x", "a\r\nhost: evil.example"]]);
    let ops = json!([
        get("http://169.254.169.254/latest/meta-data/"),
        get("http://[::1]:5432/"),
        get("http://0xa9fea9fe/"),
        get("file:///etc/passwd"),
        get("http://user:password@127.0.0.1/"),
        ["http", {"method": "GET", "url": api, "headers": header}],
        ["query", "catalogue", "select 1; drop table products", []],
        ["query", "catalogue", "delete from products returning sku", []],
        ["query", "catalogue", "copy products to program 'cat'", []],
        ["query", "catalogue", "select pg_sleep(60)", []],
        ["query", "catalogue", "select * from generate_series(1, 10000000)", []],
        ["execute", "catalogue", "delete from products", []],
        ["query", "ledger", "attach '/etc/passwd' as p", []],
        ["query", "ledger", "pragma database_list", []],
    ]);
    let body = json!({"input": {"ops": ops}}).to_string();
    let answer = gateway.connect()?.post(&super::invoke("hosts"), &body)?;
    ensure!(answer.status == 200, "the hostile step was answered with {}: {}", answer.status, answer.body);
    let answer: Value = serde_json::from_str(&answer.body)?;
    let told = answer.pointer("/output/ops").and_then(Value::as_array).context("the step told nothing")?;
    for (op, told) in ops.as_array().into_iter().flatten().zip(told) {
        let what = text_at(op, "/1/url").or_else(|| text_at(op, "/2")).unwrap_or_default();
        let error = text_at(told, "/err/0").zip(text_at(told, "/err/1"));
        let (variant, text) = error.with_context(|| format!("{what} was answered with {told}"))?;
        println!("    {what}\n      {} {}", paint.red(variant), paint.dim(text));
    }
    Ok(told.len())
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// An API on this machine that wants a key; where it is, and what it was asked.
fn api() -> Result<(String, mpsc::Receiver<String>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A caller that leaves is no failure of the API.
            let _ = stream.map_err(anyhow::Error::from).and_then(|stream| answer(stream, &tell));
        }
    });
    Ok((url, told))
}

fn answer(stream: TcpStream, tell: &mpsc::Sender<String>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
    let is_known = head.contains(&format!("authorization: Bearer {SECRET}"));
    let (status, body) = if is_known { ("200 OK", r#"{"percent": 10}"#) } else { ("401 Unauthorized", "{}") };
    tell.send(head)?;
    write!(
        stream.get_mut(),
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
