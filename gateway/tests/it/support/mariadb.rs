//! A real `MariaDB`: Debian's, in a folder of its own, on a free loopback port.
//!
//! One server a test process, one database a test. Invariant: as with `postgres`, a server ends with the
//! process that started it, however that ends.

use std::fs::Permissions;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

/// A start on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(1);

const USER: &str = "sluice";
/// Has what a URL would take for something else.
const PASSWORD: &str = "s3cr/t?x";
const PASSWORD_IN_URL: &str = "s3cr%2Ft%3Fx";

/// What Debian's `mariadb-install-db` would run, which needs a second package.
const SYSTEM_TABLES: [&str; 3] =
    ["mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"];

/// Starts the server, waits until nobody holds the pipe any more, ends the server at once, and removes
/// its folder. `$1` is the folder; the rest starts the server.
const GUARD: &str = r#"
folder="$1"; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
read -r _
kill -KILL "$server" 2>/dev/null
wait "$server"
[ -e "$folder/keep" ] || rm -rf "$folder"
"#;

static SHARED: LazyLock<Server> = LazyLock::new(Server::start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// An empty database on the server of this process.
pub async fn database() -> Database {
    // The first one starts the server, which waits for it.
    tokio::task::spawn_blocking(|| LazyLock::force(&SHARED)).await.unwrap().database().await
}

/// A server.
pub struct Server {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    guard: Option<Child>,
}

/// A database on it.
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
        Self::start_with(|_| Vec::new())
    }

    /// One with these settings; the folder is the server's.
    pub fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-mariadb-").tempdir().unwrap().keep();
        let mut server = Self { folder, port: free_port(), settings: Vec::new(), guard: None };
        server.settings = settings(&server.folder);
        for folder in [server.data(), server.temporary()] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::set_permissions(&server.folder, Permissions::from_mode(0o755)).unwrap();
        let init = format!(
            "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        );
        std::fs::write(server.folder.join("init.sql"), init).unwrap();
        if let Some((user, group)) = other_user() {
            chown(&server.folder, Some(user), Some(group)).unwrap();
            chown(server.data(), Some(user), Some(group)).unwrap();
            chown(server.temporary(), Some(user), Some(group)).unwrap();
        }
        server.make_system_tables();
        server.start_again();
        server
    }

    fn make_system_tables(&self) {
        let mut script = String::from("create database mysql;\nuse mysql;\nset @auth_root_socket = null;\n");
        for name in SYSTEM_TABLES {
            script += &std::fs::read_to_string(Path::new("/usr/share/mysql").join(name)).unwrap();
        }
        let mut bootstrap = self.command();
        bootstrap.arg("--bootstrap").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut bootstrap = bootstrap.spawn().unwrap();
        let mut stdin = bootstrap.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
        let made = bootstrap.wait_with_output().unwrap();
        assert!(made.status.success(), "mariadbd --bootstrap: {}", String::from_utf8_lossy(&made.stderr));
        writer.join().unwrap().unwrap();
    }

    fn command(&self) -> Command {
        let mut command = as_other_user(&program("mariadbd"));
        command.current_dir("/").arg("--no-defaults").arg(format!("--datadir={}", self.data().display()));
        // A server that starts removes the temporary tables of others.
        command.arg(format!("--tmpdir={}", self.temporary().display()));
        // A test's machine may lose power; its data are of no use then.
        command.args(["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--skip-log-bin"]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-name-resolve"]);
        command
    }

    /// Starts it where it was stopped.
    pub fn start_again(&mut self) {
        let server = self.command();
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&self.folder).arg(server.get_program()).args(server.get_args());
        guard.arg(format!("--socket={}", self.folder.join("data/socket").display()));
        guard.arg(format!("--init-file={}", self.folder.join("init.sql").display()));
        guard.args(["--bind-address=127.0.0.1", "--max-connections=300", &format!("--port={}", self.port)]);
        guard.args(&self.settings);
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
    }

    /// An empty database.
    pub async fn database(&self) -> Database {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let mut connection = connect(self.port, None).await.unwrap();
        connection.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
        connection.disconnect().await.unwrap();
        Database { name, port: self.port }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    fn end(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    fn wait_until_ready(&self) {
        let started = Instant::now();
        let port = self.port;
        let answers = move || async move { connect(port, None).await?.disconnect().await };
        while let Err(error) = blocking(answers()) {
            assert!(
                started.elapsed() < PATIENCE,
                "MariaDB does not answer: {error}; it said {}",
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
        self.url_of(USER, PASSWORD_IN_URL)
    }

    /// How another user would.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/{}", self.port, self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection beside the gateway's.
    pub async fn connect(&self) -> Conn {
        connect(self.port, Some(self.name.clone())).await.unwrap()
    }
}

async fn connect(port: u16, database: Option<String>) -> mysql_async::Result<Conn> {
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some(USER));
    Conn::new(opts.pass(Some(PASSWORD)).db_name(database).prefer_socket(false)).await
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

/// MariaDB refuses to run as root.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag: &str, user: &str| {
        let output = Command::new("id").args([flag, user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().ok()
    };
    ["mysql", "nobody"].into_iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)))
}

fn as_other_user(program: &Path) -> Command {
    let Some((user, group)) = other_user() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]).arg(program);
    command
}

/// Debian keeps the server off the path of users.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join(name));
    found.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "MariaDB's `{name}` is missing: apt-get install mariadb-server-core (`cargo xtask test` does it as root)"
        )
    })
}
