//! `[store]`: where the control plane keeps its rows.

use std::path::{Path, PathBuf};

use super::Postgres;
use super::print::{Printer, path_url};
use super::reader::Section;

/// `[store]`, as its `url` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// `sqlite:PATH`.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
    /// `postgres://…`.
    Postgres(Box<Postgres>),
}

impl Store {
    pub(super) fn default_in(data_dir: &Path) -> Self {
        Self::Sqlite { path: data_dir.join("sluice.db") }
    }

    // The messages never repeat the URL: one kind of it has a password.
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        let store = section.text("url", Self::default_in(data_dir), |url| match url.split_once(':') {
            Some(("sqlite", path)) => Ok(Self::Sqlite { path: path_of(path, data_dir)? }),
            Some(("postgres" | "postgresql", _)) => Postgres::parse(url).map(|parsed| Self::Postgres(Box::new(parsed))),
            _ => Err("expected `sqlite:PATH` or `postgres://…`".to_owned()),
        });
        // Taken from every configuration, so that they may stay while the URL changes.
        let pool = section.integer("pool", Postgres::POOL, 1..=1000);
        let timeout_ms = section.integer("timeout_ms", Postgres::TIMEOUT_MS, 100..=HOUR_MS);
        let connect_timeout_ms = section.integer("connect_timeout_ms", Postgres::CONNECT_TIMEOUT_MS, 100..=HOUR_MS);
        match store {
            Self::Sqlite { path } => Self::Sqlite { path },
            Self::Postgres(mut parsed) => {
                parsed.pool = pool;
                parsed.timeout_ms = timeout_ms;
                parsed.connect_timeout_ms = connect_timeout_ms;
                Self::Postgres(parsed)
            }
        }
    }

    pub(super) fn print(&self, printer: &mut Printer, data_dir: &Path) {
        printer.section("store");
        match self {
            Self::Sqlite { path } => printer.string("url", &path_url("sqlite", path, data_dir)),
            Self::Postgres(postgres) => postgres.print(printer),
        }
    }
}

/// The path after a scheme; a relative one is below the data folder.
pub(super) fn path_of(path: &str, data_dir: &Path) -> Result<PathBuf, &'static str> {
    if path.is_empty() || path.contains('\0') {
        return Err("the path is missing");
    }
    // `sqlite://data.db` would be `/data.db`, which nobody means.
    if path.starts_with("//") {
        return Err("write the path right after the colon, without slashes of a URL");
    }
    // Not part of a name, so that parameters can come with a later version.
    if path.contains('?') {
        return Err("there are no parameters");
    }
    if path == ":memory:" {
        return Err("what is kept in memory only is lost at the next start");
    }
    if Path::new(path).file_name().is_none() {
        return Err("the path has no name at its end");
    }
    Ok(data_dir.join(path))
}
