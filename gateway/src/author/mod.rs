//! What an author does on a machine of their own: a step's folder, from its source to a checked component.
//!
//! Owns the manifest, the languages, and how a core module becomes a component. Does not own the words (`cli`) nor
//! the checks of a component (`registry::inspect`). Invariant: nothing here speaks to a gateway.

pub mod cases;
mod componentize;
mod language;
mod last_build;
mod local;
mod manifest;
mod optimize;
mod project;
pub mod whole_file;

pub use crate::registry::step_signature;
pub use componentize::Error as ComponentizeError;
pub use language::{Error as LanguageError, Language};
pub use last_build::PASSED_OVER;
pub use local::{Called, Error as LocalError, Local};
pub use manifest::{Error as ManifestError, MANIFEST, Manifest};
pub use optimize::Error as OptimizeError;
pub use project::{Built, Error, Prebuilt, Project, optimizer_advice};

/// One thing that is wrong in a file that an author writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: `permissions[1].resource`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}
