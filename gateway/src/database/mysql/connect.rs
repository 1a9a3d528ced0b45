//! Connecting to a MySQL or MariaDB server, and what its session is like.
//!
//! Owns TLS and the session's variables. Invariants: a session reads text as `sql` does (backslashes escape, `"` is a
//! text), in UTF-8 and UTC; no file of this machine is ever sent; what is killed is this very session, never what has
//! its number on another server, or after a restart.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, IoError, Opts, OptsBuilder, SslOpts};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Access, failure};
use crate::config::{self, Proof, Tls, TlsMode};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A row that is larger is not read to its end. Parameters may have as much whatever an answer may.
const PACKET_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// What a row has beside its values.
const ROW_HEAD_BYTES: u64 = 1024 * 1024;
/// A peer that is gone without a word is noticed, though no statement is on its way.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// What MySQL has by default, without asking for it at each connection.
const IDLE_S: usize = 28_800;

/// For each address, as with PostgreSQL: one that is silent leaves time for those behind it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// It ended meanwhile.
const NO_SUCH_THREAD: u16 = 1094;

/// Whatever the server's own is: no mode that reads quotes or backslashes otherwise, and mistakes are mistakes.
const SQL_MODE: &str = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/// Where and how to connect.
#[derive(Debug)]
pub(super) struct Server {
    plain: Opts,
    /// Unless it is never encrypted.
    encrypted: Option<Opts>,
    /// Whether a server without TLS is taken as it is.
    falls_back: bool,
    timeout: Duration,
}

/// A connection and whose it is.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Conn,
    is_mariadb: bool,
    /// Where its server is: a name may lead to several.
    address: IpAddr,
    /// Unless its number is none of its server's, as behind a proxy that speaks the protocol itself.
    identity: Option<Identity>,
}

/// What tells a session from all that have had its number, and its server from others.
#[derive(Debug)]
struct Identity {
    /// Behind one address there may be several.
    server: String,
    /// Our address and port as the server sees them, which no other connection of that server has.
    client: String,
}

/// What a connection tells of itself. Everyone may see one's own processes.
const IDENTITY: &str = "SELECT VERSION(), CONNECTION_ID(), CONCAT(@@hostname, ':', @@port), \
                        (SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID())";

type Told = (String, u64, Option<String>, Option<String>);

impl Server {
    pub(super) fn new(mysql: &config::MySql, database: &config::Database) -> Result<Self, AnyError> {
        let packet_bytes = (database.bytes_max + ROW_HEAD_BYTES).max(PACKET_BYTES_MIN);
        let builder = OptsBuilder::default()
            .ip_or_hostname(mysql.host.clone())
            .tcp_port(mysql.port)
            .user(Some(mysql.user.clone()))
            .pass(Some(mysql.password.clone()))
            .db_name(Some(mysql.database.clone()))
            .tcp_keepalive(Some(KEEPALIVE))
            // Else it would look for a socket by the path that the server tells.
            .prefer_socket(false)
            // A statement is prepared once; the reset forgets it.
            .stmt_cache_size(0)
            .max_allowed_packet(Some(usize::try_from(packet_bytes)?))
            .wait_timeout(Some(IDLE_S));
        let plain = Opts::from(builder.clone());
        let encrypted = tls(&mysql.tls)?.map(|tls| Opts::from(builder.ssl_opts(tls)));
        Ok(Self {
            plain,
            encrypted,
            falls_back: mysql.tls.mode == TlsMode::Prefer,
            timeout: Duration::from_millis(database.timeout_ms),
        })
    }

    /// A session on the first of the server's addresses that answers.
    pub(super) async fn connect(&self) -> mysql_async::Result<Link> {
        let name = (self.plain.ip_or_hostname(), self.plain.tcp_port());
        self.connect_to_any(tokio::net::lookup_host(name).await?.map(|address| address.ip())).await
    }

