//! A gateway as a child process, for the demo and for what tries it from outside.
//!
//! Owns the process: it ends with this value. Does not own what is asked of it. Invariant: the data
//! folder is fresh, and nobody else who starts one for the same purpose uses it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::http::Connection;
use crate::project;
use crate::steps::Step;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";
/// The first start makes a store and a key, nothing that takes seconds.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// The gateway's own drain deadline is 10 s.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running gateway.
pub struct Gateway {
    child: Child,
    purpose: &'static str,
    address: SocketAddr,
    key: String,
    program: PathBuf,
    variables: Vec<(String, String)>,
    /// Held as long as the data folder is used.
    _lock: File,
}

impl Gateway {
    /// Starts `program` on `address`, and waits until it is ready. `purpose` names its files in `target`.
    pub fn start(purpose: &'static str, program: PathBuf, address: SocketAddr) -> Result<Self> {
        Self::start_configured(purpose, program, address, &[])
    }

    /// The same, configured by variables.
    pub fn start_configured(
        purpose: &'static str,
        program: PathBuf,
        address: SocketAddr,
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let lock = File::create(project::path(&format!("target/{purpose}.lock")))?;
        lock.try_lock().with_context(|| format!("another {purpose} runs here: stop it first"))?;
        let data = data_folder(purpose);
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("can't empty {}", data.display()))?;
        }
        File::create(log_file(purpose))?;
        let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let child = spawn(purpose, &program, address, &variables)?;
        let mut gateway = Self { child, purpose, address, key: String::new(), program, variables, _lock: lock };
        gateway.wait_until_ready()?;
        let key = data.join("admin.key");
        key_of(&key).map(|key| gateway.key = key).with_context(|| format!("can't read {}", key.display()))?;
        Ok(gateway)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.address, &self.key)
    }

    /// The `sluice` command, told where this gateway is.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("SLUICE_SERVER", self.url()).env("SLUICE_KEY", &self.key).current_dir(project::root());
        command
    }

    /// `kill -9`, and a start on what it left.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(self.purpose, &self.program, self.address, &self.variables)?;
        self.wait_until_ready()
    }

    /// Asks it to stop as an operator would, and waits until it has.
    pub fn stop(mut self) -> Result<ExitStatus> {
        signal(&self.child)?;
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the gateway did not stop within {} s of SIGTERM", STOP_DEADLINE.as_secs());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Leaves it running until it ends; signals to this program are passed on.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let pid = pid_of(&self.child)?;
        thread::spawn(move || {
            for _ in &mut signals {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        });
        Ok(self.child.wait()?)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended with {status}:\n{}", fs::read_to_string(log_file(self.purpose))?);
            }
            let ready = Connection::open(self.address, "").and_then(|mut connection| connection.get("/readyz"));
            if ready.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the gateway was not ready in time:\n{}", fs::read_to_string(log_file(self.purpose))?);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It is gone already where `stop` or `wait` saw its end; an error then changes nothing.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn data_folder(purpose: &str) -> PathBuf {
    project::path(&format!("target/{purpose}-data"))
}

fn spawn(purpose: &str, program: &Path, address: SocketAddr, variables: &[(String, String)]) -> Result<Child> {
    let log = File::options().append(true).open(log_file(purpose))?;
    Command::new(program)
        .args(["serve", "--listen", &address.to_string(), "--data-dir"])
        .arg(data_folder(purpose))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A Ctrl-C in the terminal is for this program, which passes it on: two signals would cut the drain short.
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start {}", program.display()))
}

/// Where the gateway's own log goes.
pub fn log_file(purpose: &str) -> PathBuf {
    project::path(&format!("target/{purpose}-gateway.log"))
}

/// Builds the gateway with these options more, and tells where it is.
pub fn build(step: &mut Step, options: &[&str]) -> Result<PathBuf> {
    let mut cargo = project::cargo();
    cargo.args(["build", "--package", "sluice", "--bin", "sluice", project::ARTIFACTS_OPTION]).args(options);
    let artifacts = project::artifacts(&step.output_with_progress(&mut cargo)?)?;
    let program = artifacts.into_iter().find(|artifact| artifact.kinds.iter().any(|kind| kind == "bin"));
    program.and_then(|program| program.files.into_iter().next()).context("cargo built no program")
}

fn key_of(file: &Path) -> Result<String> {
    Ok(fs::read_to_string(file)?.trim().to_owned())
}

fn signal(child: &Child) -> Result<()> {
    kill_process(pid_of(child)?, Signal::TERM).context("can't stop the gateway")
}

fn pid_of(child: &Child) -> Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the gateway has no process id")
}

/// An address that nobody has at this moment.
pub fn any_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The usual address, so that what the README says works, unless somebody has it.
pub fn usual_address() -> Result<SocketAddr> {
    let usual = TcpListener::bind(DEFAULT_ADDRESS).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    Ok(usual.context("no address is free")?.local_addr()?)
}
