//! The real binary in a process of its own, which a test can kill.

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::TestGateway;

/// Longer than a start or a stop takes on a machine with other things to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// `sluice` with these arguments, and nothing of this process's environment that it would heed.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    // Its own folder: no `sluice.toml` of somebody else is found there.
    command.args(arguments).current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SLUICE") || name == "NO_COLOR" {
            command.env_remove(name);
        }
    }
    command
}

/// What a command says that ends by itself.
pub async fn output(folder: &Path, arguments: &[&str]) -> Output {
    let ended = command(folder, arguments).output();
    tokio::time::timeout(PATIENCE, ended).await.expect("the end of the process in time").unwrap()
}

/// `sluice serve`, serving.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said until it served.
    pub said: Vec<String>,
    /// How to talk to it.
    pub gateway: TestGateway,
}

impl Process {
    /// With the defaults, on a free port.
    pub async fn start(folder: &Arc<tempfile::TempDir>) -> Self {
        Self::start_with(folder, "").await
    }

    /// With this `sluice.toml`.
    pub async fn start_with(folder: &Arc<tempfile::TempDir>, configuration: &str) -> Self {
        std::fs::write(folder.path().join("sluice.toml"), configuration).unwrap();
        Self::start_changed(folder, |_| {}).await
    }

    /// With what `change` makes of the command, such as variables of its environment.
    pub async fn start_changed(folder: &Arc<tempfile::TempDir>, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(folder.path(), &["serve", "--data-dir", ".", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a line in time").unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended before it served; it said {said:?}"));
            said.push(line);
            if let Some(address) = said.last().unwrap().strip_prefix("Listening on http://") {
                break address.to_owned();
            }
        };
        let gateway = TestGateway::attached(Arc::clone(folder), &address);
        Self { child, lines, said, gateway }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// The most memory that it had at once so far, of all kinds that are resident.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What it has open; a file without a name ends in `(deleted)`.
    pub fn open_files(&self) -> Vec<String> {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.child.id().unwrap())).unwrap();
        // One may be closed while they are listed.
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the end of the process in time").unwrap()
    }

    /// `kill -9`, and whatever comes after.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// SIGTERM; it must end well.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await.code(), Some(0));
        // It says nothing more where a script reads the key and the address.
        assert_eq!(self.lines.next_line().await.unwrap(), None);
    }

    /// Waits until it takes no connections any more: the first signal has arrived.
    pub async fn refuses_connections(&self) {
        let refused = async {
            while tokio::net::TcpStream::connect(self.gateway.address()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("a refusal in time");
    }
}
