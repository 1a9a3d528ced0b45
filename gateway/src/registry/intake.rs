//! The checks between an upload and anything that costs.

use crate::error::FieldError;
use crate::model::ModuleKind;

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
/// # Errors
/// Every reason that could be found.
pub fn inspect(_bytes: &[u8]) -> Result<Component, Vec<FieldError>> {
    todo!()
}
