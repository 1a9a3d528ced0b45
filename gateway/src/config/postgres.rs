//! `postgres://` URLs, of `[store]` and of `[databases]`, and what the store has beside one.
//!
//! Owns the parameters of the URL and how it is shown. Does not connect
//! (`store`, `database`). Invariant: the password is in nothing that is shown or logged.

use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode};

use super::print::Printer;

/// A database of a `PostgreSQL` server, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Whom to connect to, with the password, and whether with TLS.
    pub connection: tokio_postgres::Config,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// The URL without its password.
    shown: String,
}

/// `[store]` with such a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// The database.
    pub url: PostgresUrl,
    /// Connections at once for requests; a few more are the gateway's own.
    pub pool: u32,
    /// How long a statement may take, and how long it may wait for a connection.
    pub timeout_ms: u64,
    /// How long connecting may take.
    pub connect_timeout_ms: u64,
}

/// How a connection is encrypted: `sslmode` and `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What has to be true of the server.
    pub mode: TlsMode,
    /// The certificates that are trusted, as PEM; the operating system's where there is none.
    pub root: Option<PathBuf>,
}

/// What `sslmode` says, as `libpq` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted where the server can, whoever it is.
    Prefer,
    /// Encrypted, whoever it is; with `sslrootcert` as [`Self::VerifyCa`].
    Require,
    /// Encrypted, by a server with a trusted certificate.
    VerifyCa,
    /// Encrypted, by a server with a trusted certificate of the host that was asked for.
    VerifyFull,
}

/// What a certificate has to prove for a connection to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: a connection is encrypted, to whomever.
    Nothing,
    /// Somebody who is trusted made it.
    Issuer,
    /// That, and it is for the host that was asked for.
    Name,
}

/// PostgreSQL's own.
const PORT: u16 = 5432;

/// Those that can mean something here. Others are refused, since `libpq`'s ignoring them
/// is how a misspelt `sslmode` goes unnoticed.
const PARAMETERS: &str = "sslmode, sslrootcert, host, application_name, channel_binding and target_session_attrs";

const FORM: &str = "expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`";

impl Postgres {
    /// Connections for requests unless another number is given. The data plane uses none.
    pub(super) const POOL: u32 = 10;
    /// Far more than any statement takes on a database that is well.
    pub(super) const TIMEOUT_MS: u64 = 10_000;
    /// An orchestrator's readiness checks come about as often.
    pub(super) const CONNECT_TIMEOUT_MS: u64 = 5_000;

    /// A store at this URL, with the numbers of a configuration that has no others.
    ///
    /// # Errors
    /// As [`PostgresUrl::parse`].
    pub fn parse(url: &str) -> Result<Self, String> {
        Ok(Self {
            url: PostgresUrl::parse(url)?,
            pool: Self::POOL,
            timeout_ms: Self::TIMEOUT_MS,
            connect_timeout_ms: Self::CONNECT_TIMEOUT_MS,
        })
    }

    pub(super) fn print(&self, printer: &mut Printer) {
        printer.string("url", &self.url.shown);
        printer.number("pool", self.pool);
        printer.number("timeout_ms", self.timeout_ms);
        printer.number("connect_timeout_ms", self.connect_timeout_ms);
    }
}

impl PostgresUrl {
    /// Reads a URL whose scheme is PostgreSQL's.
    ///
    /// # Errors
    /// What is expected; never a part of the URL, any of which may be the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (base, parameters) = split(url);
        let mut kept = Vec::new();
        let (mut mode, mut root) = (None, None);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').ok_or_else(only_known)?;
            match key {
                "sslmode" => mode = Some(TlsMode::parse(value)?),
                "sslrootcert" if !value.is_empty() => root = Some(decoded(value)?.into()),
                "host" | "application_name" | "channel_binding" | "target_session_attrs" => kept.push(parameter),
                _ => return Err(only_known()),
            }
        }
        let plain = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        let mut connection: tokio_postgres::Config = plain.parse().map_err(|_| FORM)?;
        let is_whole = connection.get_user().is_some_and(|user| !user.is_empty())
            && connection.get_dbname().is_some_and(|name| !name.is_empty())
            && !connection.get_hosts().is_empty();
        if !is_whole || url.contains('\0') {
            return Err(FORM.to_owned());
        }
        let mode = mode.unwrap_or_else(|| default_mode(&connection));
        connection.ssl_mode(match mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        Ok(Self { connection, tls: Tls { mode, root }, shown: without_password(url) })
    }

    /// Each host with its port: its own, the one for all, or PostgreSQL's.
    pub fn servers(&self) -> impl Iterator<Item = (&Host, u16)> {
        let ports = self.connection.get_ports();
        let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        self.connection.get_hosts().iter().enumerate().map(move |(index, host)| (host, port(index)))
    }

    /// The first host with its port, for people.
    #[must_use]
    pub fn address(&self) -> String {
        match self.servers().next() {
            Some((Host::Tcp(host), port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((Host::Tcp(host), port)) => format!("{host}:{port}"),
            Some((Host::Unix(folder), _)) => folder.display().to_string(),
            None => String::new(),
        }
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        self.connection.get_dbname().unwrap_or_default()
    }

    /// The URL without its password.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

// Its connection's own hides the password, and the URL's other parts are here already.
impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresUrl").field("url", &self.shown).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// What is before the parameters, and the parameters. A password may have a `?` in it.
fn split(url: &str) -> (&str, &str) {
    let credentials = url.find('@').unwrap_or(0);
    match url.split_at_checked(credentials).and_then(|(_, rest)| rest.find('?')) {
        Some(at) => (url.get(..credentials + at).unwrap_or(url), url.get(credentials + at + 1..).unwrap_or("")),
        None => (url, ""),
    }
}

fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        let (credentials, rest) = rest.split_once('@')?;
        let (user, _) = credentials.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{rest}"))
    };
    hidden().unwrap_or_else(|| url.to_owned())
}

