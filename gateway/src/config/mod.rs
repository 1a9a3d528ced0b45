//! The configuration: read once, checked at once, immutable.
//!
//! One file a section. Sources, later ones win: defaults, `sluice.toml`,
//! `SLUICE__SECTION__KEY`, flags. Invariant: a [`Config`] that exists can be
//! acted on; all mistakes of all sources were reported together.

mod blobs;
mod databases;
mod egress;
mod error;
mod jobs;
mod limits;
mod own;
mod postgres;
mod print;
mod rate_limits;
mod reader;
mod retention;
mod runtime;
mod secrets;
mod server;
mod signatures;
mod source;
mod store;
mod telemetry;
#[cfg(test)]
mod tests;

pub use blobs::{Blobs, Credentials, S3};
pub use databases::{DATABASE_NAME_BYTES_MAX, Database, DatabaseUrl, MySql};
pub use egress::Egress;
pub use error::{Error, Mistake};
pub use jobs::{CircuitBounds, Jobs};
pub use limits::Limits;
pub use postgres::{Postgres, PostgresUrl, Proof, Tls, TlsMode};
pub use rate_limits::{RateLimit, RateLimits};
pub use retention::Retention;
pub use runtime::Runtime;
pub use secrets::{SECRET_NAME_BYTES_MAX, Secrets, is_secret_name};
pub use server::Server;
pub use signatures::{SignatureMode, Signatures, TrustedKey, Untrusted};
pub use source::Sources;
pub use store::Store;
pub use telemetry::{LogFormat, Telemetry};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The data folder unless another is given, in the working folder.
pub const DATA_FOLDER: &str = "data";
/// The first admin key's file in the data folder, where the `sluice` command finds it by itself.
pub const ADMIN_KEY_FILE: &str = "admin.key";

/// In the data folder: held while a gateway uses it.
pub const LOCK_FILE: &str = "lock";

/// In the data folder: which of several gateways this is.
pub const GATEWAY_ID_FILE: &str = "gateway.id";

/// In the data folder: compiled artefacts, which are run as they are.
pub const ARTEFACTS_FOLDER: &str = "artifacts";

/// In the data folder: components on their way in or out, without names.
pub const SPOOL_FOLDER: &str = "spool";

/// Everything an operator can decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the database, the blobs, the admin key and the compiled artefacts are by default.
    pub data_dir: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[store]`.
    pub store: Store,
    /// `[store]`'s retention.
    pub retention: Retention,
    /// `[blobs]`.
    pub blobs: Blobs,
    /// `[runtime]`.
    pub runtime: Runtime,
    /// `[limits]`.
    pub limits: Limits,
    /// `[egress]`.
    pub egress: Egress,
    /// `[databases.NAME]`, by name.
    pub databases: BTreeMap<String, Database>,
    /// `[secrets]`.
    pub secrets: Secrets,
    /// `[jobs]`.
    pub jobs: Jobs,
    /// `[rate_limits]`.
    pub rate_limits: RateLimits,
    /// `[signatures]`.
    pub signatures: Signatures,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
}

impl Config {
    /// Reads and checks all sources.
    pub fn load(sources: Sources) -> Result<Self, Error> {
        Self::load_or_default(sources, Path::new(source::DEFAULT_FILE))
    }

    fn load_or_default(sources: Sources, default_file: &Path) -> Result<Self, Error> {
        let mut reader = source::collect(&sources, default_file);
        let data_dir = sources.data_dir.unwrap_or_else(|| Path::new(".").join(DATA_FOLDER));
        if data_dir.as_os_str().is_empty() {
            reader.mistake(error::Origin::Flag("--data-dir"), "", "expected a folder");
        }
        let (store, retention) =
            reader.section("store", |section| (Store::read(section, &data_dir), Retention::read(section)));
        let blobs = reader.section("blobs", |section| Blobs::read(section, &data_dir));
        let databases = databases::read(&mut reader, &data_dir, &own::Own::new(&store, &blobs, &data_dir));
        let config = Self {
            server: reader.section("server", Server::read),
            store,
            retention,
            blobs,
            runtime: reader.section("runtime", Runtime::read),
            limits: reader.section("limits", Limits::read),
            egress: reader.section("egress", Egress::read),
            databases,
            secrets: reader.section("secrets", Secrets::read),
            jobs: reader.section("jobs", Jobs::read),
            rate_limits: reader.section("rate_limits", RateLimits::read),
            signatures: reader.section("signatures", Signatures::read),
            telemetry: reader.section("telemetry", Telemetry::read),
            data_dir,
        };
        Error::of(reader.mistakes)?;
        Ok(config)
    }

    /// The configuration as a `sluice.toml`, with `***` in place of secrets.
    ///
    /// With the same data folder it loads to the same configuration.
    #[must_use]
    pub fn print(&self) -> String {
        let mut printer = print::Printer::default();
        printer.comment(&format!("The data folder is {}; it is given by --data-dir.", self.data_dir.display()));
        self.server.print(&mut printer);
        self.store.print(&mut printer, &self.data_dir);
        self.retention.print(&mut printer);
        self.blobs.print(&mut printer, &self.data_dir);
        self.runtime.print(&mut printer);
        self.limits.print(&mut printer);
        self.egress.print(&mut printer);
        databases::print(&self.databases, &mut printer, &self.data_dir);
        self.secrets.print(&mut printer);
        self.jobs.print(&mut printer);
        self.rate_limits.print(&mut printer);
        self.signatures.print(&mut printer);
        self.telemetry.print(&mut printer);
        printer.finish()
    }

    /// The defaults, on a free loopback port, with everything below `data_dir` and few slots: for a runtime or a
    /// gateway beside others in one process.
    #[must_use]
    pub fn in_folder(data_dir: PathBuf) -> Self {
        Self {
            server: Server { listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)), ..Server::default() },
            store: Store::default_in(&data_dir),
            retention: Retention::default(),
            blobs: Blobs::default_in(&data_dir),
            runtime: Runtime { instances: 100, ..Runtime::default() },
            limits: Limits::default(),
            egress: Egress::default(),
            databases: BTreeMap::new(),
            secrets: Secrets::default(),
            jobs: Jobs::default(),
            rate_limits: RateLimits::default(),
            signatures: Signatures::default(),
            telemetry: Telemetry::default(),
            data_dir,
        }
    }
}
