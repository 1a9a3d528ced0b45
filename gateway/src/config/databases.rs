//! `[databases.NAME]`: what steps may query and change, by the name that they know it by.
//!
//! Owns the URLs and the bounds of one database. Does not connect (`database`). Invariant: a password is in
//! nothing that is shown or logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use super::own::Own;
use super::print::{Printer, path_url};
use super::reader::{Reader, Section};
use super::{PostgresUrl, Tls, TlsMode};

/// One database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// What and where it is.
    pub url: DatabaseUrl,
    /// Connections at once.
    pub pool: u32,
    /// Whether `execute` is refused, whatever a module's permissions say.
    pub read_only: bool,
    /// How long a statement may take, the wait for a connection included; never longer than the step has left.
    pub timeout_ms: u64,
    /// Of one answer.
    pub rows_max: u64,
    /// Of one answer, as the step gets it.
    pub bytes_max: u64,
    /// Up to which statements let a SQLite file grow; a server has its own quotas.
    pub file_bytes_max: u64,
}

/// What a database is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`; a relative path is below the data folder, as the store's is.
    Sqlite {
        /// The database file; made where it is missing, but for one that is read only.
        path: PathBuf,
    },
    /// `postgres://…`.
    Postgres(Box<PostgresUrl>),
    /// `mysql://…`, MariaDB too.
    MySql(MySql),
}

/// A MySQL or MariaDB server.
#[derive(Clone, PartialEq, Eq)]
pub struct MySql {
    /// A name or an address.
    pub host: String,
    /// 3306 where the URL has none.
    pub port: u16,
    /// Who connects.
    pub user: String,
    /// Empty where the URL has none.
    pub password: String,
    /// The database.
    pub database: String,
    /// How the connection is encrypted: `sslmode` and `sslrootcert`, as PostgreSQL's.
    pub tls: Tls,
    /// The URL without its password.
    shown: String,
}

impl std::fmt::Debug for MySql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MySql").field("url", &self.shown).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Statements at once of all executions together; a server takes a hundred connections by default.
const POOL: u32 = 10;
/// Far more than a statement of a request takes.
const TIMEOUT_MS: u64 = 10_000;
/// A step that wants more asks for it in pages.
const ROWS_MAX: u64 = 10_000;
/// A guest has 64 MiB by default, and this arrives in it as a copy, and is parsed there.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Far more than files of SQLite have as a rule, and less than disks have.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;

const FORM: &str = "expected `sqlite:PATH`, `postgres://…` or `mysql://…`";
const MYSQL_FORM: &str = "expected `mysql://USER:PASSWORD@HOST:PORT/DATABASE`";

/// Of a name: it stands in globs of permissions.
pub const DATABASE_NAME_BYTES_MAX: usize = 64;

pub(super) fn read(reader: &mut Reader, data_dir: &Path, own: &Own<'_>) -> BTreeMap<String, Database> {
    let read = reader.sections_below("databases", |section| Database::read(section, data_dir, own));
    read.into_iter().filter_map(|(name, database)| Some((name, database?))).collect()
}

pub(super) fn print(databases: &BTreeMap<String, Database>, printer: &mut Printer, data_dir: &Path) {
    for (name, database) in databases {
        database.print(name, printer, data_dir);
    }
}

impl Database {
    /// With the bounds that a configuration has that names no others.
    #[must_use]
    pub fn new(url: DatabaseUrl) -> Self {
        Self {
            url,
            pool: POOL,
            read_only: false,
            timeout_ms: TIMEOUT_MS,
            rows_max: ROWS_MAX,
            bytes_max: BYTES_MAX,
            file_bytes_max: FILE_BYTES_MAX,
        }
    }

