//! A definition as it is worked with.

use std::sync::Arc;

use super::definition;
use super::plan::Graph;
use super::template::Templates;
use crate::model::JsonText;
use crate::model::job::Definition;

/// One revision of a job, ready to run: made once, shared by all its runs.
#[derive(Debug)]
pub(super) struct Revision {
    pub(super) definition: Definition,
    pub(super) graph: Graph,
    pub(super) templates: Templates,
}

impl Revision {
    /// Of what is stored.
    ///
    /// # Errors
    /// What is wrong with it: it was stored by another version of this program.
    pub(super) fn stored(text: &JsonText) -> Result<Arc<Self>, String> {
        let definition = definition::stored(text).map_err(|errors| {
            errors.first().map_or_else(String::new, |error| format!("{}: {}", error.path, error.message))
        })?;
        let templates = Templates::of(&definition).map_err(|error| format!("{}: {}", error.path, error.message))?;
        Ok(Arc::new(Self { graph: Graph::of(&definition), templates, definition }))
    }
}
