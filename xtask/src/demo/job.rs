//! A job: a webhook brings an order, a step of wasm validates it, an API prices it, a database keeps it, and somebody is told.
//!
//! Owns a gateway of its own, and the world around it. Invariant: the gateway is killed while the API has the order and
//! has not answered; what is told of the run afterwards is what the API was asked under one key.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use local_servers::postgres;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{orders, shown};
use crate::gateway::{self, Gateway};
use crate::steps::{Paint, Step};
use crate::{guests, project};

const DEFINITION: &str = include_str!("order-intake.yaml");
const TABLE: &str = "create table orders (id text primary key, total_cents bigint not null);";
/// What both sides of the webhooks sign with.
const KEY: &[u8; 32] = b"a key of thirty-two bytes, not 1";
/// A run takes milliseconds; after the kill its attempt is made again at once.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Shows it.
pub fn run(step: &mut Step, program: &Path, paint: Paint) -> Result<()> {
    let server = postgres::Server::start()?;
    let database = server.database()?;
    database.run(TABLE)?;
    let world = World::open()?;
    let variables = [
        ("SLUICE__DATABASES__ORDERS__URL", database.url()),
        ("SLUICE__SECRETS__HOOK", format!("whsec_{}", STANDARD.encode(KEY))),
        ("SLUICE__EGRESS__ALLOW_PRIVATE", "127.0.0.1".to_owned()),
        ("SLUICE__JOBS__PERMISSIONS", permissions(&world.url)),
    ];
    let mut gateway = Gateway::start_configured("demo-job", program.to_owned(), gateway::any_address()?, &variables)?;
    let module = guests::file("order-check");
    let upload =
        gateway.command().arg("upload").arg(module).args(["--name", "order-check", "--version", "0.1.0"]).output()?;
    ensure!(upload.status.success(), "{}", String::from_utf8_lossy(&upload.stderr));
    let file = project::path("target/demo-order-intake.yaml");
    std::fs::write(&file, DEFINITION.replace("WORLD", &world.url))?;
    shown(&gateway, paint, &["job", "apply", &file.to_string_lossy()])?;

    let large = orders::GOOD.replace("1250", "1250000");
    let review = start(&gateway, "msg_large", &large)?;
    is_asked(&world, "/review")?;
    ended(&gateway, &review)?;
    println!("    an order of much money went another way: to review");

    world.hold();
    let id = start(&gateway, "msg_order", orders::GOOD)?;
    let first = is_asked(&world, "/prices")?;
    gateway.kill_and_start_again()?;
    println!("    kill -9 while the API had the order, and a new start");
    world.let_go();
    let second = is_asked(&world, "/prices")?;
    ensure!(first.key.is_some() && first.key == second.key, "the API was asked under two keys: {first:?}, {second:?}");
    let run = ended(&gateway, &id)?;
    ensure!(start(&gateway, "msg_order", orders::GOOD)? == id, "the same webhook started a second run");
    shown(&gateway, paint, &["job", "show", &id])?;
    ensure!(run.get("status") == Some(&json!("completed")), "the run ended otherwise: {run}");
    told(&world, &id)?;
    let status = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    step.note("both orders ended, one after kill -9, and the API was asked under one key".to_owned());
    Ok(())
}

/// What the operator allows the job's own steps.
fn permissions(world: &str) -> String {
    let http = json!({"permission": "http:write", "resource": format!("{world}/**")});
    json!([http, {"permission": "database:write", "resource": "orders"}]).to_string()
}

/// A webhook as Standard Webhooks has it; the id of the run that it started, or had started before.
fn start(gateway: &Gateway, id: &str, body: &str) -> Result<String> {
    let body: Value = serde_json::from_str(body)?;
    let body = json!({"type": "order.placed", "data": body.get("order")}).to_string();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let signature = signature(&format!("{id}.{now}.{body}"))?;
    let headers = format!("webhook-id: {id}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n");
    let answer = gateway.connect()?.post_with("/hooks/order-intake", &headers, &body)?;
    ensure!(answer.status == 202, "the webhook was answered with {}: {}", answer.status, answer.body);
    let answer: Value = serde_json::from_str(&answer.body)?;
    Ok(answer.get("run_id").and_then(Value::as_str).context("the answer names no run")?.to_owned())
}

