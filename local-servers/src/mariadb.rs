//! MariaDB. One server a process, one database a test.

use std::fs;
use std::io::{Error, Result, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use crate::blocking;
use crate::daemon::{ASK_PATIENCE, Daemon, Kind, free_port, succeeded};

const KIND: Kind = Kind { name: "MariaDB", package: "mariadb-server-core", user: "mysql", signal: "KILL" };

const USER: &str = "sluice";
/// Has what a URL would take for something else.
const PASSWORD: &str = "s3cr/t?x";
const PASSWORD_IN_URL: &str = "s3cr%2Ft%3Fx";

/// What Debian's `mariadb-install-db` would run, which needs a second package.
const SYSTEM_TABLES: [&str; 3] =
    ["mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"];

static SHARED: LazyLock<Server> = LazyLock::new(|| {
    #[expect(clippy::unwrap_used, reason = "without it no test can go on")]
    Server::start().unwrap()
});
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// An empty database on the server of this process.
///
/// # Panics
/// Says how to install what is missing, or what the server said.
pub fn database() -> Database {
    #[expect(clippy::unwrap_used, reason = "without it no test can go on")]
    SHARED.database().unwrap()
}

/// A server.
pub struct Server {
    daemon: Daemon,
    port: u16,
    settings: Vec<String>,
}

/// A database on it, which goes with the server.
pub struct Database {
    name: String,
    port: u16,
}

impl Server {
    /// A server of its own.
    pub fn start() -> Result<Self> {
        Self::start_with(Vec::new())
    }

    /// One with these arguments more.
    pub fn start_with(settings: Vec<String>) -> Result<Self> {
        Self::start_at(free_port()?, settings)
    }

    fn start_at(port: u16, settings: Vec<String>) -> Result<Self> {
        let daemon = Daemon::prepare(&KIND)?;
        let mut server = Self { daemon, port, settings };
        for folder in [server.daemon.data(), server.temporary()] {
            fs::create_dir(&folder)?;
            server.daemon.give(&folder)?;
        }
        let init = format!(
            "CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        );
        fs::write(server.daemon.folder().join("init.sql"), init)?;
        server.make_system_tables()?;
        server.start_again()?;
        Ok(server)
    }

    fn make_system_tables(&self) -> Result<()> {
        let mut script = String::from("create database mysql;\nuse mysql;\nset @auth_root_socket = null;\n");
        for name in SYSTEM_TABLES {
            script += &fs::read_to_string(Path::new("/usr/share/mysql").join(name))?;
        }
        let mut bootstrap = self.command()?;
        bootstrap.arg("--bootstrap").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut bootstrap = bootstrap.spawn()?;
        let mut stdin = bootstrap.stdin.take().ok_or_else(|| Error::other("there is no pipe"))?;
        let writer = thread::spawn(move || stdin.write_all(script.as_bytes()));
        succeeded(bootstrap.wait_with_output()?, "mariadbd --bootstrap")?;
        writer.join().unwrap_or_else(|_| Err(Error::other("the writer panicked")))
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.daemon.command("mariadbd")?;
        command.arg("--no-defaults").arg(format!("--datadir={}", self.daemon.data().display()));
        // A server that starts removes the temporary tables of others.
        command.arg(format!("--tmpdir={}", self.temporary().display()));
        // Nobody needs these data after a loss of power.
        command.args(["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--skip-log-bin"]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-name-resolve"]);
        Ok(command)
    }

    /// Starts it where it was stopped.
    pub fn start_again(&mut self) -> Result<()> {
        let mut server = self.command()?;
        server.arg(format!("--socket={}", self.daemon.data().join("socket").display()));
        server.arg(format!("--init-file={}", self.daemon.folder().join("init.sql").display()));
        server.args(["--bind-address=127.0.0.1", "--max-connections=300", &format!("--port={}", self.port)]);
        server.args(&self.settings);
        let port = self.port;
        self.daemon.start(&server, || data_of(port))
    }

    /// Stops it, at once and without a word to its clients, as a crash would.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    /// An empty database.
    pub fn database(&self) -> Result<Database> {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        run(self.port, &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))?;
        Ok(Database { name, port: self.port })
    }

    fn temporary(&self) -> PathBuf {
        self.daemon.folder().join("tmp")
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

    /// What it is called on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection beside the gateway's.
    pub async fn connect(&self) -> mysql_async::Result<Conn> {
        connect(self.port, Some(self.name.clone())).await
    }
}

fn run(port: u16, sql: &str) -> Result<()> {
    blocking(async {
        let work = async {
            let mut connection = connect(port, None).await?;
            connection.query_drop(sql).await?;
            connection.disconnect().await
        };
        work.await.map_err(Error::other)
    })
}

/// Where what listens at the port has its data.
fn data_of(port: u16) -> Result<PathBuf> {
    blocking(async {
        let work = async {
            let mut connection = connect(port, None).await?;
            let data: Option<String> = connection.query_first("SELECT @@datadir").await?;
            connection.disconnect().await?;
            Ok::<_, mysql_async::Error>(data)
        };
        work.await.map_err(Error::other)?.map(PathBuf::from).ok_or_else(|| Error::other("it tells no folder"))
    })
}

async fn connect(port: u16, database: Option<String>) -> mysql_async::Result<Conn> {
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some(USER));
    let connecting = Conn::new(opts.pass(Some(PASSWORD)).db_name(database).prefer_socket(false));
    // What listens there may be another program, that waits for us.
    let connected = tokio::time::timeout(ASK_PATIENCE, connecting).await;
    connected.unwrap_or_else(|_| Err(Error::from(std::io::ErrorKind::TimedOut).into()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::daemon::PATIENCE;

    #[test]
    fn a_server_whose_port_another_has_taken_fails_at_once_and_is_not_confused_with_it() {
        let first = Server::start().unwrap();
        let started = Instant::now();
        let error = Server::start_at(first.port, Vec::new()).err().unwrap().to_string();
        assert!(error.contains("has ended: another server answers"), "{error}");
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        run(first.port, "SELECT 1").unwrap();
    }
}
