//! `[blobs]`: where components' bytes are kept.

use std::path::{Path, PathBuf};

use super::print::{Printer, path_url};
use super::reader::Section;
use super::store::path_of;

/// `[blobs]`, as its `url` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blobs {
    /// `fs:PATH`.
    Folder {
        /// The folder; made where it is missing.
        path: PathBuf,
    },
}

impl Blobs {
    pub(super) fn default_in(data_dir: &Path) -> Self {
        Self::Folder { path: data_dir.join("blobs") }
    }

    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        section.text("url", Self::default_in(data_dir), |url| match url.split_once(':') {
            Some(("fs", path)) => Ok(Self::Folder { path: path_of(path, data_dir)? }),
            Some(("s3", _)) => Err("this version of Sluice does not have S3 yet; expected `fs:PATH`"),
            _ => Err("expected `fs:PATH`"),
        })
    }

    pub(super) fn print(&self, printer: &mut Printer, data_dir: &Path) {
        printer.section("blobs");
        match self {
            Self::Folder { path } => printer.string("url", &path_url("fs", path, data_dir)),
        }
    }
}