fn signature(signed: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY)?;
    mac.update(signed.as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// The run, once it has ended.
fn ended(gateway: &Gateway, id: &str) -> Result<Value> {
    let until = Instant::now() + ENDS_WITHIN;
    loop {
        let answer = gateway.connect()?.get(&format!("/api/v1/runs/{id}"))?;
        ensure!(answer.status == 200, "the run was answered with {}: {}", answer.status, answer.body);
        let run: Value = serde_json::from_str(&answer.body)?;
        if run.get("ended_at").is_some_and(|at| !at.is_null()) {
            return Ok(run);
        }
        ensure!(Instant::now() < until, "the run has not ended: {run}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The notification of the run's end, signed.
fn told(world: &World, id: &str) -> Result<()> {
    loop {
        let request = is_asked(world, "/told")?;
        let body: Value = serde_json::from_str(&request.body)?;
        ensure!(
            request.signed.is_some_and(|(signed, found)| signature(&signed).is_ok_and(|wanted| found == wanted)),
            "it is not signed"
        );
        if body.to_string().contains(id) {
            println!("    a notification, signed: {}", body.get("type").and_then(Value::as_str).unwrap_or_default());
            return Ok(());
        }
    }
}

/// The next request for a path; others before it are passed over.
fn is_asked(world: &World, path: &str) -> Result<Asked> {
    let until = Instant::now() + ENDS_WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match world.asked.recv_timeout(left) {
            Ok(request) if request.path == path => return Ok(request),
            Ok(_) => {}
            Err(_) => bail!("nobody asked for {path}"),
        }
    }
}

/// What somebody asked.
#[derive(Debug)]
struct Asked {
    path: String,
    /// `Idempotency-Key`.
    key: Option<String>,
    /// What a webhook's signature is over, and the signature.
    signed: Option<(String, String)>,
    body: String,
}

/// A price list, reviewers and somebody who is told, on one port of this machine.
struct World {
    url: String,
    asked: Receiver<Asked>,
    held: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl World {
    fn open() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (tell, asked) = mpsc::channel();
        let held = std::sync::Arc::default();
        let holds = std::sync::Arc::clone(&held);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tell, holds) = (tell.clone(), std::sync::Arc::clone(&holds));
                // A caller that leaves, or is killed, is no failure of the world.
                thread::spawn(move || {
                    stream.map_err(anyhow::Error::from).and_then(|stream| answer(stream, &tell, &holds))
                });
            }
        });
        Ok(Self { url, asked, held })
    }

    /// From now on prices are not told.
    fn hold(&self) {
        self.held.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    fn let_go(&self) {
        self.held.store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

fn answer(stream: TcpStream, tell: &Sender<Asked>, held: &std::sync::atomic::AtomicBool) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = std::collections::HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body)?;
    let signed = headers.get("webhook-signature").and_then(|signature| {
        let signed = format!("{}.{}.{body}", headers.get("webhook-id")?, headers.get("webhook-timestamp")?);
        Some((signed, signature.clone()))
    });
    let total = serde_json::from_str::<Value>(&body).ok().and_then(|body| body.get("total_cents").cloned());
    let is_held = path == "/prices" && held.load(std::sync::atomic::Ordering::SeqCst);
    tell.send(Asked { path, key: headers.get("idempotency-key").cloned(), signed, body })?;
    if is_held {
        // Until the caller is gone.
        let _ = stream.read(&mut [0]);
        return Ok(());
    }
    let body = json!({"total_cents": total}).to_string();
    write!(
        stream.get_mut(),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
