//! PostgreSQL. One server a process, one database a test.

use std::fs::{self, Permissions};
use std::io::Result;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::daemon::{ASK_PATIENCE, Daemon, Kind, free_port, succeeded};

const KIND: Kind = Kind { name: "PostgreSQL", package: "postgresql", user: "postgres", signal: "QUIT" };

const USER: &str = "sluice";
/// Has what a URL would take for something else.
const PASSWORD: &str = "s3cr/t?x";
const PASSWORD_IN_URL: &str = "s3cr%2Ft%3Fx";

/// Nobody needs these data after a loss of power.
const FAST: [&str; 2] = ["fsync=off", "full_page_writes=off"];

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
    client: Client,
    settings: Vec<String>,
}

/// A database that is dropped with this.
pub struct Database {
    name: String,
    client: Client,
}

impl Server {
    /// A server of its own.
    pub fn start() -> Result<Self> {
        Self::start_with(&FAST)
    }

    /// One with these settings.
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        Self::start_at(free_port()?, settings)
    }

    fn start_at(port: u16, settings: &[&str]) -> Result<Self> {
        let daemon = Daemon::prepare(&KIND)?;
        let password = daemon.folder().join("password");
        fs::write(&password, PASSWORD)?;
        let data = daemon.data();
        let made = daemon
            .command("initdb")?
            .args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"])
            // Another order than that of bytes: what depends on it is found.
            .args(["--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US", "--pwfile"])
            .args([&password, &data])
            .output()?;
        succeeded(made, "initdb")?;
        let client = Client { psql: daemon.program("psql")?, port };
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut server = Self { daemon, client, settings };
        server.start_again()?;
        Ok(server)
    }

    /// Has it prove who it is, with a certificate and its key in PEM, from the next start on.
    pub fn encrypt_with(&mut self, certificate: &str, key: &str) -> Result<()> {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.daemon.data().join(name);
            fs::write(&file, text)?;
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            self.daemon.give(&file)?;
        }
        self.settings.push("ssl=on".to_owned());
        Ok(())
    }

    /// Starts it where it was stopped.
    pub fn start_again(&mut self) -> Result<()> {
        let mut server = self.daemon.command("postgres")?;
        server
            .arg("-D")
            .arg(self.daemon.data())
            .args(["-p", &self.client.port.to_string()])
            .arg("-k")
            .arg(self.daemon.data());
        let own = ["listen_addresses=127.0.0.1", "max_connections=500", "log_min_messages=warning"];
        for setting in own.into_iter().chain(self.settings.iter().map(String::as_str)) {
            server.args(["-c", setting]);
        }
        let client = self.client.clone();
        self.daemon.start(&server, || client.ask("postgres", "SHOW data_directory").map(PathBuf::from))
    }

    /// Stops it, at once and without a word to its clients, as a crash would.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop()?;
        let _ = fs::remove_file(self.daemon.data().join("postmaster.pid"));
        Ok(())
    }

    /// An empty database.
    pub fn database(&self) -> Result<Database> {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        self.client.run("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        Ok(Database { name, client: self.client.clone() })
    }
}

impl Database {
    /// How to reach it, with the password.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{}", self.client.port, self.name)
    }

    /// The same as a configuration has it.
    pub fn port(&self) -> u16 {
        self.client.port
    }

    /// What must be in no message.
    pub fn password() -> &'static str {
        PASSWORD
    }

    /// Runs statements in it.
    pub fn run(&self, sql: &str) -> Result<()> {
        self.client.run(&self.name, sql)
    }

    /// A connection beside the gateway's.
    #[cfg(feature = "clients")]
    pub async fn connect(&self) -> std::result::Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (client, drop) = (self.client.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // Not waited for: the server waits for connections that are being made, and those of a gateway
        // in this thread would be waiting for us. With its server gone the database is gone as well.
        std::thread::spawn(move || client.run("postgres", &drop));
    }
}

/// How statements get to the server.
#[derive(Clone)]
struct Client {
    psql: PathBuf,
    port: u16,
}

impl Client {
    fn run(&self, database: &str, sql: &str) -> Result<()> {
        self.ask(database, sql).map(drop)
    }

    /// Gives the answer as it is, without headings.
    fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let output = Command::new(&self.psql)
            .env("PGPASSWORD", PASSWORD)
            // What listens there may be another program, that waits for us.
            .env("PGCONNECT_TIMEOUT", ASK_PATIENCE.as_secs().to_string())
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, "-d", database, "-c", sql])
            .current_dir("/")
            .output()?;
        let said = succeeded(output, sql)?.stdout;
        Ok(String::from_utf8_lossy(&said).trim_end_matches('\n').to_owned())
    }
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
        let error = Server::start_at(first.client.port, &FAST).err().unwrap().to_string();
        assert!(error.contains("has ended: another server answers"), "{error}");
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        first.client.run("postgres", "SELECT 1").unwrap();
    }

    #[test]
    fn a_server_whose_port_is_anothers_that_says_nothing_is_not_waited_for_without_end() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let started = Instant::now();
        let error = Server::start_at(silent.local_addr().unwrap().port(), &FAST).err().unwrap().to_string();
        assert!(error.contains("has ended"), "{error}");
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }
}
