//! The checks between an upload and anything that costs.
//!
//! Owns what a component may look like: its format, its size in every
//! direction, its imports and exports. Does not own its bytes, its name or its
//! compilation. Invariant: what passes was validated whole by `wasmparser`, and
//! the work was linear in its size.

mod exports;
mod format;
mod imports;
mod outline;

#[cfg(test)]
mod tests;

use crate::error::FieldError;
use crate::model::{ModuleKind, NOTE_PREFIX, RESIDENT_MEMORY_BYTES};

/// Enough to mend a component with; more would only bury the first.
const ERRORS_MAX: usize = 20;

/// What was learnt about a component without compiling it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// What it is for.
    pub kind: ModuleKind,
    /// Its step functions, sorted.
    pub functions: Vec<String>,
    /// Its imports, sorted: `wasi:cli/environment@0.2.6`.
    pub imports: Vec<String>,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// Parses and validates a component within our own bounds.
///
/// Takes time and memory in proportion to `bytes`: 18 MB are a good part of a
/// second's work, so run it where blocking is allowed.
///
/// # Errors
/// Every reason that could be found, at most 20: the first one only where the
/// bytes can't be read to their end, else each import and export that is wrong.
pub fn inspect(bytes: &[u8]) -> Result<Component, Vec<FieldError>> {
    format::check(bytes).map_err(|error| vec![error])?;
    let outline = outline::read(bytes).map_err(|error| vec![error])?;
    let mut errors = Errors::default();
    let imports = imports::check(&outline, &mut errors);
    let exports = exports::check(&outline, &mut errors);
    match exports {
        Some(exports) if errors.0.is_empty() => Ok(Component {
            kind: exports.kind,
            functions: exports.functions,
            imports,
            warnings: warnings(&outline.memories, outline.starts_over_budget),
        }),
        _ => Err(errors.0),
    }
}

fn warnings(memories: &outline::Memories, starts_over_budget: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    match memories.without_maximum {
        0 => {}
        1 => {
            let text = "its memory has no maximum: only the memory limit of an execution bounds it";
            warnings.push(format!("{NOTE_PREFIX}{text}"));
        }
        more => {
            let text = "of its memories have no maximum: only the memory limit of an execution bounds them";
            warnings.push(format!("{NOTE_PREFIX}{more} {text}"));
        }
    }
    if memories.initial_bytes > RESIDENT_MEMORY_BYTES as u64 {
        warnings.push(format!(
            "the initial memory of {} bytes is larger than the {RESIDENT_MEMORY_BYTES} that the gateway keeps resident: every call pays for it",
            memories.initial_bytes
        ));
    }
    if starts_over_budget > 0 {
        warnings.push(format!(
            "{starts_over_budget} of its core modules have a start function that is long or has a loop: every call runs it first, within the limits of an execution"
        ));
    }
    warnings
}

/// The errors so far; those past the bound are dropped.
#[derive(Debug, Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn push(&mut self, error: FieldError) {
        if self.0.len() < ERRORS_MAX {
            self.0.push(error);
        }
    }
}

/// An error about the upload's part `module` as a whole.
fn module_error(code: &str, message: impl Into<String>) -> FieldError {
    FieldError::new("module", code, message)
}