fn only_known() -> String {
    format!("the parameters that a URL may have are {PARAMETERS}")
}

fn decoded(value: &str) -> Result<String, String> {
    let text = percent_encoding::percent_decode_str(value).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| "sslrootcert is not UTF-8".to_owned())
}

impl Tls {
    /// What the certificate of a server has to prove, as `libpq` has it.
    #[must_use]
    pub fn proof(&self) -> Proof {
        match (self.mode, &self.root) {
            (TlsMode::VerifyFull, _) => Proof::Name,
            (TlsMode::VerifyCa, _) | (TlsMode::Require, Some(_)) => Proof::Issuer,
            (TlsMode::Require, None) | (TlsMode::Prefer | TlsMode::Disable, _) => Proof::Nothing,
        }
    }
}

impl TlsMode {
    /// Reads an `sslmode`.
    pub(super) fn parse(value: &str) -> Result<Self, String> {
        match value {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err("expected sslmode to be disable, prefer, require, verify-ca or verify-full".to_owned()),
        }
    }
}

/// Nobody listens between here and a server on this machine; elsewhere a password and
/// everybody's modules go over the wire, and `libpq`'s `prefer` protects neither.
fn default_mode(connection: &tokio_postgres::Config) -> TlsMode {
    let is_here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
    };
    if connection.get_hosts().iter().all(is_here) { TlsMode::Prefer } else { TlsMode::VerifyFull }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whom_to_connect_to_and_never_shows_the_password() {
        let parsed =
            PostgresUrl::parse("postgres://sluice:s3cr%40t?@db.example.com:5433/rows?application_name=a").unwrap();
        assert_eq!(parsed.connection.get_password(), Some(&b"s3cr@t?"[..]));
        assert_eq!((parsed.address().as_str(), parsed.database()), ("db.example.com:5433", "rows"));
        let several = PostgresUrl::parse("postgres://u@a:1,b:2/d").unwrap();
        let host = |name: &str| Host::Tcp(name.to_owned());
        assert_eq!(several.servers().collect::<Vec<_>>(), [(&host("a"), 1), (&host("b"), 2)]);
        let same = PostgresUrl::parse("postgres://u@a,b/d").unwrap();
        assert_eq!(same.servers().map(|(_, port)| port).collect::<Vec<_>>(), [5432, 5432]);
        assert_eq!(parsed.shown, "postgres://sluice:***@db.example.com:5433/rows?application_name=a");
        for shown in [format!("{parsed:?}"), format!("{:?}", parsed.connection)] {
            assert!(!shown.contains("s3cr"), "{shown}");
        }
    }

    #[test]
    fn a_remote_server_has_to_prove_who_it_is_unless_the_url_says_otherwise() {
        let mode = |url: &str| PostgresUrl::parse(url).unwrap().tls.mode;
        assert_eq!(mode("postgres://u:p@db.example.com/d"), TlsMode::VerifyFull);
        assert_eq!(mode("postgresql://u:p@127.0.0.1/d"), TlsMode::Prefer);
        assert_eq!(mode("postgres://u:p@[::1]:5432/d"), TlsMode::Prefer);
        assert_eq!(mode("postgres://u:p@localhost,db.example.com/d"), TlsMode::VerifyFull);
        assert_eq!(mode("postgres://u@%2Frun%2Fpostgresql/d"), TlsMode::Prefer);
        assert_eq!(mode("postgres://u:p@db.example.com/d?sslmode=disable"), TlsMode::Disable);
        let pinned =
            PostgresUrl::parse("postgres://u:p@db/d?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem").unwrap().tls;
        assert_eq!(pinned, Tls { mode: TlsMode::VerifyCa, root: Some("/etc/ca.pem".into()) });
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_the_url() {
        for url in [
            "postgres://",
            "postgres://u:hunter2@/d",
            "postgres://u:hunter2@host",
            "postgres://:hunter2@host/d",
            "postgres://u:hunter2@host:port/d",
            "postgres://u:hunter2@host/d?sslmode=hunter2",
            "postgres://u:hunter2@host/d?hunter2=1",
            "postgres://u:hunter2@host/d?hunter2",
            "postgres://u@host/d?password=hunter2",
        ] {
            let said = PostgresUrl::parse(url).unwrap_err();
            assert!(!said.contains("hunter2"), "{url}: {said}");
        }
    }
}
