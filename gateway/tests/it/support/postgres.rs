//! A real `PostgreSQL`: Debian's, in a folder of its own, on a free loopback port.
//!
//! One server a test process, one database a test. The crate's own tests include this
//! file, so it uses nothing of the other support. Invariant: a server ends with the process
//! that started it, however that ends: a shell waits for the end of a pipe that the
//! process holds, and then ends the server by its id.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

/// A start on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(1);

const USER: &str = "sluice";
/// Has what a URL would take for something else.
const PASSWORD: &str = "s3cr/t?x";
const PASSWORD_IN_URL: &str = "s3cr%2Ft%3Fx";

/// Starts the server, waits until nobody holds the pipe any more, ends the server at once, and removes
/// its folder. `$1` is the folder; the rest starts the server.
const GUARD: &str = r#"
folder="$1"; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
read -r _
kill -QUIT "$server" 2>/dev/null
wait "$server"
[ -e "$folder/keep" ] || rm -rf "$folder"
"#;

static SHARED: LazyLock<Server> = LazyLock::new(Server::start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// An empty database on the server of this process.
pub fn database() -> Database {
    SHARED.database()
}

/// A server.
pub struct Server {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    guard: Option<Child>,
}

/// A database that is dropped with this.
pub struct Database {
    name: String,
    port: u16,
}

impl Server {
    /// A server of its own, for tests that stop it.
    ///
    /// # Panics
    /// Says how to install what is missing, or what the server said.
    pub fn start() -> Self {
        // A test's machine may lose power; its data are of no use then.
        Self::start_with(&["fsync=off", "full_page_writes=off"])
    }

    /// One with these settings.
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-postgres-").tempdir().unwrap().keep();
        // Before the first thing that can fail: the guard isn't there yet.
        let settings = settings.iter().map(ToString::to_string).collect();
        let server = Self { folder, port: free_port(), settings, guard: None };
        if let Some((user, group)) = other_user() {
            chown(&server.folder, Some(user), Some(group)).unwrap();
        }
        std::fs::set_permissions(&server.folder, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(server.folder.join("password"), PASSWORD).unwrap();
        let made = as_other_user(&program("initdb"))
            .current_dir("/")
            .args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"])
            // Another order than that of bytes: what depends on it is found.
            .args(["--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US"])
            .arg("--pwfile")
            .arg(server.folder.join("password"))
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = server;
        server.start_again();
        server
    }

    /// Has it prove who it is, with a certificate and its key in PEM, from the next start on.
    #[allow(dead_code, reason = "the crate's own tests do that")]
    pub fn encrypt_with(&mut self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.data().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = other_user() {
                chown(&file, Some(user), Some(group)).unwrap();
            }
        }
        self.settings.push("ssl=on".to_owned());
    }

    /// Starts it where it was stopped.
    pub fn start_again(&mut self) {
        let server = as_other_user(&program("postgres"));
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&self.folder).arg(server.get_program()).args(server.get_args());
        guard.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]).arg("-k").arg(self.data());
        let own = ["listen_addresses=127.0.0.1", "max_connections=500", "log_min_messages=warning"];
        for setting in own.into_iter().chain(self.settings.iter().map(String::as_str)) {
            guard.args(["-c", setting]);
        }
        // A Ctrl-C is for the tests; the guard then sees the end of the pipe.
        guard.process_group(0).current_dir("/");
        self.guard = Some(guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        self.wait_until_ready();
    }

    /// Stops it, at once and without a word to its clients, as a crash would.
    pub fn stop(&mut self) {
        std::fs::write(self.folder.join("keep"), "").unwrap();
        self.end();
        std::fs::remove_file(self.folder.join("keep")).unwrap();
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// An empty database.
    pub fn database(&self) -> Database {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        execute(self.port, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { name, port: self.port }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn end(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        loop {
            let answers = blocking(async {
                let (client, connection) = connection(self.port, "postgres").connect(NoTls).await?;
                let driver = tokio::spawn(connection);
                let answer = client.batch_execute("SELECT 1").await;
                driver.abort();
                answer
            });
            let Err(error) = answers else { return };
            assert!(
                started.elapsed() < PATIENCE,
                "PostgreSQL does not answer: {error}; it said {}",
                std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Database {
    /// How to reach it, with the password.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// The same as a configuration has it.
    #[allow(dead_code, reason = "the crate's own tests have the type")]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What must be in no message.
    #[allow(dead_code, reason = "not every binary asks")]
    pub fn password() -> &'static str {
        PASSWORD
    }

    /// A connection beside the gateway's.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = connection(self.port, &self.name).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (port, drop) = (self.port, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // Not waited for: the server waits for connections that are being made, and those of a gateway
        // in this thread would be waiting for us. With its server gone the database is gone as well.
        std::thread::spawn(move || try_execute(port, &drop));
    }
}

fn connection(port: u16, database: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(USER).password(PASSWORD).dbname(database);
    config.connect_timeout(PATIENCE);
    config
}

fn execute(port: u16, statement: &str) {
    try_execute(port, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn try_execute(port: u16, statement: &str) -> Result<(), tokio_postgres::Error> {
    blocking(async {
        let (client, connection) = connection(port, "postgres").connect(NoTls).await?;
        let driver = tokio::spawn(connection);
        let done = client.batch_execute(statement).await;
        drop(client);
        let _ = driver.await;
        done
    })
}

/// On a thread and a runtime of its own: tests have theirs, and so have destructors.
fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
        scope.spawn(run).join().unwrap()
    })
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// PostgreSQL refuses to run as root.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag: &str, user: &str| {
        let output = Command::new("id").args([flag, user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().ok()
    };
    ["postgres", "nobody"].into_iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)))
}

fn as_other_user(program: &Path) -> Command {
    let Some((user, group)) = other_user() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]).arg(program);
    command
}

/// Debian keeps the server's programs off the path, one folder a version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = versions.map(|version| version.path().join("bin").join(name)).collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = debian.into_iter().rev().chain(std::env::split_paths(&path).map(|folder| folder.join(name)));
    found.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("PostgreSQL's `{name}` is missing: apt-get install postgresql (`cargo xtask test` does it as root)")
    })
}