    async fn connect_to_any(&self, addresses: impl Iterator<Item = IpAddr>) -> mysql_async::Result<Link> {
        let mut failed = std::io::Error::new(ErrorKind::NotFound, "the name has no address").into();
        for address in addresses {
            match self.connect_to(address).await {
                Ok(link) => return Ok(link),
                // Nobody is there; one who is there and refuses, or can't prove who it is, has the last word.
                Err(error @ mysql_async::Error::Io(IoError::Io(_))) if failure::is_transient(&error) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    async fn connect_to(&self, address: IpAddr) -> mysql_async::Result<Link> {
        let silent = |_| Err(std::io::Error::new(ErrorKind::TimedOut, "the address is silent").into());
        tokio::time::timeout(CONNECT_TIMEOUT, self.open(address)).await.unwrap_or_else(silent)
    }

    async fn open(&self, address: IpAddr) -> mysql_async::Result<Link> {
        // The name is still the one that TLS looks for.
        let at = |opts: &Opts| Conn::new(OptsBuilder::from_opts(opts.clone()).resolved_ips(Some([address])));
        let connected = match &self.encrypted {
            None => at(&self.plain).await,
            Some(encrypted) => match at(encrypted).await {
                Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)) if self.falls_back => {
                    at(&self.plain).await
                }
                connected => connected,
            },
        };
        let mut connection = connected?;
        let told: Option<Told> = connection.query_first(IDENTITY).await?;
        let (version, id, server, client) = told.unwrap_or_default();
        let is_its_own = id == u64::from(connection.id());
        let identity = server.zip(client).filter(|_| is_its_own).map(|(server, client)| Identity { server, client });
        Ok(Link { connection, is_mariadb: version.contains("MariaDB"), address, identity })
    }

    /// Ends a session, with what runs on it, from another one. One that is not there any more has ended.
    ///
    /// # Errors
    /// It may go on.
    pub(super) async fn kill(&self, link: &Link) -> Result<(), AnyError> {
        let mut other = self.connect_to(link.address).await?;
        // Else that nobody has the number would say nothing of the session.
        let (Some(wanted), Some(reached)) = (&link.identity, &other.identity) else {
            return Err("between here and the server is a proxy that has its own numbers of connections".into());
        };
        if wanted.server != reached.server {
            return Err("another server answers at the address".into());
        }
        let id = link.connection.id();
        let find = format!("SELECT host FROM information_schema.processlist WHERE id = {id}");
        let found: Option<String> = other.connection.query_first(find).await?;
        if found.as_ref() == Some(&wanted.client) {
            match other.connection.query_drop(format!("KILL {id}")).await {
                Err(mysql_async::Error::Server(answer)) if answer.code == NO_SUCH_THREAD => {}
                killed => killed?,
            }
        }
        Ok(other.connection.disconnect().await?)
    }

    /// What is said before each statement, in one message.
    pub(super) fn begin(&self, link: &Link, access: Access) -> String {
        let seconds = self.timeout.as_secs() + 1;
        // Behind the time that we keep ourselves: for a gateway that is gone before it could kill the statement.
        let timeout = if link.is_mariadb {
            format!("max_statement_time = {seconds}")
        } else {
            format!("max_execution_time = {}", seconds * 1_000)
        };
        let transaction = match access {
            Access::Read => "; START TRANSACTION READ ONLY",
            Access::Write => "",
        };
        format!(
            "SET NAMES utf8mb4; SET sql_mode = '{SQL_MODE}', time_zone = '+00:00', {timeout}, \
             innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}{transaction}"
        )
    }
}

/// How a connection is encrypted; `None` where it is not.
///
/// To leave out the name of the certificate (`verify-ca`, and `require` with roots) the driver looks for words in the
/// error of its TLS library that are not there any more: the name is checked all the same. That is stricter than
/// asked, never weaker, and documented; the option stays, for a driver that mends it.
fn tls(tls: &Tls) -> Result<Option<SslOpts>, AnyError> {
    let unverified = || SslOpts::default().with_danger_accept_invalid_certs(true);
    let verified = || -> Result<SslOpts, AnyError> {
        let roots = match &tls.root {
            Some(path) => pinned(path)?,
            None => system(),
        };
        let roots = roots.into_iter().map(|root| root.to_vec().into()).collect();
        Ok(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots))
    };
    if tls.mode == TlsMode::Disable {
        return Ok(None);
    }
    Ok(Some(match tls.proof() {
        Proof::Nothing => unverified(),
        Proof::Issuer => verified()?.with_danger_skip_domain_validation(true),
        Proof::Name => verified()?,
    }))
}

fn pinned(path: &Path) -> Result<Vec<CertificateDer<'static>>, AnyError> {
    let unusable = |error: AnyError| format!("`sslrootcert`: {} can't be used: {error}", path.display());
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.into()))?.collect();
    let certificates = certificates.map_err(|error| unusable(error.into()))?;
    if certificates.is_empty() || certificates.iter().any(|certificate| !is_root(certificate)) {
        return Err(unusable("there is no certificate, or a malformed one".into()).into());
    }
    Ok(certificates)
}

/// The operating system's, without those that can't be read: one among hundreds is no reason not to connect.
fn system() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs.into_iter().filter(is_root).collect()
}

fn is_root(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

#[cfg(test)]
mod tests;
