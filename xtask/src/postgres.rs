//! A `PostgreSQL` of the demo's own: a folder in `target`, a free loopback port, gone with this value.
//!
//! Owns the process. Does not own what is in it: a file of SQL is run once, at the start. Invariant: nothing
//! that Debian starts by itself is used or touched.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::system;

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const USER: &str = "demo";

/// A server that runs.
pub struct Postgres {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts one with an empty folder, and runs `sql` in it.
    pub fn start(sql: &str) -> Result<Self> {
        // Not in the project's folder: the server's user need not be able to read that.
        let folder = std::env::temp_dir().join(format!("sluice-demo-postgres-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        if let Some((user, group)) = other_user()? {
            chown(&folder, Some(user), Some(group))?;
        }
        let data = folder.join("data");
        let made = server("initdb")?
            .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync"])
            .arg(&data)
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = File::create(folder.join("log"))?;
        let child = server("postgres")?
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C in the terminal is for this program, which ends the gateway first.
            .process_group(0)
            .spawn()?;
        let mut postgres = Self { child, folder, port };
        postgres.run(sql)?;
        Ok(postgres)
    }

    /// How the gateway reaches it.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs SQL, as soon as the server takes it.
    fn run(&mut self, sql: &str) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("PostgreSQL ended with {status}: {}", fs::read_to_string(self.folder.join("log"))?);
            }
            let psql = program("psql")?;
            let output = Command::new(psql)
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER, "-d", "postgres"])
                .args(["-p", &self.port.to_string(), "-c", sql])
                .output()?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Its fast stop; an error is a server that is gone already.
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `PostgreSQL` refuses to run as root.
fn other_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = |flag: &str, user: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let found = ["postgres", "nobody"].into_iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)));
    found.map(Some).context("there is no user that PostgreSQL could run as")
}

fn server(name: &str) -> Result<Command> {
    let program = program(name)?;
    let mut command = match other_user()? {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"]).arg(program);
            command
        }
    };
    command.current_dir(Path::new("/"));
    Ok(command)
}

fn program(name: &str) -> Result<PathBuf> {
    system::find(name).with_context(|| format!("PostgreSQL's `{name}` is missing"))
}