    fn read(section: &mut Section<'_>, data_dir: &Path, own: &Own<'_>) -> Option<Self> {
        section.check_name(|name| {
            let is_name = (1..=DATABASE_NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            if is_name {
                return Ok(());
            }
            Err(format!("the name of a database has 1 to {DATABASE_NAME_BYTES_MAX} letters, digits, `-` and `_`"))
        });
        let is_given = section.has("url");
        let url = section.text("url", None, |url| {
            let url = DatabaseUrl::parse(url, data_dir)?;
            own.check(&url).map(|()| Some(url))
        });
        let pool = section.integer("pool", POOL, 1..=1_000);
        let read_only = section.flag("read_only");
        let timeout_ms = section.integer("timeout_ms", TIMEOUT_MS, 1..=3_600_000);
        let rows_max = section.integer("rows_max", ROWS_MAX, 1..=10_000_000);
        let bytes_max = section.integer("bytes_max", BYTES_MAX, 1_024..=1024 * 1024 * 1024);
        let file_bytes_max = section.integer("file_bytes_max", FILE_BYTES_MAX, 1024 * 1024..=1 << 44);
        if !is_given {
            section.mistake("url", FORM);
        }
        Some(Self { url: url?, pool, read_only, timeout_ms, rows_max, bytes_max, file_bytes_max })
    }

    fn print(&self, name: &str, printer: &mut Printer, data_dir: &Path) {
        printer.section(&format!("databases.{name}"));
        match &self.url {
            DatabaseUrl::Sqlite { path } => printer.string("url", &path_url("sqlite", path, data_dir)),
            DatabaseUrl::Postgres(url) => printer.string("url", url.shown()),
            DatabaseUrl::MySql(mysql) => printer.string("url", &mysql.shown),
        }
        printer.number("pool", self.pool);
        printer.number("read_only", self.read_only);
        printer.number("timeout_ms", self.timeout_ms);
        printer.number("rows_max", self.rows_max);
        printer.number("bytes_max", self.bytes_max);
        printer.number("file_bytes_max", self.file_bytes_max);
    }
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is expected; never a part of the URL, any of which may be the password.
    pub fn parse(url: &str, data_dir: &Path) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("sqlite", path)) => Ok(Self::Sqlite { path: super::store::path_of(path, data_dir)? }),
            Some(("postgres" | "postgresql", _)) => PostgresUrl::parse(url).map(|url| Self::Postgres(Box::new(url))),
            Some(("mysql" | "mariadb", _)) => MySql::parse(url).map(Self::MySql),
            _ => Err(FORM.to_owned()),
        }
    }
}

impl MySql {
    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| MYSQL_FORM)?;
        let decoded = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(std::borrow::Cow::into_owned).map_err(|_| MYSQL_FORM)
        };
        let (user, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
        let database = decoded(url.path().trim_start_matches('/'))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if user.is_empty() || host.is_empty() || database.is_empty() || database.contains('/') || text.contains('\0') {
            return Err(MYSQL_FORM.to_owned());
        }
        let (mut mode, mut root) = (None, None);
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "sslmode" => mode = Some(TlsMode::parse(&value)?),
                "sslrootcert" if !value.is_empty() => root = Some(PathBuf::from(value.as_ref())),
                _ => return Err("the parameters that a URL may have are sslmode and sslrootcert".to_owned()),
            }
        }
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let mode = mode.unwrap_or(if is_here { TlsMode::Prefer } else { TlsMode::VerifyFull });
        let mut shown = url.clone();
        if url.password().is_some() {
            shown.set_password(Some("***")).map_err(|()| MYSQL_FORM)?;
        }
        let port = url.port().unwrap_or(3306);
        Ok(Self { host, port, user, password, database, tls: Tls { mode, root }, shown: shown.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<DatabaseUrl, String> {
        DatabaseUrl::parse(url, Path::new("/data"))
    }

    #[test]
    fn a_url_says_what_and_where_and_never_shows_the_password() {
        let DatabaseUrl::MySql(mysql) = parse("mysql://shop:s3cr%40t@db.example.com:3307/orders").unwrap() else {
            unreachable!()
        };
        assert_eq!((mysql.host.as_str(), mysql.port), ("db.example.com", 3307));
        assert_eq!((mysql.user.as_str(), mysql.password.as_str()), ("shop", "s3cr@t"));
        assert_eq!((mysql.database.as_str(), mysql.tls.mode), ("orders", TlsMode::VerifyFull));
        assert!(mysql.shown.contains("***") && !format!("{mysql:?}{}", mysql.shown).contains("s3cr"));
        let DatabaseUrl::MySql(local) = parse("mariadb://shop@[::1]/orders").unwrap() else { unreachable!() };
        assert_eq!((local.host.as_str(), local.port, local.tls.mode), ("::1", 3306, TlsMode::Prefer));
        assert_eq!(parse("sqlite:shop/orders.db"), Ok(DatabaseUrl::Sqlite { path: "/data/shop/orders.db".into() }));
        assert!(matches!(parse("postgres://u:p@localhost/d"), Ok(DatabaseUrl::Postgres(_))));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_the_url() {
        for url in [
            "hunter2",
            "oracle://u:hunter2@host/d",
            "mysql://u:hunter2@host",
            "mysql://:hunter2@host/d",
            "mysql://u:hunter2@/d",
            "mysql://u:hunter2@host:port/d",
            "mysql://u:hunter2@host/d?sslmode=hunter2",
            "mysql://u:hunter2@host/d?pool=hunter2",
            "sqlite:",
        ] {
            let said = parse(url).unwrap_err();
            assert!(!said.contains("hunter2"), "{url}: {said}");
        }
    }
}
