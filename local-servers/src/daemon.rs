//! A server's process and its folder.
//!
//! Does not know what the server is. Invariants: a server ends with the process that started it: a shell waits
//! for the end of a pipe that the process holds, and then ends the server by its id; its folder goes with it. What
//! answers counts as started only where it has this folder: a free port may be another's by the time it is taken.

use std::fs::{self, Permissions};
use std::io::{Error, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A start on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// One question to what listens at a port. Longer than a server takes on a busy machine, and within [`PATIENCE`] twice.
pub(crate) const ASK_PATIENCE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Starts the server, waits until nobody holds the pipe any more, ends the server at once, and removes
/// its folder. `$1` is the folder, `$2` the signal; the rest starts the server. One that ends by itself is told, and
/// not killed later: its id may be another's by then.
const GUARD: &str = r#"
folder="$1"; signal="$2"; shift 2
exec 3<&0
"$@" </dev/null >>"$folder/log" 2>&1 3<&- &
server=$!
(read -r _ <&3; kill -"$signal" "$server" 2>/dev/null) &
killer=$!
wait "$server"
kill "$killer" 2>/dev/null
: >"$folder/ended"
read -r _ <&3
[ -e "$folder/keep" ] || rm -rf "$folder"
"#;

/// What is said of a server that this machine can run.
pub(crate) struct Kind {
    pub name: &'static str,
    /// Debian's package of it.
    pub package: &'static str,
    /// The user that Debian makes for it.
    pub user: &'static str,
    /// The signal that ends it at once, without a word to its clients, as a crash would.
    pub signal: &'static str,
}

pub(crate) struct Daemon {
    kind: &'static Kind,
    folder: PathBuf,
    /// The user that it runs as, where this process is root: these servers refuse to be.
    other_user: Option<(u32, u32)>,
    guard: Option<Child>,
}

impl Daemon {
    /// With an empty folder, which is the server's.
    pub fn prepare(kind: &'static Kind) -> Result<Self> {
        let prefix = format!("sluice-{}-", kind.user);
        // Not in the project's folder: the server's user need not be able to read that.
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?.keep();
        let daemon = Self { kind, folder, other_user: other_user(kind)?, guard: None };
        fs::set_permissions(&daemon.folder, Permissions::from_mode(0o755))?;
        daemon.give(&daemon.folder)?;
        Ok(daemon)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the server the owner of a file or a folder.
    pub fn give(&self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.other_user else { return Ok(()) };
        chown(path, Some(user), Some(group))
    }

    /// A program of the server, to be run as its user.
    pub fn command(&self, program: &str) -> Result<Command> {
        let program = self.program(program)?;
        let mut command = match self.other_user {
            None => Command::new(program),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"]);
                command.arg(program);
                command
            }
        };
        command.current_dir("/");
        Ok(command)
    }

    /// Where the server has its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts the server, where it was stopped if it has run before. `answered` asks what listens where the server is
    /// to for its folder of data.
    pub fn start(&mut self, server: &Command, answered: impl Fn() -> Result<PathBuf>) -> Result<()> {
        let ended = self.folder.join("ended");
        if ended.exists() {
            fs::remove_file(&ended)?;
        }
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&self.folder).arg(self.kind.signal);
        guard.arg(server.get_program()).args(server.get_args());
        // A Ctrl-C is for the process that started it; the guard then sees the end of the pipe.
        guard.process_group(0).current_dir("/");
        self.guard = Some(guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let started = Instant::now();
        while let Err(error) = answered().and_then(|data| self.recognise(&data)) {
            let has_ended = ended.exists();
            if has_ended || started.elapsed() > PATIENCE {
                let what = if has_ended { "has ended" } else { "does not answer" };
                let said = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(Error::other(format!("{} {what}: {error}; it said {said}", self.kind.name)));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn recognise(&self, data: &Path) -> Result<()> {
        if fs::canonicalize(data)? == fs::canonicalize(self.data())? {
            return Ok(());
        }
        Err(Error::other(format!("another server answers, with its data in {}", data.display())))
    }

    /// Ends the server and keeps its folder.
    pub fn stop(&mut self) -> Result<()> {
        let keep = self.folder.join("keep");
        fs::write(&keep, "")?;
        self.end()?;
        fs::remove_file(keep)
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let started = Instant::now();
            while guard.try_wait()?.is_none() {
                if started.elapsed() > PATIENCE {
                    return Err(Error::other(format!("{} does not end", self.kind.name)));
                }
                thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    /// Debian keeps these off the path of users, PostgreSQL's in one folder a version.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
        versions.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = versions.into_iter().rev().chain(std::env::split_paths(&path)).chain(["/usr/sbin".into()]);
        folders.map(|folder| folder.join(name)).find(|file| file.is_file()).ok_or_else(|| {
            let Kind { name: server, package, .. } = self.kind;
            Error::other(format!("{server}'s `{name}` is missing: apt-get install {package}"))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The guard sees to it, also where it can't be waited for.
        let _ = self.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the program said, where it did what it should.
pub(crate) fn succeeded(output: Output, what: &str) -> Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(Error::other(format!("{what}: {}", String::from_utf8_lossy(&output.stderr))))
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn other_user(kind: &Kind) -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = |flag: &str, user: &str| {
        let output = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let found = [kind.user, "nobody"].into_iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)));
    found.map(Some).ok_or_else(|| Error::other(format!("there is no user that {} could run as", kind.name)))
}
