//! The configuration: read once, checked at once, immutable.
//!
//! One file a section. Sources, later ones win: defaults, `sluice.toml`,
//! `SLUICE__SECTION__KEY`, flags. Invariant: a [`Config`] that exists can be
//! acted on; all mistakes of all sources were reported together.

mod blobs;
mod limits;
mod runtime;
mod server;
mod store;
mod telemetry;

pub use blobs::Blobs;
pub use limits::Limits;
pub use runtime::Runtime;
pub use server::Server;
pub use store::Store;
pub use telemetry::{LogFormat, Telemetry};

use std::path::PathBuf;

/// Everything an operator can decide.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the database, the blobs, the admin key and the compiled artefacts are by default.
    pub data_dir: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[store]`.
    pub store: Store,
    /// `[blobs]`.
    pub blobs: Blobs,
    /// `[runtime]`.
    pub runtime: Runtime,
    /// `[limits]`.
    pub limits: Limits,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
}

impl Config {
    /// The defaults, on a free loopback port, with everything below `data_dir`.
    #[must_use]
    pub fn for_tests(data_dir: PathBuf) -> Self {
        Self {
            server: Server { listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)), ..Server::default() },
            store: Store::Sqlite { path: data_dir.join("sluice.db") },
            blobs: Blobs::Folder { path: data_dir.join("blobs") },
            runtime: Runtime { instances: 100, ..Runtime::default() },
            limits: Limits::default(),
            telemetry: Telemetry::default(),
            data_dir,
        }
    }
}

/// Where the configuration comes from; later ones win.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that was named.
    pub file: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// The variables that begin with `SLUICE__`.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// The variables of this process that can matter.
    #[must_use]
    pub fn process_env() -> Vec<(String, String)> {
        Vec::new()
    }
}

/// All mistakes, one a line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Config {
    /// Reads and checks all sources.
    ///
    /// # Errors
    /// All mistakes of all sources.
    pub fn load(_sources: Sources) -> Result<Self, Error> {
        Err(Error("configuration can't be read by this build".to_owned()))
    }

    /// What is in effect, as `sluice.toml` would say it, with secrets hidden.
    #[must_use]
    pub fn print(&self) -> String {
        String::new()
    }
}
