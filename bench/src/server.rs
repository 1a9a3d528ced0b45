//! A server under load: a process of its own, pinned to one core.
//!
//! Owns the process and its folder; both end with this value. Does not own what is
//! asked of it (`client`, `load`). Invariant: the folder is fresh.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::Process;

/// The first start makes a store and a key, nothing that takes seconds.
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const ADDRESS_PREFIX: &str = "Listening on http://";

/// What serves.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `native`, with answers of this length.
    NativeHyper {
        /// Bytes of an answer's body.
        answer_bytes: usize,
    },
    /// `sluice serve` with its defaults.
    Gateway {
        /// The binary.
        program: PathBuf,
    },
}

/// A server that is ready.
pub struct Server {
    child: Child,
    address: SocketAddr,
    key: Option<String>,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts it on `core` and a free port, and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't; tells what it printed.
    pub fn start(kind: &Kind, core: usize) -> Result<Self> {
        Self::start_with(kind, core, &[])
    }

    /// The same with these variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(kind: &Kind, core: usize, environment: &[(&str, String)]) -> Result<Self> {
        let own = std::env::current_exe()?;
        // Beside the build, so that the database is on a disk and not in memory.
        let folder =
            tempfile::Builder::new().prefix("bench-").tempdir_in(own.parent().unwrap_or_else(|| Path::new(".")))?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string()]);
        match kind {
            Kind::NativeHyper { answer_bytes } => {
                command.arg(&own).args(["native-hyper", "--answer-bytes", &answer_bytes.to_string()]);
            }
            Kind::Gateway { program } => {
                command.arg(program).arg("serve").arg("--data-dir").arg(folder.path().join("data"));
            }
        }
        let log = folder.path().join("log");
        let output = File::create(&log)?;
        command.args(["--listen", "127.0.0.1:0"]).current_dir(folder.path());
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn().context("can't start taskset (Debian package util-linux)")?;
        match address(&mut child, &log) {
            Ok(address) => {
                // Only the gateway has one.
                let key = fs::read_to_string(folder.path().join("data/admin.key")).ok();
                Ok(Self { child, address, key: key.map(|key| key.trim().to_owned()), folder })
            }
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// `http://…`, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The admin key, where it has one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Its process. `taskset` becomes the server, so it is that of the child.
    #[must_use]
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// A folder that goes with the server, readable by its user only.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is kept, so there is nothing to drain.
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Where it listens, as its output says.
fn address(child: &mut Child, log: &Path) -> Result<SocketAddr> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let printed = fs::read_to_string(log)?;
        // A line that is not whole yet has no end.
        let mut lines = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        if let Some(address) = lines.find_map(|line| line.strip_prefix(ADDRESS_PREFIX)) {
            return Ok(address.trim().parse()?);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the server ended with {status}:\n{printed}");
        }
        if Instant::now() > deadline {
            bail!("the server was not ready in {} s:\n{printed}", START_DEADLINE.as_secs());
        }
        thread::sleep(POLL_INTERVAL);
    }
}
