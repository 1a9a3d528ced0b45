//! The peer of the job engine: Restate's server and a service of its own kind, from npm.
//!
//! Owns their installation below `target/`, their processes, and the same load as the gateway's. Nothing of Restate is part of
//! Sluice: it runs beside it, and where it can't be had the row says why.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use crate::load::real;
use crate::machine::Cores;
use crate::project;

const SERVER: &str = "@restatedev/restate-server@1.7.12";
const SDK: &str = "@restatedev/restate-sdk@1.17.2";
/// The program itself: what npm links to starts it as a child that would be left behind.
const PROGRAM: &str = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server";
/// A first start writes its metadata.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// As many steps as its input says, each of them recorded.
const SERVICE: &str = r#"import * as restate from "@restatedev/restate-sdk";
// Node.js has it from 22 on.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((one, other) => { resolve = one; reject = other; });
  return { promise, resolve, reject };
};
const bench = restate.service({
  name: "bench",
  handlers: {
    run: async (ctx, steps) => {
      for (let n = 0; n < steps; n++) await ctx.run(`s${n}`, async () => ({ n }));
      return steps;
    },
  },
});
restate.serve({ services: [bench], port: Number(process.env.PORT) });
"#;

/// A service of so many steps.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Length {
    /// So many.
    pub steps: usize,
    /// Of a call alone, as its caller sees it: what one step takes, median.
    pub step_us: f64,
    /// With as many callers as the gateway had.
    pub steps_per_second: f64,
}

/// Measures the same lengths; `progress` is told each figure.
///
/// # Errors
/// Where npm, Node.js or the server can't be had, or it does not answer.
pub fn measure(
    lengths: &[usize],
    callers: usize,
    seconds: Duration,
    cores: Cores,
    progress: &mut dyn FnMut(String),
) -> Result<Vec<Length>> {
    let folder = installed()?;
    let restate = Restate::start(&folder, cores.server)?;
    lengths
        .iter()
        .map(|&steps| {
            let length = restate.length(steps, callers, seconds)?;
            progress(format!(
                "Restate, {steps} steps: {:.0} us a step alone; {:.0} steps/s",
                length.step_us, length.steps_per_second
            ));
            Ok(length)
        })
        .collect()
}

/// The packages in a folder of their own, which a later run finds.
fn installed() -> Result<PathBuf> {
    let folder = project::root().join("target/restate");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), r#"{"private": true, "type": "module"}"#)?;
    fs::write(folder.join("service.js"), SERVICE)?;
    if folder.join(PROGRAM).exists() {
        return Ok(folder);
    }
    // No script of a package is run: the server is a file of one, and its statistics are nobody's business.
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", SERVER, SDK]).current_dir(&folder);
    let output = npm.output().context("npm is missing")?;
    if !output.status.success() {
        bail!(
            "npm can't install {SERVER}: {}",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default()
        );
    }
    Ok(folder)
}

struct Restate {
    server: Child,
    service: Child,
    ingress: String,
    tokio: tokio::runtime::Runtime,
    http: reqwest::Client,
    _data: tempfile::TempDir,
}

impl Restate {
    fn start(folder: &Path, core: usize) -> Result<Self> {
        let data = tempfile::Builder::new().prefix("bench-").tempdir_in(folder)?;
        let [ingress, admin, node, service_port] = ports()?;
        let log = File::create(data.path().join("log"))?;
        let pinned = |program: &Path| {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &core.to_string()]).arg(program).current_dir(folder);
            command.stdin(Stdio::null());
            command
        };
        let mut service = pinned(Path::new("node"));
        service.arg("service.js").env("PORT", service_port.to_string()).env("NODE_ENV", "production");
        service.stdout(log.try_clone()?).stderr(log.try_clone()?);
        let service = service.spawn().context("node is missing")?;
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut server = pinned(&folder.join(PROGRAM));
        server.arg("--base-dir").arg(data.path()).arg("--no-logo").env("DO_NOT_TRACK", "1");
        server.env("RESTATE_DISABLE_TELEMETRY", "true").env("RESTATE_LISTEN_MODE", "tcp");
        server
            .env("RESTATE_BIND_ADDRESS", address(node))
            .env("RESTATE_ADVERTISED_ADDRESS", format!("http://{}", address(node)));
        server
            .env("RESTATE_INGRESS__BIND_ADDRESS", address(ingress))
            .env("RESTATE_ADMIN__BIND_ADDRESS", address(admin));
        server.stdout(log.try_clone()?).stderr(log);
        let server = server.spawn().context("Restate's server can't be started")?;
        let restate = Self {
            server,
            service,
            ingress: format!("http://{}/bench/run", address(ingress)),
            tokio: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            http: reqwest::Client::builder().no_proxy().build()?,
            _data: data,
        };
        restate.register(
            &format!("http://{}/deployments", address(admin)),
            &format!("http://{}", address(service_port)),
        )?;
        Ok(restate)
    }

    /// Tells the server of the service, as soon as both answer, and calls it once.
    fn register(&self, admin: &str, service: &str) -> Result<()> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let request = self.http.post(admin).json(&json!({"uri": service}));
            let answer = self.tokio.block_on(async { request.send().await?.error_for_status() });
            let called = answer.map_err(anyhow::Error::from).and_then(|_| self.tokio.block_on(self.call(1)));
            match called {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error.context("Restate does not answer")),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    async fn call(&self, steps: usize) -> Result<()> {
        let answer = self.http.post(&self.ingress).json(&steps).send().await?.error_for_status()?;
        let done: usize = answer.json().await?;
        if done != steps {
            bail!("Restate says {done} steps, not {steps}");
        }
        Ok(())
    }

    fn length(&self, steps: usize, callers: usize, seconds: Duration) -> Result<Length> {
        self.tokio.block_on(async {
            self.call(steps).await?;
            let (started, mut times) = (Instant::now(), Vec::new());
            while started.elapsed() < seconds || times.len() < 3 {
                let called = Instant::now();
                self.call(steps).await?;
                times.push(called.elapsed().as_secs_f64() * 1e6 / real(steps as u64));
            }
            times.sort_by(f64::total_cmp);
            let step_us = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
            let started = Instant::now();
            let caller = async || -> Result<u64> {
                let mut done = 0;
                while started.elapsed() < seconds {
                    self.call(steps).await?;
                    done += 1;
                }
                Ok(done)
            };
            let done: Result<Vec<_>> = join_all((0..callers).map(|_| caller())).await.into_iter().collect();
            let done = real(done?.into_iter().sum::<u64>() * steps as u64);
            Ok(Length { steps, step_us, steps_per_second: done / started.elapsed().as_secs_f64() })
        })
    }
}

impl Drop for Restate {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.service] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Free ones: they are let go before they are taken, which is good enough on a machine that measures.
fn ports() -> Result<[u16; 4]> {
    let sockets = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, socket) in ports.iter_mut().zip(&sockets) {
        let socket = socket.as_ref().map_err(|error| anyhow::anyhow!("no free port: {error}"))?;
        *port = socket.local_addr()?.port();
    }
    Ok(ports)
}
